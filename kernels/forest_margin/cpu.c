/* Sums of leaves and what each step of a path changes, on blocks of bins. See kernels/cpu.h for the tables.
 *
 * Trees of up to 63 nodes are evaluated whole, for 64 or more rows at once: the comparison of a node and the choice
 * between what its subtrees gave are two vector instructions, and nothing is gathered. Deeper trees are walked, eight
 * rows at a time.
 */
#include <string.h>

#include "../cpu.h"

#define CHUNK 128 /* trees whose leaves are kept before they are added up; sums of so many bytes fit in 16 bits */

#define PAIR 1
#if HAS_X86
#define TILE(name) avx512_##name
#define FOR_SET FOR_AVX512
#define LANES 64
#define vector __m512i
INLINE FOR_AVX512 __m512i avx512_load(const uint8_t *p) { return _mm512_load_si512(p); }
INLINE FOR_AVX512 void avx512_store(uint8_t *p, __m512i v) { _mm512_store_si512(p, v); }
INLINE FOR_AVX512 __m512i avx512_zero(void) { return _mm512_setzero_si512(); }
INLINE FOR_AVX512 __m512i avx512_spread(uint32_t rank) { return _mm512_set1_epi32((int)rank); }
INLINE FOR_AVX512 __m512i avx512_take_right(__m512i bins, __m512i rank, __m512i left, __m512i right, int step) {
    return _mm512_mask_add_epi8(left, _mm512_cmpge_epu8_mask(bins, rank), right, _mm512_set1_epi8((char)step));
}
#include "tiles.h"
#undef TILE

/* Up to 64 rows. */
#define avx512_few_load avx512_load
#define avx512_few_store avx512_store
#define avx512_few_zero avx512_zero
#define avx512_few_spread avx512_spread
#define avx512_few_take_right avx512_take_right
#undef PAIR
#define PAIR 0
#define TILE(name) avx512_few_##name
#include "tiles.h"
#undef PAIR
#define PAIR 1
#undef TILE
#undef FOR_SET
#undef LANES
#undef vector

#define TILE(name) avx2_##name
#define FOR_SET FOR_AVX2
#define LANES 32
#define vector __m256i
INLINE FOR_AVX2 __m256i avx2_load(const uint8_t *p) { return _mm256_load_si256((const __m256i *)p); }
INLINE FOR_AVX2 void avx2_store(uint8_t *p, __m256i v) { _mm256_store_si256((__m256i *)p, v); }
INLINE FOR_AVX2 __m256i avx2_zero(void) { return _mm256_setzero_si256(); }
INLINE FOR_AVX2 __m256i avx2_spread(uint32_t rank) { return _mm256_set1_epi32((int)rank); }
INLINE FOR_AVX2 __m256i avx2_take_right(__m256i bins, __m256i rank, __m256i left, __m256i right, int step) {
    __m256i goes_right = _mm256_cmpeq_epi8(_mm256_max_epu8(bins, rank), bins);
    return _mm256_blendv_epi8(left, _mm256_add_epi8(right, _mm256_set1_epi8((char)step)), goes_right);
}
#include "tiles.h"
#undef TILE
#undef FOR_SET
#undef LANES
#undef vector
#endif

/* GCC's and Clang's own vectors: SSE2, NEON or whatever the processor is sure to have. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
#define TILE(name) plain_##name
#define FOR_SET
#define LANES 16
#define vector bytes16
INLINE bytes16 plain_load(const uint8_t *p) { return *(const bytes16 *)p; }
INLINE void plain_store(uint8_t *p, bytes16 v) { *(bytes16 *)p = v; }
INLINE bytes16 plain_zero(void) { return (bytes16){0}; }
INLINE bytes16 plain_spread(uint32_t rank) { return (bytes16){0} + (uint8_t)rank; }
INLINE bytes16 plain_take_right(bytes16 bins, bytes16 rank, bytes16 left, bytes16 right, int step) {
    bytes16 goes_right = (bytes16)(bins >= rank);
    return (left & ~goes_right) | ((right + (uint8_t)step) & goes_right);
}
#include "tiles.h"

static void add_leaves(const tile_group *group, int depth, int64_t first, int64_t trees, const uint8_t *leaf, int64_t rows,
                       int64_t *totals) {
    for (int64_t t = 0; t < trees; t++) {
        const int32_t *values = group->values + ((first + t) * 2 + 1) * ((int64_t)1 << depth);
        for (int64_t r = 0; r < rows; r++) totals[r] += values[leaf[t * BLOCK + r]];
    }
}

#if HAS_X86
/* Looks a leaf's four bytes up in registers, and adds bytes of like weight: even and odd rows apart, in 16 bits. */
FOR_AVX512 static void add_leaves_avx512(const tile_group *group, int64_t first, int64_t trees, const uint8_t *leaf,
                                         int64_t rows, int64_t *totals) {
    const __m512i low = _mm512_set1_epi16(255);
    for (int64_t from = 0; from < rows; from += 64) {
        __m512i even[4], odd[4];
        for (int p = 0; p < 4; p++) even[p] = odd[p] = _mm512_setzero_si512();
        for (int64_t t = 0; t < trees; t++) {
            const __m512i at = _mm512_load_si512(leaf + t * BLOCK + from);
            const uint8_t *planes = group->planes + (first + t) * 256;
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++) {
                const __m512i found = _mm512_permutexvar_epi8(at, _mm512_loadu_si512(planes + p * 64));
                even[p] = _mm512_add_epi16(even[p], _mm512_and_si512(found, low));
                odd[p] = _mm512_add_epi16(odd[p], _mm512_srli_epi16(found, 8));
            }
        }
        uint16_t sums[4][2][32] __attribute__((aligned(64)));
        for (int p = 0; p < 4; p++) {
            _mm512_store_si512(sums[p][0], even[p]);
            _mm512_store_si512(sums[p][1], odd[p]);
        }
        const int64_t bias = trees << 31, to = rows - from < 64 ? rows - from : 64;
        for (int64_t r = 0; r < to; r++) {
            int64_t sum = 0;
            for (int p = 0; p < 4; p++) sum += (int64_t)sums[p][r & 1][r >> 1] << (8 * p);
            totals[from + r] += sum - bias;
        }
    }
}
#endif

