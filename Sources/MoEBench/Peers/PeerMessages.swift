#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What a worker says first. `Benchmarks/Peers/cpu/worker.py` tells what each message means.
struct PeerHello: Decodable {
    /// The version of these messages.
    let hello: Int?
    /// The library and its version.
    let program: String?
    let peers: [String]?
    let missing: String?

    static let version = 1
}

struct PeerRequest: Encodable {
    enum Verb: String, Encodable {
        case prepare, time
    }

    let `do`: Verb
    let peer: String
    var calls: Int?
    /// File that gets the outputs.
    let output: String
}

struct PeerAnswer: Decodable {
    let nanoseconds: [UInt64]?
    let batch: Int?
    let unsupported: String?
    let failed: String?
}

/// `task.json` of the exchange's folder.
struct PeerTask: Encodable {
    let tokens: Int
    let hidden: Int
    let expertHidden: Int
    let experts: Int
    let topK: Int
    let dtype: String
    let threads: Int
    /// Copies of the dense layer's weights, which batches take turns with.
    let isoCopies: Int
}
