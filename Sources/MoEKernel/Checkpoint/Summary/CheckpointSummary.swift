/// What a checkpoint folder holds, from config.json, the index and some headers: no weights are read, and files that are not
/// there are named, not fatal.
package struct CheckpointSummary: Sendable {
    /// What people call the family.
    package let family: String
    /// `model_type`, and the key that says so.
    package let modelType: String
    package let modelTypeKey: String
    /// `quant_method`, where config.json has one.
    package let quantisation: String?
    package let moeLayers: [Int]
    /// Layers that are alike, by their first.
    package let groups: [LayerGroup]
    /// Files that the weights are in, and those of them that are not there.
    package let files: Int
    package let missingFiles: [String]
    /// Layers that config.json describes and no file or index knows.
    package let absentLayers: [Int]

    /// Layers of one configuration.
    package struct LayerGroup: Sendable {
        package let layers: [Int]
        package let configuration: MoEConfiguration
        package let storage: LayerStorage
        /// The layer whose headers ``storage`` comes from; nil where it is worked out from config.json.
        package let measured: Int?
    }

    /// - Throws: what ``MoECheckpoint/init(at:pool:)`` throws of config.json and the index, and what is wrong with a layer
    ///   whose files are there.
    package init(of folder: String) throws(MoEError) {
        let folder = CheckpointModel.cleaned(folder)
        var model = try CheckpointModel(in: folder)
        family = model.family.name
        modelType = model.config.modelType
        modelTypeKey = model.config.prefix + "model_type"
        quantisation = model.quantisation.method

        let hasFiles = [CheckpointTensors.singleName, CheckpointTensors.indexName]
            .contains { InputFile.exists("\(folder)/\($0)") }
        let tensors = hasFiles ? try CheckpointTensors(in: folder) : nil
        var missing: Set<Int> = []
        switch tensors {
        case nil:
            (files, missingFiles) = (0, [])
        case .single:
            (files, missingFiles) = (1, [])
        case .sharded(let index):
            missing = Set(index.shards.indices.filter { !InputFile.exists("\(folder)/\(index.shards[$0])") })
            (files, missingFiles) = (index.shards.count, missing.sorted().map { index.shards[$0] })
        }
        let prefixes = LayerPrefixes(tensors?.names ?? [], routers: model.routers)
        try model.keepStacks(of: prefixes)
        moeLayers = model.moeLayers

        // Prefixes of layers of which something is in a missing file.
        var incomplete: Set<Substring> = []
        if case .sharded(let index)? = tensors, !missing.isEmpty {
            for (name, shard) in index.shardOfTensor where missing.contains(shard) {
                if let prefix = LayerPrefixes.prefix(of: name) { incomplete.insert(prefix) }
            }
        }
        var positions: [GroupKey: Int] = [:]
        var members: [(configuration: MoEConfiguration, layers: [Int])] = []
        for layer in model.moeLayers {
            let key = GroupKey(
                configuration: try model.configuration(layer: layer), stack: try model.place(of: layer).stack)
            if let position = positions[key] {
                members[position].layers.append(layer)
            } else {
                positions[key] = members.count
                members.append((key.configuration, [layer]))
            }
        }
        var groups: [LayerGroup] = []
        var absent: [Int] = []
        for (configuration, layers) in members {
            var group: LayerGroup?
            if let tensors {
                for layer in layers {
                    let place = try model.place(of: layer)
                    let stack = model.family.stacks[place.stack]
                    let prefix = try prefixes.prefix(
                        layer: place.index, parent: stack.parent, routers: stack.layout.routers, file: tensors.path)
                    guard let prefix else {
                        absent.append(layer)
                        continue
                    }
                    if incomplete.contains(prefix[...]) { continue }
                    // The first that is complete stands for the others.
                    guard group == nil else { continue }
                    let found = try LayerTensors(layer: layer, of: model, tensors: tensors, prefixes: prefixes)
                    group = LayerGroup(
                        layers: layers, configuration: configuration, storage: found.storage, measured: layer)
                }
            }
            groups.append(
                group
                    ?? LayerGroup(
                        layers: layers, configuration: configuration,
                        storage: model.assumedStorage(configuration, names: tensors?.names ?? []), measured: nil))
        }
        self.groups = groups
        absentLayers = absent.sorted()
    }

    private struct GroupKey: Hashable {
        let configuration: MoEConfiguration
        let stack: Int
    }
}

extension CheckpointModel {
    /// How a layer is probably stored: by the endings of tensor names where an index lists them, else by config.json.
    fileprivate func assumedStorage(_ c: MoEConfiguration, names: [String]) -> LayerStorage {
        let other: ElementType =
            switch config.numberType {
            case "float32": .float32
            case "float16": .float16
            default: .bfloat16
            }
        var endings: Set<String> = []
        // Some names suffice: layers of a configuration are named alike.
        for name in names.prefix(Self.sample) where name.contains("experts") && !name.contains("shared") {
            for ending in Self.endings where name.hasSuffix(ending) { endings.insert(ending) }
        }
        let method = quantisation.method ?? ""
        func says(_ ending: String, _ words: String...) -> Bool {
            names.isEmpty ? words.contains { method.contains($0) } : endings.contains(ending)
        }
        let fp8 = WeightFormat.quantised(.float8E4M3, group: quantisation.block.columns)
        let isFP4 = (try? config.text("expert_dtype")) == "fp4"
        let format: WeightFormat
        var block: (rows: Int, columns: Int)? = quantisation.block
        if let scheme = quantisation.schemes.first(where: { $0.bits == 4 }) ?? quantisation.schemes.first {
            let widest = max(c.hidden, c.expertHidden)
            let group =
                switch scheme.sharing {
                case .tensor, .output: widest
                case .group(let size): size
                case .block(_, let columns): columns
                }
            let code: WeightCode =
                switch (scheme.bits, scheme.isFloat) {
                case (4, true): .float4E2M1
                case (_, true): .float8E4M3
                case (4, false): .int4
                case (_, false): .int8
                }
            format = .quantised(code, group: group, zeroPoints: !scheme.isSymmetric)
            if case .block = scheme.sharing {} else { block = nil }
        } else if says("_blocks", "mxfp4") {
            format = .quantised(.float4E2M1, group: 32)
        } else if says("_global_scale", "nvfp4") || says("_scale_2", "modelopt") {
            format = .quantised(.float4E2M1, group: 16)
        } else if says("_packed", "pack-quantized") {
            format = .quantised(.int4, group: 32)
            block = nil
        } else if says(".scale") || names.isEmpty && isFP4 {
            format = isFP4 ? .quantised(.float4E2M1, group: 32) : fp8
        } else if says("_scale_inv", "fp8") {
            format = fp8
        } else if says("_scale", "float-quantized") {
            format = .quantised(.float8E4M3, group: max(c.hidden, c.expertHidden))
            block = nil
        } else {
            format = .plain(other)
        }
        // FP8 and NVFP4 repositories convert shared experts too, the others do not.
        let isShared =
            switch format {
            case .quantised(.float8E4M3, _, _), .quantised(.float4E2M1, group: 16, _): true
            default: false
            }
        return LayerStorage(
            assuming: format, shared: isShared ? format : .plain(other), other: other, block: block, of: c)
    }

    private static let sample = 10_000
    private static let endings = ["_blocks", "_global_scale", "_scale_2", "_packed", ".scale", "_scale_inv", "_scale"]
}
