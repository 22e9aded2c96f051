/* Totals of the net on blocks of bins. See kernels/cpu.h for the table.
 *
 * Some rows at a time: all members' activations of a chunk are "vectors", one after the other, and each layer is a product of
 * vectors and a matrix of bytes. The dense way takes four vectors against 64 outputs at a time; the sparse ways take one
 * vector against all outputs and leave out inputs that are zero.
 */
#include <string.h>

#include "../cpu.h"

#define CHUNK 64 /* vectors at a time: with what they become they stay in the second-level cache */
#define SOME 8   /* rows whose places in the first layer are found at a time */
#define PANEL 16 /* outputs whose weights are one line of 64 bytes */

enum { AUTO = 0, DENSE, QUADS, UNITS };

/* What a quad that is not zero, or four units that are not, cost in quads of the dense way: measured on Zen 5, one row of 8
 * members and batches alike, in eighths. */
#define QUAD_COST 14
#define UNIT_COST 18

/* One member's part of a layer's activation: outputs and where they go. */
typedef struct {
    const int32_t *bias;
    const float *scale;
    uint8_t *out;
} finish;

INLINE finish finish_of(const net_layer *layer, int64_t vector, int64_t members, uint8_t *out) {
    const int64_t from = vector % members * layer->outputs;
    return (finish){layer->bias + from, layer->scale + from, out + vector * layer->outputs};
}

typedef struct {
    int64_t quads, units; /* of all vectors: how many are not zero */
} density;

/* Sixteen outputs. Between the limits no rounding is lost by adding 1.5 * 2^23, which leaves the nearest even integer in the low
 * bits; compiled without contraction, as all floats here are (see setup.py). */
INLINE void finish_panel(finish of, int64_t first, const int32_t *sum, int32_t threshold) {
    int32_t given[PANEL];
    for (int i = 0; i < PANEL; i++) {
        float value = (float)(sum[i] + of.bias[first + i]) * of.scale[first + i];
        value = value > 0.0f ? value : 0.0f;
        value = value < 127.0f ? value : 127.0f;
        const float nearest = (value + 12582912.0f) - 12582912.0f;
        given[i] = (int32_t)nearest;
    }
    for (int i = 0; i < PANEL; i++) of.out[first + i] = (uint8_t)(given[i] >= threshold ? given[i] : 0);
}

