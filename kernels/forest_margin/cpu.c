/* Sums of leaves and what each step of a path changes, on blocks of bins. See kernels/cpu.h for the tables.
 *
 * Trees of up to 63 nodes are evaluated whole, for 64 or more rows at once: the comparison of a node and the choice
 * between what its subtrees gave are two vector instructions, and nothing is gathered. Deeper trees are walked, eight
 * rows at a time.
 */
#include <string.h>

#include "../cpu.h"

#define CHUNK 128 /* trees whose leaves are kept before they are added up; sums of so many bytes fit in 16 bits */

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

static void add_changes(const tile_group *group, int depth, int64_t first, int64_t trees, const uint8_t *leaf, int64_t rows,
                        int64_t features, int64_t *changes) {
    const int64_t leaves = (int64_t)1 << depth;
    for (int64_t t = 0; t < trees; t++) {
        const int32_t *values = group->values + (first + t) * 2 * leaves;
        const uint16_t *feature = group->feature + (first + t) * leaves;
        for (int64_t r = 0; r < rows; r++) {
            int64_t *of = changes + r * features;
            int64_t node = leaves + leaf[t * BLOCK + r], value = values[node];
            for (int level = 0; level < depth; level++) {
                node >>= 1;
                const int64_t above = values[node];
                of[feature[node]] += value - above;
                value = above;
            }
        }
    }
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
                avx512_find_leaves(nodes, depth, count, block, rows, leaf);
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

static inline void add_path(const int32_t *values, const uint16_t *feature, uint64_t node, int depth, int64_t *changes) {
    int64_t value = values[node];
    for (int level = 0; level < depth; level++) {
        node >>= 1;
        const int64_t above = values[node];
        changes[feature[node]] += value - above;
        value = above;
    }
}

/* Eight trees at a time, so that their loads overlap. */
static int64_t tiles_of_row(const tile_group *group, int depth, const uint8_t *twice, int64_t *changes) {
    const int64_t leaves = (int64_t)1 << depth;
    int64_t sum = 0;
    for (int64_t t = 0; t < group->trees; t += 8) {
        const int count = group->trees - t < 8 ? (int)(group->trees - t) : 8;
        uint32_t at[8];
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
            if (changes) add_path(values, group->feature + (t + i) * leaves, at[i], depth, changes);
        }
    }
    return sum;
}

#if HAS_X86
/* All nodes of a tree in one comparison; the answers are a bit mask, and the walk reads bits. */
FOR_AVX512 static int64_t tiles_of_row_avx512(const tile_group *group, int depth, __m512i row, int64_t *changes) {
    const __m512i minus_one = _mm512_set1_epi8(-1);
    const int64_t leaves = (int64_t)1 << depth;
    int64_t sum = 0;
    for (int64_t t = 0; t < group->trees; t++) {
        __m512i bins = _mm512_permutexvar_epi8(_mm512_loadu_si512(group->lanes + t * 128), row);
        bins = _mm512_mask_sub_epi8(bins, group->shift[t], bins, minus_one);
        const uint64_t right = _mm512_cmpge_epu8_mask(bins, _mm512_loadu_si512(group->lanes + t * 128 + 64));
        uint64_t at = 1;
        for (int level = 0; level < depth; level++) at = 2 * at + ((right >> at) & 1);
        const int32_t *values = group->values + t * 2 * leaves;
        sum += values[at];
        if (changes) add_path(values, group->feature + t * leaves, at, depth, changes);
    }
    return sum;
}

FOR_AVX512 static int64_t full_tiles_of_row_avx512(const tile_group *group, __m512i row) {
    const __m512i minus_one = _mm512_set1_epi8(-1);
    int64_t sum = 0;
    for (int64_t t = 0; t < group->trees; t++) {
        __m512i bins = _mm512_permutexvar_epi8(_mm512_loadu_si512(group->lanes + t * 128), row);
        bins = _mm512_mask_sub_epi8(bins, group->shift[t], bins, minus_one);
        const uint64_t right = _mm512_cmpge_epu8_mask(bins, _mm512_loadu_si512(group->lanes + t * 128 + 64));
        uint64_t at = 1;
#pragma GCC unroll 6
        for (int level = 0; level < 6; level++) at = 2 * at + ((right >> at) & 1);
        sum += group->values[t * 128 + at];
    }
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

#if HAS_X86
FOR_AVX512 static int64_t trees_row_avx512(const tree_table *trees, const uint8_t *twice, int64_t *changes) {
    uint8_t padded[64] __attribute__((aligned(64))) = {0};
    memcpy(padded, twice + trees->columns, (size_t)trees->columns);
    const __m512i row = _mm512_load_si512(padded);
    int64_t sum = 0;
    for (int depth = 1; depth <= TILE_DEPTH; depth++) {
        const tile_group *group = &trees->tiles[depth];
        if (!group->trees) continue;
        sum += depth == 6 && !changes ? full_tiles_of_row_avx512(group, row) : tiles_of_row_avx512(group, depth, row, changes);
    }
    return sum;
}
#endif

int64_t trees_row(const tree_table *trees, const uint8_t *twice, int64_t *changes) {
    int64_t sum = trees->constant;
#if HAS_X86
    if (kernels_variant() == AVX512 && trees->columns <= 64) {
        sum += trees_row_avx512(trees, twice, changes);
    } else
#endif
        for (int depth = 1; depth <= TILE_DEPTH; depth++) sum += tiles_of_row(&trees->tiles[depth], depth, twice, changes);
    return sum + deep_of_row(trees, twice, changes);
}
