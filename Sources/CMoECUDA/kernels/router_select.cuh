// Selection: from a token's logits to its experts and their weights, in registers.
//
// A team of 8, 16 or 32 lanes has a token: lane l holds the numbers of experts l, l + width, l + 2 · width, …, and slot s of
// the result. Every score is a monotone function of its logit, so without a selection bias experts are compared by logit.
// Ties go to the lower expert.
//
// The formulas are the CPU backend's, operation by operation (MicroKernels, Router/ and Elementary.swift): from equal
// logits its fused instruction sets and the device compute the same bits, but for a norm that is neither of 1 nor of 2. So a
// token with equal logits goes to the same experts on both, even where a bias is added to scores that differ in their last
// bit. Logits that were summed in another order may differ, and with them the experts.

constexpr float highest_logit = 3.40282347e38f;
/// A logit as the router uses it: NaN and -∞ count as the lowest finite number, +∞ as the highest.
DEVICE float usable(float z) {
    z = z > highest_logit ? highest_logit : z;
    return z >= -highest_logit ? z : -highest_logit;
}

DEVICE float sigmoid(float a) { return divide(1.0f, add(1.0f, exponential(add(0.0f, -a)))); }

/// √log(1 + eᵃ), where log(1 + e) = 2 artanh (e / (2 + e)).
DEVICE float sqrt_softplus(float a) {
    const bool negative = a < 0.0f;
    const float e = exponential(negative ? a : add(0.0f, -a));
    const float s = divide(e, add(2.0f, e));
    const float square = multiply(s, s);
    const float p = polynomial(square, 0.0666666667f, 0.0769230769f, 0.0909090909f, 0.111111111f, 0.142857143f, 0.2f,
                               0.333333333f, 1.0f);
    return square_root(add(multiply(add(s, s), p), negative ? 0.0f : a));
}

/// What a softmax needs to know of the set that it is over.
struct SoftmaxSet {
    float highest;
    float reciprocal;
};

DEVICE float score_of(int32_t score, float z, SoftmaxSet set) {
    switch (score) {
    case MC_SCORE_SOFTMAX: return multiply(exponential(add(z, -set.highest)), set.reciprocal);
    case MC_SCORE_SIGMOID: return sigmoid(z);
    case MC_SCORE_SQRT_SOFTPLUS: return sqrt_softplus(z);
    default: return z;
    }
}

/// The lanes that have a token. `held`: numbers a lane holds of a row.
template <unsigned width, unsigned held>
struct Team {
    unsigned lane;   // in the team
    unsigned first;  // lane of the warp that is lane 0 of the team

    DEVICE Team() : lane(lane_index() % width), first(lane_index() / width * width) {}

    DEVICE unsigned expert(unsigned place) const { return place * width + lane; }

    template <class T>
    DEVICE T from(T value, unsigned source) const {
        return warp_shuffle(value, first + source);
    }

    DEVICE uint32_t max(uint32_t value) const {
        if constexpr (width == warp_size) {
            return warp_max(value);
        } else {
            UNROLL
            for (unsigned mask = width / 2; mask > 0; mask /= 2) {
                const uint32_t other = warp_shuffle_xor(value, mask);
                value = other > value ? other : value;
            }
            return value;
        }
    }

    DEVICE uint32_t min(uint32_t value) const { return ~max(~value); }

    /// Σ of a number of each lane. The tree is the CPU backend's: lanes 16 apart, then 8, 4, 2, 1.
    DEVICE float sum(float value) const {
        UNROLL
        for (unsigned mask = width / 2; mask > 0; mask /= 2) value = add(value, warp_shuffle_xor(value, mask));
        return value;
    }

    /// A row of `count` numbers, made usable. Returns the highest.
    DEVICE float load(float (&z)[held], const float *row, unsigned count) const {
        uint32_t best = nothing;
        UNROLL
        for (unsigned i = 0; i < held; i++) {
            z[i] = expert(i) < count ? usable(load_global(row + expert(i))) : -highest_logit;
            const uint32_t key = ordered(z[i]);
            best = key > best ? key : best;
        }
        return unordered(max(best));
    }

