import CMoECUDA

extension CUDAStream {
    /// Copies from the host, in stream order. From page-locked memory it returns at once; the bytes have to stay until
    /// the copy is done.
    func copyToDevice(_ target: UnsafeMutableRawPointer, from source: UnsafeRawBufferPointer) throws(MoEError) {
        try copy(target, source.baseAddress, source.count, mc_cudaMemcpyHostToDevice)
    }

    /// Copies to the host, in stream order. The bytes are there when the stream has been synchronised.
    func copyToHost(_ target: UnsafeMutableRawBufferPointer, from source: UnsafeRawPointer) throws(MoEError) {
        try copy(target.baseAddress, source, target.count, mc_cudaMemcpyDeviceToHost)
    }

    /// Copies within the device, in stream order.
    func copyOnDevice(
        _ target: UnsafeMutableRawPointer, from source: UnsafeRawPointer, bytes: Int
    ) throws(MoEError) {
        try copy(target, source, bytes, mc_cudaMemcpyDeviceToDevice)
    }

    /// Sets every byte, in stream order.
    func fill(_ target: UnsafeMutableRawPointer, byte: UInt8, bytes: Int) throws(MoEError) {
        guard bytes > 0 else { return }
        try device.context.perform("cudaMemsetAsync", "\(bytes) bytes") {
            $0.pointee.cudaMemsetAsync(target, Int32(byte), bytes, handle)
        }
    }

    private func copy(
        _ target: UnsafeMutableRawPointer?, _ source: UnsafeRawPointer?, _ bytes: Int, _ kind: Int
    ) throws(MoEError) {
        guard bytes > 0 else { return }
        try device.context.perform("cudaMemcpyAsync", "\(bytes) bytes") {
            $0.pointee.cudaMemcpyAsync(target, source, bytes, Int32(kind), handle)
        }
    }
}
