#!/usr/bin/env python3
"""Checks this folder and gpu.sh without a GPU, and without torch or NumPy where there are none: some seconds.

    python3 check.py
"""
import importlib.util
import json
import math
import os
import py_compile
import re
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))

import checkpoint
import generator
import report
from workloads import FLOORS, REDUCED, WORKLOADS

# Stands for moe-bench: says what a GPU would, in the same files. MISTAKE=1 makes its self-test fail.
FAKE = '''#!%s
import json, os, sys
words = sys.argv[1:]
value = lambda name, other=None: words[words.index("--" + name) + 1] if "--" + name in words else other
if words[:1] == ["info"]:
    print("CUDA  runtime 13.0 (a fake)")
elif words[:1] == ["selftest"]:
    if "--quick" in words:
        sys.exit(0 if os.environ.get("SANITISED") and words[-2:] == ["--device", "cuda"] else 2)
    print("FAILED  T 1: wrong" if os.environ.get("MISTAKE") else "ok      T 1")
    sys.exit(1 if os.environ.get("MISTAKE") else 0)
else:
    sys.path.insert(0, %r)
    from workloads import WORKLOADS, Workload
    if words[:1] == ["run"]:
        number = lambda name: int(value(name))
        some = [Workload("run", number("tokens"), number("hidden"), number("expert-hidden"), number("experts"),
            number("top-k"), value("expert", "gated"), value("activation", "silu"))]
    else:
        some = WORKLOADS
    entries = []
    series = lambda work, time: {"work": [work] * 3, "nanoseconds": [time] * 3}
    for w in some:
        workload = {"name": w.name, "tokens": w.tokens, "hidden": w.hidden, "expertHidden": w.expert_hidden,
            "experts": w.experts, "topK": w.top_k, "expert": w.expert, "activation": w.activation, "weightType": "bf16"}
        names = ["whole layer"] + ["whole layer, CUDA graph"] * w.is_decode
        entries.append({"workload": workload, "inputHash": "0" * 16, "threads": int(value("threads", 16)),
            "instructionSet": "sm_90", "firstCall": 0.01, "load": {"maximumOverMean": 1, "expertsTouched": 1, "batches": 1},
            "ceilings": {"multiplyAdd": series(6 * 10**11, 10**6), "gemm": {"rows": 8192, "columns": 8192, "depth": 8192,
                "series": series(5 * 10**11, 10**6)}, "copies": [{"bufferBytes": 1 << 29, "series": series(4 * 10**9, 10**6)}]},
            "failed": [], "measurements": [{"subject": {"name": n}, "work": {"flops": w.flops(), "bytes": w.bytes(w.experts)},
            "nanoseconds": [1000000, 2000000, 4000000]} for n in names]})
    json.dump({"entries": entries}, open(value("json"), "w"))
'''


def compiles():
    for path in sorted(HERE.rglob("*.py")):
        if ".venv" in path.parts:
            continue
        with tempfile.TemporaryDirectory() as folder:
            py_compile.compile(str(path), cfile=f"{folder}/c", doraise=True)


def same_workloads():
    """The list here is the one that moe-bench has."""
    source = (ROOT / "Sources/MoEBench/Suites/DefaultSuite.swift").read_text()
    source = source[source.index("deviceEntries") :]
    found = []
    for block in re.findall(r"Workload\((.*?)\), \d", source, re.S):
        fields = {k: v for k, v in re.findall(r'(\w+): ("[^"]*"|\.?\w+)', block)}
        number = lambda name: int(fields[name].replace("_", ""))
        assert fields["weightType"] == ".bfloat16", fields
        found.append((
            fields["name"].strip('"'), number("tokens"), number("hidden"), number("expertHidden"), number("experts"),
            number("topK"), fields.get("expert", ".gated")[1:], fields.get("activation", ".silu")[1:]))
    here = [
        (w.name, w.tokens, w.hidden, w.expert_hidden, w.experts, w.top_k, w.expert, w.activation) for w in WORKLOADS]
    assert found == here, f"{found}\n{here}"
    assert set(FLOORS) == {w.name for w in WORKLOADS}