    /// Σ exp(z - highest) as the CPU backend adds it: 16 chains, each over every sixteenth number, joined by the tree.
    DEVICE float sum_of_exponentials(const float (&z)[held], unsigned count, float highest) const {
        float chain = 0.0f;
        UNROLL
        for (unsigned i = 0; i < held; i++) {
            const float e = expert(i) < count ? exponential(add(z[i], -highest)) : 0.0f;
            if constexpr (width == 32) {
                // A chain's numbers are in two lanes by turns.
                const float other = warp_shuffle_xor(e, 16);
                chain = add(add(chain, lane < 16 ? e : other), lane < 16 ? other : e);
            } else {
                chain = add(chain, e);
            }
        }
        UNROLL
        for (unsigned mask = width < 16 ? width / 2 : 8; mask > 0; mask /= 2) chain = add(chain, warp_shuffle_xor(chain, mask));
        return chain;
    }

    DEVICE SoftmaxSet softmax_set(int32_t score, const float (&z)[held], unsigned count, float highest) const {
        if (score != MC_SCORE_SOFTMAX) return {highest, 0.0f};
        return {highest, divide(1.0f, sum_of_exponentials(z, count, highest))};
    }

    DEVICE void order(uint32_t (&keys)[held], const float (&values)[held], unsigned count) const {
        UNROLL
        for (unsigned i = 0; i < held; i++) keys[i] = expert(i) < count ? ordered(values[i]) : nothing;
    }

    /// Takes the highest key out. Returns its index: the lowest of several.
    DEVICE unsigned take_best(uint32_t (&keys)[held]) const {
        uint32_t best = keys[0];
        unsigned place = 0;
        UNROLL
        for (unsigned i = 1; i < held; i++) {
            place = keys[i] > best ? i : place;
            best = keys[i] > best ? keys[i] : best;
        }
        const unsigned index = min(best == max(best) ? expert(place) : ~0u);
        UNROLL
        for (unsigned i = 0; i < held; i++) keys[i] = index == expert(i) ? nothing : keys[i];
        return index;
    }

    /// The `count` best, best first. Returns the one of this lane's place.
    DEVICE unsigned best(uint32_t (&keys)[held], unsigned count) const {
        unsigned mine = 0;
        NO_UNROLL
        for (unsigned place = 0; place < count; place++) {
            const unsigned index = take_best(keys);
            mine = lane == place ? index : mine;
        }
        return mine;
    }

    /// Takes out of `keys` all experts but those of the best groups. `ranking`: keys that rank the groups.
    DEVICE void keep_best_groups(uint32_t (&keys)[held], const uint32_t (&ranking)[held], unsigned count, unsigned groups,
                                 unsigned kept, bool by_two) const {
        const unsigned size = count / groups;
        uint32_t ranks[held];
        UNROLL
        for (unsigned i = 0; i < held; i++) ranks[i] = nothing;
        NO_UNROLL
        for (unsigned group = 0; group < groups; group++) {
            const unsigned begin = group * size, end = begin + size;
            uint32_t top = nothing, second = nothing;
            UNROLL
            for (unsigned i = 0; i < held; i++) {
                if (i * width + width <= begin || i * width >= end) continue;
                const uint32_t key = expert(i) >= begin && expert(i) < end ? ranking[i] : nothing;
                const uint32_t lesser = key > top ? top : key;
                top = key > top ? key : top;
                second = lesser > second ? lesser : second;
            }
            const uint32_t highest = max(top);
            float rank = unordered(highest);
            if (by_two) {
                const unsigned owner = min(top == highest ? lane : ~0u);
                const uint32_t next = max(lane == owner ? second : top);
                const float other = next == nothing ? -highest_logit : unordered(next);
                rank = add(rank, other > -highest_logit ? other : -highest_logit);
            }
            UNROLL
            for (unsigned i = 0; i < held; i++) ranks[i] = expert(i) == group ? ordered(rank) : ranks[i];
        }
        uint32_t eligible = 0;
        NO_UNROLL
        for (unsigned place = 0; place < kept; place++) {
            const unsigned begin = take_best(ranks) * size;
            UNROLL
            for (unsigned i = 0; i < held; i++) {
                eligible |= uint32_t(expert(i) >= begin && expert(i) < begin + size) << i;
            }
        }
        UNROLL
        for (unsigned i = 0; i < held; i++) keys[i] = eligible >> i & 1 ? keys[i] : nothing;
    }
};

