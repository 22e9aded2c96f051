/* The net's layers with AVX2. Activations are at most 127, so that the pairs of vpmaddubsw fit into 16 bits: 2 * 127 * 128. */

#define EACH INLINE FOR_AVX2

FOR_AVX2 static void avx2_first(const int16_t *first, const int32_t *place, int64_t features, int64_t width, int32_t *sum) {
    add_rows(first, place, features, width, sum);
}

FOR_AVX2 static void avx2_finish(const net_layer *layer, finish of, const int32_t *sum) {
    for (int64_t o = 0; o < layer->outputs; o += PANEL) finish_panel(of, o, sum + o, (int32_t)layer->threshold);
}

EACH __m256i avx2_dot(__m256i sum, __m256i a, const int8_t *w) {
    const __m256i pairs = _mm256_maddubs_epi16(a, _mm256_loadu_si256((const __m256i *)w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

EACH void avx2_store(const net_layer *layer, finish of, int64_t first, __m256i low, __m256i high) {
    int32_t sum[PANEL] __attribute__((aligned(32)));
    _mm256_store_si256((__m256i *)sum, low);
    _mm256_store_si256((__m256i *)(sum + 8), high);
    finish_panel(of, first, sum, (int32_t)layer->threshold);
}

/* `count` vectors against 16 outputs. */
EACH void avx2_tile(const net_layer *layer, const uint8_t *a, int64_t vector, int64_t members, int64_t first, uint8_t *out,
                    int count) {
    __m256i sum[4][2];
#pragma GCC unroll 4
    for (int v = 0; v < count; v++) sum[v][0] = sum[v][1] = _mm256_setzero_si256();
    const int64_t inputs = layer->inputs;
    const int8_t *w = layer->quads + first * 4;
    a += vector * inputs;
    for (int64_t i = 0; i < inputs; i += 4, w += layer->stride) {
#pragma GCC unroll 4
        for (int v = 0; v < count; v++) {
            const __m256i quad = _mm256_set1_epi32((int)four(a + v * inputs + i));
            sum[v][0] = avx2_dot(sum[v][0], quad, w);
            sum[v][1] = avx2_dot(sum[v][1], quad, w + 32);
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < count; v++)
        avx2_store(layer, finish_of(layer, vector + v, members, out), first, sum[v][0], sum[v][1]);
}

FOR_AVX2 static void avx2_dense(const net_layer *layer, const uint8_t *a, int64_t vectors, int64_t members, uint8_t *out) {
    for (int64_t o = 0; o < layer->outputs; o += PANEL) {
        int64_t v = 0;
        for (; v + 4 <= vectors; v += 4) avx2_tile(layer, a, v, members, o, out, 4);
        for (; v < vectors; v++) avx2_tile(layer, a, v, members, o, out, 1);
    }
}

/* One vector against 64 outputs at a time, quads that are zero left out. */
FOR_AVX2 static void avx2_sparse(const net_layer *layer, const uint8_t *a, int64_t vectors, int64_t members, uint8_t *out) {
    int32_t quad[MOST_WIDTH / 4];
    for (int64_t v = 0; v < vectors; v++, a += layer->inputs) {
        const finish of = finish_of(layer, v, members, out);
        int64_t count = 0;
        for (int64_t i = 0; i < layer->inputs; i += 4) {
            quad[count] = (int32_t)i;
            count += four(a + i) != 0;
        }
        for (int64_t o = 0; o < layer->outputs; o += 64) {
            __m256i sum[8];
#pragma GCC unroll 8
            for (int p = 0; p < 8; p++) sum[p] = _mm256_setzero_si256();
            for (int64_t q = 0; q < count; q++) {
                const __m256i of_quad = _mm256_set1_epi32((int)four(a + quad[q]));
                const int8_t *w = layer->quads + (quad[q] >> 2) * layer->stride + o * 4;
#pragma GCC unroll 8
                for (int p = 0; p < 8; p++) sum[p] = avx2_dot(sum[p], of_quad, w + 32 * p);
            }
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++) avx2_store(layer, of, o + p * PANEL, sum[2 * p], sum[2 * p + 1]);
        }
    }
}
#undef EACH
