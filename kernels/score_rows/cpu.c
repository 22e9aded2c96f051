/* The fused pass: a block of rows is binned, its rules run, its trees evaluated and its largest contributions chosen
 * while the bins are in the nearest cache. See kernels/cpu.h for the tables.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../cpu.h"

/* --- which instruction set -------------------------------------------------------------------------------------------- */

static int best_variant(void) {
#if HAS_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
        __builtin_cpu_supports("avx512vnni"))
        return AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return AVX2;
#endif
    return PLAIN;
}

static int variant = -1;

int kernels_variant(void) {
    if (variant < 0) variant = best_variant();
    return variant;
}

/* Returns what is in use: never more than the processor has. */
int kernels_choose_variant(int wanted) {
    const int best = best_variant();
    variant = wanted < best ? wanted : best;
    return variant;
}

/* --- memory of a thread ----------------------------------------------------------------------------------------------- */

typedef struct {
    size_t bytes;
    void *memory;
} arena;

static pthread_key_t arena_key;
static pthread_once_t arena_once = PTHREAD_ONCE_INIT;

static void free_arena(void *of) {
    free(((arena *)of)->memory);
    free(of);
}

static void make_key(void) { pthread_key_create(&arena_key, free_arena); }

void *kernels_scratch(size_t bytes) {
    pthread_once(&arena_once, make_key);
    arena *of = pthread_getspecific(arena_key);
    if (of == NULL) {
        of = calloc(1, sizeof(arena));
        if (of == NULL || pthread_setspecific(arena_key, of)) {
            free(of);
            return NULL;
        }
    }
    if (bytes < 64) bytes = 64; /* tables may be so empty that they need none, and NULL would mean that there is none */
    if (of->bytes < bytes) {
        free(of->memory);
        of->bytes = 0;
        of->memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
        if (of->memory == NULL) return NULL;
        of->bytes = bytes;
    }
    return of->memory;
}

/* --- the largest contributions ---------------------------------------------------------------------------------------- */

/* scratch: [features + 1]; the net's contribution, where there is one, stands behind those of the features */
static void top_of_row(const int64_t *changes, const int64_t *of_net, double unit, int64_t features, int64_t top, float *scratch,
                       int32_t *position, float *value) {
    for (int64_t f = 0; f < features; f++) scratch[f] = (float)((double)changes[f] * unit);
    if (of_net) scratch[features] = (float)((double)*of_net * unit);
    top_values(scratch, 1, features + (of_net != NULL), top, position, value);
}

/* --- the pass --------------------------------------------------------------------------------------------------------- */

typedef struct {
    const cut_table *cuts;
    const rule_table *rules;
    const tree_table *trees; /* NULL: rules alone */
    const clause_table *clauses; /* NULL: the rules need bins */
    const net_table *net; /* NULL: none stands beside the trees */
} score_tables;

typedef struct {
    uint64_t *bits[3]; /* [rows][words] each; NULL where no rule has such an output */
    float *margin;     /* [rows]; not there without trees */
    int32_t *position; /* [rows][top] */
    float *value;      /* [rows][top] */
} score_output;

/* All but the rows themselves; strides in floats. */
typedef struct {
    const score_tables *tables;
    int64_t rows, row_stride, column_stride, top;
    int64_t first, total; /* the rows are those from `first` on of a batch of `total`, whose arrays several calls fill */
    uint8_t *out; /* the arrays of score_output one after the other, without those that nothing fills */
} score_call;

static size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

static void without_trees(int64_t rows, int64_t top, const score_output *out) {
    for (int64_t i = 0; i < rows * top; i++) {
        /* All contributions are zero: the first columns win the tie. */
        out->position[i] = (int32_t)(i % top);
        out->value[i] = 0;
    }
}

static int one_row(const score_tables *tables, const float *x, const uint8_t *memberships, int64_t top, const score_output *out) {
    const cut_table *cuts = tables->cuts;
    const tree_table *trees = tables->trees;
    const int64_t width = cuts->columns + cuts->lists, tree_columns = trees ? trees->columns : 0;
    const size_t floats = round_up((size_t)(cuts->features + cuts->derived + 1) * sizeof(float));
    const size_t sums = round_up((size_t)(top ? cuts->features : 0) * sizeof(int64_t));
    uint8_t *memory = kernels_scratch(floats + sums + (size_t)(tree_columns + width + tables->rules->registers));
    if (memory == NULL) return -1;
    int64_t *changes = top ? (int64_t *)(memory + floats) : NULL;
    uint8_t *twice = memory + floats + sums, *plain = twice + tree_columns;
    bin_row(cuts, x, memberships, (float *)memory, plain);
    rules_row(tables->rules, plain, plain + width, out->bits);
    if (trees == NULL) {
        without_trees(1, top, out);
        return 0;
    }
    for (int64_t k = 0; k < tree_columns; k++) twice[k] = (uint8_t)(plain[k] + 1);
    if (changes) memset(changes, 0, sums);
    int64_t total = trees_row(trees, twice, changes), term = 0;
    if (tables->net) {
        net_terms(tables->net, plain, 1, 1, &term);
        total += term;
        term -= tables->net->centre;
    }
    *out->margin = (float)(trees->base + (double)total * trees->unit);
    if (top)
        top_of_row(changes, tables->net ? &term : NULL, trees->unit, cuts->features, top, (float *)memory, out->position,
                   out->value);
    return 0;
}

