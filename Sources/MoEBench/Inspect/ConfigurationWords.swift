import MoEKernel

/// A layer's place in the parameter space, in words.
struct ConfigurationWords {
    let configuration: MoEConfiguration

    init(_ configuration: MoEConfiguration) { self.configuration = configuration }

    /// What each part of the layer is, in the order in which a token meets them.
    var rows: [(title: String, text: String)] {
        var rows = [("sizes", sizes), ("router", router), ("experts", experts), ("shared expert", shared)]
        if let capacity { rows.append(("capacity", capacity)) }
        if !others.isEmpty { rows.append(("besides", others.joined(separator: "; "))) }
        return rows
    }

    private var sizes: String {
        let c = configuration
        return
            "E \(c.experts) experts, k \(c.topK) a token, H \(c.hidden) model width, F \(c.expertHidden) expert width"
            + (c.identityExperts > 0 ? ", and \(c.identityExperts) experts that return their input" : "")
            + (c.latent.map { ", experts in a latent width of \($0)" } ?? "")
    }

    /// From logits to weights.
    private var router: String {
        let r = configuration.router
        var steps: [String] = []
        if case .rootMeanSquareNormalised = r.input { steps.append("normalised input") }
        steps.append(r.hasBias ? "logits with a bias" : "logits")
        switch r.score {
        case .softmax: steps.append("softmax")
        case .sigmoid: steps.append("sigmoid")
        case .sqrtSoftplus: steps.append("√softplus")
        case .logits: break
        }
        let k = configuration.topK
        let corrected = r.hasSelectionBias ? " after a correction" : ""
        switch r.selection {
        case .topK: steps.append("the \(k) best\(corrected)")
        case .grouped(let groups, let keep, let score):
            let rank = score == .max ? "best expert" : "two best experts"
            steps.append("the \(k) best of the \(keep) best of \(groups) groups, ranked by their \(rank)\(corrected)")
        case .sparseMixer(let epsilon): steps.append("two by sparsemixer, ε \(number(epsilon))")
        case .table(let vocabulary): steps.append("the \(k) that a table lists for the token's id, of \(vocabulary)")
        case .hierarchical(let groups, let keep):
            steps.append("the \(k) best of \(keep) of \(groups) groups, in two levels")
        case .expertChoice: steps.append("experts choose their tokens")
        }
        switch r.weightTransform {
        case .none: break
        case .softmaxOverSelected: steps.append("softmax over them")
        case .sigmoid: steps.append("sigmoid of each")
        }
        switch r.normalisation {
        case .none: break
        case .sum(let epsilon):
            steps.append("divided by their sum" + (epsilon > 0 ? " + \(number(epsilon))" : ""))
        case .clampedSum(let minimum): steps.append("divided by their sum, at least \(number(minimum))")
        case .norm(let p): steps.append("divided by their \(number(p))-norm")
        }
        if r.scale != 1 { steps.append("times \(number(r.scale))") }
        if r.hasExpertScale { steps.append("times a factor of each expert") }
        if configuration.weightSide == .input { steps.append("on the experts' input") }
        return steps.joined(separator: " → ")
    }

    private var experts: String {
        let kind = configuration.expert
        let biases = kind.hasBiases ? ", with biases" : ""
        switch kind {
        case .gated(let activation, _): return "gate, up and down, \(activation.rawValue)\(biases)"
        case .gatedClamped(let gate, _):
            let gating = gate.alpha == 1 ? "silu(gate)" : "gate·σ(\(number(gate.alpha))·gate)"
            let up = gate.upOffset == 0 ? "up" : "(up + \(number(gate.upOffset)))"
            return "gate, up and down, \(gating)·\(up), both clamped at \(number(gate.limit))\(biases)"
        case .plain(let activation, _): return "up and down, \(activation.rawValue)\(biases)"
        }
    }

    private var shared: String {
        let c = configuration
        let text: String
        switch c.shared {
        case .none: return "none"
        case .dense(let width): text = "width \(width)"
        case .sigmoidGated(let width): text = "width \(width), times a learned sigmoid"
        }
        return text + (c.sharedCombine == .average ? ", averaged with the routed sum" : ", added")
            + (c.hasSharedBiases ? ", with biases" : "")
    }

    private var capacity: String? {
        guard let rule = configuration.capacity.rule else { return nil }
        let limit =
            switch rule.limit {
            case .fixed(let count): "\(count) choices"
            case .factor(let factor): "\(number(Float(factor))) times an even share"
            case .tokenFraction(let fraction): "\(number(Float(fraction))) of the tokens"
            case .twiceEvenShare: "twice an even share"
            }
        let order =
            switch rule.order {
            case .position: "token by token"
            case .choiceRank: "first choices first"
            case .tokenPriority: "first choices first, surest tokens first"
            case .weight: "largest weights first"
            }
        return "\(limit) an expert \(rule.scope == .sequence ? "and sequence" : "and batch"), \(order)"
    }

    private var others: [String] {
        let c = configuration
        var words: [String] = []
        if c.expertOutputScale != 1 { words.append("expert outputs times \(number(c.expertOutputScale))") }
        if c.hasOutputBias { words.append("a bias on every output") }
        return words
    }

    /// As short as it can be read back.
    private func number(_ value: Float) -> String {
        let text = "\(value)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }
}

extension WeightFormat {
    /// What people call it.
    ///
    /// - Parameter inputs: Those of the matrix.
    func words(inputs: Int) -> String {
        switch self {
        case .plain(let type): type.rawValue
        case .transposed(let type): "\(type.rawValue), inputs first"
        case .quantised(let code, let group, let zeroPoints):
            "\(code.rawValue), " + (zeroPoints ? "zero points, " : "")
                + (group >= inputs ? "a scale for each output" : "a scale for \(group) inputs")
        }
    }
}
