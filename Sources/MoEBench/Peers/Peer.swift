/// A rival on the processor: a layer of another library, or a dense baseline of it. `Benchmarks/Peers/cpu` has one by each name.
package struct Peer: Sendable, Hashable {
    package enum Library: String, Sendable, Hashable, CaseIterable {
        case numpy, torch, onnxruntime, ggml
    }

    package enum Kind: Sendable, Hashable {
        case layer
        /// As ``DenseAllExperts``.
        case denseAllExperts
        /// As ``DenseIsoActive``.
        case denseIsoActive
    }

    package let name: String
    package let library: Library
    package let kind: Kind

    private init(_ name: String, _ library: Library, _ kind: Kind) {
        self.name = name
        self.library = library
        self.kind = kind
    }

    package static let all: [Peer] = [
        Peer("numpy-loop", .numpy, .layer),
        Peer("numpy-dense-all-experts", .numpy, .denseAllExperts),
        Peer("numpy-dense-iso-active", .numpy, .denseIsoActive),
        Peer("torch-eager", .torch, .layer),
        Peer("torch-grouped-mm", .torch, .layer),
        Peer("torch-dense-all-experts", .torch, .denseAllExperts),
        Peer("torch-dense-iso-active", .torch, .denseIsoActive),
        Peer("onnxruntime-moe", .onnxruntime, .layer),
        Peer("onnxruntime-dense-all-experts", .onnxruntime, .denseAllExperts),
        Peer("onnxruntime-dense-iso-active", .onnxruntime, .denseIsoActive),
        Peer("ggml-moe", .ggml, .layer),
        Peer("ggml-dense-iso-active", .ggml, .denseIsoActive),
    ]

    /// What a choice of peers may name: each, and for all of a kind a library or a baseline.
    package static let choices =
        all.map(\.name) + Library.allCases.map(\.rawValue) + [DenseAllExperts.name, DenseIsoActive.name]

    /// Peers by their names, their library's, or the name of the baseline that they are.
    ///
    /// - Throws: ``UsageError`` that says what is no name and what may be meant.
    package static func named(_ list: String, option: String) throws(UsageError) -> Set<Peer> {
        var found: Set<Peer> = []
        for word in list.split(separator: ",").map(String.init) {
            let matching = all.filter { $0.isMeant(by: word) }
            guard !matching.isEmpty else { throw Arguments.unknown(option, word, choices) }
            found.formUnion(matching)
        }
        guard !found.isEmpty else { throw UsageError("--\(option) names no peer") }
        return found
    }

    private func isMeant(by word: String) -> Bool {
        switch word {
        case DenseAllExperts.name: kind == .denseAllExperts
        case DenseIsoActive.name: kind == .denseIsoActive
        default: name == word || library.rawValue == word
        }
    }
}
