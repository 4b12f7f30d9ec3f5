// What the grouped products do with the rows of an expert: tiles, and the parts of a tile that warps have.

enum class GroupedUse { gate_up, up, down };

/// A tile shape and what follows from it. `rows` × `columns` are a tile's, in steps of `depth`.
template <int row_count, int column_count, int warp_row_count, int warp_column_count, int together_count>
struct GroupedShape {
    static constexpr int rows = row_count, columns = column_count, depth = MC_GROUPED_GEMM_DEPTH;
    static constexpr int stages = MC_GROUPED_GEMM_STAGES;
    static constexpr int warp_rows = warp_row_count, warp_columns = warp_column_count;
    /// Row tiles of a group: the tiles of a group run column by column. Blocks that run at the same time share a few rows and
    /// a few columns then, and the group's weights stay in L2 for the next group.
    static constexpr int together = together_count;
    static constexpr int threads = 32 * warp_rows * warp_columns;
    /// A warp's part of the tile in mma tiles: 16 rows, 8 columns.
    static constexpr int high = rows / warp_rows / 16, across = 8;
    static_assert(columns == warp_columns * across * 8 && rows == warp_rows * high * 16);

    /// A tile row of a stage is 8 chunks of 16 bytes; a thread copies one chunk of every `copy_stride`th row.
    static constexpr int chunks = depth / 8;
    static constexpr int copy_stride = threads / chunks;
    static constexpr int row_copies = rows / copy_stride, column_copies = columns / copy_stride;
    static constexpr SharedOffset row_bytes = depth * 2;
    static_assert(row_bytes == swizzled_row_bytes);
    static constexpr SharedOffset weights_start = rows * row_bytes;
    static constexpr SharedOffset stage_bytes = (rows + columns) * row_bytes;
    static constexpr SharedOffset list_start = stages * stage_bytes;
    static constexpr unsigned most_bytes = list_start + MC_WORK_LIST_BYTES(threads, MC_MAXIMUM_EXPERTS);
    static_assert(most_bytes == MC_GROUPED_GEMM_SHARED(rows, columns, threads, MC_MAXIMUM_EXPERTS));
    static_assert(chunks == 8 && copy_stride % 8 == 0);
};

/// A warp's sums.
template <class Shape>
using GroupedSums = float[Shape::high][Shape::across][4];
