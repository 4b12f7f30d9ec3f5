/// Where a routing weight acts.
public enum WeightSide: Sendable, Hashable {
    /// On the expert's output.
    case output
    /// On the expert's input (Llama 4); with a non-linear expert that is another function.
    case input
}
