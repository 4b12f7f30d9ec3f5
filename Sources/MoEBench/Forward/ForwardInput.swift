import MoEKernel

/// What a forward reads from its input file: tensor `x`, and what some families need beside it.
package struct ForwardInput: Sendable {
    /// Of x: [tokens, hidden] or [batch, sequence, hidden].
    package let shape: [Int]
    package let context: TokenContext
    private let file: SafetensorsFile

    /// Reads a file's header, and the small tensors: `attention_mask` and `input_ids`, of x's shape without its last dimension,
    /// and `router_input`, of x's shape.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where a tensor is missing, or of a shape, type or value that it
    ///   cannot have.
    package init(at path: String) throws(MoEError) {
        file = try SafetensorsFile(at: path)
        let x = try file.tensor("x")
        guard x.shape.count == 2 || x.shape.count == 3 else {
            throw .checkpoint(
                file: path, tensor: "x",
                problem: "has shape \(x.shape); expected [tokens, hidden] or [batch, sequence, hidden]")
        }
        shape = x.shape
        var context = TokenContext()
        if x.shape.count == 3, x.shape[1] > 0 { context.sequenceLength = x.shape[1] }
        let tokenShape = Array(x.shape.dropLast())
        if let mask = try Self.integers("attention_mask", tokenShape, file) {
            if let odd = mask.first(where: { $0 != 0 && $0 != 1 }) {
                throw .checkpoint(
                    file: path, tensor: "attention_mask",
                    problem: "holds a \(odd); expected 1 for a token, 0 for padding")
            }
            context.attentionMask = mask.map { $0 == 1 }
        }
        if let ids = try Self.integers("input_ids", tokenShape, file) {
            var narrow: [Int32] = []
            for id in ids {
                guard let id = Int32(exactly: id), id >= 0 else {
                    throw .checkpoint(
                        file: path, tensor: "input_ids",
                        problem: "holds a \(id); expected ids of a vocabulary, 0 to \(Int32.max)")
                }
                narrow.append(id)
            }
            context.tokenIDs = narrow
        }
        if let input = file["router_input"] {
            guard input.shape == x.shape else {
                throw .checkpoint(
                    file: path, tensor: "router_input", problem: "has shape \(input.shape); expected x's, \(x.shape)")
            }
            context.routerInput = try file.activations("router_input").elements
        }
        self.context = context
    }

    /// Whether the file holds what a layer needs beside x.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` for token ids that are missing or outside of the vocabulary.
    package func check(for configuration: MoEConfiguration) throws(MoEError) {
        guard case .table(let vocabulary) = configuration.router.selection else { return }
        guard file["input_ids"] != nil else {
            throw .checkpoint(
                file: file.path, tensor: "input_ids", problem: "is missing; this layer chooses experts by token id")
        }
        if let odd = context.tokenIDs.first(where: { $0 >= vocabulary }) {
            throw .checkpoint(
                file: file.path, tensor: "input_ids",
                problem: "holds a \(odd); expected ids below the vocabulary's \(vocabulary)")
        }
    }

    /// Whether x is answered in bf16: it is where it comes so. fp16 has no activation type; it is computed and answered in fp32.
    package var isBFloat16: Bool { file["x"]?.type == .bf16 }

    package func x<Element: ActivationElement>(as type: Element.Type) throws(MoEError) -> Tensor<Element> {
        try file.activations("x", as: type)
    }

    private static func integers(
        _ name: String, _ shape: [Int], _ file: SafetensorsFile
    ) throws(MoEError) -> [Int]? {
        guard let tensor = file[name] else { return nil }
        guard tensor.shape == shape else {
            throw .checkpoint(
                file: file.path, tensor: name,
                problem: "has shape \(tensor.shape); expected \(shape), one for each token of x")
        }
        return try file.integers(name)
    }
}
