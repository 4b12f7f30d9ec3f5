import MoEKernel

/// One run of a sweep: a workload, how it is computed, and for how long.
package struct SweepPoint: Sendable {
    package var workload: Workload
    /// Seconds of timed calls.
    package var budget: Double
    /// nil takes what the suite is run with.
    package var threads: Int?
    package var instructionSet: CPUInstructionSet?
    package var tuning: CPUTuning?
    package var contest = WorkloadRunner.Contest.baselines
    /// The values of what is varied, in the order of ``Sweep/varied``.
    package var values: [String] = []

    package init(_ workload: Workload, budget: Double) {
        self.workload = workload
        self.budget = budget
    }
}
