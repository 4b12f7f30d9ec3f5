import CMoECUDA

/// The kernels that one layer uses, found when it is made, so that a call looks nothing up.
struct CUDAKernels: Sendable {
    let router: RouterKernels
    let dispatch: DispatchKernels
    let capacity: CapacityKernels?
    let choice: ChoiceKernels?
    let experts: ProjectionKernels
    /// combine by the type of rows, then of the output.
    let combine: [Combination: CUDAKernel]
    let convert: [Combination: CUDAKernel]
    /// σ of the shared expert's gate; nil without one.
    let gate: CUDAKernel?

    /// The types of what a kernel reads and writes.
    struct Combination: Hashable, Sendable {
        let from: ElementType
        let to: ElementType
    }

    init(_ configuration: MoEConfiguration, _ weights: CUDAWeights, _ library: KernelLibrary) throws(MoEError) {
        let c = configuration
        router = try RouterKernels(c, weights, library)
        dispatch = try DispatchKernels(experts: c.choices, library)
        capacity = c.capacity.rule == nil ? nil : try CapacityKernels(library)
        choice = c.router.isExpertChoice ? try ChoiceKernels(library) : nil
        experts = try ProjectionKernels(c, type: weights.type, library)
        var combine: [Combination: CUDAKernel] = [:]
        var convert: [Combination: CUDAKernel] = [:]
        for from in ElementType.allCases {
            for to in ElementType.allCases {
                let pair = Combination(from: from, to: to)
                convert[pair] = try library.kernel(
                    "convert_\(from.rawValue)_\(to.rawValue)", threads: MC_CONVERT_THREADS)
                // Rows are fp32, or of the 16-bit type of weights whose outputs are wanted in it or in fp32.
                guard from == .float32 || to == .float32 || from == to else { continue }
                combine[pair] = try library.kernel(
                    "combine_\(from.rawValue)_\(to.rawValue)", threads: MC_COMBINE_THREADS)
            }
        }
        self.combine = combine
        self.convert = convert
        gate = c.shared.isGated ? try library.kernel("shared_gate", threads: MC_GATE_THREADS) : nil
    }
}

/// Logits and selection.
struct RouterKernels: Sendable {
    /// In the router's own type, and in fp32.
    let logits: LogitsKernels
    let wideLogits: LogitsKernels
    let join: CUDAKernel
    /// By the type of the router's input; empty where it is taken as it is.
    let normalise: [ElementType: CUDAKernel]
    let select: CUDAKernel
    /// With a count of each block's choices.
    let countingSelect: CUDAKernel

    init(_ c: MoEConfiguration, _ weights: CUDAWeights, _ library: KernelLibrary) throws(MoEError) {
        logits = try LogitsKernels(weights.router.type, library)
        wideLogits = weights.router.type == .float32 ? logits : try LogitsKernels(.float32, library)
        join = try library.kernel("router_join", threads: MC_JOIN_THREADS)
        var normalise: [ElementType: CUDAKernel] = [:]
        if c.router.input != .identity {
            for type in ElementType.allCases {
                normalise[type] = try library.kernel(
                    "router_normalise_\(type.rawValue)", threads: MC_NORMALISE_THREADS)
            }
        }
        self.normalise = normalise
        let width = [8, 16, 32, 64, 128, 256, 512].first { $0 >= c.choices }!
        select = try library.kernel("router_select_\(width)", threads: MC_SELECT_THREADS)
        countingSelect = try library.kernel(
            "router_select_\(width)", threads: MC_SELECT_THREADS, dynamicSharedBytes: 4 * c.choices)
    }
}

/// The tiles of the router's matrix product, by their rows.
struct LogitsKernels: Sendable {
    private let tiles: [Int32: CUDAKernel]

    init(_ type: ElementType, _ library: KernelLibrary) throws(MoEError) {
        var tiles: [Int32: CUDAKernel] = [:]
        for rows: Int32 in type == .float32 ? [16, 64] : [16, 64, 128] {
            let columns = mc_logits_tile_columns(rows)
            tiles[rows] = try library.kernel(
                "router_logits_\(type.rawValue)_\(rows)x\(columns)", threads: MC_LOGITS_THREADS,
                dynamicSharedBytes: Int(mc_logits_shared(rows, columns)))
        }
        self.tiles = tiles
    }

    func tile(rows: Int32) -> CUDAKernel { tiles[rows]! }
}

/// Pairs grouped by expert.
struct DispatchKernels: Sendable {
    let block: CUDAKernel
    let count: CUDAKernel
    let scan: CUDAKernel
    let place: CUDAKernel

    init(experts: Int, _ library: KernelLibrary) throws(MoEError) {
        func shared(_ threads: Int) -> Int { Int(mc_dispatch_shared(Int32(threads), Int32(experts))) }
        block = try library.kernel(
            "dispatch_block", threads: MC_DISPATCH_BLOCK_THREADS,
            dynamicSharedBytes: shared(MC_DISPATCH_BLOCK_THREADS))
        count = try library.kernel(
            "dispatch_count", threads: MC_DISPATCH_THREADS, dynamicSharedBytes: 4 * experts)
        scan = try library.kernel(
            "dispatch_scan", threads: MC_DISPATCH_SCAN_THREADS, dynamicSharedBytes: 4 * MC_DISPATCH_SCAN_THREADS)
        place = try library.kernel(
            "dispatch_place", threads: MC_DISPATCH_THREADS, dynamicSharedBytes: shared(MC_DISPATCH_THREADS))
    }
}

/// Choices beyond an expert's capacity dropped.
struct CapacityKernels: Sendable {
    let admit: CUDAKernel
    let weigh: CUDAKernel

    init(_ library: KernelLibrary) throws(MoEError) {
        admit = try library.kernel(
            "capacity_admit", threads: MC_CAPACITY_THREADS, dynamicSharedBytes: MC_CAPACITY_SHARED)
        weigh = try library.kernel("capacity_weigh", threads: MC_CAPACITY_THREADS)
    }
}

/// Experts choosing tokens.
struct ChoiceKernels: Sendable {
    let choose: CUDAKernel
    let gather: CUDAKernel

    init(_ library: KernelLibrary) throws(MoEError) {
        choose = try library.kernel(
            "capacity_choose", threads: MC_CAPACITY_THREADS, dynamicSharedBytes: MC_CAPACITY_SHARED)
        gather = try library.kernel("capacity_gather", threads: MC_CAPACITY_THREADS)
    }
}
