import CPlatform

/// The processors that this process may run on: which share a core, and which are near the same memory.
struct CPUTopology: Sendable, Equatable {
    struct Processor: Sendable, Equatable {
        /// The system's number.
        var number: Int
        /// The lowest number of the processors that share its core.
        var core: Int
        /// The system's number of its memory node.
        var node: Int
    }

    /// In the order of their numbers.
    let processors: [Processor]

    /// The topology of this machine. Where the system does not tell, one node of cores with one processor each.
    static func current() -> CPUTopology {
        var numbers = [Int32](repeating: 0, count: Int(cp_available_processors()))
        let told = Int(cp_allowed_processors(&numbers, Int32(numbers.count)))
        let allowed = told > 0 ? numbers.prefix(told).map(Int.init) : Array(numbers.indices)
        return CPUTopology(allowed: allowed, files: systemFile)
    }

    /// - Parameters:
    ///   - allowed: Numbers of the processors that this process may run on.
    ///   - files: The text of a file in the system's folder of devices; nil where there is none.
    init(allowed: [Int], files: (String) -> String?) {
        var nodeOfProcessor: [Int: Int] = [:]
        for node in files("node/online").flatMap(Self.numbers) ?? [] {
            let numbers = files("node/node\(node)/cpulist").flatMap(Self.numbers) ?? []
            for number in numbers { nodeOfProcessor[number] = node }
        }
        // A processor of no known node could be near any: then nothing is known of nodes.
        let nodesAreKnown = allowed.allSatisfy { nodeOfProcessor[$0] != nil }
        processors = allowed.sorted().map { number in
            let siblings = files("cpu/cpu\(number)/topology/thread_siblings_list").flatMap(Self.numbers)
            return Processor(
                number: number, core: siblings?.min() ?? number, node: nodesAreKnown ? nodeOfProcessor[number]! : 0)
        }
    }

    /// The numbers of the system's lists, such as 0-3,8; nil for what is no such list.
    static func numbers(_ list: String) -> [Int]? {
        let limit = 1 << 16
        var numbers: [Int] = []
        guard let line = list.split(separator: "\n").first else { return [] }
        for part in line.split(separator: ",") {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1], first >= 0, first <= last,
                last < limit
            else { return nil }
            numbers += first...last
        }
        return numbers
    }

    private static func systemFile(_ path: String) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1 << 16) { text in
            let count = cp_read_text("/sys/devices/system/" + path, text.baseAddress!, text.count)
            guard count >= 0 else { return nil }
            return String(decoding: UnsafeRawBufferPointer(start: text.baseAddress, count: count), as: UTF8.self)
        }
    }
}
