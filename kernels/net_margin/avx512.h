/* The net's layers with AVX-512: vpdpbusd multiplies four activations by four weights for each of sixteen outputs. */

#define EACH INLINE FOR_AVX512

/* Sixteen outputs: see finish_panel in cpu.c. The conversion rounds half to even. */
EACH void avx512_finish_panel(finish of, int64_t first, __m512i sum, __m512i threshold) {
    sum = _mm512_add_epi32(sum, _mm512_loadu_si512(of.bias + first));
    __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(of.scale + first));
    value = _mm512_min_ps(_mm512_max_ps(value, _mm512_setzero_ps()), _mm512_set1_ps(127.0f));
    const __m512i given = _mm512_cvtps_epi32(value);
    const __m512i kept = _mm512_maskz_mov_epi32(_mm512_cmpge_epi32_mask(given, threshold), given);
    _mm_storeu_si128((__m128i *)(of.out + first), _mm512_cvtepi32_epi8(kept));
}

FOR_AVX512 static void avx512_finish(const net_layer *layer, finish of, const int32_t *sum) {
    const __m512i threshold = _mm512_set1_epi32((int)layer->threshold);
    for (int64_t o = 0; o < layer->outputs; o += PANEL) avx512_finish_panel(of, o, _mm512_load_si512(sum + o), threshold);
}

/* `panels` sixteens of outputs at a time, in registers. A product with 1 and 0 widens the even places of a row, which are the
 * first sixteen of its 32 outputs, and one with 0 and 1 the odd ones: see pairs_of in native_layout.py. */
EACH void avx512_add_rows(const int16_t *table, const int32_t *place, int64_t features, int64_t first, int32_t *sum,
                          int panels) {
    __m512i part[16];
    const __m512i even = _mm512_set1_epi32(1), odd = _mm512_set1_epi32(1 << 16);
#pragma GCC unroll 16
    for (int p = 0; p < panels; p++) part[p] = _mm512_setzero_si512();
    for (int64_t f = 0; f < features; f++) {
        const int16_t *of = table + place[f] + first;
#pragma GCC unroll 8
        for (int p = 0; p < panels; p += 2) {
            const __m512i both = _mm512_loadu_si512(of + p * PANEL);
            part[p] = _mm512_dpwssd_epi32(part[p], both, even);
            part[p + 1] = _mm512_dpwssd_epi32(part[p + 1], both, odd);
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < panels; p++) _mm512_store_si512(sum + first + p * PANEL, part[p]);
}

FOR_AVX512 static void avx512_first(const int16_t *table, const int32_t *place, int64_t features, int64_t width, int32_t *sum) {
    int64_t h = 0;
    for (; h + 256 <= width; h += 256) avx512_add_rows(table, place, features, h, sum, 16);
    for (; h < width; h += 64) avx512_add_rows(table, place, features, h, sum, 4);
}

/* --- dense ------------------------------------------------------------------------------------------------------------ */

/* `count` vectors against 64 outputs: sixteen sums, whose additions overlap, for eight loads. */
EACH void avx512_tile(const net_layer *layer, const uint8_t *a, int64_t vector, int64_t members, int64_t first, uint8_t *out,
                      int count) {
    __m512i sum[4][4];
#pragma GCC unroll 4
    for (int v = 0; v < count; v++)
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) sum[v][p] = _mm512_setzero_si512();
    const int64_t inputs = layer->inputs;
    const int8_t *w = layer->quads + first * 4;
    a += vector * inputs;
    for (int64_t i = 0; i < inputs; i += 4, w += layer->stride) {
        __m512i of[4];
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) of[p] = _mm512_loadu_si512(w + 64 * p);
#pragma GCC unroll 4
        for (int v = 0; v < count; v++) {
            const __m512i quad = _mm512_set1_epi32((int)four(a + v * inputs + i));
#pragma GCC unroll 4
            for (int p = 0; p < 4; p++) sum[v][p] = _mm512_dpbusd_epi32(sum[v][p], quad, of[p]);
        }
    }
    const __m512i threshold = _mm512_set1_epi32((int)layer->threshold);
