import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A layer of a published model, by name, or of a file of somebody's own.
package struct NamedWorkload: Sendable {
    package let name: String
    /// The model's name on its hub; nil for a layer of somebody's own.
    package let model: String?
    /// Layers of this kind that the model has.
    package let layers: Int?
    /// All parameters of the model, as its card tells them, in 10⁹.
    package let billionParameters: Double?
    /// Where the figures come from.
    package let source: String?
    /// The layer; its tokens and its type are for a run to choose.
    package let layer: Workload

    /// Everything in the product, by name.
    package static func all() throws(MoEError) -> [NamedWorkload] {
        var all: [NamedWorkload] = []
        for text in EmbeddedWorkloads.files {
            all.append(try NamedWorkload(Data(text.utf8), file: "a workload of this program"))
        }
        return all
    }

    /// The workload of a name, or of a file whose path ends in `.json`.
    ///
    /// - Throws: ``UsageError`` for a name that is none, with the nearest; what ``read(_:)`` throws.
    package static func named(_ name: String) throws -> NamedWorkload {
        if name.hasSuffix(".json") { return try read(name) }
        let all = try all()
        if let found = all.first(where: { $0.name == name }) { return found }
        throw Arguments.unknown("workload", name, all.map(\.name))
    }

    /// Reads a file: one of ours, or an object with `hidden`, `expertHidden`, `experts` and `topK`, and what else a layer may have.
    ///
    /// - Throws: ``MoEError/system(file:operation:reason:)`` where it cannot be read, ``MoEError/checkpoint(file:tensor:problem:)``
    ///   naming what is wrong with it.
    package static func read(_ path: String) throws(MoEError) -> NamedWorkload {
        try NamedWorkload(try Data.contents(of: path), file: path)
    }

    init(_ data: Data, file: String) throws(MoEError) {
        do {
            try self.init(decoding: data, file: file)
        } catch let error as MoEError {
            throw error
        } catch {
            throw .checkpoint(file: file, tensor: nil, problem: Self.problem(error))
        }
        _ = try layer.configuration()
    }

    private struct File: Decodable {
        let name: String
        let model: String?
        let layers: Int?
        let billionParameters: Double?
        let source: String?
        let layer: Workload
    }

    /// The keys of an object, and those of the objects in it.
    private struct Keys: Decodable {
        let names: [String]
        let inner: [String: Keys]

        private struct Key: CodingKey {
            let stringValue: String
            var intValue: Int? { nil }
            init?(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: Key.self)
            names = values.allKeys.map(\.stringValue).sorted()
            var inner: [String: Keys] = [:]
            // What is no object has no keys.
            for key in values.allKeys { inner[key.stringValue] = try? values.decode(Keys.self, forKey: key) }
            self.inner = inner
        }
    }

    private init(decoding data: Data, file: String) throws {
        let decoder = JSONDecoder()
        let keys = try decoder.decode(Keys.self, from: data)
        if keys.names.contains("layer") {
            try Self.check(keys.names, known: Self.fileKeys, file)
            try Self.checkLayer(keys.inner["layer"], file)
            let read = try decoder.decode(File.self, from: data)
            name = read.name
            model = read.model
            layers = read.layers
            billionParameters = read.billionParameters
            source = read.source
            var layer = read.layer
            layer.name = read.name
            self.layer = layer
        } else {
            try Self.checkLayer(keys, file)
            var layer = try decoder.decode(Workload.self, from: data)
            if !keys.names.contains("name") {
                layer.name = URL(filePath: file).deletingPathExtension().lastPathComponent
            }
            name = layer.name
            (model, layers, billionParameters, source) = (nil, nil, nil, nil)
            self.layer = layer
        }
    }

    private static let fileKeys = ["name", "model", "layers", "billionParameters", "source", "layer", "published"]
    private static let layerKeys = [
        "name", "hidden", "expertHidden", "experts", "topK", "expert", "activation", "router", "groups", "rules",
    ]

    private static let ruleKeys = [
        "score", "hasRouterBias", "hasSelectionBias", "groups", "sparseMixer", "transform", "isNormalised", "epsilon",
        "scale",
        "weighsInput", "shared", "hasBiases", "clamp",
    ]
    private static let partKeys = [
        "groups": ["count", "kept", "rank"], "shared": ["width", "isGated"], "clamp": ["limit", "alpha", "upOffset"],
    ]

    private static func checkLayer(_ layer: Keys?, _ file: String) throws(MoEError) {
        guard let layer else { return }
        try check(layer.names, known: layerKeys, file)
        guard let rules = layer.inner["rules"] else { return }
        try check(rules.names, known: ruleKeys, file)
        for (part, known) in partKeys { try check(rules.inner[part]?.names ?? [], known: known, file) }
    }

    /// A key that is none would be passed over in silence.
    private static func check(_ keys: [String], known: [String], _ file: String) throws(MoEError) {
        guard let odd = keys.first(where: { !known.contains($0) }) else { return }
        let nearest = Suggestion.nearest(to: odd, in: known).map { "; did you mean \"\($0)\"?" } ?? ""
        throw .checkpoint(
            file: file, tensor: nil,
            problem: "key \"\(odd)\" is none of a workload's, \(known.joined(separator: ", "))\(nearest)")
    }

    private static func problem(_ error: any Error) -> String {
        func path(_ context: DecodingError.Context, _ key: (any CodingKey)? = nil) -> String {
            (context.codingPath + (key.map { [$0] } ?? [])).map(\.stringValue).joined(separator: ".")
        }
        switch error as? DecodingError {
        case .keyNotFound(let key, let context)?: return "key \"\(path(context, key))\" is missing"
        case .typeMismatch(_, let context)?, .valueNotFound(_, let context)?:
            return "key \"\(path(context))\" is of another type than it should be: \(context.debugDescription)"
        case .dataCorrupted(let context)? where !context.codingPath.isEmpty:
            return "key \"\(path(context))\": \(context.debugDescription)"
        case .dataCorrupted(let context)?: return "is not JSON: \(context.debugDescription)"
        default: return "is no workload: \(error)"
        }
    }
}

