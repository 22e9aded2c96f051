/* Columns that follow from a row's own values. The contract is written in __init__.py; reference.py is the truth. */
#include <math.h>
#include <stdint.h>

enum operation { COPY, LOOK_UP, PERIODIC, BETWEEN, MULTIPLE, DIFFERS };

typedef struct {
    int32_t operation, source, second, column, width, pad;
    int64_t low, high, first; /* first: of the table, in floats */
} recipe;

typedef struct {
    const int64_t *wide;   /* [wides][n] */
    const int32_t *narrow; /* [..][n] */
    int64_t wides, n;
} source_table;

static int64_t value_of(const source_table *of, int32_t source, int64_t i) {
    return source < of->wides ? of->wide[source * of->n + i] : of->narrow[(source - of->wides) * of->n + i];
}

static int64_t place(int64_t value, int64_t divisor, int64_t rows) {
    int64_t quotient = value / divisor - (value % divisor < 0), rest = quotient % rows;
    return rest < 0 ? rest + rows : rest;
}

static void write_row(const recipe *of, const float *tables, int64_t value, int64_t second, float *out) {
    out += of->column;
    switch (of->operation) {
    case COPY: *out = (float)value; return;
    case BETWEEN: *out = value >= of->low && value < of->high; return;
    case MULTIPLE: *out = value > 0 && value % of->low == 0; return;
    case DIFFERS: *out = value < 0 || second < 0 ? NAN : value != second; return;
    }
    int64_t row = of->operation == PERIODIC ? place(value, of->low, of->high) : value >= 0 && value < of->high ? value : of->high;
    const float *from = tables + of->first + row * of->width;
    for (int32_t w = 0; w < of->width; w++) out[w] = from[w];
}

void value_columns(int64_t recipes, const recipe *recipe_of, const float *tables, int64_t wides, int64_t n, const int64_t *wide,
                   const int32_t *narrow, int64_t stride, float *out) {
    const source_table sources = {wide, narrow, wides, n};
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < recipes; r++) {
            const recipe *of = &recipe_of[r];
            int64_t second = of->operation == DIFFERS ? value_of(&sources, of->second, i) : 0;
            write_row(of, tables, value_of(&sources, of->source, i), second, out + i * stride);
        }
}
