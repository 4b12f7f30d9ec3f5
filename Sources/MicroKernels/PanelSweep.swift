import CPlatform

/// One task of a grouped GEMM: some token rows of one expert against some panels of one of its matrices.
public struct PanelSweep {
    /// The rows' packed tiles, `tileStride` floats apart.
    public var activations: UnsafePointer<Float>
    public var tileStride: Int
    /// Floats from one reduction block of a tile to the next, in these tiles and in those of the epilogue.
    public var blockStride: Int
    /// Rows spread evenly over the tiles.
    public var tiles: TileSplit
    /// Length of the reduction.
    public var depth: Int
    /// Panel 0 of the matrix, and the panels to do.
    public var weights: UnsafeRawPointer
    public var format: PanelFormat
    public var panels: Range<Int>
    /// Weights that are wanted after these, if any are: asked for during the last panels.
    public var after: UnsafeRawPointer?
    /// [panels][16], or nil.
    public var biases: UnsafePointer<Float>?
    /// Scratch of this worker: accumulators, 16 floats for each row and panel taken together, and 256 × 16 floats for each of
    /// two panels of widened weights.
    public var accumulators: UnsafeMutablePointer<Float>
    public var widened: UnsafeMutablePointer<Float>
    /// What becomes of the sums.
    public var epilogue: Epilogue
    public var tuning: SweepTuning

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        activations: UnsafePointer<Float>, tileStride: Int, blockStride: Int, tiles: TileSplit, depth: Int,
        weights: UnsafeRawPointer, format: PanelFormat, panels: Range<Int>, after: UnsafeRawPointer?,
        biases: UnsafePointer<Float>?,
        accumulators: UnsafeMutablePointer<Float>, widened: UnsafeMutablePointer<Float>, epilogue: Epilogue,
        tuning: SweepTuning
    ) {
        self.activations = activations
        self.tileStride = tileStride
        self.blockStride = blockStride
        self.tiles = tiles
        self.depth = depth
        self.weights = weights
        self.format = format
        self.panels = panels
        self.after = after
        self.biases = biases
        self.accumulators = accumulators
        self.widened = widened
        self.epilogue = epilogue
        self.tuning = tuning
    }

    /// What is asked for meanwhile: a panel's next block; after the last one the first of the panel that follows, `panel`;
    /// after that what is wanted after the sweep.
    @_alwaysEmitIntoClient @inline(__always)
    func next(_ block: UnsafeRawPointer?, panel: Int, panelStride: Int) -> UnsafeRawPointer {
        if let block { return block }
        let following: UnsafeRawPointer = weights + panel &* panelStride
        return panel >= panels.upperBound ? after ?? following : following
    }
}

/// What a sweep leaves to the machine it runs on.
public struct SweepTuning: Sendable, Hashable {
    /// Panels that tiles take together where several tiles share them: 1 or 2. Two halve the reads of the activations, and want
    /// a first-level cache for 32 KiB of weights and a tile.
    public var sharedPanels: Int
    /// Up to this many tiles read bf16 weights as they are stored; more read them widened once into the first-level cache.
    public var directTiles: Int
    /// The most panels that a lone tile reads side by side, rounded down to a power of two.
    public var streamPanels: Int
    /// Bytes ahead that a lone tile asks for weights that are not coded; 0 for the next block.
    public var streamAhead: Int
    /// Whether the tiles compiled for their shape and format run, or the generic one, over codes once widened.
    public var isSpecialised: Bool

    public init(
        sharedPanels: Int, directTiles: Int, streamPanels: Int, streamAhead: Int, isSpecialised: Bool = true
    ) {
        self.sharedPanels = sharedPanels
        self.directTiles = directTiles
        self.streamPanels = streamPanels
        self.streamAhead = streamAhead
        self.isSpecialised = isSpecialised
    }

    /// Bytes ahead that a lone tile of some rows asks; nil for the next block. The instructions that a processor has begun on reach as far
    /// ahead by themselves as there are few for each line.
    @_alwaysEmitIntoClient @inline(__always)
    func ahead(rows: Int) -> Int? { streamAhead > 0 ? streamAhead &* (rows &+ 3) / 4 : nil }

    /// Panels for a lone tile of which `preferred`, a power of two, would suit the arithmetic. That counts from so many rows on that
    /// a row of weights, 8 bytes a cycle at best, does not take longer to read than to multiply; then eight sums at least hide the
    /// latency of two multiply-adds a cycle.
    @_alwaysEmitIntoClient @inline(__always)
    func streamed(_ preferred: Int, rows: Int, rowBytes: Int) -> Int {
        let sums = rows &* 8 > rowBytes ? 8 : 0
        var panels = preferred
        while panels > streamPanels && panels > 1 && panels / 2 &* rows >= sums { panels >>= 1 }
        return panels
    }
}

