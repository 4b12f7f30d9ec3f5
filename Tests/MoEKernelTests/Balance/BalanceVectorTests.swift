import Foundation
import Testing
import VectorCases

@testable import MoEKernel

/// The losses of the fp32 cases, from the logits and choices that the case itself lists.
@Suite struct BalanceVectorTests {
    static let cases = VectorCase.all.filter {
        // Where the reference ran in bf16, its softmax did too.
        (try? $0.file("expected"))?["y_f32"] == nil
    }

    /// Tensors that hold a loss or what the bias update needs.
    static let tensors = [
        "aux_loss", "aux_loss_masked", "z_loss", "seq_aux_loss", "seq_balance_loss", "expert_load",
        "bias_after_update_gamma0.001",
    ]

    @Test func everyTensorOccurs() throws {
        let files = try Self.cases.map { try $0.file("expected") }
        for name in Self.tensors { #expect(files.contains { $0[name] != nil }, "\(name)") }
    }

    @Test(arguments: cases)
    func agreesWithTheReference(_ test: VectorCase) throws {
        let input = try test.file("input")
        let expected = try test.file("expected")
        let logits = try expected.activations("router_logits")
        let chosen = try expected.integers("topk_indices")
        let tokens = logits.rows
        let routing = try Routing(
            tokens: tokens, experts: logits.columns, topK: chosen.count / tokens, logits: logits.elements,
            expertIndices: chosen.map(Int32.init), weights: Array(repeating: 1, count: chosen.count))
        let sequence = try input.activations("x").shape[1]

        func compare(_ name: String, _ value: () throws -> Double) throws {
            guard expected[name] != nil else { return }
            let (value, reference) = (try value(), Double(try expected.activations(name).elements[0]))
            #expect(abs(value - reference) <= 1e-5 * abs(reference), "\(name): \(value), reference \(reference)")
        }
        try compare("aux_loss") {
            test.description.hasPrefix("switch_transformers")
                ? try routing.switchLoss(sequenceLength: sequence) : routing.loadBalancingLoss
        }
        try compare("aux_loss_masked") {
            try routing.loadBalancingLoss(mask: input.integers("attention_mask").map { $0 != 0 })
        }
        try compare("z_loss") { routing.zLoss }
        try compare("seq_aux_loss") { try routing.sequenceBalanceLoss(sequenceLength: sequence) }
        try compare("seq_balance_loss") { try routing.sequenceBalanceLoss(sequenceLength: sequence, score: .sigmoid) }

        guard expected["expert_load"] != nil else { return }
        #expect(try routing.tokensPerExpert.map(Float.init) == expected.activations("expert_load").elements)
        let checkpoint = try MoECheckpoint(at: test.folder)
        let bias = try checkpoint.weightSource(layer: test.layer).floats(
            .selectionBias, checkpoint.configuration(layer: test.layer))
        #expect(
            try SelectionBiasUpdate().updated(bias, load: routing.tokensPerExpert)
                == expected.activations("bias_after_update_gamma0.001").elements)
    }
}
