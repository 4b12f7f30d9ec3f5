import Dispatch

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What SIGINT and SIGPIPE do while something is measured.
package final class Signals {
    package let interruption = Interruption()
    private let source: any DispatchSourceSignal

    /// From now on the first SIGINT asks for an orderly end and the second ends at once; a closed pipe ends quietly, also
    /// where the parent process chose to ignore that.
    package init() {
        signal(SIGPIPE, SIG_DFL)
        signal(SIGINT, SIG_IGN)  // else the default action ends the process before the source hears of it
        source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global(qos: .userInitiated))
        let interruption = interruption
        source.setEventHandler {
            if interruption.isRequested { _exit(ExitCode.interrupted.rawValue) }
            interruption.request()
        }
        source.activate()
    }
}