/// Rows divided over tiles as evenly as they go: 7 rows are 4 + 3, not 6 + 1, since a tile of one row is bound by the latency
/// of its multiply-adds.
public struct TileSplit {
    public let rows: Int
    public let count: Int
    /// Rows that each tile has, and tiles that have one more. Kept, since kernels ask where a tile starts for every block of
    /// every panel, and a division costs tens of cycles.
    @usableFromInline let each: Int
    @usableFromInline let larger: Int

    @_alwaysEmitIntoClient @inline(__always)
    public init(rows: Int, tileRows: Int) {
        self.init(rows: rows, count: (rows &+ tileRows &- 1) / tileRows)
    }

    @_alwaysEmitIntoClient @inline(__always)
    public init(rows: Int, count: Int) {
        self.rows = rows
        self.count = count
        each = count > 1 ? rows / count : rows
        larger = count > 1 ? rows &- each &* count : 0
    }

    /// First row of a tile.
    @_alwaysEmitIntoClient @inline(__always)
    public func start(_ tile: Int) -> Int { tile &* each &+ min(tile, larger) }
}

/// What a sweep does with its finished sums.
public enum Epilogue {
    /// Activation, product with up where gated, into the packed tiles that the down projection reads.
    case activate(ActivationCode, gated: Bool, tiles: UnsafeMutablePointer<Float>, tileStride: Int)
    /// A clamped gate and its up value, likewise.
    case activateClamped(GateClamp, tiles: UnsafeMutablePointer<Float>, tileStride: Int)
    /// Rows of a row-major matrix, `columns` wide.
    case store(UnsafeMutablePointer<Float>, columns: Int)
    /// As they are, [panels][rows][16], for a later sweep of no depth, which is its epilogue alone.
    case keep(UnsafeMutablePointer<Float>)
}

/// The elementwise function of an expert.
public enum ActivationCode: UInt8, Sendable {
    case silu, gelu, geluTanh, quickGelu, relu, reluSquared
}

/// The macro-kernel. For each panel: for each block of k: every tile of rows. A block of a panel (16 KiB in fp32) is read from
/// memory once, stays in the first-level cache for all row tiles, and the next one is asked for meanwhile; the activations
/// come from the second level. Sums of earlier blocks wait in `accumulators`, 64 bytes a row.
@_alwaysEmitIntoClient @inline(__always)
public func sweepPanels<ISA: InstructionSet>(_: ISA.Type, _ sweep: PanelSweep) {
    let panelStride = sweep.format.panelBytes(sweep.depth)
    let perRow = sweep.format.panelsPerRow
    let rowStride: Int = panelStride &* perRow
    let fullBlock = sweep.format.blockBytes(PanelLayout.block)
    let split = sweep.tiles
    let blocks = PanelLayout.blocks(sweep.depth)
    let cPanelStride: Int = split.rows &* 16
    let single = split.count == 1
    // One tile of rows reads its weights as they are stored. Many tiles, and any over codes that would not fit a tile's
    // registers beside its sums, read them widened.
    let specialised = sweep.tuning.isSpecialised
    let streaming =
        single && (specialised || !sweep.format.isCoded)
        ? ISA.streamingPanels(sweep.format, rows: split.rows, sweep.tuning) : 0
    let direct =
        sweep.format.isFloat32 || perRow > 1
        || sweep.format.isBFloat16 && !single && split.count <= sweep.tuning.directTiles
    let widen = streaming == 0 && !direct
    let together = max(streaming == 0 ? sweep.tuning.sharedPanels : streaming, perRow)
    let nextStep: Int = sweep.format.rowBytes / split.count

    var panel = sweep.panels.lowerBound
    while panel < sweep.panels.upperBound {
        let group = panel &+ together <= sweep.panels.upperBound ? together : perRow
        let stream: UnsafeRawPointer = sweep.weights + panel &* panelStride
        var block = 0
        while block < blocks {
            let depth = min(PanelLayout.block, sweep.depth &- block &* PanelLayout.block)
            let source: UnsafeRawPointer = stream + block &* fullBlock
            var b = source
            if widen {
                var member = 0
                while member < group {
                    widenRows(
                        ISA.self, sweep.format, source + member &* panelStride, depth: depth,
                        into: sweep.widened + member &* PanelLayout.block &* 16)
                    member &+= 1
                }
                b = UnsafeRawPointer(sweep.widened)
            }
            // Each tile asks for its share of the next block, spread evenly over its steps: a burst would fill the processor's
            // queue of misses and stop the arithmetic until it drains. Into the second level, since the first is full with this
            // block and the activations.
            let next = sweep.next(
                block &+ 1 < blocks ? source + fullBlock : nil, panel: panel &+ group, panelStride: panelStride)
            var tile = 0
            while tile < split.count {
                let first = split.start(tile)
                let rows = split.start(tile &+ 1) &- first
                let operands = TileOperands(
                    a: sweep.activations + (tile &* sweep.tileStride &+ block &* sweep.blockStride), b: b,
                    panelStride: widen ? PanelLayout.block &* 64 : rowStride, depth: depth,
                    c: sweep.accumulators + first &* 16, cPanelStride: cPanelStride, accumulate: block > 0,
                    next: next + tile &* nextStep &* depth, nextStep: nextStep, nextStride: rowStride,
                    ahead: sweep.tuning.ahead(rows: rows) ?? fullBlock)
                if !specialised {
                    ISA.genericTile(
                        widen ? .float32 : sweep.format, rows: rows, panels: group, streams: streaming != 0, operands)
                } else if streaming == 0 {
                    ISA.residentTile(widen ? .float32 : sweep.format, rows: rows, panels: group, operands)
                } else if case .coded(let coding) = sweep.format {
                    ISA.codedTile(coding, rows: rows, panels: group, operands, scratch: sweep.widened)
                } else {
                    ISA.tile(sweep.format, rows: rows, panels: group, operands)
                }
                tile &+= 1
            }
            block &+= 1
        }
        finishPanels(ISA.self, sweep, panel..<panel &+ group, sums: sweep.accumulators) {
            panel, columns, sums, tiles, tileStride in
            var half = 0
            while half < columns {
                turnColumns(ISA.self, sweep, column: panel &* columns &+ half, sums + half, tiles, tileStride)
                half &+= 8
            }
        }
        panel &+= group
    }
}

