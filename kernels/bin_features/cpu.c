/* Bins of a block of rows, or of one row. See kernels/cpu.h for the tables.
 *
 * A column's search is branchless: 2^levels - 1 cuts, halved at each step; the cuts that only fill the table up are NaN,
 * which no value is >= of. The AVX-512 kernel keeps a column's cuts in registers and gathers nothing.
 */
#include <string.h>

#include "../cpu.h"

/* Two rounded operations stay two: compiled without contraction (see setup.py), as every other executor does it. */
static inline float derive(const derivation *step, const float *row, int64_t stride) {
    const float a = step->a >= 0 ? row[step->a * stride] : step->a_value;
    const float b = step->b >= 0 ? row[step->b * stride] : step->b_value;
    switch (step->op) {
        case 0: return a + b;
        case 1: return a - b;
        case 2: return a * b;
        case 3: return a / b;
        default: return a != a || b != b ? a + b : (float)((a > b) - (a < b));
    }
}

static inline uint8_t bin_of(const float *table, int levels, float value) {
    uint32_t bin = 0;
    for (uint32_t step = (uint32_t)1 << levels >> 1; step; step >>= 1) bin += value >= table[bin + step - 1] ? step : 0;
    return value != value ? MISSING : (uint8_t)bin;
}

#if HAS_X86
/* The cuts as a heap in registers: place i has children 2 i and 2 i + 1, so that each step adds one bit to the place. Sixteen
 * cuts a register; a step that has more looks them up in pairs of registers and chooses by the higher bits of the place. */
INLINE FOR_AVX512 __m512 pair(const __m512 *heap, __m512i at) { return _mm512_permutex2var_ps(heap[0], at, heap[1]); }

INLINE FOR_AVX512 __m512 cut_at(const __m512 *heap, __m512i at, int level) {
    if (level < 5) return _mm512_permutexvar_ps(at, heap[level < 4 ? 0 : 1]);
    if (level == 5) return pair(heap + 2, at);
    const __mmask16 second = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32));
    if (level == 6) return _mm512_mask_blend_ps(second, pair(heap + 4, at), pair(heap + 6, at));
    const __mmask16 upper = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64));
    return _mm512_mask_blend_ps(upper, _mm512_mask_blend_ps(second, pair(heap + 8, at), pair(heap + 10, at)),
                                _mm512_mask_blend_ps(second, pair(heap + 12, at), pair(heap + 14, at)));
}

INLINE FOR_AVX512 void search_heap(const float *table, int levels, const float *value, int64_t rows, uint8_t *bin) {
    const __m512i one = _mm512_set1_epi32(1);
    __m512 heap[16];
    const int registers = levels <= 4 ? 1 : 1 << (levels - 4);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) heap[i] = i < registers ? _mm512_loadu_ps(table + 16 * i) : _mm512_setzero_ps();
    for (int64_t r = 0; r < rows; r += 16) {
        const __m512 x = _mm512_load_ps(value + r);
        __m512i at = one;
#pragma GCC unroll 8
        for (int level = 0; level < levels; level++) {
            const __mmask16 right = _mm512_cmp_ps_mask(x, cut_at(heap, at, level), _CMP_GE_OQ);
            at = _mm512_add_epi32(at, at);
            at = _mm512_mask_add_epi32(at, right, at, one);
        }
        at = _mm512_sub_epi32(at, _mm512_set1_epi32(1 << levels));
        at = _mm512_mask_mov_epi32(at, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(MISSING));
        _mm_store_si128((__m128i *)(bin + r), _mm512_cvtepi32_epi8(at));
    }
}

FOR_AVX512 static void search_avx512(const float *heap, int levels, const float *value, int64_t rows, uint8_t *bin) {
    switch (levels) {
        case 0: search_heap(heap, 0, value, rows, bin); break;
        case 1: search_heap(heap, 1, value, rows, bin); break;
        case 2: search_heap(heap, 2, value, rows, bin); break;
        case 3: search_heap(heap, 3, value, rows, bin); break;
        case 4: search_heap(heap, 4, value, rows, bin); break;
        case 5: search_heap(heap, 5, value, rows, bin); break;
        case 6: search_heap(heap, 6, value, rows, bin); break;
        case 7: search_heap(heap, 7, value, rows, bin); break;
        default: search_heap(heap, 8, value, rows, bin); break;
    }
}
#endif

static void search(const float *table, int levels, const float *value, int64_t rows, uint8_t *bin) {
    for (int64_t r = 0; r < rows; r++) bin[r] = bin_of(table, levels, value[r]);
}

