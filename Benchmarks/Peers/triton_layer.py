"""A fused Mixture-of-Experts layer in Triton: choice of experts, a map of tiles made on the device, a first product that gathers tokens
and applies the activation to its sums, a second one that puts each row back to its slot, and a sum over each token's slots."""
import torch
import triton
import triton.language as tl

import moe_layers


@triton.jit(do_not_specialize=["count"])
def choose(logits, experts, weights, count, WIDTH: tl.constexpr, K: tl.constexpr, K_WIDTH: tl.constexpr):
    """One token: its K best experts, and the softmax over them."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, WIDTH)
    choice = tl.arange(0, K_WIDTH)
    value = tl.load(logits + token * count + column, mask=column < count, other=-float("inf"))
    largest = tl.max(value, axis=0)
    weight = tl.zeros([K_WIDTH], tl.float32)
    chosen = tl.zeros([K_WIDTH], tl.int32)
    for i in tl.static_range(K):
        best = tl.max(value, axis=0)
        expert = tl.argmax(value, axis=0)
        weight = tl.where(choice == i, tl.exp(best - largest), weight)
        chosen = tl.where(choice == i, expert, chosen)
        value = tl.where(column == expert, -float("inf"), value)
    weight = weight / tl.sum(weight, axis=0)
    tl.store(experts + token * K + choice, chosen, mask=choice < K)
    tl.store(weights + token * K + choice, weight, mask=choice < K)


@triton.jit(do_not_specialize=["slots", "tiles", "count"])
def map_few(
    experts, order, tile_expert, tile_start, tile_end, slots, tiles, count, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    """For few slots, in one program: each slot's place is the number of slots that come before it."""
    slot = tl.arange(0, WIDTH)
    mine = tl.load(experts + slot, mask=slot < slots, other=count)
    before = mine[None, :] < mine[:, None]
    same = mine[None, :] == mine[:, None]
    ahead = same & (slot[None, :] < slot[:, None])
    rank = tl.sum((before | ahead).to(tl.int32), axis=1)
    within = tl.sum(ahead.to(tl.int32), axis=1)
    size = tl.sum(same.to(tl.int32), axis=1)
    starts = (within % ROWS == 0) & (slot < slots)
    tile = tl.sum(((before | ahead) & starts[None, :]).to(tl.int32), axis=1)
    used = tl.sum(starts.to(tl.int32), axis=0)
    tl.store(order + rank, slot, mask=slot < slots)
    tl.store(tile_expert + tile, mine, mask=starts)
    tl.store(tile_start + tile, rank, mask=starts)
    tl.store(tile_end + tile, rank - within + size, mask=starts)
    tl.store(tile_expert + slot, count, mask=(slot >= used) & (slot < tiles))


@triton.jit
def tile_of(tiles, columns, ROWS_AT_ONCE: tl.constexpr, COLUMNS: tl.constexpr):
    """Walks over tiles so that programs that run together share weights and tokens."""
    blocks = tl.cdiv(columns, COLUMNS)
    program = tl.program_id(0)
    group = program // (ROWS_AT_ONCE * blocks)
    first = group * ROWS_AT_ONCE
    height = tl.minimum(tiles - first, ROWS_AT_ONCE)
    place = program % (ROWS_AT_ONCE * blocks)
    return first + place % height, place // height


