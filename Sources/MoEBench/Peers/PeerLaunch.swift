import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Which interpreter runs which scripts.
package struct PeerLaunch: Sendable, Hashable {
    package let python: String
    /// `worker.py`.
    package let script: String

    package static let variable = "MOE_PEERS_PYTHON"
    private static let usualFolder = "Benchmarks/Peers"

    /// - Parameters:
    ///   - python: The interpreter; nil for what the environment names, that of the environment beside the scripts, or python3.
    ///   - folder: `Benchmarks/Peers`; nil where it lies in the current folder.
    /// - Throws: `MoEError.unavailable` where the scripts are not there.
    package init(python: String? = nil, folder: String? = nil) throws(MoEError) {
        let folder = folder ?? Self.usualFolder
        script = folder + "/cpu/worker.py"
        guard access(script, R_OK) == 0 else {
            throw .unavailable(
                what: "compare-peers",
                reason: "there is no \(script); run it in the package's folder, or say --peers DIR")
        }
        let own = folder + "/cpu/.venv/bin/python"
        let named = ProcessInfo.processInfo.environment[Self.variable].flatMap { $0.isEmpty ? nil : $0 }
        self.python = python ?? named ?? (access(own, X_OK) == 0 ? own : "python3")
    }

    func command(_ library: Peer.Library, folder: String) -> [String] { [python, script, library.rawValue, folder] }

    /// This process's environment, with as many threads as the comparison has. How a library waits for its threads is left to it: a peer
    /// that is not asked is stopped, so that it may spin while it is.
    func environment(threads: Int) -> [String: String] {
        var variables = ProcessInfo.processInfo.environment
        for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] { variables[name] = "\(threads)" }
        // A BLAS that is told of another processor is not at its best.
        for name in ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"] { variables[name] = nil }
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
        return variables
    }
}