#pragma GCC unroll 4
    for (int v = 0; v < count; v++) {
        const finish to = finish_of(layer, vector + v, members, out);
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++) avx512_finish_panel(to, first + p * PANEL, sum[v][p], threshold);
    }
}

FOR_AVX512 static void avx512_dense(const net_layer *layer, const uint8_t *a, int64_t vectors, int64_t members, uint8_t *out) {
    for (int64_t o = 0; o < layer->outputs; o += 4 * PANEL) {
        int64_t v = 0;
        for (; v + 4 <= vectors; v += 4) avx512_tile(layer, a, v, members, o, out, 4);
        for (; v < vectors; v++) avx512_tile(layer, a, v, members, o, out, 1);
    }
}

/* --- sparse ----------------------------------------------------------------------------------------------------------- */

FOR_AVX512 static density avx512_density(const uint8_t *a, int64_t count) {
    density found = {0, 0};
    for (int64_t i = 0; i < count; i += 64) {
        const __m512i of = _mm512_loadu_si512(a + i);
        found.units += _mm_popcnt_u64(_mm512_test_epi8_mask(of, of));
        found.quads += _mm_popcnt_u32(_mm512_test_epi32_mask(of, of));
    }
    return found;
}

/* The quads that are not zero, and where their weights begin. Returns how many. */
EACH int64_t avx512_list_quads(const net_layer *layer, const uint8_t *a, int32_t *quad, int32_t *at) {
    const __m512i ascending = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i stride = _mm512_set1_epi32((int)layer->stride);
    int64_t count = 0;
    for (int64_t i = 0; i < layer->inputs; i += 64) {
        const __m512i of = _mm512_loadu_si512(a + i);
        const __mmask16 some = _mm512_test_epi32_mask(of, of);
        const __m512i place = _mm512_mullo_epi32(_mm512_add_epi32(ascending, _mm512_set1_epi32((int)(i / 4))), stride);
        _mm512_storeu_si512(quad + count, _mm512_maskz_compress_epi32(some, of));
        _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(some, place));
        count += _mm_popcnt_u32(some);
    }
    return count;
}

/* The units that are not zero, and their numbers within each 64; the list is filled up to whole fours with zeros. */
EACH int64_t avx512_list_units(const net_layer *layer, const uint8_t *a, uint8_t *unit, uint16_t *at) {
    uint8_t ascending[64];
    for (int i = 0; i < 64; i++) ascending[i] = (uint8_t)i;
    const __m512i numbers = _mm512_loadu_si512(ascending);
    int64_t count = 0;
    for (int64_t i = 0; i < layer->inputs; i += 64) {
        const __m512i of = _mm512_loadu_si512(a + i);
        const __mmask64 some = _mm512_test_epi8_mask(of, of);
        _mm512_storeu_si512(unit + count, _mm512_maskz_compress_epi8(some, of));
        const __m512i packed = _mm512_maskz_compress_epi8(some, numbers), base = _mm512_set1_epi16((short)i);
        const __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(packed));
        const __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(packed, 1));
        _mm512_storeu_si512(at + count, _mm512_add_epi16(low, base));
        _mm512_storeu_si512(at + count + 32, _mm512_add_epi16(high, base));
        count += _mm_popcnt_u64(some);
    }
    for (; count & 3; count++) unit[count] = 0, at[count] = 0;
    return count;
}

EACH void avx512_some_quads(const net_layer *layer, const int32_t *quad, const int32_t *at, int64_t count, int64_t first,
                            finish of, int panels) {
    __m512i sum[16];
#pragma GCC unroll 16
    for (int p = 0; p < panels; p++) sum[p] = _mm512_setzero_si512();
    for (int64_t q = 0; q < count; q++) {
        const __m512i a = _mm512_set1_epi32(quad[q]);
        const int8_t *w = layer->quads + at[q] + first * 4;
#pragma GCC unroll 16
        for (int p = 0; p < panels; p++) sum[p] = _mm512_dpbusd_epi32(sum[p], a, _mm512_loadu_si512(w + 64 * p));
    }
    const __m512i threshold = _mm512_set1_epi32((int)layer->threshold);
#pragma GCC unroll 16
    for (int p = 0; p < panels; p++) avx512_finish_panel(of, first + p * PANEL, sum[p], threshold);
}

