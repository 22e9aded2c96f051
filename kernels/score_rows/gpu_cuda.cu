// The fused pass for NVIDIA GPUs: derive, bin, rules, trees, contributions; compiled at run time by gpu_cuda.py.
//
// score_rows: a warp takes 32 rows, a lane one row. What Triton has no word for makes it fast: memory that a lane indexes.
//   bins           one byte a slot, four slots to a word, words [slots / 4][lane]: a lane stays in its own bank
//   contributions  sums [FEATURES][lane], likewise
//   trees          a chunk of trees at a time in shared memory; the nodes of a level lie side by side, so that the 32 lanes
//                  of a warp meet no bank conflict down to depth 6
// score_few: a block takes one row, its threads take trees, columns, predicates and segments of rules.
//
// A node is one word: (256 - rank) << 23 | feature << 13 | offset of the slot (word << 7 | byte). Adding bin << 23 leaves in
// the top bit whether bin >= rank. Slots hold bins, or bins + 1 mod 256 where a missing value goes left (see TreeTable).
//
// Compile-time numbers: FEATURES, DEPTH (1..8, 0: no forest), TOP, WIDE (sums need more than 32 bits, see KEPT), CUT_DEPTH, FROM_BINS (the rows
// are bins [K, B], and only margins are asked for), HOST_ROW (the one row and its result lie in the host's memory), THREADS (of score_few),
// GROUP (trees that a lane walks at a time), NET (whether the terms of a net, worked out before, are added to the sums of leaves).

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define NODES ((1 << DEPTH) - 1)         // of a tree
#define CHANGES ((2 << DEPTH) - 2)       // of a tree: one for each node but the root
#define LEAVES (1 << DEPTH)
#define VALUES (CONTRIBUTIONS ? CHANGES : LEAVES)
#define SLOT_MASK 0x1f83u
#define FEATURE_MASK (0x3ffu << 13)
#define CONTRIBUTIONS (TOP > 0 && DEPTH > 0)
#define TOLD (FEATURES + NET)            // contributions: the net's stands behind those of the features
#define FULL 0xffffffffu

struct Row {
  float x[FEATURES];
  u32 ticket;
  u8 listed[64];
};

struct Program {
  const Row *row;            // HOST_ROW
  const float *x;            // [B, FEATURES]
  const u8 *listed;          // [B, lists] or null
  const u8 *bins;            // [K, B], FROM_BINS
  const float *cuts;         // [columns rounded up to 4][1 << CUT_DEPTH], search trees in heap order, NaN where there is no cut
  const int *source;         // [columns rounded up to 4]
  const int *derivations;    // [derived][5]
  const int *shifted;        // [shifted_count] columns that trees read as bin + 1
  const int2 *predicates;    // slot offset, low | width << 8
  const int2 *steps;         // RulePlan
  const int2 *segments;
  const int *levels;
  const int *outputs;        // [3][rules]
  const int *nodes;          // [trees][NODES]
  const int *chunks;         // [chunk_count + 1] first tree of each chunk
  const int *rule_block;     // steps, segments, predicates, levels, outputs and shifted, for score_few
  const int *values;         // [trees][CHANGES] value(child) - value(parent); without contributions [trees][LEAVES] values
  float *margin;
  u64 *hit, *insufficient, *error;
  int *top_features;
  float *top_contributions;
  u32 *done;                 // where score_few says that it is done, or null
  const i64 *terms;          // [B], NET
  i64 rows;
  i64 root_sum;
  i64 centre;                // the term from which the net's contribution is told
  double base, step;         // margin = base + sum * step
  int columns, lists, derived, shifted_count, predicate_count, level_count, rules, words, trees, split;
  int chunk_count, chunk_trees, chunk_columns, chunk_bytes, bin_bytes, area_bytes, bins_at, area_at;  // of shared memory
  int rules_at, rule_bytes;                                                                           // likewise, score_few
  int segments_at, predicates_at, levels_at, outputs_at, shifted_at;                                  // in rule_block, words
};

extern __shared__ __align__(1024) char shared[];

__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fffffff); }
__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xff800000); }
__device__ __forceinline__ u32 slot_offset(int slot) { return (slot >> 2) << 7 | (slot & 3); }

