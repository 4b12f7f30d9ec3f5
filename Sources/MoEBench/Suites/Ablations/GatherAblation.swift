import MoEKernel

/// What it buys that experts gather their tokens while packing them: the experts' stage as it is, beside one whose tokens are first
/// copied, row by row, into the order of experts, and then packed from there by the same kernels.
///
/// The routing and its plan are made outside the timed calls, and so is the combination. Both sides go through the library's stage
/// ``MoELayer/computeExperts(_:_:)``, which gets its memory anew in each call. They run on one thread: the copy is plain Swift, and
/// beside kernels on all threads it would be held against them that it is not.
enum GatherAblation {
    static let fused = "gathered in packing"
    static let separate = "gathered first"

    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        let c = trial.configuration
        guard c.shared == .none, c.weightSide == .output, c.identityExperts == 0, c.latent == nil else {
            throw .unavailable(
                what: "the gather ablation", reason: "it computes routed experts alone, weighted afterwards")
        }
        let pool = trial.pool.threads == 1 ? trial.pool : try ThreadPool(threads: 1)
        let layer = trial.pool.threads == 1 ? trial.layer : try trial.layer(on: pool)
        func experts(_ name: String, copies: Bool) throws(MoEError) -> GatheredExperts {
            try GatheredExperts(
                layer, copies: copies, subject: trial.subject(name, threads: 1), work: trial.experts,
                inputs: trial.inputs)
        }
        return [
            Contender(try experts(fused, copies: false), check: trial.check),
            Contender(
                try experts(separate, copies: true), check: try trial.sameBits(as: trial.layer, of: fused)),
        ]
    }
}

/// The experts' stage, with or without a copy of its tokens in the order of experts.
private final class GatheredExperts: Implementation {
    let subject: Subject
    let work: Work
    private let layer: MoELayer
    private let copies: Bool
    private let inputs: Inputs
    private let batches: [Batch]
    /// [rows, hidden] of the batch at hand.
    private var rows: Tensor<Float>
    private var result: ExpertOutput?

    private struct Batch {
        let x: Tensor<Float>
        let routing: Routing
        let plan: DispatchPlan
        /// Row r is token r.
        let copied: DispatchPlan
    }

    init(
        _ layer: MoELayer, copies: Bool, subject: Subject, work: Work, inputs: Inputs
    ) throws(MoEError) {
        self.layer = layer
        self.copies = copies
        self.subject = subject
        self.work = work
        self.inputs = inputs
        var batches: [Batch] = []
        for batch in inputs.batches {
            let x = try Tensor(shape: [inputs.tokens, inputs.hidden], batch)
            let routing = try layer.route(x)
            let plan = DispatchPlan(routing)
            batches.append(Batch(x: x, routing: routing, plan: plan, copied: try Self.rowByRow(plan, routing)))
        }
        self.batches = batches
        rows = try Tensor(shape: [inputs.tokens * layer.configuration.topK, inputs.hidden], repeating: 0)
    }

    /// The same rows as tokens of their own, in the order of experts: each has its expert in its first slot, and no more.
    private static func rowByRow(_ plan: DispatchPlan, _ routing: Routing) throws(MoEError) -> DispatchPlan {
        let k = routing.topK
        var indices: [Int32] = []
        for expert in 0..<routing.experts {
            for _ in plan.rows(of: expert) {
                indices.append(Int32(expert))
                indices += Array(repeating: 0, count: k - 1)
            }
        }
        return DispatchPlan(
            try Routing(
                tokens: plan.rows, experts: routing.experts, topK: k,
                logits: Array(repeating: 0, count: plan.rows * routing.experts), expertIndices: indices,
                weights: Array(repeating: 1, count: plan.rows * k), kept: indices.indices.map { $0 % k == 0 }))
    }

    func run(_ batch: Int) throws(MoEError) {
        let batch = batches[batch]
        if copies {
            copy(batch)
            result = try layer.computeExperts(rows, batch.copied)
        } else {
            result = try layer.computeExperts(batch.x, batch.plan)
        }
    }

    private func copy(_ batch: Batch) {
        let hidden = inputs.hidden
        batch.x.span.withUnsafeBufferPointer { x in
            rows.mutableSpan.withUnsafeMutableBufferPointer { rows in
                for (row, token) in batch.plan.rowTokens.enumerated() {
                    (rows.baseAddress! + row * hidden).update(from: x.baseAddress! + Int(token) * hidden, count: hidden)
                }
            }
        }
    }

    func poison(_ batch: Int) {
        result = nil
        rows.mutableSpan.withUnsafeMutableBufferPointer { rows in
            for index in rows.indices { rows[index] = .nan }
        }
    }

    func output(_ batch: Int) throws(MoEError) -> StageOutput {
        guard let result else { throw .unavailable(what: "the experts' rows", reason: "no call left any") }
        let batch = batches[batch]
        return .activations(try layer.combine(result, batch.routing, batch.plan).elements)
    }
}
