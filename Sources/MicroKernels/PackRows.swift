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
    /// The tile: for each block of k, `tileRows` × 256 floats.
    public var tile: UnsafeMutablePointer<Float>

    @_alwaysEmitIntoClient @inline(__always)
    public init(
        source: UnsafeRawPointer, bfloat16: Bool, depth: Int, tokens: UnsafePointer<Int32>?, firstToken: Int, rows: Int,
        factors: UnsafePointer<Float>? = nil, tile: UnsafeMutablePointer<Float>
    ) {
        self.source = source
        self.bfloat16 = bfloat16
        self.depth = depth
        self.tokens = tokens
        self.firstToken = firstToken
        self.rows = rows
        self.factors = factors
        self.tile = tile
    }
}

@_alwaysEmitIntoClient @inline(__always)
public func packRows<ISA: InstructionSet>(_: ISA.Type, _ pack: PackRows) {
    var row = 0
    while row < pack.rows {
        let token = pack.tokens.map { Int($0[row]) } ?? (pack.firstToken &+ row)
        var k = 0
        while k < pack.depth {
            let length = min(PanelLayout.block, pack.depth &- k)
            let offset: Int = (k >> 8) &* ISA.tileRows &* PanelLayout.block &+ row &* PanelLayout.block
            let to = pack.tile + offset
            let at: Int = token &* pack.depth &+ k
            if pack.bfloat16 {
                let from = (pack.source + at &* 2).assumingMemoryBound(to: UInt16.self)
                var i = 0
                while i < length {
                    to[i] = Float(bitPattern: UInt32(from[i]) << 16)
                    i &+= 1
                }
            } else {
                let from = (pack.source + at &* 4).assumingMemoryBound(to: Float.self)
                var i = 0
                while i &+ 8 <= length {
                    let vector = UnsafeRawPointer(from + i).loadUnaligned(as: SIMD8<Float>.self)
                    UnsafeMutableRawPointer(to + i).storeBytes(of: vector, as: SIMD8<Float>.self)
                    i &+= 8
                }
                while i < length {
                    to[i] = from[i]
                    i &+= 1
                }
            }
            if let factors = pack.factors {
                let factor = factors[row]
                var i = 0
                while i < length {
                    to[i] *= factor
                    i &+= 1
                }
            }
            k &+= PanelLayout.block
        }
        row &+= 1
    }
}
