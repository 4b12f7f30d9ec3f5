import Foundation

#if canImport(FoundationXML)
    import FoundationXML
#endif

/// A page as a parser of XML reads it.
final class ParsedPage: NSObject, XMLParserDelegate {
    struct Element {
        let name: String
        let attributes: [String: String]
        let path: [String]
        var text = ""
    }

    private(set) var elements: [Element] = []
    private(set) var failure: (any Error)?
    private var open: [Int] = []

    init(_ html: String) {
        super.init()
        let parser = XMLParser(data: Data(html.utf8))
        parser.delegate = self
        if !parser.parse() { failure = parser.parserError ?? CocoaError(.fileReadCorruptFile) }
    }

    func all(_ name: String) -> [Element] { elements.filter { $0.name == name } }

    /// The rows of the tables of a name, cells as text, heads left out.
    func tables(_ name: String) -> [[[String]]] {
        var tables: [[[String]]] = []
        var isInside = false
        for element in elements {
            switch element.name {
            case "table":
                isInside = element.attributes["data-name"] == name
                if isInside { tables.append([]) }
            case "tr" where isInside: tables[tables.count - 1].append([])
            case "td" where isInside, "th" where isInside:
                if let last = tables[tables.count - 1].indices.last {
                    tables[tables.count - 1][last].append(element.text)
                }
            default: break
            }
        }
        return tables.map { Array($0.dropFirst()) }
    }

    func parser(
        _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
        attributes: [String: String]
    ) {
        elements.append(Element(name: name, attributes: attributes, path: open.map { elements[$0].name }))
        open.append(elements.count - 1)
    }

    func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
        open.removeLast()
    }

    func parser(_ parser: XMLParser, foundCharacters text: String) {
        for index in open { elements[index].text += text }
    }
}
