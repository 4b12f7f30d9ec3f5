/// One thing that is varied: its name, and its values with what they change.
package struct SweepAxis: Sendable {
    package typealias Change = @Sendable (inout SweepPoint) -> Void

    package let name: String
    package let values: [(text: String, change: Change)]

    package init(_ name: String, _ values: [(text: String, change: Change)]) {
        self.name = name
        self.values = values
    }

    /// Values that change one thing each, by themselves.
    package init<Value: Sendable>(
        _ name: String, _ values: [Value], text: (Value) -> String,
        _ change: @escaping @Sendable (inout SweepPoint, Value) -> Void
    ) {
        self.init(name, values.map { value in (text(value), { change(&$0, value) }) })
    }
}
