/// Matrices that share a tensor: those of all experts, or gate and up, or both.
struct FusedTensor {
    let file: SafetensorsFile
    let tensor: SafetensorsTensor
    /// Outputs of one expert's matrix, gate and up together, and its inputs.
    let outputs: Int
    let inputs: Int
    let major: MajorOrder
    let storage: Storage

    enum Storage {
        case plain(ElementType)
        /// Codes, an output's taking `rowBytes`, and scales that lie as `rule` says.
        case quantised(WeightCode, group: Int, rowBytes: Int, scales: StoredScales, rule: ScaleRule)
    }

    /// Which row of the scales belongs to an output.
    enum ScaleRule {
        case eachOutput
        case eachExpert
        /// A row for so many outputs, counted from an expert's first; `perExpert` such rows.
        case blocks(outputs: Int, perExpert: Int)
        /// The same, counted from the first of gate and of up: what merging two tensors with blocks of their own gives.
        case blocksOfParts(outputs: Int, perPart: Int)
    }

    /// Outputs `first`, `first + step`, … of an expert's matrix, `count` of them.
    ///
    /// - Parameter part: 0 for the gate, 1 for up, where they share the tensor.
    func matrix(expert: Int, first: Int, step: Int, count: Int, part: Int = 0) -> StoredMatrix {
        switch storage {
        case .plain(let type):
            let size = type.byteCount
            let start = expert * outputs * inputs * size
            switch major {
            case .outputs:
                return StoredMatrix(
                    file: file, tensor: tensor, format: .plain(type), rows: count, columns: inputs,
                    offset: start + first * inputs * size, stride: step * inputs * size)
            case .inputs:
                return StoredMatrix(
                    file: file, tensor: tensor, format: .transposed(type), rows: inputs, columns: count,
                    offset: start + first * size, stride: outputs * size, step: step)
            }
        case .quantised(let code, let group, let rowBytes, var scales, let rule):
            switch rule {
            case .eachOutput:
                scales.first = expert * outputs + first
                scales.step = step
            case .eachExpert:
                scales.first = expert
                scales.step = 0
            case .blocks(let block, let perExpert):
                scales.first = expert * perExpert
                scales.rowBlock = block
                scales.inset = first
            case .blocksOfParts(let block, let perPart):
                scales.first = (expert * 2 + part) * perPart
                scales.rowBlock = block
            }
            return StoredMatrix(
                file: file, tensor: tensor, format: .quantised(code, group: group), rows: count, columns: inputs,
                offset: (expert * outputs + first) * rowBytes, stride: step * rowBytes, scales: scales)
        }
    }
}
