#!/usr/bin/env bash
# Everything there is to know of the layer on a GPU, in ten minutes, from a release binary of moe-bench and this repository's files:
# self-tests, the workload table, rivals in turns with it, compute-sanitizer, and the processor's threads. Writes results.json (all
# samples and logs) and table.md into OUT, and prints the table last. Exit status 1 where a self-test did not pass.
#
#   Benchmarks/gpu.sh BINARY [OUT]            OUT is ./gpu-results without it
#   MOE_GPU_SECONDS=300 Benchmarks/gpu.sh …   in less time: what does not fit is listed as not run
#
# Needs a driver; the rivals need python3 with Benchmarks/Peers/requirements.txt. Nothing is downloaded and no setting of the GPU changed.
set -uo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 BINARY [OUT]" >&2
    exit 64
fi
case "$1" in */*) bench="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")" ;; *) bench="$(command -v "$1")" ;; esac
[ -x "$bench" ] || { echo "$0: $1 cannot be run" >&2; exit 64; }
"$bench" info >/dev/null || { echo "$0: $1 does not run here; build it with --static-swift-stdlib to carry it" >&2; exit 64; }
out="${2:-gpu-results}"
mkdir -p "$out" || exit 1
out="$(cd "$out" && pwd)"
peers="$(cd "$(dirname "$0")/Peers" && pwd)"
work="$(mktemp -d)"
warm=""
end() {
    [ -z "$warm" ] || kill "$warm" 2>/dev/null
    rm -rf "$work"
}
trap end EXIT
trap 'exit 143' TERM INT
total="${MOE_GPU_SECONDS:-570}"
# Under the sanitiser, and where torch looks, too.
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

left() { echo $((total - SECONDS)); }

record() { printf '%s\t%s\t%d\t%d\t%d\n' "$@" >>"$work/steps.tsv"; } # name, status, exit, seconds, limit

# Without python3 there is no table, but nothing of what was measured is lost.
report() {
    if command -v python3 >/dev/null; then
        python3 "$peers/report.py" "$work" "$out"
    else
        cp "$work"/steps.tsv "$work"/*.log "$work"/*.json "$out" 2>/dev/null
        echo "there is no python3 to make a table; logs and results are in $out:"
        cut -f 1,2 "$work/steps.tsv"
    fi
}

# step NAME LIMIT RESERVE COMMAND…: at most LIMIT seconds, and none of the last RESERVE; its words go to NAME.log.
step() {
    local name="$1" limit="$2" room status start=$SECONDS code
    room=$(($(left) - $3))
    shift 3
    [ "$limit" -le "$room" ] || limit=$room
    if [ "$limit" -lt 5 ]; then
        record "$name" "not run: no time" 0 0 0
        return 0
    fi
    printf '== %s (at most %d s, %d s left)\n' "$name" "$limit" "$(left)"
    # An interrupt lets moe-bench write what it has.
    timeout -s INT -k 15 "$limit" "$@" >"$work/$name.log" 2>&1
    code=$?
    case $code in
        0) status=passed ;;
        124 | 137) status="stopped after $limit s" ;;
        *) status=failed ;;
    esac
    tail -n 3 "$work/$name.log"
    record "$name" "$status" "$code" $((SECONDS - start)) "$limit"
    report >"$work/report.txt" 2>&1 || cat "$work/report.txt"
    [ "$code" -eq 0 ]
}

skip() { record "$1" "not run: $2" 0 0 0; }

# torch's own runtime library, where the loader finds none.
if ! "$bench" info 2>/dev/null | grep -q '^CUDA .*runtime 1'; then
    for library in "${CUDA_HOME:-/usr/local/cuda}"/lib64/libcudart.so.1[23] \
        "$(dirname "$(command -v nvcc || echo /nowhere/bin/nvcc)")"/../lib64/libcudart.so.1[23] \
        $(python3 -c 'import glob, nvidia
for place in nvidia.__path__:
    print(*sorted(glob.glob(place + "/**/libcudart.so.1[23]", recursive=True), reverse=True), sep="\n")' 2>/dev/null); do
        if [ -e "$library" ]; then
            export MOE_CUDART="$library"
            break
        fi
    done
fi

machine() {
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit,temperature.gpu --format=csv,noheader
    local code=$?
    uname -srm
    grep -m1 'model name' /proc/cpuinfo
    nproc
    [ -z "${MOE_CUDART:-}" ] || echo "MOE_CUDART=$MOE_CUDART"
    "$bench" info && return $code
}
export -f machine
export bench
step machine 20 0 bash -c machine

has_torch=""
timeout 60 python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>"$work/torch.log" && has_torch=yes

# While nothing is timed, rivals compile.
if [ -n "$has_torch" ]; then
    timeout -k 5 110 python3 "$peers/run_peers.py" --warm >"$work/warm.log" 2>&1 &
    warm=$!
    warm_start=$SECONDS
fi
passed=yes
step selftest-cuda 120 60 "$bench" selftest --device cuda || passed=""
step selftest-cpu 60 60 "$bench" selftest || passed=""
grep -q 'not run' <(grep '^selftest' "$work/steps.tsv") && passed=""
if [ -n "$warm" ]; then
    wait "$warm"
    code=$?
    warm=""
    record compile-rivals "$([ $code -eq 0 ] && echo passed || echo failed)" $code $((SECONDS - warm_start)) 110
    tail -n 20 "$work/warm.log"
fi

step table 150 60 "$bench" --device cuda --json "$work/table.json"

if [ -n "$has_torch" ]; then
    room=$(($(left) - 110))
    [ $room -ge 60 ] || room=$(($(left) - 25))
    [ $room -le 210 ] || room=210
    step rivals $((room + 15)) 5 python3 "$peers/run_peers.py" --moe-bench "$bench" --seconds "$room" --json "$work/peers.json"
else
    command -v python3 >/dev/null && skip rivals "python3 has no torch that finds a GPU" || skip rivals "there is no python3"
fi

# The sanitiser slows kernels down many times, so each tool looks at the quick self-test, in which every kernel runs at small sizes. The
# tools after it keep some time each.
sanitizer="$(command -v compute-sanitizer || ls -d "${CUDA_HOME:-/usr/local/cuda}"/bin/compute-sanitizer \
    "${CUDA_HOME:-/usr/local/cuda}"/compute-sanitizer/compute-sanitizer 2>/dev/null | head -n 1)"
later=3
for tool in memcheck racecheck synccheck initcheck; do
    if [ -z "$sanitizer" ]; then
        skip "$tool" "there is no compute-sanitizer"
    else
        step "$tool" 60 $((10 + 20 * later)) "$sanitizer" --tool "$tool" --error-exitcode 9 "$bench" selftest --quick --device cuda
    fi
    later=$((later - 1))
done

# What the processor's kernels gain from more threads, in the time that is left, the most threads first; at a size that
# the slow baselines are left out of.
threads=1
while [ $((threads * 2)) -le "$(nproc)" ]; do threads=$((threads * 2)); done
while [ $threads -ge 1 ]; do
    for type in fp32 bf16; do
        step "cpu-$type-$threads" 20 3 "$bench" run --tokens 512 --hidden 1024 --expert-hidden 1024 --experts 32 --top-k 4 \
            --dtype $type --threads $threads --seconds 1 --json "$work/cpu-$type-$(printf %03d $threads).json"
    done
    threads=$((threads / 2))
done

echo
report
[ -n "$passed" ]
