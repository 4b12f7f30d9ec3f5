import MoEKernel

/// What a checkpoint holds, for a person.
package struct InspectReport {
    private let summary: CheckpointSummary
    private let machine: Machine

    /// - Throws: what reading config.json, the index and headers throws.
    package init(model folder: String, machine: Machine = Machine()) throws(MoEError) {
        summary = try CheckpointSummary(of: folder)
        self.machine = machine
    }

    package func text(_ terminal: Terminal) -> [String] {
        var lines = [
            terminal.styled(summary.family, .bold)
                + "  \(summary.modelTypeKey) \"\(summary.modelType)\" in config.json"
                + (summary.quantisation.map { ", quantised: \($0)" } ?? "")
        ]
        lines += files(terminal)
        for group in summary.groups {
            lines.append("")
            let count = group.layers.count
            lines.append(
                terminal.styled(
                    "\(count) Mixture-of-Experts layer\(count == 1 ? "" : "s"): \(LayerList(group.layers))", .bold))
            lines += table(ConfigurationWords(group.configuration).rows)
            lines.append("")
            lines += table(storage(group))
        }
        lines.append("")
        lines += table([("memory", memory)])
        return lines
    }

    private func table(_ rows: [(title: String, text: String)]) -> [String] {
        rows.map { row in
            "  " + row.title + String(repeating: " ", count: max(1, Self.titleWidth - row.title.count)) + row.text
        }
    }

    private static let titleWidth = 16

    private func files(_ terminal: Terminal) -> [String] {
        var lines: [String] = []
        if summary.files == 0 {
            lines.append(terminal.styled("  no weights here: neither model.safetensors nor its index", .red))
        } else if !summary.missingFiles.isEmpty {
            let named = summary.missingFiles.prefix(3).joined(separator: ", ")
            let more = summary.missingFiles.count - 3
            lines.append(
                terminal.styled(
                    "  \(summary.missingFiles.count) of \(summary.files) files are missing: \(named)"
                        + (more > 0 ? " and \(more) more" : ""), .red))
        } else {
            lines.append("  \(summary.files) file\(summary.files == 1 ? "" : "s"), all there")
        }
        if !summary.absentLayers.isEmpty {
            lines.append(
                terminal.styled("  in no file: layers \(LayerList(summary.absentLayers))", .red))
        }
        return lines
    }

    private func storage(_ group: CheckpointSummary.LayerGroup) -> [(title: String, text: String)] {
        let (c, storage) = (group.configuration, group.storage)
        func all(_ bytes: Int) -> String { Format.bytes(Self.times(bytes, group.layers.count)) }
        func formats(_ formats: LayerStorage.Formats, width: Int) -> String {
            let words =
                formats.inner.map { $0.words(inputs: c.expertWidth) } + formats.down.map { $0.words(inputs: width) }
            return Set(words).sorted().joined(separator: " and ")
        }
        let source = group.measured.map { "by the headers of layer \($0)" } ?? "by config.json, no layer being complete"
        let expert = storage.expertBytes / c.experts
        var rows = [
            ("stored", "experts \(formats(storage.expertFormats, width: c.expertHidden)); \(source)"),
            ("an expert", Format.bytes(expert)),
        ]
        var layer = "\(Format.bytes(storage.totalBytes)): experts \(Format.bytes(storage.expertBytes))"
        if storage.sharedBytes > 0 {
            layer += ", shared \(Format.bytes(storage.sharedBytes))"
            if storage.sharedFormats != storage.expertFormats {
                layer += " (\(formats(storage.sharedFormats, width: c.shared.width ?? 1)))"
            }
        }
        layer += ", router \(Format.bytes(storage.routerBytes))"
        if let format = storage.routerFormat { layer += " (\(format.words(inputs: c.hidden)))" }
        rows.append(("a layer", layer))
        if group.layers.count > 1 {
            rows.append(("these layers", all(storage.totalBytes)))
        }
        let active = storage.totalBytes - storage.expertBytes + min(c.topK, c.experts) * expert
        rows.append(("a token reads", "\(Format.bytes(active)) of a layer, \(all(active)) in all"))
        let packed = storage.memoryBytes(c)
        rows.append(("in memory", "about \(Format.bytes(packed)) a layer, \(all(packed)) in all, kept as stored"))
        return rows
    }

    /// config.json may describe more than there can be; the report then says an absurd size, and does not trap.
    private static func times(_ bytes: Int, _ count: Int) -> Int {
        let (product, overflow) = bytes.multipliedReportingOverflow(by: count)
        return overflow ? .max : product
    }

    /// What running all layers would take, beside what this machine has.
    private var memory: String {
        let needed = summary.groups.reduce(0) { sum, group in
            let (more, overflow) = sum.addingReportingOverflow(
                Self.times(group.storage.memoryBytes(group.configuration), group.layers.count))
            return overflow ? .max : more
        }
        let layers = summary.moeLayers.count
        guard machine.memoryBytes > 0 else { return "all layers take about \(Format.bytes(needed))" }
        let has = "this machine has \(Format.bytes(machine.memoryBytes))"
        if needed <= machine.memoryBytes {
            return
                "\(layers == 1 ? "the layer takes" : "all \(layers) layers take") about \(Format.bytes(needed)); \(has)"
        }
        // As many as fit, the cheapest assumption being that layers are alike.
        let fitting = Int(Double(layers) * Double(machine.memoryBytes) / Double(max(needed, 1)))
        return "all \(layers) layers take about \(Format.bytes(needed)); \(has), enough for \(fitting) of them"
    }
}