int64_t bin_scratch(const cut_table *cuts) { return (cuts->features + cuts->derived) * WIDE; }

/* wide[features + derived][WIDE], and zeros past the last row */
static void gather_columns(const cut_table *cuts, const float *x, int64_t row_stride, int64_t column_stride, int64_t rows,
                           float *wide) {
    for (int64_t n = 0; n < cuts->needed; n++) {
        float *of = wide + (int64_t)cuts->need[n] * WIDE;
        if (row_stride == 1) memcpy(of, x + cuts->need[n] * column_stride, (size_t)rows * sizeof(float));
        for (int64_t r = rows; r < BLOCK; r++) of[r] = 0;
    }
    if (row_stride == 1) return;
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * row_stride;
        for (int64_t n = 0; n < cuts->needed; n++) {
            const int64_t f = cuts->need[n];
            wide[f * WIDE + r] = row[f * column_stride];
        }
    }
}

static void derive_columns(const cut_table *cuts, float *wide) {
    for (int64_t d = 0; d < cuts->derived; d++)
        for (int64_t r = 0; r < BLOCK; r++) wide[(cuts->features + d) * WIDE + r] = derive(cuts->derivations + d, wide + r, WIDE);
}

void wide_block(const cut_table *cuts, const float *x, int64_t row_stride, int64_t column_stride, int64_t rows,
                const uint8_t *memberships, float *wide) {
    gather_columns(cuts, x, row_stride, column_stride, rows, wide);
    derive_columns(cuts, wide);
    for (int64_t l = 0; l < cuts->lists; l++)
        for (int64_t r = 0; r < rows; r++)
            wide[(cuts->features + cuts->derived + l) * WIDE + r] = memberships ? memberships[r * cuts->lists + l] : 0;
}

void bin_block(const cut_table *cuts, const float *x, int64_t row_stride, int64_t column_stride, int64_t rows,
               const uint8_t *memberships, float *scratch, uint8_t *plain) {
    gather_columns(cuts, x, row_stride, column_stride, rows, scratch);
    derive_columns(cuts, scratch);
    const int fast = kernels_variant() == AVX512;
    for (int64_t k = 0; k < cuts->columns; k++) {
        const float *table = cuts->table + cuts->start[k], *value = scratch + (int64_t)cuts->source[k] * WIDE;
#if HAS_X86
        if (fast) {
            search_avx512(cuts->heap + cuts->heap_start[k], cuts->levels[k], value, rows, plain + k * BLOCK);
            continue;
        }
#endif
        (void)fast;
        search(table, cuts->levels[k], value, rows, plain + k * BLOCK);
    }
    for (int64_t l = 0; l < cuts->lists; l++) {
        uint8_t *of = plain + (cuts->columns + l) * BLOCK;
        if (memberships == NULL) {
            memset(of, 0, BLOCK);
            continue;
        }
        for (int64_t r = 0; r < rows; r++) of[r] = memberships[r * cuts->lists + l];
    }
}

/* Four columns at a time, so that their loads overlap. */
static void search_row(const cut_table *cuts, const float *wide, uint8_t *plain) {
    for (int64_t k = 0; k < cuts->columns; k += 4) {
        const float *table[4];
        float value[4];
        uint32_t step[4], bin[4] = {0, 0, 0, 0};
        int levels = 0;
        for (int i = 0; i < 4; i++) {
            const int64_t at = k + i < cuts->columns ? k + i : k;
            table[i] = cuts->table + cuts->start[at];
            value[i] = wide[cuts->source[at]];
            step[i] = (uint32_t)1 << cuts->levels[at] >> 1;
            levels = levels < cuts->levels[at] ? cuts->levels[at] : levels;
        }
        /* A column with fewer levels takes steps of 0 at the end, which change nothing. */
        for (int level = 0; level < levels; level++)
            for (int i = 0; i < 4; i++) {
                bin[i] += value[i] >= table[i][bin[i] + step[i] - (step[i] != 0)] ? step[i] : 0;
                step[i] >>= 1;
            }
        for (int i = 0; i < 4 && k + i < cuts->columns; i++) plain[k + i] = value[i] != value[i] ? MISSING : (uint8_t)bin[i];
    }
}

#if HAS_X86
/* Sixteen columns at a time. A gather costs as much as sixteen loads, so the first four steps do without: all the cuts that
 * a step may compare with are loaded, and the earlier answers choose among them. */