__device__ __forceinline__ void stage(char *to, const void *from, int bytes) {  // multiples of 16 bytes
#pragma unroll 4
  for (int i = threadIdx.x * 16; i < bytes; i += blockDim.x * 16) *(int4 *)(to + i) = __ldg((const int4 *)((const char *)from + i));
}

// Each operation is rounded by itself, as in NumPy: no multiply-add.
__device__ __forceinline__ float derive(int op, float a, float b) {
  if (op == 0) return __fadd_rn(a, b);
  if (op == 1) return __fsub_rn(a, b);
  if (op == 2) return __fmul_rn(a, b);
  if (op == 3) return __fdiv_rn(a, b);
  return a != a || b != b ? not_a_number() : (float)((a > b) - (a < b));
}

// 32 words of 32 bits, a word a lane: bit i of lane j goes to bit j of lane i.
__device__ __forceinline__ u32 transpose_bits(u32 word, int lane) {
  u32 mask = 0x0000ffffu;
#pragma unroll
  for (int s = 16; s; s >>= 1) {
    u32 other = __shfl_xor_sync(FULL, word, s);
    word = lane & s ? (word & ~mask) | ((other >> s) & mask) : (word & mask) | ((other & mask) << s);
    mask ^= mask << (s >> 1);
  }
  return word;
}

// ---------------------------------------------------------------------------------------------------------------- rows

// x of 32 rows to tile [feature][row ^ feature % 32]: read in the order of memory, written and read back without conflicts.
__device__ __forceinline__ void load_rows(const Program &g, float *tile, i64 first, int lane) {
  i64 left = (g.rows - first) * FEATURES;
  const float *from = g.x + first * FEATURES;
#if FEATURES % 4 == 0
#pragma unroll 8
  for (int i = lane * 4; i < 32 * FEATURES; i += 128) {
    int row = i / FEATURES, f = i % FEATURES;
    float4 v = i < left ? *(const float4 *)(from + i) : make_float4(0, 0, 0, 0);
    tile[f * 32 + (row ^ (f & 31))] = v.x;
    tile[(f + 1) * 32 + (row ^ ((f + 1) & 31))] = v.y;
    tile[(f + 2) * 32 + (row ^ ((f + 2) & 31))] = v.z;
    tile[(f + 3) * 32 + (row ^ ((f + 3) & 31))] = v.w;
  }
#else
#pragma unroll 4
  for (int i = lane; i < 32 * FEATURES; i += 32) {
    int row = i / FEATURES, f = i % FEATURES;
    tile[f * 32 + (row ^ (f & 31))] = i < left ? from[i] : 0.f;
  }
#endif
}

__device__ __forceinline__ float &cell(float *tile, int column, int lane) { return tile[column * 32 + (lane ^ (column & 31))]; }

__device__ __forceinline__ void derive_columns(const Program &g, float *tile, int lane) {
  for (int d = 0; d < g.derived; d++) {
    const int *step = g.derivations + 5 * d;
    int a = __ldg(step + 1), b = __ldg(step + 2);
    float left = a >= 0 ? cell(tile, a, lane) : __int_as_float(__ldg(step + 3));
    float right = b >= 0 ? cell(tile, b, lane) : __int_as_float(__ldg(step + 4));
    cell(tile, FEATURES + d, lane) = derive(__ldg(step), left, right);
  }
}

// Bins of 4 columns at a time, so that four searches overlap and one word is written.
__device__ __forceinline__ void bin_columns(const Program &g, const float *cuts, float *tile, char *bins, int first, int count, int part, int lane) {
  for (int k = 4 * part; k < count; k += 4 * g.split) {
    float value[4];
    u32 at[4];
#pragma unroll
    for (int j = 0; j < 4; j++) value[j] = cell(tile, __ldg(g.source + first + k + j), lane), at[j] = 1;
#pragma unroll
    for (int level = 0; level < CUT_DEPTH; level++)
#pragma unroll
      for (int j = 0; j < 4; j++) at[j] = 2 * at[j] + (cuts[((k + j) << CUT_DEPTH) + at[j]] <= value[j]);
    u32 word = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) word |= (value[j] != value[j] ? 255u : at[j] - (1u << CUT_DEPTH)) << 8 * j;
    *(u32 *)(bins + (first + k) * 32) = word;
  }
}

