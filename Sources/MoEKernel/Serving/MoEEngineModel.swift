/// What an engine's steps compute: embedding, layers, attention, sampling, whatever turns the tokens so far into the next one.
///
/// A token is a row of ``width`` elements. For ``MoELayerStack`` that is its activations; for a language model it may be one number, the
/// token's id, and then ``step(_:_:into:)`` embeds ids and samples the next.
///
/// A model is owned by one engine, which calls it from its own thread, one call at a time: it needs no lock. The engine's promise that a
/// request's result does not depend on those around it is the model's to keep.
public protocol MoEEngineModel: AnyObject, SendableMetatype {
    associatedtype Element: BitwiseCopyable & Sendable

    /// Elements of a row.
    var width: Int { get }

    /// Computes one step.
    ///
    /// - Parameters:
    ///   - rows: [tokens, width], all parts' rows one after the other.
    ///   - parts: Whose rows they are, each request once: those that decode, then pieces of prompts.
    ///   - outputs: [parts.count, width]: for each part that ``MoEEnginePart/generates`` its request's next token, which is the answer's
    ///     next row and the next step's input. What is written for the others is not looked at.
    /// - Throws: What fails every request of the step; the engine goes on with the others.
    func step(
        _ rows: Span<Element>, _ parts: [MoEEnginePart], into outputs: inout MutableSpan<Element>
    ) throws(MoEError)

    /// Whether a generated row, [width], is its request's last although more were asked for: an end-of-sequence token.
    func isLast(_ row: Span<Element>) -> Bool

    /// A request that had part in a step is over, in whatever way: what is kept for it, such as keys and values, can go.
    func release(_ request: Int)
}

extension MoEEngineModel {
    public func isLast(_ row: Span<Element>) -> Bool { false }
    public func release(_ request: Int) {}
}

/// One request's share of a step.
public struct MoEEnginePart: Sendable, Hashable {
    /// As ``MoEGeneration/request``.
    public let request: Int
    /// Its rows among the step's.
    public let rows: Range<Int>
    /// Tokens of the request that earlier steps computed: the place of its first row in its sequence.
    public let position: Int
    /// Whether its last row is the last token known, so that the next one is wanted: not so for a prompt's pieces before the last.
    public let generates: Bool
    /// Whether its row was generated, not given.
    public let isDecode: Bool

    /// Engines make parts; this is for whoever calls a model's step without one.
    public init(request: Int, rows: Range<Int>, position: Int, generates: Bool, isDecode: Bool) {
        self.request = request
        self.rows = rows
        self.position = position
        self.generates = generates
        self.isDecode = isDecode
    }
}
