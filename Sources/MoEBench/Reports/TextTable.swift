/// Rows of cells in columns that are as wide as their widest cell.
package struct TextTable: Sendable {
    package enum Alignment: Sendable { case left, right }

    package struct Column: Sendable {
        package let title: String
        package let alignment: Alignment

        package init(_ title: String, _ alignment: Alignment = .right) {
            self.title = title
            self.alignment = alignment
        }
    }

    private let columns: [Column]
    private var rows: [(cells: [String], style: Terminal.Style?)] = []

    package init(_ columns: [Column]) { self.columns = columns }

    /// Adds a row; missing cells are empty. A row of one more cell than it needs columns for is not cut: the last cell may run
    /// to the end of the line.
    package mutating func add(_ cells: [String], style: Terminal.Style? = nil) { rows.append((cells, style)) }

    package func render(_ terminal: Terminal, indent: Int = 2) -> [String] {
        let widths = columns.indices.map { column in
            // A cell that ends its row early is a remark, not a value, and may spill over the columns after it.
            rows.filter { $0.cells.count == columns.count }.map { $0.cells[column].count }
                .reduce(columns[column].title.count, max)
        }
        func line(_ cells: [String]) -> String {
            var text = String(repeating: " ", count: indent)
            for (index, cell) in cells.enumerated() {
                let padding = String(repeating: " ", count: max(0, widths[index] - cell.count))
                let isRemark = index == cells.count - 1 && cells.count < columns.count
                text += columns[index].alignment == .left || isRemark ? cell + padding : padding + cell
                text += "  "
            }
            while text.last == " " { text.removeLast() }
            return text
        }
        return [terminal.styled(line(columns.map(\.title)), .faint)]
            + rows.map { terminal.styled(line($0.cells), $0.style) }
    }
}
