/// Reads one JSON document from memory, a token at a time, and strictly: what RFC 8259 leaves open is refused.
///
/// A safetensors header may be 100 MB and lie, so nothing is built that the caller did not ask for: the caller states
/// what it expects next and gets that or an error with the byte's position.
struct JSONReader {
    /// Arrays and objects may be nested this deep.
    static let maximumDepth = 64

    /// Where the next token, or the blanks before it, begins.
    private(set) var offset = 0
    private let bytes: [UInt8]
    private let file: String
    private let subject: String
    private let dialect: Dialect
    private var depth = 0
    /// No member of the innermost open container has been read yet, so none needs a comma before it.
    private var atFirstMember = true

    /// What counts as JSON.
    enum Dialect {
        /// RFC 8259.
        case strict
        /// With the numbers `NaN`, `Infinity` and `-Infinity`, which Python's json writes where a model's configuration has them.
        case python
    }

    /// - Parameters:
    ///   - file: named in errors.
    ///   - subject: what of the file this is, for errors: `header`, `file`.
    init(_ bytes: [UInt8], file: String, subject: String = "file", dialect: Dialect = .strict) {
        self.bytes = bytes
        self.file = file
        self.subject = subject
        self.dialect = dialect
    }

    /// The error for something wrong at a position.
    func failure(_ problem: String, at position: Int? = nil) -> MoEError {
        .checkpoint(
            file: file, tensor: nil,
            problem: "\(subject) is not the JSON it should be: byte \(position ?? offset): \(problem)")
    }

    /// The error for a key that its object already has.
    func duplicate(_ key: String) -> MoEError { failure("key \(quoted(key)) stands there twice") }

    // MARK: Structure

    mutating func beginObject() throws(MoEError) { try begin(UInt8(ascii: "{"), "an object") }
    mutating func beginArray() throws(MoEError) { try begin(UInt8(ascii: "["), "an array") }

    /// The key of the next member, its colon consumed; nil, the object closed, after the last. Keys may repeat: whoever
    /// collects them notices. Two spellings of the same characters (é in one piece or two) count as the same key.
    mutating func nextKey() throws(MoEError) -> String? {
        guard try nextMember(closing: UInt8(ascii: "}")) else { return nil }
        guard current == UInt8(ascii: "\"") else { throw unexpected("a key in quotes") }
        let key = try readString()
        skipBlanks()
        guard current == UInt8(ascii: ":") else { throw unexpected("a colon after key \(quoted(key))") }
        offset += 1
        return key
    }

    /// Whether another element follows; false, the array closed, after the last.
    mutating func nextElement() throws(MoEError) -> Bool { try nextMember(closing: UInt8(ascii: "]")) }

    /// Nothing but blanks may follow the document.
    mutating func end() throws(MoEError) {
        skipBlanks()
        guard offset == bytes.count else { throw failure("something follows the end of the document") }
    }

    private mutating func begin(_ bracket: UInt8, _ expectation: String) throws(MoEError) {
        skipBlanks()
        guard current == bracket else { throw unexpected(expectation) }
        guard depth < Self.maximumDepth else { throw failure("nested deeper than \(Self.maximumDepth)") }
        offset += 1
        depth += 1
        atFirstMember = true
    }

    private mutating func nextMember(closing bracket: UInt8) throws(MoEError) -> Bool {
        skipBlanks()
        if current == bracket {
            offset += 1
            depth -= 1
            atFirstMember = false
            return false
        }
        if !atFirstMember {
            guard current == UInt8(ascii: ",") else {
                throw unexpected("a comma or \(Character(Unicode.Scalar(bracket)))")
            }
            offset += 1
            skipBlanks()
        }
        atFirstMember = false
        return true
    }

    // MARK: Values

    /// What kind of value comes next.
    enum Kind {
        case object, array, string, number, word
    }

    mutating func peek() throws(MoEError) -> Kind {
        skipBlanks()
        switch current {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
        case UInt8(ascii: "t"), UInt8(ascii: "f"), UInt8(ascii: "n"): return .word
        case UInt8(ascii: "N"), UInt8(ascii: "I"):
            guard dialect == .python else { throw unexpected("a value") }
            return .number
        default: throw unexpected("a value")
        }
    }

