import MoEKernel

/// What `moe-bench` measures when nothing is asked for, and for how many seconds each.
package enum DefaultSuite {
    package static let entries: [(workload: Workload, budget: Double)] = [
        (Workload(name: "small", tokens: 32, hidden: 512, expertHidden: 2048, experts: 8, topK: 2), 6),
        (Workload(name: "medium", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2), 7),
        (Workload(name: "large", tokens: 512, hidden: 2048, expertHidden: 768, experts: 128, topK: 8), 15),
        (
            Workload(
                name: "decode", tokens: 1, hidden: 2048, expertHidden: 768, experts: 128, topK: 8,
                weightType: .bfloat16), 5
        ),
    ]
}