/// A slot of the result: each lane of a team has one.
struct Slot {
    unsigned expert;
    float weight;
};

/// The best by logit, or by score and bias; and by groups.
template <unsigned width, unsigned held>
DEVICE unsigned choose_best(const mc_select_parameters &p, const Team<width, held> &team, const float (&z)[held],
                            SoftmaxSet set) {
    const unsigned count = unsigned(p.experts);
    const bool by_two = p.selection == MC_SELECT_GROUPS_BY_TOP_TWO;
    const bool grouped = (by_two || p.selection == MC_SELECT_GROUPS_BY_BEST) && p.kept_groups < p.groups;
    uint32_t keys[held];
    team.order(keys, z, count);
    if (p.selection_bias || (grouped && by_two)) {
        float scores[held];
        UNROLL
        for (unsigned i = 0; i < held; i++) {
            scores[i] = score_of(p.score, z[i], set);
            if (p.selection_bias && team.expert(i) < count) {
                scores[i] = add(scores[i], load_global(p.selection_bias + team.expert(i)));
            }
        }
        uint32_t ranking[held];
        team.order(ranking, scores, count);
        if (p.selection_bias) {
            UNROLL
            for (unsigned i = 0; i < held; i++) keys[i] = ranking[i];
        }
        if (grouped) team.keep_best_groups(keys, ranking, count, unsigned(p.groups), unsigned(p.kept_groups), by_two);
    } else if (grouped) {
        team.keep_best_groups(keys, keys, count, unsigned(p.groups), unsigned(p.kept_groups), false);
    }
    return team.best(keys, unsigned(p.slots));
}

/// Two experts. The weight of each is the softmax, at its logit m, over the logits z within (m - z) / max(|z|, m) ≤ 2ε of it;
/// for the second without the first expert.
template <unsigned width, unsigned held>
DEVICE Slot mix_sparsely(const mc_select_parameters &p, const Team<width, held> &team, const float *row,
                         const float (&z)[held]) {
    const unsigned count = unsigned(p.experts);
    uint32_t keys[held];
    team.order(keys, z, count);
    Slot slot{team.best(keys, 2), 0.0f};
    const float logit = usable(load_global(row + slot.expert));
    const unsigned first = team.from(slot.expert, 0);
    NO_UNROLL
    for (unsigned round = 0; round < 2; round++) {
        const float highest = team.from(logit, round);
        float survivors[held];
        UNROLL
        for (unsigned i = 0; i < held; i++) {
            const float magnitude = z[i] < 0.0f ? add(0.0f, -z[i]) : z[i];
            const float distance = divide(add(highest, -z[i]), magnitude > highest ? magnitude : highest);
            // A NaN, zero over zero, stays.
            const bool out = distance > multiply(2.0f, p.mixer_epsilon) || (round == 1 && team.expert(i) == first);
            survivors[i] = out ? -highest_logit : z[i];
        }
        const float sum = team.sum_of_exponentials(survivors, count, highest);
        if (team.lane == round) slot.weight = divide(1.0f, sum);
    }
    return slot;
}