INLINE void add_path(const uint64_t *path, int depth, int64_t *changes) {
#pragma GCC unroll 6
    for (int step = 0; step < depth; step++) changes[path[step] >> 32] += (int32_t)path[step];
}

/* Some trees and some rows at a time, so that both the paths and the sums stay in the nearest cache. */
INLINE void add_changes_of(const tile_group *group, int depth, int64_t first, int64_t trees, const uint8_t *leaf, int64_t rows,
                           int64_t features, int64_t *changes) {
    const int64_t some = features <= 128 ? 32 : features <= 256 ? 16 : 8;
    for (int64_t t0 = 0; t0 < trees; t0 += 8)
        for (int64_t r0 = 0; r0 < rows; r0 += some) {
            const int64_t t1 = t0 + 8 < trees ? t0 + 8 : trees, r1 = r0 + some < rows ? r0 + some : rows;
            for (int64_t t = t0; t < t1; t++) {
                const uint64_t *paths = group->paths + ((first + t) << depth) * depth;
                for (int64_t r = r0; r < r1; r++) add_path(paths + leaf[t * BLOCK + r] * depth, depth, changes + r * features);
            }
        }
}

/* The depth is a constant in each branch, so that the steps of a path are unrolled. */
#define WITH_CONSTANT_DEPTH(call)                                                                                      \
    switch (depth) {                                                                                                   \
        case 1: call(1); break;                                                                                        \
        case 2: call(2); break;                                                                                        \
        case 3: call(3); break;                                                                                        \
        case 4: call(4); break;                                                                                        \
        case 5: call(5); break;                                                                                        \
        default: call(6); break;                                                                                       \
    }

static void add_changes(const tile_group *group, int depth, int64_t first, int64_t trees, const uint8_t *leaf, int64_t rows,
                        int64_t features, int64_t *changes) {
#define CALL(depth) add_changes_of(group, depth, first, trees, leaf, rows, features, changes)
    WITH_CONSTANT_DEPTH(CALL)
#undef CALL
}

INLINE void add_paths_of(const tile_group *group, int depth, int64_t first, int64_t trees, const uint8_t *leaf, int64_t *changes) {
    const uint64_t *paths[64];
    for (int64_t i = 0; i < trees; i++) {
        paths[i] = group->paths + (((first + i) << depth) + leaf[i]) * depth;
        __builtin_prefetch(paths[i]);
    }
    for (int64_t i = 0; i < trees; i++) add_path(paths[i], depth, changes);
}

/* One row, up to 64 trees. */
static void add_paths(const tile_group *group, int depth, int64_t first, int64_t trees, const uint8_t *leaf, int64_t *changes) {
#define CALL(depth) add_paths_of(group, depth, first, trees, leaf, changes)
    WITH_CONSTANT_DEPTH(CALL)
#undef CALL
}

