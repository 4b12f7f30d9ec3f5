// What follows the sums of a grouped product: scale, bias and activation as projection_output.cuh has them, and stores of 16
// bytes, for which the four lanes that share a row exchange what they have.

/// Lane q of four gives word j of row q, and gets word q of row j.
DEVICE void transpose_quad(uint32_t (&words)[4]) {
    const unsigned lane = lane_index();
    UNROLL
    for (unsigned distance = 1; distance <= 2; distance *= 2) {
        const bool upper = lane & distance;
        UNROLL
        for (unsigned j = 0; j < 4; j++) {
            if (j & distance) continue;
            const uint32_t received = warp_shuffle_xor(upper ? words[j] : words[j | distance], distance);
            if (upper) {
                words[j] = received;
            } else {
                words[j | distance] = received;
            }
        }
    }
}

/// What becomes of a warp's sums.
template <GroupedUse use, class T, class Output, class Shape>
struct GroupedEpilogue {
    const mc_projection_parameters &p;
    WorkItem tile;
    int column;  // the first of the warp
    int warp_row;

    DEVICE GroupedEpilogue(const mc_projection_parameters &p, const WorkItem &tile) : p(p), tile(tile) {
        const int warp = int(threadIdx.x / warp_size);
        warp_row = warp / Shape::warp_columns * Shape::high * 16;
        column = tile.part * Shape::columns + warp % Shape::warp_columns * Shape::across * 8;
    }

    DEVICE void scale(GroupedSums<Shape> &sums) const {
        const int first = warp_row + int(lane_index()) / 4;
        UNROLL
        for (int i = 0; i < 2 * Shape::high; i++) {
            const int row = first + i * 8;
            const float scale = row < tile.count ? scale_of(p, tile.row + row) : 0.0f;
            UNROLL
            for (int j = 0; j < Shape::across; j++) {
                float(&pair)[4] = sums[i / 2][j];
                pair[i % 2 * 2] = multiply(pair[i % 2 * 2], scale);
                pair[i % 2 * 2 + 1] = multiply(pair[i % 2 * 2 + 1], scale);
            }
        }
    }

    DEVICE void add_bias(GroupedSums<Shape> &sums) const {
        const int first = column + int(lane_index()) % 4 * 2;
        UNROLL
        for (int j = 0; j < Shape::across; j++) {
            UNROLL
            for (int k = 0; k < 2; k++) {
                const float value = bias_of(p, tile.expert, first + j * 8 + k);
                UNROLL
                for (int i = 0; i < Shape::high; i++) {
                    sums[i][j][k] = add(sums[i][j][k], value);
                    sums[i][j][k + 2] = add(sums[i][j][k + 2], value);
                }
            }
        }
    }

    /// 16 bytes of a row of the output, if they are part of it.
    DEVICE void store(int row, int first, int width, const uint32_t (&words)[4]) const {
        if (row >= tile.count || first >= width) return;
        Output *output = static_cast<Output *>(p.output) + int64_t(tile.row + row) * width + first;
        store_global_16(output, Words4{{words[0], words[1], words[2], words[3]}});
    }

    /// Puts activations in the place of sums; of a gate and its up value in the gate's. The kind is chosen once
    /// for all of them, not at each value.
    template <int kind = 0>
    DEVICE void activate_all(float (&values)[Shape::across][2]) const {
        if constexpr (kind < MC_ACTIVATION_COUNT) {
            if (p.activation.kind != kind) return activate_all<kind + 1>(values);
            mc_activation_parameters activation = p.activation;
            activation.kind = kind;
            activation.gated = use == GroupedUse::gate_up;
            constexpr int distance = use == GroupedUse::gate_up ? 2 : 1;
            UNROLL
            for (int j = 0; j < Shape::across; j += distance) {
                UNROLL
                for (int k = 0; k < 2; k++) {
                    // With distance 1 the gate is not used.
                    values[j][k] = activate<T>(activation, values[j][k], values[j + distance - 1][k]);
                }
            }
        }
    }

    /// Eight rows, of which a thread has two columns of every eight. values[j]: the columns of mma tile j, of row `row`.
    DEVICE void finish(int row, float (&values)[Shape::across][2]) const {
        const int quad = int(lane_index()) % 4;
        if constexpr (use != GroupedUse::down) activate_all(values);
        if constexpr (use == GroupedUse::gate_up) {
            uint32_t words[4];
            UNROLL
            for (int j = 0; j < 4; j++) words[j] = pack<T>(values[2 * j][0], values[2 * j][1]);
            transpose_quad(words);
            store(row, column / 2 + quad * 8, p.height / 2, words);
        } else if constexpr (sizeof(Output) == 2) {
            UNROLL
            for (int first = 0; first < Shape::across; first += 4) {
                uint32_t words[4];
                UNROLL
                for (int j = 0; j < 4; j++) words[j] = pack<T>(values[first + j][0], values[first + j][1]);
                transpose_quad(words);
                store(row, column + (first + quad) * 8, p.height, words);
            }
        } else {
            // Of two mma tiles, an even lane takes four columns of the first, an odd one of the second.
            const bool odd = quad % 2;
            UNROLL
            for (int j = 0; j < Shape::across; j += 2) {
                float own[2], received[2];
                UNROLL
                for (int i = 0; i < 2; i++) {
                    own[i] = odd ? values[j + 1][i] : values[j][i];
                    received[i] = warp_shuffle_xor(odd ? values[j][i] : values[j + 1][i], 1);
                }
                const uint32_t words[4] = {
                    bits_of_float(odd ? received[0] : own[0]), bits_of_float(odd ? received[1] : own[1]),
                    bits_of_float(odd ? own[0] : received[0]), bits_of_float(odd ? own[1] : received[1])};
                store(row, column + (j + quad % 2) * 8 + quad / 2 * 4, p.height, words);
            }
        }
    }

    /// Ends with `sums` in disorder.
    DEVICE void run(GroupedSums<Shape> &sums) const {
        if (p.row_scale) scale(sums);
        if (p.bias) add_bias(sums);
        const int row = warp_row + int(lane_index()) / 4;
        float values[Shape::across][2];
        if constexpr (use == GroupedUse::down) {
            UNROLL
            for (int i = 0; i < 2 * Shape::high; i++) {
                UNROLL
                for (int j = 0; j < Shape::across; j++) {
                    values[j][0] = sums[i / 2][j][i % 2 * 2];
                    values[j][1] = sums[i / 2][j][i % 2 * 2 + 1];
                }
                finish(row + i * 8, values);
            }
        } else {
            // An activation is much code. Here it is there once for eight rows: the loops are not unrolled, and the sums move
            // instead, for registers have no index.
            NO_UNROLL
            for (int i = 0; i < Shape::high; i++) {
                NO_UNROLL
                for (int half = 0; half < 2; half++) {
                    UNROLL
                    for (int j = 0; j < Shape::across; j++) {
                        values[j][0] = sums[0][j][0];
                        values[j][1] = sums[0][j][1];
                        sums[0][j][0] = sums[0][j][2];
                        sums[0][j][1] = sums[0][j][3];
                    }
                    finish(row + i * 16 + half * 8, values);
                }
                UNROLL
                for (int next = 1; next < Shape::high; next++) {
                    UNROLL
                    for (int j = 0; j < Shape::across; j++) {
                        UNROLL
                        for (int k = 0; k < 4; k++) sums[next - 1][j][k] = sums[next][j][k];
                    }
                }
            }
        }
    }
};
