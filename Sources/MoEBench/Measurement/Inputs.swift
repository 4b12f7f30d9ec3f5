import MoEKernel

/// The activations that every implementation of a comparison reads, made from a seed; they never change while it runs, and
/// the timer looks.
package final class Inputs: Sendable {
    package let tokens: Int
    package let hidden: Int
    /// Batches of [tokens, hidden]; calls rotate over them.
    package let batches: [[Float]]

    package init(tokens: Int, hidden: Int, batches: [[Float]]) {
        self.tokens = tokens
        self.hidden = hidden
        self.batches = batches
    }

    /// Uniform with mean 0 and variance 1, as after a model's normalisation.
    package convenience init(_ workload: Workload) {
        var generator = SplitMix64(seed: workload.seed ^ 0x1a9b_7d3c_55e1_0f42)
        let scale = Float(3).squareRoot() * 0x1p-31
        let batches = (0..<workload.inputBatches).map { _ in
            (0..<workload.tokens * workload.hidden).map { _ in
                Float(Int32(truncatingIfNeeded: generator.next() >> 32)) * scale
            }
        }
        self.init(tokens: workload.tokens, hidden: workload.hidden, batches: batches)
    }

    /// The same numbers, rounded to what a type holds.
    package func held(by type: ElementType) -> Inputs {
        Inputs(tokens: tokens, hidden: hidden, batches: batches.map { $0.map(type.rounded) })
    }

    /// The same tokens made useless: other values that route elsewhere. Run through a stage before a call that is checked, it
    /// leaves nothing behind that could pass for the call's own result.
    package func decoy(of batch: Int) -> [Float] { batches[batch].map { -3 * $0 } }

    /// A fingerprint of shape and bits.
    package var hash: String {
        var fingerprint = Fingerprint()
        fingerprint.add(UInt64(tokens))
        fingerprint.add(UInt64(hidden))
        for batch in batches {
            batch.withUnsafeBytes { fingerprint.add($0) }
        }
        return fingerprint.text
    }
}
