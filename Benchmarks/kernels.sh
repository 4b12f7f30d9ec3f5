#!/usr/bin/env bash
# The image of the CUDA kernels.
#
#   kernels.sh build    compiles the kernels into Sources/CMoECUDA/kernels/kernels.fatbin and checks its machine code
#   kernels.sh check    compiles them afresh, compares the bytes with the checked-in image, and checks the machine code
#
# Needs the compiler that Benchmarks/cuda-toolchain.sh fetches (CUDA_HOME). The image holds machine code for sm_80 and
# sm_90a, and PTX for newer chips. It has the same bytes on every machine: the compiler is pinned, paths are relative,
# and there is no debug information. What each kernel has to look like is in kernels/machine_code.txt.
set -euo pipefail

mode="${1:-}"
case "$mode" in build | check) ;; *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;; esac

root="$(cd "$(dirname "$0")/.." && pwd)"
kernels="$root/Sources/CMoECUDA/kernels"
image="$kernels/kernels.fatbin"
tools="${CUDA_HOME:?set it: eval \"\$(Benchmarks/cuda-toolchain.sh DIR)\"}/bin"
version='V13.0.88'
"$tools/nvcc" --version | grep -qF "$version" || { echo "kernels.sh: $tools/nvcc is not $version" >&2; exit 1; }

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

architectures=(-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a)
options=(-O3 -std=c++20 -Werror all-warnings -Xptxas -v -fatbin -compress-mode=size -t 2)

compile() { # source, output, resources; further options
    local source="$1" output="$2" log="$3"
    shift 3
    # From inside the folder, so that no path of this machine reaches the output.
    (cd "$kernels" && env -u CPATH -u NVCC_APPEND_FLAGS -u NVCC_PREPEND_FLAGS \
        "$tools/nvcc" "${options[@]}" "${architectures[@]}" "$@" "$source" -o "$output") 2>"$log" || {
        cat "$log" >&2
        exit 1
    }
}

compile all.cu "$scratch/kernels.fatbin" "$scratch/image.log" -gencode arch=compute_80,code=compute_80

# The exercise of the wrappers is for the tests on the host; here it shows that each wrapper assembles to its instruction.
printf '#include "instructions.h"\n#include "exercise.cuh"\n' >"$scratch/exercise.cu"
compile "$scratch/exercise.cu" "$scratch/exercise.fatbin" "$scratch/exercise.log" \
    -I "$kernels" -I "$root/Tests/CUDAKernels"

for part in image exercise; do
    file="$scratch/$part.fatbin"
    [ "$part" = image ] && file="$scratch/kernels.fatbin"
    "$tools/cuobjdump" -sass "$file" >"$scratch/$part.sass"
done

awk '
    function fail(text) { print "kernels.sh: " text > "/dev/stderr"; failures++ }
    function matches(name, pattern) { gsub(/\*/, ".*", pattern); return name ~ "^" pattern "$" }
    # The table of what is expected.
    FILENAME ~ /machine_code\.txt$/ {
        if ($0 ~ /^#/ || NF == 0) next
        patterns++
        pattern[patterns] = $1; kind[patterns] = $2
        wanted[patterns] = ""
        for (i = 3; i <= NF; i++) wanted[patterns] = wanted[patterns] " " $i
        next
    }
    # What ptxas says of a kernel: its name, its stack and spills, its registers, in this order.
    FILENAME ~ /\.log$/ {
        if ($0 ~ /Compiling entry function/) {
            split($0, quoted, "\047")
            key = quoted[2] " " quoted[4]
            order[++count] = key
        } else if ($0 ~ /bytes stack frame/) {
            stack[key] = $1; stores[key] = $5; loads[key] = $9
        } else if ($0 ~ /Used [0-9]+ registers/) {
            match($0, /Used [0-9]+ registers/)
            registers[key] = substr($0, RSTART + 5, RLENGTH - 15)
        }
        next
    }
    # Machine code: the first word after the address (and the predicate) is the instruction.
    /^arch = / { arch = $3 }
    /Function : / { key = $3 " " arch }
    /^[ \t]*\/\*[0-9a-f]+\*\// {
        line = $0
        sub(/^[ \t]*\/\*[0-9a-f]+\*\/[ \t]*/, "", line)
        sub(/^@!?U?P[0-9T]+[ \t]+/, "", line)
        split(line, words, /[ \t;]/)
        code[key] = code[key] " " words[1]
        lines[key]++
    }
    END {
        printf "%-36s %-8s %9s %6s %13s %13s\n", "kernel", "for", "registers", "stack", "spilled bytes", "instructions"
        for (i = 1; i <= count; i++) {
            key = order[i]
            split(key, part, " ")
            printf "%-36s %-8s %9d %6d %13d %13d\n", part[1], part[2], registers[key], stack[key], stores[key] + loads[key], \
                lines[key]
            if (!(key in stack) || !(key in registers) || !(key in lines)) fail("nothing known of " key)
            found = 0
            for (p = 1; p <= patterns; p++) {
                if (!matches(part[1], pattern[p])) continue
                found = 1; used[p] = 1
                if (kind[p] == "main" && stack[key] + stores[key] + loads[key] > 0) fail(key " spills, or has local memory")
                n = split(wanted[p], instructions, " ")
                for (j = 1; j <= n; j++) {
                    # Alternatives are for names that differ between architectures.
                    present = 0
                    m = split(instructions[j], alternatives, "|")
                    for (a = 1; a <= m; a++) if (index(code[key] " ", " " alternatives[a])) present = 1
                    if (!present) fail(key " has no " instructions[j])
                }
            }
            if (!found) fail(part[1] " is not in machine_code.txt")
        }
        for (p = 1; p <= patterns; p++) if (!used[p]) fail("no kernel is named " pattern[p] ", which machine_code.txt lists")
        if (count == 0) fail("no kernel was compiled")
        exit failures > 0
    }
' "$kernels/machine_code.txt" "$scratch/image.log" "$scratch/exercise.log" "$scratch/image.sass" "$scratch/exercise.sass"

if [ "$mode" = build ]; then
    # In one step: a build that reads the image never sees half of it.
    cp "$scratch/kernels.fatbin" "$image.new"
    mv "$image.new" "$image"
    echo "wrote ${image#"$root"/}, $(wc -c <"$image") bytes"
elif cmp "$scratch/kernels.fatbin" "$image"; then
    echo "kernels.fatbin matches its sources"
else
    echo "kernels.sh: the image is not what its sources give: run Benchmarks/kernels.sh build" >&2
    exit 1
fi