extension InstructionSet {
    /// Panels that a single tile of rows takes together straight from memory; 0 where they must be widened first.
    @_alwaysEmitIntoClient @inline(__always)
    static func streamingPanels(_ format: PanelFormat, rows: Int, _ tuning: SweepTuning) -> Int {
        if case .coded(let coding) = format {
            // A panel's codes are few bytes for a multiply-add each, which one sum alone would wait for longer than for memory.
            codedPanels(coding, rows: rows)
        } else {
            tuning.streamed(panelsTogether(format, rows: rows), rows: rows, rowBytes: format.rowBytes)
        }
    }
}

/// Widens one block of a panel to fp32, so that several row tiles read it without converting again.
@_alwaysEmitIntoClient @inline(__always)
func widenRows<ISA: InstructionSet>(
    _: ISA.Type, _ format: PanelFormat, _ source: UnsafeRawPointer, depth: Int, into target: UnsafeMutablePointer<Float>
) {
    switch format {
    case .float32: break
    case .bfloat16: widenRows(ISA.self, BFloat16Row.self, source, depth: depth, into: target)
    case .float16: widenRows(ISA.self, Float16Row.self, source, depth: depth, into: target)
    case .byteDot, .bfloat16Pairs, .wideBFloat16: break
    case .coded(let coding):
        switch coding.code {
        case .float8E4M3: widenCodes(ISA.self, Float8Columns.self, coding, source, depth: depth, into: target)
        case .float4E2M1: widenCodes(ISA.self, Float4Columns.self, coding, source, depth: depth, into: target)
        case .int4 where coding.zeroPoints:
            widenCodes(ISA.self, FromZeroPoint<Int4Columns>.self, coding, source, depth: depth, into: target)
        case .int4: widenCodes(ISA.self, Int4Columns.self, coding, source, depth: depth, into: target)
        case .int8 where coding.zeroPoints:
            widenCodes(ISA.self, FromZeroPoint<Int8Columns>.self, coding, source, depth: depth, into: target)
        case .int8: widenCodes(ISA.self, Int8Columns.self, coding, source, depth: depth, into: target)
        }
    }
}

@_alwaysEmitIntoClient @inline(__always)
func widenRows<ISA: InstructionSet, Row: PanelRow>(
    _: ISA.Type, _: Row.Type, _ source: UnsafeRawPointer, depth: Int, into target: UnsafeMutablePointer<Float>
) {
    let perPanel: Int = 16 / ISA.Vector.scalarCount
    let place = UnsafeMutableRawPointer(target)
    var k = 0
    while k < depth {
        for v in 0..<perPanel {
            let offset: Int = k &* 64 &+ v &* ISA.Vector.scalarCount &* 4
            (place + offset).storeBytes(
                of: Row.columns(ISA.self, source + k &* Row.rowBytes, v), as: ISA.Vector.self)
        }
        k &+= 1
    }
}