def same_numbers():
    """Inputs made here have the fingerprint that moe-bench recorded, and its router sends them where it said."""
    recorded = json.loads((ROOT / "Benchmarks/Results/two-core-zen4.json").read_text())
    entry = next(e for e in recorded["entries"] if e["workload"]["name"] == "small")
    w = entry["workload"]
    per_batch = w["tokens"] * w["hidden"]
    batches = 4
    values = generator.input_values(w["seed"], batches * per_batch)
    data = [struct.pack(f"<{per_batch}f", *values[b * per_batch : (b + 1) * per_batch]) for b in range(batches)]
    assert generator.fingerprint(w["tokens"], w["hidden"], data) == entry["inputHash"]
    router = [generator.weight_row(w["seed"], generator.router_tag(), e, w["hidden"]) for e in range(w["experts"])]
    counts = [0] * w["experts"]
    for start in range(0, len(values), w["hidden"]):
        x = values[start : start + w["hidden"]]
        scores = [sum(a * b for a, b in zip(x, row)) for row in router]
        for e in sorted(range(len(scores)), key=lambda e: -scores[e])[: w["topK"]]:
            counts[e] += 1
    assert max(counts) / (sum(counts) / len(counts)) == entry["load"]["maximumOverMean"], counts


def files():
    with tempfile.TemporaryDirectory() as folder:
        assert checkpoint.bfloat16_bytes([1.0, -2.0]) == b"\x80\x3f\x00\xc0"
        row = lambda kind, expert, rows, columns: checkpoint.bfloat16_bytes([float(expert)] * (rows * columns))
        checkpoint.write_layer(f"{folder}/layer", 128, 64, 16, 4, row)
        dtype, shape, data = checkpoint.read(
            f"{folder}/layer/model.safetensors", "model.layers.0.block_sparse_moe.experts.3.w2.weight")
        assert (dtype, shape) == ("BF16", [128, 64]) and data == row("down", 3, 128, 64)


def tables():
    """Shares, floors and ratios of made-up times."""
    w, ms = WORKLOADS[0], 10**6
    run = lambda nanoseconds: {"results": {"entries": [{
        "workload": {
            "tokens": w.tokens, "hidden": w.hidden, "expertHidden": w.expert_hidden, "experts": w.experts, "topK": w.top_k,
            "expert": w.expert, "activation": w.activation, "weightType": "bf16"},
        "firstCall": 0.5, "failed": [],
        "measurements": [{
            "subject": {"name": "whole layer"}, "work": {"flops": w.flops(), "bytes": w.bytes(w.experts)},
            "nanoseconds": nanoseconds}]}]}}
    rival = lambda name, ns: {"name": name, "nanoseconds": [ns], "worstError": 1e-3}
    peers = {
        # One TFLOP/ms and a TB/ms.
        "ceilings": {
            "gemm": {"flops": 10**12, "nanoseconds": [10**6]}, "copy": {"bytes": 10**12, "nanoseconds": [10**6] * 2}},
        "entries": [{
            "workload": w.json(), "sameNumbers": {"inputs": None, "load": False}, "ours": [run([2 * ms, 4 * ms]), run([6 * ms, 1000 * ms])],
            "rivals": [rival("a", 10 * ms), rival("b", 4 * ms)], "failed": [{"name": "c", "reason": "is\nwrong"}]}],
        "failed": [], "notRun": [{"name": "x", "reason": "out of time"}],
    }
    ceiling = report.ceilings(peers, None)
    assert (ceiling["of"], round(ceiling["gemm"]), round(ceiling["copy"])) == ("torch", 10**15, 10**15)
    made = report.row(w, None, peers, ceiling)
    assert round(made["ours"]["milliseconds"], 9) == 5 and made["firstCall"] == 0.5, made
    assert [round(r["ratio"], 9) for r in made["rivals"]] == [2, 0.8]
    assert abs(made["gemmShare"] - w.flops() / 5e-3 / 1e15) < 1e-9 and made["met"] is True
    peers["entries"][0]["ours"] = [run([1000 * ms])]
    assert report.row(w, None, peers, ceiling)["met"] is False
    assert report.row(WORKLOADS[1], None, None, None)["met"] is None
    own_ceilings()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "steps.tsv").write_text("one\tfailed\t3\t1\t5\n")
        (Path(folder) / "peers.json").write_text(json.dumps(peers))
        with open(os.devnull, "w") as nowhere:
            kept, sys.stdout = sys.stdout, nowhere
            try:
                report.main(folder, folder)
            finally:
                sys.stdout = kept
        words = (Path(folder) / "table.md").read_text()
        for part in ("**missed**", "one: failed, exit 3", f"{w.name}, c: is wrong", "load are not moe-bench's", "x: out of time"):
            assert part in words, f"{part}\n{words}"


