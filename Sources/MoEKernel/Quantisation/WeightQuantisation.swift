/// A form that weights of an expert are quantised to: a code, how many inputs share a scale, and whether they have a zero point.
///
/// A weight w becomes the code nearest to w / scale (ties to the even one). Scales are bf16 numbers, or for ``mxfp4`` powers of two:
/// they take 16 bits a group, and the layer decodes such ones fastest.
public struct WeightQuantisation: Sendable, Hashable {
    /// What a code stands for.
    public let code: WeightCode
    /// Inputs that share a scale; nil for all inputs of an output.
    public let group: Int?
    /// Whether groups of whole-number codes have zero points, which serve weights that are not spread evenly about 0.
    public let zeroPoints: Bool
    /// Whether scales are powers of two, as the microscaling formats want.
    public let powerOfTwoScales: Bool

    /// A form. ``validate(inputs:tensor:)`` tells whether a matrix can have it.
    ///
    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` for a group below 1, and for zero points of codes that are not
    ///   whole numbers.
    public init(
        code: WeightCode, group: Int? = nil, zeroPoints: Bool = false, powerOfTwoScales: Bool = false
    ) throws(MoEError) {
        if let group, group < 1 {
            throw .configuration(field: "group", value: "\(group)", expectation: "1 or more inputs that share a scale")
        }
        guard code.isInteger || !zeroPoints else {
            throw .configuration(field: "zero points", value: code.rawValue, expectation: "int4 or int8 codes")
        }
        self.init(known: code, group: group, zeroPoints: zeroPoints, powerOfTwoScales: powerOfTwoScales)
    }

    private init(known code: WeightCode, group: Int?, zeroPoints: Bool = false, powerOfTwoScales: Bool = false) {
        self.code = code
        self.group = group
        self.zeroPoints = zeroPoints
        self.powerOfTwoScales = powerOfTwoScales
    }

    /// 8 bits, a scale an output.
    public static let int8 = WeightQuantisation(known: .int8, group: nil)
    /// 8 bits, a scale for 32 inputs.
    public static let int8Block = WeightQuantisation(known: .int8, group: 32)
    /// 4 bits, -8 … 7, a scale for 32 inputs.
    public static let int4 = WeightQuantisation(known: .int4, group: 32)
    /// 4 bits, -8 … 7, a scale for 128 inputs.
    public static let int4Group128 = WeightQuantisation(known: .int4, group: 128)
    /// 4 bits, a scale and a zero point for 128 inputs.
    public static let int4Zero = WeightQuantisation(known: .int4, group: 128, zeroPoints: true)
    /// E4M3, a scale an output.
    public static let fp8 = WeightQuantisation(known: .float8E4M3, group: nil)
    /// E2M1, a power of two for 32 inputs. Source: OCP Microscaling Formats specification, 2023.
    public static let mxfp4 = WeightQuantisation(known: .float4E2M1, group: 32, powerOfTwoScales: true)

    /// The forms by name.
    public static let named: [(name: String, form: WeightQuantisation)] = [
        ("int8", .int8), ("int8-block", .int8Block), ("int4", .int4), ("int4-g128", .int4Group128),
        ("int4-zero", .int4Zero), ("fp8", .fp8), ("mxfp4", .mxfp4),
    ]

    /// The stored form of a matrix of `inputs` inputs.
    public func format(inputs: Int) -> WeightFormat {
        .quantised(code, group: group ?? max(inputs, 1), zeroPoints: zeroPoints)
    }

    /// - Throws: ``MoEError/configuration(field:value:expectation:)`` where the group does not divide the inputs: the last one's scale
    ///   would serve fewer, which no published form stores.
    public func validate(inputs: Int, tensor: String) throws(MoEError) {
        guard let group, inputs % group != 0 else { return }
        throw .configuration(
            field: "group", value: "\(group)",
            expectation:
                "a divisor of the \(inputs) inputs of \(tensor), since inputs that share a scale do not cross rows")
    }

    /// Bits that a weight takes, its share of scale and zero point included, in a matrix of `inputs` inputs.
    public func bits(inputs: Int) -> Double {
        Double(code.bitCount) + (16 + (zeroPoints ? Double(code.bitCount) : 0)) / Double(group ?? max(inputs, 1))
    }
}
