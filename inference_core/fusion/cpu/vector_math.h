/* Functions without branches, which a compiler puts into vectors: within a few units in the last place of the true value,
   NaN and infinities as in PyTorch.

   exp and log after S. L. Moshier's Cephes (expf, logf), tanh and asinh with Cephes' polynomials near zero, log1p after W. Kahan's correction of log(1 + x), erf with N. Juffa's
   coefficients (minimax on two intervals). */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float fuse_of_bits(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INLINE int32_t fuse_bits(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }

/* As torch.maximum and torch.minimum: NaN if either is. Two plain choices: a compiler may not put `or` of comparisons into vectors. */
INLINE float fuse_maximum(float a, float b) { float larger = a > b ? a : b; return a != a ? a : larger; }
INLINE float fuse_minimum(float a, float b) { float smaller = a < b ? a : b; return a != a ? a : smaller; }

INLINE float fuse_exp(float x) {
    float low = x < -104.0f ? -104.0f : x, y = low > 89.0f ? 89.0f : low;
    float shifted = y * 1.44269504f + 12582912.0f;           /* the nearest whole number stands in the lowest bits */
    float n = shifted - 12582912.0f;
    float r = y - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t k = (int32_t)n, half = k >> 1;                    /* two steps, for results that are subnormal or nearly infinite */
    float result = p * fuse_of_bits((half + 127) << 23) * fuse_of_bits((k - half + 127) << 23);
    return x != x ? x : result;
}

INLINE float fuse_log(float x) {
    int small = x < 1.17549435e-38f;
    float scaled = small ? x * 8388608.0f : x;
    int32_t bits = fuse_bits(scaled);
    float e = (float)(((bits >> 23) & 255) - 126) - (small ? 23.0f : 0.0f);
    float m = fuse_of_bits((bits & 0x007fffff) | 0x3f000000); /* [0.5, 1) */
    int below = m < 0.707106781f;
    e = below ? e - 1.0f : e;
    m = below ? m + m - 1.0f : m - 1.0f;
    float z = m * m;
    float p = 7.0376836292e-2f;
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    p = p * m * z;
    p = p + e * -2.12194440e-4f;
    p = p - 0.5f * z;
    float result = (m + p) + e * 0.693359375f;
    result = x == INFINITY ? x : result;
    result = x == 0.0f ? -INFINITY : result;
    return x >= 0.0f ? result : NAN;
}

INLINE float fuse_log1p(float x) {
    float u = 1.0f + x;
    float lost = ((u - 1.0f) - x) / u;                        /* NaN where u is 0 or infinite, and nothing was lost */
    float result = fuse_log(u) - (lost == lost ? lost : 0.0f);
    return u == 1.0f ? x : result;
}

/* The polynomial of Cephes' expf below a half, exp(x) - 1 above. */
INLINE float fuse_expm1(float x) {
    float r = fabsf(x) < 0.5f ? x : 0.0f;
    float p = 1.9841270e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * (r * r) + r;
    float large = fuse_exp(x) - 1.0f;
    return fabsf(x) < 0.5f ? p : large;
}

/* A polynomial (Cephes, asinhf) below a half, log(a + sqrt(a * a + 1)) above; where a * a could be infinite, log(a) + log(2). */
INLINE float fuse_asinh(float x) {
    float a = fabsf(x), z = x * x;
    float p = 2.0122003309e-2f;
    p = p * z - 4.2699340972e-2f;
    p = p * z + 7.4847586088e-2f;
    p = p * z - 1.6666288134e-1f;
    p = p * z * x + x;
    float of = a < 1e9f ? a + sqrtf(z + 1.0f) : a;
    float far = fuse_log(of) + (a < 1e9f ? 0.0f : 0.693147181f);
    return a < 0.5f ? p : copysignf(far, x);
}

INLINE float fuse_tanh(float x) {
    float a = fabsf(x), z = x * x;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    p = p * z * x + x;
    float large = 1.0f - 2.0f / (fuse_exp(a + a) + 1.0f);
    return a < 0.625f ? p : copysignf(large, x);
}

INLINE float fuse_sigmoid(float x) { return 1.0f / (1.0f + fuse_exp(-x)); }

INLINE float fuse_erf(float x) {
    float a = fabsf(x), s = x * x;
    float r = -1.72853470e-5f * a + 3.83197126e-4f;
    float u = -3.88396438e-3f * a + 2.42546219e-2f;
    r = r * s + u;
    r = r * a - 1.06777877e-1f;
    r = r * a - 6.34846687e-1f;
    r = r * a - 1.28717512e-1f;
    r = r * a - a;
    float far = copysignf(1.0f - fuse_exp(r), x);
    float p = -5.96761703e-4f;
    p = p * s + 4.99119423e-3f;
    p = p * s - 2.67681349e-2f;
    p = p * s + 1.12819925e-1f;
    p = p * s - 3.76125336e-1f;
    p = p * s + 1.28379166e-1f;
    return a > 0.927734375f ? far : p * x + x;
}
