import MoEBench

/// Scripts that complete this command line in a shell.
enum CompletionsCommand: Command {
    static let name = "completions"
    static let summary = "prints a script that completes moe-bench's command line in a shell"
    static let examples: [(line: String, meaning: String)] = [
        ("source <(moe-bench completions bash)", "in ~/.bashrc, or for this shell alone"),
        ("moe-bench completions zsh > ~/.zsh/_moe-bench", "into a folder of $fpath"),
        ("moe-bench completions fish > ~/.config/fish/completions/moe-bench.fish", "found by fish itself"),
    ]
    private static let shells = CompletionScript.Shell.allCases.map(\.rawValue)

    static let operand: String? = "shell"
    static let options = [
        Option("shell", "NAME", choices: shells, help: "\(shells.joined(separator: ", ")); --shell may be left out")
    ]

    static func run(_ arguments: Arguments) throws -> ExitCode {
        guard let shell = try arguments.choice("shell", CompletionScript.Shell.self) else {
            throw UsageError("no shell is named; expected one of \(shells.joined(separator: ", "))")
        }
        Terminal.show(CompletionScript(MoEBenchMain.tool).text(for: shell))
        return .success
    }
}
