import MoEKernel

/// A layer on one workload, made and checked once for all contenders.
struct WorkloadTrial {
    let workload: Workload
    let configuration: MoEConfiguration
    let weights: MoEWeights
    let source: any WeightSource
    let layer: MoELayer
    let inputs: Inputs
    let oracle: LayerOracle
    /// The work of the router's product and of the experts.
    let gating: Work
    let experts: Work
    let pool: ThreadPool
    let instructionSet: CPUInstructionSet
    let tuning: CPUTuning

    var whole: Work { gating + experts }
    var check: LayerCheck { LayerCheck(oracle) }

    func subject(_ name: String, threads: Int? = nil, instructionSet: String? = nil) -> Subject {
        Subject(
            name: name, workload: workload, dtype: workload.dtype, threads: threads ?? pool.threads,
            instructionSet: instructionSet ?? self.instructionSet.rawValue)
    }

    /// Another layer of the same weights, with a copy of them of its own.
    func layer(
        _ other: MoEConfiguration? = nil, on pool: ThreadPool? = nil, instructionSet: CPUInstructionSet? = nil
    ) throws(MoEError) -> MoELayer {
        let set = instructionSet ?? self.instructionSet
        return try MoELayer(
            other ?? configuration, weights: weights, pool: pool ?? self.pool, instructionSet: set,
            arithmetic: workload.arithmetic, tuning: set == self.instructionSet ? tuning : .chosen(set))
    }

    /// What a layer makes of every batch, [tokens, hidden].
    func outputs(of layer: MoELayer) throws(MoEError) -> [[Float]] {
        var outputs: [[Float]] = []
        for x in inputs.batches {
            outputs.append(try layer.forward(Tensor(shape: [inputs.tokens, inputs.hidden], x)).y.elements)
        }
        return outputs
    }

    /// The check, and that outputs are bit for bit those of a layer.
    func sameBits(as layer: MoELayer, of name: String) throws(MoEError) -> SameBits {
        SameBits(check, expected: try outputs(of: layer), of: name)
    }

    /// The layer as it is, and on the same weights one that is tuned otherwise; its outputs have to be the same bits.
    ///
    /// - Parameter lack: What the change is of; in the error of a layer that runs elsewhere.
    func tuned(
        _ kept: String, against other: String, lack: String, _ change: (inout CPUTuning) -> Void
    ) throws(MoEError) -> [Contender] {
        guard var tuning = layer.tuning else {
            throw .unavailable(what: lack, reason: "this layer runs on \(layer.device)")
        }
        change(&tuning)
        return [
            whole(layer, subject(kept), check: check),
            whole(try layer.withTuning(tuning), subject(other), check: try sameBits(as: layer, of: kept)),
        ]
    }

    /// A whole layer as a contender.
    func whole(_ layer: MoELayer, _ subject: Subject, check: any OutputCheck) -> Contender {
        Contender(WholeLayer(layer, subject: subject, work: whole, inputs: inputs), check: check)
    }
}

/// The layer made last, for a next workload whose layer is the same: only tokens differ.
package final class KeptLayer {
    private struct Key: Equatable {
        let workload: Workload
        let threads: Int
        let instructionSet: CPUInstructionSet
        let tuning: CPUTuning
    }

    private var key: Key?
    private var layer: MoELayer?

    package init() {}

    func layer(
        _ workload: Workload, pool: ThreadPool, instructionSet: CPUInstructionSet, tuning: CPUTuning,
        make: () throws(MoEError) -> MoELayer
    ) throws(MoEError) -> MoELayer {
        var sizes = workload
        sizes.name = ""
        sizes.tokens = 1
        // Steering changes a layer's weights in one way, whatever the choices.
        sizes.skew = workload.skew.map { _ in .hot(share: 0) }
        let wanted = Key(workload: sizes, threads: pool.threads, instructionSet: instructionSet, tuning: tuning)
        if let layer, wanted == key, layer.pool === pool { return layer }
        // The old one's memory goes before the new one is made.
        (key, layer) = (nil, nil)
        let made = try make()
        (key, layer) = (wanted, made)
        return made
    }
}