__device__ __forceinline__ void sync_group(const Program &g) {
  if (g.split > 1) __syncthreads();
  else __syncwarp();
}

__device__ __forceinline__ void shift_columns(const Program &g, char *bins, int slot) {
  for (int i = 0; i < g.shifted_count; i++)
    *(u8 *)(bins + slot_offset(slot + i)) = *(u8 *)(bins + slot_offset(__ldg(g.shifted + i))) + 1;
}

// --------------------------------------------------------------------------------------------------------------- rules

// One bit a row: words[0] is false, then the predicates, then what the steps store.
__device__ __forceinline__ void test_predicates(const Program &g, const char *bins, u32 *words, int part, int lane) {
  if (part == 0 && lane == 0) words[0] = 0;
  for (int first = 32 * part; first < g.predicate_count; first += 32 * g.split) {
    u32 mine = 0;
    int here = min(32, g.predicate_count - first);
#pragma unroll 8
    for (int i = 0; i < here; i++) {
      int2 predicate = __ldg(g.predicates + first + i);
      u32 byte = *(const u8 *)(bins + predicate.x);
      u32 mask = __ballot_sync(FULL, ((byte - predicate.y) & 255u) < (u32)predicate.y >> 8);
      if (lane == i) mine = mask;
    }
    if (lane < here) words[1 + first + lane] = mine;
  }
}

// Lanes take segments, for all 32 rows.
__device__ __forceinline__ void run_rules(const Program &g, u32 *words, i64 row, int lane) {
  for (int level = 0; level < g.level_count; level++) {
    int last = __ldg(g.levels + level + 1);
    for (int s = __ldg(g.levels + level) + lane; s < last; s += 32) {
      int2 segment = __ldg(g.segments + s);
      u32 accumulator = 0;
      for (int i = segment.x; i < segment.x + segment.y; i++) {
        int2 step = __ldg(g.steps + i);
        u32 value = words[step.x & 0xffffff] ^ (step.x >> 24 & 1 ? FULL : 0);
        int op = step.x >> 25;
        accumulator = op == 0 ? value : op == 1 ? accumulator & value : accumulator | value;
        if (step.y >= 0) words[step.y] = accumulator;
      }
    }
    __syncwarp();
  }
  u64 *out[3] = {g.hit, g.insufficient, g.error};
#pragma unroll
  for (int kind = 0; kind < 3; kind++)
    for (int w = 0; w < g.words; w++) {
      u32 half[2];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        int rule = w * 64 + h * 32 + lane;
        half[h] = transpose_bits(rule < g.rules ? words[__ldg(g.outputs + kind * g.rules + rule)] : 0, lane);
      }
      if (row < g.rows) out[kind][row * g.words + w] = (u64)half[1] << 32 | half[0];
    }
}

// --------------------------------------------------------------------------------------------------------------- trees

#if DEPTH
// A sum is the lane's own, but an atomic add needs no load before it.
__device__ __forceinline__ void add(char *sums, u32 feature, int change) {  // feature in place, see FEATURE_MASK
  atomicAdd((int *)(sums + (feature >> 6)), change);
}

// Where sums may outgrow 32 bits, what is above KEPT bits goes to a second sum of 16 bits, [FEATURES / 2][lane][2] behind the
// first ones, after each chunk. Chunks are cut so that 32 bits hold what one adds; in between a sum may go around.
__device__ __forceinline__ short &high_of(char *sums, int feature) {
  return *(short *)(sums + FEATURES * 128 + (feature >> 1) * 128 + (feature & 1) * 2);
}

__device__ __forceinline__ void carry(char *sums) {
#pragma unroll 4
  for (int f = 0; f < FEATURES; f++) {
    int *low = (int *)(sums + f * 128), sum = *low;
    high_of(sums, f) += sum >> KEPT;
    *low = sum & ((1 << KEPT) - 1);
  }
}

__device__ __forceinline__ i64 sum_of(char *sums, int feature) {
  int low = *(int *)(sums + feature * 128);
  return WIDE ? ((i64)high_of(sums, feature) << KEPT) + low : low;
}

