/// What was measured, and on what. Two measurements may be compared only where all but `name` agree.
package struct Subject: Sendable, Hashable, Codable {
    /// The stage or the implementation, such as "whole layer" or "dense-all-experts".
    package let name: String
    package let workload: Workload
    /// "cpu".
    package let device: String
    /// How weights are stored while they are read.
    package let dtype: String
    package let threads: Int
    /// The instruction set of the kernels, or what the compiler's baseline is for plain Swift.
    package let instructionSet: String

    package init(
        name: String, workload: Workload, device: String = "cpu", dtype: String, threads: Int, instructionSet: String
    ) {
        self.name = name
        self.workload = workload
        self.device = device
        self.dtype = dtype
        self.threads = threads
        self.instructionSet = instructionSet
    }
}
