/* All nodes of a complete tree for a block of rows, bottom up: no branch depends on a row.
 *
 * Included once for each instruction set, with
 *   TILE(name)   the function's name for this set
 *   FOR_SET      the target attribute
 *   vector, LANES, and the operations load, spread (of a rank), take_right(left, right + step, goes right).
 * With PAIR, two vectors of rows go together, so that a node's fields are loaded once for both; without, one.
 */

typedef struct {
    vector a, b;
} TILE(pair);

#define EACH static inline __attribute__((always_inline)) FOR_SET

EACH TILE(pair) TILE(choose)(const tile_node **at, const uint8_t *rows, TILE(pair) left, TILE(pair) right, int step) {
    const tile_node node = *(*at)++;
    const vector rank = TILE(spread)(node.rank);
    const uint8_t *bins = rows + node.offset;
    TILE(pair) chosen = {TILE(take_right)(TILE(load)(bins), rank, left.a, right.a, step), left.b};
    if (PAIR) chosen.b = TILE(take_right)(TILE(load)(bins + LANES), rank, left.b, right.b, step);
    return chosen;
}

EACH TILE(pair) TILE(level1)(const tile_node **at, const uint8_t *rows) {
    const TILE(pair) zero = {TILE(zero)(), TILE(zero)()};
    return TILE(choose)(at, rows, zero, zero, 1);
}

#define LEVEL(number, below, step)                                                                                     \
    EACH TILE(pair) TILE(number)(const tile_node **at, const uint8_t *rows) {                                           \
        TILE(pair) left = TILE(below)(at, rows);                                                                       \
        TILE(pair) right = TILE(below)(at, rows);                                                                      \
        return TILE(choose)(at, rows, left, right, step);                                                              \
    }
LEVEL(level2, level1, 2)
LEVEL(level3, level2, 4)
LEVEL(level4, level3, 8)
LEVEL(level5, level4, 16)
LEVEL(level6, level5, 32)
#undef LEVEL

/* leaf[trees][BLOCK]: which leaf each row reaches */
FOR_SET static void TILE(find_leaves)(const tile_node *nodes, int depth, int64_t trees, const uint8_t *block, int64_t rows,
                                      uint8_t *leaf) {
    for (int64_t from = 0; from < rows; from += (1 + PAIR) * LANES) {
        const tile_node *at = nodes;
        const uint8_t *first = block + from;
        for (int64_t t = 0; t < trees; t++) {
            TILE(pair) found;
            switch (depth) {
                case 1: found = TILE(level1)(&at, first); break;
                case 2: found = TILE(level2)(&at, first); break;
                case 3: found = TILE(level3)(&at, first); break;
                case 4: found = TILE(level4)(&at, first); break;
                case 5: found = TILE(level5)(&at, first); break;
                default: found = TILE(level6)(&at, first); break;
            }
            TILE(store)(leaf + t * BLOCK + from, found.a);
            if (PAIR) TILE(store)(leaf + t * BLOCK + from + LANES, found.b);
        }
    }
}
#undef EACH
