import MoEKernel

/// A design decision, measured by leaving it out: the layer as it is, and what computes the same without it, both real code on the same
/// weights and inputs, both checked by the oracle.
package enum Ablation: String, Sendable, Hashable, CaseIterable {
    case specialisation
    case scalar
    case instructionSets = "instruction-sets"
    case threads
    case gather
    case activation
    case workspace

    /// What is compared, in a line.
    package var summary: String {
        switch self {
        case .specialisation: "register tiles compiled for their shapes and formats, or one generic tile"
        case .scalar: "vector kernels, or plain Swift loops; both on one thread"
        case .instructionSets: "the widest vectors that this processor has, or narrower ones"
        case .threads: "all threads, or fewer"
        case .gather: "tokens gathered while they are packed, or copied into rows first; both on one thread"
        case .activation: "activations computed as gate and up are, or in a pass over their stored sums"
        case .workspace: "scratch memory kept from call to call, or had anew for each"
        }
    }

    /// The threads of a run, ceilings included, where variants have one: beside a pool that others have just used, the first variant
    /// after the ceilings was seen to be a fifth slower than the same code in second place.
    package var threads: Int? {
        switch self {
        case .scalar, .gather: 1
        default: nil
        }
    }

    /// What it is measured on.
    package var workloads: [Workload] {
        switch self {
        case .specialisation: SpecialisationAblation.workloads
        // Plain loops need a second for a gigaflop.
        case .scalar: [.small(tokens: 32), .small(tokens: 4)]
        case .instructionSets, .threads: [.small(tokens: 512), .small(tokens: 32), .decode]
        case .gather: [.small(tokens: 128), .many(tokens: 128)]
        case .activation: [.small(tokens: 512), .small(tokens: 32)]
        case .workspace: [.small(tokens: 512), .small(tokens: 32), .decode]
        }
    }

    /// The same with other tokens, or in another type.
    ///
    /// - Parameters:
    ///   - tokens: Each shape is measured on each of these; nil leaves them as they are.
    ///   - type: nil leaves it as it is.
    package func workloads(tokens: [Int]?, type: ElementType?) -> [Workload] {
        var result: [Workload] = []
        for var workload in workloads {
            if let type { workload.weightType = type }
            // Its name may tell of the tokens that it had.
            if tokens != nil { workload.name = "\(workload.experts) experts" }
            for count in tokens ?? [workload.tokens] {
                workload.tokens = count
                // Shapes that differed in their tokens alone are one now.
                let isThere = result.contains { $0.sizes == workload.sizes && $0.dtype == workload.dtype }
                if !isThere { result.append(workload) }
            }
        }
        return result
    }

    /// The variants, the layer as it is first.
    func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        let contenders = try variants(trial)
        guard contenders.count > 1 else {
            throw .unavailable(
                what: "the study \(rawValue)",
                reason: "this run has \(contenders[0].implementation.subject.name) alone, and nothing less")
        }
        return contenders
    }

    private func variants(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        switch self {
        case .specialisation: try SpecialisationAblation.contenders(trial)
        case .scalar: try ScalarAblation.contenders(trial)
        case .instructionSets: try InstructionSetAblation.contenders(trial)
        case .threads: try ThreadAblation.contenders(trial)
        case .gather: try GatherAblation.contenders(trial)
        case .activation: try ActivationAblation.contenders(trial)
        case .workspace: try WorkspaceAblation.contenders(trial)
        }
    }
}

extension Workload {
    /// Few experts of a common small width.
    fileprivate static func small(tokens: Int) -> Workload {
        Workload(name: "8 experts", tokens: tokens, hidden: 512, expertHidden: 2048, experts: 8, topK: 2)
    }

    /// Many narrow experts, where rows are spread thin.
    fileprivate static func many(tokens: Int) -> Workload {
        Workload(
            name: "64 experts", tokens: tokens, hidden: 1024, expertHidden: 256, experts: 64, topK: 8)
    }

    /// One token, and weights that no cache holds.
    fileprivate static let decode = Workload(
        name: "32 experts", tokens: 1, hidden: 2048, expertHidden: 768, experts: 32, topK: 8, weightType: .bfloat16)
}