/// Does what the epilogue says with some panels' sums, [panels][rows][16]; `forward` takes a panel's activated columns, 8 or 16 of each
/// row, to the tiles of the next reduction.
@_alwaysEmitIntoClient @inline(__always)
func finishPanels<ISA: VectorArithmetic>(
    _: ISA.Type, _ sweep: PanelSweep, _ panels: Range<Int>, sums: UnsafeMutablePointer<Float>,
    forward: (
        _ panel: Int, _ columns: Int, _ sums: UnsafeMutablePointer<Float>, _ tiles: UnsafeMutablePointer<Float>,
        _ tileStride: Int
    ) -> Void
) {
    activate(ISA.self, sweep, panels, sums)
    var panel = panels.lowerBound
    var place = sums
    while panel < panels.upperBound {
        switch sweep.epilogue {
        case .activate(_, let gated, let tiles, let tileStride):
            forward(panel, gated ? 8 : 16, place, tiles, tileStride)
        case .activateClamped(_, let tiles, let tileStride): forward(panel, 8, place, tiles, tileStride)
        case .store(let output, let columns):
            storePanel(sweep, panel: panel, sums: place, to: output, columns: columns)
        case .keep(let kept): keepPanel(sweep, panel: panel, sums: place, to: kept)
        }
        panel &+= 1
        place += sweep.tiles.rows &* 16
    }
}

/// Adds the biases and activates, where the epilogue does. All panels' rows are one run: a lone row's gates would fill half a vector, and
/// each panel wait for the latency of its own.
@_alwaysEmitIntoClient @inline(__always)
func activate<ISA: VectorArithmetic>(
    _: ISA.Type, _ sweep: PanelSweep, _ panels: Range<Int>, _ sums: UnsafeMutablePointer<Float>
) {
    addBiases(sweep, panels, sums)
    let rows: Int = sweep.tiles.rows &* panels.count
    switch sweep.epilogue {
    case .activate(let code, let gated, _, _): activate(ISA.self, code, gated: gated, rows: rows, sums)
    case .activateClamped(let clamp, _, _): activateClamped(ISA.self, clamp, rows: rows, sums)
    case .store, .keep: break
    }
}

@_alwaysEmitIntoClient @inline(__always)
func addBiases(_ sweep: PanelSweep, _ panels: Range<Int>, _ sums: UnsafeMutablePointer<Float>) {
    guard let biases = sweep.biases else { return }
    var place = UnsafeMutableRawPointer(sums)
    var panel = panels.lowerBound
    while panel < panels.upperBound {
        let bias = UnsafeRawPointer(biases + panel &* 16)
        let low = bias.loadUnaligned(as: SIMD8<Float>.self)
        let high = (bias + 32).loadUnaligned(as: SIMD8<Float>.self)
        var row = 0
        while row < sweep.tiles.rows {
            place.storeBytes(of: place.loadUnaligned(as: SIMD8<Float>.self) + low, as: SIMD8<Float>.self)
            let upper = place + 32
            upper.storeBytes(of: upper.loadUnaligned(as: SIMD8<Float>.self) + high, as: SIMD8<Float>.self)
            place += 64
            row &+= 1
        }
        panel &+= 1
    }
}

/// One panel's sums to their columns of a row-major matrix.
@_alwaysEmitIntoClient @inline(__always)
func storePanel(
    _ sweep: PanelSweep, panel: Int, sums: UnsafeMutablePointer<Float>, to output: UnsafeMutablePointer<Float>,
    columns: Int
) {
    let raw = UnsafeMutableRawPointer(sums)
    let column: Int = panel &* 16
    let width = min(16, columns &- column)
    var row = 0
    while row < sweep.tiles.rows {
        let place = output + (row &* columns &+ column)
        if width == 16 {
            let from = raw + row &* 64
            UnsafeMutableRawPointer(place).storeBytes(
                of: from.loadUnaligned(as: SIMD16<Float>.self), as: SIMD16<Float>.self)
        } else {
            var c = 0
            while c < width {
                place[c] = sums[row &* 16 &+ c]
                c &+= 1
            }
        }
        row &+= 1
    }
}

