import MoEKernel

/// What compiling the register tiles for their shapes and formats buys: the whole layer with them, beside the same layer, on the same
/// weights, whose one generic tile learns rows, panels and format at run time.
package enum SpecialisationAblation {
    package static let specialised = "specialised"
    package static let generic = "generic"

    /// Full tiles of fp32 and of bf16, tiles of few rows, and the single row of decoding.
    package static let workloads = [
        Workload(name: "full tiles", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2),
        Workload(
            name: "full tiles, bf16", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2,
            weightType: .bfloat16),
        Workload(name: "few rows", tokens: 32, hidden: 512, expertHidden: 2048, experts: 8, topK: 2),
        Workload(
            name: "decode", tokens: 1, hidden: 2048, expertHidden: 768, experts: 128, topK: 8, weightType: .bfloat16),
    ]

    /// Both layers. The generic one must agree with the oracle and, bit for bit, with the other.
    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        try trial.tuned(specialised, against: generic, lack: "tiles compiled for their shapes") {
            $0.isSpecialised = false
        }
    }
}
