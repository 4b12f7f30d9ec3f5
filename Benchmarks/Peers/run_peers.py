#!/usr/bin/env python3
"""Times rivals in torch and moe-bench in turns on the workloads of `moe-bench --device cuda`, on the same numbers, and checks both.

    python3 run_peers.py --moe-bench PATH --json peers.json --seconds 150
    python3 run_peers.py --warm                              compiles and runs everything once, times nothing
    python3 run_peers.py --device cpu --reduced --seconds 60 the same code without a GPU; times mean nothing

For every workload: moe-bench, rivals and ceilings, moe-bench, rivals and ceilings, … . A result file is written after each, so that what a
time limit cuts off is only what was not begun.
"""
import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import checkpoint
from workloads import REDUCED, WORKLOADS, Workload

SCHEMA, VERSION = "moe peers", 1
# Rivals round where they like, at least inner values, rows and outputs; a wrong one is off by more than tenths.
TOLERANCE = 1e-2
# Words hashed to compare inputs; more would take Python too long.
HASHED = 1 << 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moe-bench", metavar="PATH", help="without it rivals are timed alone")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--seconds", type=float, default=150, help="for everything [150]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each workload, at most [3]")
    parser.add_argument("--sample-seconds", type=float, default=0.15, help="of each rival in a turn [0.15]")
    parser.add_argument("--only", metavar="TEXT", help="workloads whose name has it")
    parser.add_argument("--reduced", action="store_true", help="small sizes")
    parser.add_argument("--warm", action="store_true", help="only compile")
    parser.add_argument("--resume", action="store_true", help="go on with what --json holds")
    return parser.parse_args()


class ContextLost(Exception):
    """A rival left the GPU's context so that every later call fails, too."""


class Device:
    """Clock, cache and graphs of a GPU; of a processor, for trying this program."""

    def __init__(self, kind):
        import torch

        self.torch, self.is_cuda = torch, kind == "cuda"
        if self.is_cuda and not torch.cuda.is_available():
            sys.exit("run_peers: torch finds no GPU")
        self.name = kind
        properties = torch.cuda.get_device_properties(0) if self.is_cuda else None
        self.l2 = properties.L2_cache_size if self.is_cuda else 1 << 20
        self.about = {
            "torch": torch.__version__, "python": platform.python_version(),
            "device": properties.name if self.is_cuda else "cpu", "l2Bytes": self.l2,
            "memoryBytes": properties.total_memory if self.is_cuda else None, "cuda": torch.version.cuda,
        }
        if self.is_cuda:
            self.start, self.end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def check_alive(self, error):
        """After an error of a rival.

        - Raises: ContextLost where nothing more can run in this process."""
        try:
            self.synchronize()
        except Exception as sticky:
            raise ContextLost(f"{error}"[:300]) from sticky

    def synchronize(self):
        if self.is_cuda:
            self.torch.cuda.synchronize()

    def time(self, call):
        """Nanoseconds between two marks in the stream, as moe-bench takes them; waits for the call."""
        if self.is_cuda:
            # As moe-bench does: the device is busy for 0.1 ms, so that the host is ahead with its launches.
            self.torch.cuda._sleep(200_000)
            self.start.record()
            call()
            self.end.record()
            self.end.synchronize()
            return int(self.start.elapsed_time(self.end) * 1e6)
        begin = time.perf_counter_ns()
        call()
        return time.perf_counter_ns() - begin

    def samples(self, call, seconds, least=3, most=100):
        """Calls get their number, so that they can rotate over inputs."""
        taken, begin = [], time.perf_counter()
        while len(taken) < least or (len(taken) < most and time.perf_counter() - begin < seconds):
            taken.append(self.time(lambda: call(len(taken))))
        return taken

    def graph(self, call):
        """(launch, output) of a recorded call."""
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = call()
        return graph.replay, output


