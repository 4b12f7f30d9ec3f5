import CPlatform
import Testing

@testable import MoEKernel

/// What the system's files say of processors, and how threads are dealt over them.
@Suite struct CPUTopologyTests {
    /// Two nodes of four cores; the second processor of core n is n + 8, as Linux numbers them.
    static let twoNodes: [String: String] = {
        var files = ["node/online": "0-1\n", "node/node0/cpulist": "0-3,8-11\n", "node/node1/cpulist": "4-7,12-15\n"]
        for number in 0..<16 {
            files["cpu/cpu\(number)/topology/thread_siblings_list"] = "\(number % 8),\(number % 8 + 8)\n"
        }
        return files
    }()

    static func topology(_ allowed: some Sequence<Int>, _ files: [String: String] = twoNodes) -> CPUTopology {
        CPUTopology(allowed: Array(allowed)) { files[$0] }
    }

    @Test func lists() {
        #expect(CPUTopology.numbers("0-3,8,10-11\n") == [0, 1, 2, 3, 8, 10, 11])
        #expect(CPUTopology.numbers("5") == [5])
        #expect(CPUTopology.numbers("\n") == [])
        #expect(CPUTopology.numbers("") == [])
        for odd in ["a", "1-", "-3", "3-1", "1-2-3", "0-99999999999", "1,x", "0-9999999999999999999999"] {
            #expect(CPUTopology.numbers(odd) == nil, "\(odd)")
        }
    }

    @Test func coresAndNodes() {
        let all = Self.topology(0..<16).processors
        #expect(all.map(\.number) == Array(0..<16))
        #expect(all.map(\.core) == (0..<16).map { $0 % 8 })
        #expect(all.map(\.node) == (0..<16).map { $0 % 8 / 4 })
        #expect(Self.topology([9, 2, 12]).processors.map(\.number) == [2, 9, 12])
    }

    /// Where files are missing or make no sense there is one node, and no core is shared.
    @Test func unknownMachines() {
        let alone = (0..<4).map { CPUTopology.Processor(number: $0, core: $0, node: 0) }
        #expect(Self.topology(0..<4, [:]).processors == alone)
        #expect(Self.topology(0..<4, ["node/online": "zero"]).processors == alone)
        #expect(Self.topology(0..<4, ["node/online": "0-1", "node/node0/cpulist": "0-2"]).processors == alone)
        #expect(
            Self.topology(0..<4, ["node/online": "0-1", "node/node0/cpulist": "0-2", "node/node1/cpulist": "?"])
                .processors
                == alone)
    }

    @Test func thisMachine() {
        let processors = CPUTopology.current().processors
        #expect(processors.count == Int(cp_available_processors()))
        #expect(Set(processors.map(\.number)).count == processors.count)
    }

    /// One thread a core first, nodes in turn; then the cores' second processors.
    @Test func deal() {
        let four = WorkerPlacement(threads: 4, topology: Self.topology(0..<16))
        #expect(four.nodeOfWorker == [0, 1, 0, 1])
        #expect(four.processorsOfNode == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]])
        let all = WorkerPlacement(threads: 16, topology: Self.topology(0..<16))
        #expect(all.threads(of: 0) == 8 && all.threads(of: 1) == 8)
        // Both cores of node 1 before the second processors of node 0's three.
        let uneven = Self.topology([0, 1, 2, 4, 5, 8, 9, 10])
        #expect(WorkerPlacement(threads: 5, topology: uneven).nodeOfWorker == [0, 1, 0, 1, 0])
        #expect(WorkerPlacement(threads: 8, topology: uneven).nodeOfWorker == [0, 1, 0, 1, 0, 0, 0, 0])
    }

    /// One node of all processors: on one node, with fewer started threads than would serve two, with more threads than processors.
    @Test func oneNode() {
        func isOne(_ threads: Int, _ topology: CPUTopology) -> Bool {
            let placement = WorkerPlacement(threads: threads, topology: topology)
            return placement.nodeOfWorker == Array(repeating: 0, count: threads)
                && placement.processorsOfNode == [topology.processors.map { Int32($0.number) }]
        }
        let two = Self.topology(0..<16)
        #expect(isOne(1, two))
        #expect(isOne(2, two))  // the caller and one more
        #expect(!isOne(3, two))
        #expect(!isOne(16, two))
        #expect(isOne(17, two))
        #expect(WorkerPlacement(threads: 17, topology: two).isOversubscribed)
        #expect(isOne(4, Self.topology([0, 1, 2, 3])))
        #expect(isOne(4, Self.topology([4, 5, 12, 13])))
        #expect(isOne(2, Self.topology(0..<2, [:])))
    }

    /// Shares of neighbours that cover all, none larger by more than one.
    @Test(arguments: [1, 2, 3, 8]) func shares(nodes: Int) {
        let placement = WorkerPlacement(
            nodeOfWorker: Array(0..<nodes), processorsOfNode: (0..<nodes).map { [Int32($0)] }, processors: nodes)
        for count in [0, 1, 2, 7, 8, 128, 257] {
            let firsts = (0...nodes).map { placement.first(of: count, node: $0) }
            #expect(firsts.first == 0 && firsts.last == count)
            let sizes = zip(firsts.dropFirst(), firsts).map { $0 - $1 }
            #expect(sizes.max()! - sizes.min()! <= 1)
        }
    }
}
