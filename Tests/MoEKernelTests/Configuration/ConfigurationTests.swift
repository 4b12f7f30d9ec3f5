import Testing

@testable import MoEKernel

@Suite struct ConfigurationTests {
    struct Bad {
        var experts = 8
        var topK = 2
        var hidden = 16
        var expertHidden = 16
        var shared = SharedExpert.none
        var router = RouterConfiguration()
        var expert = ExpertKind.gated(.silu)
        var capacity = Capacity.unlimited
        var weightSide = WeightSide.output
        var identityExperts = 0
        var expertOutputScale: Float = 1
        var latent: Int?
        var hasSharedBiases = false
        let field: String
    }

    static let bad = [
        Bad(experts: 0, field: "experts"), Bad(experts: -1, field: "experts"), Bad(topK: 0, field: "topK"),
        Bad(topK: 9, field: "topK"), Bad(hidden: 0, field: "hidden"), Bad(hidden: -5, field: "hidden"),
        Bad(expertHidden: 0, field: "expertHidden"), Bad(hidden: .max, field: "hidden"),
        Bad(expertHidden: .max / 2, field: "expertHidden"), Bad(experts: 1 << 20, field: "experts"),
        Bad(experts: 65_536, hidden: 1 << 30, expertHidden: 1 << 30, field: "experts × hidden × expertHidden"),
        Bad(shared: .dense(width: 0), field: "shared width"),
        Bad(shared: .sigmoidGated(width: -1), field: "shared width"),
        Bad(router: .init(scale: .nan), field: "router.scale"),
        Bad(router: .init(normalisation: .sum(epsilon: -1)), field: "router.normalisation epsilon"),
        Bad(router: .init(normalisation: .clampedSum(minimum: .infinity)), field: "router.normalisation minimum"),
        Bad(router: .init(normalisation: .norm(p: 0)), field: "router.normalisation p"),
        Bad(router: .init(selection: .grouped(groups: 3, keep: 1, by: .max)), field: "router.selection groups"),
        Bad(router: .init(selection: .grouped(groups: 0, keep: 1, by: .max)), field: "router.selection groups"),
        Bad(router: .init(selection: .grouped(groups: -4, keep: 1, by: .max)), field: "router.selection groups"),
        Bad(router: .init(selection: .grouped(groups: 8, keep: 4, by: .topTwoSum)), field: "router.selection groups"),
        Bad(router: .init(selection: .grouped(groups: 4, keep: 5, by: .max)), field: "router.selection kept groups"),
        Bad(router: .init(selection: .grouped(groups: 4, keep: 0, by: .max)), field: "router.selection kept groups"),
        Bad(topK: 3, router: .init(selection: .grouped(groups: 4, keep: 1, by: .max)), field: "topK"),
        Bad(topK: 3, router: .init(selection: .hierarchical(groups: 4, keep: 2)), field: "topK"),
        Bad(router: .init(selection: .hierarchical(groups: 5, keep: 1)), field: "router.selection groups"),
        Bad(router: .init(score: .logits, selection: .hierarchical(groups: 4, keep: 2)), field: "router"),
        Bad(router: .init(hasSelectionBias: true, selection: .hierarchical(groups: 4, keep: 2)), field: "router"),
        Bad(
            topK: 3, router: .init(score: .logits, selection: .sparseMixer(epsilon: 0.1), normalisation: .none),
            field: "topK"),
        Bad(router: .init(selection: .sparseMixer(epsilon: 0.1), normalisation: .none), field: "router.score"),
        Bad(router: .init(score: .logits, selection: .sparseMixer(epsilon: 0.1)), field: "router"),
        Bad(
            router: .init(score: .logits, selection: .sparseMixer(epsilon: -1), normalisation: .none),
            field: "router.selection epsilon"),
        Bad(router: .init(selection: .table(vocabulary: 0)), field: "router.selection vocabulary"),
        Bad(router: .init(selection: .table(vocabulary: .max)), field: "router.selection vocabulary"),
        Bad(router: .init(selection: .expertChoice), field: "router"),
        Bad(
            router: .init(selection: .expertChoice, normalisation: .none),
            capacity: .limited(.init(limit: .fixed(1))), field: "capacity"),
        Bad(
            router: .init(input: .rootMeanSquareNormalised(epsilon: .nan, scale: 1)), field: "router.input epsilon"),
        Bad(capacity: .limited(.init(limit: .fixed(-1))), field: "capacity limit"),
        Bad(capacity: .limited(.init(limit: .factor(0))), field: "capacity limit"),
        Bad(capacity: .limited(.init(limit: .factor(.infinity))), field: "capacity limit"),
        Bad(capacity: .limited(.init(limit: .tokenFraction(-0.5))), field: "capacity limit"),
        Bad(
            capacity: .limited(.init(limit: .fixed(1), renormalisation: .keptChoices(minimum: .nan))),
            field: "capacity renormalisation minimum"),
        Bad(
            capacity: .limited(.init(limit: .fixed(1), renormalisation: .allChoices(minimum: -1))),
            field: "capacity renormalisation minimum"),
        Bad(hidden: 1, expertHidden: 1 << 30, latent: 1 << 30, field: "experts × hidden × expertHidden"),
        Bad(expert: .gatedClamped(.init(limit: 0)), field: "expert clamp"),
        Bad(expert: .gatedClamped(.init(limit: .nan)), field: "expert clamp"),
        Bad(expert: .gatedClamped(.init(limit: 1, alpha: .infinity)), field: "expert clamp"),
        Bad(weightSide: .input, identityExperts: 1, field: "identityExperts"),
        Bad(identityExperts: 1, latent: 4, field: "identityExperts"),
        Bad(identityExperts: -1, field: "identityExperts"),
        Bad(identityExperts: .max, field: "identityExperts"),
        Bad(expertOutputScale: .nan, field: "expertOutputScale"), Bad(latent: 0, field: "latent"),
        Bad(latent: .max, field: "latent"), Bad(hasSharedBiases: true, field: "hasSharedBiases"),
    ]