def own_ceilings():
    """Without torch shares are of what moe-bench measured itself, of its product or those in registers the faster."""
    series = lambda *rates: {"work": [r * 1000 for r in rates], "nanoseconds": [1000] * len(rates)}
    entry = lambda registers, gemm, copy, kind="bf16": {
        "workload": {"weightType": kind}, "ceilings": {
            "multiplyAdd": series(registers), "copies": [{"bufferBytes": 9, "series": series(copy, copy, 1)}], **(
                {"gemm": {"rows": 8, "columns": 16, "depth": 24, "series": series(gemm)}} if gemm else {})}}
    found = report.ceilings(None, {"entries": [entry(600, 500, 4), entry(602, 700, 6), entry(9999, 9999, 99, "fp32")]})
    assert (found["of"], found["size"]) == ("moe-bench", "8×16×24"), found
    assert [round(found[k] * 1e-9) for k in ("registers", "ownGEMM", "gemm", "copy")] == [601, 600, 601, 5], found
    found = report.ceilings(None, {"entries": [entry(600, None, 4)]})
    assert found["ownGEMM"] is None and round(found["gemm"] * 1e-9) == 600, found
    # A processor's file, one of a time without them, and none.
    assert report.ceilings(None, {"entries": [{"workload": {"weightType": "bf16"}, "ceilings": {"multiplyAdd": series(1)}}]}) is None
    assert report.ceilings(None, None) is None


def script():
    """gpu.sh from its first step to its last, with a fake for moe-bench and no torch."""
    with tempfile.TemporaryDirectory() as folder:
        fake, tools = Path(folder) / "moe-bench", Path(folder) / "tools"
        fake.write_text(FAKE % (sys.executable, str(HERE)))
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        tools.mkdir()
        # No torch of this machine's, and few threads to count up to.
        (tools / "python3").write_text(f'#!/bin/sh\n[ "$1" != -c ] || exit 1\nexec {sys.executable} "$@"\n')
        (tools / "nproc").write_text("#!/bin/sh\necho 2\n")
        (tools / "compute-sanitizer").write_text('#!/bin/sh\nshift 4\nSANITISED=1 exec "$@"\n')
        for tool in tools.iterdir():
            tool.chmod(0o755)
        for mistake, expected in (("", 0), ("1", 1)):
            out = Path(folder) / f"out{expected}"
            environment = dict(os.environ, PATH=f"{tools}:{os.environ['PATH']}", MISTAKE=mistake)
            done = subprocess.run(
                [str(HERE.parent / "gpu.sh"), str(fake), str(out)], env=environment, capture_output=True, text=True)
            assert done.returncode == expected, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
            result = json.loads((out / "results.json").read_text())
            status = {step["name"]: step["status"] for step in result["steps"]}
            assert status["selftest-cuda"] == ("failed" if mistake else "passed"), status
            assert status["table"] == "passed" and status["rivals"].startswith("not run"), status
            assert status["cpu-bf16-2"] == "passed", status
            assert all(status[tool] == "passed" for tool in ("memcheck", "racecheck", "synccheck", "initcheck")), status
            # Shares of floors without torch.
            assert all(r["met"] is not None and r["gemmShare"] and r["copyShare"] for r in result["rows"]), result["rows"]
            assert result["ceilingsOf"] == "moe-bench" and "as there is no torch" in done.stdout, done.stdout
            assert "by its own ceilings" in done.stdout and "own GEMM 500 TFLOP/s (8192×8192×8192)" in done.stdout, done.stdout
            assert len(result["rows"]) == len(WORKLOADS) and all(r["ours"] for r in result["rows"])
            assert done.stdout.endswith((out / "table.md").read_text()), done.stdout
            assert ("selftest-cuda: FAILED  T 1: wrong" in " ".join(result["failures"]).replace("FAILED T", "FAILED  T")) == bool(mistake)