// The trees first, first + 1, .. first + GROUP - 1 of each `stride` trees of a chunk for one row. Without contributions their
// leaves are added up.
__device__ __forceinline__ i64 walk(const char *nodes, const char *values, int first, int stride, int count, u32 bins, char *sums) {
  i64 total = 0;
  nodes += first * NODES * 4, values += first * VALUES * 4;
  for (int t = first; t < count; t += stride) {
    u32 at[GROUP], word[GROUP], byte[GROUP];
#pragma unroll
    for (int j = 0; j < GROUP; j++) at[j] = 0;
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
#pragma unroll
      for (int j = 0; j < GROUP; j++) word[j] = *(const u32 *)(nodes + 4 * (j * NODES + (1 << d) - 1 + at[j]));
#pragma unroll
      for (int j = 0; j < GROUP; j++) byte[j] = *(const u8 *)(shared + (bins | (word[j] & SLOT_MASK)));
#pragma unroll
      for (int j = 0; j < GROUP; j++) at[j] = __funnelshift_l((byte[j] << 23) + word[j], at[j], 1);
#if CONTRIBUTIONS
#pragma unroll
      for (int j = 0; j < GROUP; j++) byte[j] = *(const u32 *)(values + 4 * (j * CHANGES + (2 << d) - 2 + at[j]));
#pragma unroll
      for (int j = 0; j < GROUP; j++) add(sums, word[j] & FEATURE_MASK, byte[j]);
#endif
    }
#if CONTRIBUTIONS
#else
#pragma unroll
    for (int j = 0; j < GROUP; j++) total += *(const int *)(values + 4 * (j * LEAVES + at[j]));
#endif
    nodes += stride * NODES * 4, values += stride * VALUES * 4;
  }
  return total;
}
#endif

__device__ __forceinline__ void stage_trees(const Program &g, int first, int count) {
#if DEPTH
  stage(shared, g.nodes + (i64)first * NODES, count * NODES * 4);
  stage(shared + g.chunk_trees * NODES * 4, g.values + (i64)first * VALUES, count * VALUES * 4);
#endif
}

__device__ __forceinline__ float contribution_of_net(const Program &g, i64 term) {
  return (float)((double)(term - g.centre) * g.step);
}

#if CONTRIBUTIONS
// Keeps the largest, largest first; on a tie the one that came before stays in front.
__device__ __forceinline__ void keep_largest(float *value, int *column, float v, int c) {
  if (!(v > value[TOP - 1])) return;
  bool found = false;  // its place: all behind move one back, those equal to each other too
#pragma unroll
  for (int i = 0; i < TOP; i++) {
    found |= v > value[i];
    if (found) {
      float w = value[i];
      int o = column[i];
      value[i] = v, column[i] = c;
      v = w, c = o;
    }
  }
}

__device__ __forceinline__ i64 write_top(const Program &g, char *sums, i64 row, i64 term) {
  float value[TOP];
  int column[TOP];
  i64 total = 0;
#pragma unroll
  for (int i = 0; i < TOP; i++) value[i] = minus_infinity(), column[i] = -1;
  float step = (float)g.step;
#pragma unroll 4
  for (int f = 0; f < FEATURES; f++) {
    i64 sum = sum_of(sums, f);
    total += sum;
    float v = (WIDE ? (float)sum : (float)(int)sum) * step;  // the product is exact: step is a power of two
    keep_largest(value, column, v, f);
  }
  if (NET) keep_largest(value, column, contribution_of_net(g, term), FEATURES);
  if (row < g.rows) {
#pragma unroll
    for (int i = 0; i < TOP; i++) g.top_features[row * TOP + i] = column[i], g.top_contributions[row * TOP + i] = value[i];
  }
  return total;
}
#endif

__device__ __forceinline__ float margin_of(const Program &g, i64 total) { return (float)(g.base + (double)total * g.step); }