static int blocks(const score_tables *tables, const float *x, int64_t rows, int64_t row_stride, int64_t column_stride,
                  const uint8_t *memberships, int64_t top, const score_output *out) {
    const cut_table *cuts = tables->cuts;
    const tree_table *trees = tables->trees;
    const int64_t width = cuts->columns + cuts->lists, tree_columns = trees ? trees->columns : 0;
    const size_t floats = round_up((size_t)(bin_scratch(cuts) + 1) * sizeof(float));
    const size_t bins = (size_t)(tree_columns + width) * BLOCK;
    const size_t registers = round_up((size_t)tables->rules->registers * (BLOCK / 64) * sizeof(uint64_t));
    const size_t sums = trees && top ? (size_t)cuts->features * BLOCK * sizeof(int64_t) : 0;
    uint8_t *memory = kernels_scratch(floats + bins + registers + sums);
    if (memory == NULL) return -1;
    uint8_t *block = memory + floats, *plain = block + tree_columns * BLOCK;
    int64_t *changes = sums ? (int64_t *)(memory + floats + bins + registers) : NULL;
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const int64_t here = rows - first < BLOCK ? rows - first : BLOCK;
        bin_block(cuts, x + first * row_stride, row_stride, column_stride, here,
                  memberships ? memberships + first * cuts->lists : NULL, (float *)memory, plain);
        rules_block(tables->rules, plain, here, (uint64_t *)(memory + floats + bins), out->bits, first);
        if (trees == NULL) continue;
        shift_block(tree_columns, plain, block);
        if (changes) memset(changes, 0, sums);
        int64_t totals[BLOCK], terms[BLOCK];
        trees_block(trees, block, here, totals, changes);
        if (tables->net) {
            net_terms(tables->net, plain, BLOCK, here, terms);
            for (int64_t r = 0; r < here; r++) {
                totals[r] += terms[r];
                terms[r] -= tables->net->centre;
            }
        }
        for (int64_t r = 0; r < here; r++) {
            out->margin[first + r] = (float)(trees->base + (double)totals[r] * trees->unit);
            if (top)
                top_of_row(changes + r * cuts->features, tables->net ? terms + r : NULL, trees->unit, cuts->features, top,
                           (float *)memory, out->position + (first + r) * top, out->value + (first + r) * top);
        }
    }
    if (trees == NULL) without_trees(rows, top, out);
    return 0;
}

/* Sizes of the structures as this library was compiled: Python refuses a library that was built from other sources. */
int64_t kernels_size_of(int which) {
    const int64_t sizes[] = {sizeof(cut_table), sizeof(rule_table), sizeof(tree_table), sizeof(clause_table),
                             sizeof(score_tables), sizeof(score_call), sizeof(net_table), sizeof(rule_step), sizeof(clause), BLOCK};
    return which < (int)(sizeof(sizes) / sizeof(*sizes)) ? sizes[which] : -1;
}

#if HAS_X86
static int rules_alone(const score_tables *tables, const float *x, int64_t rows, int64_t row_stride, int64_t column_stride,
                       const uint8_t *memberships, int64_t top, const score_output *out) {
    const cut_table *cuts = tables->cuts;
    float *wide = kernels_scratch((size_t)(cuts->features + cuts->derived + cuts->lists) * WIDE * sizeof(float));
    if (wide == NULL) return -1;
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const int64_t here = rows - first < BLOCK ? rows - first : BLOCK;
        wide_block(cuts, x + first * row_stride, row_stride, column_stride, here,
                   memberships ? memberships + first * cuts->lists : NULL, wide);
        const int more = row_stride == 1 && rows - first >= 2 * BLOCK;
        fetcher fetch = {x + first + BLOCK, cuts->need, column_stride, 0, more ? cuts->needed * (BLOCK / 16) : 0};
        for (int64_t from = 0; from < here; from += 64)
            rules_columns(tables->rules, tables->clauses, wide, from, here - from < 64 ? here - from : 64, out->bits, first + from,
                          &fetch);
    }
    without_trees(rows, top, out);
    return 0;
}
#endif

/* Rows that are quicker one by one than as part of a block. */
#define FEW 12

int score_rows(const score_call *call, const float *x, const uint8_t *memberships) {
    const score_tables *tables = call->tables;
    const int64_t rows = call->rows, top = call->top, words = tables->rules->words;
    score_output out = {{NULL, NULL, NULL}, NULL, NULL, NULL};
    uint64_t *next = (uint64_t *)call->out;
    for (int o = 0; o < 3; o++)
        if (tables->rules->used[o]) {
            out.bits[o] = next + call->first * words;
            next += call->total * words;
        }
    int32_t *position = (int32_t *)((float *)next + (tables->trees ? call->total : 0));
    out.margin = (float *)next + call->first;
    out.position = position + call->first * top;
    out.value = (float *)(position + call->total * top) + call->first * top;
#if HAS_X86
    if (rows > FEW && tables->clauses && kernels_variant() == AVX512)
        return rules_alone(tables, x, rows, call->row_stride, call->column_stride, memberships, top, &out);
#endif
    if (rows > FEW || (rows && call->column_stride != 1))
        return blocks(tables, x, rows, call->row_stride, call->column_stride, memberships, top, &out);
    for (int64_t r = 0; r < rows; r++) {
        score_output of = {{NULL, NULL, NULL}, out.margin + r, out.position + r * top, out.value + r * top};
        for (int o = 0; o < 3; o++)
            if (out.bits[o]) of.bits[o] = out.bits[o] + r * words;
        const uint8_t *lists = memberships ? memberships + r * tables->cuts->lists : NULL;
        if (one_row(tables, x + r * call->row_stride, lists, top, &of)) return -1;
    }
    return 0;
}
