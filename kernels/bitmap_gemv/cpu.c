/* y = act(x @ weight.T * scale + bias), the weight as bits and packed values; see the package for the contract.
 *
 * A register of values is read from where the row has got to and spread to the places whose bits are set; as many values as
 * there are bits are used up by that. A row of x is first copied to whole words of 64, so that nothing has to be told of its end.
 */
#include <string.h>

#include "../cpu.h"

typedef struct {
    int64_t outputs, inputs, words;
    const uint64_t *bits; /* [outputs][words] */
    const int64_t *starts;
    const void *values;
    const int32_t *sums;
} bitmap_weight;

typedef struct {
    const float *scale, *bias;
    int32_t relu;
    float *y;
} result;

INLINE void finish(const result *to, int64_t output, float value) {
    if (to->scale) value *= to->scale[output];
    if (to->bias) value += to->bias[output];
    to->y[output] = to->relu && value < 0 ? 0 : value;
}

/* --- plain ------------------------------------------------------------------------------------------------------------ */

#define PLAIN_ROW(name, type, sum_type)                                                                            \
    static void name(const bitmap_weight *w, const type *x, const result *to) {                                    \
        for (int64_t o = 0; o < w->outputs; o++) {                                                                 \
            const type *value = (const type *)w->values + w->starts[o];                                            \
            const uint64_t *bits = w->bits + o * w->words;                                                         \
            sum_type sum = 0;                                                                                      \
            for (int64_t word = 0; word < w->words; word++)                                                        \
                for (uint64_t left = bits[word]; left; left &= left - 1)                                           \
                    sum += (sum_type)*value++ * (sum_type)x[word * 64 + __builtin_ctzll(left)];                    \
            finish(to, o, (float)sum);                                                                             \
        }                                                                                                          \
    }
PLAIN_ROW(plain_float32, float, float)
PLAIN_ROW(plain_int8, int8_t, int32_t)

#if HAS_X86
/* --- AVX-512 ---------------------------------------------------------------------------------------------------------- */

#define FOR_EXPAND __attribute__((target("avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx512vnni")))
#define AVX512_ROWS 4 /* outputs side by side: their sums do not wait for each other */
/* Keeps a load apart from the expansion: from memory, that instruction is microcode on AMD's processors. */
#define IN_REGISTER(vector) __asm__("" : "+v"(vector))

/* Bytes from the values of four rows to those of the next four, which are fetched while these are worked on: the processor
 * does not foresee four streams that each end after a kilobyte or two. */
INLINE int64_t to_next_rows(const bitmap_weight *w, int64_t o, int64_t bytes) {
    return o + 2 * AVX512_ROWS <= w->outputs ? (w->starts[o + AVX512_ROWS] - w->starts[o]) * bytes : 0;
}

INLINE FOR_EXPAND __m512 float_word(uint64_t bits, const float **value, const float *x, __m512 sum) {
#pragma GCC unroll 4
    for (int quarter = 0; quarter < 4; quarter++) {
        const __mmask16 here = (__mmask16)(bits >> (16 * quarter));
        __m512 packed = _mm512_loadu_ps(*value);
        IN_REGISTER(packed);
        sum = _mm512_mask3_fmadd_ps(_mm512_maskz_expand_ps(here, packed), _mm512_load_ps(x + 16 * quarter), sum, here);
        *value += __builtin_popcount(here);
    }
    return sum;
}

