/// What the names of each layer's tensors begin with. The same family appears under several: `model.layers.3.`,
/// `language_model.model.layers.3.`, `transformer.blocks.3.`, `encoder.block.3.`; a layer is where its router is.
struct LayerPrefixes: Sendable {
    /// What a run of layers may be called.
    private static let containers: Set<Substring> = ["layers", "blocks", "block"]

    private struct Key: Hashable {
        let layer: Int
        let router: String
    }

    /// Prefixes with the part before `layers`, empty where there is none.
    private var prefixes: [Key: [(parent: String, prefix: String)]] = [:]

    init(_ names: [String], routers: Set<String>) {
        // Most names end in ways that no router's does.
        let routers = routers.map { (name: $0, count: $0.utf8.count) }
        for name in names {
            let count = name.utf8.count
            for router in routers where count > router.count && name.hasSuffix(router.name) {
                let prefix = String(Substring(name.utf8.dropLast(router.count)))
                let parts = prefix.split(separator: ".", omittingEmptySubsequences: false)
                // prefix.layers.{L}. and the empty part after the last full stop.
                guard parts.count >= 3, parts[parts.count - 1].isEmpty,
                    Self.containers.contains(parts[parts.count - 3]),
                    let layer = Int(parts[parts.count - 2]), "\(layer)" == parts[parts.count - 2],
                    // Layers for predicting several tokens at once are numbered from 0 again.
                    !parts.contains("mtp")
                else { continue }
                let parent = parts.count >= 4 ? String(parts[parts.count - 4]) : ""
                prefixes[Key(layer: layer, router: router.name), default: []].append((parent, prefix))
            }
        }
    }

    /// What a tensor's name begins with, up to the index of its layer; nil where it belongs to none.
    static func prefix(of name: String) -> Substring? {
        let bytes = name.utf8
        var start = bytes.startIndex
        var follows = false
        while let stop = bytes[start...].firstIndex(of: UInt8(ascii: ".")) {
            if follows, bytes[start..<stop].allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), start < stop {
                return name[...stop]
            }
            follows = containers.contains(name[start..<stop])
            start = bytes.index(after: stop)
        }
        return nil
    }

    /// Whether any layer of a stack has a router here.
    func holds(_ stack: LayerStack) -> Bool {
        let routers = Set(stack.layout.routers)
        return prefixes.contains { key, found in
            routers.contains(key.router) && found.contains { stack.parent == nil || stack.parent == $0.parent }
        }
    }

    /// The prefix of a layer; nil where it has no router of any of these names.
    ///
    /// - Parameter parent: the part that has to stand before `layers`; nil where any will do.
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where there are several.
    func prefix(layer: Int, parent: String?, routers: [String], file: String) throws(MoEError) -> String? {
        for router in routers {
            let found = (prefixes[Key(layer: layer, router: router)] ?? [])
                .filter { parent == nil || parent == $0.parent }.map(\.prefix)
            guard let first = found.first else { continue }
            guard found.count == 1 else {
                throw .checkpoint(
                    file: file, tensor: nil,
                    problem: "layer \(layer) has \(found.count) routers, "
                        + "\(found.sorted().prefix(4).map { clipped($0 + router) }.joined(separator: ", ")); expected one"
                )
            }
            return first
        }
        return nil
    }
}
