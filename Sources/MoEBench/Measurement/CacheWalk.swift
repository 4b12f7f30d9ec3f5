import MoEKernel

/// Other memory that goes through every processor's caches before a timed call, so that the call finds nothing of the layer there.
package struct CacheWalk: Sendable {
    private let probe: any MachineProbe

    /// - Throws: `MoEError.outOfMemory` where there is no room for the buffer.
    package init(pool: ThreadPool, instructionSet: CPUInstructionSet, machine: Machine = Machine()) throws(MoEError) {
        probe = try CeilingProbe(
            pool: pool, instructionSet: instructionSet, readBytes: Self.bytes(threads: pool.threads, machine),
            seeksFastest: false)
    }

    package init(_ probe: any MachineProbe) { self.probe = probe }

    /// Bytes of the buffer, which the pool's threads read in equal parts: twice the last-level caches, four times the private ones, and
    /// at least 64 MiB, for caches that the system does not tell of.
    ///
    /// A last-level cache is taken to be shared by four processors or more; where it is shared by more, a walk is longer than it has to
    /// be.
    package static func bytes(threads: Int, _ machine: Machine) -> Int {
        max(64 << 20, 2 * machine.l3Bytes * ((threads + 3) / 4), 4 * machine.l2Bytes * threads)
    }

    package func run() { _ = probe.read() }
}
