import MoEBench
import Testing

/// What would be measured, in a table.
struct SuiteListTests {
    private let terminal = Terminal(hasStyle: false, hasProgress: false)
    private let layer = Workload(name: "mine", tokens: 4, hidden: 64, expertHidden: 32, experts: 8, topK: 2)

    @Test func rowsTellSizesAndWhatVaries() {
        var first = SweepPoint(layer, budget: 3)
        first.values = ["4", "uniform"]
        var second = SweepPoint(layer, budget: 4)
        second.workload.tokens = 512
        second.values = ["512", "zipf:1"]
        let lines = SuiteList(
            [first, second], varied: ["tokens", "routing"], skipped: [("experts 1, top-k 2", "more than there are")]
        ).lines(terminal)
        #expect(
            lines == [
                "run  workload  tokens  hidden  expert  experts  k  type  routing  seconds",
                "  1  mine           4      64      32        8  2  fp32  uniform        3",
                "  2  mine         512      64      32        8  2  fp32   zipf:1        4",
                "left out: experts 1, top-k 2: more than there are", "", "2 runs, at most 7 s of timed calls.",
            ])
    }

    @Test func studiesAreNamed() {
        var point = SweepPoint(layer, budget: 5)
        point.contest = .ablation(.activation)
        let lines = SuiteList([point]).lines(terminal)
        #expect(lines.first == "run  workload  study       tokens  hidden  expert  experts  k  type  seconds")
        #expect(lines.last == "1 run, at most 5 s of timed calls.")
    }
}
