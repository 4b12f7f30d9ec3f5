import CPlatform
import MicroKernels

/// The numbers of the CPU path that depend on the machine, each with its reason; ``init(instructionSet:firstLevelBytes:secondLevelBytes:)``
/// is the table. None of them changes a result by a bit.
struct CPUTuning: Sendable, Hashable {
    /// Rows of a full register tile. More rows read each weight less often; the sums, rows × columns, must fit the registers.
    var tileRows: Int
    /// Panels of 16 columns that the tiles of several row blocks take together, 1 or 2. Two halve the reads of activations, but keep
    /// 32 KiB of weights in the first-level cache.
    var sharedPanels: Int
    /// With up to this many row tiles, bf16 and fp16 weights are widened in each of them; with more, once for all.
    var directTiles: Int
    /// Bytes of activations that a task keeps in the second-level cache while weights stream past.
    var activationBytes: Int
    /// Tasks a thread gets of each matrix product: more wait less for the last one, fewer start less often.
    var tasksPerThread: Int

    /// The table: instruction set by size of the first-level cache.
    ///
    /// - Parameters:
    ///   - instructionSet: Whose kernels run.
    ///   - firstLevelBytes: Of a core's data cache; 0 where the system does not tell, which counts as 32 KiB.
    ///   - secondLevelBytes: Of a core's second-level cache; 0 where the system does not tell, which counts as 256 KiB.
    init(instructionSet: CPUInstructionSet, firstLevelBytes: Int, secondLevelBytes: Int) {
        switch instructionSet {
        case .avx512:
            // 12 rows × 2 panels are 24 sums, and two vectors of weights, of 32 registers. A step is 24 multiply-adds for 14 loads; with
            // one panel it is 12 for 13, which two load ports only just deliver when nothing misses.
            tileRows = 12
            sharedPanels = firstLevelBytes >= 48 << 10 ? 2 : 1
            // Widening in a tile costs one look-up for 12 multiply-adds on the same two ports, 8 %; widening first costs a store a
            // vector, as much as a sixth of one tile.
            directTiles = 2
        case .avx2:
            // 6 rows × 2 vectors are 12 sums, two vectors of weights and a broadcast: 15 of 16 registers, and one mask.
            tileRows = 6
            sharedPanels = 1
            // A shift and a mask for 12 multiply-adds: a tenth of the ports' time at most, and none where they have ports of their own.
            directTiles = 4
        case .baseline:
            // 3 rows × 4 vectors leave four of 16 registers for weights, broadcasts and products.
            tileRows = 3
            sharedPanels = 1
            directTiles = 0
        }
        // Half the cache: the other half holds the weights on their way.
        activationBytes = max(secondLevelBytes, 256 << 10) / 2
        // The wait for the last of 16 tasks is about 3 % of a matrix product at most.
        tasksPerThread = 16
    }

    /// The tuning of this machine.
    static func detected(_ instructionSet: CPUInstructionSet) -> CPUTuning {
        CPUTuning(
            instructionSet: instructionSet, firstLevelBytes: Int(cp_cache_bytes(1)),
            secondLevelBytes: Int(cp_cache_bytes(2)))
    }

    var sweep: SweepTuning { SweepTuning(sharedPanels: sharedPanels, directTiles: directTiles) }
}
