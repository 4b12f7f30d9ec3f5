/// A command's help, examples first: most people want a line to change.
package enum HelpText {
    package static func command(_ command: any Command.Type, subcommands: [any Command.Type] = []) -> String {
        let program = "moe-bench" + (command.name.isEmpty ? "" : " \(command.name)")
        var lines = ["\(program): \(command.summary)", "", "Examples:"]
        for (line, meaning) in command.examples {
            lines += ["  \(line)", "      \(meaning)"]
        }
        if !subcommands.isEmpty {
            lines += ["", "Commands:"]
            lines += columns(subcommands.map { ($0.name, $0.summary) })
            lines += ["", "`moe-bench COMMAND --help` tells more."]
        }
        lines += ["", "Options:"]
        lines += columns(
            (command.options + [.help]).map { ("--\($0.name)" + ($0.placeholder.map { " \($0)" } ?? ""), text($0)) })
        let own = command.exitStatuses.map { " \($0.code.rawValue) \($0.meaning)," }.joined()
        lines += ["", "Exit status: 0 done, 1 failed or a wrong result,\(own) 64 bad command line, 130 interrupted."]
        return lines.joined(separator: "\n")
    }

    private static func text(_ option: Option) -> String {
        let others = option.spellings.dropFirst()
        return option.help + (others.isEmpty ? "" : " (also \(others.joined(separator: ", ")))")
    }

    private static func columns(_ rows: [(String, String)]) -> [String] {
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { name, text in
            "  " + name + String(repeating: " ", count: width - name.count) + "  " + text
        }
    }
}
