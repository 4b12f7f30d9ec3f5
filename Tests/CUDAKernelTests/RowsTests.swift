import CUDAKernelHost
import Testing

/// Conversion of rows and the shared expert's gate: the kernels' sources, run on the CPU.
@Suite struct RowsTests {
    /// Runs a kernel by its name, allowed to touch `memory` alone.
    func run<Parameters>(
        _ kernel: String, _ parameters: Parameters, blocks: UInt32, threads: Int, seed: UInt64 = 1,
        memory: [(start: UnsafeRawPointer, bytes: Int)]
    ) throws {
        let ranges = memory.map { ck_memory(start: $0.start, bytes: $0.bytes) }
        try withUnsafePointer(to: parameters) { parameters in
            try kernel.withCString { name in
                var it = ck_launch(
                    kernel: name, parameters: parameters, grid_x: blocks, grid_y: 1, grid_z: 1,
                    threads: UInt32(threads), shared_bytes: 0)
                try launch { ck_run(&it, ranges, ranges.count, seed, $0, $1) }
            }
        }
    }

    /// Columns, pitch of the source, pitch of the destination, elements off alignment.
    static let shapes = [
        (64, 64, 64, 0), (20, 20, 24, 0), (7, 9, 8, 0), (24, 24, 24, 1), (40, 48, 40, 0), (1, 1, 8, 0), (21, 24, 21, 0),
    ]

    @Test(arguments: Element.allCases, Element.allCases)
    func convertsAndPads(_ from: Element, _ to: Element) throws {
        var generator = Generator(state: 7)
        for (width, sourcePitch, targetPitch, offset) in Self.shapes {
            let rows = 13
            let values = (0..<rows * sourcePitch).map { _ in Float.random(in: -3...3, using: &generator) }
            let source = DeviceArray(from.bytes(values), offset: offset * from.size)
            let target = DeviceArray([UInt8](repeating: 0xFF, count: rows * targetPitch * to.size))
            var p = mc_convert_parameters()
            p.source = UnsafeRawPointer(source.start)
            p.destination = UnsafeMutableRawPointer(target.start)
            p.rows = Int32(rows)
            p.width = Int32(width)
            p.source_pitch = Int32(sourcePitch)
            p.destination_pitch = Int32(targetPitch)
            try run(
                "convert_\(from)_\(to)", p, blocks: 2, threads: MC_CONVERT_THREADS,
                memory: [
                    (UnsafeRawPointer(source.start), source.count), (UnsafeRawPointer(target.start), target.count),
                ])
            let held = from.values(source.elements)
            let expected = (0..<rows).flatMap { row in
                (0..<targetPitch).map { $0 < width ? held[row * sourcePitch + $0] : 0 }
            }
            #expect(target.elements == to.bytes(expected), "width \(width), \(sourcePitch) to \(targetPitch)")
        }
    }

    /// Rows of some experts alone, from their tokens.
    @Test func convertsARangeOfRows() throws {
        let source = DeviceArray((0..<40).map { Float($0) })
        let target = DeviceArray([Float](repeating: -1, count: 48))
        let token = DeviceArray([Int32(9), 9, 4, 0, 2, 9])
        let range = DeviceArray([Int32(2), 5])
        var p = mc_convert_parameters()
        p.source = UnsafeRawPointer(source.start)
        p.destination = UnsafeMutableRawPointer(target.start)
        p.row_token = UnsafePointer(token.start)
        p.range = UnsafePointer(range.start)
        p.range_end = UnsafePointer(range.start + 1)
        p.rows = 6
        p.width = 8
        p.source_pitch = 8
        p.destination_pitch = 8
        try run(
            "convert_fp32_fp32", p, blocks: 1, threads: MC_CONVERT_THREADS,
            memory: [
                (UnsafeRawPointer(source.start), 160), (UnsafeRawPointer(target.start), 192),
                (UnsafeRawPointer(token.start), 24), (UnsafeRawPointer(range.start), 8),
            ])
        let row = { (token: Int) in (0..<8).map { Float(8 * token + $0) } }
        let untouched = [Float](repeating: -1, count: 16)
        #expect(target.elements == untouched + row(4) + row(0) + row(2) + untouched.prefix(8))
    }

    @Test(arguments: ["off_by_one", "truncates"])
    func noticesMistakes(_ mistake: String) throws {
        var generator = Generator(state: 3)
        let width = mistake == "truncates" ? 64 : 20
        let pitch = mistake == "truncates" ? 64 : 24
        let values = (0..<5 * width).map { _ in Float.random(in: -3...3, using: &generator) }
        let source = DeviceArray(values)
        let target = DeviceArray([UInt16](repeating: 0xFFFF, count: 5 * pitch))
        var p = mc_convert_parameters()
        p.source = UnsafeRawPointer(source.start)
        p.destination = UnsafeMutableRawPointer(target.start)
        p.rows = 5
        p.width = Int32(width)
        p.source_pitch = Int32(width)
        p.destination_pitch = Int32(pitch)
        if mistake == "off_by_one" {
            let failure = #expect(throws: KernelFailure.self) {
                try launch { ck_convert_mistake("convert_fp32_bf16+\(mistake)", &p, 2, 1, $0, $1) }
            }
            return #expect(failure?.description.contains("of source") == true)
        }
        try launch { ck_convert_mistake("convert_fp32_bf16+\(mistake)", &p, 2, 1, $0, $1) }
        let expected = (0..<5).flatMap { row in
            (0..<pitch).map { $0 < width ? Element.bf16Bits(values[row * width + $0]) : 0 }
        }
        #expect(target.elements != expected)
    }

    /// σ of every third number of 300.
    private func gates(mistake: String = "") throws -> (logits: [Float], scale: [Float]) {
        let logits = DeviceArray((0..<300).map { Float($0 - 150) / 11 })
        let scale = DeviceArray([Float](repeating: .nan, count: 100))
        var p = mc_gate_parameters()
        p.logits = UnsafePointer(logits.start)
        p.scale = scale.start
        p.tokens = 100
        p.stride = 3
        try launch { ck_gate("shared_gate" + mistake, &p, 2, 1, $0, $1) }
        return (logits.elements, scale.elements)
    }

    /// The largest error of a gate, in units of what the exponential, the sum and the quotient may round by.
    private func worst(_ gates: (logits: [Float], scale: [Float])) -> Double {
        gates.scale.enumerated().reduce(0) { worst, gate in
            let expected = 1 / (1 + exponential(-Double(gates.logits[3 * gate.offset])))
            let error = abs(Double(gate.element) - expected) / (3 * 0x1p-24 * expected)
            return error.isNaN ? .infinity : max(worst, error)
        }
    }

    @Test func gateIsTheLogisticFunction() throws { #expect(worst(try gates()) <= 1) }

    @Test(arguments: ["off_by_one", "wrong_sign", "ignores_the_stride"])
    func noticesMistakesOfTheGate(_ mistake: String) throws {
        #expect(worst(try gates(mistake: "+" + mistake)) > 100)
    }

    /// eˣ by its series, so that nothing of the C library is needed.
    private func exponential(_ x: Double) -> Double {
        var term = 1.0, sum = 1.0
        for n in 1...60 {
            term *= x / 16 / Double(n)
            sum += term
        }
        return (0..<4).reduce(sum) { power, _ in power * power }
    }
}