/// The best groups by the upper router's logits, and the best experts within each. A weight is the product of both scores.
template <unsigned width, unsigned held>
DEVICE Slot choose_twice(const mc_select_parameters &p, const Team<width, held> &team, const float *row) {
    const unsigned groups = unsigned(p.groups), kept = unsigned(p.kept_groups);
    const unsigned size = unsigned(p.experts) / groups, each = unsigned(p.slots) / kept;
    float z[held];
    uint32_t keys[held];
    const float highest = team.load(z, row + p.group_column, groups);
    const SoftmaxSet upper = team.softmax_set(p.score, z, groups, highest);
    team.order(keys, z, groups);
    const unsigned group = team.best(keys, kept);
    const float group_score = score_of(p.score, usable(load_global(row + p.group_column + group)), upper);
    Slot slot{0, 0.0f};
    NO_UNROLL
    for (unsigned i = 0; i < kept; i++) {
        const float *inner = row + team.from(group, i) * size;
        const float factor = team.from(group_score, i);
        const float best = team.load(z, inner, size);
        const SoftmaxSet set = team.softmax_set(p.score, z, size, best);
        team.order(keys, z, size);
        const unsigned expert = team.from(team.best(keys, each), team.lane - i * each);
        if (team.lane / each == i) {
            slot.expert = unsigned(inner - row) + expert;
            slot.weight = multiply(score_of(p.score, usable(load_global(inner + expert)), set), factor);
        }
    }
    return slot;
}

/// (Σ |w|^p)^(1/p) in fp64, in the order of the slots.
template <class Team>
DEVICE float norm_of_weights(const Team &team, float weight, unsigned slots, float p) {
    double sum = 0;
    NO_UNROLL
    for (unsigned i = 0; i < slots; i++) {
        const float other = team.from(weight, i);
        const double magnitude = other < 0.0f ? -other : other;
        sum += p == 1.0f ? magnitude : p == 2.0f ? magnitude * magnitude : power_fp64(magnitude, double(p));
    }
    return float(p == 1.0f ? sum : p == 2.0f ? square_root_fp64(sum) : power_fp64(sum, 1 / double(p)));
}

/// Transform and normalisation of a token's weights; lanes without a slot have any weight.
template <unsigned width, unsigned held>
DEVICE float weigh(const mc_select_parameters &p, const Team<width, held> &team, float weight) {
    const bool has_slot = team.lane < unsigned(p.slots);
    if (p.transform == MC_TRANSFORM_SOFTMAX) {
        const float highest = unordered(team.max(has_slot ? ordered(weight) : nothing));
        weight = has_slot ? exponential(add(weight, -highest)) : 0.0f;
        weight = multiply(weight, divide(1.0f, team.sum(weight)));
    } else if (p.transform == MC_TRANSFORM_SIGMOID) {
        weight = sigmoid(weight);
    }
    if (p.normalisation == MC_NORMALISE_NONE) return weight;
    float divisor;
    if (p.normalisation == MC_NORMALISE_NORM) {
        divisor = norm_of_weights(team, weight, unsigned(p.slots), p.normalisation_number);
    } else {
        const float sum = team.sum(has_slot ? weight : 0.0f);
        divisor = p.normalisation == MC_NORMALISE_SUM   ? add(sum, p.normalisation_number)
                  : sum > p.normalisation_number ? sum
                                                        : p.normalisation_number;
    }
    // Divided, not multiplied by the reciprocal: that of a tiny sum is no number.
    return divisor != 0.0f ? divide(weight, divisor) : weight;
}

/// The last factors, within what fp32 has.
DEVICE float scaled(const mc_select_parameters &p, unsigned expert, float weight) {
    if (p.expert_scale) weight = multiply(weight, load_global(p.expert_scale + expert));
    if (p.scale != 1.0f) weight = multiply(weight, p.scale);
    weight = weight > highest_logit ? highest_logit : weight;
    return weight < -highest_logit ? -highest_logit : weight;
}

/// The nearest of 0 to `count` - 1.
DEVICE int32_t within(int32_t number, int32_t count) { return number < 0 ? 0 : number < count ? number : count - 1; }

