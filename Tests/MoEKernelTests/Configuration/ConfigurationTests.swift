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
    ]

    @Test(arguments: bad.indices) func namesTheField(_ index: Int) throws {
        let bad = Self.bad[index]
        let error = #expect(throws: MoEError.self) {
            try MoEConfiguration(
                experts: bad.experts, topK: bad.topK, hidden: bad.hidden, expertHidden: bad.expertHidden,
                router: bad.router, shared: bad.shared)
        }
        guard case .configuration(let field, _, _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(field == bad.field)
    }

    /// A layer that fits no memory is refused, not aborted on.
    @Test func memoryThatCannotBeHad() throws {
        let configuration = try MoEConfiguration(experts: 60_000, topK: 1, hidden: 1 << 20, expertHidden: 1 << 20)
        #expect(throws: MoEError.self) {
            try MoELayer(configuration, weights: .random(seed: 1), pool: ThreadPool(threads: 1))
        }
    }
}