INLINE FOR_AVX512 __m512 either(__mmask16 right, const float *left, const float *other) {
    return _mm512_mask_loadu_ps(_mm512_loadu_ps(left), right, other);
}

FOR_AVX512 static void search_row_avx512(const cut_table *cuts, const float *wide, uint8_t *plain) {
    for (int64_t k = 0, g = 0; k < cuts->columns; k += 16, g++) {
        const int64_t left = cuts->columns - k;
        const __mmask16 there = left < 16 ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff;
        const __m512i source = _mm512_maskz_loadu_epi32(there, cuts->source + k);
        const __m512 x = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, source, wide, 4);
        const float *top = cuts->row_top + g * 15 * 16;
        const __mmask16 a = _mm512_cmp_ps_mask(x, _mm512_loadu_ps(top), _CMP_GE_OQ);
        const __mmask16 b = _mm512_cmp_ps_mask(x, either(a, top + 16, top + 32), _CMP_GE_OQ);
        const __m512 third = _mm512_mask_blend_ps(a, either(b, top + 48, top + 64), either(b, top + 80, top + 96));
        const __mmask16 c = _mm512_cmp_ps_mask(x, third, _CMP_GE_OQ);
        const __m512 fourth =
            _mm512_mask_blend_ps(a, _mm512_mask_blend_ps(b, either(c, top + 112, top + 128), either(c, top + 144, top + 160)),
                                 _mm512_mask_blend_ps(b, either(c, top + 176, top + 192), either(c, top + 208, top + 224)));
        const __mmask16 d = _mm512_cmp_ps_mask(x, fourth, _CMP_GE_OQ);
        const int rest = cuts->row_levels[g] - 4;
        __m512i bin = _mm512_maskz_set1_epi32(a, 8 << rest);
        bin = _mm512_mask_add_epi32(bin, b, bin, _mm512_set1_epi32(4 << rest));
        bin = _mm512_mask_add_epi32(bin, c, bin, _mm512_set1_epi32(2 << rest));
        bin = _mm512_mask_add_epi32(bin, d, bin, _mm512_set1_epi32(1 << rest));
        const __m512i start = _mm512_maskz_loadu_epi32(there, cuts->start + k);
        for (int step = 1 << rest >> 1; step; step >>= 1) {
            const __m512i at = _mm512_add_epi32(_mm512_add_epi32(start, bin), _mm512_set1_epi32(step - 1));
            const __m512 cut = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, at, cuts->table, 4);
            bin = _mm512_mask_add_epi32(bin, _mm512_cmp_ps_mask(x, cut, _CMP_GE_OQ), bin, _mm512_set1_epi32(step));
        }
        bin = _mm512_mask_mov_epi32(bin, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(MISSING));
        _mm512_mask_cvtepi32_storeu_epi8(plain + k, there, bin);
    }
}
#endif

void bin_row(const cut_table *cuts, const float *x, const uint8_t *memberships, float *scratch, uint8_t *plain) {
    const float *wide = x;
    if (cuts->derived) {
        for (int64_t n = 0; n < cuts->needed; n++) scratch[cuts->need[n]] = x[cuts->need[n]];
        for (int64_t d = 0; d < cuts->derived; d++) scratch[cuts->features + d] = derive(cuts->derivations + d, scratch, 1);
        wide = scratch;
    }
#if HAS_X86
    if (kernels_variant() == AVX512)
        search_row_avx512(cuts, wide, plain);
    else
#endif
        search_row(cuts, wide, plain);
    for (int64_t l = 0; l < cuts->lists; l++) plain[cuts->columns + l] = memberships ? memberships[l] : 0;
}

/* bins[columns + lists][rows] */
int bin_features(const cut_table *cuts, const float *x, int64_t rows, int64_t row_stride, int64_t column_stride,
                 const uint8_t *memberships, uint8_t *bins) {
    const int64_t width = cuts->columns + cuts->lists;
    const size_t wide = (size_t)bin_scratch(cuts) * sizeof(float);
    float *scratch = kernels_scratch(wide + (size_t)width * BLOCK);
    if (scratch == NULL) return -1;
    uint8_t *plain = (uint8_t *)scratch + wide;
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const int64_t here = rows - first < BLOCK ? rows - first : BLOCK;
        bin_block(cuts, x + first * row_stride, row_stride, column_stride, here,
                  memberships ? memberships + first * cuts->lists : NULL, scratch, plain);
        for (int64_t k = 0; k < width; k++) memcpy(bins + k * rows + first, plain + k * BLOCK, (size_t)here);
    }
    return 0;
}
