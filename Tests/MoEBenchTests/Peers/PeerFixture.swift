import Foundation
import MoEKernel

@testable import MoEBench

/// A folder that passes for `Benchmarks/Peers`, and a shell script that passes for its Python: a worker whose answers are copied from
/// files, which hold the truth.
final class PeerFixture {
    let folder: URL
    let workload: Workload

    /// What the script does when it is asked to time calls, or at another moment.
    ///
    /// In it: $library, $peer, $calls, $output, and `truth`, which copies the right answer to $output.
    struct Script {
        var hello = #"say '{"hello":1,"program":"Fake 1.0","peers":[]}'"#
        var prepare = #"truth; say '{"nanoseconds":[3000000,2000000]}'"#
        var time = #"truth; say "{\"nanoseconds\":[$(ones)],\"batch\":0}""#
    }

    init(_ script: Script = Script()) throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "peers-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder.appending(path: "cpu"), withIntermediateDirectories: true)
        try Data().write(to: folder.appending(path: "cpu/worker.py"))
        // From 64 tokens on there is one batch: the answers to all requests are the same. Little work: the times told below are no lie on
        // any machine.
        workload = Workload(name: "fake", tokens: 64, hidden: 16, expertHidden: 24, experts: 4, topK: 2)
        try writeTruth("layer", try workload.configuration())
        try writeTruth("iso", try workload.isoActiveConfiguration())
        let text = """
            #!/bin/sh
            library=$2 folder='\(folder.path)'
            say() { printf '%s\\n' "$1"; }
            truth() { case $peer in *iso*) cp "$folder/iso" "$output";; *) cp "$folder/layer" "$output";; esac; }
            ones() { i=1; printf 200000; while [ $i -lt $calls ]; do printf ,200000; i=$((i + 1)); done; }
            field() { printf '%s' "$line" | sed "s/.*\\"$1\\":\\"*\\([^\\",}]*\\).*/\\1/;s/[\\\\]//g"; }
            say "$library $$" >>"$folder/started"
            \(script.hello)
            while IFS= read -r line; do
                peer=$(field peer) calls=$(field calls) output=$(field output)
                case $line in
                *'"prepare"'*) \(script.prepare) ;;
                *) \(script.time) ;;
                esac
            done
            """
        try Data(text.utf8).write(to: python)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: python.path)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    private var python: URL { folder.appending(path: "python") }

    /// Processes that were started, by library and process id.
    var started: [(library: String, pid: Int32)] {
        let text = (try? String(contentsOf: folder.appending(path: "started"), encoding: .utf8)) ?? ""
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            return words.count == 2 ? Int32(words[1]).map { (String(words[0]), $0) } : nil
        }
    }

    private func writeTruth(_ name: String, _ configuration: MoEConfiguration) throws {
        let inputs = Inputs(workload)
        let oracle = try LayerOracle(
            configuration, source: try workload.weights.source(configuration), inputs: inputs,
            sample: workload.tokens, seed: workload.seed)
        let y = oracle.batches.flatMap { $0.flatMap { $0.y.map { Float($0) } } }
        try y.withUnsafeBytes { try Data($0).write(to: folder.appending(path: name)) }
    }

    func launch(python other: String? = nil) throws -> PeerLaunch {
        try PeerLaunch(python: other ?? python.path, folder: folder.path)
    }

    func runner(
        _ peers: Set<Peer>, python other: String? = nil, interruption: Interruption = Interruption(),
        keep: String? = nil, patience seconds: Double = 120
    ) throws -> PeerRunner {
        let set = try CPUInstructionSet.chosen()
        let runner = WorkloadRunner(
            pool: try ThreadPool(threads: 1), instructionSet: set, tuning: .detected(set), build: "test",
            interruption: interruption, progress: .silent)
        var peerRunner = PeerRunner(runner, try launch(python: other), peers: peers)
        peerRunner.keep = keep
        peerRunner.patience.prepare = seconds
        peerRunner.patience.burst = seconds
        return peerRunner
    }

    func report(_ peers: Set<Peer>) throws -> WorkloadReport { try runner(peers).run(workload, budget: 0.05) }

    /// Peers that were started and checked, and not timed.
    func contest(_ peers: Set<Peer>, python: String? = nil, patience: Double = 120) throws -> PeerContest {
        let contest = try PeerContest(runner(peers, python: python, patience: patience), workload)
        contest.end()
        return contest
    }

    /// Whether a process is there, be it a dead one that nobody collected.
    static func exists(_ pid: Int32) -> Bool { kill(pid, 0) == 0 }
}
