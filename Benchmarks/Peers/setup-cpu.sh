#!/bin/sh
# Makes the Python environment that `moe-bench compare-peers` finds by itself: setup-cpu.sh [DIR]
#
# pip takes packages from where it is set up to. Its usual torch for Linux brings CUDA along, 3 GB that are not used here; where
# PIP_EXTRA_INDEX_URL leads to PyTorch's builds for processors, MOE_PEERS_TORCH=torch==2.15.0+cpu takes one of those.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
folder="${1:-$here/cpu/.venv}"
if [ -x "$folder/bin/python" ]; then :; else "${PYTHON:-python3}" -m venv "$folder"; fi
"$folder/bin/python" -m pip install --quiet --requirement "$here/requirements-cpu.txt" ${MOE_PEERS_TORCH:+"$MOE_PEERS_TORCH"}
"$folder/bin/python" - <<'END'
import numpy, onnxruntime, torch
print(f"numpy {numpy.__version__}, torch {torch.__version__}, onnxruntime {onnxruntime.__version__}")
END
echo "moe-bench compare-peers --python $folder/bin/python"
