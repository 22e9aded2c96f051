/* The k largest values of each row with their columns, largest first; ties by the lower column, NaN never. k is small. */
#include <math.h>

#include "../cpu.h"

void top_values(const float *x, int64_t rows, int64_t columns, int64_t k, int32_t *position, float *value) {
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * columns;
        int32_t *at = position + r * k;
        float *best = value + r * k;
        for (int64_t j = 0; j < k; j++) { at[j] = -1; best[j] = -INFINITY; }
        for (int64_t c = 0; c < columns; c++) {
            if (!(row[c] > best[k - 1])) continue;
            int64_t j = k - 1;
            for (; j > 0 && row[c] > best[j - 1]; j--) { best[j] = best[j - 1]; at[j] = at[j - 1]; }
            best[j] = row[c]; at[j] = (int32_t)c;
        }
    }
}
