/// HTML or SVG that is well-formed, also as XML, and in which text is text.
///
/// There is no way to put a string into it as markup: element and attribute names are literals of the source, everything else is
/// escaped on its way in. Names out of a results file may hold anything.
package struct Markup: Sendable, Hashable, ExpressibleByStringInterpolation {
    package let source: String

    private init(trusted source: String) { self.source = source }

    /// Text; also what a string literal or an interpolated one becomes.
    package init(_ text: String) { source = Self.escaped(text) }

    package init(stringLiteral text: String) { self.init(text) }

    package static let empty = Markup(trusted: "")

    /// The name of an element or an attribute: a literal of the source, never a value.
    package struct Name: Sendable, ExpressibleByStringLiteral {
        fileprivate let text: String

        package init(stringLiteral name: StaticString) { text = "\(name)" }
    }

    package static func element(
        _ name: Name, _ attributes: KeyValuePairs<Name, String?> = [:],
        @MarkupBuilder _ children: () -> [Markup] = { [] }
    ) -> Markup {
        var source = "<" + name.text
        for (name, value) in attributes {
            guard let value else { continue }
            source += " " + name.text + "=\"" + escaped(value) + "\""
        }
        if void.contains(name.text) { return Markup(trusted: source + "/>") }
        source += ">"
        for child in children() { source += child.source }
        return Markup(trusted: source + "</" + name.text + ">")
    }

    package static func joined(_ parts: [Markup]) -> Markup { Markup(trusted: parts.map(\.source).joined()) }

    /// A style sheet: a literal of the source, which has no `<` and no `&`.
    package static func style(_ sheet: StaticString) -> Markup { Markup(trusted: "<style>\(sheet)</style>") }

    /// A whole page.
    package static func page(_ root: Markup) -> String { "<!DOCTYPE html>\n" + root.source + "\n" }

    /// Elements without an end tag: of HTML, and those of SVG that have no content here.
    private static let void: Set<String> = [
        "br", "meta", "path", "line", "rect", "circle", "polyline", "polygon", "stop",
    ]

    private static func escaped(_ text: String) -> String {
        guard
            text.unicodeScalars.contains(where: {
                $0.value < 0x20 || "&<>\"'".unicodeScalars.contains($0) || !isAllowed($0)
            })
        else { return text }
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            default: result.unicodeScalars.append(isAllowed(scalar) ? scalar : "\u{FFFD}")
            }
        }
        return result
    }

    /// The characters of XML 1.0.
    private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09, 0x0A, 0x0D, 0x20...0xD7FF, 0xE000...0xFFFD, 0x10000...0x10FFFF: true
        default: false
        }
    }
}

@resultBuilder
package enum MarkupBuilder {
    package static func buildExpression(_ markup: Markup) -> [Markup] { [markup] }
    package static func buildExpression(_ markup: Markup?) -> [Markup] { markup.map { [$0] } ?? [] }
    package static func buildExpression(_ markup: [Markup]) -> [Markup] { markup }
    package static func buildExpression(_ text: String) -> [Markup] { [Markup(text)] }
    package static func buildBlock(_ parts: [Markup]...) -> [Markup] { parts.flatMap { $0 } }
    package static func buildOptional(_ part: [Markup]?) -> [Markup] { part ?? [] }
    package static func buildEither(first part: [Markup]) -> [Markup] { part }
    package static func buildEither(second part: [Markup]) -> [Markup] { part }
    package static func buildArray(_ parts: [[Markup]]) -> [Markup] { parts.flatMap { $0 } }
}
