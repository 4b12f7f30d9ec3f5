/// What libFuzzer calls with each input. The first byte says which reader the rest is for; see ``Subject``.
///
/// The loader's functions can throw nothing but `MoEError`. What is left to find are traps, reads outside memory, inputs
/// that take long or much memory, and broken promises (see ``require(_:_:)``).
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = UnsafeBufferPointer(start: start, count: count)
    // -1 keeps an input out of the corpus.
    guard let first = input.first, let subject = Subject(rawValue: first) else { return -1 }
    subject.read(Array(input.dropFirst()))
    return 0
}

/// A reader of the library, by the byte that stands for it.
enum Subject: UInt8 {
    /// A JSON document.
    case json = 0x6a  // j
    /// The length of the data in three bytes, the lowest first, then the JSON of a safetensors header.
    case header = 0x68  // h
    /// The JSON of an index.
    case index = 0x69  // i
    /// A safetensors file.
    case file = 0x66  // f
    /// A folder with one file: config.json, then a list of tensors (see ``shard(_:)``).
    case single = 0x73  // s
    /// A folder with shards: config.json, an index, then a list of tensors for each shard.
    case sharded = 0x6d  // m

    func read(_ bytes: [UInt8]) {
        switch self {
        case .json: readJSON(bytes)
        case .header: readHeader(bytes)
        case .index: readIndex(bytes)
        case .file: readFile(bytes)
        case .single, .sharded:
            // A byte that no JSON has.
            let parts = bytes.split(separator: 0xff, maxSplits: 8, omittingEmptySubsequences: false).map(Array.init)
            readCheckpoint(parts, sharded: self == .sharded)
        }
    }
}
