/// The streams whose work may still read some memory, so that it goes back after that work, whatever stream it was allocated on.
///
/// Swift lets an object go after its last mention, which may be a call whose work has only just been put into a stream.
final class StreamUses: @unchecked Sendable {
    private let lock = PosixMutex()
    private var streams: [CUDAStream] = []

    /// Above this many, streams that have nothing to do are forgotten.
    private static let many = 16

    /// Notes that work of a stream reads the memory.
    func note(_ stream: CUDAStream) {
        lock.lock()
        defer { lock.unlock() }
        if streams.contains(where: { $0 === stream }) { return }
        if streams.count >= Self.many { streams.removeAll { (try? $0.isIdle()) ?? false } }
        streams.append(stream)
    }

    /// Lets all later work of `stream`, such as giving the memory back, wait for the work that was noted. The host does not wait.
    func finish(before stream: CUDAStream) {
        lock.lock()
        defer { lock.unlock() }
        for other in streams where other !== stream {
            // A recording is no work; the graph that comes of it keeps what it reads.
            guard other.mayRelease() else { continue }
            do throws(MoEError) {
                let event = try CUDAEvent(on: stream.device, timing: false)
                try event.record(on: other)
                try stream.wait(for: event)
            } catch {
                // On a lost context nothing runs any more, and on any other error waiting is all that is left.
                stream.device.context.release("cudaStreamSynchronize") {
                    $0.pointee.cudaStreamSynchronize(other.handle)
                }
            }
        }
        streams = []
    }
}
