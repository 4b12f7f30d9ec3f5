import CPlatform
import Dispatch

@testable import MoEKernel

/// A model whose tokens are ids, as a language model's: the next one depends on all before it, which it keeps for each request like keys
/// and values. It notes what the engine asks of it, on the engine's thread.
final class TokenModel: MoEEngineModel {
    typealias Element = Int32

    /// Read it on the engine, or after its shutdown.
    final class Log: @unchecked Sendable {
        var steps: [[MoEEnginePart]] = []
        var released: [Int] = []
        var problems: [String] = []
    }

    let width = 1
    let log = Log()
    /// Throws in these steps.
    var failing: Set<Int> = []
    /// Ends a request that generates it.
    var endToken: Int32?
    /// Waited for before each step, where it is there.
    var gate: DispatchSemaphore?
    private var states: [Int: UInt64] = [:]
    private var positions: [Int: Int] = [:]

    static func absorb(_ state: UInt64, _ token: Int32) -> UInt64 {
        (state ^ UInt64(UInt32(bitPattern: token))) &* 0x9e37_79b9_7f4a_7c15
    }

    static func next(_ state: UInt64) -> Int32 { Int32(state >> 40) }

    /// What the model generates when nobody else is there.
    static func alone(_ prompt: [Int32], _ count: Int) -> [Int32] {
        var state = prompt.reduce(0, absorb)
        return (0..<count).map { _ in
            let token = next(state)
            state = absorb(state, token)
            return token
        }
    }

    func step(
        _ rows: Span<Int32>, _ parts: [MoEEnginePart], into outputs: inout MutableSpan<Int32>
    ) throws(MoEError) {
        gate?.wait()
        let number = log.steps.count
        log.steps.append(parts)
        if failing.contains(number) { throw .unavailable(what: "step \(number)", reason: "the test said so") }
        for (index, part) in parts.enumerated() {
            if positions[part.request, default: 0] != part.position {
                log.problems.append("request \(part.request) at \(part.position)")
            }
            var state = states[part.request, default: 0]
            for row in part.rows { state = Self.absorb(state, rows[row]) }
            states[part.request] = state
            positions[part.request] = part.position + part.rows.count
            if part.generates { outputs[index] = Self.next(state) }
        }
    }

    func isLast(_ row: Span<Int32>) -> Bool { row[0] == endToken }

    func release(_ request: Int) {
        if states.removeValue(forKey: request) == nil { log.problems.append("\(request) released, never seen") }
        positions[request] = nil
        log.released.append(request)
    }
}

extension MoEEngine {
    /// Runs a closure on the engine, so that no step comes between what it does.
    func between<Result: Sendable>(
        _ body: @Sendable (isolated MoEEngine) throws -> Result
    ) rethrows -> Result { try body(self) }
}

extension MoEGeneration where Value: Equatable {
    /// Every row's elements, one after the other, and why there are no more.
    func collected() async -> (values: [Value], error: MoEEngineError?) {
        var values: [Value] = []
        do throws(MoEEngineError) {
            for try await row in self { values += row }
            return (values, nil)
        } catch {
            return (values, error)
        }
    }
}

extension MoEEngineStatistics {
    /// Whether every accepted request is in one place.
    var addsUp: Bool { accepted == waiting + running + finished + cancelled + failed + stopped }
}

/// Looks again until something holds; false when it does not within ten seconds.
func eventually(_ holds: () async -> Bool) async throws -> Bool {
    for _ in 0..<10_000 {
        if await holds() { return true }
        try await Task.sleep(for: .milliseconds(1))
    }
    return false
}
