import CPlatform
import MicroKernels

/// The stages on the CPU: packed weights, the kernels of one instruction set, and the threads they run on. Each stage has a
/// file of its own.
final class CPUBackend: Backend {
    typealias Memory = CPUStageBuffers

    /// Where y goes: [tokens, hidden] in fp32 or bf16.
    struct Output: @unchecked Sendable {
        let base: UnsafeMutableRawPointer
        let type: ElementType
    }

    let configuration: MoEConfiguration
    let weights: CPUWeights
    /// [E], added to the scores for choosing; nil without one.
    let selectionBias: [Float]?
    let pool: ThreadPool
    let instructionSet: CPUInstructionSet
    let kernels: any KernelSet
    /// The kernels of matrices that are multiplied by rounded activations; where none are, the others.
    let roundingKernels: any SweepKernels
    let arithmetic: ExpertArithmetic
    let tuning: CPUTuning
    let identity = LayerIdentity()

    init(
        _ configuration: MoEConfiguration, source: any WeightSource, pool: ThreadPool,
        instructionSet: CPUInstructionSet, tuning: CPUTuning, arithmetic: ExpertArithmetic
    ) throws(MoEError) {
        self.configuration = configuration
        self.pool = pool
        self.instructionSet = instructionSet
        kernels = instructionSet.kernels
        roundingKernels =
            switch arithmetic {
            case .exact: instructionSet.kernels
            case .int8Activations: instructionSet.byteDots
            case .bfloat16Activations: instructionSet.pairDots
            }
        self.arithmetic = arithmetic
        weights = try CPUWeights(
            configuration, source: source, arithmetic: arithmetic, instructionSet: instructionSet, pool: pool)
        selectionBias = weights.vectors.selectionBias
        self.tuning = tuning
    }

    /// The same layer with another selection bias or tuning; the weights are shared.
    init(_ other: CPUBackend, selectionBias: [Float]? = nil, tuning: CPUTuning? = nil) {
        configuration = other.configuration
        weights = other.weights
        self.selectionBias = selectionBias ?? other.selectionBias
        pool = other.pool
        instructionSet = other.instructionSet
        kernels = other.kernels
        roundingKernels = other.roundingKernels
        arithmetic = other.arithmetic
        self.tuning = tuning ?? other.tuning
    }

    /// Work that does not stream weights is dealt in pieces of about this many values, so that a single token's share is done by
    /// the caller alone rather than paid for in wake-ups.
    static let valuesPerTask = 32_768

    /// All tokens in order, [tokens, depth], for a matrix to read: packed by ``packTokens(_:depth:_:tiles:)``, but for a lone one of
    /// fp32.
    func tokenTiles(_ x: Activations, depth: Int, packed tiles: UnsafePointer<Float>) -> ActivationTiles {
        x.loneRow.map { ActivationTiles(rows: $0, depth: depth) }
            ?? ActivationTiles(packed: tiles, depth: depth, tileRows: tuning.tileRows)
    }

    /// Packs rows of activations, [tokens, depth], where a matrix would not read them as they are.
    func packTokens(
        _ x: Activations, depth: Int, _ memory: CPUStageBuffers, tiles: UnsafeMutablePointer<Float>
    ) {
        guard x.loneRow == nil else { return }
        let split = TileSplit(rows: memory.tokens, tileRows: tuning.tileRows)
        let work = PackTokensWork(
            kernels: kernels, tileRows: tuning.tileRows, x: x, depth: depth, split: split, tiles: tiles)
        pool.run(work, tasks: work.tasks)
    }
}

extension Activations {
    /// The rows, where they are fp32.
    var floats: UnsafePointer<Float>? { type == .float32 ? base.assumingMemoryBound(to: Float.self) : nil }
    /// The row of fp32 that is all there is.
    fileprivate var loneRow: UnsafePointer<Float>? { tokens == 1 ? floats : nil }
}

extension PanelLayout {
    /// Floats of an activation tile of `tileRows` rows for a reduction of some depth.
    static func tileFloats(depth: Int, tileRows: Int) -> Int { blocks(depth) * tileRows * block }
}

private struct PackTokensWork: ParallelWork {
    let kernels: any KernelSet
    let tileRows: Int
    let x: Activations
    let depth: Int
    let split: TileSplit
    let tiles: UnsafeMutablePointer<Float>

    private var tilesPerTask: Int { max(CPUBackend.valuesPerTask / (tileRows * depth), 1) }
    var tasks: Int { (split.count + tilesPerTask - 1) / tilesPerTask }

    func run(task: Int, worker: Int) {
        let tileFloats = PanelLayout.tileFloats(depth: depth, tileRows: tileRows)
        for tile in task * tilesPerTask..<min((task + 1) * tilesPerTask, split.count) {
            let first = split.start(tile)
            kernels.pack(
                PackRows(
                    source: x.base, bfloat16: x.type == .bfloat16, depth: depth, tokens: nil, firstToken: first,
                    rows: split.start(tile + 1) - first, tile: tiles + tile * tileFloats,
                    blockStride: tileRows * PanelLayout.block))
        }
    }
}
