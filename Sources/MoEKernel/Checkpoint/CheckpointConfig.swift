/// The keys of a checkpoint's config.json that describe its model. Every error names the file and the key.
struct CheckpointConfig: Sendable {
    /// The most bytes a config.json may have; real ones have a few thousand.
    static let maximumByteCount = 1 << 22
    /// The most layers a model may have.
    static let maximumLayers = 1 << 16
    /// Where models that also see or hear keep the keys of their language model.
    private static let nestings = ["text_config", "language_config", "llm_config"]

    let path: String
    /// The family whose keys these are.
    let modelType: String
    /// Put before a key in errors: `text_config.`, or empty.
    let prefix: String
    /// `quantization_config`, which stands beside the model's keys or around them.
    let quantisation: [String: JSONValue]
    /// `torch_dtype`, or `dtype` as newer files have it: what the model's numbers are stored in.
    let numberType: String?
    private let keys: [String: JSONValue]

    /// Reads a config.json and finds in it the model of a known family.
    init(at path: String, known: [String]) throws(MoEError) {
        let document = try JSONValue(
            try InputFile(path).contents(limit: Self.maximumByteCount), file: path, dialect: .python)
        guard case .object(let top) = document else {
            throw .checkpoint(file: path, tensor: nil, problem: "is \(document.shown); expected a JSON object")
        }
        func type(_ keys: [String: JSONValue], _ prefix: String) throws(MoEError) -> String? {
            switch keys["model_type"] {
            case .string(let type)?: return type
            case nil, .null?: return nil
            case let other?:
                throw .checkpoint(
                    file: path, tensor: nil, problem: "key \"\(prefix)model_type\" is \(other.shown); expected a string"
                )
            }
        }
        func numberType(_ places: [String: JSONValue]...) -> String? {
            for keys in places {
                for name in ["torch_dtype", "dtype"] {
                    if case .string(let type)? = keys[name] { return type }
                }
            }
            return nil
        }
        func quantisation(_ places: [String: JSONValue]...) -> [String: JSONValue] {
            for keys in places {
                for name in ["quantization_config", "compression_config"] {
                    if case .object(let found)? = keys[name] { return found }
                }
            }
            return [:]
        }

        let outer = try type(top, "")
        var found = outer.map { [$0] } ?? []
        for name in Self.nestings {
            guard case .object(let nested)? = top[name] else { continue }
            let inner = try type(nested, name + ".")
            if let inner { found.append(inner) }
            // A nested model that states no type of its own is of the type around it.
            guard let type = inner ?? outer, known.contains(type) else { continue }
            self.init(
                path: path, modelType: type, keys: nested, prefix: name + ".",
                quantisation: quantisation(nested, top),
                numberType: numberType(nested, top))
            return
        }
        if let outer, known.contains(outer) {
            self.init(
                path: path, modelType: outer, keys: top, prefix: "", quantisation: quantisation(top),
                numberType: numberType(top))
            return
        }
        throw .checkpoint(
            file: path, tensor: nil,
            problem: (found.isEmpty
                ? "key \"model_type\" is missing"
                : "model_type \(found.map(quoted).joined(separator: " with ")) is not supported")
                + "; expected one of \(known.joined(separator: ", "))")
    }

    private init(
        path: String, modelType: String, keys: [String: JSONValue], prefix: String, quantisation: [String: JSONValue],
        numberType: String?
    ) {
        self.path = path
        self.modelType = modelType
        self.keys = keys
        self.prefix = prefix
        self.quantisation = quantisation
        self.numberType = numberType
    }

    /// The keys inside an object, which count as absent where there is none.
    func section(_ key: String) throws(MoEError) -> CheckpointConfig {
        let inner: [String: JSONValue]
        switch value(key) {
        case .object(let keys)?: inner = keys
        case nil: inner = [:]
        case let other?: throw failure(key, other.shown, "an object")
        }
        return CheckpointConfig(
            path: path, modelType: modelType, keys: inner, prefix: "\(prefix)\(key).", quantisation: quantisation,
            numberType: numberType)
    }

    // MARK: Values

