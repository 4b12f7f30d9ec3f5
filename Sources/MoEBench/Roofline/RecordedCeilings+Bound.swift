import MoEKernel

extension RecordedCeilings {
    var isDevice: Bool { copies != nil }

    /// Products of an arithmetic; nil where they were not measured.
    func products(_ arithmetic: ExpertArithmetic) -> Series? {
        switch arithmetic {
        case .exact: multiplyAdd
        case .int8Activations: byteDot
        case .bfloat16Activations: pairDot
        }
    }

    /// Reading, or on a GPU copying, of a working set's class: the largest buffer that is no larger, so that it lies in the same cache or
    /// a nearer one. With cold caches there is one class, memory's. nil where none was measured.
    func traffic(forWorkingSet bytes: Int, _ caches: CacheState) -> Read? {
        if let copy = copies?.last { return bytes >= copy.bufferBytes / 16 ? copy : nil }
        if caches == .cold { return reads?.last }
        return reads?.last { $0.bufferBytes <= bytes }
    }

    /// What a piece of work is limited by, and the passes that say so.
    package struct Limit: Sendable {
        package let bound: Bound
        package let series: Series
    }

    /// The slowest of what the work needs, as ``Ceilings/yardstick(of:)``; nil for work that is not counted.
    package func limit(of work: Work, _ caches: CacheState) -> Limit? {
        var limits: [Limit] = []
        for arithmetic in ExpertArithmetic.allCases {
            let amount = work.operations(arithmetic)
            guard amount > 0, var series = products(arithmetic), series.rate > 0 else { continue }
            var resource: Bound.Resource = isDevice && arithmetic == .exact ? .products : .init(arithmetic)
            // Products in registers wait for nothing: layers are compared with a large product where one was measured.
            if arithmetic == .exact, let gemm { (resource, series) = (.gemm, gemm.series) }
            limits.append(Limit(bound: Bound(resource: resource, amount: amount, ceiling: series.rate), series: series))
        }
        if work.bytes > 0, let read = traffic(forWorkingSet: work.workingSet, caches), read.series.rate > 0 {
            let bound = Bound(resource: isDevice ? .copy : .read, amount: work.bytes, ceiling: read.series.rate)
            limits.append(Limit(bound: bound, series: read.series))
        }
        return limits.max { $0.bound.seconds < $1.bound.seconds }
    }

    /// The passes of a resource; nil where it was not measured. Where there are several sizes of reads, those of a working set.
    package func series(of resource: Bound.Resource, workingSet: Int, _ caches: CacheState) -> Series? {
        switch resource {
        case .multiplyAdd, .products: multiplyAdd
        case .byteDot: byteDot
        case .pairDot: pairDot
        case .gemm: gemm?.series
        case .read, .copy: traffic(forWorkingSet: workingSet, caches)?.series
        }
    }
}