/// One panel's sums to their place among all panels'.
@_alwaysEmitIntoClient @inline(__always)
func keepPanel(
    _ sweep: PanelSweep, panel: Int, sums: UnsafeMutablePointer<Float>, to kept: UnsafeMutablePointer<Float>
) {
    let raw = UnsafeMutableRawPointer(sums)
    let place = UnsafeMutableRawPointer(kept + panel &* sweep.tiles.rows &* 16)
    var row = 0
    while row < sweep.tiles.rows {
        (place + row &* 64).storeBytes(
            of: (raw + row &* 64).loadUnaligned(as: SIMD16<Float>.self), as: SIMD16<Float>.self)
        row &+= 1
    }
}

/// Replaces one panel's sums by their activations: gate and up by 8 products where gated, else all 16.
@_alwaysEmitIntoClient @inline(__always)
func activate<ISA: VectorArithmetic>(
    _: ISA.Type, _ code: ActivationCode, gated: Bool, rows: Int, _ sums: UnsafeMutablePointer<Float>
) {
    switch code {
    case .silu: activate(ISA.self, Silu.self, gated, rows, sums)
    case .gelu: activate(ISA.self, Gelu.self, gated, rows, sums)
    case .geluTanh: activate(ISA.self, GeluTanh.self, gated, rows, sums)
    case .quickGelu: activate(ISA.self, QuickGelu.self, gated, rows, sums)
    case .relu: activate(ISA.self, Relu.self, gated, rows, sums)
    case .reluSquared: activate(ISA.self, ReluSquared.self, gated, rows, sums)
    }
}

@_alwaysEmitIntoClient @inline(__always)
func activate<ISA: VectorArithmetic, Function: ElementwiseFunction>(
    _: ISA.Type, _: Function.Type, _ gated: Bool, _ rows: Int, _ sums: UnsafeMutablePointer<Float>
) {
    if gated {
        return gate(rows, sums) { gate, up in Function.apply(ISA.self, gate) * up }
    }
    var row = 0
    while row < rows {
        let place = UnsafeMutableRawPointer(sums + row &* 16)
        let values = place.loadUnaligned(as: SIMD16<Float>.self)
        place.storeBytes(of: Function.apply(ISA.self, values), as: SIMD16<Float>.self)
        row &+= 1
    }
}

/// As ``activate(_:_:gated:rows:_:)``, by a clamped gate.
@_alwaysEmitIntoClient @inline(__always)
func activateClamped<ISA: VectorArithmetic>(
    _: ISA.Type, _ clamp: GateClamp, rows: Int, _ sums: UnsafeMutablePointer<Float>
) {
    gate(rows, sums) { gate, up in clampedGate(ISA.self, clamp, gate, up) }
}

/// Two rows at a time, whose eight gates fill a vector; the last row by itself where their number is odd.
@_alwaysEmitIntoClient @inline(__always)
func gate(
    _ rows: Int, _ sums: UnsafeMutablePointer<Float>,
    _ function: (_ gate: SIMD16<Float>, _ up: SIMD16<Float>) -> SIMD16<Float>
) {
    typealias Half = SIMD8<Float>
    var row = 0
    while row < rows {
        let first = UnsafeMutableRawPointer(sums + row &* 16)
        let second = row &+ 1 < rows ? first + 64 : first
        let gate = SIMD16(
            lowHalf: first.loadUnaligned(as: Half.self), highHalf: second.loadUnaligned(as: Half.self))
        let up = SIMD16(
            lowHalf: (first + 32).loadUnaligned(as: Half.self), highHalf: (second + 32).loadUnaligned(as: Half.self))
        let values = function(gate, up)
        first.storeBytes(of: values.lowHalf, as: Half.self)
        second.storeBytes(of: values.highHalf, as: Half.self)
        row &+= 2
    }
}

/// Eight columns of each row of a panel, [rows][16], into the tiles of the next reduction, where `column` is the first one's k.
@_alwaysEmitIntoClient @inline(__always)
func turnColumns<ISA: InstructionSet>(
    _: ISA.Type, _ sweep: PanelSweep, column: Int, _ sums: UnsafePointer<Float>,
    _ tiles: UnsafeMutablePointer<Float>, _ tileStride: Int
) {
    let block: Int = (column >> 8) &* sweep.blockStride
    var tile = 0
    while tile < sweep.tiles.count {
        let first = sweep.tiles.start(tile)
        let rows = sweep.tiles.start(tile &+ 1) &- first
        let place = tiles + (tile &* tileStride &+ block &+ (column & 255) &* rows)
        var row = 0
        while row < rows {
            ISA.transpose(sums + (first &+ row) &* 16, count: min(rows &- row, 8), to: place + row, stride: rows)
            row &+= 8
        }
        tile &+= 1
    }
}
