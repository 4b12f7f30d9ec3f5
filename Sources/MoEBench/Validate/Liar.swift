import MoEKernel

/// A layer that does its work, all but: what a timer must notice.
final class Liar: Implementation {
    enum Lie: String, CaseIterable {
        case honest = "honest work"
        case idle = "nothing after the first call"
        case sometimes = "nothing in every third call"
        case cached = "the first input's answer for every input"
        case nearly = "one number off by a ten-thousandth"
        case short = "the last token left out"
        case boast = "more work claimed than any machine does"
    }

    let subject: Subject
    let work: Work
    private let lie: Lie
    private let layer: WholeLayer
    private var calls = 0

    init(_ lie: Lie, _ layer: WholeLayer) {
        self.lie = lie
        self.layer = layer
        subject = layer.subject
        let claimed = layer.work
        work = lie == .boast ? Work(flops: 1 << 60, bytes: claimed.bytes, workingSet: claimed.workingSet) : claimed
    }

    func run(_ batch: Int) throws(MoEError) {
        calls += 1
        switch lie {
        case .idle where calls > 1, .sometimes where calls % 3 == 0: return
        case .cached: try layer.run(0)
        default: try layer.run(batch)
        }
    }

    func poison(_ batch: Int) throws(MoEError) { layer.poison(batch) }

    func output(_ batch: Int) throws(MoEError) -> StageOutput {
        guard case .activations(var y) = layer.output(batch) else { return layer.output(batch) }
        let hidden = subject.workload.hidden
        switch lie {
        case .nearly:
            // The largest of a token's numbers: nothing that rounding could hide.
            guard let index = y.indices.prefix(hidden).max(by: { abs(y[$0]) < abs(y[$1]) }) else { break }
            y[index] *= 1 + 1e-4
        case .short:
            for index in y.indices.suffix(hidden) { y[index] = .nan }
        default: break
        }
        return .activations(y)
    }
}
