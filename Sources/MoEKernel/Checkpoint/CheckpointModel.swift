/// What a checkpoint's config.json describes: the family, its layers, and what each is. No weights are looked at.
struct CheckpointModel: Sendable {
    let config: CheckpointConfig
    let family: ModelFamily
    let quantisation: QuantisationConfig
    /// The Mixture-of-Experts layers, ascending; an encoder's come before its decoder's.
    private(set) var moeLayers: [Int]
    private var places: [Int: LayerPlace]

    init(in folder: String) throws(MoEError) {
        config = try CheckpointConfig(at: "\(folder)/config.json", known: MoECheckpoint.supportedModelTypes)
        family = ModelFamily.of(config.modelType)!
        quantisation = try QuantisationConfig(config)
        places = try Self.places(family.stacks.indices, family, config)
        moeLayers = places.keys.sorted()
        guard let first = moeLayers.first else {
            throw .checkpoint(file: config.path, tensor: nil, problem: "describes no Mixture-of-Experts layer")
        }
        // Asked for here, so that a fault in config.json shows before any weights are looked at.
        _ = try configuration(layer: first)
    }

    /// Numbers the layers of those stacks alone that a checkpoint holds, where it holds an encoder or a decoder without the other.
    mutating func keepStacks(of prefixes: LayerPrefixes) throws(MoEError) {
        let held = family.stacks.indices.filter { prefixes.holds(family.stacks[$0]) }
        guard !held.isEmpty, held.count < family.stacks.count else { return }
        places = try Self.places(held, family, config)
        moeLayers = places.keys.sorted()
    }

    private static func places(
        _ stacks: some Sequence<Int>, _ family: ModelFamily, _ config: CheckpointConfig
    ) throws(MoEError) -> [Int: LayerPlace] {
        var places: [Int: LayerPlace] = [:]
        var before = 0
        for position in stacks {
            for index in try family.stacks[position].moeLayers(config) {
                places[before + index] = LayerPlace(stack: position, index: index)
            }
            before += try family.stacks[position].count(config)
        }
        return places
    }

    /// A path without what may stand at its end.
    static func cleaned(_ folder: String) -> String {
        var folder = folder
        while folder.count > 1, folder.hasSuffix("/") { folder.removeLast() }
        return folder
    }

    /// Every name that a router may have.
    var routers: Set<String> { Set(family.stacks.flatMap(\.layout.routers)) }

    /// What a layer is.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` where that is no Mixture-of-Experts layer;
    ///   ``MoEError/checkpoint(file:tensor:problem:)`` where a key does not fit it.
    func configuration(layer: Int) throws(MoEError) -> MoEConfiguration {
        let place = try place(of: layer)
        do throws(MoEError) {
            return try family.configuration(config, place)
        } catch {
            // Each key makes sense by itself, but they describe no layer together.
            guard case .configuration = error else { throw error }
            throw .checkpoint(file: config.path, tensor: nil, problem: "\(error)")
        }
    }

    /// What the names of a layer's tensors begin with.
    func prefix(layer: Int, tensors: CheckpointTensors, prefixes: LayerPrefixes) throws(MoEError) -> String {
        let place = try place(of: layer)
        let stack = family.stacks[place.stack]
        guard
            let prefix = try prefixes.prefix(
                layer: place.index, parent: stack.parent, routers: stack.layout.routers, file: tensors.path)
        else {
            throw .checkpoint(
                file: tensors.path, tensor: "…layers.\(place.index).\(stack.layout.routers[0])",
                problem: "is missing; config.json calls for it")
        }
        return prefix
    }

    /// Where a layer stands in its stack.
    func place(of layer: Int) throws(MoEError) -> LayerPlace {
        guard let place = places[layer] else {
            throw .input(
                name: "layer", value: "\(layer)",
                expectation: "a Mixture-of-Experts layer of \(config.path): \(LayerList(moeLayers))")
        }
        return place
    }
}

/// Ascending indices in as few words as they take: `0–23`, `1, 3, 5`.
package struct LayerList: CustomStringConvertible {
    package let description: String

    package init(_ layers: [Int]) {
        var runs: [ClosedRange<Int>] = []
        for layer in layers {
            if let last = runs.last, last.upperBound == layer - 1 {
                runs[runs.count - 1] = last.lowerBound...layer
            } else {
                runs.append(layer...layer)
            }
        }
        let words = runs.prefix(20).map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)–\($0.upperBound)" }
        description = words.joined(separator: ", ") + (runs.count > 20 ? ", …" : "")
    }
}
