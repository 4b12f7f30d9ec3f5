import Testing

@testable import MoEBench

/// The scripts are run by their shells in the check of the command line; here, that nothing of the table is missing or breaks quotes.
@Suite struct CompletionTests {
    private enum Root: Command {
        static let name = ""
        static let summary = "does everything"
        static let examples: [(line: String, meaning: String)] = []
        static let options = [Option("json", "FILE", help: "writes")]
        static func run(_ arguments: Arguments) -> ExitCode { .success }
    }

    private enum Sub: Command {
        static let name = "sub"
        static let summary = "does somebody's [part]: 1 of 2"
        static let examples: [(line: String, meaning: String)] = []
        static let operand: String? = "model"
        static let options = [
            Option("model", "DIR", help: "reads"),
            Option("kind", "NAME", choices: ["red", "green"], help: "the caller's"),
            Option("top-k", "K", aliases: ["k"], help: "a [number]: K"), Option("quiet", help: "says less"),
        ]
        static func run(_ arguments: Arguments) -> ExitCode { .success }
    }

    private let script = CompletionScript(CommandLineTool(root: Root.self, subcommands: [Sub.self]))

    @Test(arguments: CompletionScript.Shell.allCases) func everythingIsOffered(shell: CompletionScript.Shell) {
        let text = script.text(for: shell)
        let dash = shell == .fish ? "-l " : "--"
        for word in ["json", "model", "kind", "top-k", "quiet", "help"] {
            #expect(text.contains(dash + word), "\(word)")
        }
        #expect(text.contains("red green"))
        #expect(text.contains("sub"))
        #expect(text.hasSuffix("\n"))
    }

    @Test func valuesByKind() {
        #expect(Sub.options.map(\.value) == [.folder, .choices(["red", "green"]), .free, .none])
        #expect(Root.options.map(\.value) == [.file])
    }

    @Test func helpIsQuoted() {
        #expect(script.text(for: .fish).contains("-d 'does somebody'\\''s [part]: 1 of 2'"))
        #expect(script.text(for: .zsh).contains("'--top-k=[a \\[number\\]\\: K]:K: '"))
        #expect(script.text(for: .zsh).contains("'--quiet[says less]'"))
        // A file's option takes files, a switch nothing.
        #expect(script.text(for: .bash).contains(":--json) compopt -o filenames; COMPREPLY=($(compgen -f"))
        #expect(!script.text(for: .bash).contains("sub:--quiet)"))
        #expect(script.text(for: .bash).contains("sub:--top-k|sub:-k) COMPREPLY=(); return"))
    }
}
