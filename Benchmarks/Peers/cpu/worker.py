#!/usr/bin/env python3
"""One library's layers, alive and asked by moe-bench: a JSON object a line, on standard input and output.

    worker.py LIBRARY FOLDER      numpy, torch, onnxruntime or ggml; FOLDER as in exchange.py

First it says what it is, {"hello": 1, "program": …, "peers": […]}, or {"missing": why}. Then, until standard input ends:

    {"do": "prepare", "peer": P, "output": FILE}             builds the layer, calls it on every batch
        {"nanoseconds": […]}, outputs of all batches, fp32, in FILE; or {"unsupported": why}, {"failed": why}
    {"do": "time", "peer": P, "calls": n, "output": FILE}    one call that is not timed, n that are
        {"nanoseconds": […], "batch": b}, output of the last call, which was on batch b, in FILE
"""
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARIES = ("numpy", "torch", "onnxruntime", "ggml")
# Of calls that only say how long one takes.
WARM_SECONDS = 0.5


def why(error):
    """In one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__


def timed(call, batch):
    begin = time.perf_counter_ns()
    y = call(batch)
    return y, time.perf_counter_ns() - begin


class Worker:
    def __init__(self, library, task):
        self.library, self.task = library, task
        self.layers, self.next, self.kept = {}, {}, {}

    def shared(self, key, make):
        """What several layers hold together, made once."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def write(self, path, outputs):
        """Whole or not at all."""
        beside = path + ".partial"
        with open(beside, "wb") as file:
            for y in outputs:
                file.write(self.library.fp32(y).astype("<f4", copy=False).tobytes())
        os.replace(beside, path)

    def prepare(self, peer, output):
        layer = self.library.PEERS[peer](self.task, self.shared)
        batches = range(len(self.task.inputs))
        self.write(output, (layer(batch) for batch in batches))
        taken, begin = [], time.perf_counter()
        while not taken or len(taken) < len(batches) and time.perf_counter() - begin < WARM_SECONDS:
            taken.append(timed(layer, len(taken))[1])
        self.layers[peer], self.next[peer] = layer, 0
        gc.collect()
        return {"nanoseconds": taken}

    def time(self, peer, calls, output):
        layer, first, count = self.layers[peer], self.next[peer], len(self.task.inputs)
        layer((first - 1) % count)
        taken, batch, y = [], 0, None
        for call in range(first, first + calls):
            batch = call % count
            y, nanoseconds = timed(layer, batch)
            taken.append(nanoseconds)
        self.next[peer] = (first + calls) % count
        self.write(output, [y])
        return {"nanoseconds": taken, "batch": batch}

    def answer(self, request):
        from exchange import Unsupported

        do = request.pop("do")
        try:
            return {"prepare": self.prepare, "time": self.time}[do](**request)
        except Unsupported as error:
            return {"unsupported": str(error)}
        except Exception as error:
            return {"failed": why(error)}


def loaded(name, folder):
    """(worker, hello), or (None, what is missing)."""
    try:
        library = importlib.import_module(f"{name}_peers")
        from exchange import Task
    except ImportError as error:
        return None, {"missing": f"{error} ({sys.executable})"}
    except Exception as error:  # a library that does not start on this machine
        return None, {"missing": why(error)}
    task = Task.read(folder)
    return Worker(library, task), {"hello": 1, "program": library.program(task), "peers": list(library.PEERS)}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in LIBRARIES:
        sys.exit(__doc__)
    # Libraries print where they like; answers alone go to what was standard output.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    try:
        # Where memory runs out, this process is the one to end.
        Path("/proc/self/oom_score_adj").write_text("800")
    except OSError:
        pass
    if sys.platform == "linux":
        # A stopped process hears of nothing; when moe-bench ends without a word the system ends it (PR_SET_PDEATHSIG).
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    gc.disable()
    worker, hello = loaded(*sys.argv[1:])
    print(json.dumps(hello), file=answers)
    if worker is None:
        return
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        pass
