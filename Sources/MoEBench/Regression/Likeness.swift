import MoEKernel

/// What two timings have to share before one can be called slower than the other.
enum Likeness {
    /// The ways in which two rows are unlike, each with both values; empty where like is compared with like.
    static func differences(_ a: ResultsDiff.Row, _ b: ResultsDiff.Row) -> [String] {
        let (first, second) = (a.timing.subject, b.timing.subject)
        var found = differences(first.workload, second.workload)
        func compare<Value: Equatable>(_ name: String, _ x: Value, _ y: Value) {
            if x != y { found.append("\(name) \(x) and \(y)") }
        }
        compare("row", first.name, second.name)
        compare("dtype", first.dtype, second.dtype)
        compare("device", first.device, second.device)
        compare("threads", first.threads, second.threads)
        compare("instruction set", first.instructionSet, second.instructionSet)
        compare("caches", a.caches.rawValue, b.caches.rawValue)
        // Of unlike problems inputs are unlike anyway.
        if found.isEmpty { compare("inputs", a.timing.inputHash, b.timing.inputHash) }
        return found
    }

    private static func differences(_ a: Workload, _ b: Workload) -> [String] {
        var a = a, b = b
        // A name is not what was measured.
        (a.name, b.name) = ("", "")
        guard a != b else { return [] }
        var found: [String] = []
        func compare<Value: Equatable>(_ name: String, _ path: KeyPath<Workload, Value>) {
            if a[keyPath: path] != b[keyPath: path] {
                found.append("\(name) \(a[keyPath: path]) and \(b[keyPath: path])")
            }
        }
        compare("tokens", \.tokens)
        compare("hidden", \.hidden)
        compare("expert-hidden", \.expertHidden)
        compare("experts", \.experts)
        compare("top-k", \.topK)
        compare("expert", \.expert.rawValue)
        compare("activation", \.activation.rawValue)
        compare("router", \.router.rawValue)
        compare("groups", \.groups)
        if a.skew != b.skew {
            found.append("routing \(a.skew?.description ?? "uniform") and \(b.skew?.description ?? "uniform")")
        }
        if a.rules != b.rules { found.append("rules of the layer") }
        compare("weights", \.dtype)
        compare("activations", \.arithmetic.rawValue)
        compare("seed", \.seed)
        // What a later version adds to a workload.
        return found.isEmpty ? ["workload"] : found
    }

    /// The ways in which two machines are unlike. Memory may differ by what the system keeps for itself.
    static func differences(_ a: Machine, _ b: Machine) -> [String] {
        var found: [String] = []
        func compare<Value: Equatable>(_ name: String, _ path: KeyPath<Machine, Value>) {
            if a[keyPath: path] != b[keyPath: path] {
                found.append("\(name) \(a[keyPath: path]) and \(b[keyPath: path])")
            }
        }
        compare("processor", \.processor)
        compare("architecture", \.architecture)
        compare("system", \.system)
        compare("processors", \.processors)
        compare("caches", \.caches)
        if a.features != b.features {
            found.append("features \(a.features.joined(separator: " ")) and \(b.features.joined(separator: " "))")
        }
        return found
    }
}