    /// The error for a key whose value will not do.
    func failure(_ key: String, _ value: String, _ expectation: String) -> MoEError {
        .checkpoint(file: path, tensor: nil, problem: "key \"\(prefix)\(key)\" is \(value); expected \(expectation)")
    }

    /// A key's value; `null` counts as absent, as it does for the library that writes these files.
    private func value(_ key: String) -> JSONValue? { keys[key].flatMap { $0 == .null ? nil : $0 } }

    /// Whether a key stands there with the value `null`, which some families tell from an absent one.
    func isNull(_ key: String) -> Bool { keys[key] == .null }

    /// The same of a key with several names.
    func isNull(_ names: [String]) -> Bool { names.contains(where: isNull) }

    /// The value of whichever of a key's names is there. Where several are, they have to agree.
    private func found(_ names: [String]) throws(MoEError) -> (key: String, value: JSONValue)? {
        var found: (key: String, value: JSONValue)?
        for name in names {
            guard let value = value(name) else { continue }
            if let found, found.value != value {
                throw failure(name, value.shown, "\(found.value.shown), as \"\(prefix)\(found.key)\" says")
            }
            found = found ?? (name, value)
        }
        return found
    }

    /// A whole number.
    ///
    /// - Parameters:
    ///   - keys: the names that the key goes by.
    ///   - fallback: what an absent key means; nil where it has to be there.
    func integer(
        _ keys: String..., in range: ClosedRange<Int>, default fallback: Int? = nil
    ) throws(MoEError) -> Int {
        try integer(keys, in: range, default: fallback)
    }

    func integer(
        _ keys: [String], in range: ClosedRange<Int>, default fallback: Int? = nil
    ) throws(MoEError) -> Int {
        let expectation = "a whole number, \(range.lowerBound) to \(range.upperBound)"
        guard let (key, value) = try found(keys) else {
            guard let fallback else { throw failure(keys[0], "missing", expectation) }
            return fallback
        }
        guard case .integer(let number) = value, range.contains(number) else {
            throw failure(key, value.shown, expectation)
        }
        return number
    }

