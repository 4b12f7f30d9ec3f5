#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Which program made a number: a fingerprint of the executable's bytes.
package enum BuildIdentity {
    /// "unknown" where the executable cannot be read.
    package static func ofThisProcess() -> String {
        #if os(Linux)
            let path = "/proc/self/exe"
        #else
            let path = CommandLine.arguments.first ?? ""
        #endif
        guard let bytes = try? Data(contentsOf: URL(filePath: path), options: .mappedIfSafe) else { return "unknown" }
        var fingerprint = Fingerprint()
        bytes.withUnsafeBytes { fingerprint.add($0) }
        return fingerprint.text
    }
}
