import Foundation
import Testing

@testable import MoEKernel

/// A folder that goes when the test is over.
final class Scratch {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "moekernel-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The path of a file in the folder.
    subscript(_ name: String) -> String { "\(path)/\(name)" }

    @discardableResult
    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        try Data(bytes).write(to: URL(fileURLWithPath: self[name]))
        return self[name]
    }

    @discardableResult
    func write(_ name: String, _ text: String) throws -> String { try write(name, Array(text.utf8)) }

    var contents: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }

    static func bytes(_ path: String) throws -> [UInt8] { try Array(Data(contentsOf: URL(fileURLWithPath: path))) }
}

/// A safetensors file from the text of its header, whatever it says, and its data.
func safetensors(_ header: String, data: Int = 0, length: UInt64? = nil) -> [UInt8] {
    safetensors(header: Array(header.utf8), data: [UInt8](repeating: 0, count: data), length: length)
}

func safetensors(header: [UInt8], data: [UInt8], length: UInt64? = nil) -> [UInt8] {
    let length = length ?? UInt64(header.count)
    return (0..<8).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + header + data
}

/// Expects a ``MoEError/checkpoint(file:tensor:problem:)`` within a second, naming a file and a tensor, whose message
/// has every one of some fragments.
func expectCheckpointError(
    file: String, tensor: String? = nil, _ fragments: [String], sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws -> Void
) {
    let clock = ContinuousClock()
    let start = clock.now
    defer { #expect(clock.now - start < .seconds(1), sourceLocation: sourceLocation) }
    do {
        try body()
        Issue.record("no error; expected one with \(fragments)", sourceLocation: sourceLocation)
    } catch let error as MoEError {
        guard case .checkpoint(let foundFile, let foundTensor, let problem) = error else {
            Issue.record("\(error)", sourceLocation: sourceLocation)
            return
        }
        #expect(foundFile == file, sourceLocation: sourceLocation)
        #expect(foundTensor == tensor, "\(error)", sourceLocation: sourceLocation)
        for fragment in fragments {
            #expect(problem.contains(fragment), "\(fragment) in: \(error)", sourceLocation: sourceLocation)
        }
        #expect("\(error)".utf8.count < 2000, sourceLocation: sourceLocation)
    } catch {
        Issue.record("\(error)", sourceLocation: sourceLocation)
    }
}
