/// One option of a command line. An option without a placeholder is a switch.
package struct Option: Sendable, Hashable {
    /// Without the dashes, words joined by `-`; on the command line `_` does as well.
    package let name: String
    /// Other spellings.
    package let aliases: [String]
    /// What stands for the value in help, such as `N`; nil for a switch.
    package let placeholder: String?
    package let help: String
    /// Every value, where there are a few; of several, joined by commas, any. For completion only: commands read what was typed.
    package let choices: [String]

    package init(
        _ name: String, _ placeholder: String? = nil, aliases: [String] = [], choices: [String] = [], help: String
    ) {
        self.name = name
        self.aliases = aliases
        self.placeholder = placeholder
        self.choices = choices
        self.help = help
    }

    /// What a shell can offer as its value.
    package enum Value: Sendable, Hashable {
        /// It has none.
        case none
        case file, folder
        case choices([String])
        /// A number, a name: nothing to offer.
        case free
    }

    package var value: Value {
        switch placeholder {
        case nil: .none
        case _ where !choices.isEmpty: .choices(choices)
        case "FILE": .file
        case "DIR": .folder
        default: .free
        }
    }

    /// As it is typed: "--tokens", and "-h" for one letter.
    package var spellings: [String] { ([name] + aliases).map { ($0.count == 1 ? "-" : "--") + $0 } }

    /// Every command has it.
    package static let help = Option("help", aliases: ["h"], help: "show this")
}