    @Test(arguments: bad.indices) func namesTheField(_ index: Int) throws {
        let bad = Self.bad[index]
        let error = #expect(throws: MoEError.self) {
            try MoEConfiguration(
                experts: bad.experts, topK: bad.topK, hidden: bad.hidden, expertHidden: bad.expertHidden,
                router: bad.router, expert: bad.expert, shared: bad.shared, weightSide: bad.weightSide,
                capacity: bad.capacity, identityExperts: bad.identityExperts,
                expertOutputScale: bad.expertOutputScale, latent: bad.latent, hasSharedBiases: bad.hasSharedBiases)
        }
        guard case .configuration(let field, _, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(field == bad.field)
    }

    /// C of known batches; decimal fractions count as they are written.
    @Test func capacities() {
        func choices(_ limit: CapacityLimit, _ tokens: Int, experts: Int = 8, topK: Int = 2) -> Int {
            limit.choices(tokens: tokens, experts: experts, topK: topK)
        }
        #expect(choices(.fixed(3), 100) == 3)
        #expect(choices(.factor(1), 64) == 16 && choices(.factor(1), 65) == 17 && choices(.factor(0.01), 8) == 1)
        #expect(choices(.factor(1.25), 512) == 160 && choices(.factor(1e300), 10) == 20)
        #expect(choices(.tokenFraction(0.8), 5) == 4 && choices(.tokenFraction(0.25), 24) == 6)
        #expect(choices(.tokenFraction(1), 7) == 7 && choices(.twiceEvenShare, 17, experts: 8) == 6)
    }

    /// A layer that fits no memory is refused, not aborted on.
    @Test func memoryThatCannotBeHad() throws {
        let configuration = try MoEConfiguration(experts: 60_000, topK: 1, hidden: 1 << 20, expertHidden: 1 << 20)
        #expect(throws: MoEError.self) {
            try MoELayer(configuration, weights: .random(seed: 1), pool: ThreadPool(threads: 1))
        }
    }
}
