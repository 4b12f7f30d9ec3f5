import CPlatform
import MicroKernels

#if arch(x86_64)
    import MicroKernelsAVX2
    import MicroKernelsAVX2Bytes
    import MicroKernelsAVX2Pairs
    import MicroKernelsAVX2VNNI
    import MicroKernelsAVX512
    import MicroKernelsAVX512BF16
    import MicroKernelsAVX512VNNI
#endif

/// The instruction sets the CPU kernels are compiled for.
public enum CPUInstructionSet: String, Sendable, Hashable, CaseIterable {
    /// SSE2 on x86-64 (no fused multiply-add), NEON on arm64.
    case baseline
    /// x86-64-v3: AVX2 and FMA.
    case avx2
    /// x86-64-v4: AVX-512 F, BW, CD, DQ and VL.
    case avx512

    /// The sets this processor and operating system run, narrowest first.
    public static var supported: [CPUInstructionSet] {
        let features = cp_detect_features()
        var sets: [CPUInstructionSet] = [.baseline]
        if features.avx2 { sets.append(.avx2) }
        if features.avx512 { sets.append(.avx512) }
        return sets
    }

    /// The set that layers use: the widest supported, or what the environment variable `MOE_INSTRUCTION_SET` names.
    ///
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` when the variable names no set, or one that this machine
    ///   lacks.
    public static func chosen() throws(MoEError) -> CPUInstructionSet {
        let supported = supported
        guard let raw = getenv("MOE_INSTRUCTION_SET") else { return supported.last ?? .baseline }
        let name = String(cString: raw)
        guard let wanted = CPUInstructionSet(rawValue: name), supported.contains(wanted) else {
            throw .configuration(
                field: "MOE_INSTRUCTION_SET", value: name,
                expectation: "one of \(supported.map(\.rawValue).joined(separator: ", ")) on this machine")
        }
        return wanted
    }

    /// The set's kernels over bytes: the best that this processor has of the set's width.
    package var byteDots: any ByteDotKernels { supportedByteDots.last! }

    /// What multiplies int8 activations, as processors' manuals name it.
    public var byteInstructions: String { byteDots.name }

    /// All that it has of the set's width, slowest first.
    package var supportedByteDots: [any ByteDotKernels] {
        #if arch(x86_64)
            let features = cp_detect_features()
            switch self {
            case .baseline: return [BaselineByteDots()]
            case .avx2: return features.avx_vnni ? [AVX2ByteDots(), AVX2VNNIByteDots()] : [AVX2ByteDots()]
            case .avx512: return features.avx512_vnni ? [AVX2ByteDots(), AVX512VNNIByteDots()] : [AVX2ByteDots()]
            }
        #else
            return [BaselineByteDots()]
        #endif
    }

    /// The set's kernels over bf16 activations: the best that this processor has of the set's width.
    package var pairDots: any PairDotKernels { supportedPairDots.last! }

    /// What multiplies bf16 activations, as processors' manuals name it.
    public var bfloat16Instructions: String { pairDots.name }

    /// All that it has of the set's width, slowest first.
    package var supportedPairDots: [any PairDotKernels] {
        #if arch(x86_64)
            switch self {
            case .baseline: return [BaselinePairDots()]
            case .avx2: return [AVX2PairDots()]
            case .avx512:
                return cp_detect_features().avx512_bf16
                    ? [AVX2PairDots(), AVX512BF16PairDots()] : [AVX2PairDots()]
            }
        #else
            return [BaselinePairDots()]
        #endif
    }

    /// The set's kernels. Ask only for a supported set: others crash at their first instruction.
    package var kernels: any KernelSet {
        switch self {
        case .baseline: return BaselineKernels()
        #if arch(x86_64)
            case .avx2: return AVX2Kernels()
            case .avx512: return AVX512Kernels()
        #else
            case .avx2, .avx512: return BaselineKernels()
        #endif
        }
    }
}
