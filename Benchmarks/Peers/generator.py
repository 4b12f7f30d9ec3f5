"""The numbers that moe-bench multiplies, made again: weights and inputs are functions of a seed and a place, so that a rival
multiplies exactly the same ones and nothing has to be written to a disk.

The scalar half needs the standard library alone; the tensor half, torch. Both say what `RandomWeights.swift`, `Inputs.swift` and
`Fingerprint.swift` say. Sources: SplitMix64, Steele, Lea and Flood 2014; the 32-bit constants, Wellons 2018.
"""
import struct

GAMMA = 0x9E37_79B9_7F4A_7C15
FIRST, SECOND = 0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB
MASK64, MASK32 = (1 << 64) - 1, (1 << 32) - 1
INPUT_KEY = 0x1A9B_7D3C_55E1_0F42
PROJECTIONS = {"gate": 1, "up": 2, "down": 3}


def signed(value, bits):
    """The number that the same bits are in two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def single(value):
    """Rounded to fp32."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def mix(value):
    """SplitMix64's step and finaliser."""
    z = (value + GAMMA) & MASK64
    z = ((z ^ z >> 30) * FIRST) & MASK64
    z = ((z ^ z >> 27) * SECOND) & MASK64
    return z ^ z >> 31


def router_tag():
    return 1 << 56


def expert_tag(index, projection):
    return 2 << 56 | index << 8 | PROJECTIONS[projection]


def weight_scale(columns):
    """Numbers are up to 2^31 times this."""
    # The root of an fp32 number, taken in fp64 and rounded, is the fp32 root.
    return single(single(single(3 / columns) ** 0.5) * 2.0**-31)


def input_scale():
    return single(single(3.0**0.5) * 2.0**-31)


def weight_row(seed, tag, row, columns):
    """One row of weights in fp32."""
    key = mix((seed ^ mix(tag)) + row & MASK64)
    scale, values = weight_scale(columns), []
    for column in range(columns):
        h = (column * 0x9E37_79B9 + key) & MASK32
        h ^= h >> 16
        h = h * 0x7FEB_352D & MASK32
        h ^= h >> 15 ^ key >> 32
        h = h * 0x846C_A68B & MASK32
        h ^= h >> 16
        values.append(single(single(signed(h, 32)) * scale))
    return values


def input_values(seed, count):
    """The first activations of all batches, in fp32."""
    state, scale = seed ^ INPUT_KEY, input_scale()
    return [
        single(single(signed(mix(state + place * GAMMA & MASK64) >> 32, 32)) * scale) for place in range(count)
    ]


def fingerprint(tokens, hidden, batches):
    """`Inputs.hash`: 16 digits, from each batch's bytes of fp32."""
    state = 0xCBF2_9CE4_8422_2325

    def add(word):
        nonlocal state
        product = (state ^ word) * GAMMA
        state = ((product >> 64 ^ product) + 0x2545_F491_4F6C_DD1D) & MASK64

    add(tokens)
    add(hidden)
    for batch in batches:
        words = len(batch) // 8
        for word in struct.unpack(f"<{words}Q", batch[: words * 8]):
            add(word)
        rest = 0
        for byte in batch[words * 8 :]:
            rest = rest << 8 | byte
        add(rest)
        add(len(batch))
    return f"{state:016x}"


# With torch.


def _shifted(z, places, bits):
    """A shift that brings in zeros."""
    return (z >> places) & ((1 << bits - places) - 1)


def _mixed(z):
    z = z + signed(GAMMA, 64)
    z = (z ^ _shifted(z, 30, 64)) * signed(FIRST, 64)
    z = (z ^ _shifted(z, 27, 64)) * signed(SECOND, 64)
    return z ^ _shifted(z, 31, 64)


def weights(seed, tag, rows, columns, device, dtype=None):
    """[rows, columns] of one tensor; bf16 unless told."""
    import torch

    key = signed(seed ^ mix(tag), 64)
    keys = _mixed(torch.arange(rows, dtype=torch.int64, device=device) + key)
    low, high = keys.to(torch.int32)[:, None], (keys >> 32).to(torch.int32)[:, None]
    h = (torch.arange(columns, dtype=torch.int64, device=device) * 0x9E37_79B9).to(torch.int32) + low
    h ^= _shifted(h, 16, 32)
    h *= 0x7FEB_352D
    h ^= _shifted(h, 15, 32)
    h ^= high
    h *= signed(0x846C_A68B, 32)
    h ^= _shifted(h, 16, 32)
    return (h.to(torch.float32) * weight_scale(columns)).to(dtype or torch.bfloat16)


def inputs(workload, device, dtype=None):
    """[batches, tokens, hidden]; bf16 unless told."""
    import torch

    count = workload.input_batches * workload.tokens * workload.hidden
    z = _mixed(
        torch.arange(count, dtype=torch.int64, device=device) * signed(GAMMA, 64)
        + signed(workload.seed ^ INPUT_KEY, 64))
    x = ((z >> 32).to(torch.int32).to(torch.float32) * input_scale()).to(dtype or torch.bfloat16)
    return x.view(workload.input_batches, workload.tokens, workload.hidden)


def input_hash(x):
    """`inputHash` of a results file, from `inputs`."""
    batches = [batch.float().cpu().contiguous().numpy().tobytes() for batch in x]
    return fingerprint(x.shape[1], x.shape[2], batches)
