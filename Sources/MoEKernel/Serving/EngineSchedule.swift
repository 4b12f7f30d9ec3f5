/// A request as the engine keeps it.
final class EngineRequest<Value: BitwiseCopyable & Sendable> {
    let number: Int
    let channel: GenerationChannel<Value>
    let promptTokens: Int
    let outputTokens: Int
    /// [promptTokens, width]; empty once computed.
    var prompt: [Value]
    /// The row generated last, [width]: the next step's input.
    var last: [Value] = []
    /// Rows that steps have computed, and rows they have generated.
    var computed = 0
    var generated = 0

    init(number: Int, prompt: [Value], promptTokens: Int, outputTokens: Int) {
        self.number = number
        self.prompt = prompt
        self.promptTokens = promptTokens
        self.outputTokens = outputTokens
        channel = GenerationChannel()
    }

    /// Whether a step has worked on it, and whether it needs no more.
    var hasStarted = false
    var isOver = false

    var decodes: Bool { generated > 0 }
}

/// Who waits, who runs, and what each step does.
///
/// Continuous batching with prefill in pieces, decodes first. Sources: Yu et al., "Orca: A Distributed Serving System for
/// Transformer-Based Generative Models", 2022; Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve",
/// 2024. Every running request that decodes has its token in every step; what is left of the batch goes to prompts, the earliest
/// accepted first, in pieces as large as fit. So a long prompt makes a step at most `maximumBatchTokens` long and holds nobody up for
/// longer, and nobody overtakes: a request starts only when those before it have.
struct EngineSchedule<Value: BitwiseCopyable & Sendable> {
    typealias Request = EngineRequest<Value>

    private(set) var waiting: [Request] = []
    /// In the order in which they started.
    private(set) var running: [Request] = []
    /// The step's parts, and the request of each.
    private(set) var parts: [MoEEnginePart] = []
    private(set) var requests: [Request] = []

    var isEmpty: Bool { waiting.isEmpty && running.isEmpty }

    mutating func append(_ request: Request) { waiting.append(request) }

    /// Decides the next step; there is none when no request is left.
    mutating func formStep(_ limits: MoEEngineLimits) {
        parts.removeAll(keepingCapacity: true)
        requests.removeAll(keepingCapacity: true)
        var rows = 0
        for request in running where request.decodes { add(request, 1, &rows) }
        // That is one request at most, since none starts before those under way have all they want; and a row is left for it, since
        // there are no more running requests than rows. So every running request has part in every step.
        for request in running where !request.decodes { add(request, limits.maximumBatchTokens - rows, &rows) }
        var admitted = 0
        while admitted < waiting.count, running.count < limits.maximumRunning, rows < limits.maximumBatchTokens {
            let request = waiting[admitted]
            request.hasStarted = true
            running.append(request)
            add(request, limits.maximumBatchTokens - rows, &rows)
            admitted += 1
        }
        waiting.removeFirst(admitted)
    }

    private mutating func add(_ request: Request, _ most: Int, _ rows: inout Int) {
        let count = request.decodes ? 1 : min(most, request.promptTokens - request.computed)
        parts.append(
            MoEEnginePart(
                request: request.number, rows: rows..<rows + count, position: request.computed,
                generates: request.computed + count >= request.promptTokens, isDecode: request.decodes))
        requests.append(request)
        rows += count
    }

    /// Takes requests out of the running ones.
    mutating func removeRunning(where isOver: (Request) -> Bool) -> [Request] { Self.remove(&running, isOver) }

    mutating func removeWaiting(where isOver: (Request) -> Bool) -> [Request] { Self.remove(&waiting, isOver) }

    private static func remove(_ list: inout [Request], _ isOver: (Request) -> Bool) -> [Request] {
        let removed = list.filter(isOver)
        if !removed.isEmpty { list.removeAll(where: isOver) }
        return removed
    }
}