def with_torch():
    """The tensor half of the generator, and rivals at small sizes on the processor."""
    import torch

    import moe_layers
    import run_peers

    tag = generator.expert_tag(5, "up")
    rows = generator.weights(3, tag, 4, 40, "cpu", torch.float32)
    assert [generator.weight_row(3, tag, row, 40) for row in range(4)] == rows.tolist()
    for w in REDUCED:
        x = generator.inputs(w, "cpu", torch.float32).flatten()
        assert generator.input_values(w.seed, 100) == x[:100].tolist()
        weights, x = moe_layers.Weights.made(w, "cpu"), generator.inputs(w, "cpu")[0]
        reference = moe_layers.Reference(weights, x, list(range(w.tokens)))
        for rival in (moe_layers.ExpertLoop, moe_layers.GroupedMM):
            y = rival(weights, w)(x)
            assert reference.worst(y) < 1e-2, (w, rival.name)
            y[-1, -1] += 1
            assert reference.worst(y) > 1e-2, (w, rival.name)

    # What is recorded once and launched again, with a function in the place of a graph.
    w = REDUCED[1]
    weights, x = moe_layers.Weights.made(w, "cpu"), generator.inputs(w, "cpu")
    references = {batch: moe_layers.Reference(weights, x[batch], [0]) for batch in (0, 15)}
    layers = [moe_layers.GroupedMM(weights, w)] * 3

    for writes in (True, False):
        def graph(call):
            output = call()
            return (lambda: output.copy_(call()) if writes else None), output

        device = run_peers.Device("cpu")
        device.graph = graph
        rival = run_peers.Rival("recorded", device, layers, list(x), True)
        rival.check(references)
        rival.sample(0.01)
        assert (rival.turns, len(rival.graphs)) == (16, 16) and len(rival.nanoseconds) >= 3
        assert (rival.failure is None) == writes, rival.failure


def same_peers():
    """The peers that moe-bench asks for are those that are here, and each pinned package is one that they import; ggml is no package."""
    source = (ROOT / "Sources/MoEBench/Peers/Peer.swift").read_text()
    asked = {}
    for name, library in re.findall(r'Peer\("([^"]+)", \.(\w+), ', source):
        asked.setdefault(library, []).append(name)
    assert set(asked) == {"numpy", "torch", "onnxruntime", "ggml"}, asked
    pinned = {line.split("==")[0] for line in (HERE / "requirements-cpu.txt").read_text().split()}
    assert pinned == set(asked) - {"ggml"} | {"onnx"}, pinned
    for library, names in asked.items():
        text = (HERE / f"cpu/{library}_peers.py").read_text()
        assert re.findall(r'^    "([^"]+)": ', text[text.index("\nPEERS = {") :], re.M) == names, library


class CPUWorker:
    """A worker of `moe-bench compare-peers`, asked as it asks."""

    def __init__(self, library, folder):
        self.output = f"{folder}/y"
        environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(HERE / "cpu/worker.py"), library, str(folder)], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.hello = json.loads(self.process.stdout.readline())

    def ask(self, do, peer, **more):
        request = {"do": do, "peer": peer, "output": self.output, **more}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        return self.process.wait(20)


