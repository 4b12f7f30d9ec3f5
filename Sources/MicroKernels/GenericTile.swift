import CPlatform

/// The register tile that ``Tile`` would be without compile-time parameters: rows, panels and format are numbers of the call. It stands
/// here to be measured against, not to be used.
///
/// What it does to a sum is the same in the same order, so results are bitwise the same. But registers cannot be indexed: the sums of a
/// block wait in memory between steps, loops count, and each load asks for its format.
@_alwaysEmitIntoClient @inline(__always)
public func runGenericTile<ISA: InstructionSet>(
    _: ISA.Type, _ format: PanelFormat, rows: Int, panels: Int, streams: Bool, _ operands: TileOperands
) {
    let perPanel: Int = 16 / ISA.Vector.scalarCount
    let vectors: Int = panels &* perPanel
    // As many as the largest tile of any instruction set has, 12 × 2 of AVX-512.
    var storage = InlineArray<24, ISA.Vector>(repeating: ISA.Vector(repeating: 0))
    withUnsafeMutableBytes(of: &storage) { storage in
        let sums = storage.baseAddress!.assumingMemoryBound(to: ISA.Vector.self)
        let rowBytes = format.rowBytes
        let panelsPerRow = format.panelsPerRow
        let perRow: Int = perPanel &* panelsPerRow
        let stride = operands.panelStride
        var a = operands.a
        var b = operands.b
        var next = operands.next
        let stream = StreamAhead(operands, rowBytes: rowBytes)
        var k = 0
        while k < operands.depth {
            var panel = 0
            while panel < panels {
                cp_prefetch_far(
                    streams
                        ? b + (panel / panelsPerRow &* stride &+ stream.distance(k))
                        : next + panel / panelsPerRow &* operands.nextStride)
                panel &+= panelsPerRow
            }
            var v = 0
            while v < vectors {
                let column = genericColumns(ISA.self, format, b + (v / perRow) &* stride, v % perRow)
                var r = 0
                while r < rows {
                    let at: Int = v &* rows &+ r
                    sums[at] = ISA.multiplyAdd(sums[at], ISA.Vector(repeating: a[r]), column)
                    r &+= 1
                }
                v &+= 1
            }
            next += operands.nextStep
            a += rows
            b += rowBytes
            k &+= 1
        }
        var v = 0
        while v < vectors {
            let panel: UnsafeMutablePointer<Float> = operands.c + (v / perPanel) &* operands.cPanelStride
            var r = 0
            while r < rows {
                let offset: Int = r &* 16 &+ (v % perPanel) &* ISA.Vector.scalarCount
                let place = UnsafeMutableRawPointer(panel + offset)
                var sum = sums[v &* rows &+ r]
                if operands.accumulate { sum = place.loadUnaligned(as: ISA.Vector.self) + sum }
                place.storeBytes(of: sum, as: ISA.Vector.self)
                r &+= 1
            }
            v &+= 1
        }
    }
}

/// Vector `index` of a row's columns of numbers.
@_alwaysEmitIntoClient @inline(__always)
func genericColumns<ISA: InstructionSet>(
    _: ISA.Type, _ format: PanelFormat, _ row: UnsafeRawPointer, _ index: Int
) -> ISA.Vector {
    switch format {
    case .bfloat16: BFloat16Row.columns(ISA.self, row, index)
    case .float16: Float16Row.columns(ISA.self, row, index)
    case .wideBFloat16: WideBFloat16Row.columns(ISA.self, row, index)
    case .float32, .coded, .byteDot, .bfloat16Pairs: Float32Row.columns(ISA.self, row, index)
    }
}
