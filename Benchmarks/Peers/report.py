#!/usr/bin/env python3
"""Puts what the steps of gpu.sh left in one results file and a short table. Standard library only.

    python3 report.py WORK OUT    reads WORK, writes OUT/results.json and OUT/table.md, prints the table
"""
import json
import statistics
import sys
import time
from pathlib import Path

from workloads import FLOORS, WORKLOADS, Workload

SCHEMA, VERSION = "moe gpu results", 1
LAYER, GRAPH = "whole layer", "whole layer, CUDA graph"


def load(path):
    """A file of JSON; None where there is none, or only a part of one."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def text(path, last=20_000):
    try:
        return path.read_text(errors="replace")[-last:]
    except OSError:
        return ""


def steps(work):
    """[{name, status, exit, seconds, limit}] in the order they were taken."""
    found = []
    for line in text(work / "steps.tsv").splitlines():
        name, status, code, seconds, limit = line.split("\t")
        found.append(
            {"name": name, "status": status, "exit": int(code), "seconds": int(seconds), "limit": int(limit)})
    return found


def milliseconds(nanoseconds):
    return statistics.median(nanoseconds) * 1e-6


def measurements(results):
    """(entry, name, nanoseconds) of a results file of moe-bench."""
    for entry in (results or {}).get("entries", []):
        for measurement in entry["measurements"]:
            yield entry, measurement["subject"]["name"], measurement["nanoseconds"]


def ours(workload, table, peer):
    """What moe-bench measured: in turns with rivals where it was, else alone."""
    interleaved = [run["results"] for run in (peer or {}).get("ours", []) if run.get("results")]
    for files, where in ((interleaved, "in turns with rivals"), ([table] if table else [], "alone")):
        samples, rounds, touched, entry = {}, {}, None, None
        for file in files:
            for entry_here, name, nanoseconds in measurements(file):
                if name in (LAYER, GRAPH) and workload.matches(entry_here["workload"]):
                    samples.setdefault(name, []).extend(nanoseconds)
                    rounds.setdefault(name, []).append(milliseconds(nanoseconds))
                    entry = entry_here
        if not samples:
            continue
        work = next(m["work"] for m in entry["measurements"] if m["subject"]["name"] in samples)
        name = GRAPH if GRAPH in samples else LAYER
        return {
            "name": name, "where": where, "milliseconds": milliseconds(samples[name]), "rounds": rounds[name],
            "all": {n: milliseconds(s) for n, s in samples.items()}, "flops": work["flops"], "bytes": work["bytes"],
        }
    return None


def first_call(workload, table, peer):
    """Seconds of a process's first call on the workload, workspace and all."""
    files = [run["results"] for run in (peer or {}).get("ours", []) if run.get("results")] + ([table] if table else [])
    for file in files:
        for entry in file["entries"]:
            if workload.matches(entry["workload"]) and entry.get("firstCall") is not None:
                return entry["firstCall"]
    return None


def rate(series):
    """Work a second of a series of a results file."""
    return statistics.median(w / max(t, 1) for w, t in zip(series["work"], series["nanoseconds"])) * 1e9


def own_ceilings(table):
    """What moe-bench measured beside its bf16 layers, in the middle of its workloads; None where it measured nothing.

    The product is the faster of its own GEMM and of products in registers: a library's GEMM, which floors are meant for, may be faster
    than its own."""
    found = [e["ceilings"] for e in (table or {}).get("entries", []) if e["workload"].get("weightType") == "bf16"]
    found = [c for c in found if c.get("copies") and c.get("multiplyAdd")]
    if not found:
        return None
    middle = lambda rates: statistics.median(rates) if rates else None
    registers = middle([rate(c["multiplyAdd"]) for c in found])
    gemms = [c["gemm"] for c in found if c.get("gemm")]
    own = middle([rate(g["series"]) for g in gemms])
    copy = middle([rate(max(c["copies"], key=lambda read: read["bufferBytes"])["series"]) for c in found])
    size = "×".join(str(gemms[0][side]) for side in ("rows", "columns", "depth")) if gemms else None
    return {
        "of": "moe-bench", "gemm": max(registers, own or 0), "copy": copy, "registers": registers, "ownGEMM": own, "size": size}


def ceilings(peers, table):
    """FLOP/s and bytes/s, and whose: torch's where it ran, else moe-bench's own; None without either."""
    found = (peers or {}).get("ceilings")
    if not found or not found["gemm"]["nanoseconds"]:
        return own_ceilings(table)
    gemm = found["gemm"]["flops"] / statistics.median(found["gemm"]["nanoseconds"]) * 1e9
    copy = found["copy"]["bytes"] / statistics.median(found["copy"]["nanoseconds"]) * 1e9
    return {"of": "torch", "gemm": gemm, "copy": copy}


