import MoEKernel

extension DeviceConformance {
    /// Small layers that together need every kernel that a layer can need. As cut for a whole GPU most of them would take the smallest tiles
    /// alone, and none would lack work: each is cut for few multiprocessors.
    package static func quickCases() throws(MoEError) -> [Case] {
        try tiles() + exact() + decode() + routers() + many() + rules()
    }

    /// One multiprocessor takes a large tile as soon as there is one; sixteen read together what one token's experts are.
    private static let (few, some) = (1, 16)

    private static func quick(
        _ configuration: MoEConfiguration, tokens: Int, input: ElementType, output: ElementType, on multiprocessors: Int
    ) -> Case {
        var test = Case(
            configuration, tokens: tokens, seed: UInt64(500 + tokens + configuration.hidden), input: input,
            output: output)
        test.multiprocessors = multiprocessors
        return test
    }

    /// Every tile of the grouped products, for experts with gates and without, for rows in their own type and in fp32.
    private static func tiles() throws(MoEError) -> [Case] {
        // 32, 64, 128 rows by 128 columns, 128 by 256.
        let sizes: [(tokens: Int, hidden: Int, inner: Int)] = [
            (20, 70, 40), (96, 72, 40), (200, 72, 40), (136, 144, 72),
        ]
        var cases: [Case] = []
        for (type, other) in [(ElementType.bfloat16, ElementType.float16), (.float16, .bfloat16)] {
            for (turn, size) in sizes.enumerated() {
                func layer(_ expertHidden: Int, _ expert: ExpertKind) throws(MoEError) -> MoEConfiguration {
                    try MoEConfiguration(
                        experts: 2, topK: 1, hidden: size.hidden, expertHidden: expertHidden,
                        router: .init(normalisation: .none), expert: expert, weightType: type)
                }
                cases.append(
                    quick(
                        try layer(size.inner, .gated(.silu)), tokens: size.tokens, input: type, output: type, on: few))
                // As high a matrix as gate and up together.
                cases.append(
                    quick(
                        try layer(2 * size.inner, .plain(.reluSquared, biases: true)), tokens: size.tokens,
                        input: turn % 2 == 0 ? other : .float32, output: .float32, on: few))
            }
        }
        return cases
    }

    /// Without tensor cores: few rows and many, from every type to every type.
    private static func exact() throws(MoEError) -> [Case] {
        let types: [(tokens: Int, input: ElementType, output: ElementType)] = [
            (20, .float32, .bfloat16), (96, .bfloat16, .float16), (20, .float16, .float32),
        ]
        return try types.map { (size) throws(MoEError) in
            quick(
                try MoEConfiguration(
                    experts: 2, topK: 2, hidden: 70, expertHidden: 40, expert: .gated(.gelu), weightType: .float32),
                tokens: size.tokens, input: size.input, output: size.output, on: few)
        }
    }

    /// Up to 8 tokens and up to 16, sums over the depth cut and joined: of gate and up, of down, of the router.
    private static func decode() throws(MoEError) -> [Case] {
        var cases: [Case] = []
        for type in [ElementType.bfloat16, .float16] {
            for (tokens, hidden, inner) in [(3, 1024, 40), (12, 40, 1024)] {
                let layer = try MoEConfiguration(
                    experts: 4, topK: 1, hidden: hidden, expertHidden: inner, router: .init(normalisation: .none),
                    weightType: type)
                cases.append(quick(layer, tokens: tokens, input: type, output: .float32, on: some))
            }
        }
        return cases
    }

    /// Routers of every width.
    private static func routers() throws(MoEError) -> [Case] {
        let sizes: [(experts: Int, topK: Int, tokens: Int, type: ElementType)] = [
            (32, 4, 9, .float32), (60, 6, 9, .bfloat16), (128, 4, 40, .bfloat16), (200, 4, 40, .float16),
            (512, 8, 5, .bfloat16),
        ]
        return try sizes.map { (size) throws(MoEError) in
            quick(
                try MoEConfiguration(
                    experts: size.experts, topK: size.topK, hidden: 24, expertHidden: 8, weightType: size.type),
                tokens: size.tokens, input: size.type, output: size.type, on: few)
        }
    }

    /// More choices than one block groups: counted by the selection, or after a capacity has left most of them out.
    private static func many() throws(MoEError) -> [Case] {
        try [Capacity.unlimited, .limited(.init(limit: .fixed(3)))].map { (capacity) throws(MoEError) in
            quick(
                try MoEConfiguration(
                    experts: 48, topK: 32, hidden: 16, expertHidden: 8, weightType: .bfloat16, capacity: capacity),
                tokens: 260, input: .bfloat16, output: .bfloat16, on: few)
        }
    }

    /// What routing and combining do for some layers only.
    private static func rules() throws(MoEError) -> [Case] {
        func layer(
            _ router: RouterConfiguration, shared: SharedExpert = .none, capacity: Capacity = .unlimited,
            identityExperts: Int = 0, latent: Int? = nil
        ) throws(MoEError) -> MoEConfiguration {
            try MoEConfiguration(
                experts: 16, topK: 4, hidden: 72, expertHidden: 40, router: router, shared: shared,
                weightType: .bfloat16, capacity: capacity, identityExperts: identityExperts, latent: latent)
        }
        let normalised = RouterConfiguration(
            input: .rootMeanSquareNormalised(epsilon: 1e-6, scale: 0.118), hasExpertScale: true)
        let grouped = RouterConfiguration(
            score: .sigmoid, hasSelectionBias: true, selection: .grouped(groups: 4, keep: 2, by: .topTwoSum),
            normalisation: .sum(epsilon: 1e-20), scale: 2.5)
        var cases = try ElementType.allCases.map { (type) throws(MoEError) in
            quick(
                try layer(normalised, shared: .sigmoidGated(width: 24)), tokens: 20, input: type, output: type, on: few)
        }
        for configuration in [
            try layer(grouped, shared: .dense(width: 24), latent: 24),
            try layer(.init(selection: .expertChoice, normalisation: .none)),
            try layer(
                .init(), capacity: .limited(.init(limit: .factor(0.5), order: .weight)), identityExperts: 3),
        ] {
            cases.append(quick(configuration, tokens: 20, input: .bfloat16, output: .bfloat16, on: few))
        }
        return cases
    }
}