static void walk_deep(const tree_table *trees, const uint8_t *block, int64_t rows, int64_t *totals, int64_t *changes) {
    const deep_node *nodes = trees->deep;
    for (int64_t t = 0; t < trees->deep_trees; t++) {
        const int32_t root = trees->deep_root[t], depth = trees->deep_depth[t];
        for (int64_t from = 0; from < rows; from += 8) {
            /* Rows past the end are walked too: the block has BLOCK of them. */
            int32_t at[8];
            for (int i = 0; i < 8; i++) at[i] = root;
            for (int32_t level = 0; level < depth; level++)
                for (int i = 0; i < 8; i++) {
                    const deep_node node = nodes[at[i]];
                    const int32_t next = node.left + (block[(int64_t)node.column * BLOCK + from + i] >= node.rank);
                    if (changes && from + i < rows && next != at[i])
                        changes[(from + i) * trees->features + trees->deep_feature[at[i]]] +=
                            (int64_t)trees->deep_value[next] - trees->deep_value[at[i]];
                    at[i] = next;
                }
            for (int i = 0; i < 8 && from + i < rows; i++) totals[from + i] += trees->deep_value[at[i]];
        }
    }
}

void trees_block(const tree_table *trees, const uint8_t *block, int64_t rows, int64_t *totals, int64_t *changes) {
    uint8_t leaf[CHUNK * BLOCK] __attribute__((aligned(64)));
    for (int64_t r = 0; r < rows; r++) totals[r] = trees->constant;
    const int variant = kernels_variant();
    for (int depth = 1; depth <= TILE_DEPTH; depth++) {
        const tile_group *group = &trees->tiles[depth];
        for (int64_t first = 0; first < group->trees; first += CHUNK) {
            const int64_t count = group->trees - first < CHUNK ? group->trees - first : CHUNK;
            const tile_node *nodes = group->nodes + first * (((int64_t)1 << depth) - 1);
#if HAS_X86
            if (variant == AVX512) {
                (rows > 64 ? avx512_find_leaves : avx512_few_find_leaves)(nodes, depth, count, block, rows, leaf);
                add_leaves_avx512(group, first, count, leaf, rows, totals);
            } else if (variant == AVX2) {
                avx2_find_leaves(nodes, depth, count, block, rows, leaf);
                add_leaves(group, depth, first, count, leaf, rows, totals);
            } else
#endif
            {
                plain_find_leaves(nodes, depth, count, block, rows, leaf);
                add_leaves(group, depth, first, count, leaf, rows, totals);
            }
            if (changes) add_changes(group, depth, first, count, leaf, rows, trees->features, changes);
        }
    }
    (void)variant;
    if (trees->deep_trees) walk_deep(trees, block, rows, totals, changes);
}

void shift_block(int64_t columns, const uint8_t *plain, uint8_t *shifted) {
    for (int64_t i = 0; i < columns * BLOCK; i++) shifted[i] = (uint8_t)(plain[i] + 1);
}

/* --- one row --------------------------------------------------------------------------------------------------------- */

/* Eight trees at a time, so that their loads overlap. */
static int64_t tiles_of_row(const tile_group *group, int depth, const uint8_t *twice, int64_t *changes) {
    const int64_t leaves = (int64_t)1 << depth;
    int64_t sum = 0;
    for (int64_t t = 0; t < group->trees; t += 8) {
        const int count = group->trees - t < 8 ? (int)(group->trees - t) : 8;
        uint32_t at[8];
        uint8_t leaf[8];
        for (int i = 0; i < 8; i++) at[i] = 1;
        const row_step *steps[8];
        for (int i = 0; i < 8; i++) steps[i] = group->steps + (t + (i < count ? i : 0)) * leaves;
        for (int level = 0; level < depth; level++)
            for (int i = 0; i < 8; i++) {
                const row_step step = steps[i][at[i]];
                at[i] = 2 * at[i] + (twice[step.column] >= step.rank);
            }
        for (int i = 0; i < count; i++) {
            const int32_t *values = group->values + (t + i) * 2 * leaves;
            sum += values[at[i]];
            leaf[i] = (uint8_t)(at[i] - leaves);
        }
        if (changes) add_paths(group, depth, t, count, leaf, changes);
    }
    return sum;
}

#if HAS_X86
/* The same bottom-up choice as in tiles.h, but 64 trees of one row in the lanes: a node's column differs from lane to
 * lane, and the row's bins are looked up in registers. */
typedef struct {
    const uint8_t *lanes;
    const uint64_t *shift;
    __m512i bins[4]; /* up to 64 columns: plain, shifted */
    int wide;        /* more than 64 columns */
} lane_reader;

#define EACH static inline __attribute__((always_inline)) FOR_AVX512

EACH __m512i lanes_choose(lane_reader *at, int wide, __m512i left, __m512i right, int step) {
    const __m512i column = _mm512_load_si512(at->lanes), rank = _mm512_load_si512(at->lanes + 64);
    at->lanes += 128;
    __m512i bins = _mm512_permutex2var_epi8(at->bins[0], column, at->bins[1]);
    if (wide) {
        const __m512i high = _mm512_permutex2var_epi8(at->bins[2], column, at->bins[3]);
        bins = _mm512_mask_blend_epi8(_mm512_movepi8_mask(column), bins, high);
        bins = _mm512_mask_sub_epi8(bins, *at->shift++, bins, _mm512_set1_epi8(-1));
    }
    return _mm512_mask_add_epi8(left, _mm512_cmpge_epu8_mask(bins, rank), right, _mm512_set1_epi8((char)step));
}