    /// `true`, `false`, or nil for `null`.
    mutating func readWord() throws(MoEError) -> Bool? {
        skipBlanks()
        for (word, value) in [("true", true), ("false", false), ("null", nil)] as [(StaticString, Bool?)] {
            if skip(word) { return value }
        }
        throw unexpected("true, false or null")
    }

    /// Reads past a word if it comes next.
    private mutating func skip(_ word: StaticString) -> Bool {
        let length = word.utf8CodeUnitCount
        guard offset + length <= bytes.count,
            (0..<length).allSatisfy({ bytes[offset + $0] == word.utf8Start[$0] })
        else { return false }
        offset += length
        return true
    }

    /// A number: whole ones exactly, those with a fraction or an exponent as the nearest Double.
    enum Number: Hashable {
        case integer(Int)
        case fraction(Double)
    }

    mutating func readNumber() throws(MoEError) -> Number {
        skipBlanks()
        let start = offset
        if dialect == .python {
            if skip("NaN") { return .fraction(.nan) }
            if skip("Infinity") { return .fraction(.infinity) }
            if skip("-Infinity") { return .fraction(-.infinity) }
        }
        let negative = current == UInt8(ascii: "-")
        if negative { offset += 1 }
        guard isDigit else { throw unexpected("a number") }
        if current == UInt8(ascii: "0") {
            offset += 1
            if isDigit { throw failure("a number with a leading zero", at: start) }
        }
        // Built up below zero, where the range is one larger.
        var value = 0
        var overflow = false
        while isDigit {
            let (product, first) = value.multipliedReportingOverflow(by: 10)
            let (difference, second) = product.subtractingReportingOverflow(Int(current - UInt8(ascii: "0")))
            value = difference
            overflow = overflow || first || second
            offset += 1
        }
        var isFraction = false
        if current == UInt8(ascii: ".") {
            isFraction = true
            offset += 1
            try skipDigits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            isFraction = true
            offset += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { offset += 1 }
            try skipDigits()
        }
        if isFraction {
            guard let number = Double(String(decoding: bytes[start..<offset], as: UTF8.self)), number.isFinite else {
                throw failure("a number too large for a Double", at: start)
            }
            return .fraction(number)
        }
        guard !overflow, negative || value != .min else { throw failure("a number too large for 64 bits", at: start) }
        return .integer(negative ? value : -value)
    }

    mutating func readString() throws(MoEError) -> String {
        skipBlanks()
        guard current == UInt8(ascii: "\"") else { throw unexpected("a string") }
        offset += 1
        let start = offset
        while true {
            switch current {
            case UInt8(ascii: "\""):
                defer { offset += 1 }
                return text(start..<offset)
            case UInt8(ascii: "\\"):
                return try readStringWithEscapes(from: start)
            case 0x20...0x7f:
                offset += 1
            default:
                try skipCharacterBeyondASCII()
            }
        }
    }

    /// Reads past a value, checking it as any other.
    mutating func skipValue() throws(MoEError) {
        switch try peek() {
        case .string: _ = try readString()
        case .number: _ = try readNumber()
        case .word: _ = try readWord()
        case .array:
            try beginArray()
            while try nextElement() { try skipValue() }
        case .object:
            try beginObject()
            var keys: Set<String> = []
            while let key = try nextKey() {
                guard keys.insert(key).inserted else { throw duplicate(key) }
                try skipValue()
            }
        }
    }

    // MARK: Characters

    /// What stands at a range of bytes that has been checked.
    private func text(_ range: Range<Int>) -> String {
        bytes.withUnsafeBufferPointer { String(decoding: UnsafeBufferPointer(rebasing: $0[range]), as: UTF8.self) }
    }

    /// The byte at the position. Zero at the end: no token has one.
    @inline(__always)
    private var current: UInt8 { offset < bytes.count ? bytes[offset] : 0 }

    @inline(__always)
    private var isDigit: Bool { current &- UInt8(ascii: "0") < 10 }

