/// How one number is stored. Arithmetic is always fp32; this says what lies in memory and on disk.
public enum ElementType: String, Sendable, Hashable, CaseIterable {
    case float32 = "fp32"
    case bfloat16 = "bf16"
    case float16 = "fp16"

    /// Bytes a number takes.
    public var byteCount: Int {
        switch self {
        case .float32: 4
        case .bfloat16, .float16: 2
        }
    }
}
