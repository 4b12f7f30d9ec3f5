"""The GPU's workloads, as `moe-bench --device cuda` measures them, and what the layer has to reach on each. Standard library only."""
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Workload:
    name: str
    tokens: int
    hidden: int
    expert_hidden: int
    experts: int
    top_k: int
    expert: str = "gated"
    activation: str = "silu"
    seed: int = 1

    @property
    def is_gated(self):
        return self.expert == "gated"

    @property
    def input_batches(self):
        """As many as moe-bench rotates over."""
        return 16 if self.tokens <= 8 else 4 if self.tokens < 64 else 1

    @property
    def is_decode(self):
        """Few enough tokens for a step to be launched as a graph."""
        return self.tokens <= 64

    @property
    def expert_elements(self):
        return (3 if self.is_gated else 2) * self.hidden * self.expert_hidden

    def flops(self):
        """Two a multiply-add: router and experts."""
        return 2 * self.tokens * (self.experts * self.hidden + self.top_k * self.expert_elements)

    def bytes(self, touched):
        """Of bf16 weights read once: the router's, and those of so many experts."""
        return 2 * (self.experts * self.hidden + int(touched * self.expert_elements))

    def options(self):
        """For `moe-bench run`."""
        return [
            "--tokens", str(self.tokens), "--hidden", str(self.hidden), "--expert-hidden", str(self.expert_hidden),
            "--experts", str(self.experts), "--top-k", str(self.top_k), "--dtype", "bf16", "--expert", self.expert,
            "--activation", self.activation, "--seed", str(self.seed),
        ]

    def matches(self, entry):
        """Whether a workload of a results file is this one."""
        return entry.get("weightType") == "bf16" and (
            entry["tokens"], entry["hidden"], entry["expertHidden"], entry["experts"], entry["topK"], entry["expert"],
            entry["activation"],
        ) == (self.tokens, self.hidden, self.expert_hidden, self.experts, self.top_k, self.expert, self.activation)

    def json(self):
        return asdict(self)


@dataclass(frozen=True)
class Floor:
    """What is to be reached at least: a part of the GEMM ceiling, a part of the copy ceiling, or tokens a second."""
    kind: str
    least: float

    def __str__(self):
        if self.kind == "tokens":
            return f"{self.least * 1e-6:.1f} M tokens/s"
        return f"{self.least:.0%} of {self.kind}"


# check.py compares this list with the one in Sources/MoEBench/Suites/DefaultSuite.swift.
WORKLOADS = [
    Workload("prefill, 128 experts", 32_768, 2048, 768, 128, 8),
    Workload("few tokens an expert", 256, 2048, 512, 256, 8),
    Workload("decode 1, Mixtral-8x7B", 1, 4096, 14_336, 8, 2),
    Workload("decode 8, Mixtral-8x7B", 8, 4096, 14_336, 8, 2),
    Workload("decode 1, 256 experts", 1, 2048, 512, 256, 8),
    Workload("decode 8, 256 experts", 8, 2048, 512, 256, 8),
    Workload("small, two matrices", 1024, 256, 1024, 4, 2, "plain", "relu"),
    Workload("large, two matrices", 16_384, 2048, 8192, 8, 2, "plain", "relu"),
]

FLOORS = {
    "prefill, 128 experts": Floor("GEMM", 0.32),
    "few tokens an expert": Floor("copy", 0.75),
    "decode 1, Mixtral-8x7B": Floor("copy", 0.75),
    "decode 8, Mixtral-8x7B": Floor("copy", 0.80),
    "decode 1, 256 experts": Floor("copy", 0.35),
    "decode 8, 256 experts": Floor("copy", 0.60),
    "small, two matrices": Floor("tokens", 22.5e6),
    "large, two matrices": Floor("tokens", 1.8e6),
}

# The same kinds of layers at sizes that a processor can multiply and Triton's interpreter can walk through.
REDUCED = [
    Workload("prefill, reduced", 96, 128, 64, 8, 2),
    Workload("decode 1, reduced", 1, 256, 128, 16, 4),
    Workload("decode 8, reduced", 8, 128, 128, 8, 2),
    Workload("plain, reduced", 80, 64, 128, 4, 2, "plain", "relu"),
]
