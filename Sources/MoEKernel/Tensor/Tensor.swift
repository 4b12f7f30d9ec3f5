/// What activations may be made of: `Float`, or ``BFloat16``.
///
/// Closed to the two conforming types: the kernels read and write these and no others.
public protocol ActivationElement: BitwiseCopyable, Sendable, Hashable {
    /// The element's storage type.
    static var elementType: ElementType { get }
    /// The element nearest to an fp32 value.
    init(_ value: Float)
    /// The element's value, exactly.
    var floatValue: Float { get }
}

extension Float: ActivationElement {
    public static var elementType: ElementType { .float32 }
    public var floatValue: Float { self }
}

extension BFloat16: ActivationElement {
    public static var elementType: ElementType { .bfloat16 }
    public var floatValue: Float { Float(self) }
}

/// A dense row-major array of activations with a shape; the last dimension is contiguous.
///
/// A layer reads `[tokens, hidden]`, or any shape that ends in `hidden`, such as `[batch, sequence, hidden]`.
public struct Tensor<Element: ActivationElement>: Sendable, Hashable {
    /// Extent of each dimension, outermost first.
    public let shape: [Int]
    /// The elements in row-major order.
    public private(set) var elements: [Element]

    /// A tensor over existing elements.
    ///
    /// - Throws: ``MoEError/input(name:value:expectation:)`` when an extent is negative, the extents' product overflows or it
    ///   differs from the number of elements.
    public init(shape: [Int], _ elements: [Element]) throws(MoEError) {
        let count = try Self.count(shape)
        guard count == elements.count else {
            throw .input(
                name: "elements", value: "\(elements.count) values", expectation: "\(count) for shape \(shape)")
        }
        self.shape = shape
        self.elements = elements
    }

    /// A tensor that holds one value everywhere.
    public init(shape: [Int], repeating value: Element) throws(MoEError) {
        self.shape = shape
        self.elements = Array(repeating: value, count: try Self.count(shape))
    }

    /// A tensor `[rows.count, columns]` from rows of equal length.
    public init(rows: [[Element]]) throws(MoEError) {
        let columns = rows.first?.count ?? 0
        if let odd = rows.firstIndex(where: { $0.count != columns }) {
            throw .input(name: "row \(odd)", value: "\(rows[odd].count) values", expectation: "\(columns), as in row 0")
        }
        shape = [rows.count, columns]
        elements = rows.flatMap { $0 }
    }

    /// Read access to the elements, row-major, without a copy.
    public var span: Span<Element> {
        @_lifetime(borrow self) get { elements.span }
    }

    /// Write access to the elements, row-major, without a copy.
    public var mutableSpan: MutableSpan<Element> {
        @_lifetime(&self) mutating get { elements.mutableSpan }
        @_lifetime(&self) _modify {
            var span = elements.mutableSpan
            yield &span
        }
    }

    /// The extent of the last dimension.
    public var columns: Int { shape.last ?? 0 }
    /// The product of all extents but the last.
    public var rows: Int { shape.dropLast().reduce(1, *) }

    /// Row `index`, counted over all dimensions but the last.
    public subscript(row index: Int) -> ArraySlice<Element> {
        elements[index * columns..<(index + 1) * columns]
    }

    private static func count(_ shape: [Int]) throws(MoEError) -> Int {
        guard !shape.isEmpty, shape.allSatisfy({ $0 >= 0 }) else {
            throw .input(name: "shape", value: "\(shape)", expectation: "one or more extents of 0 or more")
        }
        guard let count = checkedProduct(shape) else {
            throw .input(name: "shape", value: "\(shape)", expectation: "a product below 2^63")
        }
        return count
    }
}