class Ceilings:
    """torch's own product of two large matrices and copy of a large tensor."""

    def __init__(self, device):
        torch = device.torch
        self.device, n = device, 8192 if device.is_cuda else 256
        self.size, self.gemm, self.copy = n, [], []
        new = lambda: torch.randn(n, n, device=device.name, dtype=torch.float32).to(torch.bfloat16)
        self.a, self.b, self.c = new(), new(), new()
        self.bytes = 2 << 30 if device.is_cuda else 1 << 20
        self.source = torch.randint(0, 255, (self.bytes,), dtype=torch.uint8, device=device.name)
        self.target = torch.empty_like(self.source)
        for _ in range(3):
            self._multiply()
            self._move()
        device.synchronize()

    def _multiply(self, _=0):
        self.device.torch.matmul(self.a, self.b, out=self.c)

    def _move(self, _=0):
        self.target.copy_(self.source)

    def sample(self):
        # Clocks fell while moe-bench started.
        for _ in range(4):
            self._multiply()
        gemm = self.device.samples(self._multiply, 0, least=6)
        copy = self.device.samples(self._move, 0, least=6)
        self.gemm += gemm
        self.copy += copy
        return {"gemm": gemm, "copy": copy}

    def json(self):
        return {
            "gemm": {"size": self.size, "flops": 2 * self.size**3, "nanoseconds": self.gemm},
            # Read and written.
            "copy": {"bytes": 2 * self.bytes, "nanoseconds": self.copy},
        }


class Rival:
    """One layer, eager or as graphs, on inputs and copies of weights that take turns."""

    def __init__(self, name, device, layers, batches, as_graph):
        self.name, self.device, self.layers, self.batches = name, device, layers, batches
        self.nanoseconds, self.rounds, self.error, self.failure, self.graphs = [], [], None, None, []
        # Every pair of a batch and a copy that belong together.
        self.turns = max(len(layers), len(batches))
        begin = time.perf_counter()
        self.run(0)
        device.synchronize()
        self.first_call = time.perf_counter() - begin
        if as_graph:
            self.graphs = [device.graph(lambda turn=turn: self.eager(turn)) for turn in range(self.turns)]

    def eager(self, turn):
        return self.layers[turn % len(self.layers)](self.batches[turn % len(self.batches)])

    def run(self, call):
        turn = call % self.turns
        if not self.graphs:
            return self.eager(turn)
        launch, output = self.graphs[turn]
        launch()
        return output

    def check(self, references):
        """A graph's output is ruined before; an eager call's is new memory."""
        worst = 0.0
        for batch, reference in references.items():
            if self.graphs:
                self.graphs[batch][1].fill_(float("nan"))
            error = reference.worst(self.run(batch))
            if error != error and bool(reference.decided.any()):
                error = float("inf")
            worst = max(worst, 0.0 if error != error else error)
        self.error = max(self.error or 0.0, worst)
        if worst > TOLERANCE:
            self.failure = f"wrong result: relative error {worst:.3g}, allowed {TOLERANCE:g}"

    def sample(self, seconds):
        self.run(self.turns - 1)
        taken = self.device.samples(self.run, seconds)
        self.rounds.append(len(taken))
        self.nanoseconds += taken

    def json(self):
        return {
            "name": self.name, "firstCall": self.first_call, "worstError": self.error, "samplesOfRounds": self.rounds,
            "nanoseconds": self.nanoseconds,
        }


def makers(torch_device):
    """(layer type, why not) of every rival."""
    import moe_layers

    found = [(moe_layers.ExpertLoop, None), (moe_layers.GroupedMM, None)]
    try:
        import triton_layer
    except Exception as error:  # no Triton, or one that does not start here
        return found + [("Triton fused", f"{type(error).__name__}: {error}")]
    if not torch_device.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        return found + [("Triton fused", "without a GPU only by its interpreter: set TRITON_INTERPRET=1")]
    return found + [(triton_layer.TritonLayer, None)]