EACH __m512i lanes_level1(lane_reader *at, int wide) {
    return lanes_choose(at, wide, _mm512_setzero_si512(), _mm512_setzero_si512(), 1);
}

#define LEVEL(number, below, step)                                                                                     \
    EACH __m512i number(lane_reader *at, int wide) {                                                                    \
        const __m512i left = below(at, wide);                                                                           \
        const __m512i right = below(at, wide);                                                                          \
        return lanes_choose(at, wide, left, right, step);                                                               \
    }
LEVEL(lanes_level2, lanes_level1, 2)
LEVEL(lanes_level3, lanes_level2, 4)
LEVEL(lanes_level4, lanes_level3, 8)
LEVEL(lanes_level5, lanes_level4, 16)
LEVEL(lanes_level6, lanes_level5, 32)
#undef LEVEL

EACH __m512i lanes_level(lane_reader *at, int depth, int wide) {
    switch (depth) {
        case 1: return lanes_level1(at, wide);
        case 2: return lanes_level2(at, wide);
        case 3: return lanes_level3(at, wide);
        case 4: return lanes_level4(at, wide);
        case 5: return lanes_level5(at, wide);
        default: return lanes_level6(at, wide);
    }
}
#undef EACH

FOR_AVX512 static int64_t lanes_of_row(const tile_group *group, int depth, lane_reader *of, int64_t *changes) {
    const int64_t leaves = (int64_t)1 << depth;
    uint8_t leaf[64] __attribute__((aligned(64)));
    lane_reader at = *of;
    at.lanes = group->lanes;
    at.shift = group->shift;
    int64_t sum = 0;
    for (int64_t t = 0; t < group->trees; t += 64) {
        _mm512_store_si512(leaf, at.wide ? lanes_level(&at, depth, 1) : lanes_level(&at, depth, 0));
        const int64_t count = group->trees - t < 64 ? group->trees - t : 64;
        const int32_t *values = group->values + t * 2 * leaves;
        for (int64_t i = 0; i < count; i++) sum += values[i * 2 * leaves + leaves + leaf[i]];
        if (changes) add_paths(group, depth, t, count, leaf, changes);
    }
    return sum;
}

FOR_AVX512 static int64_t trees_row_avx512(const tree_table *trees, const uint8_t *twice, int64_t *changes) {
    uint8_t padded[256] __attribute__((aligned(64))) = {0};
    lane_reader of = {.wide = trees->columns > 64};
    memcpy(padded, twice + trees->columns, (size_t)trees->columns);
    if (!of.wide) memcpy(padded + 64, twice, (size_t)trees->columns);
    for (int i = 0; i < 4; i++) of.bins[i] = _mm512_load_si512(padded + 64 * i);
    int64_t sum = 0;
    for (int depth = 1; depth <= TILE_DEPTH; depth++)
        if (trees->tiles[depth].trees) sum += lanes_of_row(&trees->tiles[depth], depth, &of, changes);
    return sum;
}
#endif

static int64_t deep_of_row(const tree_table *trees, const uint8_t *twice, int64_t *changes) {
    int64_t sum = 0;
    for (int64_t t = 0; t < trees->deep_trees; t += 8) {
        const int count = trees->deep_trees - t < 8 ? (int)(trees->deep_trees - t) : 8;
        int32_t at[8];
        for (int i = 0; i < 8; i++) at[i] = trees->deep_root[t + (i < count ? i : 0)];
        /* By depth: the last of the eight is the deepest. */
        const int32_t depth = trees->deep_depth[t + count - 1];
        for (int32_t level = 0; level < depth; level++)
            for (int i = 0; i < 8; i++) {
                const deep_node node = trees->deep[at[i]];
                const int32_t next = node.left + (twice[node.column] >= node.rank);
                if (changes && i < count && next != at[i])
                    changes[trees->deep_feature[at[i]]] += (int64_t)trees->deep_value[next] - trees->deep_value[at[i]];
                at[i] = next;
            }
        for (int i = 0; i < count; i++) sum += trees->deep_value[at[i]];
    }
    return sum;
}

int64_t trees_row(const tree_table *trees, const uint8_t *twice, int64_t *changes) {
    int64_t sum = trees->constant;
#if HAS_X86
    if (kernels_variant() == AVX512 && trees->columns <= 256) {
        sum += trees_row_avx512(trees, twice, changes);
    } else
#endif
        for (int depth = 1; depth <= TILE_DEPTH; depth++) sum += tiles_of_row(&trees->tiles[depth], depth, twice, changes);
    return sum + deep_of_row(trees, twice, changes);
}
