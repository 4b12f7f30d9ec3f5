/// Plain scalar float64 arithmetic on rows read straight from a weight source: the oracle for the fast backends.
package struct ReferenceBackend: Sendable {
    package let configuration: MoEConfiguration
    package let source: any WeightSource
    package init(_ configuration: MoEConfiguration, source: any WeightSource) {
        self.configuration = configuration
        self.source = source
    }
    package struct Output: Sendable {
        /// [tokens, hidden]
        package var y: [Double]
        /// [tokens, experts]
        package var logits: [Double]
        /// [tokens, topK]
        package var expertIndices: [Int]
        package var weights: [Double]
    }
    /// x is [tokens, hidden].
    package func forward(_ x: [Float]) throws(MoEError) -> Output { fatalError("pending") }
}
