// What an expert does between its matrices, in fp32. T is the type that the result is rounded to. For fp32 there are only
// multiplications, additions and divisions with one rounding each: the device computes bit by bit what the tests see on the
// CPU, and what the CPU's kernels compute. A 16-bit result keeps 8 or 11 bits, for which a division of 24 would be wasted.

/// For fp32 the nearest number; for 16-bit types with a relative error of at most 2⁻²³ + 2⁻²⁴ where 1 / denominator is a normal
/// number, and 0 (NaN of an infinite numerator) where it is below.
template <class T>
DEVICE float quotient_of(float numerator, float denominator) {
    if constexpr (sizeof(T) == 4) {
        return divide(numerator, denominator);
    } else {
        return multiply(numerator, approximate_reciprocal(denominator));
    }
}

/// f(a), and for a clamped gate g · σ(alpha · g) of the clamped gate.
///
/// For fp32 within 1.1·10⁻⁷ · (1 + |f(a)|) of the function of the fp32 argument everywhere. In units of the last place of the
/// result: for positive arguments 2 (GELU: 7; ReLU: 0; its square: ½); for negative ones, 3 for silu, and for the others 4 more
/// for each unit of the argument of the exponential (alpha · a for the clamped gate; a²/2 for GELU), whose rounding is what
/// costs. Where that argument passes -87.3 the result has no digits: it is 0 or at most 10⁻³⁸ · |a|. NaN gives NaN.
///
/// For 16-bit types 2⁻²² · |f(a)| more: the quotient's error grows from 2⁻²⁴ to 1.5 · 2⁻²³. GELU, whose numerator is 1, has
/// 2⁻²⁴ more in t, of which t · P(t), that is erfcx(z), depends with a power of at most 2.3 (at z = 0). Where a reciprocal is
/// 0, the result is too, and what it should be is at most 2⁻¹²⁶ · |a|.
template <class T>
DEVICE float activation_of(const mc_activation_parameters &p, float a) {
    if (p.kind == MC_ACTIVATION_RELU) return a < 0.0f ? 0.0f : a;
    if (p.kind == MC_ACTIVATION_RELU_SQUARED) return a < 0.0f ? 0.0f : a * a;
    // One exponential and one division serve all the others, so that little code is repeated for each value of a thread.
    const bool gelu = p.kind == MC_ACTIVATION_GELU;
    float exponent = -a;
    float numerator = a, denominator = 0.0f;
    if (gelu) {
        const float z = (a < 0.0f ? -a : a) * 0.707106781f;
        exponent = -(z * z);
        numerator = 1.0f;
        denominator = multiply_add(z, 0.5f, 1.0f);
    } else if (p.kind == MC_ACTIVATION_GELU_TANH) {
        // ½ (1 + tanh u) = σ(2u)
        exponent = a * multiply_add(a * a, -0.0713548163f, -1.59576912f);
    } else if (p.kind == MC_ACTIVATION_QUICK_GELU) {
        exponent = a * -1.702f;
    } else if (p.kind == MC_ACTIVATION_CLAMPED) {
        exponent = a * -p.alpha;
    }
    const float e = exponential(exponent);
    if (!gelu) denominator = 1.0f + e;
    const float quotient = quotient_of<T>(numerator, denominator);
    if (!gelu) return quotient;
    // Φ(a) = ½ erfc(-a/√2). With z = |a|/√2, erfc(z) = e^(-z²) · erfcx(z), and erfcx(z) = t · P(t) with t = 1/(1 + z/2) and
    // P of degree 9 fitted on 0 ≤ z ≤ 10 with a relative error of 2·10⁻⁸. Beyond, e^(-z²) has vanished.
    const float t = quotient;
    const float q = polynomial(t, 0.0135346493f, -0.129614055f, 0.442811131f, -0.687045813f, 0.434151888f, -0.104528479f,
                               0.227445513f, 0.238288224f, 0.282894015f, 0.282062888f);
    const float tail = e * (q * t) * 0.5f;
    return a * (a < 0.0f ? tail : 1.0f - tail);
}

/// What goes into the down projection: f(gate) · up, or f(up) where experts have no gates (`gate` is not used then).
template <class T>
DEVICE float activate(const mc_activation_parameters &p, float gate, float up) {
    if (!p.gated) return activation_of<T>(p, up);
    if (p.kind == MC_ACTIVATION_CLAMPED) {
        // Comparisons keep NaN.
        gate = gate > p.limit ? p.limit : gate;
        up = up > p.limit ? p.limit : up;
        up = up < -p.limit ? -p.limit : up;
        up += p.up_offset;
    }
    return activation_of<T>(p, gate) * up;
}
