import MoEKernel

/// Whether every path computes what the float64 reference does, and the same bits whatever is around a token.
struct CorrectnessChapter {
    let pool: ThreadPool
    let interruption: Interruption

    func run(_ report: (Predicate) -> Void) throws(MoEError) {
        for set in CPUInstructionSet.supported {
            var passed = 0
            var problem: String?
            let cases = try LayerConformance.cases([set])
            for test in cases {
                if interruption.isRequested { return }
                if let wrong = try LayerConformance.run(test, pool: pool) {
                    problem = problem ?? "\(test): \(wrong)"
                } else {
                    passed += 1
                }
            }
            report(
                Predicate(
                    .correctness, "\(set.rawValue): layers that agree with float64", passed, of: cases.count,
                    firstProblem: problem))
        }
        for type in ElementType.allCases {
            if interruption.isRequested { return }
            report(try sameBits(type))
        }
    }

    /// A token's output alone, in a batch, and on one thread: the same bits.
    private func sameBits(_ type: ElementType) throws(MoEError) -> Predicate {
        let configuration = try MoEConfiguration(
            experts: 16, topK: 4, hidden: 200, expertHidden: 144, weightType: type)
        let tokens = 37
        var workload = Workload(
            name: "bits", tokens: tokens, hidden: configuration.hidden, expertHidden: configuration.expertHidden,
            experts: configuration.experts, topK: configuration.topK, weightType: type)
        workload.seed = 11
        let x = Inputs(workload).batches[0]
        let layer = try MoELayer(configuration, weights: workload.weights, pool: pool)
        let alone = try MoELayer(configuration, weights: workload.weights, pool: try ThreadPool(threads: 1))
        let expected = try layer.forward(Tensor(shape: [tokens, configuration.hidden], x)).y.elements
        var same = 0
        for token in 0..<tokens {
            let row = token * configuration.hidden..<(token + 1) * configuration.hidden
            let y = try alone.forward(Tensor(shape: [1, configuration.hidden], Array(x[row]))).y.elements
            if zip(y, expected[row]).allSatisfy({ $0.bitPattern == $1.bitPattern }) { same += 1 }
        }
        return Predicate(
            .correctness, "\(type.rawValue): tokens with the same bits alone on one thread as in a batch", same,
            of: tokens)
    }
}
