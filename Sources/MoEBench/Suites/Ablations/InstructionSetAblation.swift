import MoEKernel

/// The same layer in each instruction set that this processor has, from that of the run down. Those with fused multiply-add agree bit
/// for bit.
enum InstructionSetAblation {
    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        let widest = trial.instructionSet
        let sets = CPUInstructionSet.supported.prefix { $0 != widest }
        var contenders = [trial.whole(trial.layer, trial.subject(widest.rawValue), check: trial.check)]
        for set in sets.reversed() {
            let check: any OutputCheck =
                set == .baseline ? trial.check : try trial.sameBits(as: trial.layer, of: widest.rawValue)
            contenders.append(
                trial.whole(
                    try trial.layer(instructionSet: set), trial.subject(set.rawValue, instructionSet: set.rawValue),
                    check: check))
        }
        return contenders
    }
}