// A block is groups of `split` warps; a group takes 32 rows, and its warps share their columns, predicates and trees. Large
// batches have split 1; in smaller ones more warps a row shorten the way, since they would stand idle otherwise.
extern "C" __global__ void __launch_bounds__(MAX_THREADS, MIN_BLOCKS) score_rows(const __grid_constant__ Program g) {
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = warp / g.split, part = warp % g.split;
  int tile_rows = blockDim.x / g.split;
  u32 bins_at = g.bins_at + group * g.bin_bytes + lane * 4;
  char *bins = shared + bins_at, *area = shared + g.area_at + group * g.area_bytes;
  int padded = (g.columns + 3) & ~3;
  bool staged = false;
  for (i64 tile = blockIdx.x; tile * tile_rows < g.rows; tile += gridDim.x) {
    i64 first = tile * tile_rows + group * 32, row = first + lane;
#if FROM_BINS
#pragma unroll 8
    for (int k = 0; k < g.columns; k++)
      *(u8 *)(bins + slot_offset(k)) = row < g.rows ? __ldg(g.bins + (i64)k * g.rows + row) : 0;
    shift_columns(g, bins, padded + g.lists);
#else
    if (part == 0) {
      load_rows(g, (float *)area, first, lane);
      __syncwarp();
      derive_columns(g, (float *)area, lane);
      for (int i = 0; i < g.lists; i++)
        *(u8 *)(bins + slot_offset(padded + i)) = g.listed && row < g.rows ? g.listed[row * g.lists + i] : 0;
    }
    for (int k = 0; k < padded; k += g.chunk_columns) {
      int count = min(g.chunk_columns, padded - k);
      __syncthreads();
      stage(shared, g.cuts + ((i64)k << CUT_DEPTH), count << (CUT_DEPTH + 2));
      __syncthreads();
      bin_columns(g, (const float *)shared, (float *)area, bins, k, count, part, lane);
    }
    sync_group(g);
    test_predicates(g, bins, (u32 *)area, part, lane);
    if (part == 0) shift_columns(g, bins, padded + g.lists);
    sync_group(g);
    if (part == 0) run_rules(g, (u32 *)area, row, lane);
    sync_group(g);
#endif
#if DEPTH
#if CONTRIBUTIONS
    char *sums = area + lane * 4;
#pragma unroll 8
    for (int f = part; f < FEATURES + (WIDE ? (FEATURES + 1) / 2 : 0); f += g.split) *(int *)(sums + f * 128) = 0;
#else
    char *sums = 0;
#endif
    i64 total = 0;
    for (int c = 0; c < g.chunk_count; c++) {
      int t = __ldg(g.chunks + c), count = __ldg(g.chunks + c + 1) - t;
      if (!staged) {
        __syncthreads();
        stage_trees(g, t, count);
        __syncthreads();
        staged = FROM_BINS && g.chunk_count == 1;  // nothing else needs the place
      }
      total += walk(shared, shared + g.chunk_trees * NODES * 4, part * GROUP, g.split * GROUP, count, bins_at, sums);
      if (WIDE && CONTRIBUTIONS) {
        sync_group(g);
        if (part == 0) carry(sums);
      }
    }
    i64 term = NET && row < g.rows ? __ldg(g.terms + row) : 0;
#if CONTRIBUTIONS
    sync_group(g);
    if (part == 0) total = g.root_sum + write_top(g, sums, row, term);
#endif
    total += term;
    if (part == 0 && row < g.rows) g.margin[row] = margin_of(g, total);
    __syncwarp();
#else
    if (part == 0 && row < g.rows) {
      g.margin[row] = not_a_number();
      for (int i = 0; i < TOP; i++) g.top_features[row * TOP + i] = i, g.top_contributions[row * TOP + i] = 0;
    }
#endif
    if (g.split > 1) __syncthreads();  // before the next rows take the place
  }
}

// ------------------------------------------------------------------------------------------------------------- one row

#if !FROM_BINS
#define WARPS (THREADS / 32)
#define CUTS (1 << CUT_DEPTH)
#define AHEAD 2  // columns of a warp whose cuts are on their way before the row is known

// Copied while other things go on; wait_for_copies and __syncthreads come before the data is read.
__device__ __forceinline__ void copy_ahead(char *to, const void *from, int bytes) {
  u32 place = (u32)__cvta_generic_to_shared(to);
  for (int i = threadIdx.x * 16; i < bytes; i += THREADS * 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place + i), "l"((const char *)from + i) : "memory");
}

__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// A column's cuts, some to each lane; where there is no cut is NaN, which is <= nothing.
struct Cuts {
  float at[(CUTS + 31) / 32];
};

