import CPlatform

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

    /// Row `row` of the tile in the source.
    @_alwaysEmitIntoClient @inline(__always)
    func row(_ row: Int) -> UnsafeRawPointer {
        let token = tokens.map { Int($0[row]) } ?? (firstToken &+ row)
        return source + token &* depth &* (bfloat16 ? 2 : 4)
    }

    /// Where the tile's rows have their values of k.
    @_alwaysEmitIntoClient @inline(__always)
    func column(_ k: Int) -> UnsafeMutablePointer<Float> {
        tile + ((k >> 8) &* blockStride &+ (k & 255) &* rows)
    }
}

/// Rows by eight and k by sixteen, a cache line of fp32: read, widened, scaled, turned to columns.
@_alwaysEmitIntoClient @inline(__always)
public func packRows<ISA: InstructionSet>(_: ISA.Type, _ pack: PackRows) {
    let whole = pack.depth & ~15
    var first = 0
    while first < pack.rows {
        let rows = min(pack.rows &- first, 8)
        if pack.bfloat16 {
            packLines(ISA.self, BFloat16Values.self, pack, first, rows, whole)
        } else {
            packLines(ISA.self, Float32Values.self, pack, first, rows, whole)
        }
        first &+= 8
    }
    var values = SIMD8<Float>(repeating: 0)
    withUnsafeMutableBytes(of: &values) { values in
        let staged = values.baseAddress!.assumingMemoryBound(to: Float.self)
        var k = whole
        while k < pack.depth {
            let width = min(pack.depth &- k, 8)
            let place = pack.column(k)
            var row = 0
            while row < pack.rows {
                stage(ISA.self, pack, row: row, k: k, width: width, into: staged)
                var i = 0
                while i < width {
                    place[i &* pack.rows &+ row] = staged[i]
                    i &+= 1
                }
                row &+= 1
            }
            k &+= 8
        }
    }
}

/// How the source's numbers are stored, as a type.
public protocol SourceValues {
    static var bytes: Int { get }
    /// Sixteen numbers.
    static func load(_ place: UnsafeRawPointer) -> SIMD16<Float>
}

public enum Float32Values: SourceValues {
    @_alwaysEmitIntoClient @inline(__always) public static var bytes: Int { 4 }
    @_alwaysEmitIntoClient @inline(__always)
    public static func load(_ place: UnsafeRawPointer) -> SIMD16<Float> { place.loadUnaligned(as: SIMD16<Float>.self) }
}

public enum BFloat16Values: SourceValues {
    @_alwaysEmitIntoClient @inline(__always) public static var bytes: Int { 2 }
    /// Each number in the upper half of a word.
    @_alwaysEmitIntoClient @inline(__always)
    public static func load(_ place: UnsafeRawPointer) -> SIMD16<Float> {
        var words = SIMD32<UInt16>(repeating: 0)
        words.oddHalf = place.loadUnaligned(as: SIMD16<UInt16>.self)
        return unsafeBitCast(words, to: SIMD16<Float>.self)
    }
}

/// The first `depth` values, a multiple of sixteen, of up to eight rows from `first` on.
@_alwaysEmitIntoClient @inline(__always)
func packLines<ISA: InstructionSet, Values: SourceValues>(
    _: ISA.Type, _: Values.Type, _ pack: PackRows, _ first: Int, _ rows: Int, _ depth: Int
) {
    // Eight rows are eight short streams, which processors' own prefetchers start on late.
    let ahead = 512
    // Where fewer are left, the last one stands for those that are not there.
    var sources = InlineArray<8, UnsafeRawPointer>(repeating: pack.row(first &+ rows &- 1))
    var row = 0
    while row < rows {
        let source = pack.row(first &+ row)
        sources[row] = source
        var line = 0
        while line < min(ahead, depth &* Values.bytes) {
            cp_prefetch(source + line)
            line &+= 64
        }
        row &+= 1
    }
    var k = 0
    while k < depth {
        var values = InlineArray<8, SIMD16<Float>>(repeating: SIMD16(repeating: 0))
        for row in 0..<8 {
            let place: UnsafeRawPointer = sources[row] + k &* Values.bytes
            // Past the row's end this asks for a line of a neighbour's, or for nothing: a prefetch never faults.
            cp_prefetch(place + ahead)
            values[row] = Values.load(place)
        }
        if let factors = pack.factors {
            for row in 0..<8 { values[row] *= factors[first &+ min(row, rows &- 1)] }
        }
        ISA.transpose(values, count: rows, to: pack.column(k) + first, stride: pack.rows)
        k &+= 16
    }
}

/// `width` values of a row, from k on.
@_alwaysEmitIntoClient @inline(__always)
func stage<ISA: VectorArithmetic>(
    _: ISA.Type, _ pack: PackRows, row: Int, k: Int, width: Int, into staged: UnsafeMutablePointer<Float>
) {
    let source = pack.row(row) + k &* (pack.bfloat16 ? 2 : 4)
    let place = UnsafeMutableRawPointer(staged)
    var values = SIMD8<Float>(repeating: 0)
    if width == 8 {
        if pack.bfloat16 {
            // Each number in the upper half of a word.
            var words = SIMD16<UInt16>(repeating: 0)
            words.oddHalf = source.loadUnaligned(as: SIMD8<UInt16>.self)
            values = unsafeBitCast(words, to: SIMD8<Float>.self)
        } else {
            values = source.loadUnaligned(as: SIMD8<Float>.self)
        }
    } else {
        var i = 0
        while i < width {
            if pack.bfloat16 {
                let number = (source + i &* 2).loadUnaligned(as: UInt16.self)
                values[i] = Float(bitPattern: UInt32(number) << 16)
            } else {
                values[i] = (source + i &* 4).loadUnaligned(as: Float.self)
            }
            i &+= 1
        }
    }
    if let factors = pack.factors { values *= factors[row] }
    place.storeBytes(of: values, as: SIMD8<Float>.self)
}
