/// JSON as this library writes it: config.json, an index, a header.
enum JSONText {
    /// A string in quotes.
    static func literal(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\u{0}"..<"\u{20}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// A document with its keys sorted, a member a line, as Python's json writes configurations: what is no number there has
    /// Python's words here.
    static func document(_ value: JSONValue) -> [UInt8] {
        var text = ""
        append(value, to: &text, margin: "\n")
        return Array((text + "\n").utf8)
    }

    private static func append(_ value: JSONValue, to text: inout String, margin: String) {
        let inner = margin + "  "
        switch value {
        case .null: text += "null"
        case .bool(let truth): text += "\(truth)"
        case .integer(let number): text += "\(number)"
        case .number(let number):
            text += number.isNaN ? "NaN" : number.isInfinite ? (number < 0 ? "-Infinity" : "Infinity") : "\(number)"
        case .string(let string): text += literal(string)
        case .array(let elements):
            text += "["
            for (index, element) in elements.enumerated() {
                text += (index == 0 ? "" : ",") + inner
                append(element, to: &text, margin: inner)
            }
            text += (elements.isEmpty ? "" : margin) + "]"
        case .object(let members):
            text += "{"
            for (index, (key, member)) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                text += (index == 0 ? "" : ",") + inner + literal(key) + ": "
                append(member, to: &text, margin: inner)
            }
            text += (members.isEmpty ? "" : margin) + "}"
        }
    }
}
