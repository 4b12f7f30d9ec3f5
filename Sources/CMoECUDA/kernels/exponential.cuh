// The exponential of scores and activations: additions and multiplications of one rounding each, so that the device computes
// bit by bit what the tests see on the CPU, and what the CPU's kernels compute.

/// eˣ within one unit in the last place. Below -87.3, where the result leaves the normal range: 0; above 88.3 what 88.3 gives,
/// about 2·10³⁸; NaN stays NaN.
///
/// x = n ln 2 + r with |r| ≤ ½ ln 2, and eʳ by a polynomial of degree 6 with a relative error of 4·10⁻⁹.
DEVICE float exponential(float argument) {
    float x = argument < -87.3f ? -87.3f : argument;
    x = x > 88.3f ? 88.3f : x;
    // Adding 1.5·2²³ leaves the nearest integer in the low bits of the significand.
    const float shifter = 12582912.0f;
    const float shifted = multiply_add(x, 1.44269504f, shifter);
    const float n = add(shifted, -shifter);
    float r = multiply_add(n, -0.693145752f, x);
    r = multiply_add(n, -1.42860682e-6f, r);
    const float p =
        polynomial(r, 0.00137513818f, 0.00836892333f, 0.0416695327f, 0.166665182f, 0.499999881f, 1.0f, 1.0f);
    const float power = float_of_bits((bits_of_float(shifted) << 23) + 0x3F800000u);
    return argument < -87.3f ? 0.0f : multiply(p, power);
}
