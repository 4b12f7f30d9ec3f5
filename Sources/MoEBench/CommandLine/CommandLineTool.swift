/// Finds the subcommand, reads its options, runs it, and turns whatever goes wrong into a line and an exit status.
package struct CommandLineTool: Sendable {
    package let root: any Command.Type
    package let subcommands: [any Command.Type]

    /// - Parameter root: What runs without a subcommand.
    package init(root: any Command.Type, subcommands: [any Command.Type]) {
        self.root = root
        self.subcommands = subcommands
    }

    /// - Parameter words: The command line without the program's name.
    package func run(_ words: [String]) -> ExitCode {
        do {
            let (command, rest) = try command(words)
            let arguments = try Arguments(
                rest, options: command.options + [.help], operand: command.operand, operands: command.operands)
            if arguments.has("help") {
                Terminal.print(HelpText.command(command, subcommands: command == root ? subcommands : []))
                return .success
            }
            let code = try command.run(arguments)
            guard code == .success, let failure = Terminal.outputFailure else { return code }
            Terminal.complain("moe-bench: standard output: \(failure)")
            return .failure
        } catch let error as UsageError {
            let name = words.first.flatMap { word in subcommands.contains { $0.name == word } ? " \(word)" : nil } ?? ""
            Terminal.complain("moe-bench: \(error)\nSee `moe-bench\(name) --help`.")
            return .usage
        } catch {
            Terminal.complain("moe-bench: \(error)")
            return .failure
        }
    }

    private func command(_ words: [String]) throws(UsageError) -> (any Command.Type, ArraySlice<String>) {
        guard let first = words.first, !first.hasPrefix("-") else { return (root, words[...]) }
        if let command = subcommands.first(where: { $0.name == first }) { return (command, words.dropFirst()) }
        if first == "help" {
            let named = words.count > 1 ? words[1] : ""
            return (subcommands.first { $0.name == named } ?? root, ["--help"])
        }
        let nearest = Suggestion.nearest(to: first, in: subcommands.map { $0.name })
        throw UsageError("unknown command \"\(first)\"" + (nearest.map { "; did you mean \($0)?" } ?? ""))
    }
}
