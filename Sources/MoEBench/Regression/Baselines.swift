import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// The folder in which runs are kept under names, to be compared with later: `.moe-bench` where the program runs, so that a project's
/// baselines lie beside its sources, or what the environment variable `MOE_BENCH_BASELINES` names.
package struct Baselines: Sendable, Hashable {
    package let folder: String

    package init(folder: String) { self.folder = folder }

    package static func current() -> Baselines {
        let named = ProcessInfo.processInfo.environment["MOE_BENCH_BASELINES"] ?? ""
        return Baselines(folder: named.isEmpty ? ".moe-bench" : named)
    }

    /// A name's file.
    package struct Place: Sendable, Hashable {
        package let name: String
        package let path: String
        fileprivate let folder: String
    }

    /// - Throws: `MoEError.input` for a name that is no plain file name.
    package func place(_ name: String) throws(MoEError) -> Place {
        let isPlain = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard isPlain, (1...100).contains(name.utf8.count), name.first != ".", name.first != "-" else {
            throw .input(
                name: "baseline", value: "\"\(name)\"",
                expectation: "a name of up to 100 letters, digits, dots, - and _, not beginning with a dot or -")
        }
        return Place(name: name, path: folder + "/" + name + ".json", folder: folder)
    }

    /// Names that are there, the last written first.
    package var names: [String] {
        let files = FileManager.default
        let found = ((try? files.contentsOfDirectory(atPath: folder)) ?? []).filter { $0.hasSuffix(".json") }
        return found.map { file -> (name: String, written: Date) in
            let attributes = try? files.attributesOfItem(atPath: folder + "/" + file)
            return (String(file.dropLast(5)), attributes?[.modificationDate] as? Date ?? .distantPast)
        }.sorted { ($1.written, $0.name) < ($0.written, $1.name) }.map(\.name)
    }

    /// What somebody means by a word: a file where it has a slash or ends in .json, else a name here.
    package func path(_ word: String) throws(MoEError) -> String {
        word.contains("/") || word.hasSuffix(".json") ? word : try place(word).path
    }

    /// Whether two paths lead to one file.
    package static func isSame(_ a: String, _ b: String) -> Bool {
        URL(filePath: a).resolvingSymlinksInPath().path == URL(filePath: b).resolvingSymlinksInPath().path
    }

    /// Whether there is anything at a path.
    package static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }
}

extension Baselines.Place {
    /// Makes the folder, and fails early where the file could not be written later.
    package func prepare() throws(MoEError) {
        do {
            try FileManager.default.createDirectory(
                at: URL(filePath: folder), withIntermediateDirectories: true)
        } catch {
            throw .system(file: folder, operation: "create", reason: ResultsFile.reason(error))
        }
        try ResultsFile.checkWritable(path)
    }

    /// Keeps a complete run; of one that is not, nothing, so that an earlier one of this name stays.
    package func keep(_ results: ResultsFile, _ terminal: Terminal = .current()) throws(MoEError) {
        guard !results.partial else {
            Terminal.complain("not saved as \(name): the run is not complete")
            return
        }
        let isOverwritten = Baselines.exists(path)
        try results.write(to: path)
        if terminal.isQuiet { return }
        Terminal.complain("saved as \(name) in \(path)" + (isOverwritten ? ", over an earlier one" : ""))
    }
}
