"""Writes the inputs a fuzzing run starts from, made of the checkpoints among the tests' fixtures, and the dictionary of
their words.

    python3 make_seeds.py FIXTURES FOLDER DICTIONARY

Sources/FuzzCheckpoint/Entry.swift says what an input looks like.
"""

import json
import re
import sys
from pathlib import Path

fixtures, folder, dictionary = map(Path, sys.argv[1:4])
words = set()
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


def keys(value):
    """The keys of a JSON value and what they may say."""
    if isinstance(value, dict):
        for key, inner in value.items():
            words.add(json.dumps(f'"{key}":'))
            keys(inner)
    elif isinstance(value, str) and len(value) < 60:
        words.add(json.dumps(f'"{value}"'))


for case in sorted(path.parent for path in fixtures.glob("**/config.json")):
    def seed(kind, name, content):
        (folder / f"{kind}-{case.name}-{name}").write_bytes(content)

    config = (case / "config.json").read_bytes()
    seed("json", "config", b"j" + config)
    keys(json.loads(config))
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

# Names of tensors, in the pieces between numbers.
for path in fixtures.glob("**/model*.safetensors"):
    for name in json.loads(header(path)[0]):
        words.update(json.dumps(part) for part in re.split(r"\d+", name) if len(part) > 2)
basis = Path(__file__).with_name("checkpoint.dict").read_text()
dictionary.write_text(basis + "\n".join(sorted(word for word in words if word.isascii())) + "\n")
