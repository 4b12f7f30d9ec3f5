import MoEBench

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

@main
enum MoEBenchMain {
    static let tool = CommandLineTool(
        root: SuiteCommand.self,
        subcommands: [
            RunCommand.self, AblateCommand.self, ServeCommand.self, ComparePeersCommand.self, ValidateCommand.self,
            DiffCommand.self, ReportCommand.self, WorkloadsCommand.self, ForwardCommand.self, InspectCommand.self,
            QuantiseCommand.self, InfoCommand.self, SelfTestCommand.self, CompletionsCommand.self,
        ])

    static func main() {
        exit(tool.run(Array(CommandLine.arguments.dropFirst())).rawValue)
    }
}
