/// One projection's matrices in a device's memory, one a group: [groups, height, depth] with depth contiguous, padded with zeros to what
/// the kernels read at once.
///
/// Rows of gated experts alternate: ``gateGroup`` of the gate, then as many of up (see `MC_GATE_GROUP`).
struct DeviceMatrices: @unchecked Sendable {
    /// Experts, or one.
    let groups: Int
    /// Rows that the source has: outputs of gate, of up, or of down.
    let outputs: Int
    /// Numbers of a row that the source has.
    let inputs: Int
    let isGated: Bool
    let type: ElementType
    private let weightsOffset: Int
    private let biasOffset: Int?
    private(set) var weights: UnsafeMutableRawPointer! = nil
    /// [groups, height], in the order of the rows.
    private(set) var bias: UnsafeMutablePointer<Float>? = nil

    /// Rows and numbers of a row come in multiples of this.
    static let granule = 8
    static let gateGroup = 8

    static func padded(_ width: Int) -> Int { (width + granule - 1) / granule * granule }

    /// Rows of a group, padding included.
    var height: Int { Self.padded(outputs) * (isGated ? 2 : 1) }
    var depth: Int { Self.padded(inputs) }
    var rowBytes: Int { depth * type.byteCount }
    /// Columns of what an activation leaves of the products.
    var innerWidth: Int { Self.padded(outputs) }

    init(
        groups: Int, outputs: Int, inputs: Int, isGated: Bool = false, type: ElementType, hasBias: Bool,
        layout: inout RegionLayout
    ) {
        self.groups = groups
        self.outputs = outputs
        self.inputs = inputs
        self.isGated = isGated
        self.type = type
        let height = Self.padded(outputs) * (isGated ? 2 : 1)
        weightsOffset = layout.reserve(UInt8.self, groups * height * Self.padded(inputs) * type.byteCount)
        biasOffset = hasBias ? layout.reserve(Float.self, groups * height) : nil
    }

    mutating func place(at base: UnsafeMutableRawPointer) {
        weights = base + weightsOffset
        bias = biasOffset.map { base.array(Float.self, at: $0) }
    }

    /// Which of a group's tensors, and which of its rows, a row holds; nil for padding.
    func source(ofRow row: Int) -> (tensor: Int, row: Int)? {
        let place =
            isGated
            ? (
                tensor: row / Self.gateGroup % 2,
                row: row / (2 * Self.gateGroup) * Self.gateGroup + row % Self.gateGroup
            )
            : (tensor: 0, row: row)
        return place.row < outputs ? place : nil
    }
}
