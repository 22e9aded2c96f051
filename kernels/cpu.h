/* What the C kernels share: instruction sets, and the tables as Python lays them out (kernels/native_tables.py).
 *
 * Rows are worked on in blocks of BLOCK. A block of bins holds, for each bin column, BLOCK bytes: first the trees'
 * columns with 1 added (where a missing value, 255, wraps to 0 and so goes left), then all columns as they are.
 */
#ifndef KERNELS_CPU_H
#define KERNELS_CPU_H

#include <stddef.h>
#include <stdint.h>

#define BLOCK 128
#define WIDE (BLOCK + 16) /* floats from one gathered column to the next: no power of two, so that they share no cache set */
#define MISSING 255
#define TILE_DEPTH 6 /* deepest tree that is evaluated whole: 63 nodes, and leaves that one byte tells apart */

enum { PLAIN = 0, AVX2 = 1, AVX512 = 2 };

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_X86 1
#include <immintrin.h>
#define FOR_AVX2 __attribute__((target("avx2,bmi,bmi2")))
#define FOR_AVX512 __attribute__((target("avx2,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx512vnni")))
#else
#define HAS_X86 0
#endif
#define INLINE static inline __attribute__((always_inline))

int kernels_variant(void);

typedef struct {
    int32_t op, a, b;
    float a_value, b_value;
} derivation;

typedef struct {
    int64_t features, columns, lists, derived, needed;
    const derivation *derivations;
    const int32_t *need;   /* [needed] columns of x that anything reads */
    const int32_t *source; /* [columns] */
    const int32_t *levels; /* [columns] steps of the search, through 2^levels - 1 entries; NaN after the last cut */
    const int32_t *start;  /* [columns] */
    const float *table;
    /* One row, sixteen columns at a time: steps of all of them, and the cuts of the first four steps, [15][16] floats. */
    const int32_t *row_levels;
    const float *row_top;
    /* A block: each column's cuts as a heap that begins at 1, whole registers of sixteen. */
    const int32_t *heap_start; /* [columns] */
    const float *heap;
} cut_table;

typedef struct {
    uint8_t op, source, negate, low, width, pad;
    uint16_t operand;
    int32_t store;
} rule_step;

typedef struct {
    int64_t steps, registers, rules, words;
    const rule_step *step;
    const int32_t *outputs[3]; /* hit, insufficient, error: [rules] */
    int64_t used[3];           /* whether any rule has such an output */
} rule_table;

/* The rules once more, for programs that have nothing else: on the numbers themselves, without bins. An output of a rule is
 * true where one of its clauses is, and a clause where all its literals are. */
enum { LESS = 0, AT_LEAST, NOT_LESS, NOT_AT_LEAST, MISSING_VALUE, PRESENT };

typedef struct {
    int32_t offset; /* of the column in wide: [x, derived, lists][WIDE] */
    float cut;
    int32_t kind;
} literal;

typedef struct {
    int32_t rule;
    int32_t first, less, at_least, other; /* literals: so many LESS, so many AT_LEAST, then others */
} clause;

typedef struct {
    /* [3 outputs][words][2 halves][3] how many clauses there are that begin with LESS, with AT_LEAST, and that have others */
    const int32_t *runs;
    const clause *clause;
    const literal *literals;
} clause_table;

/* Columns of the rows to come, fetched a few lines at a time while the rows at hand are worked on: so many columns are more
 * streams than the processor foresees by itself. */
typedef struct {
    const float *x;
    const int32_t *need;
    int64_t column_stride, line, lines;
} fetcher;

typedef struct {
    uint32_t offset; /* of the column in a block of bins */
    uint32_t rank;   /* four times the same byte */
} tile_node;

typedef struct {
    uint16_t column; /* in `twice` of a row: shifted, then plain */
    uint16_t rank;
} row_step;

/* Trees of one depth, each complete: 2^depth - 1 nodes. Heaps begin at 1. */
typedef struct {
    int64_t trees;
    const tile_node *nodes;  /* [trees][2^depth - 1] left subtree, right subtree, node */
    const uint8_t *planes;   /* [trees][4][64] the bytes of leaf + 2^31, lowest first */
    const int32_t *values;   /* [trees][2^(depth + 1)] heap */
    const row_step *steps;   /* [trees][2^depth] heap */
    /* One row, 64 trees at a time: [ceil(trees / 64)][2^depth - 1, in order of evaluation][2][64] column, rank as bytes.
     * Up to 64 columns, those of the shifted copy are 64 and more; up to 256, `shift` has them as bits, one word a node.
     * NULL with more. */
    const uint8_t *lanes;
    const uint64_t *shift;
    /* [trees][2^depth][depth] what each leaf's path changes: feature * 2^32 is in the high half, the change in the low. */
    const uint64_t *paths;
} tile_group;