template <unsigned width, unsigned held>
DEVICE void router_select(const mc_select_parameters &p) {
    const Team<width, held> team;
    const unsigned count = unsigned(p.experts), slots = unsigned(p.slots);
    if (p.block_counts) {
        for (unsigned i = threadIdx.x; i < count; i += blockDim.x) store_shared(i * 4, int32_t(0));
        __syncthreads();
    }
    constexpr int teams = MC_SELECT_THREADS / width, teams_of_warp = warp_size / width;
    const int begin = int(blockIdx.x) * p.chunk, end = begin + p.chunk < p.tokens ? begin + p.chunk : p.tokens;
    // The same number of turns for all lanes of a warp; a team without a token of its own does the last one over.
    for (int start = begin + int(threadIdx.x / warp_size) * teams_of_warp; start < end; start += teams) {
        const int place = start + int(team.first / width);
        const int token = place < end ? place : end - 1;
        const float *row = p.logits + size_t(token) * p.stride;
        float z[held];
        const float highest = team.load(z, row, count);
        Slot slot;
        if (p.selection == MC_SELECT_SPARSE_MIXER) {
            slot = mix_sparsely(p, team, row, z);
        } else if (p.selection == MC_SELECT_HIERARCHICAL) {
            slot = choose_twice(p, team, row);
            slot.weight = weigh(p, team, slot.weight);
        } else {
            const SoftmaxSet set = team.softmax_set(p.score, z, count, highest);
            if (p.selection == MC_SELECT_EVERY) {
                // From memory again: a loop over registers would be a copy of the scores' code for each.
                NO_UNROLL
                for (unsigned expert = team.lane; expert < count && place < end; expert += width) {
                    const float weight = score_of(p.score, usable(load_global(row + expert)), set);
                    store_global(p.chosen + size_t(token) * count + expert, int32_t(expert));
                    store_global(p.weights + size_t(token) * count + expert, scaled(p, expert, weight));
                }
                continue;
            }
            if (p.selection == MC_SELECT_TABLE) {
                // Numbers that came from outside: the host checks them, and none becomes an address outside a tensor.
                const int32_t *listed = p.table + size_t(within(load_global(p.token_ids + token), p.vocabulary)) * slots;
                slot.expert = team.lane < slots ? unsigned(within(load_global(listed + team.lane), p.experts)) : 0;
            } else {
                slot.expert = choose_best(p, team, z, set);
            }
            slot.weight = score_of(p.score, usable(load_global(row + slot.expert)), set);
            slot.weight = weigh(p, team, slot.weight);
        }
        if (team.lane < slots && place < end) {
            store_global(p.chosen + size_t(token) * slots + team.lane, int32_t(slot.expert));
            store_global(p.weights + size_t(token) * slots + team.lane, scaled(p, slot.expert, slot.weight));
            if (p.block_counts) atomic_add_shared(slot.expert * 4, int32_t(1));
        }
    }
    if (p.block_counts) {
        __syncthreads();
        for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
            store_global(p.block_counts + size_t(blockIdx.x) * count + i, load_shared<int32_t>(i * 4));
        }
    }
}

static_assert(MC_MAXIMUM_EXPERTS == 512 && MC_SELECT_SLOTS == warp_size);
#define SELECT_KERNEL(EXPERTS, WIDTH)                                                                                          \
    KERNEL(MC_SELECT_THREADS, 2) router_select_##EXPERTS(const mc_select_parameters p) {                                       \
        router_select<WIDTH, EXPERTS / WIDTH>(p);                                                                              \
    }
SELECT_KERNEL(8, 8)
SELECT_KERNEL(16, 16)
SELECT_KERNEL(32, 32)
SELECT_KERNEL(64, 32)
SELECT_KERNEL(128, 32)
SELECT_KERNEL(256, 32)
SELECT_KERNEL(512, 32)
#undef SELECT_KERNEL
