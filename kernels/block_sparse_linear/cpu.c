/* y = act(x @ weight.T * scale + bias) with a weight in blocks; see the package for the contract.
 *
 * A block is worked on four outputs at a time, so that a piece of the row is read once for them. The last inputs may be fewer
 * than a block is wide: the row ends there.
 */
#include "../cpu.h"

#define FOUR 4

typedef float floats __attribute__((vector_size(64)));
typedef int32_t ints __attribute__((vector_size(64)));
typedef float loose_floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef int8_t loose_bytes __attribute__((vector_size(16), aligned(1), may_alias));

typedef struct {
    const int32_t *source, *offsets;
    int64_t outputs, inputs, height, width, rows;
    const float *scale, *bias;
    int32_t relu;
    float *y;
} layer;

INLINE void finish(const layer *of, int64_t row, int64_t output, float value) {
    if (of->scale) value *= of->scale[output];
    if (of->bias) value += of->bias[output];
    of->y[row * of->outputs + output] = of->relu && value < 0 ? 0 : value;
}

#define NAME(name) float_##name
#define VALUE float
#define SUM float
#define VECTOR floats
#define WIDEN(p) (*(const loose_floats *)(p))
#include "sums.h"

#define NAME(name) int8_##name
#define VALUE int8_t
#define SUM int32_t
#define VECTOR ints
#define WIDEN(p) __builtin_convertvector(*(const loose_bytes *)(p), ints)
#include "sums.h"

#if HAS_X86
FOR_AVX512 static void float_avx512(const layer *of, const float *values, const float *x) { float_layer(of, values, x); }
FOR_AVX512 static void int8_avx512(const layer *of, const int8_t *values, const int8_t *x) { int8_layer(of, values, x); }
FOR_AVX2 static void float_avx2(const layer *of, const float *values, const float *x) { float_layer(of, values, x); }
FOR_AVX2 static void int8_avx2(const layer *of, const int8_t *values, const int8_t *x) { int8_layer(of, values, x); }
#else
#define float_avx512 float_layer
#define int8_avx512 int8_layer
#define float_avx2 float_layer
#define int8_avx2 int8_layer
#endif

void block_sparse_float32(const float *values, const int32_t *source, const int32_t *offsets, int64_t outputs, int64_t inputs,
                          int64_t height, int64_t width, int64_t rows, const float *x, const float *scale, const float *bias,
                          int32_t relu, float *y) {
    const layer of = {source, offsets, outputs, inputs, height, width, rows, scale, bias, relu, y};
    const int variant = kernels_variant();
    if (variant == AVX512) float_avx512(&of, values, x);
    else if (variant == AVX2) float_avx2(&of, values, x);
    else float_layer(&of, values, x);
}

void block_sparse_int8(const int8_t *values, const int32_t *source, const int32_t *offsets, int64_t outputs, int64_t inputs,
                       int64_t height, int64_t width, int64_t rows, const int8_t *x, const float *scale, const float *bias,
                       int32_t relu, float *y) {
    const layer of = {source, offsets, outputs, inputs, height, width, rows, scale, bias, relu, y};
    const int variant = kernels_variant();
    if (variant == AVX512) int8_avx512(&of, values, x);
    else if (variant == AVX2) int8_avx2(&of, values, x);
    else int8_layer(&of, values, x);
}
