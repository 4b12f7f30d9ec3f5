/// The keys of a checkpoint's config.json that describe its model. Every error names the file and the key.
struct CheckpointConfig: Sendable {
    /// The most bytes a config.json may have; real ones have a few thousand.
    static let maximumByteCount = 1 << 22
    /// The most layers a model may have.
    static let maximumLayers = 1 << 16

    let path: String
    /// The family whose keys these are.
    let modelType: String
    private let keys: [String: JSONValue]
    /// Put before a key in errors: multimodal models keep the keys of their language model in `text_config`.
    private let prefix: String

    /// Reads a config.json and finds in it the model of a known family.
    init(at path: String, known: [String]) throws(MoEError) {
        let document = try JSONValue(try InputFile(path).contents(limit: Self.maximumByteCount), file: path)
        guard case .object(let top) = document else {
            throw .checkpoint(file: path, tensor: nil, problem: "is \(document.shown); expected a JSON object")
        }
        var found: [String] = []
        var places = [("", top)]
        if case .object(let nested)? = top["text_config"] { places.append(("text_config.", nested)) }
        for (prefix, keys) in places {
            switch keys["model_type"] {
            case .string(let type)?:
                found.append(type)
                guard known.contains(type) else { continue }
                self.init(path: path, modelType: type, keys: keys, prefix: prefix)
                return
            case nil, .null?:
                continue
            case let other?:
                throw .checkpoint(
                    file: path, tensor: nil, problem: "key \"\(prefix)model_type\" is \(other.shown); expected a string")
            }
        }
        throw .checkpoint(
            file: path, tensor: nil,
            problem: (found.isEmpty
                ? "key \"model_type\" is missing" : "model_type \(found.map(quoted).joined(separator: " with ")) is not supported")
                + "; expected one of \(known.joined(separator: ", "))")
    }

    private init(path: String, modelType: String, keys: [String: JSONValue], prefix: String) {
        (self.path, self.modelType, self.keys, self.prefix) = (path, modelType, keys, prefix)
    }

    /// The error for a key whose value will not do.
    func failure(_ key: String, _ value: String, _ expectation: String) -> MoEError {
        .checkpoint(file: path, tensor: nil, problem: "key \"\(prefix)\(key)\" is \(value); expected \(expectation)")
    }

    /// A key's value; `null` counts as absent, as it does for the library that writes these files.
    private func value(_ key: String) -> JSONValue? { keys[key].flatMap { $0 == .null ? nil : $0 } }

    /// A whole number.
    ///
    /// - Parameters:
    ///   - key: the key's name, and other names that it goes by.
    ///   - fallback: what an absent key means; nil where it has to be there.
    func integer(
        _ key: String, or others: String..., in range: ClosedRange<Int>, default fallback: Int? = nil
    ) throws(MoEError) -> Int {
        let expectation = "a whole number, \(range.lowerBound) to \(range.upperBound)"
        var found: (key: String, value: Int)?
        for name in [key] + others {
            guard let value = value(name) else { continue }
            guard case .integer(let number) = value, range.contains(number) else {
                throw failure(name, value.shown, expectation)
            }
            if let found, found.value != number {
                throw failure(name, "\(number)", "\(found.value), as \"\(prefix)\(found.key)\" says")
            }
            found = found ?? (name, number)
        }
        if let found { return found.value }
        guard let fallback else { throw failure(key, "missing", expectation) }
        return fallback
    }

    /// A truth value.
    func bool(_ key: String, default fallback: Bool) throws(MoEError) -> Bool {
        guard let value = value(key) else { return fallback }
        guard case .bool(let truth) = value else { throw failure(key, value.shown, "true or false") }
        return truth
    }

    /// Layer indices.
    func layers(_ key: String) throws(MoEError) -> Set<Int> {
        guard let value = value(key) else { return [] }
        guard case .array(let elements) = value else { throw failure(key, value.shown, "an array of layer indices") }
        var layers: Set<Int> = []
        for element in elements {
            guard case .integer(let layer) = element, layer >= 0 else {
                throw failure(key, "an array with \(element.shown)", "an array of layer indices, 0 or more")
            }
            layers.insert(layer)
        }
        return layers
    }

    /// The function between an expert's matrices, under the names that published models give it.
    func activation(_ key: String = "hidden_act") throws(MoEError) -> Activation {
        let names: KeyValuePairs<String, Activation> = [
            "silu": .silu, "swish": .silu, "gelu": .gelu, "gelu_new": .geluTanh, "gelu_pytorch_tanh": .geluTanh,
            "relu": .relu,
        ]
        guard let value = value(key) else { return .silu }
        guard case .string(let text) = value, let known = names.first(where: { $0.key == text }) else {
            throw failure(key, value.shown, "one of \(names.map(\.key).joined(separator: ", "))")
        }
        return known.value
    }

    /// L, the number of decoder layers.
    func layerCount() throws(MoEError) -> Int { try integer("num_hidden_layers", in: 1...Self.maximumLayers) }
}
