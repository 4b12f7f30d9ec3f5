/// Why a peer has no row; its text is one line.
package enum PeerFailure: Error, Sendable, Hashable {
    /// The interpreter could not be started.
    case notStarted(String)
    /// The library is not there, or does not start here.
    case missing(String)
    /// There is too little memory for the library.
    case noMemory(needed: Int, free: Int)
    /// The library has nothing for this workload.
    case unsupported(String)
    /// The library raised an error.
    case failed(String)
    /// The process ended, or was ended.
    case ended(String)
    case silent(seconds: Double)
    /// An answer that is none.
    case rubbish(String)
    case wrongResult(WrongResult)
    /// Times that cannot be.
    case impossible(String)
    /// A call would take too long.
    case tooLong(String)
    case interrupted
}

extension PeerFailure: CustomStringConvertible {
    package var description: String {
        let text =
            switch self {
            case .notStarted(let why): "could not be started: \(why)"
            case .missing(let what): "missing: \(what)"
            case .noMemory(let needed, let free):
                "needs about \(Format.bytes(needed)) of memory; \(Format.bytes(free)) are free"
            case .unsupported(let what): what
            case .failed(let why): "failed: \(why)"
            case .ended(let how): how
            case .silent(let seconds): "gave no answer within \(Format.time(seconds))"
            case .rubbish(let what): "gave an answer that is none: \(what)"
            case .wrongResult(let wrong): "wrong result: \(wrong)"
            case .impossible(let what): "impossible: \(what)"
            case .tooLong(let what): what
            case .interrupted: "interrupted"
            }
        return Self.oneLine(text)
    }

    /// Another program's words: one line of them, and no escape codes.
    static func oneLine(_ text: String, limit: Int = 300) -> String {
        let plain = String(text.unicodeScalars.map { $0.value < 32 || $0.value == 127 ? " " : Character($0) })
        let words = plain.split(separator: " ").joined(separator: " ")
        return words.count <= limit ? words : words.prefix(limit) + "…"
    }
}
