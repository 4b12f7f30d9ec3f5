/// Token rows gathered into one packed activation tile.
public struct PackRows {
    /// [tokens, depth] in fp32, or bf16 where `bfloat16` is set.
    public var source: UnsafeRawPointer
    public var bfloat16: Bool
    public var depth: Int
    /// The tokens of the tile's rows; nil for consecutive tokens from `firstToken`.
    public var tokens: UnsafePointer<Int32>?
    public var firstToken: Int
    public var rows: Int
    /// Factors of the rows, or nil (a routing weight that acts on the expert's input).
    public var factors: UnsafePointer<Float>?
    /// The tile, and the floats from one of its blocks of k to the next.
    public var tile: UnsafeMutablePointer<Float>
    public var blockStride: Int

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        source: UnsafeRawPointer, bfloat16: Bool, depth: Int, tokens: UnsafePointer<Int32>?, firstToken: Int, rows: Int,
        factors: UnsafePointer<Float>? = nil, tile: UnsafeMutablePointer<Float>, blockStride: Int
    ) {
        self.source = source
        self.bfloat16 = bfloat16
        self.depth = depth
        self.tokens = tokens
        self.firstToken = firstToken
        self.rows = rows
        self.factors = factors
        self.tile = tile
        self.blockStride = blockStride
    }
}

/// Rows by eight and k by eight: read, widened, scaled, turned to columns.
@_alwaysEmitIntoClient @inline(__always)
public func packRows<ISA: InstructionSet>(_: ISA.Type, _ pack: PackRows) {
    // Eight rows of eight values, at the distance that `transpose` expects.
    var square = InlineArray<8, SIMD16<Float>>(repeating: SIMD16(repeating: 0))
    withUnsafeMutableBytes(of: &square) { square in
        let staged = square.baseAddress!.assumingMemoryBound(to: Float.self)
        var first = 0
        while first < pack.rows {
            let rows = min(pack.rows &- first, 8)
            var k = 0
            while k < pack.depth {
                let width = min(pack.depth &- k, 8)
                var row = 0
                while row < rows {
                    stage(ISA.self, pack, row: first &+ row, k: k, width: width, into: staged + row &* 16)
                    row &+= 1
                }
                let place = pack.tile + ((k >> 8) &* pack.blockStride &+ (k & 255) &* pack.rows &+ first)
                if width == 8 {
                    ISA.transpose(staged, count: rows, to: place, stride: pack.rows)
                } else {
                    row = 0
                    while row < rows {
                        var i = 0
                        while i < width {
                            let to: Int = i &* pack.rows &+ row
                            place[to] = staged[row &* 16 &+ i]
                            i &+= 1
                        }
                        row &+= 1
                    }
                }
                k &+= 8
            }
            first &+= 8
        }
    }
}

/// `width` values of a row, from k on.
@_alwaysEmitIntoClient @inline(__always)
func stage<ISA: VectorArithmetic>(
    _: ISA.Type, _ pack: PackRows, row: Int, k: Int, width: Int, into staged: UnsafeMutablePointer<Float>
) {
    let token = pack.tokens.map { Int($0[row]) } ?? (pack.firstToken &+ row)
    let at: Int = token &* pack.depth &+ k
    let place = UnsafeMutableRawPointer(staged)
    var values = SIMD8<Float>(repeating: 0)
    if width == 8 {
        if pack.bfloat16 {
            // Each number in the upper half of a word.
            var words = SIMD16<UInt16>(repeating: 0)
            words.oddHalf = (pack.source + at &* 2).loadUnaligned(as: SIMD8<UInt16>.self)
            values = unsafeBitCast(words, to: SIMD8<Float>.self)
        } else {
            values = (pack.source + at &* 4).loadUnaligned(as: SIMD8<Float>.self)
        }
    } else {
        var i = 0
        while i < width {
            if pack.bfloat16 {
                let number = (pack.source + (at &+ i) &* 2).loadUnaligned(as: UInt16.self)
                values[i] = Float(bitPattern: UInt32(number) << 16)
            } else {
                values[i] = (pack.source + (at &+ i) &* 4).loadUnaligned(as: Float.self)
            }
            i &+= 1
        }
    }
    if let factors = pack.factors { values *= factors[row] }
    place.storeBytes(of: values, as: SIMD8<Float>.self)
}
