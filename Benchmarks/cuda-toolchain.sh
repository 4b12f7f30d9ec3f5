#!/usr/bin/env bash
# Puts a pinned CUDA 13.0 compiler, its runtime and its disassemblers (Python wheels, about 250 MB) into a folder, and prints
# the exports that make them used:  eval "$(Benchmarks/cuda-toolchain.sh DIR)"
#
# The version is pinned because the checked-in kernel image is compared byte by byte with a fresh one (kernels.sh check).
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
mkdir -p "$1"
folder="$(cd "$1" && pwd)"
home="$folder/nvidia/cu13"

packages=(
    nvidia-cuda-nvcc==13.0.88       # nvcc, ptxas, fatbinary
    nvidia-nvvm==13.0.88            # cicc, which turns CUDA C++ into PTX
    nvidia-cuda-crt==13.0.88        # headers that nvcc always includes
    nvidia-cuda-runtime==13.0.96    # libcudart and its headers
    nvidia-cuda-cccl==13.0.85       # headers that the runtime's headers include
    nvidia-cuda-cuobjdump==13.2.51
    nvidia-cuda-nvdisasm==13.2.51
)

complete() {
    local tool
    for tool in nvcc ptxas cuobjdump nvdisasm; do
        [ -x "$home/bin/$tool" ] || return 1
    done
    "$home/bin/nvcc" --version | grep -q 'V13\.0\.88' || return 1
}

if ! complete; then
    # One call: a second `pip install --target` into the same folder does not merge packages that share a directory.
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --no-deps --no-compile --only-binary=:all: --upgrade --target "$folder" "${packages[@]}" >&2
    complete || { echo "$0: the compiler is not complete in $home" >&2; exit 1; }
fi

# The runtime's wheel has no name for the linker.
ln -sf libcudart.so.13 "$home/lib/libcudart.so"

printf 'export CUDA_HOME=%q\n' "$home"
printf 'export CPATH=%q\n' "$home/include"
printf 'export LIBRARY_PATH=%q\n' "$home/lib"
