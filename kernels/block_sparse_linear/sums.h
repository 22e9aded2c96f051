/* One type of values: sums of up to FOUR outputs of a strip of blocks, and the layer made of them. Included by cpu.c with
 * NAME(x), VALUE, SUM, VECTOR (16 sums) and WIDEN(p) (16 values as a VECTOR) defined.
 */
INLINE void NAME(sums)(const layer *of, const VALUE *values, const VALUE *x, int64_t strip, int64_t first, int64_t count, SUM *sums) {
    VECTOR wide[FOUR] = {{0}};
    for (int64_t b = of->offsets[strip]; b < of->offsets[strip + 1]; b++) {
        const int64_t start = of->source[b] * of->width;
        const int64_t width = start + of->width <= of->inputs ? of->width : of->inputs - start;
        const VALUE *block = values + (b * of->height + first) * of->width, *piece = x + start;
        int64_t i = 0;
        for (; i + 16 <= width; i += 16) {
            const VECTOR inputs = WIDEN(piece + i);
            for (int64_t o = 0; o < count; o++) wide[o] += inputs * WIDEN(block + o * of->width + i);
        }
        for (; i < width; i++)
            for (int64_t o = 0; o < count; o++) sums[o] += (SUM)piece[i] * (SUM)block[o * of->width + i];
    }
    for (int64_t o = 0; o < count; o++)
        for (int lane = 0; lane < 16; lane++) sums[o] += wide[o][lane];
}

INLINE void NAME(layer)(const layer *of, const VALUE *values, const VALUE *x) {
    for (int64_t strip = 0; strip * of->height < of->outputs; strip++)
        for (int64_t first = 0; first < of->height && strip * of->height + first < of->outputs; first += FOUR) {
            const int64_t output = strip * of->height + first;
            int64_t count = of->height - first < FOUR ? of->height - first : FOUR;
            if (count > of->outputs - output) count = of->outputs - output;
            for (int64_t row = 0; row < of->rows; row++) {
                SUM sums[FOUR] = {0};
                /* The common case with a constant, so that the loops over outputs are unrolled. */
                if (count == FOUR) NAME(sums)(of, values, x + row * of->inputs, strip, first, FOUR, sums);
                else NAME(sums)(of, values, x + row * of->inputs, strip, first, count, sums);
                for (int64_t o = 0; o < count; o++) finish(of, row, output + o, (float)sums[o]);
            }
        }
}
#undef NAME
#undef VALUE
#undef SUM
#undef VECTOR
#undef WIDEN
