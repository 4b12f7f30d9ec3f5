import CPlatform
import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Quantises a checkpoint folder into another, tells of each layer as it is done, and of all of them in the end.
package struct QuantiseRun: Sendable {
    package var model: String
    package var output: String
    /// One of the names of ``WeightQuantisation/named``.
    package var form: String
    package var threads: Int?
    package var json: String?

    package init(model: String, output: String, form: String) {
        self.model = model
        self.output = output
        self.form = form
    }

    /// - Throws: what reading, quantising or writing throws; there is then no output folder, unless it was the report that could not be written.
    package func run(_ interruption: Interruption, print: (String) -> Void) throws(MoEError) -> ExitCode {
        guard let quantisation = WeightQuantisation.named.first(where: { $0.name == form })?.form else {
            throw .configuration(
                field: "form", value: form,
                expectation: "one of \(WeightQuantisation.named.map(\.name).joined(separator: ", "))")
        }
        if let json { try ResultsFile.checkWritable(json) }
        let pool = try ThreadPool(threads: threads)
        let start = cp_nanoseconds()
        let quantiser = try CheckpointQuantiser(model, to: quantisation, pool: pool)
        let done = try quantiser.write(
            to: output, onLayer: { print(QuantiseText.layer($0)) }, isCancelled: { interruption.isRequested })
        guard let done else { return .interrupted }
        let seconds = Double(cp_nanoseconds() - start) * 1e-9
        let report = QuantiseReport(done, form: form, model: model, output: output, threads: pool.threads, seconds)
        print(QuantiseText.summary(report).joined(separator: "\n"))
        if let json { try report.write(to: json) }
        return .success
    }
}

/// What a run did, as its JSON has it.
package struct QuantiseReport: Encodable, Sendable {
    package struct Layer: Encodable, Sendable {
        package let layer: Int
        package let matrices: Int
        package let bytesBefore: Int
        package let bytesAfter: Int
        /// Relative root mean square error of the weights, by kind of matrix.
        package let errors: [String: Double]
        package let worst: Matrix
    }

    package struct Matrix: Encodable, Sendable {
        package let name: String
        package let relativeError: Double

        init(_ matrix: CheckpointQuantisation.Matrix) {
            name = matrix.name
            relativeError = matrix.relativeError
        }
    }

    package let model: String
    package let output: String
    package let form: String
    package let threads: Int
    package let seconds: Double
    package let files: Int
    /// Of all tensors, those that were copied too.
    package let bytesBefore: Int
    package let bytesAfter: Int
    package let errors: [String: Double]
    package let worst: Matrix?
    package let layers: [Layer]

    init(
        _ done: CheckpointQuantisation, form: String, model: String, output: String, threads: Int, _ seconds: Double
    ) {
        self.model = model
        self.output = output
        self.form = form
        self.threads = threads
        self.seconds = seconds
        files = done.files
        bytesBefore = done.bytesBefore
        bytesAfter = done.bytesAfter
        errors = Self.named(done.errors)
        worst = done.worst.map(Matrix.init)
        layers = done.layers.map {
            Layer(
                layer: $0.layer, matrices: $0.matrices, bytesBefore: $0.bytesBefore, bytesAfter: $0.bytesAfter,
                errors: Self.named($0.errors), worst: Matrix($0.worst))
        }
    }

    private static func named(_ errors: [Projection: QuantisationError]) -> [String: Double] {
        Dictionary(uniqueKeysWithValues: errors.map { ($0.key.rawValue, $0.value.relative) })
    }

    /// Bytes of the matrices that were quantised, in the original.
    package var quantisedBytes: Int { layers.reduce(0) { $0 + $1.bytesBefore } }

    func write(to path: String) throws(MoEError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
        try ResultsFile.write({ try encoder.encode(self) + Data("\n".utf8) }, to: path)
    }
}

/// The same for a person.
enum QuantiseText {
    static func layer(_ layer: CheckpointQuantisation.Layer) -> String {
        "layer \(layer.layer)  \(layer.matrices) matrices  \(Format.bytes(layer.bytesBefore)) → "
            + "\(Format.bytes(layer.bytesAfter))  error " + errors(layer.errors.mapValues(\.relative))
    }

    static func summary(_ report: QuantiseReport) -> [String] {
        let rate = Double(report.quantisedBytes) / report.seconds * 1e-9
        var errors: [Projection: Double] = [:]
        for (name, error) in report.errors {
            if let projection = Projection(rawValue: name) { errors[projection] = error }
        }
        var lines = [
            "\(report.form)  \(Format.bytes(report.bytesBefore)) → \(Format.bytes(report.bytesAfter)), "
                + "\(Format.significant(100 * Double(report.bytesAfter) / Double(max(report.bytesBefore, 1)))) %, in "
                + "\(report.files) file\(report.files == 1 ? "" : "s"), \(Format.time(report.seconds)), "
                + "\(Format.significant(rate)) GB/s of experts, \(report.threads) thread\(report.threads == 1 ? "" : "s")",
            "relative error of weights: " + Self.errors(errors),
        ]
        if let worst = report.worst { lines.append("worst \(percent(worst.relativeError)): \(worst.name)") }
        return lines
    }

    private static func errors(_ errors: [Projection: Double]) -> String {
        Projection.allCases.compactMap { projection in
            errors[projection].map { "\(projection.rawValue) \(percent($0))" }
        }.joined(separator: ", ")
    }

    private static func percent(_ share: Double) -> String { "\(Format.significant(100 * share)) %" }
}
