import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Experts that tokens of a real model chose, out of a file. In results it is a name and a fingerprint: the choices stay where they
/// came from.
package struct RecordedRouting: Sendable, Codable {
    /// The file's name, without its folder.
    package let file: String
    /// Of the choices.
    package let fingerprint: String
    package let tokens: Int
    package let topK: Int
    /// [tokens, topK], best first; empty in what a results file gave back.
    package let choices: [Int32]

    private enum CodingKeys: String, CodingKey { case file, fingerprint, tokens, topK }

    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where there is no token or no choice, or the rows are not of one length.
    package init(_ rows: [[Int]], file: String) throws(MoEError) {
        func failure(_ problem: String) -> MoEError { .checkpoint(file: file, tensor: nil, problem: problem) }
        guard let topK = rows.first?.count, topK > 0 else { throw failure("holds no choices of experts") }
        var choices: [Int32] = []
        for (token, row) in rows.enumerated() {
            guard row.count == topK else {
                throw failure("token \(token) has \(row.count) experts; expected \(topK), as the first has")
            }
            for expert in row {
                guard (0..<MoEConfiguration.maximumExperts).contains(expert) else {
                    throw failure(
                        "token \(token) chose expert \(expert); expected 0 to \(MoEConfiguration.maximumExperts - 1)")
                }
                choices.append(Int32(expert))
            }
            guard Set(row).count == topK else { throw failure("token \(token) chose an expert twice: \(row)") }
        }
        self.file = URL(filePath: file).lastPathComponent
        self.choices = choices
        self.topK = topK
        tokens = rows.count
        var fingerprint = Fingerprint()
        fingerprint.add(UInt64(topK))
        choices.withUnsafeBytes { fingerprint.add($0) }
        self.fingerprint = fingerprint.text
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        file = try values.decode(String.self, forKey: .file)
        fingerprint = try values.decode(String.self, forKey: .fingerprint)
        tokens = try values.decode(Int.self, forKey: .tokens)
        topK = try values.decode(Int.self, forKey: .topK)
        choices = []
    }

    /// Reads `topk_indices` of a safetensors file, as `moe-bench forward` writes it, or of a JSON object, or a JSON array of arrays.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where there is none such in it.
    package static func read(_ path: String) throws(MoEError) -> RecordedRouting {
        if path.hasSuffix(".json") { return try RecordedRouting(try json(path), file: path) }
        let file = try SafetensorsFile(at: path)
        let shape = try file.tensor(key).shape
        guard shape.count >= 2, let topK = shape.last, topK > 0 else {
            throw .checkpoint(file: path, tensor: key, problem: "has shape \(shape); expected [tokens, k]")
        }
        let choices = try file.integers(key)
        return try RecordedRouting(
            stride(from: 0, to: choices.count, by: topK).map { Array(choices[$0..<$0 + topK]) }, file: path)
    }

    private static let key = "topk_indices"

    private struct Document: Decodable {
        let topk_indices: [[Int]]
    }

    private static func json(_ path: String) throws(MoEError) -> [[Int]] {
        let data = try Data.contents(of: path)
        let decoder = JSONDecoder()
        if let rows = try? decoder.decode([[Int]].self, from: data) { return rows }
        if let document = try? decoder.decode(Document.self, from: data) { return document.topk_indices }
        throw .checkpoint(
            file: path, tensor: nil,
            problem: "is no recorded routing; expected [[expert, …], …], or an object whose \(key) is that")
    }
}

extension RecordedRouting: Hashable {
    package static func == (a: RecordedRouting, b: RecordedRouting) -> Bool {
        a.fingerprint == b.fingerprint && a.tokens == b.tokens && a.topK == b.topK
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(fingerprint) }
}

extension Data {
    /// - Throws: ``MoEError/system(file:operation:reason:)`` where the file cannot be read.
    static func contents(of path: String) throws(MoEError) -> Data {
        do {
            return try Data(contentsOf: URL(filePath: path))
        } catch {
            throw .system(file: path, operation: "read", reason: "it is not there, or may not be read")
        }
    }
}