def row(workload, table, peers, ceiling):
    peer = next(
        (e for e in (peers or {}).get("entries", []) if Workload(**e["workload"]) == workload), None)
    floor = FLOORS.get(workload.name)
    result = {
        "workload": workload.json(), "floor": str(floor) if floor else None, "met": None, "ours": ours(workload, table, peer),
        "firstCall": first_call(workload, table, peer), "sameNumbers": (peer or {}).get("sameNumbers"), "rivals": [],
        "gemmShare": None, "copyShare": None, "tokensPerSecond": None,
    }
    mine = result["ours"]
    if mine:
        seconds = mine["milliseconds"] * 1e-3
        result["tokensPerSecond"] = workload.tokens / seconds
        result["teraflops"] = mine["flops"] / seconds * 1e-12
        if ceiling:
            result["gemmShare"] = mine["flops"] / seconds / ceiling["gemm"]
            result["copyShare"] = mine["bytes"] / seconds / ceiling["copy"]
        if floor:
            reached = {
                "GEMM": result["gemmShare"], "copy": result["copyShare"], "tokens": result["tokensPerSecond"],
            }[floor.kind]
            result["met"] = None if reached is None else reached >= floor.least
    for rival in (peer or {}).get("rivals", []):
        time_of = milliseconds(rival["nanoseconds"])
        result["rivals"].append(
            {
                "name": rival["name"], "milliseconds": time_of, "worstError": rival["worstError"],
                "ratio": time_of / mine["milliseconds"] if mine else None,
            })
    result["failedRivals"] = (peer or {}).get("failed", [])
    return result


def failures(done, work, table, peers):
    """Everything that went wrong, a line each."""
    lines = [f"{s['name']}: {s['status']}" + (f", exit {s['exit']}" if s["exit"] else "") for s in done if s["status"] != "passed"]
    for name in ("selftest-cuda", "selftest-cpu"):
        lines += [f"{name}: {line}" for line in text(work / f"{name}.log").splitlines() if line.startswith("FAILED")][:10]
    for entry in (table or {}).get("entries", []):
        lines += [f"{entry['workload']['name']}, {f['name']}: {f['reason']}" for f in entry["failed"]]
    for entry in (peers or {}).get("entries", []):
        name = entry["workload"]["name"]
        lines += [f"{name}, {f['name']}: {f['reason']}" for f in entry["failed"]]
        lines += [f"{name}, moe-bench: {run['failure']}" for run in entry["ours"] if run.get("failure")]
        same = entry.get("sameNumbers") or {}
        lines += [f"{name}: {what} are not moe-bench's" for what, is_same in same.items() if is_same is False]
    lines += [f"{name}: a rival lost the GPU's context" for name in (peers or {}).get("lost", [])]
    for kind in ("failed", "notRun"):
        lines += [f"{f['name']}: {f['reason']}" for f in (peers or {}).get(kind, [])]
    forward = (peers or {}).get("forward") or {}
    lines += [f"one layer from a file, {f['name']}: {f['reason']}" for f in forward.get("failed", [])]
    return [" ".join(line.split())[:300] for line in lines]


def scaling(work):
    """Medians of the whole layer on the processor by threads."""
    found = []
    for path in sorted(work.glob("cpu-*.json")):
        for entry, name, nanoseconds in measurements(load(path)):
            if name == LAYER:
                found.append(
                    {
                        "file": path.stem, "threads": entry["threads"], "instructionSet": entry["instructionSet"],
                        "dtype": path.stem.split("-")[1], "milliseconds": milliseconds(nanoseconds),
                    })
    return sorted(found, key=lambda f: (f["dtype"], f["threads"]))


def cells(values):
    return "| " + " | ".join(values) + " |"


def percent(share):
    return "–" if share is None else f"{share:.1%}"


def number(value):
    return f"{value:.4g}"


