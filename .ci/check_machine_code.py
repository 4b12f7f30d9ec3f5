#!/usr/bin/env python3
"""Reads the disassembly of a release build.

AVX instructions may stand only in functions of the AVX modules: the linker keeps one body of a generic function that several
modules emit, and it must never be an AVX one on the baseline path. The innermost loops of the register tiles and of decoding must
call nothing and spill nothing, and the full tiles must be there with all their multiply-adds, those over codes with their look-ups.
"""
import re
import subprocess
import sys

instruction = re.compile(r"^\s*([0-9a-f]+):\s+(?:\{\w+\}\s+)?(\S+)\s*(.*)$")
function = re.compile(r"^[0-9a-f]+ <(.*)>:$")
text = subprocess.run(
    ["objdump", "-d", "--no-show-raw-insn", sys.argv[1]], check=True, capture_output=True, text=True
).stdout

functions, body = {}, None
for line in text.splitlines():
    if head := function.match(line):
        body = functions.setdefault(head.group(1), [])
    elif body is not None and (found := instruction.match(line)):
        body.append((int(found.group(1), 16), found.group(2), found.group(3)))

failures = []
largest = {"ymm": 0, "zmm": 0}
lookups = {"ymm": 0, "zmm": 0}
# The most products of bytes, or of pairs, in a loop, by instruction and register.
dots = {("vpmaddubsw", "ymm"): 0, ("vpdpbusd", "ymm"): 0, ("vpdpbusd", "zmm"): 0, ("vdpbf16ps", "zmm"): 0}
# The most multiply-adds of a loop over pairs on AVX2.
pairs = 0
loops = 0
for name, body in functions.items():
    # Mangled names abbreviate repeated parts, but every function of an AVX module names its instruction set.
    avx = re.search(r"AVX(2|512)", name)
    if not avx:
        bad = next((i for i in body if re.search(r"%[yz]mm", i[2]) or re.match(r"v[a-z0-9]+$", i[1])
                    and i[1] not in ("verr", "verw")), None)
        if bad:
            failures.append(f"AVX outside the AVX modules: {name}: {bad[1]} {bad[2]}")
        continue
    if not re.search(r"4tile_|residentTile|4rows|onePanel|[cC]odedTile|ByteDotTile|5coded|widenCodes|widenRows|sweep", name):
        continue
    # Backward jumps delimit loops; an innermost one holds no other.
    spans = []
    for address, mnemonic, operands in body:
        if mnemonic.startswith("j") and (target := re.match(r"([0-9a-f]+) <", operands)):
            start = int(target.group(1), 16)
            if body[0][0] <= start <= address:
                spans.append((start, address))
    for start, end in spans:
        if any((s, e) != (start, end) and start <= s and e <= end for s, e in spans):
            continue
        inside = [i for i in body if start <= i[0] <= end]
        fused = [i for i in inside if i[1].startswith("vfmadd") and i[1].endswith("ps")]
        decoded = [i for i in inside if i[1] in ("vpshufb", "vcvtph2ps")]
        products = [i for i in inside if i[1] in ("vpmaddubsw", "vpdpbusd", "vdpbf16ps")]
        for product in products[:1]:
            kind = product[1], "zmm" if "%zmm" in product[2] else "ymm"
            dots[kind] = max(dots[kind], len(products))
        if len(fused) < 2 and len(decoded) < 2 and not products or "vdivps" in {i[1] for i in inside}:
            continue
        width = "zmm" if any("%zmm" in i[2] for i in fused + decoded) else "ymm"
        if len(fused) >= 32:
            lookups[width] = max(lookups[width], sum(i[1] == "vpshufb" for i in decoded))
        largest[width] = max(largest[width], len(fused))
        if "AVX2Pairs" in name and "4tile" in name:
            pairs = max(pairs, len(fused))
        loops += 1
        if any(i[1].startswith("call") for i in inside):
            failures.append(f"a call in a hot loop of {name} at {start:x}")
        # A constant may be read from the stack; a sum that is written there is a spill.
        if any(re.search(r"%[xyz]mm\d+,.*\(%r[sb]p[^)]*\)$", i[2]) for i in inside):
            failures.append(f"a spill in a hot loop of {name} at {start:x}")

if largest["ymm"] < 12:
    failures.append(f"the AVX2 tile of 6 × 16 is missing: its largest loop has {largest['ymm']} multiply-adds, not 12")
if largest["zmm"] < 24:
    failures.append(f"the AVX-512 tile of 12 × 32 is missing: its largest loop has {largest['zmm']} multiply-adds, not 24")
for width, count in lookups.items():
    if count < 16:
        failures.append(f"the tile of one row over four-bit codes is missing: {count} look-ups in {width}, not 16")
# Full tiles: four rows by two vectors of two nibbles, four by two of bytes without signs, twelve by one; twelve by two of pairs.
full = {("vpmaddubsw", "ymm"): 16, ("vpdpbusd", "ymm"): 16, ("vpdpbusd", "zmm"): 24, ("vdpbf16ps", "zmm"): 24}
for (mnemonic, register), wanted in full.items():
    if (found := dots[mnemonic, register]) < wanted:
        failures.append(f"a full tile of bytes or pairs is missing: {found} {mnemonic} in {register}, not {wanted}")
if pairs < 24:
    failures.append(f"the AVX2 tile of pairs of 6 × 16 is missing: its largest loop has {pairs} multiply-adds, not 24")
for failure in failures[:20]:
    print(failure, file=sys.stderr)
print(f"machine code: {len(functions)} functions, {loops} hot loops, {len(failures)} failures")
sys.exit(1 if failures else 0)
