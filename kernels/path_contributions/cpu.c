/* Margins, and the contributions behind them, of bins [columns][rows]. See kernels/cpu.h for the tables. */
#include <string.h>

#include "../cpu.h"

/* contributions is [rows][features] or NULL */
int trees_on_bins(const tree_table *trees, const uint8_t *bins, int64_t rows, float *margin, float *contributions) {
    const size_t half = (size_t)trees->columns * BLOCK;
    const size_t sums = contributions ? (size_t)trees->features * BLOCK * sizeof(int64_t) : 0;
    uint8_t *block = kernels_scratch(2 * half + sums);
    if (block == NULL) return -1;
    int64_t *changes = contributions ? (int64_t *)(block + 2 * half) : NULL;
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const int64_t here = rows - first < BLOCK ? rows - first : BLOCK;
        for (int64_t k = 0; k < trees->columns; k++) {
            memcpy(block + half + k * BLOCK, bins + k * rows + first, (size_t)here);
            memset(block + half + k * BLOCK + here, 0, (size_t)(BLOCK - here));
        }
        shift_block(trees->columns, block + half, block);
        if (changes) memset(changes, 0, sums);
        int64_t totals[BLOCK];
        trees_block(trees, block, here, totals, changes);
        for (int64_t r = 0; r < here; r++) margin[first + r] = (float)(trees->base + (double)totals[r] * trees->unit);
        if (changes == NULL) continue;
        for (int64_t i = 0; i < here * trees->features; i++)
            contributions[first * trees->features + i] = (float)((double)changes[i] * trees->unit);
    }
    return 0;
}
