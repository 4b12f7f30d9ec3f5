import MoEKernel

/// What `moe-bench` measures when nothing is asked for, and for how many seconds each.
package enum DefaultSuite {
    package static let entries: [(workload: Workload, budget: Double)] = [
        (Workload(name: "small", tokens: 32, hidden: 512, expertHidden: 2048, experts: 8, topK: 2), 6),
        (Workload(name: "medium", tokens: 512, hidden: 512, expertHidden: 2048, experts: 8, topK: 2), 9),
        (Workload(name: "large", tokens: 512, hidden: 2048, expertHidden: 768, experts: 128, topK: 8), 15),
        (
            Workload(
                name: "decode", tokens: 1, hidden: 2048, expertHidden: 768, experts: 128, topK: 8,
                weightType: .bfloat16), 6
        ),
    ]

    /// The same on a GPU: sizes that published models have.
    package static let deviceEntries: [(workload: Workload, budget: Double)] = [
        (
            Workload(
                name: "prefill, 128 experts", tokens: 32_768, hidden: 2048, expertHidden: 768, experts: 128, topK: 8,
                weightType: .bfloat16), 4
        ),
        (
            Workload(
                name: "few tokens an expert", tokens: 256, hidden: 2048, expertHidden: 512, experts: 256, topK: 8,
                weightType: .bfloat16), 3
        ),
        (
            Workload(
                name: "decode 1, Mixtral-8x7B", tokens: 1, hidden: 4096, expertHidden: 14_336, experts: 8, topK: 2,
                weightType: .bfloat16), 3
        ),
        (
            Workload(
                name: "decode 8, Mixtral-8x7B", tokens: 8, hidden: 4096, expertHidden: 14_336, experts: 8, topK: 2,
                weightType: .bfloat16), 3
        ),
        (
            Workload(
                name: "decode 1, 256 experts", tokens: 1, hidden: 2048, expertHidden: 512, experts: 256, topK: 8,
                weightType: .bfloat16), 3
        ),
        (
            Workload(
                name: "decode 8, 256 experts", tokens: 8, hidden: 2048, expertHidden: 512, experts: 256, topK: 8,
                weightType: .bfloat16), 3
        ),
        (
            Workload(
                name: "small, two matrices", tokens: 1024, hidden: 256, expertHidden: 1024, experts: 4, topK: 2,
                expert: .plain, activation: .relu, weightType: .bfloat16), 3
        ),
        (
            Workload(
                name: "large, two matrices", tokens: 16_384, hidden: 2048, expertHidden: 8192, experts: 8, topK: 2,
                expert: .plain, activation: .relu, weightType: .bfloat16), 4
        ),
    ]
}
