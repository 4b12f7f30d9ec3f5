import Testing

@testable import MoEBench

@Suite struct MarkupTests {
    @Test func textIsText() {
        let name = "<script>alert('1 & 2')</script>\u{1b}\u{0}"
        let markup = Markup.element("p", ["title": name, "class": nil]) {
            name
            "and \(name)"
            Markup(name)
        }
        let escaped = "&lt;script&gt;alert(&#39;1 &amp; 2&#39;)&lt;/script&gt;\u{FFFD}\u{FFFD}"
        #expect(markup.source == "<p title=\"\(escaped)\">\(escaped)and \(escaped)\(escaped)</p>")
    }

    @Test func elementsNestAndEnd() {
        let markup = Markup.element("ul") {
            for index in 0..<2 { Markup.element("li") { "\(index)" } }
            if false { "never" }
            Markup.element("br")
            Markup.element("div")
        }
        #expect(markup.source == "<ul><li>0</li><li>1</li><br/><div></div></ul>")
    }

    @Test func scalesKeepToTheirEnds() {
        for values in [[], [0], [.nan, .infinity], [1], [5, 5], [1e-9, 1e18], [-3, 7]] as [[Double]] {
            for scale in [Scale.linear(values, from: 10, to: 20), .logarithmic(values, from: 10, to: 20)] {
                for value in [0, -1, 1, 1e300, .infinity, .nan] as [Double] {
                    #expect((10...20).contains(scale(value)), "\(value) of \(values)")
                }
                #expect(scale.ticks.allSatisfy { scale.domain.contains($0) && $0.isFinite })
                #expect(scale.ticks.count <= 20)
            }
        }
        let scale = Scale.logarithmic([1, 100], padding: 1, from: 0, to: 100)
        #expect(abs(scale(10) - 50) < 1e-9)
        #expect(scale.ticks.contains { abs($0 - 10) < 1e-9 })
        #expect(
            Scale.linear([0, 10], from: 0, to: 104).ticks == [0, 5, 10]
                || Scale.linear([0, 10], from: 0, to: 104).ticks.count > 3)
    }

    @Test func ticksHaveNoEmptyDigits() {
        #expect(Format.axis(10) == "10")
        #expect(Format.axis(0.05) == "0.05")
        #expect(Format.axis(20_000) == "20 k")
        #expect(Format.timeAxis(3e-3) == "3 ms")
        #expect(Format.interval(0.00334...0.00368) == "3.34–3.68 ms")
        #expect(Format.interval(0.9e-3...1.1e-3) == "900 µs–1.10 ms")
    }
}
