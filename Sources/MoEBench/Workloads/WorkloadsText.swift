import MoEKernel

/// The named workloads in a table.
package struct WorkloadsText: Sendable {
    /// Types of weights whose bytes are told.
    package static let dtypes = ["fp32", "bf16", "int8", "int4", "mxfp4"]

    private let terminal: Terminal

    package init(_ terminal: Terminal) { self.terminal = terminal }

    package func lines(_ workloads: [NamedWorkload]) throws(MoEError) -> [String] {
        var table = TextTable(
            [
                .init("workload", .left), .init("hidden"), .init("expert"), .init("experts"), .init("k"),
                .init("shared"), .init("layers"), .init("parameters"), .init("active"),
            ] + Self.dtypes.map { .init($0) })
        for workload in workloads {
            let layer = workload.layer
            let parameters = try layer.parameters()
            var row = [
                workload.name, "\(layer.hidden)", "\(layer.expertHidden)", "\(layer.experts)", "\(layer.topK)",
                layer.sharedWidth > 0 ? "\(layer.sharedWidth)" : "–", workload.layers.map { "\($0)" } ?? "–",
                Format.count(Double(parameters.total)), Format.count(Double(parameters.active)),
            ]
            for dtype in Self.dtypes { row.append(try layer.expertBytes(dtype).map(Format.bytes) ?? "–") }
            table.add(row)
        }
        return table.render(terminal, indent: 0) + [
            "",
            "Of one Mixture-of-Experts layer: parameters, those that a token meets, and bytes of its experts by type.",
        ]
    }
}