typedef struct {
    uint16_t column; /* in a block of bins */
    uint16_t rank;   /* 256 in a leaf: never reached */
    int32_t left;
} deep_node;

typedef struct {
    int64_t columns, features;
    double base, unit;
    int64_t constant; /* sum of the trees that are a single leaf */
    tile_group tiles[TILE_DEPTH + 1];
    int64_t deep_trees;
    const deep_node *deep;
    const int32_t *deep_value, *deep_feature;
    const int32_t *deep_root, *deep_depth; /* [deep_trees], by depth */
} tree_table;

/* A layer of the net. Activations are bytes up to 127; `quads` and `units` hold the same weights for two ways of reading them
 * (kernels/net_margin/native_layout.py). */
typedef struct {
    int64_t inputs, outputs, threshold, stride;
    const int8_t *quads; /* [inputs / 4][stride] four inputs' weights side by side, output by output; NULL in the first layer */
    const int8_t *units; /* [inputs][outputs] */
    const int32_t *bias; /* [members][outputs] */
    const float *scale;  /* [members][outputs] */
} net_layer;

#define MOST_LAYERS 4
#define MOST_WIDTH 512
#define MOST_FEATURES 1024

typedef struct {
    int64_t features, members, layers, multiplier, shift;
    int64_t centre; /* what the mean total adds to a sum of leaves */
    const int32_t *reads;  /* [features + 1] */
    const int32_t *column; /* [reads] */
    const uint8_t *rank;   /* [reads][256] */
    const int32_t *offset; /* [features + 1] */
    const int16_t *first;  /* [rows][width], outputs of each 32 in pairs */
    net_layer layer[MOST_LAYERS];
    const int8_t *head; /* [members][width] */
} net_table;

/* rows <= BLOCK rows of x to plain[(columns + lists)][BLOCK]; x[r * row_stride + f * column_stride], in floats. */
void bin_block(const cut_table *cuts, const float *x, int64_t row_stride, int64_t column_stride, int64_t rows,
               const uint8_t *memberships, float *scratch, uint8_t *plain);
/* floats of scratch that bin_block needs */
int64_t bin_scratch(const cut_table *cuts);
/* shifted[columns][BLOCK] = plain + 1 */
void shift_block(int64_t columns, const uint8_t *plain, uint8_t *shifted);

/* out[3][rows][words], of the outputs that are used; registers: [registers] scratch of BLOCK / 64 words each */
void rules_block(const rule_table *rules, const uint8_t *plain, int64_t rows, uint64_t *registers, uint64_t *const out[3],
                 int64_t first_row);

/* rows <= 64 rows of wide, from row `from` on; words as in rules_block. AVX-512 only. */
void rules_columns(const rule_table *rules, const clause_table *clauses, const float *wide, int64_t from, int64_t rows,
                   uint64_t *const out[3], int64_t first_row, fetcher *fetch);

/* x, derived columns and lists of rows <= BLOCK, as columns of WIDE floats. */
void wide_block(const cut_table *cuts, const float *x, int64_t row_stride, int64_t column_stride, int64_t rows,
                const uint8_t *memberships, float *wide);

/* totals[rows], and where changes is not NULL changes[rows][features], zeroed by the caller */
void trees_block(const tree_table *trees, const uint8_t *block, int64_t rows, int64_t *totals, int64_t *changes);

/* terms[rows]: what the net adds to the sums of leaves; plain[column * stride + row] */
void net_terms(const net_table *net, const uint8_t *plain, int64_t stride, int64_t rows, int64_t *terms);

/* Memory of this thread, 64-byte aligned, valid until the next call; NULL where there is none. */
void *kernels_scratch(size_t bytes);

/* one row: plain[columns + lists] and twice[2 * columns] = shifted, plain */
void bin_row(const cut_table *cuts, const float *x, const uint8_t *memberships, float *scratch, uint8_t *plain);
void rules_row(const rule_table *rules, const uint8_t *plain, uint8_t *registers, uint64_t *const out[3]);
int64_t trees_row(const tree_table *trees, const uint8_t *twice, int64_t *changes);

/* kernels/pack_rows/cpu.c: one packed row of x[width], which takes at most 5 + ceil(quads / 8) + quads + 4 width bytes with
 * quads = ceil(width / 4); returns its end. The scratch is of so many bytes. */
int64_t packed_row_scratch(int64_t width);
uint8_t *pack_row(uint8_t *out, const float *x, int64_t width, uint8_t *scratch);

/* kernels/top_values/cpu.c */
void top_values(const float *x, int64_t rows, int64_t columns, int64_t k, int32_t *position, float *value);
#endif
