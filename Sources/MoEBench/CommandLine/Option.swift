/// One option of a command line. An option without a placeholder is a switch.
package struct Option: Sendable, Hashable {
    /// Without the dashes, words joined by `-`; on the command line `_` does as well.
    package let name: String
    /// Other spellings.
    package let aliases: [String]
    /// What stands for the value in help, such as `N`; nil for a switch.
    package let placeholder: String?
    package let help: String

    package init(_ name: String, _ placeholder: String? = nil, aliases: [String] = [], help: String) {
        self.name = name
        self.aliases = aliases
        self.placeholder = placeholder
        self.help = help
    }

    /// Every command has it.
    package static let help = Option("help", aliases: ["h"], help: "show this")
}
