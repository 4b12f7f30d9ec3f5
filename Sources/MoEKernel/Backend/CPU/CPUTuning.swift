import CPlatform
import MicroKernels

/// The numbers of the CPU path that depend on the machine, each with its reason. None of them changes a result by a bit: they
/// decide where rows and tasks are cut, never the order of a sum.
///
/// ``init(instructionSet:firstLevelBytes:secondLevelBytes:)`` is the table, by machine class: instruction set and sizes of the
/// caches. A layer takes this machine's, unless ``MoELayer/init(_:weights:pool:instructionSet:arithmetic:tuning:)`` is given
/// another or the environment variable `MOE_TUNING` replaces some fields; <doc:Tuning> tells more.
public struct CPUTuning: Sendable, Hashable {
    /// Rows (tokens of one expert) of a full register tile. More rows read each weight less often; but the sums, rows ×
    /// columns, must fit the registers beside weights and activations. From 1 to the largest tile of the instruction set's
    /// kernels.
    public var tileRows: Int
    /// Panels of 16 output columns that a tile takes together where an expert has several tiles of rows: 1, or 2 where the
    /// instruction set's registers hold the sums. Two halve the reads of activations, but keep 32 KiB of weights in the
    /// first-level cache instead of 16.
    public var sharedPanels: Int
    /// The most row tiles that an expert may have for bf16 weights to be widened to fp32 in each of them; with more they are
    /// widened once for all, into the first-level cache. Widening in a tile costs an instruction a vector and tile, widening
    /// first a store a vector and half of that cache. 0 always widens first. (fp16, whose conversion costs two instructions or
    /// three, is widened first wherever there are two tiles. AVX-512 asks only where the number of panels is odd: two that share their
    /// rows cost an instruction a vector for twice the multiply-adds.)
    public var directTiles: Int
    /// Bytes of activations that a task keeps in the second-level cache while weights stream past. More read weights from
    /// memory less often; too many are evicted by the weights. A task takes eight tiles of rows at least.
    public var activationBytes: Int
    /// Tasks that each thread gets of a matrix product. With more, threads wait less for the last one; with fewer, there are
    /// fewer starts, and longer runs of weights.
    public var tasksPerThread: Int
    /// The most panels that a lone tile of rows (decode, and few tokens an expert) reads from memory side by side: 1, 2, 4 or 8, other
    /// numbers count as the next smaller one. Several panels are sums that do not wait for one another; but each is a stream of its own,
    /// and processors fetch few long streams ahead better than many. Tiles take fewer where registers hold no more, and more where their
    /// rows do not hide behind reading and would have fewer than eight sums; panels that share their rows stay together; and tiles
    /// that multiply codes exactly take their own number.
    public var streamPanels: Int
    /// Bytes ahead that a lone tile of rows (decode, and few tokens an expert) asks for its weights, where these are fp32, bf16 or fp16: so
    /// many in a tile of one row, and a quarter of that more for each further row. 0 asks for the next block of 256 values of k. The distance
    /// has to cover memory's delay, less what the instructions cover that a core has begun on, which are many for a line where there are many
    /// rows; but a processor whose own prefetchers keep up is only disturbed by asking far ahead of them.
    public var streamAhead: Int

    /// Whether tiles run that are compiled for their shape and format, or the generic one, which is only there to be measured
    /// against.
    package var isSpecialised = true
    /// Whether the activation is the epilogue of gate and up, or a pass of its own over their stored sums, which too is only there
    /// to be measured against. (Rounded activations are always the epilogue's.)
    package var fusesActivation = true

    /// The table.
    ///
    /// - Parameters:
    ///   - instructionSet: Whose kernels run.
    ///   - firstLevelBytes: Of a core's data cache; 0 where the system does not tell, which counts as 32 KiB.
    ///   - secondLevelBytes: Of a core's second-level cache; 0 where the system does not tell, which counts as 256 KiB.
    public init(instructionSet: CPUInstructionSet, firstLevelBytes: Int, secondLevelBytes: Int) {
        switch instructionSet {
        case .avx512:
            // 12 rows × 2 panels are 24 sums, and two vectors of weights, of 32 registers. A step is 24 multiply-adds for 14
            // loads; with one panel it is 12 for 13, which two load ports only just deliver when nothing misses.
            tileRows = 12
            sharedPanels = firstLevelBytes >= 48 << 10 ? 2 : 1
            // Widening in a tile costs one look-up for 12 multiply-adds on the same two ports, 8 %; widening first costs a
            // store a vector, as much as a sixth of one tile.
            directTiles = 2
        case .avx2:
            // 6 rows × 2 vectors are 12 sums, two vectors of weights and a broadcast: 15 of 16 registers, and one mask.
            tileRows = 6
            sharedPanels = 1
            // A shift and a mask for 12 multiply-adds, on ports of their own in most processors: never slower than fp32
            // weights, which fill the first-level cache with twice the bytes.
            directTiles = Self.everyTileDirect
        case .baseline:
            // 3 rows × 4 vectors leave four of 16 registers for weights, broadcasts and products.
            tileRows = 3
            sharedPanels = 1
            // Its tiles of several row blocks read fp32 only.
            directTiles = 0
        }
        // Half the cache: the other half holds the weights on their way.
        activationBytes = min(max(secondLevelBytes, 256 << 10) / 2, Self.mostActivationBytes)
        // The wait for the last of 16 tasks is about 3 % of a matrix product at most.
        tasksPerThread = 16
        streamPanels = Self.mostStreamPanels
        // AVX-512 asks into the first level, which has no room for a block. On Zen 5 decode took 5 % less time than with that.
        streamAhead = instructionSet == .avx512 ? 4096 : 0
    }

    /// For "always": more row tiles than a task has but in the shortest of reductions, and yet a number that people read and
    /// write in `MOE_TUNING`.
    private static let everyTileDirect = 1000

    /// The table's entry for this machine.
    ///
    /// - Parameter instructionSet: Whose kernels run.
    public static func detected(_ instructionSet: CPUInstructionSet) -> CPUTuning {
        var tuning = CPUTuning(
            instructionSet: instructionSet, firstLevelBytes: Int(cp_cache_bytes(1)),
            secondLevelBytes: Int(cp_cache_bytes(2)))
        switch cp_zen_generation() {
        case 1:
            // Decode in fp32 took 7 % less time than with the next block, in bf16 as much; 1 KiB was no better than the block.
            tuning.streamAhead = 512
        case 5 where instructionSet == .avx512:
            // Decode in bf16 took 22 % less time than with eight panels, in int8 by int8 17 % less than with four; with AVX2, which takes
            // two at most, one was no better.
            tuning.streamPanels = 1
            // Two of its four vector ports shuffle, and one of these does not multiply: widening in every tile is hidden.
            tuning.directTiles = everyTileDirect
        default: break
        }
        return tuning
    }

    var sweep: SweepTuning {
        SweepTuning(
            sharedPanels: sharedPanels, directTiles: directTiles, streamPanels: streamPanels, streamAhead: streamAhead,
            isSpecialised: isSpecialised)
    }
}
