import MoEKernel

/// Stored weights as fp32 numbers.
package enum WeightRows {
    /// Rows of a tensor, [rows, columns], converted exactly.
    package static func read(
        _ name: WeightName, rows: Range<Int>, _ configuration: MoEConfiguration, _ source: any WeightSource
    ) throws(MoEError) -> [Float] {
        let count = rows.count * configuration.shape(of: name).columns
        let type = source.elementType(of: name)
        let raw = UnsafeMutableRawBufferPointer.allocate(byteCount: count * type.byteCount, alignment: 64)
        defer { raw.deallocate() }
        try source.read(name, rows: rows, into: raw)
        switch type {
        case .float32:
            return Array(raw.assumingMemoryBound(to: Float.self).prefix(count))
        case .bfloat16:
            return raw.assumingMemoryBound(to: UInt16.self).prefix(count).map { Float(BFloat16(bitPattern: $0)) }
        case .float16:
            return raw.assumingMemoryBound(to: UInt16.self).prefix(count).map(Half.value)
        }
    }
}