__device__ __forceinline__ Cuts cuts_of(const Program &g, int column, int lane) {
  Cuts cuts;
#pragma unroll
  for (int i = 0; i < (CUTS + 31) / 32; i++) {
    int place = i * 32 + lane;
    cuts.at[i] = place && place < CUTS ? __ldg(g.cuts + ((i64)column << CUT_DEPTH) + place) : not_a_number();
  }
  return cuts;
}

__device__ __forceinline__ u32 bin_of(const Cuts &cuts, float value) {
  u32 count = 0;
#pragma unroll
  for (int i = 0; i < (CUTS + 31) / 32; i++) count += __popc(__ballot_sync(FULL, cuts.at[i] <= value));
  return value != value ? 255 : count;
}

// The rules of one row by one warp, while the others walk trees: lanes take segments.
__device__ __forceinline__ void rules_of_row(const Program &g, const int *rules, u8 *truth, i64 row, int lane) {
  const int2 *steps = (const int2 *)rules, *segments = (const int2 *)(rules + g.segments_at);
  const int *levels = rules + g.levels_at, *outputs = rules + g.outputs_at;
  for (int level = 0; level < g.level_count; level++) {
    for (int s = levels[level] + lane; s < levels[level + 1]; s += 32) {
      int2 segment = segments[s];
      u32 accumulator = 0;
      for (int i = segment.x; i < segment.x + segment.y; i++) {
        int2 step = steps[i];
        u32 value = truth[step.x & 0xffffff] ^ (step.x >> 24 & 1);
        int op = step.x >> 25;
        accumulator = op == 0 ? value : op == 1 ? accumulator & value : accumulator | value;
        if (step.y >= 0) truth[step.y] = accumulator;
      }
    }
    __syncwarp();
  }
  u64 *out[3] = {g.hit, g.insufficient, g.error};
  for (int kind = 0; kind < 3; kind++)
    for (int w = 0; w < g.words; w++) {
      u32 half[2];
      for (int h = 0; h < 2; h++) {
        int rule = w * 64 + h * 32 + lane;
        half[h] = __ballot_sync(FULL, rule < g.rules && truth[outputs[kind * g.rules + rule]]);
      }
      if (lane == 0) out[kind][row * g.words + w] = (u64)half[1] << 32 | half[0];
    }
}

// One tree of one row; its changes go to two sums of halves: neither can overflow, and shared memory adds 32 bits.
__device__ __forceinline__ i64 tree_of_row(const int *nodes, const int *values, const u8 *bins, u32 *low, u32 *high) {
  i64 total = 0;
#if DEPTH
  u32 at = 0, word[DEPTH];
  int change[DEPTH];
#pragma unroll
  for (int d = 0; d < DEPTH; d++) {
    word[d] = __ldg(nodes + (1 << d) - 1 + at);
    at = __funnelshift_l(((u32)bins[word[d] & SLOT_MASK] << 23) + word[d], at, 1);
    if (CONTRIBUTIONS) change[d] = __ldg(values + (2 << d) - 2 + at);
  }
  if (!CONTRIBUTIONS) return __ldg(values + at);
#pragma unroll
  for (int d = 0; d < DEPTH; d++) {
    u32 f = (word[d] & FEATURE_MASK) >> 13;
    atomicAdd(low + f, change[d] & 0xffff);
    atomicAdd(high + f, (u32)(change[d] >> 16));
    total += change[d];
  }
#endif
  return total;
}

