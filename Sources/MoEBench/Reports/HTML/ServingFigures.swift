/// What requests of a serving run went through, computed from their times.
struct ServingFigures: Sendable {
    let record: ServingRecord
    /// Seconds of finished requests, rising: from the scheduled arrival to the first token, between later tokens in the mean, and to
    /// the last token.
    let firstToken: [Double]
    let perToken: [Double]
    let endToEnd: [Double]
    /// Finished requests that kept the objective.
    let good: Int

    init(_ record: ServingRecord) {
        self.record = record
        let finished = record.requests.filter { $0.outcome == .finished }
        firstToken = finished.compactMap(Self.toFirstToken).sorted()
        perToken = finished.compactMap(Self.perToken).sorted()
        endToEnd = finished.map { $0.end - $0.arrival }.sorted()
        good = finished.count { request in
            guard let first = Self.toFirstToken(request) else { return false }
            return first <= record.objective.firstToken && (Self.perToken(request) ?? 0) <= record.objective.perToken
        }
    }

    /// Requests a second that kept the objective.
    var goodput: Double { perSecond(Double(good)) }
    /// Tokens that came, whatever became of their requests.
    var tokensPerSecond: Double { perSecond(record.requests.reduce(0) { $0 + Double($1.generatedTokens) }) }

    private static func toFirstToken(_ request: ServingRecord.Request) -> Double? {
        request.firstToken.map { $0 - request.arrival }
    }

    /// nil where there is no later token.
    private static func perToken(_ request: ServingRecord.Request) -> Double? {
        guard let first = request.firstToken, request.generatedTokens > 1 else { return nil }
        return (request.end - first) / Double(request.generatedTokens - 1)
    }

    func count(_ outcome: ServingRecord.Outcome) -> Int { record.requests.count { $0.outcome == outcome } }

    private func perSecond(_ amount: Double) -> Double { record.seconds > 0 ? amount / record.seconds : 0 }

    /// nil where too few requests carry it.
    static func percentile(_ q: Double, of sorted: [Double]) -> Double? {
        let needed = q > 0.95 ? Summary.samplesForP99 : q > 0.5 ? Summary.samplesForP95 : 1
        return sorted.count >= needed ? Summary.quantile(q, ofSorted: sorted) : nil
    }

    /// "poisson 12.0/s", and what else sets runs apart.
    var label: String { "\(record.arrivals) \(Format.significant(record.rate))/s" }
}