FOR_EXPAND static void avx512_float32(const bitmap_weight *w, const float *x, const result *to) {
    int64_t o = 0;
    for (; o + AVX512_ROWS <= w->outputs; o += AVX512_ROWS) {
        const float *value[AVX512_ROWS];
        __m512 sum[AVX512_ROWS];
        for (int r = 0; r < AVX512_ROWS; r++) {
            value[r] = (const float *)w->values + w->starts[o + r];
            sum[r] = _mm512_setzero_ps();
        }
        const int64_t ahead = to_next_rows(w, o, sizeof(float));
        for (int64_t word = 0; word < w->words; word++)
#pragma GCC unroll 4
            for (int r = 0; r < AVX512_ROWS; r++) {
                _mm_prefetch((const char *)value[r] + ahead, _MM_HINT_T0);
                _mm_prefetch((const char *)value[r] + ahead + 64, _MM_HINT_T0);
                sum[r] = float_word(w->bits[(o + r) * w->words + word], &value[r], x + 64 * word, sum[r]);
            }
        for (int r = 0; r < AVX512_ROWS; r++) finish(to, o + r, _mm512_reduce_add_ps(sum[r]));
    }
    for (; o < w->outputs; o++) {
        const float *value = (const float *)w->values + w->starts[o];
        __m512 sum = _mm512_setzero_ps();
        for (int64_t word = 0; word < w->words; word++) sum = float_word(w->bits[o * w->words + word], &value, x + 64 * word, sum);
        finish(to, o, _mm512_reduce_add_ps(sum));
    }
}

/* x is x + 128 here, as the instruction wants its first factor without a sign; the weights' own sum takes it away again. */
INLINE FOR_EXPAND __m512i int8_word(uint64_t bits, const int8_t **value, const uint8_t *x, __m512i sum) {
    __m512i packed = _mm512_loadu_si512(*value);
    IN_REGISTER(packed);
    const __m512i spread = _mm512_maskz_expand_epi8(bits, packed);
    *value += __builtin_popcountll(bits);
    return _mm512_dpbusd_epi32(sum, _mm512_load_si512(x), spread);
}

FOR_EXPAND static void avx512_int8(const bitmap_weight *w, const uint8_t *x, const result *to) {
    int64_t o = 0;
    for (; o + AVX512_ROWS <= w->outputs; o += AVX512_ROWS) {
        const int8_t *value[AVX512_ROWS];
        __m512i sum[AVX512_ROWS];
        for (int r = 0; r < AVX512_ROWS; r++) {
            value[r] = (const int8_t *)w->values + w->starts[o + r];
            sum[r] = _mm512_setzero_si512();
        }
        const int64_t ahead = to_next_rows(w, o, 1);
        for (int64_t word = 0; word < w->words; word++)
#pragma GCC unroll 4
            for (int r = 0; r < AVX512_ROWS; r++) {
                _mm_prefetch((const char *)value[r] + ahead, _MM_HINT_T0);
                sum[r] = int8_word(w->bits[(o + r) * w->words + word], &value[r], x + 64 * word, sum[r]);
            }
        for (int r = 0; r < AVX512_ROWS; r++) finish(to, o + r, (float)(_mm512_reduce_add_epi32(sum[r]) - 128 * w->sums[o + r]));
    }
    for (; o < w->outputs; o++) {
        const int8_t *value = (const int8_t *)w->values + w->starts[o];
        __m512i sum = _mm512_setzero_si512();
        for (int64_t word = 0; word < w->words; word++) sum = int8_word(w->bits[o * w->words + word], &value, x + 64 * word, sum);
        finish(to, o, (float)(_mm512_reduce_add_epi32(sum) - 128 * w->sums[o]));
    }
}

static int has_expand(void) {
    return kernels_variant() == AVX512 && __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vnni");
}

/* --- AVX2 ------------------------------------------------------------------------------------------------------------- */

/* For eight bits, the places of the packed values that go to the eight lanes. */
static uint32_t lanes_of[256][8] __attribute__((aligned(32)));

__attribute__((constructor)) static void make_lanes(void) {
    for (int bits = 0; bits < 256; bits++)
        for (int lane = 0; lane < 8; lane++)
            lanes_of[bits][lane] = bits >> lane & 1 ? (uint32_t)__builtin_popcount(bits & ((1 << lane) - 1)) : 0;
}

