import MoEKernel

/// The arithmetic and the memory traffic that one call cannot do without.
package struct Work: Sendable, Hashable, Codable {
    /// Floating-point operations, two a multiply-add. Activations, softmax and sorting are not counted.
    package let flops: Int
    /// Those of them whose factors are bytes.
    package let byteOperations: Int
    /// Those of them whose factors are pairs of bf16 numbers.
    package let pairOperations: Int
    /// Bytes of weights that have to be read once.
    package let bytes: Int
    /// Bytes that calls walk over before they come back to the same ones: what decides which cache could hold them.
    package let workingSet: Int

    package init(flops: Int, byteOperations: Int = 0, pairOperations: Int = 0, bytes: Int, workingSet: Int? = nil) {
        self.flops = flops
        self.byteOperations = byteOperations
        self.pairOperations = pairOperations
        self.bytes = bytes
        self.workingSet = workingSet ?? bytes
    }

    /// Files of a time before there were rounded activations do not tell of them.
    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        flops = try values.decode(Int.self, forKey: .flops)
        byteOperations = try values.decodeIfPresent(Int.self, forKey: .byteOperations) ?? 0
        pairOperations = try values.decodeIfPresent(Int.self, forKey: .pairOperations) ?? 0
        bytes = try values.decode(Int.self, forKey: .bytes)
        workingSet = try values.decode(Int.self, forKey: .workingSet)
    }

    /// The operations that are done in an arithmetic.
    package func operations(_ arithmetic: ExpertArithmetic) -> Int {
        switch arithmetic {
        case .exact: flops - byteOperations - pairOperations
        case .int8Activations: byteOperations
        case .bfloat16Activations: pairOperations
        }
    }

    /// A stage without multiply-adds, whose cost is neither arithmetic nor traffic.
    package static let uncounted = Work(flops: 0, bytes: 0)

    package static func + (a: Work, b: Work) -> Work {
        Work(
            flops: a.flops + b.flops, byteOperations: a.byteOperations + b.byteOperations,
            pairOperations: a.pairOperations + b.pairOperations, bytes: a.bytes + b.bytes,
            workingSet: a.workingSet + b.workingSet)
    }
}

extension Work {
    /// x · Wᵀ of the router.
    package static func gating(_ configuration: MoEConfiguration, tokens: Int) -> Work {
        let weights = configuration.experts * configuration.hidden
        return Work(
            flops: product(2, tokens, weights), bytes: weights * (configuration.weightType ?? .float32).byteCount)
    }

    /// The experts, from where tokens were really sent. With several batches, which calls rotate over, it is the mean of a
    /// call, and the working set is all that the batches touch together.
    ///
    /// - Parameters:
    ///   - form: What their weights are quantised to; nil for numbers.
    ///   - sharedTokens: Tokens of a call, which the shared expert sees where there is one.
    package static func experts(
        _ configuration: MoEConfiguration, form: WeightQuantisation? = nil, arithmetic: ExpertArithmetic = .exact,
        tokensPerExpert batches: [[Int]], sharedTokens: Int = 0
    ) -> Work {
        let matrices = configuration.expert.projections.count
        let weights = matrices * configuration.hidden * configuration.expertHidden
        let sharedWeights = matrices * configuration.hidden * (configuration.shared.width ?? 0)
        func bytes(_ name: (Projection) -> WeightName) -> Int {
            configuration.expert.projections.reduce(0) { sum, projection in
                let (rows, columns) = configuration.shape(of: name(projection))
                let bits = form?.bits(inputs: columns) ?? Double((configuration.weightType ?? .float32).byteCount * 8)
                return sum + Int(Double(rows * columns) * bits / 8)
            }
        }
        let expertBytes = bytes { .expert(0, $0) }
        let sharedBytes = bytes { .shared($0) }
        let assignments = batches.reduce(0) { $0 + $1.reduce(0, +) }
        let touched = batches.reduce(0) { $0 + $1.count { $0 > 0 } }
        let together = (0..<configuration.experts).count { expert in batches.contains { $0[expert] > 0 } }
        let flops = sum(product(2, weights, assignments) / batches.count, product(2, sharedWeights, sharedTokens))
        return Work(
            flops: flops, byteOperations: arithmetic == .int8Activations ? flops : 0,
            pairOperations: arithmetic == .bfloat16Activations ? flops : 0,
            bytes: expertBytes * touched / batches.count + sharedBytes,
            workingSet: expertBytes * together + sharedBytes)
    }

    /// A sum of numbers from 0 that stops at the largest number.
    static func sum(_ a: Int, _ b: Int) -> Int { min(a, .max - b) + b }

    /// A product that stops at the largest number: only work that no machine could do gets there.
    static func product(_ factors: Int...) -> Int {
        factors.reduce(1) { partial, factor in
            let (result, overflow) = partial.multipliedReportingOverflow(by: factor)
            return overflow ? .max : result
        }
    }
}
