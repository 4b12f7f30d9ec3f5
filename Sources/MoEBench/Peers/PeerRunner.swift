import MoEKernel

/// Measures the layer, its dense baselines and peers on one workload, in turns, on the same weights and inputs.
package struct PeerRunner: Sendable {
    package let runner: WorkloadRunner
    package let launch: PeerLaunch
    package let peers: Set<Peer>
    package var patience = PeerPatience()
    /// Folder that keeps the files that peers were given.
    package var keep: String?

    /// - Parameter runner: Measures the layer; its contest is set here.
    package init(_ runner: WorkloadRunner, _ launch: PeerLaunch, peers: Set<Peer>) {
        var runner = runner
        runner.contest = .dense
        self.runner = runner
        self.launch = launch
        self.peers = peers
    }

    /// - Throws: what the layer throws, and what writing files throws; never what befalls a peer.
    package func run(_ workload: Workload, budget: Double) throws(MoEError) -> WorkloadReport {
        let contest = try PeerContest(self, workload)
        defer { contest.end() }
        // Ours are the layer, which counts double, and two dense ones.
        let share = Double(contest.tracks.count) / Double(contest.tracks.count + 4)
        let turns = PeerTurns(
            contest.tracks, inputs: contest.inputs, budget: budget * share, interruption: runner.interruption)
        var report = try runner.run(workload, budget: budget * (1 - share), inputs: contest.inputs) {
            turns.take(round: $0, of: $1)
        }
        contest.account(in: &report)
        return report
    }
}
