/// One run of an engine that served requests: every request with its times, and the queue as it went.
///
/// Times are seconds since the run's start. Latencies count from the arrival that was scheduled, not from when the engine looked at it:
/// a stall delays all who arrive meanwhile, and each of them is counted so ("coordinated omission" leaves them out).
package struct ServingRecord: Sendable, Hashable, Codable {
    package enum Outcome: String, Sendable, Hashable, Codable, CaseIterable {
        case finished
        /// Turned away at once: the queue was full.
        case rejected
        /// Its sender gave up.
        case cancelled
        /// The engine could not compute it.
        case failed
    }

    package struct Request: Sendable, Hashable, Codable {
        /// Scheduled, not observed.
        package let arrival: Double
        package let promptTokens: Int
        /// Tokens that were asked for.
        package let outputTokens: Int
        /// Tokens that came.
        package let generatedTokens: Int
        package let outcome: Outcome
        /// When the first token came; nil where none did.
        package let firstToken: Double?
        /// When the last token came, or the request was rejected, cancelled or failed.
        package let end: Double

        package init(
            arrival: Double, promptTokens: Int, outputTokens: Int, generatedTokens: Int, outcome: Outcome,
            firstToken: Double?, end: Double
        ) {
            self.arrival = arrival
            self.promptTokens = promptTokens
            self.outputTokens = outputTokens
            self.generatedTokens = generatedTokens
            self.outcome = outcome
            self.firstToken = firstToken
            self.end = end
        }
    }

    /// The engine before one of its steps.
    package struct Step: Sendable, Hashable, Codable {
        package let time: Double
        /// Requests that wait, and that are being computed.
        package let waiting: Int
        package let running: Int
        /// Tokens of the step's batch.
        package let tokens: Int

        package init(time: Double, waiting: Int, running: Int, tokens: Int) {
            self.time = time
            self.waiting = waiting
            self.running = running
            self.tokens = tokens
        }
    }

    /// What a request must keep to count as served well.
    package struct Objective: Sendable, Hashable, Codable {
        /// Seconds to the first token.
        package let firstToken: Double
        /// Mean seconds between later tokens.
        package let perToken: Double

        package init(firstToken: Double, perToken: Double) {
            self.firstToken = firstToken
            self.perToken = perToken
        }
    }

    /// The layer that every layer of the stack is like.
    package let workload: Workload
    package let layers: Int
    package let threads: Int
    package let instructionSet: String
    package let device: String
    package let build: String
    /// "poisson" or "bursty".
    package let arrivals: String
    /// Requests a second that were scheduled.
    package let rate: Double
    package let seed: UInt64
    package let maximumWaiting: Int
    package let maximumRunning: Int
    /// Most tokens of one step.
    package let maximumBatchTokens: Int
    package let objective: Objective
    /// Seconds from the start to the end of the last request.
    package let seconds: Double
    /// The most memory that the process held, in bytes; nil where it is not known.
    package let peakBytes: Int?
    /// The longest queue before any step, kept or not; nil in files of a time when it was not recorded.
    package let mostWaiting: Int?
    package let requests: [Request]
    /// No more than some thousands: longer runs keep every n-th.
    package let steps: [Step]
    package let partial: Bool

    package init(
        workload: Workload, layers: Int, threads: Int, instructionSet: String, device: String, build: String,
        arrivals: String, rate: Double, seed: UInt64, maximumWaiting: Int, maximumRunning: Int, maximumBatchTokens: Int,
        objective: Objective, seconds: Double, peakBytes: Int?, mostWaiting: Int? = nil, requests: [Request],
        steps: [Step], partial: Bool
    ) {
        self.workload = workload
        self.layers = layers
        self.threads = threads
        self.instructionSet = instructionSet
        self.device = device
        self.build = build
        self.arrivals = arrivals
        self.rate = rate
        self.seed = seed
        self.maximumWaiting = maximumWaiting
        self.maximumRunning = maximumRunning
        self.maximumBatchTokens = maximumBatchTokens
        self.objective = objective
        self.seconds = seconds
        self.peakBytes = peakBytes
        self.mostWaiting = mostWaiting
        self.requests = requests
        self.steps = steps
        self.partial = partial
    }
}
