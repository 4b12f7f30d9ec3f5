/// The product of sizes, from left to right; nil where it does not fit 64 bits.
func checkedProduct(_ sizes: [Int], times factor: Int = 1) -> Int? {
    var product = factor
    for size in sizes {
        let (next, overflow) = product.multipliedReportingOverflow(by: size)
        guard !overflow else { return nil }
        product = next
    }
    return product
}