/* Four rows of weights are joined to quads on the way: see units_of in native_layout.py for their order. */
EACH void avx512_some_units(const net_layer *layer, const uint8_t *unit, const uint16_t *at, int64_t count, int64_t first,
                            finish of, int panels) {
    __m512i sum[16];
    const int64_t outputs = layer->outputs;
#pragma GCC unroll 16
    for (int p = 0; p < panels; p++) sum[p] = _mm512_setzero_si512();
    for (int64_t u = 0; u < count; u += 4) {
        const __m512i a = _mm512_set1_epi32((int)four(unit + u));
        const int8_t *w0 = layer->units + at[u] * outputs + first, *w1 = layer->units + at[u + 1] * outputs + first;
        const int8_t *w2 = layer->units + at[u + 2] * outputs + first, *w3 = layer->units + at[u + 3] * outputs + first;
#pragma GCC unroll 4
        for (int p = 0; p < panels; p += 4) {
            const __m512i r0 = _mm512_loadu_si512(w0 + p * PANEL), r1 = _mm512_loadu_si512(w1 + p * PANEL);
            const __m512i r2 = _mm512_loadu_si512(w2 + p * PANEL), r3 = _mm512_loadu_si512(w3 + p * PANEL);
            const __m512i low01 = _mm512_unpacklo_epi8(r0, r1), high01 = _mm512_unpackhi_epi8(r0, r1);
            const __m512i low23 = _mm512_unpacklo_epi8(r2, r3), high23 = _mm512_unpackhi_epi8(r2, r3);
            sum[p] = _mm512_dpbusd_epi32(sum[p], a, _mm512_unpacklo_epi16(low01, low23));
            sum[p + 1] = _mm512_dpbusd_epi32(sum[p + 1], a, _mm512_unpackhi_epi16(low01, low23));
            sum[p + 2] = _mm512_dpbusd_epi32(sum[p + 2], a, _mm512_unpacklo_epi16(high01, high23));
            sum[p + 3] = _mm512_dpbusd_epi32(sum[p + 3], a, _mm512_unpackhi_epi16(high01, high23));
        }
    }
    const __m512i threshold = _mm512_set1_epi32((int)layer->threshold);
#pragma GCC unroll 16
    for (int p = 0; p < panels; p++) avx512_finish_panel(of, first + p * PANEL, sum[p], threshold);
}

FOR_AVX512 static void avx512_sparse(const net_layer *layer, int by_unit, const uint8_t *a, int64_t vectors, int64_t members,
                                     uint8_t *out) {
    int32_t quad[MOST_WIDTH / 4 + 16], place[MOST_WIDTH / 4 + 16];
    uint8_t unit[MOST_WIDTH + 64];
    uint16_t at[MOST_WIDTH + 64];
    for (int64_t v = 0; v < vectors; v++, a += layer->inputs) {
        const finish of = finish_of(layer, v, members, out);
        const int64_t count = by_unit ? avx512_list_units(layer, a, unit, at) : avx512_list_quads(layer, a, quad, place);
        int64_t o = 0;
        for (; o + 256 <= layer->outputs; o += 256) {
            if (by_unit) avx512_some_units(layer, unit, at, count, o, of, 16);
            else avx512_some_quads(layer, quad, place, count, o, of, 16);
        }
        for (; o < layer->outputs; o += 64) {
            if (by_unit) avx512_some_units(layer, unit, at, count, o, of, 4);
            else avx512_some_quads(layer, quad, place, count, o, of, 4);
        }
    }
}

/* --- the head --------------------------------------------------------------------------------------------------------- */

FOR_AVX512 static int32_t avx512_head(const int8_t *head, const uint8_t *a, int64_t count) {
    __m512i total[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t i = 0; i < count; i += 64)
        total[i >> 6 & 1] = _mm512_dpbusd_epi32(total[i >> 6 & 1], _mm512_loadu_si512(a + i), _mm512_loadu_si512(head + i));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(total[0], total[1]));
}
#undef EACH
