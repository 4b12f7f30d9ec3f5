import MoEKernel

extension ElementType: Codable {}
extension Activation: Codable {}

/// One problem to measure: sizes, what an expert is, how weights are stored, and the seed that makes weights and input.
package struct Workload: Sendable, Hashable, Codable {
    package enum Expert: String, Sendable, Hashable, Codable, CaseIterable {
        case gated, plain
    }

    /// How tokens find their experts.
    package enum Router: String, Sendable, Hashable, Codable, CaseIterable {
        /// Softmax over all experts, the k best (Mixtral).
        case softmax
        /// Sigmoid scores and a correction bias; the k best of the better half of ``groups``, ranked by their two best
        /// (DeepSeek-V3).
        case grouped
        /// Two levels: the best ``groups``, as many as experts are wanted, and the best expert of each.
        case hierarchical
    }

    package var name: String
    package var tokens: Int
    package var hidden: Int
    package var expertHidden: Int
    package var experts: Int
    package var topK: Int
    package var expert = Expert.gated
    package var activation = Activation.silu
    package var router = Router.softmax
    /// Groups of a router that has some.
    package var groups = 8
    package var weightType = ElementType.float32
    /// What expert weights are quantised to, by its name in ``WeightQuantisation/named``; nil for numbers of `weightType`.
    package var quantisation: String?
    /// How experts multiply; nil as exactly as weights are stored.
    package var activations: ExpertArithmetic?
    package var seed: UInt64 = 1

    package init(
        name: String, tokens: Int, hidden: Int, expertHidden: Int, experts: Int, topK: Int, expert: Expert = .gated,
        activation: Activation = .silu, weightType: ElementType = .float32, seed: UInt64 = 1
    ) {
        self.name = name
        self.tokens = tokens
        self.hidden = hidden
        self.expertHidden = expertHidden
        self.experts = experts
        self.topK = topK
        self.expert = expert
        self.activation = activation
        self.weightType = weightType
        self.seed = seed
    }

    /// Files tell only of the sizes for certain: whatever a workload could not say when a file was written had its default.
    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func value<Value: Decodable>(_ key: CodingKeys, or standard: Value) throws -> Value {
            try values.decodeIfPresent(Value.self, forKey: key) ?? standard
        }
        tokens = try values.decode(Int.self, forKey: .tokens)
        hidden = try values.decode(Int.self, forKey: .hidden)
        expertHidden = try values.decode(Int.self, forKey: .expertHidden)
        experts = try values.decode(Int.self, forKey: .experts)
        topK = try values.decode(Int.self, forKey: .topK)
        name = try value(.name, or: "run")
        expert = try value(.expert, or: expert)
        activation = try value(.activation, or: activation)
        router = try value(.router, or: router)
        groups = try value(.groups, or: groups)
        weightType = try value(.weightType, or: weightType)
        quantisation = try values.decodeIfPresent(String.self, forKey: .quantisation)
        activations = try values.decodeIfPresent(ExpertArithmetic.self, forKey: .activations)
        seed = try value(.seed, or: seed)
    }

    /// Input batches that calls rotate over. A few tokens touch a few experts: with one input those would come from the cache
    /// after the first call, which no server sees. From 64 tokens on one batch touches nearly everything anyway.
    package var inputBatches: Int { tokens <= 8 ? 16 : tokens < 64 ? 4 : 1 }

    package var kind: ExpertKind {
        switch expert {
        case .gated: .gated(activation)
        case .plain: .plain(activation)
        }
    }

    package func configuration() throws(MoEError) -> MoEConfiguration {
        guard tokens >= 1 else {
            throw .configuration(field: "tokens", value: "\(tokens)", expectation: "1 or more")
        }
        guard quantisation == nil || form != nil else {
            throw .configuration(
                field: "quantisation", value: dtype,
                expectation: "one of \(WeightQuantisation.named.map(\.name).joined(separator: ", "))")
        }
        let fits =
            switch arithmetic {
            case .exact: true
            case .int8Activations: form?.code.isInteger == true
            case .bfloat16Activations: quantisation == nil && weightType == .bfloat16
            }
        guard fits else {
            throw .configuration(
                field: "activations", value: arithmetic.rawValue,
                expectation: "exact with weights of \(dtype); int8 goes with int8 and int4 weights, bf16 with bf16")
        }
        return try MoEConfiguration(
            experts: experts, topK: topK, hidden: hidden, expertHidden: expertHidden, router: routerConfiguration,
            expert: kind, weightType: askedType)
    }

    package var arithmetic: ExpertArithmetic { activations ?? .exact }

    /// How expert weights are stored.
    package var dtype: String { quantisation ?? weightType.rawValue }

    package var form: WeightQuantisation? { WeightQuantisation.named.first { $0.name == quantisation }?.form }

    package var weights: MoEWeights {
        let random = MoEWeights.random(seed: seed)
        return form.map { random.quantised(to: $0) } ?? random
    }

    /// What the layer is told of its weights: codes it keeps as they are.
    private var askedType: ElementType? { quantisation == nil ? weightType : nil }

    private var routerConfiguration: RouterConfiguration {
        switch router {
        case .softmax: RouterConfiguration()
        case .grouped:
            RouterConfiguration(
                score: .sigmoid, hasSelectionBias: true,
                selection: .grouped(groups: groups, keep: max(groups / 2, 1), by: .topTwoSum),
                normalisation: .sum(epsilon: 1e-20), scale: 2.5)
        case .hierarchical:
            RouterConfiguration(selection: .hierarchical(groups: groups, keep: min(topK, groups)))
        }
    }

    /// The dense FFN with as many active weights: one expert of width k·F.
    package func isoActiveConfiguration() throws(MoEError) -> MoEConfiguration {
        try MoEConfiguration(
            experts: 1, topK: 1, hidden: hidden, expertHidden: topK * expertHidden, expert: kind,
            weightType: askedType)
    }
}
