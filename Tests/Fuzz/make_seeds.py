"""Writes the inputs a fuzzing run starts from, made of the checkpoints among the tests' fixtures.

    python3 make_seeds.py FIXTURES FOLDER

Sources/FuzzCheckpoint/Entry.swift says what an input looks like.
"""

import json
import sys
from pathlib import Path

fixtures, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)


def header(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return data[8:8 + length], len(data) - 8 - length


def tensors(path):
    entries = json.loads(header(path)[0])
    entries.pop("__metadata__", None)
    return "\n".join(
        f"{entry['dtype']} {','.join(map(str, entry['shape']))} {name}" for name, entry in entries.items()).encode()


for case in sorted(path.parent for path in fixtures.glob("*/config.json")):
    def seed(kind, name, content):
        (folder / f"{kind}-{case.name}-{name}").write_bytes(content)

    config = (case / "config.json").read_bytes()
    seed("json", "config", b"j" + config)
    for path in sorted(case.glob("*.safetensors")):
        text, length = header(path)
        seed("header", path.stem, b"h" + length.to_bytes(3, "little") + text)
        if length < 4096:
            seed("file", path.stem, b"f" + path.read_bytes())
    if (case / "model.safetensors").exists():
        seed("single", "model", b"s" + config + b"\xff" + tensors(case / "model.safetensors"))
    else:
        index = (case / "model.safetensors.index.json").read_bytes()
        seed("index", "model", b"i" + index)
        shards = sorted(set(json.loads(index)["weight_map"].values()))
        for name, shard in zip("abc", shards):
            index = index.replace(shard.encode(), name.encode())
        parts = [config, index] + [tensors(case / shard) for shard in shards]
        seed("sharded", "model", b"m" + b"\xff".join(parts))
