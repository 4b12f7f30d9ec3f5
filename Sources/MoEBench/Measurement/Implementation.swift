import MoEKernel

/// What a call left behind, for the check.
package enum StageOutput: Sendable {
    /// [tokens, experts]
    case logits([Float])
    case routing(Routing)
    /// [tokens, hidden]
    case activations([Float])
}

/// Something that can be timed: the layer, a stage of it, a baseline. Its answer is checked by somebody else.
package protocol Implementation: AnyObject {
    var subject: Subject { get }
    var work: Work { get }
    /// What times its calls.
    var clock: any CallClock { get }
    /// The timed call, and nothing but it.
    func run(_ batch: Int) throws(MoEError)
    /// Ruins whatever an earlier call left, so that a call on `batch` that does nothing cannot pass.
    func poison(_ batch: Int) throws(MoEError)
    /// What the last call, which was on `batch`, left.
    func output(_ batch: Int) throws(MoEError) -> StageOutput
    /// Whether the batch is as it was given, where calls read a copy of it; nil where they read the inputs themselves.
    func isInputIntact(_ batch: Int) throws(MoEError) -> Bool?
}

extension Implementation {
    package var clock: any CallClock { HostClock() }
    package func isInputIntact(_ batch: Int) throws(MoEError) -> Bool? { nil }
}

/// Compares what a call left with what it should have.
package protocol OutputCheck: Sendable {
    func verify(_ output: StageOutput, batch: Int) throws(WrongResult)
    /// The same check for the calls of one contender alone, where it remembers what it saw.
    func forOneContender() -> any OutputCheck
}

extension OutputCheck {
    package func forOneContender() -> any OutputCheck { self }
}

/// An answer that is not the oracle's.
package struct WrongResult: Error, Sendable, Hashable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// An implementation beside the check that it has to pass.
package struct Contender {
    package let implementation: any Implementation
    package let check: any OutputCheck
    /// Its claim on the time budget beside others that are as slow.
    package let weight: Double

    package init(_ implementation: any Implementation, check: any OutputCheck, weight: Double = 1) {
        self.implementation = implementation
        self.check = check.forOneContender()
        self.weight = weight
    }
}
