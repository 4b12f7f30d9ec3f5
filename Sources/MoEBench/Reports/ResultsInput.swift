import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A results file, read and looked over.
package struct ResultsInput: Sendable {
    package let path: String
    /// The file's bytes, as they are.
    package let data: Data
    package let results: RecordedResults

    /// The path's last part.
    package var name: String { path.split(separator: "/").last.map(String.init) ?? path }

    package init(path: String, data: Data) throws(MoEError) {
        self.path = path
        self.data = data
        results = try RecordedResults.read(data, file: path)
        try results.check(file: path)
    }

    /// - Throws: `MoEError.system` where there is no such file or it cannot be read, `MoEError.checkpoint` where it is none of ours.
    package static func read(_ path: String) throws(MoEError) -> ResultsInput {
        let attributes = try? FileManager.default.attributesOfItem(
            atPath: URL(filePath: path).resolvingSymlinksInPath().path)
        guard let attributes else { throw .system(file: path, operation: "read", reason: "there is no such file") }
        if attributes[.type] as? FileAttributeType == .typeDirectory {
            throw .system(file: path, operation: "read", reason: "is a folder; name the results files in it")
        }
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: path))
        } catch {
            throw .system(file: path, operation: "read", reason: ResultsFile.reason(error))
        }
        guard !data.isEmpty else { throw .checkpoint(file: path, tensor: nil, problem: "is empty") }
        return try ResultsInput(path: path, data: data)
    }
}
