import Dispatch

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What SIGINT, SIGTERM and SIGPIPE do while something is measured.
package final class Signals {
    package let interruption = Interruption()
    private let sources: [any DispatchSourceSignal]

    /// From now on the first SIGINT or SIGTERM asks for an orderly end and the second ends at once; a closed pipe ends quietly, also
    /// where the parent process chose to ignore that.
    package init() {
        signal(SIGPIPE, SIG_DFL)
        let interruption = interruption
        sources = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)  // else the default action ends the process before the source hears of it
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global(qos: .userInitiated))
            source.setEventHandler {
                if interruption.isRequested { _exit(ExitCode.interrupted.rawValue) }
                interruption.request()
            }
            source.activate()
            return source
        }
    }
}