INLINE uint32_t four(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

/* --- the first layer -------------------------------------------------------------------------------------------------- */

/* Where in `first` the rows begin that some rows of bins read: those of a column lie side by side. */
static void find_rows(const net_table *net, const uint8_t *plain, int64_t stride, int64_t rows, int32_t place[][MOST_FEATURES]) {
    const int32_t width = (int32_t)net->layer[0].outputs;
    for (int64_t f = 0; f < net->features; f++) {
        const int32_t first = net->offset[f], last = net->offset[f + 1] - 1;
        for (int64_t i = 0; i < rows; i++) {
            int32_t at = first;
            for (int32_t r = net->reads[f]; r < net->reads[f + 1]; r++)
                at += net->rank[r * 256 + plain[net->column[r] * stride + i]];
            place[i][f] = (at < last ? at : last) * width;
        }
    }
}

/* A row's places of 32 outputs are those of the first sixteen and of the others in turn. */
INLINE void add_rows(const int16_t *first, const int32_t *place, int64_t features, int64_t width, int32_t *sum) {
    int32_t paired[MOST_WIDTH];
    memset(paired, 0, (size_t)width * sizeof(int32_t));
    for (int64_t f = 0; f < features; f++) {
        const int16_t *row = first + place[f];
        for (int64_t h = 0; h < width; h++) paired[h] += row[h];
    }
    for (int64_t h = 0; h < width; h += 2 * PANEL)
        for (int i = 0; i < PANEL; i++) {
            sum[h + i] = paired[h + 2 * i];
            sum[h + PANEL + i] = paired[h + 2 * i + 1];
        }
}

/* --- plain C ---------------------------------------------------------------------------------------------------------- */

static void plain_first(const int16_t *first, const int32_t *place, int64_t features, int64_t width, int32_t *sum) {
    add_rows(first, place, features, width, sum);
}

static void plain_finish(const net_layer *layer, finish of, const int32_t *sum) {
    for (int64_t o = 0; o < layer->outputs; o += PANEL) finish_panel(of, o, sum + o, (int32_t)layer->threshold);
}

/* One vector against all outputs, quads that are zero left out. */
static void plain_vector(const net_layer *layer, const uint8_t *a, finish of) {
    int32_t sum[MOST_WIDTH];
    memset(sum, 0, (size_t)layer->outputs * sizeof(int32_t));
    for (int64_t i = 0; i < layer->inputs; i += 4) {
        if (four(a + i) == 0) continue;
        const int8_t *w = layer->quads + (i >> 2) * layer->stride;
        for (int64_t o = 0; o < layer->outputs; o++, w += 4)
            sum[o] += a[i] * w[0] + a[i + 1] * w[1] + a[i + 2] * w[2] + a[i + 3] * w[3];
    }
    plain_finish(layer, of, sum);
}

static void plain_layer(const net_layer *layer, const uint8_t *a, int64_t vectors, int64_t members, uint8_t *out) {
    for (int64_t v = 0; v < vectors; v++) plain_vector(layer, a + v * layer->inputs, finish_of(layer, v, members, out));
}

static int32_t plain_head(const int8_t *head, const uint8_t *a, int64_t count) {
    int32_t total = 0;
    for (int64_t i = 0; i < count; i++) total += a[i] * head[i];
    return total;
}

#if HAS_X86
#include "avx2.h"
#include "avx512.h"
#endif

/* --- which way -------------------------------------------------------------------------------------------------------- */

static density plain_density(const uint8_t *a, int64_t count) {
    density found = {0, 0};
    for (int64_t i = 0; i < count; i += 4) {
        found.quads += four(a + i) != 0;
        for (int j = 0; j < 4; j++) found.units += a[i + j] != 0;
    }
    return found;
}

static density density_of(const uint8_t *a, int64_t count, int variant) {
#if HAS_X86
    if (variant == AVX512) return avx512_density(a, count);
#endif
    (void)variant;
    return plain_density(a, count);
}

/* The cheapest way for these vectors by what the ways cost. */
static int cheapest(density found, int64_t count) {
    const int64_t dense = count / 4 * 8, quads = found.quads * QUAD_COST, units = found.units / 4 * UNIT_COST;
    if (dense <= quads && dense <= units) return DENSE;
    return quads <= units ? QUADS : UNITS;
}

static void run_layer(const net_layer *layer, int path, const uint8_t *a, int64_t vectors, int64_t members, uint8_t *out,
                      int64_t *work) {
    const int variant = kernels_variant();
    const int64_t count = vectors * layer->inputs;
    density found = {0, 0};
    if (path == AUTO || work) found = density_of(a, count, variant);
    if (path == AUTO) path = cheapest(found, count);
    if (variant == PLAIN) path = QUADS;
    if (variant == AVX2 && path == UNITS) path = QUADS;
    if (work) {
        work[0] += found.units * layer->outputs;
        work[1] += (path == DENSE ? count : path == QUADS ? found.quads * 4 : found.units) * layer->outputs;
    }
#if HAS_X86
    if (variant == AVX512) {
        if (path == DENSE) avx512_dense(layer, a, vectors, members, out);
        else avx512_sparse(layer, path == UNITS, a, vectors, members, out);
        return;
    }
    if (variant == AVX2) {
        if (path == DENSE) avx2_dense(layer, a, vectors, members, out);
        else avx2_sparse(layer, a, vectors, members, out);
        return;
    }
#endif
    plain_layer(layer, a, vectors, members, out);
}

/* --- a chunk of rows -------------------------------------------------------------------------------------------------- */

static void first_layer(const net_table *net, const uint8_t *plain, int64_t stride, int64_t rows, uint8_t *out) {
    const net_layer *layer = &net->layer[0];
    int32_t place[SOME][MOST_FEATURES], sum[MOST_WIDTH] __attribute__((aligned(64)));
    const int variant = kernels_variant();
    for (int64_t r = 0; r < rows; r++) {
        if (r % SOME == 0) find_rows(net, plain + r, stride, rows - r < SOME ? rows - r : SOME, place);
        const int32_t *at = place[r % SOME];
#if HAS_X86
        if (variant == AVX512) avx512_first(net->first, at, net->features, layer->outputs, sum);
        else if (variant == AVX2) avx2_first(net->first, at, net->features, layer->outputs, sum);
        else
#endif
            plain_first(net->first, at, net->features, layer->outputs, sum);
        for (int64_t k = 0; k < net->members; k++) {
            const finish of = finish_of(layer, r * net->members + k, net->members, out);
#if HAS_X86
            if (variant == AVX512) avx512_finish(layer, of, sum);
            else if (variant == AVX2) avx2_finish(layer, of, sum);
            else
#endif
                plain_finish(layer, of, sum);
        }
    }
    (void)variant;
}

static void run_chunk(const net_table *net, const uint8_t *plain, int64_t stride, int64_t rows, int path, int32_t *totals,
                      int64_t *work) {
    uint8_t buffer[2][CHUNK * MOST_WIDTH] __attribute__((aligned(64)));
    first_layer(net, plain, stride, rows, buffer[0]);
    int at = 0;
    for (int64_t l = 1; l < net->layers; l++, at ^= 1)
        run_layer(&net->layer[l], path, buffer[at], rows * net->members, net->members, buffer[at ^ 1], work);
    const int64_t count = net->members * net->layer[net->layers - 1].outputs;
    for (int64_t r = 0; r < rows; r++) {
        const uint8_t *a = buffer[at] + r * count;
#if HAS_X86
        if (kernels_variant() == AVX512) {
            totals[r] = avx512_head(net->head, a, count);
            continue;
        }
#endif
        totals[r] = plain_head(net->head, a, count);
    }
}

static void run_rows(const net_table *net, const uint8_t *plain, int64_t stride, int64_t rows, int path, int32_t *totals,
                     int64_t *work) {
    const int64_t some = net->members >= CHUNK ? 1 : CHUNK / net->members;
    for (int64_t first = 0; first < rows; first += some) {
        const int64_t here = rows - first < some ? rows - first : some;
        run_chunk(net, plain + first, stride, here, path, totals + first, work);
    }
}

void net_terms(const net_table *net, const uint8_t *plain, int64_t stride, int64_t rows, int64_t *terms) {
    int32_t totals[BLOCK];
    run_rows(net, plain, stride, rows, AUTO, totals, NULL);
    const int64_t half = (int64_t)1 << (net->shift - 1);
    for (int64_t r = 0; r < rows; r++) terms[r] = ((int64_t)totals[r] * net->multiplier + half) >> net->shift;
}

/* bins[columns][rows]; where work is not NULL, it becomes the multiplications that are needed, and those that were done */
int net_totals(const net_table *net, const uint8_t *bins, int64_t rows, int path, int32_t *totals, int64_t *work) {
    if (work) work[0] = work[1] = 0;
    run_rows(net, bins, rows, rows, path, totals, work);
    return 0;
}
