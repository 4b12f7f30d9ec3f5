import MoEKernel

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// A report on its way to a file or to standard output.
package enum ReportFile: Sendable {
    case text(String)
    case data(Data)

    package var string: String {
        switch self {
        case .text(let text): text
        case .data(let data): String(decoding: data, as: UTF8.self)
        }
    }

    /// Whole or not at all: what was there before stays where it cannot be written.
    package func write(to path: String) throws(MoEError) {
        try ResultsFile.write(
            {
                switch self {
                case .text(let text): Data(text.utf8)
                case .data(let data): data
                }
            }, to: path)
    }
}
