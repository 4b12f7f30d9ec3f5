@testable import MoEKernel

/// Fails, and says what, even when optimised.
func require(_ condition: Bool, _ promise: @autoclosure () -> String) {
    if !condition { fatalError(promise()) }
}

/// Runs the loader; an error is as good as a result, as long as its message stays short whatever the file says.
func attempt<Result>(_ body: () throws(MoEError) -> Result) -> Result? {
    do throws(MoEError) {
        return try body()
    } catch {
        require("\(error)".utf8.count < 8192, "a message of \("\(error)".utf8.count) bytes")
        return nil
    }
}

/// Reading a document and passing over it have to agree on whether it is one.
func readJSON(_ bytes: [UInt8]) {
    let value = attempt { () throws(MoEError) in try JSONValue(bytes, file: "f") }
    let passed: Void? = attempt { () throws(MoEError) in
        var reader = JSONReader(bytes, file: "f")
        try reader.skipValue()
        try reader.end()
    }
    require((value == nil) == (passed == nil), "one reading refuses what another accepts")
}

/// A header that is accepted covers the data exactly.
func readHeader(_ bytes: [UInt8]) {
    guard bytes.count >= 3 else { return }
    let length = Int(bytes[0]) | Int(bytes[1]) << 8 | Int(bytes[2]) << 16
    let start = 8 + bytes.count - 3
    guard
        let header = attempt({ () throws(MoEError) in
            try SafetensorsHeader(Array(bytes.dropFirst(3)), data: start..<start + length, file: "f")
        })
    else { return }
    check(header.tensors, data: start..<start + length)
    for (position, tensor) in header.tensors.enumerated() {
        require(header.positions[tensor.name] == position, "a tensor is not where its name says")
    }
}

func check(_ tensors: [SafetensorsTensor], data: Range<Int>) {
    var covered = data.lowerBound
    for tensor in tensors {
        require(tensor.bytes.lowerBound == covered, "a hole or an overlap")
        require(tensor.type.byteCount(shape: tensor.shape) == tensor.bytes.count, "not the size of its shape")
        covered = tensor.bytes.upperBound
    }
    require(covered == data.upperBound, "trailing bytes")
}

/// An index that is accepted stays in its folder.
func readIndex(_ bytes: [UInt8]) {
    guard let index = attempt({ () throws(MoEError) in try CheckpointIndex(bytes, path: "i", folder: "d") }) else {
        return
    }
    for shard in index.shards {
        require(!shard.isEmpty && !shard.utf8.contains(0), "no name of a file")
        let parts = shard.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        require(!parts[0].isEmpty && !parts.contains { $0.elementsEqual("..".utf8) }, "a shard outside the folder")
    }
    for shard in index.shardOfTensor.values {
        require(index.shards.indices.contains(shard), "a tensor in no shard")
    }
}
