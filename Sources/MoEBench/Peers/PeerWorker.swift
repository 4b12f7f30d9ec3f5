#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// How long a peer may take before it counts as one that hangs, in seconds.
package struct PeerPatience: Sendable, Hashable {
    /// To load its library.
    package var start = 120.0
    /// To read its weights and run every batch once.
    package var prepare = 180.0
    /// For a burst of calls, beside twenty times what they should take.
    package var burst = 30.0

    package init() {}
}

/// One library's process. Between what it is asked it is stopped.
final class PeerWorker {
    let library: Peer.Library
    /// "torch 2.9.1, Python 3.13.1", once it has said so.
    private(set) var program = ""
    private let launch: PeerLaunch
    private let exchange: PeerExchange
    private let patience: PeerPatience
    private let interruption: Interruption
    private var process: PeerProcess?

    init(
        _ library: Peer.Library, _ launch: PeerLaunch, _ exchange: PeerExchange, patience: PeerPatience,
        interruption: Interruption
    ) {
        self.library = library
        self.launch = launch
        self.exchange = exchange
        self.patience = patience
        self.interruption = interruption
    }

    var isAlive: Bool { process != nil }

    /// Starts the process, or starts it anew.
    func start(threads: Int) throws(PeerFailure) {
        end()
        process = try PeerProcess(
            launch.command(library, folder: exchange.folder), environment: launch.environment(threads: threads),
            errorLog: exchange.file("\(library.rawValue).log"))
        let hello: PeerHello = try answer(within: patience.start)
        if let missing = hello.missing {
            end()
            throw .missing(missing)
        }
        guard hello.hello == PeerHello.version, let program = hello.program else {
            end()
            throw .rubbish("it speaks version \(hello.hello ?? 0) of these messages, not \(PeerHello.version)")
        }
        self.program = PeerFailure.oneLine(program)
        process?.stop()
    }

    /// Builds a layer and runs it once on every batch.
    ///
    /// - Returns: the outputs of all batches, and what some calls took, in nanoseconds.
    func prepare(_ peer: Peer, batches: Int, elements: Int) throws(PeerFailure) -> (y: [Float], nanoseconds: [UInt64]) {
        let (_, times) = try timed(.prepare, peer, within: patience.prepare)
        return (try exchange.take(Self.output, count: batches * elements), times)
    }

    /// Times calls, after one that is not timed.
    ///
    /// - Returns: nanoseconds of each, the output of the last, and the batch that this was on.
    func time(
        _ peer: Peer, calls: Int, expected seconds: Double, batches: Int, elements: Int
    ) throws(PeerFailure) -> (nanoseconds: [UInt64], y: [Float], batch: Int) {
        let (answer, times) = try timed(
            .time, peer, calls: calls, within: patience.burst + 20 * seconds * Double(calls))
        guard times.count == calls, let batch = answer.batch, (0..<batches).contains(batch) else {
            throw .rubbish("\(times.count) times for \(calls) calls, the last on batch \(answer.batch ?? -1)")
        }
        return (times, try exchange.take(Self.output, count: elements), batch)
    }

    private static let output = "output.f32"

    /// Asks for something that takes time, and holds what the peer says of it against what passed here.
    private func timed(
        _ verb: PeerRequest.Verb, _ peer: Peer, calls: Int? = nil, within seconds: Double
    ) throws(PeerFailure) -> (PeerAnswer, [UInt64]) {
        let clock = ContinuousClock()
        let start = clock.now
        let answer = try ask(verb, peer, calls: calls, within: seconds)
        let passed = (clock.now - start) / .nanoseconds(1)
        guard let times = answer.nanoseconds, !times.isEmpty else { throw .rubbish("it told no times") }
        guard times.allSatisfy({ $0 > 0 }) else { throw .impossible("a call took no time, it says") }
        guard times.reduce(0.0, { $0 + Double($1) }) <= passed else {
            throw .impossible("its calls took longer, it says, than the request for them")
        }
        return (answer, times)
    }

    private func ask(
        _ verb: PeerRequest.Verb, _ peer: Peer, calls: Int? = nil, within seconds: Double
    ) throws(PeerFailure) -> PeerAnswer {
        guard let process else { throw .ended("its program ended before, with another of its layers") }
        // Nobody's earlier output may pass for this one's.
        let output = exchange.file(Self.output)
        try? FileManager.default.removeItem(atPath: output)
        let request = PeerRequest(do: verb, peer: peer.name, calls: calls, output: output)
        guard let line = try? JSONEncoder().encode(request) else { throw .rubbish("the request") }
        process.resume()
        defer { process.stop() }
        do throws(PeerFailure) {
            try process.send(line)
        } catch {
            end()
            throw error
        }
        let answer: PeerAnswer = try answer(within: seconds)
        if let unsupported = answer.unsupported { throw .unsupported(unsupported) }
        if let failed = answer.failed { throw .failed(failed) }
        return answer
    }

    /// The next line as a message. Who does not answer, or with something else, is ended.
    private func answer<Message: Decodable>(within seconds: Double) throws(PeerFailure) -> Message {
        guard let process else { throw .ended("its program is not there") }
        do throws(PeerFailure) {
            let line = try process.receive(within: seconds, interruption)
            guard let message = try? JSONDecoder().decode(Message.self, from: line) else {
                throw .rubbish("\"\(PeerFailure.oneLine(String(decoding: line.prefix(100), as: UTF8.self)))\"")
            }
            return message
        } catch {
            end()
            throw error
        }
    }

    func end() {
        process?.end()
        process = nil
    }
}