FOR_AVX2 static void avx2_float32(const bitmap_weight *w, const float *x, const result *to) {
    const __m256i lane_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    for (int64_t o = 0; o < w->outputs; o++) {
        const float *value = (const float *)w->values + w->starts[o];
        __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int64_t word = 0; word < w->words; word++) {
            const uint64_t bits = w->bits[o * w->words + word];
            for (int part = 0; part < 8; part++) {
                const uint32_t here = bits >> (8 * part) & 255;
                const __m256i lanes = _mm256_load_si256((const __m256i *)lanes_of[here]);
                const __m256i set = _mm256_and_si256(_mm256_set1_epi32((int)here), lane_bit);
                const __m256 kept = _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane_bit));
                const __m256 spread = _mm256_permutevar8x32_ps(_mm256_loadu_ps(value), lanes);
                const __m256 product = _mm256_mul_ps(spread, _mm256_load_ps(x + 64 * word + 8 * part));
                sum[part & 1] = _mm256_add_ps(sum[part & 1], _mm256_and_ps(kept, product));
                value += __builtin_popcount(here);
            }
        }
        float lanes[8] __attribute__((aligned(32))), all = 0;
        _mm256_store_ps(lanes, _mm256_add_ps(sum[0], sum[1]));
        for (int lane = 0; lane < 8; lane++) all += lanes[lane];
        finish(to, o, all);
    }
}

FOR_AVX2 static void avx2_int8(const bitmap_weight *w, const int8_t *x, const result *to) {
    for (int64_t o = 0; o < w->outputs; o++) {
        const int8_t *value = (const int8_t *)w->values + w->starts[o];
        __m256i sum = _mm256_setzero_si256();
        for (int64_t word = 0; word < w->words; word++) {
            const uint64_t bits = w->bits[o * w->words + word];
            for (int part = 0; part < 4; part++) {
                uint64_t spread[2];
                for (int half = 0; half < 2; half++) {
                    const uint32_t here = bits >> (16 * part + 8 * half) & 255;
                    uint64_t packed;
                    memcpy(&packed, value, 8);
                    spread[half] = _pdep_u64(packed, _pdep_u64(here, 0x0101010101010101u) * 255);
                    value += __builtin_popcount(here);
                }
                const __m256i weights = _mm256_cvtepi8_epi16(_mm_set_epi64x((int64_t)spread[1], (int64_t)spread[0]));
                const __m256i inputs = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(x + 64 * word + 16 * part)));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(weights, inputs));
            }
        }
        int32_t lanes[8] __attribute__((aligned(32))), all = 0;
        _mm256_store_si256((__m256i *)lanes, sum);
        for (int lane = 0; lane < 8; lane++) all += lanes[lane];
        finish(to, o, (float)all);
    }
}
#endif

/* --- rows ------------------------------------------------------------------------------------------------------------- */

int32_t bitmap_gemv_float32(const bitmap_weight *w, const float *x, int64_t rows, const float *scale, const float *bias,
                            int32_t relu, float *y) {
    float *row = kernels_scratch((size_t)w->words * 64 * sizeof(float));
    if (row == NULL) return 1;
    memset(row + (w->words - 1) * 64, 0, 64 * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
        const result to = {scale, bias, relu, y + r * w->outputs};
        memcpy(row, x + r * w->inputs, (size_t)w->inputs * sizeof(float));
#if HAS_X86
        if (has_expand()) { avx512_float32(w, row, &to); continue; }
        if (kernels_variant() != PLAIN) { avx2_float32(w, row, &to); continue; }
#endif
        plain_float32(w, row, &to);
    }
    return 0;
}

int32_t bitmap_gemv_int8(const bitmap_weight *w, const int8_t *x, int64_t rows, const float *scale, const float *bias,
                         int32_t relu, float *y) {
    int8_t *row = kernels_scratch((size_t)w->words * 64);
    if (row == NULL) return 1;
    memset(row + (w->words - 1) * 64, 0, 64);
    for (int64_t r = 0; r < rows; r++) {
        const result to = {scale, bias, relu, y + r * w->outputs};
        memcpy(row, x + r * w->inputs, (size_t)w->inputs);
#if HAS_X86
        if (has_expand()) {
            for (int64_t i = 0; i < w->inputs; i++) row[i] = (int8_t)(row[i] ^ -128); /* x + 128 without a sign */
            avx512_int8(w, (const uint8_t *)row, &to);
            continue;
        }
        if (kernels_variant() != PLAIN) { avx2_int8(w, row, &to); continue; }
#endif
        plain_int8(w, row, &to);
    }
    return 0;
}
