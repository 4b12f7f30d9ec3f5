/// What the names of each layer's tensors begin with. The same family appears under several: `model.layers.3.`,
/// `language_model.model.layers.3.`, `model.language_model.layers.3.`; a layer is where its router is.
struct LayerPrefixes: Sendable {
    private struct Key: Hashable {
        let layer: Int
        let router: String
    }

    private var prefixes: [Key: [String]] = [:]

    init(_ names: [String], routers: Set<String>) {
        for name in names {
            for router in routers where name.utf8.suffix(router.utf8.count).elementsEqual(router.utf8) {
                let prefix = String(Substring(name.utf8.dropLast(router.utf8.count)))
                let parts = prefix.split(separator: ".", omittingEmptySubsequences: false)
                // prefix.layers.{L}. and the empty part after the last full stop.
                guard parts.count >= 3, parts[parts.count - 1].isEmpty, parts[parts.count - 3] == "layers",
                    let layer = Int(parts[parts.count - 2]), "\(layer)" == parts[parts.count - 2],
                    // Layers for predicting several tokens at once are numbered from 0 again.
                    !parts.contains("mtp")
                else { continue }
                prefixes[Key(layer: layer, router: router), default: []].append(prefix)
            }
        }
    }

    /// The prefix of a layer; nil where it has no such router.
    ///
    /// - Throws: ``MoEError/checkpoint(file:tensor:problem:)`` where there are several.
    func prefix(layer: Int, router: String, file: String) throws(MoEError) -> String? {
        guard let found = prefixes[Key(layer: layer, router: router)] else { return nil }
        guard found.count == 1 else {
            throw .checkpoint(
                file: file, tensor: nil,
                problem: "layer \(layer) has \(found.count) routers, "
                    + "\(found.sorted().prefix(4).map { clipped($0 + router) }.joined(separator: ", ")); expected one")
        }
        return found[0]
    }
}
