#!/usr/bin/env bash
# Writes Benchmarks/Workloads/*.json into the Swift file that embeds them in moe-bench; a test compares the two.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C # one order of files everywhere
target=Sources/MoEBench/Workloads/EmbeddedWorkloads.swift
{
    echo "// Written by Benchmarks/workloads.sh from Benchmarks/Workloads, for a binary that is carried without them."
    echo
    echo "/// The files of Benchmarks/Workloads, as they are."
    echo "enum EmbeddedWorkloads {"
    echo "    static let files: [String] = ["
    for file in Benchmarks/Workloads/*.json; do
        echo '        #"""'
        sed 's/^/        /' "$file"
        echo '        """#,'
    done
    echo "    ]"
    echo "}"
} >"$target.new"
mv "$target.new" "$target"
