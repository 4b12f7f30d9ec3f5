import Foundation

@testable import MoEBench

/// Results files as a run could have written them, as JSON, so that a field more or less in the types does not touch the tests.
enum ResultsFixture {
    typealias JSON = [String: Any]

    static func workload(
        _ name: String = "small", tokens: Int = 32, hidden: Int = 512, expertHidden: Int = 2048, experts: Int = 8,
        topK: Int = 2
    ) -> JSON {
        [
            "name": name, "tokens": tokens, "hidden": hidden, "expertHidden": expertHidden, "experts": experts,
            "topK": topK,
            "expert": "gated", "activation": "silu", "router": "softmax", "groups": 8, "weightType": "fp32", "seed": 1,
        ]
    }

    static func row(
        _ name: String, _ workload: JSON, _ nanoseconds: [UInt64], flops: Int = 400_000_000, bytes: Int = 100_000_000,
        threads: Int = 2, dtype: String = "fp32", hash: String = "43907d18decfe3df"
    ) -> JSON {
        [
            "subject": [
                "name": name, "workload": workload, "device": "cpu", "dtype": dtype, "threads": threads,
                "instructionSet": "avx2",
            ] as JSON,
            "work": ["flops": flops, "bytes": bytes, "workingSet": bytes] as JSON, "inputHash": hash, "build": "test",
            "count": nanoseconds.count, "nanoseconds": nanoseconds,
        ]
    }

    static func external(_ row: JSON, program: String, error: Double = 3e-7) -> JSON {
        var row = row
        row["build"] = nil
        row["program"] = program
        row["error"] = error
        return row
    }

    /// - Parameters:
    ///   - multiply: Multiply-adds' FLOP/s, one for each pass.
    ///   - read: Bytes a second of reading 64 MiB, one for each pass.
    static func entry(
        _ workload: JSON, _ rows: [JSON], multiply: [Double] = Array(repeating: 170e9, count: 20),
        read: [Double] = Array(repeating: 40e9, count: 20), threads: Int = 2, load: [Int]? = nil, external: [JSON] = [],
        failed: [JSON] = [], notRun: [JSON] = [], caches: String = "warm"
    ) -> JSON {
        func series(_ rates: [Double]) -> JSON {
            ["work": rates.map { _ in 1_000_000_000 }, "nanoseconds": rates.map { UInt64(1e18 / $0) }]
        }
        var spread: JSON = ["maximumOverMean": 1.5, "expertsTouched": 8, "batches": 4]
        spread["tokensPerExpert"] = load
        return [
            "workload": workload, "inputHash": "43907d18decfe3df", "threads": threads, "instructionSet": "avx2",
            "weightBytes": 100_696_064, "load": spread, "checkedTokens": 29,
            "ceilings": [
                "multiplyAdd": series(multiply), "reads": [["bufferBytes": 64 << 20, "series": series(read)] as JSON],
            ] as JSON,
            "measurements": rows, "failed": failed, "notRun": notRun, "partial": false, "caches": caches,
            "external": external,
        ]
    }

    static func file(
        _ entries: [JSON], serving: [JSON] = [], processor: String = "Test CPU", partial: Bool = false, version: Int = 2
    ) throws -> Data {
        try JSONSerialization.data(
            withJSONObject: [
                "schema": "moe-bench results", "version": version, "build": "68211635f660c89a",
                "command": ["--json", "results.json"], "finished": "2026-11-24T08:28:03Z",
                "machine": [
                    "processor": processor, "architecture": "x86_64", "system": "Linux", "features": ["avx2"],
                    "processors": 2,
                    "l1Bytes": 32768, "l2Bytes": 1_048_576, "l3Bytes": 33_554_432, "memoryBytes": 25_276_514_304,
                ] as JSON,
                "entries": entries, "serving": serving, "partial": partial,
            ] as JSON)
    }

    static func input(_ entries: [JSON], serving: [JSON] = [], processor: String = "Test CPU", partial: Bool = false)
        throws
        -> ResultsInput
    {
        try ResultsInput(
            path: "results.json", data: try file(entries, serving: serving, processor: processor, partial: partial))
    }

    static func report(_ entries: [JSON], serving: [JSON] = []) throws -> ReportData {
        ReportData([try input(entries, serving: serving)])
    }

    /// Times of calls, which follow upon each other as on a real machine: most near `median`, slow for a while now and then, a few
    /// far off.
    static func samples(_ count: Int, median: Double, noise: Double = 0.03, seed: UInt64) -> [UInt64] {
        var generator = SplitMix64(seed: seed)
        var slow = 0.0
        return (0..<count).map { _ in
            let normal = (0..<12).reduce(-6.0) { sum, _ in sum + generator.unit() }
            slow = 0.7 * slow + 0.3 * noise * ((0..<12).reduce(-6.0) { sum, _ in sum + generator.unit() })
            let spike = generator.unit() < 0.03 ? 1.5 + generator.unit() : 1
            return UInt64(median * exp(noise * normal + slow) * spike)
        }
    }

    /// A run of requests that all but each tenth finish.
    static func serving(rate: Double, requests count: Int = 200, workload: JSON = workload()) -> JSON {
        var generator = SplitMix64(seed: UInt64(rate))
        var requests: [JSON] = []
        var steps: [JSON] = []
        for index in 0..<count {
            let arrival = Double(index) / rate
            if index % 10 == 9 {
                requests.append([
                    "arrival": arrival, "promptTokens": 8, "outputTokens": 4, "generatedTokens": 0,
                    "outcome": "rejected",
                    "end": arrival,
                ])
            } else {
                let first = arrival + 0.01 + 0.01 * generator.unit()
                requests.append([
                    "arrival": arrival, "promptTokens": 8, "outputTokens": 4, "generatedTokens": 4,
                    "outcome": "finished",
                    "firstToken": first, "end": first + 0.006,
                ])
            }
            steps.append(["time": arrival, "waiting": index % 7, "running": index % 5, "tokens": 16])
        }
        return [
            "workload": workload, "layers": 4, "threads": 2, "instructionSet": "avx2", "device": "cpu", "build": "test",
            "arrivals": "poisson", "rate": rate, "seed": 1, "maximumWaiting": 16, "maximumRunning": 8,
            "maximumBatchTokens": 64, "objective": ["firstToken": 0.015, "perToken": 0.01] as JSON,
            "seconds": Double(count) / rate, "requests": requests, "steps": steps, "partial": false,
        ]
    }
}