extern "C" __global__ void __launch_bounds__(THREADS) score_few(const __grid_constant__ Program g) {
  int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
  i64 row = blockIdx.x;
  int padded = (g.columns + 3) & ~3, shifted_at = padded + g.lists;
  int *rules = (int *)(shared + g.rules_at);
  u8 *bins = (u8 *)(shared + g.bins_at);     // [slots], by slot_offset with lane 0: the nodes' offsets fit as they are
  float *x = (float *)(shared + g.area_at);  // [FEATURES + derived]
  u32 *low = (u32 *)(x + ((FEATURES + g.derived + 3) & ~3)), *high = low + FEATURES;
  float *contribution = (float *)(high + FEATURES);
  u8 *truth = (u8 *)(contribution + TOLD);  // [slots of the rules]
  __shared__ i64 partial[WARPS];
  copy_ahead((char *)rules, g.rule_block, g.rule_bytes);
  Cuts ahead[AHEAD];
  int source[AHEAD];
#pragma unroll
  for (int i = 0; i < AHEAD; i++) {
    int k = warp + i * WARPS;
    if (k < g.columns) ahead[i] = cuts_of(g, k, lane), source[i] = __ldg(g.source + k);
  }
#if HOST_ROW
  for (int f = thread; f < FEATURES; f += THREADS) x[f] = g.row->x[f];
  const u8 *listed = g.row->listed;
  u32 ticket = thread == 0 ? g.row->ticket : 0;
#else
  for (int f = thread; f < FEATURES; f += THREADS) x[f] = g.x[row * FEATURES + f];
  const u8 *listed = g.listed ? g.listed + row * g.lists : 0;
#endif
  for (int f = thread; f < FEATURES; f += THREADS) low[f] = 0, high[f] = 0;
  __syncthreads();
  if (g.derived) {
    if (thread == 0)
      for (int d = 0; d < g.derived; d++) {
        const int *step = g.derivations + 5 * d;
        int a = __ldg(step + 1), b = __ldg(step + 2);
        x[FEATURES + d] = derive(__ldg(step), a >= 0 ? x[a] : __int_as_float(__ldg(step + 3)),
                                 b >= 0 ? x[b] : __int_as_float(__ldg(step + 4)));
      }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < AHEAD; i++) {
    int k = warp + i * WARPS;
    if (k < g.columns) {
      u32 bin = bin_of(ahead[i], x[source[i]]);
      if (lane == 0) bins[slot_offset(k)] = bin;
    }
  }
  for (int k = warp + AHEAD * WARPS; k < g.columns; k += WARPS) {
    u32 bin = bin_of(cuts_of(g, k, lane), x[__ldg(g.source + k)]);
    if (lane == 0) bins[slot_offset(k)] = bin;
  }
  for (int i = thread; i < g.lists; i += THREADS) bins[slot_offset(padded + i)] = listed ? listed[i] : 0;
  wait_for_copies();
  __syncthreads();
  for (int i = thread; i < g.shifted_count; i += THREADS)
    bins[slot_offset(shifted_at + i)] = bins[slot_offset(rules[g.shifted_at + i])] + 1;
  if (thread == 0) truth[0] = 0;
  for (int p = thread; p < g.predicate_count; p += THREADS) {
    int2 predicate = ((const int2 *)(rules + g.predicates_at))[p];
    truth[1 + p] = ((bins[predicate.x] - predicate.y) & 255u) < (u32)predicate.y >> 8;
  }
  __syncthreads();
  i64 total = 0;
  if (warp == 0) {
    rules_of_row(g, rules, truth, row, lane);
  } else if (DEPTH) {
    for (int t = thread - 32; t < g.trees; t += THREADS - 32)
      total += tree_of_row(g.nodes + (i64)t * NODES, g.values + (i64)t * VALUES, bins, low, high);
#pragma unroll
    for (int s = 16; s; s >>= 1) total += __shfl_xor_sync(FULL, total, s);
    if (lane == 0) partial[warp] = total;
  }
  __syncthreads();
#if TOP
  for (int f = thread; f < FEATURES; f += THREADS)
    contribution[f] = DEPTH ? (float)(((i64)(int)high[f] << 16) + low[f]) * (float)g.step : 0.f;
  if (NET && thread == 0) contribution[FEATURES] = contribution_of_net(g, __ldg(g.terms + row));
  __syncthreads();
  for (int f = thread; f < TOLD; f += THREADS) {  // a value's place is how many go before it
    float v = contribution[f];
    int place = 0;
#pragma unroll 8
    for (int o = 0; o < TOLD; o++) place += contribution[o] > v || (contribution[o] == v && o < f);
    if (place < TOP) g.top_features[row * TOP + place] = f, g.top_contributions[row * TOP + place] = v;
  }
#endif
  if (thread == THREADS - 1) {
    i64 sum = (CONTRIBUTIONS ? g.root_sum : 0) + (NET ? __ldg(g.terms + row) : 0);
    for (int w = 1; w < WARPS; w++) sum += partial[w];
    g.margin[row] = DEPTH ? margin_of(g, sum) : not_a_number();
  }
#if HOST_ROW
  __threadfence_system();
  __syncthreads();
  if (thread == 0) *(volatile u32 *)g.done = ticket;
#endif
}
#endif
