import Testing

@testable import MoEKernel

@Suite struct ElementTests {
    /// Every one of the 65,536 bit patterns, there and back.
    @Test func sixteenBitTypesAreExact() {
        for bits in UInt16.min...UInt16.max {
            let bfloat = Float(BFloat16(bitPattern: bits))
            if !bfloat.isNaN { #expect(BFloat16(bfloat).bitPattern == bits) }
            let half = Half.value(bits)
            if !half.isNaN { #expect(Half.bits(half) == bits) }
            #if !((os(macOS) || targetEnvironment(macCatalyst)) && arch(x86_64))
                let native = Float(Float16(bitPattern: bits))
                #expect(native == half || (native.isNaN && half.isNaN))
            #endif
        }
    }

    @Test func roundingIsToNearestEven() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<100_000 {
            let value = Float(bitPattern: UInt32.random(in: 0...UInt32.max, using: &generator))
            if value.isNaN {
                #expect(Float(BFloat16(value)).isNaN && Half.value(Half.bits(value)).isNaN)
                continue
            }
            #if !((os(macOS) || targetEnvironment(macCatalyst)) && arch(x86_64))
                #expect(Half.bits(value) == Float16(value).bitPattern)
            #endif
            let rounded = Float(BFloat16(value))
            if rounded.isFinite && value.isFinite {
                let step = Double(rounded.ulp) * 65536
                #expect(abs(Double(rounded) - Double(value)) <= step / 2)
            }
        }
        #expect(BFloat16(1.00390625).bitPattern == 0x3f80)  // halfway, to even: down
        #expect(BFloat16(1.01171875).bitPattern == 0x3f82)  // halfway, to even: up
        #expect(BFloat16(.greatestFiniteMagnitude).bitPattern == 0x7f80)
    }

    @Test func shapesAreChecked() {
        #expect(throws: MoEError.self) { try Tensor<Float>(shape: [2, 3], [1, 2, 3]) }
        #expect(throws: MoEError.self) { try Tensor<Float>(shape: [-1, 3], []) }
        #expect(throws: MoEError.self) { try Tensor<Float>(shape: [], []) }
        #expect(throws: MoEError.self) { try Tensor<Float>(shape: [.max, 3], []) }
        #expect(throws: MoEError.self) { try Tensor<Float>(rows: [[1, 2], [3]]) }
    }
}
