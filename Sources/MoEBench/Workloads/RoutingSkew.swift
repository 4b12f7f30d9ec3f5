import MoEKernel

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Which experts a workload's tokens choose, where that is not left to a random router, which spreads them about evenly.
///
/// It says what is wished for. ``RouterSteering`` makes inputs from which the layer's own router chooses so, and what the router then chose
/// is what a report tells.
package enum RoutingSkew: Sendable, Hashable, Codable {
    /// The expert of rank r, in an order that the seed shuffles, is drawn in proportion to r^-exponent; a token's experts are drawn one
    /// after the other, without the drawn ones.
    case zipf(exponent: Double)
    /// One expert, which the seed picks, is among the experts of this share of the tokens, and the others are chosen evenly.
    case hot(share: Double)
    /// Choices out of a file, token by token, from the first again after the last.
    case recorded(routing: RecordedRouting)

    /// Reads `uniform` (nil), `zipf:1.2`, `hot:0.5` or `file:PATH`.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` for other text; what ``RecordedRouting/read(_:)`` throws.
    package static func parse(_ text: String) throws(MoEError) -> RoutingSkew? {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let number = parts.count == 2 ? Double(parts[1]) : nil
        switch parts[0] {
        case "uniform" where parts.count == 1: return nil
        case "zipf":
            if let number, number.isFinite, number > 0, number <= 10 { return .zipf(exponent: number) }
        case "hot":
            if let number, number >= 0, number <= 1 { return .hot(share: number) }
        case "file" where parts.count == 2 && !parts[1].isEmpty:
            return .recorded(routing: try RecordedRouting.read(parts[1]))
        default: break
        }
        throw .input(
            name: "routing", value: "\"\(text)\"",
            expectation: "uniform, zipf:S (S above 0, at most 10), hot:SHARE (0 to 1) or file:PATH")
    }

    /// Experts of every token of every batch, [batches][tokens · k], best first.
    ///
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` where the layer cannot choose so.
    func choices(_ workload: Workload, _ configuration: MoEConfiguration) throws(MoEError) -> [[Int]] {
        let experts = configuration.choices, k = configuration.topK
        var groups: (size: Int, kept: Int)?
        switch configuration.router.selection {
        case .topK, .sparseMixer: break
        case .grouped(let count, let keep, _): groups = (experts / count, keep)
        default:
            throw .configuration(
                field: "routing", value: description,
                expectation: "uniform with this router, which chooses otherwise than by the best logits")
        }
        var generator = SplitMix64(seed: workload.seed ^ 0x2f5c_1d8e_9a60_43b7)
        let tokens = workload.tokens
        var choices: [[Int]] = []
        switch self {
        case .recorded(let routing):
            try check(routing, configuration, groups)
            for batch in 0..<workload.inputBatches {
                choices.append(
                    (0..<tokens).flatMap { token in
                        let row = (batch * tokens + token) % routing.tokens
                        return routing.choices[row * k..<(row + 1) * k].map { Int($0) }
                    })
            }
        case .zipf(let exponent):
            var rates = [Double](repeating: 0, count: experts)
            for (rank, expert) in Array(0..<experts).shuffled(using: &generator).enumerated() {
                rates[expert] = pow(Double(rank + 1), -exponent)
            }
            for _ in 0..<workload.inputBatches {
                choices.append((0..<tokens).flatMap { _ in Self.draw(k, rates, groups, &generator) })
            }
        case .hot(let share):
            guard k < experts else {
                throw .configuration(
                    field: "routing", value: description, expectation: "uniform where every token visits every expert")
            }
            let hot = Int(generator.next().multipliedFullWidth(by: UInt64(experts)).high)
            var due = generator.unit()
            for _ in 0..<workload.inputBatches {
                var batch: [Int] = []
                for _ in 0..<tokens {
                    due += share
                    let isHot = due >= 1
                    if isHot { due -= 1 }
                    var rates = [Double](repeating: 1, count: experts)
                    // First in every race, or in none.
                    rates[hot] = isHot ? .infinity : 0
                    batch += Self.draw(k, rates, groups, &generator)
                }
                choices.append(batch)
            }
        }
        return choices
    }

    /// k different experts, drawn one after the other in proportion to their rates: each runs for an exponentially distributed time, and
    /// the first k to arrive are it. With groups, an expert of one more group than are kept does not count.
    private static func draw(
        _ k: Int, _ rates: [Double], _ groups: (size: Int, kept: Int)?, _ generator: inout SplitMix64
    ) -> [Int] {
        let times = rates.map { rate in rate == 0 ? .infinity : -log(1 - generator.unit()) / rate }
        var chosen: [Int] = []
        var used: Set<Int> = []
        for expert in times.indices.sorted(by: { (times[$0], $0) < (times[$1], $1) }) where chosen.count < k {
            if let groups {
                let group = expert / groups.size
                guard used.contains(group) || used.count < groups.kept else { continue }
                used.insert(group)
            }
            chosen.append(expert)
        }
        return chosen
    }

    private func check(
        _ routing: RecordedRouting, _ configuration: MoEConfiguration, _ groups: (size: Int, kept: Int)?
    ) throws(MoEError) {
        func failure(_ value: String, _ expectation: String) -> MoEError {
            .configuration(field: "routing", value: "\(description), \(value)", expectation: expectation)
        }
        guard !routing.choices.isEmpty else { throw failure("without its choices", "the file they are in") }
        guard routing.topK == configuration.topK else {
            throw failure("\(routing.topK) experts a token", "\(configuration.topK), the layer's")
        }
        for token in 0..<routing.tokens {
            let row = routing.choices[token * routing.topK..<(token + 1) * routing.topK].map { Int($0) }
            if let odd = row.first(where: { $0 >= configuration.choices }) {
                throw failure("token \(token) to expert \(odd)", "experts below \(configuration.choices)")
            }
            if let groups, Set(row.map { $0 / groups.size }).count > groups.kept {
                throw failure("token \(token) to \(row)", "experts of at most \(groups.kept) groups of \(groups.size)")
            }
        }
    }
}

extension Workload {
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` where the layer cannot be made to route as wished.
    package func checkSkew(_ configuration: MoEConfiguration) throws(MoEError) {
        guard let skew else { return }
        var few = self
        few.tokens = 1
        _ = try skew.choices(few, configuration)
        try RouterSteering.check(configuration)
    }
}

extension RoutingSkew: CustomStringConvertible {
    /// As ``parse(_:)`` reads it, but for the folder of a file.
    package var description: String {
        switch self {
        case .zipf(let exponent): "zipf:\(Format.short(exponent))"
        case .hot(let share): "hot:\(Format.short(share))"
        case .recorded(let routing): "file:\(routing.file)"
        }
    }
}