extension Workload {
    /// Parameters of the layer: router, experts, shared expert, biases.
    package func parameters() throws(MoEError) -> (total: Int, active: Int) {
        let c = try configuration()
        func count(_ name: WeightName) -> Int {
            let shape = c.shape(of: name)
            return shape.rows * shape.columns
        }
        let projections = c.expert.projections
        let expert = projections.reduce(0) {
            $0 + count(.expert(0, $1)) + (c.expert.hasBiases ? count(.expertBias(0, $1)) : 0)
        }
        let always =
            count(.router) + (c.router.hasBias ? count(.routerBias) : 0)
            + (c.router.hasSelectionBias ? count(.selectionBias) : 0)
            + projections.reduce(0) { $0 + count(.shared($1)) }
            + (c.shared.isGated ? count(.sharedGate) : 0)
        return (always + c.experts * expert, always + c.topK * expert)
    }

    /// Bytes of the experts' matrices, the shared one's included, in a type or a quantised form.
    ///
    /// - Returns: nil where a form's groups do not divide a matrix's inputs.
    package func expertBytes(_ dtype: String) throws(MoEError) -> Int? {
        let c = try configuration()
        let form = WeightQuantisation.named.first { $0.name == dtype }?.form
        let type = ElementType(rawValue: dtype) ?? .float32
        var bytes = 0.0
        for (name, times) in c.expert.projections.flatMap({
            [(WeightName.expert(0, $0), c.experts), (.shared($0), c.shared == .none ? 0 : 1)]
        }) {
            let (rows, columns) = c.shape(of: name)
            if let group = form?.group, !columns.isMultiple(of: group) { return nil }
            bytes += Double(times * rows * columns) * (form?.bits(inputs: columns) ?? Double(8 * type.byteCount)) / 8
        }
        return Int(bytes)
    }
}
