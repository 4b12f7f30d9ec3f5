/// A script that teaches a shell the commands, options and values of the command line, made from the very table that reads it.
package struct CompletionScript: Sendable {
    package enum Shell: String, Sendable, Hashable, CaseIterable { case bash, zsh, fish }

    private struct Entry {
        let name: String
        let summary: String
        let options: [Option]
        /// What may stand without a name.
        let operand: Option?
        let takesSeveral: Bool
    }

    private let root: Entry
    private let commands: [Entry]

    package init(_ tool: CommandLineTool) {
        func entry(_ command: any Command.Type) -> Entry {
            Entry(
                name: command.name, summary: command.summary, options: command.options + [.help],
                operand: command.operand.flatMap { operand in command.options.first { $0.name == operand } }
                    ?? (command.operands > 0 ? Option("results", "FILE", help: "results files") : nil),
                takesSeveral: command.operands > 1)
        }
        root = entry(tool.root)
        commands = tool.subcommands.map(entry)
    }

    package func text(for shell: Shell) -> String {
        switch shell {
        case .bash: bash
        case .zsh: zsh
        case .fish: fish
        }
    }

    // MARK: bash

    private var bash: String {
        var lines = [
            "# Completion of moe-bench for bash: source <(moe-bench completions bash)",
            "_moe_bench() {",
            "    local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" command=\"\" words=\"\"",
            "    # bash takes --option=value apart.",
            "    if [ \"$before\" = = ]; then before=\"${COMP_WORDS[COMP_CWORD-2]}\"; fi",
            "    if [ \"$word\" = = ]; then word=\"\"; fi",
            "    if [ \"$COMP_CWORD\" -gt 1 ]; then",
            "        case \"${COMP_WORDS[1]}\" in \(commands.map(\.name).joined(separator: "|"))) command=\"${COMP_WORDS[1]}\" ;; esac",
            "    fi",
            "    case \"$command:$before\" in",
        ]
        for entry in [root] + commands {
            for option in entry.options where option.value != .none {
                let patterns = option.spellings.map { "\(entry.name):\($0)" }.joined(separator: "|")
                lines.append("        \(patterns)) \(bashValue(option)); return ;;")
            }
        }
        lines += ["    esac", "    case \"$command\" in"]
        for entry in commands {
            let words = entry.options.map { "--\($0.name)" }.joined(separator: " ")
            lines.append("        \(entry.name)) words=\"\(words)\" ;;")
        }
        let names = commands.map(\.name) + root.options.map { "--\($0.name)" }
        lines += [
            "        *) words=\"\(names.joined(separator: " "))\" ;;",
            "    esac",
            "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))",
        ]
        for entry in commands {
            guard let operand = entry.operand else { continue }
            lines.append(
                "    if [ \"$command\" = \(entry.name) ] && [ \"${word:0:1}\" != - ]; then \(bashValue(operand)); fi")
        }
        lines += ["}", "complete -o bashdefault -F _moe_bench moe-bench", ""]
        return lines.joined(separator: "\n")
    }

    private func bashValue(_ option: Option) -> String {
        switch option.value {
        case .file: "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\"))"
        case .folder: "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$word\"))"
        case .choices(let choices):
            "COMPREPLY=($(compgen -W \"\(choices.joined(separator: " "))\" -- \"$word\"))"
        case .free, .none: "COMPREPLY=()"
        }
    }

    // MARK: zsh

    private var zsh: String {
        var lines = [
            "#compdef moe-bench",
            "# Completion of moe-bench for zsh: as _moe-bench in a folder of $fpath, or: source <(moe-bench completions zsh)",
            "_moe-bench() {",
            "    local -a commands=(",
        ]
        for entry in commands { lines.append("        \(quoted("\(entry.name):\(entry.summary)"))") }
        lines += [
            "    )",
            "    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then",
            "        _describe command commands",
            "        return",
            "    fi",
            "    case $words[2] in",
        ]
        for entry in commands {
            lines += [
                "        \(entry.name))", "            shift words; (( CURRENT-- ))",
                "            _arguments -S \(zshArguments(entry)) ;;",
            ]
        }
        lines += [
            "        *) _arguments -S \(zshArguments(root)) ;;", "    esac", "}",
            "if [[ $funcstack[1] == _moe-bench ]]; then _moe-bench \"$@\"; else compdef _moe-bench moe-bench; fi", "",
        ]
        return lines.joined(separator: "\n")
    }

    private func zshArguments(_ entry: Entry) -> String {
        var words = entry.options.map { option in
            let help = option.help.map { "[]:\\".contains($0) ? "\\\($0)" : String($0) }.joined()
            let value = option.placeholder.map { ":\($0):\(zshAction(option))" }
            return quoted(option.spellings[0] + (value == nil ? "" : "=") + "[\(help)]" + (value ?? ""))
        }
        if let operand = entry.operand {
            let place = entry.takesSeveral ? "*" : "1"
            words.append(quoted("\(place):\(operand.placeholder ?? ""):\(zshAction(operand))"))
        }
        return words.joined(separator: " ")
    }

    private func zshAction(_ option: Option) -> String {
        switch option.value {
        case .file: "_files"
        case .folder: "_files -/"
        case .choices(let choices): "(\(choices.joined(separator: " ")))"
        case .free, .none: " "
        }
    }

    // MARK: fish

    private var fish: String {
        let names = commands.map(\.name).joined(separator: " ")
        var lines = [
            "# Completion of moe-bench for fish: moe-bench completions fish | source",
            "complete -c moe-bench -f",
        ]
        for entry in commands {
            lines.append("complete -c moe-bench -n __fish_use_subcommand -a \(entry.name) -d \(quoted(entry.summary))")
        }
        for entry in [root] + commands {
            let condition =
                entry.name.isEmpty
                ? "not __fish_seen_subcommand_from \(names)" : "__fish_seen_subcommand_from \(entry.name)"
            for option in entry.options {
                let spellings = option.spellings.map {
                    $0.hasPrefix("--") ? "-l \($0.dropFirst(2))" : "-s \($0.dropFirst())"
                }
                lines.append(
                    "complete -c moe-bench -n \(quoted(condition)) \(spellings.joined(separator: " "))\(fishValue(option)) "
                        + "-d \(quoted(option.help))")
            }
            if let operand = entry.operand {
                lines.append("complete -c moe-bench -n \(quoted(condition))\(fishValue(operand, isOperand: true))")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private func fishValue(_ option: Option, isOperand: Bool = false) -> String {
        let exclusive = isOperand ? "" : " -x"
        return switch option.value {
        case .none: ""
        case .file: isOperand ? " -F" : " -r -F"
        case .folder: exclusive + " -a '(__fish_complete_directories)'"
        case .choices(let choices): exclusive + " -a \(quoted(choices.joined(separator: " ")))"
        case .free: exclusive
        }
    }

    /// In single quotes, for any of the three.
    private func quoted(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }
}
