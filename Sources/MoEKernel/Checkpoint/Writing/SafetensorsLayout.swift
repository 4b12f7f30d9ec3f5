/// Where tensors lie in a safetensors file that is to be written, and the header that says so.
struct SafetensorsLayout: Sendable {
    struct Entry: Sendable {
        let name: String
        let type: SafetensorsType
        let shape: [Int]
        let byteCount: Int
    }

    /// Positions of the entries in the order of their data: widest types first, which keeps every tensor's data aligned to its own
    /// type.
    let order: [Int]
    /// Bytes of the file before each entry's data.
    let offsets: [Int]
    /// The header with its length before it.
    let header: [UInt8]
    /// Of the whole file.
    let byteCount: Int

    init(_ entries: [Entry], metadata: [String: String]) {
        order = entries.indices.sorted { (entries[$1].type.bitCount, $0) < (entries[$0].type.bitCount, $1) }
        var members: [String] = []
        if !metadata.isEmpty {
            let notes = metadata.sorted { $0.key < $1.key }
                .map { "\(JSONText.literal($0.key)):\(JSONText.literal($0.value))" }
            members.append("\"__metadata__\":{\(notes.joined(separator: ","))}")
        }
        var starts = [Int](repeating: 0, count: entries.count)
        var end = 0
        for position in order {
            let entry = entries[position]
            let shape = entry.shape.map(String.init).joined(separator: ",")
            starts[position] = end
            end += entry.byteCount
            members.append(
                "\(JSONText.literal(entry.name)):{\"dtype\":\"\(entry.type.rawValue)\",\"shape\":[\(shape)],"
                    + "\"data_offsets\":[\(starts[position]),\(end)]}")
        }
        var json = Array("{\(members.joined(separator: ","))}".utf8)
        // Blanks bring the data to a multiple of 8.
        while !json.count.isMultiple(of: 8) { json.append(0x20) }
        header = (0..<8).map { UInt8(truncatingIfNeeded: json.count >> ($0 * 8)) } + json
        let first = header.count
        offsets = starts.map { $0 + first }
        byteCount = first + end
    }
}
