/// The traffic of a run. Everything follows from the seed before the first request is sent: when each comes, how long it is, and whether
/// its sender gives up. How the engine fares has no influence on it, which makes the load open-loop.
package struct ServingLoad: Sendable, Hashable {
    /// How much of it there is.
    package enum Extent: Sendable, Hashable {
        case requests(Int)
        /// Arrivals of that many seconds.
        case seconds(Double)
    }

    package var arrivals = ArrivalProcess.poisson
    /// Requests a second.
    package var rate: Double
    package var extent: Extent
    package var prompt: LengthDistribution
    package var output: LengthDistribution
    /// The share of requests whose senders give up, 0 to 1: after a number of tokens between none and all but the last.
    package var cancelled = 0.0
    package var seed: UInt64 = 1

    package init(rate: Double, extent: Extent, prompt: LengthDistribution, output: LengthDistribution) {
        self.rate = rate
        self.extent = extent
        self.prompt = prompt
        self.output = output
    }

    package struct Request: Sendable, Hashable {
        /// Seconds since the run's start.
        package let arrival: Double
        package let promptTokens: Int
        package let outputTokens: Int
        /// Tokens after which its sender gives up; nil where it wants them all.
        package let cancelAfter: Int?
    }

    /// The requests in the order of their arrival.
    package func schedule() -> [Request] {
        // A stream of its own for each: the same requests come at every rate, and cancellations change no length.
        var gaps = SplitMix64(seed: seed ^ 0x6172_7269_7661_6c73)
        var lengths = SplitMix64(seed: seed ^ 0x6c65_6e67_7468_7321)
        var moods = SplitMix64(seed: seed ^ 0x7061_7469_656e_6365)
        var requests: [Request] = []
        var time = 0.0
        while true {
            time += arrivals.gap(using: &gaps) / rate
            switch extent {
            case .requests(let count): if requests.count == count { return requests }
            case .seconds(let seconds): if time > seconds { return requests }
            }
            let promptTokens = prompt.draw(using: &lengths)
            let outputTokens = output.draw(using: &lengths)
            let givesUp = moods.unit() < cancelled
            let patience = Int(moods.unit() * Double(outputTokens))
            requests.append(
                Request(
                    arrival: time, promptTokens: promptTokens, outputTokens: outputTokens,
                    cancelAfter: givesUp ? patience : nil))
        }
    }
}
