/// Numbers as text.
package enum Format {
    /// Three significant digits, never in exponent form: 0.0123, 4.56, 789, 12300.
    package static func significant(_ value: Double, digits: Int = 3) -> String {
        guard value.isFinite else { return "\(value)" }
        guard value != 0 else { return "0" }
        var decimals = digits
        var bound = 1.0
        while decimals > 0, abs(value) >= bound - 0.5 * power(-decimals) {
            decimals -= 1
            bound *= 10
        }
        var small = abs(value)
        while small < 0.1, decimals < 12 {
            small *= 10
            decimals += 1
        }
        return fixed(value, decimals)
    }

    /// `decimals` digits after the point, rounded half away from zero.
    package static func fixed(_ value: Double, _ decimals: Int) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
        let scaled = (abs(value) * power(decimals)).rounded()
        guard scaled < 0x1p63 else { return "\(value)" }
        var digits = String(Int(scaled))
        if decimals > 0 {
            digits = String(repeating: "0", count: max(0, decimals + 1 - digits.count)) + digits
            digits.insert(".", at: digits.index(digits.endIndex, offsetBy: -decimals))
        }
        return (value < 0 && scaled > 0 ? "-" : "") + digits
    }

    /// One digit before the exponent, for errors: 3.1e-07.
    package static func scientific(_ value: Double) -> String {
        guard value.isFinite, value != 0 else { return "\(value)" }
        var mantissa = abs(value), exponent = 0
        while mantissa >= 9.95 {
            mantissa /= 10
            exponent += 1
        }
        while mantissa < 0.995 {
            mantissa *= 10
            exponent -= 1
        }
        return "\(value < 0 ? "-" : "")\(fixed(mantissa, 1))e\(exponent)"
    }

    /// A duration in the unit that suits it.
    package static func time(_ seconds: Double) -> String {
        switch abs(seconds) {
        case ..<1e-6: significant(seconds * 1e9) + " ns"
        case ..<1e-3: significant(seconds * 1e6) + " µs"
        case ..<1: significant(seconds * 1e3) + " ms"
        default: significant(seconds) + " s"
        }
    }

    /// A count in thousands, millions, billions.
    package static func count(_ value: Double) -> String {
        switch abs(value) {
        case ..<1e4: significant(value)
        case ..<1e6: significant(value * 1e-3) + " k"
        case ..<1e9: significant(value * 1e-6) + " M"
        default: significant(value * 1e-9) + " G"
        }
    }

    /// Bytes in binary units.
    package static func bytes(_ value: Int) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"]
        var amount = Double(value), unit = 0
        while amount >= 1024, unit < units.count - 1 {
            amount /= 1024
            unit += 1
        }
        return "\(significant(amount)) \(units[unit])"
    }

    /// As short as it can be read back: 1, 0.25.
    package static func short(_ value: Double) -> String {
        let text = "\(value)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    private static func power(_ exponent: Int) -> Double {
        var result = 1.0
        for _ in 0..<abs(exponent) { result *= 10 }
        return exponent < 0 ? 1 / result : result
    }
}
