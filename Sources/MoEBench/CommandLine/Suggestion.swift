/// What somebody may have meant to type.
package enum Suggestion {
    /// The candidate with the fewest edits, if those are few beside its length.
    package static func nearest(to word: String, in candidates: [String]) -> String? {
        let scored = candidates.map { (candidate: $0, edits: edits(word, $0)) }
        guard let best = scored.min(by: { $0.edits < $1.edits }) else { return nil }
        return best.edits <= max(1, min(word.count, best.candidate.count) / 2) ? best.candidate : nil
    }

    /// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other.
    /// Source: Damerau, "A technique for computer detection and correction of spelling errors", 1964 (restricted form).
    package static func edits(_ first: String, _ second: String) -> Int {
        let a = Array(first), b = Array(second)
        var rows = [Array(0...b.count)]
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var least = min(row[j] + 1, rows[i][j + 1] + 1, rows[i][j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { least = min(least, rows[i - 1][j - 1] + 1) }
                row.append(least)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
