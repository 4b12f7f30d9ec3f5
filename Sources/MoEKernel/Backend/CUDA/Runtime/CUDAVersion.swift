/// A version as CUDA counts: 1000 × major + 10 × minor.
struct CUDAVersion: Sendable, Hashable, CustomStringConvertible {
    let number: Int32

    /// As in "12.8".
    var description: String { "\(number / 1000).\(number % 1000 / 10)" }
}