    /// A whole number for all layers, or a list with one for each.
    func integer(
        _ key: String, of layer: LayerPlace, layers: Int, in range: ClosedRange<Int>, default fallback: Int? = nil
    ) throws(MoEError) -> Int {
        guard case .array(let elements)? = value(key) else {
            return try integer(key, in: range, default: fallback)
        }
        guard elements.count >= layers else {
            throw failure(key, "an array of \(elements.count)", "one element for each of \(layers) layers")
        }
        guard case .integer(let number) = elements[layer.index], range.contains(number) else {
            throw failure(
                "\(key)[\(layer.index)]", elements[layer.index].shown,
                "a whole number, \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// Any number.
    func number(_ keys: String..., default fallback: Float? = nil) throws(MoEError) -> Float {
        try number(keys, default: fallback)
    }

    func number(_ keys: [String], default fallback: Float? = nil) throws(MoEError) -> Float {
        let number = Float(try double(keys, default: fallback.map(Double.init)))
        guard number.isFinite else { throw failure(keys[0], "\(number)", "a finite number") }
        return number
    }

    /// Any number, as exactly as it is written: what is multiplied by a count and rounded.
    func double(_ keys: [String], default fallback: Double? = nil) throws(MoEError) -> Double {
        guard let (key, value) = try found(keys) else {
            guard let fallback else { throw failure(keys[0], "missing", "a number") }
            return fallback
        }
        switch value {
        case .integer(let number): return Double(number)
        case .number(let number) where number.isFinite: return number
        default: throw failure(key, value.shown, "a finite number")
        }
    }

    /// A truth value.
    func bool(_ keys: String..., default fallback: Bool) throws(MoEError) -> Bool {
        try bool(keys, default: fallback)
    }

    func bool(_ keys: [String], default fallback: Bool) throws(MoEError) -> Bool {
        guard let (key, value) = try found(keys) else { return fallback }
        guard case .bool(let truth) = value else { throw failure(key, value.shown, "true or false") }
        return truth
    }

    /// A string; nil where the key is absent.
    func text(_ key: String) throws(MoEError) -> String? {
        guard let value = value(key) else { return nil }
        guard case .string(let text) = value else { throw failure(key, value.shown, "a string") }
        return text
    }

    /// One of a few words.
    func choice<Choice>(
        _ key: String, _ choices: KeyValuePairs<String, Choice>, default fallback: Choice
    ) throws(MoEError) -> Choice {
        guard let value = value(key) else { return fallback }
        guard case .string(let text) = value, let known = choices.first(where: { $0.key == text }) else {
            throw failure(key, value.shown, "one of \(choices.map(\.key).joined(separator: ", "))")
        }
        return known.value
    }

    /// Layer indices; nil where the key is absent.
    func layers(_ key: String) throws(MoEError) -> Set<Int>? {
        guard let value = value(key) else { return nil }
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

    /// A list with an element for each layer, more being passed over; nil where the key is absent or no list. 0 layers take the
    /// list's own length.
    func list(_ key: String, layers: Int) throws(MoEError) -> [JSONValue]? {
        guard case .array(let elements)? = value(key) else { return nil }
        guard elements.count >= layers else {
            throw failure(key, "an array of \(elements.count)", "one element for each of \(layers) layers")
        }
        guard elements.count <= Self.maximumLayers else {
            throw failure(key, "an array of \(elements.count)", "at most \(Self.maximumLayers) layers")
        }
        return layers == 0 ? elements : Array(elements.prefix(layers))
    }

    // MARK: What the parameter space lacks

    /// Refuses any value of a key but those that mean what the family's published models do.
    func only(_ key: String, _ allowed: String...) throws(MoEError) {
        guard let value = value(key) else { return }
        guard case .string(let text) = value, allowed.contains(text) else {
            throw failure(key, value.shown, "\(allowed.map(quoted).joined(separator: " or ")), all that is supported")
        }
    }

    /// Refuses a switch that is on, a number that is not 0.
    func off(_ key: String) throws(MoEError) {
        switch value(key) {
        case nil, .bool(false)?, .integer(0)?, .number(0)?: return
        case let other?: throw failure(key, other.shown, "false, 0 or null, all that is supported")
        }
    }

    // MARK: Common keys

    /// E. transformers writes either of two names, whatever the family's own.
    func experts(_ keys: String..., least: Int = 1) throws(MoEError) -> Int {
        let names = keys + ["num_experts", "num_local_experts"].filter { !keys.contains($0) }
        return try integer(names, in: least...MoEConfiguration.maximumExperts)
    }

    /// k, of so many experts.
    func topK(_ keys: String..., of experts: Int) throws(MoEError) -> Int {
        try integer(keys.isEmpty ? ["num_experts_per_tok"] : keys, in: 1...experts)
    }

    /// H.
    func hidden(_ key: String = "hidden_size") throws(MoEError) -> Int { try width(key) }

    /// An inner width.
    func width(_ keys: String...) throws(MoEError) -> Int {
        try integer(keys, in: 1...MoEConfiguration.maximumWidth)
    }

    /// The width of so many shared experts, which are stored as one; none where there are 0.
    func sharedExpert(count: Int, width: Int) throws(MoEError) -> SharedExpert {
        let (total, overflow) = count.multipliedReportingOverflow(by: width)
        guard !overflow, total <= MoEConfiguration.maximumWidth else {
            throw .checkpoint(
                file: path, tensor: nil,
                problem: "describes \(count) shared experts of width \(width); expected at most "
                    + "\(MoEConfiguration.maximumWidth) together")
        }
        return count == 0 ? .none : .dense(width: total)
    }

    /// The function between an expert's matrices, under the names that published models give it.
    func activation(_ key: String = "hidden_act", default fallback: Activation = .silu) throws(MoEError) -> Activation {
        try choice(
            key,
            [
                "silu": .silu, "swish": .silu, "gelu": .gelu, "gelu_new": .geluTanh, "gelu_pytorch_tanh": .geluTanh,
                "quick_gelu": .quickGelu, "relu": .relu, "relu2": .reluSquared,
            ], default: fallback)
    }

    /// L, the number of decoder layers.
    func layerCount(_ keys: String...) throws(MoEError) -> Int {
        try integer(keys.isEmpty ? ["num_hidden_layers"] : keys, in: 1...Self.maximumLayers)
    }
}
