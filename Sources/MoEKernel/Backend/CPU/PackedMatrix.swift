import MicroKernels

/// Matrices of one shape in panel layout, one a group (an expert; or a single group), side by side in memory.
///
/// The layout is ``PanelLayout``'s. Columns past the last are zero weights.
struct PackedMatrices: @unchecked Sendable {
    let groups: Int
    /// Reduction length K.
    let depth: Int
    /// Outputs N; where gated, the outputs F of gate and of up each.
    let columns: Int
    let gated: Bool
    let format: PanelFormat
    let hasBiases: Bool
    /// Set once the owning region exists.
    private(set) var weights: UnsafeMutableRawPointer
    private(set) var biases: UnsafeMutablePointer<Float>?

    var columnsPerPanel: Int { Self.columnsPerPanel(gated) }
    private static func columnsPerPanel(_ gated: Bool) -> Int { gated ? PanelLayout.half : PanelLayout.width }
    var panels: Int { (columns + columnsPerPanel - 1) / columnsPerPanel }
    var panelBytes: Int { format.panelBytes(depth) }
    var groupBytes: Int { panels * panelBytes }
    func weights(ofGroup group: Int) -> UnsafeRawPointer { UnsafeRawPointer(weights + group * groupBytes) }
    /// Blocks × tile floats of an activation tile that this matrix reads.
    func tileFloats(_ tileRows: Int) -> Int { PanelLayout.tileFloats(depth: depth, tileRows: tileRows) }

    /// Plans the matrices; `layout` receives their memory, which ``place(in:)`` then points at.
    ///
    /// - Parameter hasWideRows: Whether bf16 panels are laid out two by two where their number is even.
    init(
        groups: Int, depth: Int, columns: Int, gated: Bool, format: PanelFormat, hasWideRows: Bool = false,
        hasBiases: Bool, layout: inout RegionLayout
    ) {
        self.groups = groups
        self.depth = depth
        self.columns = columns
        self.gated = gated
        let perPanel = Self.columnsPerPanel(gated)
        let isEven = (columns + perPanel - 1) / perPanel % 2 == 0
        self.format = format.isBFloat16 && hasWideRows && isEven ? .wideBFloat16 : format
        self.hasBiases = hasBiases
        // Offsets for now; a region that does not exist yet has no addresses.
        weights = UnsafeMutableRawPointer(bitPattern: 64)!
        weightOffset = 0
        biasOffset = 0
        weightOffset = layout.reserve(UInt8.self, groups * groupBytes)
        biasOffset = hasBiases ? layout.reserve(Float.self, groups * panels * PanelLayout.width) : 0
    }

    mutating func place(in region: MemoryRegion) {
        weights = region.base + weightOffset
        if hasBiases { biases = region.base.array(Float.self, at: biasOffset) }
    }

    private var weightOffset: Int
    private var biasOffset: Int
}

extension PanelFormat {
    init(_ type: ElementType) {
        self =
            switch type {
            case .float32: .float32
            case .bfloat16: .bfloat16
            case .float16: .float16
            }
    }

    /// The numbers' type; nil for codes.
    var elementType: ElementType? {
        switch self {
        case .float32: .float32
        case .bfloat16, .bfloat16Pairs, .wideBFloat16: .bfloat16
        case .float16: .float16
        case .coded, .byteDot: nil
        }
    }
}
