import MoEKernel

/// What `moe-bench selftest` checks on a machine that it was carried to, one after the other.
package struct SelfTest {
    /// One line of it.
    package struct Check {
        package let name: String
        /// Returns what was found, empty where there is nothing to say; throws what is wrong.
        package let run: () throws -> String
    }

    package let checks: [Check]

    /// On the processor.
    ///
    /// - Parameter isQuick: A few cases for each instruction set rather than all.
    package init(on sets: [CPUInstructionSet], pool: ThreadPool, isQuick: Bool) throws(MoEError) {
        let cases = try isQuick ? LayerConformance.quickCases(sets) : LayerConformance.cases(sets)
        checks = cases.map { test in
            Check(name: "\(test)") {
                if let wrong = try LayerConformance.run(test, pool: pool) { throw wrong }
                return ""
            }
        }
    }

    /// On a GPU.
    ///
    /// - Parameter isQuick: Only small layers that together need every kernel, for tools that slow a GPU down many times.
    package init(on device: CUDADevice, pool: ThreadPool, isQuick: Bool) throws(MoEError) {
        var cases = try isQuick ? [] : DeviceConformance.cases() + DeviceConformance.largeCases()
        cases += try DeviceConformance.quickCases()
        // Parts of the device, whose kernels are loaded once for all cases: a tool looks at each kernel that is loaded.
        var parts: [Int: CUDADevice.WithKernels] = [:]
        for count in Set(cases.compactMap(\.multiprocessors)) {
            parts[count] = try device.narrowed(toMultiprocessors: count).withKernels()
        }
        let whole = isQuick ? nil : try device.withKernels()
        checks =
            cases.map { test in
                let part = test.multiprocessors.flatMap { parts[$0] } ?? whole
                return Check(name: "\(test)") {
                    let device = part?.device ?? device
                    let finding = try DeviceConformance.run(test, on: device) { configuration, weights in
                        try MoELayer(configuration, weights: weights, on: device, pool: pool)
                    }
                    return "\(finding)"
                }
            }
            + Self.ceilings(
                on: whole?.device ?? parts.min { $0.key < $1.key }?.value.device ?? device, isQuick: isQuick)
    }

    /// What the harness measures ceilings with.
    private static func ceilings(on device: CUDADevice, isQuick: Bool) -> [Check] {
        let (rows, columns, depth) = isQuick ? (40, 136, 72) : (1000, 1032, 520)
        return ElementType.allCases.flatMap { type in
            [
                Check(name: "product of \(rows) × \(columns), depth \(depth), \(type.rawValue)") {
                    let product = try CUDAProduct(
                        on: device, multiplying: type, rows: rows, columns: columns, depth: depth)
                    return "error at most \(Format.scientific(try DeviceProduct.checked(product))) of what is allowed"
                },
                Check(name: "products in registers, \(type.rawValue), and a copy") {
                    let probe = try CUDAProbe(on: device, multiplying: type, copyBytes: 1 << 16, iterations: 4)
                    return "\(try probe.multiply()) operations, \(Format.bytes(try probe.copy()))"
                },
            ]
        }
    }
}
