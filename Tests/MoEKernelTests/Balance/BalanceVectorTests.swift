import Foundation
import Testing

@testable import MoEKernel

/// The losses of the fp32 cases under `MOE_VECTORS`, from the logits and choices that the case itself lists: every family, loaded
/// or not.
@Suite struct BalanceVectorTests {
    static let cases = (ProcessInfo.processInfo.environment["MOE_VECTORS"].map(CheckpointVectorTests.folders) ?? [])
        .filter { folder in
            // Where the reference ran in bf16, its softmax did too.
            (try? SafetensorsFile(at: folder + "/expected.safetensors"))?["y_f32"] == nil
        }

    /// Tensors that hold a loss or what the bias update needs.
    static let tensors = [
        "aux_loss", "aux_loss_masked", "z_loss", "seq_aux_loss", "seq_balance_loss", "expert_load",
        "bias_after_update_gamma0.001",
    ]

    @Test func everyTensorOccurs() throws {
        guard ProcessInfo.processInfo.environment["MOE_VECTORS"] != nil else { return }
        let files = try Self.cases.map { try SafetensorsFile(at: $0 + "/expected.safetensors") }
        for name in Self.tensors { #expect(files.contains { $0[name] != nil }, "\(name)") }
        print("MOE_VECTORS: \(files.count { file in Self.tensors.contains { file[$0] != nil } }) cases with losses")
    }

    @Test(arguments: cases)
    func agreesWithTheReference(_ folder: String) throws {
        let input = try SafetensorsFile(at: folder + "/input.safetensors")
        let expected = try SafetensorsFile(at: folder + "/expected.safetensors")
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
            CheckpointVectorTests.modelType(folder) == "switch_transformers"
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
        let weights = try SafetensorsFile(at: folder + "/model.safetensors")
        let name = try #require(weights.tensors.map(\.name).first { $0.hasSuffix("e_score_correction_bias") })
        #expect(
            try SelectionBiasUpdate().updated(weights.activations(name).elements, load: routing.tokensPerExpert)
                == expected.activations("bias_after_update_gamma0.001").elements)
    }
}
