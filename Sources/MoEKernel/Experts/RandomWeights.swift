/// Weights computed from a seed: element (row, column) of a tensor is a hash of the seed, the tensor's name and the position,
/// so any row can be made at any time, by any thread, and nothing is stored.
struct RandomWeights: WeightSource {
    let configuration: MoEConfiguration
    let seed: UInt64

    init(_ configuration: MoEConfiguration, seed: UInt64) {
        self.configuration = configuration
        self.seed = seed
    }

    func format(of name: WeightName) -> WeightFormat { .plain(type) }

    private var type: ElementType { configuration.weightType ?? .float32 }

    func read(_ name: WeightName, rows: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(MoEError) {
        let columns = configuration.shape(of: name).columns
        let type = type
        let (scale, center) = distribution(of: name)
        let tensorKey = key(of: name)
        for (index, row) in rows.enumerated() {
            let key = Self.mix(tensorKey &+ UInt64(row))
            switch type {
            case .float32:
                let out = destination.baseAddress!.assumingMemoryBound(to: Float.self) + index * columns
                for column in 0..<columns { out[column] = center + Self.value(key, column) * scale }
            case .bfloat16:
                let out = destination.baseAddress!.assumingMemoryBound(to: UInt16.self) + index * columns
                for column in 0..<columns {
                    out[column] = BFloat16(center + Self.value(key, column) * scale).bitPattern
                }
            case .float16:
                let out = destination.baseAddress!.assumingMemoryBound(to: UInt16.self) + index * columns
                for column in 0..<columns { out[column] = Half.bits(center + Self.value(key, column) * scale) }
            }
        }
    }

    /// Numbers are center plus or minus up to 2³¹ times scale.
    ///
    /// Uniform on [-a, a) has variance a²/3; fan-in is the row length (biases are made as small as one weight). Factors lie around one.
    func distribution(of name: WeightName) -> (scale: Float, center: Float) {
        let (fanIn, center): (Int, Float) =
            switch name {
            case .expertBias(_, let projection):
                (projection == .down ? configuration.expertHidden : configuration.expertWidth, 0)
            case .expertScale, .routerInputScale: (16, 1)
            default: (configuration.shape(of: name).columns, 0)
            }
        return ((3 / Float(fanIn)).squareRoot() * 0x1p-31, center)
    }

    /// A row's key is a hash of this plus the row's number.
    func key(of name: WeightName) -> UInt64 { seed ^ Self.mix(Self.tag(name)) }

    /// k different experts for each id: a window of the experts at a place of the id's own.
    func readIndices(_ name: WeightName, into destination: UnsafeMutableBufferPointer<Int32>) throws(MoEError) {
        let k = configuration.topK
        for index in destination.indices {
            let start = Self.mix(seed ^ Self.mix(Self.tag(name)) &+ UInt64(index / k)) % UInt64(configuration.choices)
            destination[index] = Int32((Int(start) + index % k) % configuration.choices)
        }
    }

    /// A 32-bit finaliser over the column, keyed by row: cheap enough to vectorise, and its low bits are as good as its high.
    /// Constants: Wellons, "Prospecting for Hash Functions", 2018.
    @inline(__always)
    private static func value(_ key: UInt64, _ column: Int) -> Float {
        var hash = UInt32(truncatingIfNeeded: column) &* 0x9e37_79b9 &+ UInt32(truncatingIfNeeded: key)
        hash ^= hash >> 16
        hash = hash &* 0x7feb_352d
        hash ^= hash >> 15 ^ UInt32(truncatingIfNeeded: key >> 32)
        hash = hash &* 0x846c_a68b
        hash ^= hash >> 16
        return Float(Int32(bitPattern: hash))
    }

    /// SplitMix64's finaliser. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }

    private static func tag(_ name: WeightName) -> UInt64 {
        func code(_ projection: Projection) -> UInt64 {
            switch projection {
            case .gate: 1
            case .up: 2
            case .down: 3
            }
        }
        return switch name {
        case .router: 1 << 56
        case .expert(let index, let projection): 2 << 56 | UInt64(index) << 8 | code(projection)
        case .expertBias(let index, let projection): 3 << 56 | UInt64(index) << 8 | code(projection)
        case .shared(let projection): 4 << 56 | code(projection)
        case .sharedGate: 5 << 56
        case .routerBias: 6 << 56
        case .selectionBias: 7 << 56
        case .expertScale: 8 << 56
        case .routerInputScale: 9 << 56
        case .groupRouter: 10 << 56
        case .expertTable: 11 << 56
        case .latentIn: 12 << 56
        case .latentOut: 13 << 56
        case .sharedBias(let projection): 14 << 56 | code(projection)
        case .outputBias: 15 << 56
        }
    }
}