def markdown(rows, ceiling, done, wrong, cpu, forward, about):
    lines = ["## GPU", ""]
    if about:
        lines += [about, ""]
    if ceiling and ceiling["of"] == "torch":
        lines += [
            f"Ceilings of torch in this run: product {ceiling['gemm'] * 1e-12:.0f} TFLOP/s (8192³, bf16), copy "
            f"{ceiling['copy'] * 1e-12:.2f} TB/s (read and written).", ""]
    elif ceiling:
        own = f"{ceiling['ownGEMM'] * 1e-12:.0f} TFLOP/s ({ceiling['size']})" if ceiling["ownGEMM"] else "not measured"
        lines += [
            f"Ceilings of moe-bench itself in this run, as there is no torch: bf16 products in registers "
            f"{ceiling['registers'] * 1e-12:.0f} TFLOP/s, its own GEMM {own}, copy {ceiling['copy'] * 1e-12:.2f} TB/s (read and "
            "written). Shares of GEMM are of the faster of the first two; cuBLAS may be faster still.", ""]
    heads = [
        "workload", "ms", "M tokens/s", "TFLOP/s", "of GEMM", "of copy", "floor", "", "first call, ms", "same numbers"]
    lines += [cells(heads), cells(["---"] * len(heads))]
    for r in rows:
        mine, same = r["ours"], r["sameNumbers"] or {}
        told = [what for what, is_same in same.items() if is_same]
        verdict = {True: "met", False: "**missed**", None: "not measured"}[r["met"]]
        if r["met"] is not None and ceiling and ceiling["of"] != "torch" and FLOORS[r["workload"]["name"]].kind != "tokens":
            verdict += ", by its own ceilings"
        if mine is None:
            lines.append(cells([r["workload"]["name"]] + ["–"] * 5 + [r["floor"] or "–", verdict, "–", "–"]))
            continue
        lines.append(cells([
            r["workload"]["name"] + (", graph" if mine["name"] == GRAPH else ""),
            number(mine["milliseconds"]) + ("" if mine["where"] != "alone" else " (alone)"),
            number(r["tokensPerSecond"] * 1e-6), number(r["teraflops"]), percent(r["gemmShare"]), percent(r["copyShare"]),
            r["floor"] or "–", verdict, number(r["firstCall"] * 1e3) if r["firstCall"] is not None else "–",
            " and ".join(told) or "not compared"]))
    names = []
    for r in rows:
        names += [rival["name"] for rival in r["rivals"] if rival["name"] not in names]
    if names:
        lines += ["", "Rivals in turns with it, ms (times its time; above 1 it is the faster):", ""]
        lines += [cells(["workload"] + names), cells(["---"] * (len(names) + 1))]
        for r in rows:
            by_name = {rival["name"]: rival for rival in r["rivals"]}
            lines.append(cells([r["workload"]["name"]] + [
                "–" if n not in by_name else number(by_name[n]["milliseconds"])
                + (f" ({by_name[n]['ratio']:.2f})" if by_name[n]["ratio"] else "")
                for n in names]))
    if forward and forward.get("errors"):
        errors = ", ".join(f"{n} {e:.1e}" for n, e in forward["errors"].items())
        lines += ["", f"One layer from a file, largest relative error of a token against float64: {errors}."]
    if cpu:
        lines += ["", "Processor, " + "; ".join(
            f"{c['dtype']} {c['threads']} threads {number(c['milliseconds'])} ms ({c['instructionSet']})" for c in cpu) + "."]
    lines += ["", "Steps: " + ", ".join(f"{s['name']} {s['status']} ({s['seconds']} s)" for s in done) + "."]
    if wrong:
        lines += ["", "What failed or was not run:", ""] + [f"- {line}" for line in wrong]
    return "\n".join(lines) + "\n"


def main(work, out):
    work, out = Path(work), Path(out)
    done, table, peers = steps(work), load(work / "table.json"), load(work / "peers.json")
    ceiling = ceilings(peers, table)
    rows = [row(w, table, peers, ceiling) for w in WORKLOADS]
    wrong, cpu = failures(done, work, table, peers), scaling(work)
    machine = text(work / "machine.log")
    about = next((line for line in machine.splitlines() if "NVIDIA" in line and "," in line), "")
    logs = {path.stem: text(path) for path in sorted(work.glob("*.log"))}
    result = {
        "schema": SCHEMA, "version": VERSION, "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine, "gemmFlops": ceiling and ceiling["gemm"], "copyBytes": ceiling and ceiling["copy"],
        "ceilingsOf": ceiling and ceiling["of"], "steps": done, "failures": wrong, "rows": rows,
        "cpuScaling": cpu, "table": table, "peers": peers,
        "cpuFiles": {path.stem: load(path) for path in sorted(work.glob("cpu-*.json"))}, "logs": logs,
    }
    temporary = out / "results.json.part"
    temporary.write_text(json.dumps(result))
    temporary.replace(out / "results.json")
    words = markdown(rows, ceiling, done, wrong, cpu, (peers or {}).get("forward"), about)
    (out / "table.md").write_text(words)
    print(words, end="")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
