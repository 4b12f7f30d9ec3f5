/// A JSON document in memory: config.json, which is small and whose keys are many and optional.
enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    /// A number without fraction or exponent, exactly.
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// Reads a whole document.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` with the position of the first fault.
    init(_ bytes: [UInt8], file: String, dialect: JSONReader.Dialect = .strict) throws(MoEError) {
        var reader = JSONReader(bytes, file: file, dialect: dialect)
        self = try reader.readValue()
        try reader.end()
    }
}

extension JSONReader {
    mutating func readValue() throws(MoEError) -> JSONValue {
        switch try peek() {
        case .string:
            return .string(try readString())
        case .word:
            return try readWord().map(JSONValue.bool) ?? .null
        case .number:
            switch try readNumber() {
            case .integer(let value): return .integer(value)
            case .fraction(let value): return .number(value)
            }
        case .array:
            var elements: [JSONValue] = []
            try beginArray()
            while try nextElement() { elements.append(try readValue()) }
            return .array(elements)
        case .object:
            var members: [String: JSONValue] = [:]
            try beginObject()
            while let key = try nextKey() {
                guard members.updateValue(try readValue(), forKey: key) == nil else { throw duplicate(key) }
            }
            return .object(members)
        }
    }
}

extension JSONValue {
    /// The value as an error shows it.
    var shown: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): quoted(value)
        case .array(let elements): "an array of \(elements.count)"
        case .object: "an object"
        }
    }
}
