import CPlatform

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

/// A child process that is asked in lines: one socket is its standard input and output.
///
/// It leads a process group of its own, so that it can be stopped with all that it starts: a pool of threads that waits by spinning takes
/// no processor from whoever else is timed. When this process ends, however it ends, the child's input ends; a stopped group hears
/// nothing of it, so `worker.py` has the system end it with its parent.
///
/// Foundation's `Process` would make the static binary four times as large.
final class PeerProcess {
    /// The longest line that is taken.
    private static let maximumLine = 4 << 20

    private let socket: Int32
    private let pid: pid_t
    private let errorLog: String
    private var received: [UInt8] = []
    /// As much of it has no end of line.
    private var searched = 0
    private var hasEnded = false

    /// Starts a program, which is looked for in PATH where its name has no slash.
    ///
    /// - Parameter errorLog: File that gets its standard error.
    init(_ command: [String], environment: [String: String], errorLog: String) throws(PeerFailure) {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Self.socketType, 0, &ends) == 0 else { throw .notStarted(Self.reason(errno)) }
        #if canImport(Darwin)
            var yes: Int32 = 1
            setsockopt(ends[0], SOL_SOCKET, SO_NOSIGPIPE, &yes, socklen_t(MemoryLayout<Int32>.size))
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        #endif
        defer { close(ends[1]) }
        do throws(PeerFailure) {
            pid = try Self.spawn(command, environment: environment, standard: ends[1], errorLog: errorLog)
        } catch {
            close(ends[0])
            throw error
        }
        socket = ends[0]
        self.errorLog = errorLog
    }

    deinit { end() }

    private static var socketType: Int32 {
        #if canImport(Glibc)
            Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        #elseif canImport(Musl)
            SOCK_STREAM | SOCK_CLOEXEC
        #else
            SOCK_STREAM
        #endif
    }

    private static func spawn(
        _ command: [String], environment: [String: String], standard: Int32, errorLog: String
    ) throws(PeerFailure) -> pid_t {
        #if canImport(Darwin)
            var actions: posix_spawn_file_actions_t?
            var attributes: posix_spawnattr_t?
        #else
            var actions = posix_spawn_file_actions_t()
            var attributes = posix_spawnattr_t()
        #endif
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_adddup2(&actions, standard, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, standard, STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errorLog, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        // What this process ignores the child must not.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        for signal in [SIGINT, SIGTERM, SIGPIPE, SIGHUP] { sigaddset(&signals, signal) }
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        let arguments = command.map { strdup($0) } + [nil]
        let variables = environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in arguments + variables { free(text) } }
        var pid = pid_t()
        let code = posix_spawnp(&pid, command[0], &actions, &attributes, arguments, variables)
        guard code == 0 else { throw .notStarted("\(command[0]): \(reason(code))") }
        return pid
    }

    private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }

    /// Sends a line. It is short beside what the system buffers, so that even a child that does not read delays nobody.
    func send(_ line: Data) throws(PeerFailure) {
        var rest = (Array(line) + [UInt8(ascii: "\n")])[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { Self.put(socket, $0) }
            if sent < 0, errno == EINTR { continue }
            guard sent > 0 else { throw ended() }
            rest = rest.dropFirst(sent)
        }
    }

    private static func put(_ socket: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        #if canImport(Darwin)
            Darwin.send(socket, bytes.baseAddress, bytes.count, 0)
        #elseif canImport(Musl)
            Musl.send(socket, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
        #else
            Glibc.send(socket, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
        #endif
    }

    /// The next line, without its end.
    func receive(within seconds: Double, _ interruption: Interruption) throws(PeerFailure) -> Data {
        let deadline = cp_nanoseconds() + UInt64(min(max(seconds, 0), 86_400) * 1e9)
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            if let end = received[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = Data(received[..<end])
                received.removeSubrange(...end)
                searched = 0
                return line
            }
            searched = received.count
            guard received.count <= Self.maximumLine else {
                throw .rubbish("\(Format.bytes(received.count)) without an end of line")
            }
            if interruption.isRequested { throw .interrupted }
            let now = cp_nanoseconds()
            guard now < deadline else { throw .silent(seconds: seconds) }
            var wait = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            // Interruptions are looked for now and then.
            guard poll(&wait, 1, Int32(min((deadline - now) / 1_000_000 + 1, 50))) > 0 else { continue }
            let count = read(socket, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw ended() }
            received += chunk[..<count]
        }
    }

    /// Takes the processor from the child and all that it started, until ``resume()``.
    func stop() { signalGroup(SIGSTOP) }

    func resume() { signalGroup(SIGCONT) }

    private func signalGroup(_ signal: Int32) {
        if !hasEnded { kill(-pid, signal) }
    }

    /// Ends the child and all that it started, at once; does nothing a second time.
    func end() {
        guard !hasEnded else { return }
        kill(-pid, SIGKILL)
        finish(waiting: true)
    }

    /// The child closed its side: how it ended.
    private func ended() -> PeerFailure {
        var status: Int32?
        for _ in 0..<100 where status == nil {
            status = finish(waiting: false)
            if status == nil { usleep(10_000) }
        }
        guard let status else {
            end()
            return .ended("closed its output")
        }
        // What it started, if anything.
        kill(-pid, SIGKILL)
        let signal = status & 0x7f
        var text = signal == 0 ? "ended with status \(status >> 8 & 0xff)" : "was ended by signal \(signal)"
        if signal == SIGKILL { text += ", perhaps for want of memory" }
        return .ended(text + (lastWords.map { ": \($0)" } ?? ""))
    }

    /// Collects the child's status; nil where it has not ended.
    @discardableResult
    private func finish(waiting: Bool) -> Int32? {
        var status: Int32 = 0
        var found: pid_t
        repeat { found = waitpid(pid, &status, waiting ? 0 : WNOHANG) } while found < 0 && errno == EINTR
        guard found == pid || found < 0 else { return nil }
        hasEnded = true
        close(socket)
        return status
    }

    /// The last line of its standard error.
    private var lastWords: String? {
        guard let data = try? Data(contentsOf: URL(filePath: errorLog)) else { return nil }
        let lines = String(decoding: data.suffix(4096), as: UTF8.self).split(whereSeparator: \.isNewline)
        return lines.last { !$0.allSatisfy(\.isWhitespace) }.map { PeerFailure.oneLine(String($0), limit: 200) }
    }
}
