/// What a call finds in the processor's caches.
package enum CacheState: String, Sendable, Hashable, Codable, CaseIterable {
    /// What earlier calls left there: a server that runs one layer after another calls with new inputs, and so do the timed calls.
    case warm
    /// Nothing of the layer: before each call other memory went through the caches.
    case cold
}
