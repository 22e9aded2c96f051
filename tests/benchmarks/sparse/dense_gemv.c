/* Dense peers of kernels/bitmap_gemv for one row, as fast as this processor allows: built with -O3 -march=native.
 * Four outputs side by side; inputs are a multiple of 64. */
#include <stdint.h>

#ifdef __AVX512VNNI__
#include <immintrin.h>

void dense_float32(const float *weight, const float *x, int64_t outputs, int64_t inputs, float *y) {
    for (int64_t o = 0; o < outputs; o += 4) {
        __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
        for (int64_t i = 0; i < inputs; i += 16)
            for (int r = 0; r < 4; r++)
                sum[r] = _mm512_fmadd_ps(_mm512_loadu_ps(weight + (o + r) * inputs + i), _mm512_loadu_ps(x + i), sum[r]);
        for (int r = 0; r < 4; r++) y[o + r] = _mm512_reduce_add_ps(sum[r]);
    }
}

/* x + 128 without a sign, and 128 times each weight row's sum taken away again. */
void dense_int8(const int8_t *weight, const uint8_t *x, const int32_t *sums, const float *scale, int64_t outputs, int64_t inputs,
                float *y) {
    for (int64_t o = 0; o < outputs; o += 4) {
        __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
        for (int64_t i = 0; i < inputs; i += 64)
            for (int r = 0; r < 4; r++)
                sum[r] = _mm512_dpbusd_epi32(sum[r], _mm512_loadu_si512(x + i), _mm512_loadu_si512(weight + (o + r) * inputs + i));
        for (int r = 0; r < 4; r++) y[o + r] = scale[o + r] * (float)(_mm512_reduce_add_epi32(sum[r]) - 128 * sums[o + r]);
    }
}
#else
void dense_float32(const float *weight, const float *x, int64_t outputs, int64_t inputs, float *y) {
    for (int64_t o = 0; o < outputs; o++) {
        float sum = 0;
        for (int64_t i = 0; i < inputs; i++) sum += weight[o * inputs + i] * x[i];
        y[o] = sum;
    }
}

void dense_int8(const int8_t *weight, const uint8_t *x, const int32_t *sums, const float *scale, int64_t outputs, int64_t inputs,
                float *y) {
    for (int64_t o = 0; o < outputs; o++) {
        int32_t sum = 0;
        for (int64_t i = 0; i < inputs; i++) sum += weight[o * inputs + i] * x[i];
        y[o] = scale[o] * (float)(sum - 128 * sums[o]);
    }
}
#endif
