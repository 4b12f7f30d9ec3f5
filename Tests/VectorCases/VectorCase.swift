import Foundation
import MoEKernel

/// A checkpoint with an input and what a reference made of it: config.json, model.safetensors (or shards), input.safetensors,
/// expected.safetensors and meta.json in one folder.
package struct VectorCase: Sendable, CustomStringConvertible {
    package let folder: String
    /// Which of the model's layers to run.
    package let layer: Int
    /// How far a tensor may be off, of the largest reference value.
    package let tolerances: [String: Float]

    package var description: String { (folder as NSString).lastPathComponent }

    /// The cases beside the tests.
    package static let fixtures: [VectorCase] = {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path
        let folder = here + "/MoEKernelTests/Fixtures"
        return cases(in: folder) + cases(in: folder + "/families")
    }()
    /// More of them, in the folders that the environment variable `MOE_VECTORS` lists, parted by colons.
    package static let vectors: [VectorCase] =
        ProcessInfo.processInfo.environment["MOE_VECTORS"].map {
            $0.split(separator: ":").flatMap { cases(in: String($0)) }
        }
        ?? []
    package static let all = fixtures + vectors

    package func file(_ name: String) throws(MoEError) -> SafetensorsFile {
        try SafetensorsFile(at: "\(folder)/\(name).safetensors")
    }

    private static func cases(in folder: String) -> [VectorCase] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted().map { "\(folder)/\($0)" }
            .filter { FileManager.default.fileExists(atPath: $0 + "/meta.json") }.map { VectorCase($0) }
    }

    /// A malformed meta.json stops the tests: nothing else about the case could be trusted.
    private init(_ folder: String) {
        self.folder = folder
        guard let data = FileManager.default.contents(atPath: folder + "/meta.json"),
            let keys = (try? JSONSerialization.jsonObject(with: data)) as? [String: Any],
            let layer = keys["layer"] as? Int, let texts = keys["tolerance"] as? [String: String]
        else { fatalError("\(folder)/meta.json states no layer or tolerance") }
        self.layer = layer
        var tolerances: [String: Float] = [:]
        for (tensor, text) in texts {
            for clause in text.split(separator: ";") {
                // `max|y-ref| <= 5e-6 * …`, or `y, y_eager: 3e-2 * …` naming the tensors.
                var (names, rest) = ([tensor], clause[...])
                if let bound = clause.range(of: "<=") {
                    rest = clause[bound.upperBound...]
                } else if let colon = clause.firstIndex(of: ":") {
                    names = clause[..<colon].split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
                    rest = clause[colon...].dropFirst()
                }
                guard let number = Float(String(rest.drop { $0 == " " }.prefix { !" *".contains($0) })) else {
                    fatalError("\(folder)/meta.json: tolerance \(text)")
                }
                for name in names { tolerances[name] = number }
            }
        }
        self.tolerances = tolerances
    }
}

/// The largest difference over the largest reference value; infinite for a NaN or another count.
package func worstError(_ values: [Float], _ reference: [Float]) -> Float {
    guard values.count == reference.count else { return .infinity }
    let scale = reference.reduce(0) { max($0, abs($1)) }
    var worst: Float = 0
    for (value, expected) in zip(values, reference) {
        let difference = abs(value - expected)
        if difference.isNaN { return .infinity }
        worst = max(worst, difference)
    }
    return worst == 0 ? 0 : worst / scale
}
