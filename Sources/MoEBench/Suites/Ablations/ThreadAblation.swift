import MoEKernel

/// The same layer on all threads of the run, and on 1, 2, 4, … of them. All agree bit for bit.
enum ThreadAblation {
    static func contenders(_ trial: WorkloadTrial) throws(MoEError) -> [Contender] {
        let most = trial.pool.threads
        func name(_ threads: Int) -> String { "\(threads) thread\(threads == 1 ? "" : "s")" }
        var contenders = [trial.whole(trial.layer, trial.subject(name(most)), check: trial.check)]
        let counts = sequence(first: 1) { $0 * 2 }.prefix { $0 < most }
        for threads in counts.reversed() {
            contenders.append(
                trial.whole(
                    try trial.layer(on: try ThreadPool(threads: threads)),
                    trial.subject(name(threads), threads: threads),
                    check: try trial.sameBits(as: trial.layer, of: name(most))))
        }
        return contenders
    }
}
