// How tiles that ldmatrix reads are laid out in shared memory: rows of eight chunks of 16 bytes.

constexpr SharedOffset swizzled_row_bytes = 128;

/// Offset of a chunk, 0 to 7, of a row. Chunks of a row change places with its index, so that eight rows' chunks of one
/// depth, which ldmatrix reads at once, lie in different banks.
DEVICE SharedOffset swizzled(unsigned row, unsigned chunk) { return row * swizzled_row_bytes + (chunk ^ row % 8) * 16; }
