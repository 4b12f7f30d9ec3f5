/// Scores, top-k and weights of some tokens, from their logits.
public struct RouterSelection {
    /// [tokens, stride]; the first `choices` of a row are the experts' logits.
    public var logits: UnsafePointer<Float>
    public var stride: Int
    public var choices: Int
    public var topK: Int
    public var tokens: Range<Int>
    /// [tokens, topK]
    public var indices: UnsafeMutablePointer<Int32>
    public var weights: UnsafeMutablePointer<Float>
    public var score: ScoreCode
    /// [choices], added to the scores for choosing, or nil.
    public var bias: UnsafePointer<Float>?
    public var rule: SelectionRule
    public var transform: TransformCode
    public var normalisation: NormalisationCode
    public var scale: Float
    /// [choices], or nil.
    public var expertScale: UnsafePointer<Float>?
    /// ``scratchFloats(choices:)`` of this worker.
    public var scratch: UnsafeMutablePointer<Float>

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        logits: UnsafePointer<Float>, stride: Int, choices: Int, topK: Int, tokens: Range<Int>,
        indices: UnsafeMutablePointer<Int32>, weights: UnsafeMutablePointer<Float>, score: ScoreCode,
        bias: UnsafePointer<Float>?, rule: SelectionRule, transform: TransformCode, normalisation: NormalisationCode,
        scale: Float, expertScale: UnsafePointer<Float>?, scratch: UnsafeMutablePointer<Float>
    ) {
        self.logits = logits
        self.stride = stride
        self.choices = choices
        self.topK = topK
        self.tokens = tokens
        self.indices = indices
        self.weights = weights
        self.score = score
        self.bias = bias
        self.rule = rule
        self.transform = transform
        self.normalisation = normalisation
        self.scale = scale
        self.expertScale = expertScale
        self.scratch = scratch
    }

    /// Cleaned logits, scores and keys, and as much again for groups, each padded to whole vectors.
    @_alwaysEmitIntoClient @inline(__always)
    public static func scratchFloats(choices: Int) -> Int { 6 &* padded(choices) }

    @_alwaysEmitIntoClient @inline(__always)
    static func padded(_ count: Int) -> Int { (count &+ 15) & ~15 }
}

/// From a logit to a score.
public enum ScoreCode: UInt8, Sendable {
    case softmax, sigmoid, sqrtSoftplus, logits
}

/// Who is chosen.
public enum SelectionRule {
    case topK
    /// The best of the `keep` best of `groups` groups, ranked by their best expert or by the sum of their two best.
    case grouped(groups: Int, keep: Int, topTwo: Bool)
    case sparseMixer(epsilon: Float)
    /// [vocabulary, topK] experts by token id, and the ids [tokens].
    case table(UnsafePointer<Int32>, tokenIDs: UnsafePointer<Int32>)
    /// Groups' logits stand `offset` floats into each row.
    case hierarchical(groups: Int, keep: Int, offset: Int)
    /// All, in order: the scores, for experts to choose by.
    case everyExpert
}

/// What becomes of the chosen scores.
public enum TransformCode: UInt8, Sendable {
    case none, softmax, sigmoid
}

/// What the weights are divided by.
public enum NormalisationCode: Sendable {
    case none
    case sum(epsilon: Float)
    case clampedSum(minimum: Float)
    case norm(p: Float)
}
