/// A serving run as the charts need it: its summary, and the latencies that curves are drawn from.
struct ServingFigures: Sendable {
    let record: ServingRecord
    let summary: ServingSummary
    /// Where it ran; nil where it is not known.
    let machine: Machine?
    /// Seconds of finished requests, rising: from the scheduled arrival to the first token, between later tokens in the mean, and to
    /// the last token.
    let firstToken: [Double]
    let perToken: [Double]
    let endToEnd: [Double]

    init(_ record: ServingRecord, on machine: Machine? = nil) {
        self.record = record
        self.machine = machine
        summary = ServingSummary(record)
        let finished = record.requests.filter { $0.outcome == .finished }
        firstToken = finished.compactMap(\.timeToFirstToken).sorted()
        perToken = finished.compactMap(\.timePerToken).sorted()
        endToEnd = finished.map(\.endToEnd).sorted()
    }

    /// nil where too few requests carry it.
    static func percentile(_ q: Double, of sorted: [Double]) -> Double? {
        let needed = q > 0.95 ? Summary.samplesForP99 : q > 0.5 ? Summary.samplesForP95 : 1
        return sorted.count >= needed ? Summary.quantile(q, ofSorted: sorted) : nil
    }

    /// "poisson 12.0/s", and what else sets runs apart.
    var label: String { "\(record.arrivals) \(Format.significant(record.rate))/s" }
}
