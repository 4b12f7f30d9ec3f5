/// A step's rows, gathered from its requests. Grows to the largest step, and is used again.
struct EngineBatch<Value: BitwiseCopyable & Sendable> {
    private var rows: [Value] = []
    private var outputs: [Value] = []
    private(set) var tokens = 0

    mutating func gather(_ requests: [EngineRequest<Value>], _ parts: [MoEEnginePart], width: Int) {
        rows.removeAll(keepingCapacity: true)
        outputs.removeAll(keepingCapacity: true)
        for (request, part) in zip(requests, parts) {
            if part.isDecode {
                rows += request.last
            } else {
                rows += request.prompt[part.position * width..<(part.position + part.rows.count) * width]
            }
            // Some row for the model to write over.
            outputs += rows.suffix(width)
        }
        tokens = parts.last?.rows.upperBound ?? 0
    }

    mutating func compute<Model: MoEEngineModel>(
        _ model: Model, _ parts: [MoEEnginePart]
    ) throws(MoEError) where Model.Element == Value {
        try Self.compute(model, rows, parts, into: &outputs)
    }

    /// A mutable span of one part of a struct is an access to all of it; hence apart.
    private static func compute<Model: MoEEngineModel>(
        _ model: Model, _ rows: [Value], _ parts: [MoEEnginePart], into outputs: inout [Value]
    ) throws(MoEError) where Model.Element == Value {
        var span = outputs.mutableSpan
        try model.step(rows.span, parts, into: &span)
    }

    func output(_ part: Int, width: Int) -> [Value] { Array(outputs[part * width..<(part + 1) * width]) }
}
