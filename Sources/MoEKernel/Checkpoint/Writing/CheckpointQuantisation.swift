/// What ``CheckpointQuantiser`` did: sizes, and how far the quantised weights are from the original ones.
public struct CheckpointQuantisation: Sendable, Hashable {
    /// One layer's experts, routed and shared.
    public struct Layer: Sendable, Hashable {
        /// Its index in the model.
        public let layer: Int
        /// Matrices that were quantised.
        public let matrices: Int
        /// Bytes of the matrices' tensors in the original.
        public let bytesBefore: Int
        /// Bytes of the codes, scales and zero points.
        public let bytesAfter: Int
        /// Of all gate matrices, all up and all down matrices together.
        public let errors: [Projection: QuantisationError]
        /// The matrix of the largest relative error.
        public let worst: Matrix
    }

    /// A matrix and its relative error.
    public struct Matrix: Sendable, Hashable {
        /// Its tensor in the original, or part of one, and its file.
        public let name: String
        /// ``QuantisationError/relative``.
        public let relativeError: Double
    }

    /// The layers, ascending.
    public let layers: [Layer]
    /// Bytes of all tensors in the original.
    public let bytesBefore: Int
    /// Bytes of all tensors that were written.
    public let bytesAfter: Int
    /// Files that hold them.
    public let files: Int

    /// Of all layers together.
    public var errors: [Projection: QuantisationError] {
        layers.reduce(into: [:]) { sums, layer in
            for (projection, error) in layer.errors { sums[projection, default: QuantisationError()] += error }
        }
    }

    /// The matrix of the largest relative error, of equals the first; nil where there are no layers.
    public var worst: Matrix? {
        layers.reduce(nil as Matrix?) { worst, layer in
            if let worst, worst.relativeError >= layer.worst.relativeError { worst } else { layer.worst }
        }
    }
}

extension CheckpointQuantisation.Layer {
    init(_ plan: QuantisedLayerPlan, _ matrices: [(matrix: WeightName, error: QuantisationError)]) {
        var errors: [Projection: QuantisationError] = [:]
        var worst: (matrix: WeightName, error: Double)?
        for (matrix, error) in matrices {
            switch matrix {
            case .expert(_, let projection), .shared(let projection):
                errors[projection, default: QuantisationError()] += error
            default: continue
            }
            if error.relative > worst?.error ?? -1 { worst = (matrix, error.relative) }
        }
        self.init(
            layer: plan.layer, matrices: matrices.count, bytesBefore: plan.replacedBytes,
            bytesAfter: plan.entries.reduce(0) { $0 + $1.byteCount }, errors: errors,
            worst: .init(
                name: worst.map { plan.source.describe($0.matrix) } ?? "none", relativeError: worst?.error ?? 0))
    }
}
