import MoEKernel

extension Workload {
    /// Bytes that its weights once packed, its activations and the dense baseline take, estimated.
    package func neededBytes() throws(MoEError) -> Double {
        let configuration = try configuration()
        let matrix = Double(hidden) * Double(expertHidden)
        let shared = Double(hidden) * Double(sharedWidth)
        let matrices =
            Double(experts + topK) * matrix + 2 * shared
        let weights =
            matrices * Double(configuration.expert.projections.count)
            * (form?.bits(inputs: hidden) ?? Double(8 * weightType.byteCount)) / 8
        let perToken = Double(4 * hidden) * Double(topK + 4) + Double(4 * expertHidden) * Double(topK)
        return weights + Double(tokens) * perToken
    }

    /// Refuses at once what a machine's memory could not hold.
    ///
    /// - Parameters:
    ///   - memoryBytes: 0 where it is not known.
    ///   - owner: Whose memory it is, for the message.
    package func checkMemory(_ memoryBytes: Int, of owner: String = "this machine") throws(MoEError) {
        let needed = try neededBytes()
        let available = memoryBytes > 0 ? memoryBytes : 1 << 40
        guard needed > 0.9 * Double(available) else { return }
        throw .outOfMemory(
            bytes: needed < 0x1p62 ? Int(needed) : .max,
            purpose: "\(name), \(sizes), in \(dtype), with room for a dense baseline; \(owner) has "
                + Format.bytes(memoryBytes))
    }
}