class Contest:
    """One workload."""

    def __init__(self, workload, device, cautious=False):
        """Cautious: without graphs of layers that are not our own."""
        import generator
        import moe_layers

        torch, self.cautious = device.torch, cautious
        self.workload, self.device, self.rivals, self.failed, self.ours, self.rounds = workload, device, [], [], [], []
        w = workload
        x = generator.inputs(w, device.name)
        self.input_hash = generator.input_hash(x) if x.numel() <= 2 * HASHED else None
        weights = moe_layers.Weights.made(w, device.name)
        chosen = torch.stack([moe_layers.route(batch, weights)[1] for batch in x]).flatten(1)
        counts = torch.zeros(len(x), w.experts, device=device.name).scatter_add_(
            1, chosen, torch.ones_like(chosen, dtype=torch.float32))
        total = counts.sum(0)
        self.load = {
            "maximumOverMean": float(total.double().max() / total.double().mean()), "expertsTouched": int((total > 0).sum()),
            "batches": len(x),
        }
        self.touched = float((counts > 0).sum(1).float().mean())
        working_set = 2 * w.expert_elements * self.load["expertsTouched"]
        copies = max(1, min(-(-4 * device.l2 // working_set), (2 << 30) // weights.byte_count, 64))
        if not device.is_cuda:
            copies = min(copies, 2)
        self.copies = copies
        layers = [weights] + [weights.copy() for _ in range(copies - 1)]
        step = max(1, w.tokens // 8)
        tokens = list(range(0, w.tokens, step))[:8]
        self.references = {
            batch: moe_layers.Reference(weights, x[batch], tokens) for batch in sorted({0, len(x) // 2, len(x) - 1})
        }
        for maker, reason in makers(device):
            name = maker if reason else maker.name
            if reason:
                self.failed.append({"name": name, "reason": reason})
                continue
            try:
                self.add(maker, layers, x)
            except Exception as error:  # a rival that does not run says so, and the others do
                device.check_alive(error)
                self.failed.append({"name": name, "reason": f"{type(error).__name__}: {error}"[:500]})

    def add(self, maker, layers, x):
        device, w = self.device, self.workload
        if maker.name.startswith("Triton") and not device.is_cuda:
            # The interpreter multiplies bits of bf16 as whole numbers, and slowly.
            import moe_layers

            layers = [
                moe_layers.Weights(l.router.float(), l.first.float(), l.second.float(), l.top_k, l.is_gated)
                for l in layers[:1]
            ]
            x = x.float()
        made = [maker(layer, w) for layer in layers]
        if layers[0].router.dtype == device.torch.float32:
            made[0].first_tiles, made[0].candidates = made[0].first_tiles[:1], made[0].candidates[:1]
        if hasattr(made[0], "tune"):
            begin = time.perf_counter()

            def seconds(call):
                call()
                device.synchronize()
                return statistics.median(device.samples(lambda _: call(), 0.02, least=3, most=20)) * 1e-9

            # Launches are a large part of a short call; a graph's are what is compared in the end.
            def graphed(call):
                return seconds(device.graph(call)[0] if device.is_cuda else call)

            # The interpreter takes seconds for a call.
            made[0].tune(list(x if device.is_cuda else x[:1]), graphed)
            for other in made[1:]:
                other.first, other.second = made[0].first, made[0].second
            self.tuning = {
                "seconds": time.perf_counter() - begin, "chosen": made[0].describe(), "tried": made[0].tuned,
            }
        batches = list(x)
        self.keep(maker.name, made, batches, False)
        if self.cautious and maker.can_be_graph and maker.name.startswith("torch"):
            reason = "the GPU's context was lost in an earlier try with graphs"
            self.failed.append({"name": f"{maker.name}, CUDA graph", "reason": reason})
        elif maker.can_be_graph and device.is_cuda:
            try:
                self.keep(f"{maker.name}, CUDA graph", made, batches, True)
            except Exception as error:
                device.check_alive(error)
                self.failed.append(
                    {"name": f"{maker.name}, CUDA graph", "reason": f"{type(error).__name__}: {error}"[:500]})

    def keep(self, name, made, batches, as_graph):
        rival = Rival(name, self.device, made, batches, as_graph)
        rival.check(self.references)
        if rival.failure:
            self.failed.append({"name": name, "reason": rival.failure})
        else:
            self.rivals.append(rival)

    def run_ours(self, program, limit):
        """One run of moe-bench; its results file as it is, or why there is none."""
        device = ["--device", "cuda"] if self.device.is_cuda else []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ours.json"
            command = [program, "run", *self.workload.options(), *device, "--seconds", "1", "--json", str(path)]
            begin = time.perf_counter()
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
            except subprocess.TimeoutExpired:
                return {"failure": f"stopped after {limit:.0f} s", "seconds": limit}
            except OSError as error:
                return {"failure": str(error), "seconds": 0}
            run = {"seconds": time.perf_counter() - begin, "status": done.returncode}
            if path.exists():
                run["results"] = json.loads(path.read_text())
            if done.returncode:
                run["failure"] = (done.stderr.strip() or done.stdout.strip())[-500:]
            return run

    def same_numbers(self):
        """Whether moe-bench's inputs, and where its router sent them, are ours; None where it told of neither."""
        entries = [e for run in self.ours for e in run.get("results", {}).get("entries", [])]
        if not entries:
            return None
        entry = entries[0]
        return {
            "inputs": None if self.input_hash is None or not self.device.is_cuda
            else entry["inputHash"] == self.input_hash,
            # A token whose logits tie may go either way.
            "load": entry["load"]["expertsTouched"] == self.load["expertsTouched"]
            and abs(entry["load"]["maximumOverMean"] / self.load["maximumOverMean"] - 1) <= 2e-3,
        }

    def round(self, ceilings, seconds):
        ceiling = ceilings.sample()
        # The order turns round with every round.
        order = self.rivals if len(self.rounds) % 2 == 0 else self.rivals[::-1]
        for rival in order:
            rival.sample(seconds)
        self.rounds.append(ceiling)

    def finish(self):
        for rival in self.rivals:
            rival.check(self.references)
            if rival.failure:
                self.failed.append({"name": rival.name, "reason": rival.failure})
        self.rivals = [rival for rival in self.rivals if not rival.failure]

    def json(self):
        return {
            "workload": self.workload.json(), "flops": self.workload.flops(), "bytes": self.workload.bytes(self.touched),
            "touchedExperts": self.touched, "load": self.load, "inputHash": self.input_hash, "copies": self.copies,
            "sameNumbers": self.same_numbers(), "tuning": getattr(self, "tuning", None),
            "rivals": [rival.json() for rival in self.rivals], "failed": self.failed, "ours": self.ours,
            "ceilingsOfRounds": self.rounds,
        }


def forward_check(program, device):
    """moe-bench's output of one layer from a file beside the rivals' of the same tensors, and both beside float64."""
    import generator
    import moe_layers

    torch = device.torch
    w = Workload("one layer from a file", 64, 512, 384, 16, 4, seed=7)
    weights, x = moe_layers.Weights.made(w, device.name), generator.inputs(w, device.name)[0]
    raw = lambda t: t.contiguous().view(torch.int16).cpu().numpy().tobytes()
    reference = moe_layers.Reference(weights, x, list(range(w.tokens)))
    result = {"workload": w.json(), "errors": {}, "fromOurs": {}, "failed": []}

    def tensor(kind, expert, rows, columns):
        if kind == "router":
            return raw(weights.router)
        if kind == "down":
            return raw(weights.second[expert])
        return raw(weights.first[expert].chunk(2, 0)[0 if kind == "gate" else 1])

    ours = None
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.write_layer(folder, w.hidden, w.expert_hidden, w.experts, w.top_k, tensor)
        source, target = Path(folder) / "x.safetensors", Path(folder) / "y.safetensors"
        checkpoint.write(source, {"x": ("BF16", x.shape, raw(x))})
        command = [program, "forward", "--model", folder, "--layer", "0", "--input", str(source), "--output", str(target)]
        command += ["--device", "cuda"] if device.is_cuda else []
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode or not target.exists():
            result["failed"].append({"name": "moe-bench forward", "reason": (done.stderr or done.stdout).strip()[-500:]})
        else:
            dtype, shape, data = checkpoint.read(target, "y")
            kind = {"BF16": torch.bfloat16, "F32": torch.float32}[dtype]
            ours = torch.frombuffer(bytearray(data), dtype=kind).view(shape).to(device.name)
            result["errors"]["moe-bench"] = reference.worst(ours)
            if not result["errors"]["moe-bench"] <= TOLERANCE:
                reason = f"wrong result: relative error {result['errors']['moe-bench']:.3g}, allowed {TOLERANCE:g}"
                result["failed"].append({"name": "moe-bench forward", "reason": reason})
                # JSON has no infinity.
                del result["errors"]["moe-bench"]
    for maker, reason in makers(device):
        if reason or (maker.name.startswith("Triton") and not device.is_cuda):
            continue
        try:
            y = maker(weights, w)(x)
            error = reference.worst(y)
            if not error <= TOLERANCE:
                raise ValueError(f"wrong result: relative error {error:.3g}, allowed {TOLERANCE:g}")
            result["errors"][maker.name] = error
            if ours is not None:
                result["fromOurs"][maker.name] = float((y.double() - ours.double()).norm() / reference.y.norm())
        except Exception as error:
            result["failed"].append({"name": maker.name, "reason": f"{type(error).__name__}: {error}"[:500]})
    return result


def warm(workloads, device):
    """Compiles every kernel of the workloads' own sizes, which Triton keeps on the disk."""
    for workload in workloads:
        begin = time.perf_counter()
        contest = Contest(workload, device)
        print(
            f"{workload.name}: {time.perf_counter() - begin:.1f} s, {getattr(contest, 'tuning', {})}"
            + "".join(f"\n  {f['name']}: {f['reason']}" for f in contest.failed), flush=True)
        del contest
        gc.collect()
        if device.is_cuda:
            device.torch.cuda.empty_cache()


def write(path, value):
    if not path:
        return
    place = Path(path)
    temporary = place.with_name(place.name + ".part")
    temporary.write_text(json.dumps(value))
    temporary.replace(place)


def resume(asked, result, ceilings, workload, lost, seconds):
    """Goes on in a new process, with the same workload once more, cautiously. Does not return where there is a file to go on from."""
    print(f"{workload.name}: the GPU's context is lost: {lost}", file=sys.stderr, flush=True)
    if workload.name in result["lost"]:
        result["failed"].append({"name": workload.name, "reason": f"the GPU's context was lost twice: {lost}"})
    result["lost"].append(workload.name)
    result["ceilings"] = ceilings.json()
    write(asked.json, result)
    if not asked.json or seconds < 20:
        return
    words = [
        "--json", asked.json, "--device", asked.device, "--seconds", str(seconds), "--rounds", str(asked.rounds),
        "--sample-seconds", str(asked.sample_seconds), "--resume"]
    words += ["--moe-bench", asked.moe_bench] if asked.moe_bench else []
    words += ["--only", asked.only] if asked.only else []
    words += ["--reduced"] if asked.reduced else []
    os.execv(sys.executable, [sys.executable, os.path.abspath(__file__), *words])


def main():
    asked = arguments()
    begin = time.perf_counter()
    left = lambda: asked.seconds - (time.perf_counter() - begin)
    device = Device(asked.device)
    workloads = [w for w in (REDUCED if asked.reduced else WORKLOADS) if not asked.only or asked.only in w.name]
    if asked.warm:
        return warm(workloads, device)
    result = {
        "schema": SCHEMA, "version": VERSION, "about": device.about, "entries": [], "notRun": [], "failed": [],
        "forward": None, "ceilings": None, "seconds": None, "lost": [],
    }
    ceilings = Ceilings(device)
    if asked.resume:
        result = json.loads(Path(asked.json).read_text())
        ceilings.gemm = result["ceilings"]["gemm"]["nanoseconds"]
        ceilings.copy = result["ceilings"]["copy"]["nanoseconds"]
        done = {e["workload"]["name"] for e in result["entries"]} | {f["name"] for f in result["failed"]}
        workloads = [w for w in workloads if w.name not in done]
    elif asked.moe_bench:
        try:
            result["forward"] = forward_check(asked.moe_bench, device)
        except Exception as error:
            result["failed"].append({"name": "one layer from a file", "reason": f"{type(error).__name__}: {error}"[:500]})
    for index, workload in enumerate(workloads):
        # What is left is shared out evenly; a workload that needs less leaves the rest to those after it.
        share = left() / (len(workloads) - index)
        if left() < 5:
            result["notRun"].append({"name": workload.name, "reason": "out of time"})
            continue
        start, turn = time.perf_counter(), 0.0
        try:
            contest = Contest(workload, device, cautious=workload.name in result["lost"])
            for number in range(asked.rounds):
                used = time.perf_counter() - start
                if number and (used + turn > share or turn > left()):
                    break
                if asked.moe_bench:
                    contest.ours.append(contest.run_ours(asked.moe_bench, max(5.0, min(60.0, left()))))
                contest.round(ceilings, asked.sample_seconds)
                turn = time.perf_counter() - start - used
            contest.finish()
            result["entries"].append(contest.json())
            result["ceilings"] = ceilings.json()
            result["seconds"] = time.perf_counter() - begin
            write(asked.json, result)
            said = ", ".join(
                f"{r.name} {statistics.median(r.nanoseconds) * 1e-6:.4g} ms (error {r.error:.1e})" for r in contest.rivals)
            print(f"{workload.name}: {len(contest.rounds)} rounds, {time.perf_counter() - start:.1f} s: {said}", flush=True)
            for failed in contest.failed:
                print(f"  {failed['name']}: {failed['reason']}", flush=True)
            del contest
        except Exception as error:  # out of memory, say: the next workload may fit
            try:
                device.check_alive(error)
            except ContextLost as lost:
                resume(asked, result, ceilings, workload, lost, left())
            result["failed"].append({"name": workload.name, "reason": f"{type(error).__name__}: {error}"[:500]})
            print(f"{workload.name}: {error}", file=sys.stderr, flush=True)
        gc.collect()
        if device.is_cuda:
            device.torch.cuda.empty_cache()
    result["ceilings"] = ceilings.json()
    result["seconds"] = time.perf_counter() - begin
    write(asked.json, result)
    bad = result["failed"] or result["notRun"] or any(e["failed"] for e in result["entries"])
    bad = bad or (result["forward"] or {}).get("failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
