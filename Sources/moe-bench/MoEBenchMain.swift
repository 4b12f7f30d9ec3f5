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
    static func main() {
        let tool = CommandLineTool(
            root: SuiteCommand.self,
            subcommands: [
                RunCommand.self, AblateCommand.self, ForwardCommand.self, InspectCommand.self, QuantiseCommand.self,
                ComparePeersCommand.self, InfoCommand.self, SelfTestCommand.self,
            ])
        exit(tool.run(Array(CommandLine.arguments.dropFirst())).rawValue)
    }
}
