/// Which memory node each thread of a pool belongs to. Worker 0 is the calling thread, which is never bound.
///
/// A started worker may run on all processors of its node, but the caller's: near its memory, and free to make room for others. Where
/// there are more threads than processors, or too few for several nodes, all belong to one node, which is the whole machine.
struct WorkerPlacement: Sendable, Equatable {
    let nodeOfWorker: [Int]
    /// Numbers of the processors that a node's workers stay on; empty where they stay on none.
    let processorsOfNode: [[Int32]]
    /// How many threads can run at a time.
    let processors: Int
    private let threadsOfNode: [Int]

    var threads: Int { nodeOfWorker.count }
    var nodes: Int { processorsOfNode.count }
    var isOversubscribed: Bool { threads > processors }
    /// Workers of a node; the caller counts where it was dealt to.
    func threads(of node: Int) -> Int { threadsOfNode[node] }

    init(nodeOfWorker: [Int], processorsOfNode: [[Int32]], processors: Int) {
        self.nodeOfWorker = nodeOfWorker
        self.processorsOfNode = processorsOfNode
        self.processors = processors
        threadsOfNode = processorsOfNode.indices.map { node in nodeOfWorker.count { $0 == node } }
    }

    /// All on one node, none bound.
    init(threads: Int, processors: Int) {
        self.init(nodeOfWorker: Array(repeating: 0, count: threads), processorsOfNode: [[]], processors: processors)
    }

    /// Deals threads to a machine's cores: one a core first, nodes in turn, then to the cores' other processors.
    init(threads: Int, topology: CPUTopology) {
        let processors = topology.processors
        var (siblings, cores): ([Int: Int], [Int: Int]) = ([:], [:])
        let seats = processors.map { processor in
            let sibling = siblings[processor.core, default: 0]
            siblings[processor.core] = sibling + 1
            // Cores of a node are counted apart for first siblings and for second ones.
            let key = processor.node << 16 | sibling
            let core = cores[key, default: 0]
            cores[key] = core + 1
            return (order: (sibling, core, processor.node), node: processor.node)
        }.sorted { $0.order < $1.order }.prefix(threads)
        // What a node reads must be put there by threads bound to it, which the caller is not.
        let nodes = Set(seats.dropFirst().map(\.node)).sorted()
        guard threads <= processors.count, nodes.count > 1 else {
            self.init(
                nodeOfWorker: Array(repeating: 0, count: threads),
                processorsOfNode: [processors.map { Int32($0.number) }], processors: processors.count)
            return
        }
        self.init(
            nodeOfWorker: seats.map { nodes.firstIndex(of: $0.node) ?? 0 },
            processorsOfNode: nodes.map { node in processors.filter { $0.node == node }.map { Int32($0.number) } },
            processors: processors.count)
    }

    /// The first of `count` things in order that belongs to a node: even shares of neighbours. So a layer's experts, their memory and
    /// their tasks are dealt to nodes alike.
    func first(of count: Int, node: Int) -> Int { count * node / nodes }

    /// The node that a processor belongs to.
    func node(ofProcessor number: Int32) -> Int { processorsOfNode.firstIndex { $0.contains(number) } ?? 0 }
}