    @inline(__always)
    private mutating func skipBlanks() {
        while current == 0x20 || current == 0x0a || current == 0x0d || current == 0x09 { offset += 1 }
    }

    private mutating func skipDigits() throws(MoEError) {
        guard isDigit else { throw unexpected("a digit") }
        while isDigit { offset += 1 }
    }

    private func unexpected(_ expectation: String) -> MoEError {
        if offset >= bytes.count { return failure("it ends where \(expectation) should be") }
        if offset == 0, bytes.starts(with: [0xef, 0xbb, 0xbf]) { return failure("it begins with a byte-order mark") }
        let byte = bytes[offset]
        let found = 0x21...0x7e ~= byte ? "\(Character(Unicode.Scalar(byte)))" : "0x" + String(byte, radix: 16)
        return failure("found \(found) where \(expectation) should be")
    }

    /// Inside a string, at a byte that is not plain ASCII: one well-formed UTF-8 sequence, or an error. The ranges are
    /// those of the Unicode Standard's table of well-formed byte sequences: no overlong forms, no surrogates.
    private mutating func skipCharacterBeyondASCII() throws(MoEError) {
        guard offset < bytes.count else { throw failure("it ends inside a string") }
        let lead = bytes[offset]
        if lead < 0x20 { throw failure("a control character inside a string") }
        let (length, second): (Int, ClosedRange<UInt8>) =
            switch lead {
            case 0xc2...0xdf: (2, 0x80...0xbf)
            case 0xe0: (3, 0xa0...0xbf)
            case 0xed: (3, 0x80...0x9f)
            case 0xe1...0xef: (3, 0x80...0xbf)
            case 0xf0: (4, 0x90...0xbf)
            case 0xf1...0xf3: (4, 0x80...0xbf)
            case 0xf4: (4, 0x80...0x8f)
            default: (0, 0...0)
            }
        guard length > 0, offset + length <= bytes.count, second.contains(bytes[offset + 1]),
            bytes[offset + 2..<offset + max(length, 2)].allSatisfy({ 0x80...0xbf ~= $0 })
        else { throw failure("invalid UTF-8") }
        offset += length
    }

    /// The rest of a string in which the first escape has been met.
    private mutating func readStringWithEscapes(from start: Int) throws(MoEError) -> String {
        var text = Array(bytes[start..<offset])
        while true {
            switch current {
            case UInt8(ascii: "\""):
                offset += 1
                return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                text.append(contentsOf: try readEscape().utf8)
            case 0x20...0x7f:
                text.append(current)
                offset += 1
            default:
                let first = offset
                try skipCharacterBeyondASCII()
                text.append(contentsOf: bytes[first..<offset])
            }
        }
    }

    private mutating func readEscape() throws(MoEError) -> String {
        let start = offset
        offset += 1
        let letter = current
        offset += 1
        switch letter {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): break
        default: throw failure("an unknown escape", at: start)
        }
        var code = try readHexadecimal(start)
        if 0xd800..<0xdc00 ~= code, current == UInt8(ascii: "\\") {
            offset += 1
            guard current == UInt8(ascii: "u") else { throw failure("half of a surrogate pair", at: start) }
            offset += 1
            let low = try readHexadecimal(start)
            guard 0xdc00..<0xe000 ~= low else { throw failure("half of a surrogate pair", at: start) }
            code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw failure("half of a surrogate pair", at: start) }
        return String(scalar)
    }

    private mutating func readHexadecimal(_ start: Int) throws(MoEError) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let digit = Character(Unicode.Scalar(current)).hexDigitValue, current < 0x80 else {
                throw failure("an escape without its four hexadecimal digits", at: start)
            }
            code = code << 4 | UInt32(digit)
            offset += 1
        }
        return code
    }
}

/// Text from a file as an error shows it: in quotes, escaped, and cut where it would flood the message.
func quoted(_ text: String) -> String { clipped(text).debugDescription }

/// Text cut where it would flood a message.
func clipped(_ text: String) -> String {
    let limit = 200
    return text.utf8.count <= limit
        ? text : String(String.UnicodeScalarView(text.unicodeScalars.prefix(limit / 4))) + "…"
}