@triton.jit(do_not_specialize=["tiles", "count"])
def first_product(
    x, weights, inner, order, tile_expert, tile_start, tile_end, tiles, count, hidden, width,
    K: tl.constexpr, GATED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):
    tile, block = tile_of(tiles, width, 8, COLUMNS)
    expert = tl.load(tile_expert + tile)
    if expert >= count:
        return
    row = tl.load(tile_start + tile) + tl.arange(0, ROWS)
    exists = row < tl.load(tile_end + tile)
    token = tl.load(order + row, mask=exists, other=0) // K
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    depth = tl.arange(0, DEPTH)
    a = x + token.to(tl.int64)[:, None] * hidden + depth[None, :]
    heights = 2 if GATED else 1
    # Past the last column the first one is read and not stored.
    inside = column < width
    read = tl.where(inside, column, 0).to(tl.int64)
    b = weights + expert.to(tl.int64) * heights * width * hidden + read[None, :] * hidden + depth[:, None]
    up = tl.zeros([ROWS, COLUMNS], tl.float32)
    if GATED:
        gate = tl.zeros([ROWS, COLUMNS], tl.float32)
    for _ in range(0, hidden, DEPTH):
        tokens = tl.load(a, mask=exists[:, None], other=0.0)
        if GATED:
            gate = tl.dot(tokens, tl.load(b), gate)
            up = tl.dot(tokens, tl.load(b + width * hidden), up)
        else:
            up = tl.dot(tokens, tl.load(b), up)
        a += DEPTH
        b += DEPTH
    if GATED:
        up = up * gate / (1.0 + tl.exp(-gate))
    else:
        up = tl.maximum(up, 0.0)
    out = inner + row.to(tl.int64)[:, None] * width + column[None, :]
    tl.store(out, up.to(inner.dtype.element_ty), mask=exists[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["tiles", "count"])
def second_product(
    inner, weights, rows, order, tile_expert, tile_start, tile_end, tiles, count, width, hidden,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):
    tile, block = tile_of(tiles, hidden, 8, COLUMNS)
    expert = tl.load(tile_expert + tile)
    if expert >= count:
        return
    row = tl.load(tile_start + tile) + tl.arange(0, ROWS)
    exists = row < tl.load(tile_end + tile)
    slot = tl.load(order + row, mask=exists, other=0)
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < hidden
    depth = tl.arange(0, DEPTH)
    a = inner + row.to(tl.int64)[:, None] * width + depth[None, :]
    read = tl.where(inside, column, 0).to(tl.int64)
    b = weights + expert.to(tl.int64) * hidden * width + read[None, :] * width + depth[:, None]
    sum = tl.zeros([ROWS, COLUMNS], tl.float32)
    for _ in range(0, width, DEPTH):
        sum = tl.dot(tl.load(a, mask=exists[:, None], other=0.0), tl.load(b), sum)
        a += DEPTH
        b += DEPTH
    out = rows + slot.to(tl.int64)[:, None] * hidden + column[None, :]
    tl.store(out, sum.to(rows.dtype.element_ty), mask=exists[:, None] & inside[None, :])


@triton.jit
def add_up(rows, weights, y, hidden, K: tl.constexpr, COLUMNS: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    sum = tl.zeros([COLUMNS], tl.float32)
    for i in tl.static_range(K):
        row = tl.load(rows + (token * K + i) * hidden + column, mask=column < hidden, other=0.0)
        sum += tl.load(weights + token * K + i) * row.to(tl.float32)
    tl.store(y + token * hidden + column, sum.to(y.dtype.element_ty), mask=column < hidden)


class Tile:
    """Rows, columns and depth of a step, and how a program is laid out."""
    def __init__(self, rows, columns, depth, warps, stages):
        self.rows, self.columns, self.depth, self.warps, self.stages = rows, columns, depth, warps, stages

    def __str__(self):
        return f"{self.rows}x{self.columns}x{self.depth}, {self.warps} warps, {self.stages} stages"


# By tokens of an expert. Few, so that all of them are compiled and timed in some seconds.
FEW = [Tile(16, 32, 128, 4, 4), Tile(16, 64, 128, 4, 4), Tile(16, 128, 64, 4, 5)]
SOME = [Tile(16, 64, 128, 4, 4), Tile(16, 128, 64, 4, 5), Tile(32, 128, 64, 4, 4)]
MANY = [Tile(64, 128, 64, 4, 4), Tile(128, 128, 64, 8, 3), Tile(128, 256, 64, 8, 3)]


class TritonLayer:
    name = "Triton fused"
    can_be_graph = True
    # Slots up to which one program makes the map.
    few_slots = 128

    def __init__(self, weights, workload):
        self.w = weights
        slots = workload.tokens * workload.top_k
        touched = min(workload.experts, slots)
        self.candidates = FEW if slots <= self.few_slots else SOME if slots / touched <= 24 else MANY
        hidden, width = workload.hidden, workload.expert_hidden
        # Two sums of 128 x 256 do not fit the registers.
        fits = lambda t: hidden % t.depth == 0 and width % t.depth == 0
        self.candidates = [t for t in self.candidates if fits(t)] or [Tile(16, 32, 32, 4, 2)]
        self.first_tiles = [t for t in self.candidates if not (weights.is_gated and t.columns > 128)]
        # Rows of a tile are the map's, and so the same for both products.
        self.first, self.second = self.first_tiles[0], self.first_tiles[0]
        self.tuned = {}

    def tune(self, batches, time):
        """Takes the fastest pair of tiles, by `time` of calls on all batches: one alone could stay in the cache."""
        best = None
        for first in self.first_tiles:
            for second in [t for t in self.candidates if t.rows == first.rows]:
                self.first, self.second = first, second
                try:
                    seconds = time(lambda: [self(x) for x in batches]) / len(batches)
                except Exception as error:  # a tile that needs more of the GPU than there is
                    self.tuned[f"{first} | {second}"] = str(error).splitlines()[0][:100]
                    continue
                self.tuned[f"{first} | {second}"] = seconds
                if best is None or seconds < best[0]:
                    best = (seconds, first, second)
        if best is None:
            raise RuntimeError(f"no tile works: {self.tuned}")
        _, self.first, self.second = best

    def describe(self):
        return f"first {self.first}; second {self.second}"

    def map(self, experts, slots, rows, device):
        """(order of slots, and for each tile its expert, first row and its expert's last), all on the device."""
        count = self.w.experts
        tiles = min(slots, -(-slots // rows) + min(count, slots))
        if slots <= self.few_slots:
            made = torch.empty(4, max(slots, tiles), dtype=torch.int32, device=device)
            map_few[(1,)](
                experts, made[0], made[1], made[2], made[3], slots, tiles, count, ROWS=rows,
                WIDTH=max(16, triton.next_power_of_2(slots)), num_warps=8)
            return made[0], made[1], made[2], made[3], tiles
        order, counts = moe_layers.sort(experts.long(), count)
        ends = counts.cumsum(0, dtype=torch.int32)
        last = ((counts + rows - 1) // rows).cumsum(0, dtype=torch.int32)
        tile = torch.arange(tiles, dtype=torch.int32, device=device)
        expert = torch.searchsorted(last, tile, right=True).to(torch.int32)
        known = expert.clamp(max=count - 1).long()
        before = last[known] - (counts[known] + rows - 1) // rows
        start = ends[known] - counts[known] + (tile - before) * rows
        return order.to(torch.int32), expert, start.to(torch.int32), ends[known], tiles

    def __call__(self, x):
        w, k = self.w, self.w.top_k
        tokens, hidden = x.shape
        slots, width = tokens * k, w.inner
        new = lambda *shape, dtype=x.dtype: torch.empty(*shape, dtype=dtype, device=x.device)
        experts, weights = new(tokens, k, dtype=torch.int32), new(tokens, k, dtype=torch.float32)
        choose[(tokens,)](
            moe_layers.logits(x, w.router), experts, weights, w.experts, WIDTH=triton.next_power_of_2(w.experts), K=k,
            K_WIDTH=triton.next_power_of_2(k), num_warps=1)
        order, expert, start, end, tiles = self.map(experts, slots, self.first.rows, x.device)
        inner, rows, y = new(slots, width), new(slots, hidden), new(tokens, hidden)
        t = self.first
        first_product[(tiles * triton.cdiv(width, t.columns),)](
            x, w.first, inner, order, expert, start, end, tiles, w.experts, hidden, width, K=k, GATED=w.is_gated,
            ROWS=t.rows, COLUMNS=t.columns, DEPTH=t.depth, num_warps=t.warps, num_stages=t.stages)
        t = self.second
        second_product[(tiles * triton.cdiv(hidden, t.columns),)](
            inner, w.second, rows, order, expert, start, end, tiles, w.experts, width, hidden,
            ROWS=t.rows, COLUMNS=t.columns, DEPTH=t.depth, num_warps=t.warps, num_stages=t.stages)
        block = min(1024, triton.next_power_of_2(hidden))
        add_up[(tokens, triton.cdiv(hidden, block))](rows, weights, y, hidden, K=k, COLUMNS=block)
        return y

