import MoEBench
import Testing

/// How long a run will still take.
struct ProgressLineTests {
    @Test func timeLeftFollowsFromTheRoundsThatWere() {
        // Nothing is known but what was planned.
        #expect(ProgressLine.secondsLeft(round: 0, of: 20, elapsed: 0, budget: 6) == 6)
        // Five rounds took two seconds: fifteen more take six.
        #expect(ProgressLine.secondsLeft(round: 5, of: 20, elapsed: 2, budget: 100) == 6)
    }

    @Test(arguments: [
        (0.0, "1 s"), (0.2, "1 s"), (59.5, "60 s"), (119, "119 s"), (120, "2 min"), (149, "2 min"), (151, "3 min"),
        (Double.infinity, "16666667 min"), (-3, "1 s"),
    ]) func durationsAreWhole(_ seconds: Double, _ text: String) {
        #expect(ProgressLine.duration(seconds) == text)
    }
}