def cpu_task(folder, dtype):
    """Writes what moe-bench would, of a tiny layer; {kind: outputs of every batch} in float64."""
    tokens, hidden, inner, experts, k, batches = 3, 8, 6, 4, 2, 2
    rows = lambda tag, count, columns: [generator.weight_row(1, tag, row, columns) for row in range(count)]
    matrices = {"router": rows(generator.router_tag(), experts, hidden)}
    for kind, count, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
        matrices[kind] = [rows(generator.expert_tag(e, kind), count, columns) for e in range(experts)]
    for kind, count, columns in (("gate", k * inner, hidden), ("up", k * inner, hidden), ("down", hidden, k * inner)):
        matrices["iso_" + kind] = rows(generator.expert_tag(0, kind), count, columns)
    x = generator.input_values(1, batches * tokens * hidden)
    flat = lambda values: sum(map(flat, values), []) if isinstance(values, list) else [values]
    shape = lambda values: [len(values)] + shape(values[0]) if isinstance(values, list) else []
    data = lambda values: (dtype, shape(values), pack(flat(values)))
    pack = checkpoint.bfloat16_bytes if dtype == "BF16" else lambda values: struct.pack(f"<{len(values)}f", *values)
    checkpoint.write(f"{folder}/weights.safetensors", {name: data(values) for name, values in matrices.items()})
    checkpoint.write(
        f"{folder}/inputs.safetensors", {"x": ("F32", [batches, tokens, hidden], struct.pack(f"<{len(x)}f", *x))})
    (Path(folder) / "task.json").write_text(json.dumps({
        "tokens": tokens, "hidden": hidden, "expertHidden": inner, "experts": experts, "topK": k,
        "dtype": {"F32": "fp32", "BF16": "bf16"}[dtype], "threads": 1, "isoCopies": 2}))

    times = lambda matrix, v: [sum(a * b for a, b in zip(row, v)) for row in matrix]

    def feed_forward(gate, up, down, v):
        return times(down, [g / (1 + math.exp(-g)) * u for g, u in zip(times(gate, v), times(up, v))])

    layer, dense = [], []
    for start in range(0, len(x), hidden):
        v = x[start : start + hidden]
        logits = times(matrices["router"], v)
        chosen = sorted(range(experts), key=lambda e: -logits[e])[:k]
        factors = [math.exp(logits[e]) for e in chosen]
        outputs = [feed_forward(*(matrices[kind][e] for kind in ("gate", "up", "down")), v) for e in chosen]
        layer.append([sum(f * y[i] for f, y in zip(factors, outputs)) / sum(factors) for i in range(hidden)])
        dense.append(feed_forward(*(matrices["iso_" + kind] for kind in ("gate", "up", "down")), v))
    return {"layer": layer, "iso": dense}


def cpu_worker():
    """The workers' messages, and NumPy's layers against float64 where there is NumPy."""
    with tempfile.TemporaryDirectory() as folder:
        truth = cpu_task(folder, "F32")
        worker = CPUWorker("numpy", folder)
        if not importlib.util.find_spec("numpy"):
            assert "numpy" in worker.hello["missing"], worker.hello
            assert worker.end() == 0
            print("NumPy is not installed: its layers are not run")
            return
        assert worker.hello["hello"] == 1 and "NumPy" in worker.hello["program"], worker.hello

        def worst(right):
            y = struct.iter_unpack(f"<{len(right[0])}f", Path(worker.output).read_bytes())
            return max(
                math.dist(found, row) / math.hypot(*row) for found, row in zip(y, right, strict=True))

        for peer in worker.hello["peers"]:
            right = truth["iso" if "iso" in peer else "layer"]
            answer = worker.ask("prepare", peer)
            assert len(answer["nanoseconds"]) == 2 and worst(right) < 1e-6, (peer, answer)
            answer = worker.ask("time", peer, calls=3)
            assert len(answer["nanoseconds"]) == 3 and min(answer["nanoseconds"]) > 0 and answer["batch"] == 0, answer
            assert worst(right[: len(right) // 2]) < 1e-6
            assert worst(right[len(right) // 2 :]) > 1e-3, "the batches are told apart"
        assert "KeyError" in worker.ask("prepare", "numpy-nothing")["failed"]
        assert worker.end() == 0
        cpu_task(folder, "BF16")
        worker = CPUWorker("numpy", folder)
        assert "bf16" in worker.ask("prepare", "numpy-loop")["unsupported"]
        assert worker.end() == 0


def main():
    checks = [compiles, same_workloads, same_numbers, files, tables, script, same_peers, cpu_worker]
    if importlib.util.find_spec("torch"):
        checks.append(with_torch)
    else:
        print("torch is not installed: rivals are not run")
    for check in checks:
        with open(os.devnull, "w") as nowhere:
            kept = sys.stdout
            sys.stdout = nowhere if check is files else kept
            try:
                check()
            finally:
                sys.stdout = kept
        print(f"ok  {check.__name__}")


if __name__ == "__main__":
    main()
