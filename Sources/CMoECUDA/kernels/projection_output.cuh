// What follows the sums of a projection: scale, bias, activation, and the store.

/// The factor of a row's products, for a projection that has factors.
DEVICE float scale_of(const mc_projection_parameters &p, int row) { return load_global(p.row_scale + row); }

/// What is added to an expert's products with a weight row, for a projection with biases; past the last weight row 0.
DEVICE float bias_of(const mc_projection_parameters &p, int expert, int height_row) {
    return height_row < p.height ? load_global(p.bias + size_t(expert) * p.height + height_row) : 0.0f;
}

/// Scales a row's products with weight rows `height_row` and `height_row` + 8, and adds their biases.
DEVICE void scale_and_add_bias(const mc_projection_parameters &p, int expert, int row, int height_row, float &first,
                               float &second) {
    if (p.row_scale) {
        const float scale = scale_of(p, row);
        first = multiply(first, scale);
        second = multiply(second, scale);
    }
    if (p.bias) {
        first = add(first, bias_of(p, expert, height_row));
        second = add(second, bias_of(p, expert, height_row + 8));
    }
}

/// Writes the activation of a row's products with weight rows `height_row`, which exists, and `height_row` + 8, which may
/// not: a gate and its up value, or two values of experts without gates.
template <class T>
struct StoreGateUp {
    using Element = T;

    static DEVICE void store(const mc_projection_parameters &p, int expert, int row, int height_row, float first,
                             float second) {
        static_assert(MC_GATE_GROUP == 8);
        scale_and_add_bias(p, expert, row, height_row, first, second);
        T *output = static_cast<T *>(p.output);
        if (p.activation.gated) {
            output += size_t(row) * (p.height / 2) + height_row / 16 * 8 + height_row % 8;
            store_global(output, from_float<T>(activate<T>(p.activation, first, second)));
        } else {
            output += size_t(row) * p.height + height_row;
            store_global(output, from_float<T>(activate<T>(p.activation, 0.0f, first)));
            if (height_row + 8 < p.height) store_global(output + 8, from_float<T>(activate<T>(p.activation, 0.0f, second)));
        }
    }
};

/// Writes the products themselves, in fp32. T: of the weights.
template <class T>
struct StoreDown {
    using Element = T;

    static DEVICE void store(const mc_projection_parameters &p, int expert, int row, int height_row, float first,
                             float second) {
        scale_and_add_bias(p, expert, row, height_row, first, second);
        float *output = static_cast<float *>(p.output) + size_t(row) * p.height + height_row;
        store_global(output, first);
        if (height_row + 8 < p.height) store_global(output + 8, second);
    }
};
