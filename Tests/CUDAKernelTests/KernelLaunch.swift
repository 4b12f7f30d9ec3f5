import CUDAKernelHost
import Testing

/// What the runner of kernels reports of a launch that went wrong: the mistake, the thread and the line.
struct KernelFailure: Error, CustomStringConvertible {
    let description: String
}

/// Calls an entry point of CUDAKernelHost. A kernel that does not exist is an issue whatever the caller does with the
/// failure, or a mistake with a misspelled name would count as noticed; but for `mayBeUnknown`.
func launch(
    mayBeUnknown: Bool = false, _ entry: (_ why: UnsafeMutablePointer<CChar>, _ capacity: Int) -> Int32
) throws(KernelFailure) {
    var why = [CChar](repeating: 0, count: 2000)
    let capacity = why.count
    let succeeded = why.withUnsafeMutableBufferPointer { entry($0.baseAddress!, capacity) } == 1
    guard succeeded else {
        let failure = KernelFailure(
            description: String(decoding: why.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
        if !mayBeUnknown, failure.description.hasPrefix("no kernel named") { Issue.record(failure) }
        throw failure
    }
}

/// Memory as a device allocates it: at a multiple of 256 bytes, plus an offset for tests of rows that are not aligned.
final class DeviceArray<Element: BitwiseCopyable> {
    let count: Int
    private let memory: UnsafeMutableRawPointer
    let start: UnsafeMutablePointer<Element>

    init(_ elements: [Element], offset: Int = 0) {
        count = elements.count
        let size = MemoryLayout<Element>.stride
        memory = .allocate(byteCount: max(1, (count + offset) * size), alignment: 256)
        start = (memory + offset * size).bindMemory(to: Element.self, capacity: max(1, count))
        start.initialize(from: elements, count: count)
    }

    deinit { memory.deallocate() }

    var elements: [Element] { Array(UnsafeBufferPointer(start: start, count: count)) }
}

/// SplitMix64: reproducible inputs.
struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// How tensors are stored, as kernels' names say it.
enum Element: String, CaseIterable {
    case fp32, bf16, fp16

    var size: Int { self == .fp32 ? 4 : 2 }
    /// The relative error of one rounding, at most.
    var unitRoundoff: Double {
        switch self {
        case .fp32: 0x1p-24
        case .bf16: 0x1p-8
        case .fp16: 0x1p-11
        }
    }

    /// The bytes of `values`, rounded by Swift's own conversions (bf16: half of an fp32, ties to even).
    func bytes(_ values: [Float]) -> [UInt8] {
        values.flatMap { value in
            switch self {
            case .fp32: withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
            case .bf16: withUnsafeBytes(of: Element.bf16Bits(value).littleEndian) { Array($0) }
            case .fp16: withUnsafeBytes(of: Float16(value).bitPattern.littleEndian) { Array($0) }
            }
        }
    }

    func values(_ bytes: [UInt8]) -> [Float] {
        stride(from: 0, to: bytes.count, by: size).map { i in
            let bits = (0..<size).reduce(UInt32(0)) { $0 | UInt32(bytes[i + $1]) << (8 * $1) }
            return switch self {
            case .fp32: Float(bitPattern: bits)
            case .bf16: Float(bitPattern: bits << 16)
            case .fp16: Float(Float16(bitPattern: UInt16(bits)))
            }
        }
    }

    static func bf16Bits(_ value: Float) -> UInt16 {
        if value.isNaN { return 0x7FFF }
        let low = Float(bitPattern: value.bitPattern & 0xFFFF_0000)
        let lower = UInt16(value.bitPattern >> 16)
        guard low != value else { return lower }
        // The fraction that is cut off, out of 65536.
        let cut = value.bitPattern & 0xFFFF
        return cut > 0x8000 || (cut == 0x8000 && lower % 2 == 1) ? lower + 1 : lower
    }
}
