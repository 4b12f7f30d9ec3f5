import MoEKernel

/// Where an implementation writes its answer, [tokens, hidden]; NaN until it does.
package struct OutputBuffer: Sendable {
    package private(set) var elements: [Float]

    package init(count: Int) { elements = Array(repeating: .nan, count: count) }

    package mutating func poison() {
        for index in elements.indices { elements[index] = .nan }
    }

    /// Lends the buffer. (A class cannot lend a span of its own stored array for longer than one access.)
    package mutating func write(_ body: (inout MutableSpan<Float>) throws(MoEError) -> Void) throws(MoEError) {
        var span = elements.mutableSpan
        try body(&span)
    }
}
