/// The header of a safetensors file, checked against the data it describes: afterwards every tensor is known to lie
/// inside the file, of the size its shape and type ask for, and the tensors to cover the data without a hole or an
/// overlap.
struct SafetensorsHeader: Sendable {
    /// The most bytes a header may have; the format's own limit.
    static let maximumByteCount = 100_000_000
    /// The most dimensions of a tensor, as many as PyTorch has.
    static let maximumRank = 64

    private(set) var metadata: [String: String] = [:]
    /// In the order of their data.
    private(set) var tensors: [SafetensorsTensor] = []
    private(set) var positions: [String: Int] = [:]

    /// - Parameters:
    ///   - bytes: the header's JSON.
    ///   - data: where the data lies in the file; offsets in the header count from its start.
    ///   - file: named in errors.
    init(_ bytes: [UInt8], data: Range<Int>, file: String) throws(MoEError) {
        var reader = JSONReader(bytes, file: file, subject: "header")
        guard bytes.first == UInt8(ascii: "{") || bytes.first == 0xef else {
            throw reader.failure("a header begins with {")
        }
        try reader.beginObject()
        var hasMetadata = false
        // Growing the table would hash every name again. The shortest entries have about this many bytes.
        positions.reserveCapacity(bytes.count / 64)
        while let name = try reader.nextKey() {
            if name == "__metadata__" {
                guard !hasMetadata else { throw reader.duplicate(name) }
                hasMetadata = true
                metadata = try Self.readMetadata(&reader)
                continue
            }
            guard positions.updateValue(tensors.count, forKey: name) == nil else { throw reader.duplicate(name) }
            tensors.append(try Self.readTensor(name, &reader, data: data, file: file))
        }
        try reader.end()
        try sortByPosition()
        try checkCoverage(of: data, file: file)
    }

    private static func readMetadata(_ reader: inout JSONReader) throws(MoEError) -> [String: String] {
        var metadata: [String: String] = [:]
        try reader.beginObject()
        while let key = try reader.nextKey() {
            guard try reader.peek() == .string else {
                throw reader.failure("__metadata__ \(quoted(key)) has to be a string")
            }
            guard metadata.updateValue(try reader.readString(), forKey: key) == nil else { throw reader.duplicate(key) }
        }
        return metadata
    }

    /// The description of one tensor. Members that the format does not have are passed over, as its own readers do.
    private static func readTensor(
        _ name: String, _ reader: inout JSONReader, data: Range<Int>, file: String
    ) throws(MoEError) -> SafetensorsTensor {
        func fault(_ problem: String) -> MoEError { .checkpoint(file: file, tensor: clipped(name), problem: problem) }
        var type: SafetensorsType?
        var shape: [Int]?
        var range: (Int, Int)?
        var others: Set<String> = []
        guard try reader.peek() == .object else { throw fault("its header entry has to be an object") }
        try reader.beginObject()
        while let key = try reader.nextKey() {
            switch key {
            case "dtype":
                guard type == nil else { throw reader.duplicate(key) }
                guard try reader.peek() == .string else { throw fault("dtype has to be a string") }
                let text = try reader.readString()
                guard let known = SafetensorsType.named[text] else {
                    let names = SafetensorsType.allCases.map(\.rawValue).joined(separator: ", ")
                    throw fault("dtype \(quoted(text)) is unknown; expected one of \(names)")
                }
                type = known
            case "shape":
                guard shape == nil else { throw reader.duplicate(key) }
                shape = try readCounts("an extent of shape", limit: maximumRank, &reader, fault)
            case "data_offsets":
                guard range == nil else { throw reader.duplicate(key) }
                let offsets = try readCounts("an offset of data_offsets", limit: 2, &reader, fault)
                guard offsets.count == 2 else { throw fault("data_offsets has to hold two numbers, first and end") }
                range = (offsets[0], offsets[1])
            default:
                guard others.insert(key).inserted else { throw reader.duplicate(key) }
                try reader.skipValue()
            }
        }
        guard let type else { throw fault("its header entry lacks dtype") }
        guard let shape else { throw fault("its header entry lacks shape") }
        guard let (first, end) = range else { throw fault("its header entry lacks data_offsets") }
        guard first <= end else { throw fault("data_offsets [\(first), \(end)] run backwards") }
        guard end <= data.count else {
            throw fault("data cut short: data_offsets end at \(end), the file holds \(data.count) bytes of data")
        }
        guard let byteCount = type.byteCount(shape: shape) else {
            throw fault("shape \(shape) of \(type.rawValue) is no whole number of bytes below 2^60")
        }
        guard byteCount == end - first else {
            throw fault(
                "shape \(shape) of \(type.rawValue) takes \(byteCount) bytes, "
                    + "data_offsets [\(first), \(end)] give it \(end - first)"
            )
        }
        return SafetensorsTensor(
            name: name, type: type, shape: shape, bytes: data.lowerBound + first..<data.lowerBound + end)
    }

    private static func readCounts(
        _ what: String, limit: Int, _ reader: inout JSONReader, _ fault: (String) -> MoEError
    ) throws(MoEError) -> [Int] {
        guard try reader.peek() == .array else { throw fault("\(what): expected an array of whole numbers") }
        var counts: [Int] = []
        counts.reserveCapacity(4)
        try reader.beginArray()
        while try reader.nextElement() {
            guard counts.count < limit else { throw fault("\(what): expected at most \(limit) of them") }
            guard try reader.peek() == .number else { throw fault("\(what) has to be a whole number of 0 or more") }
            guard case .integer(let count) = try reader.readNumber(), count >= 0 else {
                throw fault("\(what) has to be a whole number of 0 or more")
            }
            counts.append(count)
        }
        return counts
    }

    private mutating func sortByPosition() throws(MoEError) {
        func precedes(_ a: SafetensorsTensor, _ b: SafetensorsTensor) -> Bool {
            (a.bytes.lowerBound, a.bytes.upperBound) < (b.bytes.lowerBound, b.bytes.upperBound)
        }
        guard !zip(tensors, tensors.dropFirst()).allSatisfy({ !precedes($1, $0) }) else { return }
        tensors.sort(by: precedes)
        for (position, tensor) in tensors.enumerated() { positions[tensor.name] = position }
    }

    private func checkCoverage(of data: Range<Int>, file: String) throws(MoEError) {
        var covered = data.lowerBound
        var previous: String?
        for tensor in tensors {
            let (first, expected) = (tensor.bytes.lowerBound - data.lowerBound, covered - data.lowerBound)
            if first != expected {
                let problem =
                    switch previous {
                    case nil: "its data starts late, at \(first); expected the first tensor at 0"
                    case let name? where first < expected: "its data, from \(first), overlaps that of \(quoted(name))"
                    case let name?:
                        "a hole of \(first - expected) bytes lies between the data of \(quoted(name)) and its own"
                    }
                throw .checkpoint(file: file, tensor: clipped(tensor.name), problem: problem)
            }
            covered = tensor.bytes.upperBound
            previous = tensor.name
        }
        guard covered == data.upperBound else {
            throw .checkpoint(
                file: file, tensor: nil,
                problem: "\(data.upperBound - covered) bytes follow the data of the last tensor; expected none")
        }
    }
}
