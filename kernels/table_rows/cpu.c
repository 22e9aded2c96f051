/* Rows of a table in PostgreSQL's binary COPY format; the contract is in __init__.py, reference.py is the truth that this
 * file is tested against.
 *
 * The arrays come joined into one piece of memory, as finding the address of each would take longer than a single row. First
 * all is checked and the room is measured (table_rows_room), then written without a further look (table_rows_write).
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../cpu.h"

enum kind { FIXED, NUMBER, FLAG, WORD, LOWEST_BIT, TOKEN, PART, SLICE, JOINED, PACKED };
enum type { SMALLINT, INTEGER, BIGINT, DOUBLE, BOOLEAN, TEXT, BYTEA, TIMESTAMPTZ };
enum element { I8, I4, U4, U2, U1, F8, F4 };
enum { SIGNATURE_BYTES = 19, TRAILER_BYTES = 2 };
#define EPOCH_US 946684800000000LL /* from 1970 to 2000 */
#define FIRST_US (-62135596800000000LL)
#define LAST_US 253402300799999999LL

typedef struct { int64_t start, size; } span;

/* kernels/table_rows/native_layout.py has the same fields. */
typedef struct {
    int32_t kind, type, element, text;
    int64_t before, row, at; /* bytes a row of the arrays before this one, of this one, and in its row before the element */
    int64_t other;           /* of a token: as `before`, of the array of lengths; which has rows as wide as the starts' */
    int64_t value;           /* mask, width, or a row's number of floats */
    int64_t first, count;    /* of the words or the pieces */
} column;

typedef struct {
    int64_t columns, fixed; /* `fixed`: bytes that a row takes at most, without its tokens and parts */
    const column *column;
    const uint8_t *blob;
    const span *word;  /* whole fields, with their length, in the blob */
    const span *piece; /* of a row of joined arrays: bytes a row of those before it, and its own */
} row_layout;

typedef struct {
    int64_t rows;
    const uint8_t *joined;
    const uint8_t *const *text;
    const int64_t *text_size;
} batch;

int64_t table_rows_size(void) { return (int64_t)(sizeof(row_layout) * 1000 + sizeof(column)); }

/* --- reading the arrays ------------------------------------------------------------------------------------------------ */

INLINE const uint8_t *element_of(const column *c, const batch *b, int64_t row) {
    return b->joined + c->before * b->rows + c->row * row + c->at;
}

#define READ(type, from) ({ type read_; memcpy(&read_, from, sizeof read_); read_; })

INLINE int64_t whole_of(const column *c, const batch *b, int64_t row) {
    const uint8_t *from = element_of(c, b, row);
    switch (c->element) {
    case I8: return READ(int64_t, from);
    case I4: return READ(int32_t, from);
    case U4: return READ(uint32_t, from);
    case U2: return READ(uint16_t, from);
    default: return *from;
    }
}

INLINE double number_of(const column *c, const batch *b, int64_t row) {
    const uint8_t *from = element_of(c, b, row);
    return c->element == F8 ? READ(double, from) : (double)READ(float, from);
}

INLINE int64_t code_of(const column *c, const batch *b, int64_t row) {
    int64_t value = whole_of(c, b, row);
    return c->kind == WORD ? value : value ? __builtin_ctzll((uint64_t)value) + 1 : 0;
}

/* Where in its text a field lies; a size below 0 is NULL. */
INLINE span piece_of(const column *c, const batch *b, int64_t row) {
    if (c->kind == SLICE) return (span){row * c->value, c->value};
    const uint8_t *from = element_of(c, b, row);
    if (c->kind == PART) {
        int64_t start = row ? READ(int64_t, from - 8) : 0;
        return (span){start, READ(int64_t, from) - start};
    }
    const uint8_t *lengths = b->joined + c->other * b->rows + c->value * row + c->at;
    return (span){READ(int32_t, from), READ(int32_t, lengths)};
}

/* --- checking ---------------------------------------------------------------------------------------------------------- */

INLINE int fits(const column *c, int64_t value) {
    switch (c->type) {
    case SMALLINT: return value >= INT16_MIN && value <= INT16_MAX;
    case INTEGER: return value >= INT32_MIN && value <= INT32_MAX;
    case TIMESTAMPTZ: return value >= FIRST_US && value <= LAST_US;
    default: return 1;
    }
}

/* Bytes of its tokens or parts in all rows, or -1 - the first row that cannot be written. */
static int64_t check_column(const column *c, const batch *b) {
    int64_t bytes = 0, size = c->kind == TOKEN || c->kind == PART || c->kind == SLICE ? b->text_size[c->text] : 0;
    for (int64_t row = 0; row < b->rows; row++) {
        switch (c->kind) {
        case NUMBER:
            if (c->type != DOUBLE && !fits(c, whole_of(c, b, row))) return -1 - row;
            break;
        case WORD:
        case LOWEST_BIT: {
            int64_t code = code_of(c, b, row);
            if (code < 0 || code >= c->count) return -1 - row;
            break;
        }
        case TOKEN:
        case PART:
        case SLICE: {
            span of = piece_of(c, b, row);
            if (c->kind == TOKEN && of.size < 0) break;
            if (of.start < 0 || of.size < 0 || of.start > size || of.size > size - of.start) return -1 - row;
            bytes += of.size;
            break;
        }
        default: return 0;
        }
    }
    return bytes;
}

static int64_t scratch_of(const row_layout *layout) {
    int64_t most = 0;
    for (const column *c = layout->column; c < layout->column + layout->columns; c++)
        if (c->kind == PACKED && packed_row_scratch(c->value) > most) most = packed_row_scratch(c->value);
    return most;
}

/* How many bytes table_rows_write needs, or -1 where a row cannot be written: where[0] is the row, where[1] its column. */
int64_t table_rows_room(const row_layout *layout, int64_t rows, const uint8_t *joined, const uint8_t *const *text,
                        const int64_t *text_size, int64_t *where) {
    batch b = {rows, joined, text, text_size};
    int64_t room = SIGNATURE_BYTES + TRAILER_BYTES + rows * layout->fixed;
    for (int64_t i = 0; i < layout->columns; i++) {
        const column *c = layout->column + i;
        int64_t found = check_column(c, &b);
        if (found < 0) {
            where[0] = -1 - found;
            where[1] = i;
            return -1;
        }
        room += found;
    }
    return room + scratch_of(layout);
}

/* --- writing ----------------------------------------------------------------------------------------------------------- */

INLINE uint8_t *put(uint8_t *out, const uint8_t *from, int64_t size) {
    memcpy(out, from, (size_t)size);
    return out + size;
}

INLINE uint8_t *put_big(uint8_t *out, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(number >> 8 * (bytes - 1 - i));
    return out + bytes;
}

INLINE uint8_t *put_size(uint8_t *out, int64_t size) { return put_big(out, (uint64_t)size, 4); }

INLINE uint8_t *put_number(uint8_t *out, const column *c, const batch *b, int64_t row) {
    if (c->type == DOUBLE) {
        double number = number_of(c, b, row);
        if (isnan(number)) return put_size(out, -1);
        return put_big(put_size(out, 8), READ(uint64_t, &number), 8);
    }
    int64_t value = whole_of(c, b, row);
    switch (c->type) {
    case SMALLINT: return put_big(put_size(out, 2), (uint64_t)value, 2);
    case INTEGER: return put_big(put_size(out, 4), (uint64_t)value, 4);
    case TIMESTAMPTZ: return put_big(put_size(out, 8), (uint64_t)(value - EPOCH_US), 8);
    default: return put_big(put_size(out, 8), (uint64_t)value, 8);
    }
}

INLINE uint8_t *put_joined(uint8_t *out, const row_layout *layout, const column *c, const batch *b, int64_t row) {
    out = put_size(out, c->value);
    for (int64_t i = c->first; i < c->first + c->count; i++) {
        span of = layout->piece[i];
        out = put(out, b->joined + of.start * b->rows + of.size * row, of.size);
    }
    return out;
}

INLINE uint8_t *put_field(uint8_t *out, const row_layout *layout, const column *c, const batch *b, int64_t row, uint8_t *scratch) {
    switch (c->kind) {
    case NUMBER: return put_number(out, c, b, row);
    case FLAG:
        out = put_size(out, 1);
        *out = (whole_of(c, b, row) & c->value) != 0;
        return out + 1;
    case FIXED:
    case WORD:
    case LOWEST_BIT: {
        span word = layout->word[c->first + (c->kind == FIXED ? 0 : code_of(c, b, row))];
        return put(out, layout->blob + word.start, word.size);
    }
    case JOINED: return put_joined(out, layout, c, b, row);
    case PACKED: {
        uint8_t *end = pack_row(out + 4, (const float *)(const void *)element_of(c, b, row), c->value, scratch);
        put_size(out, end - out - 4);
        return end;
    }
    default: {
        span of = piece_of(c, b, row);
        out = put_size(out, of.size < 0 ? -1 : of.size);
        return of.size > 0 ? put(out, b->text[c->text] + of.start, of.size) : out;
    }
    }
}

/* Write what table_rows_room found room for, whose end is scratch; returns the number of bytes. */
int64_t table_rows_write(const row_layout *layout, int64_t rows, const uint8_t *joined, const uint8_t *const *text,
                         const int64_t *text_size, uint8_t *out, int64_t room) {
    static const uint8_t signature[SIGNATURE_BYTES] = "PGCOPY\n\377\r\n"; /* and zeros: no flags, no extension */
    batch b = {rows, joined, text, text_size};
    uint8_t *start = out, *scratch = out + room - scratch_of(layout);
    out = put(out, signature, SIGNATURE_BYTES);
    for (int64_t row = 0; row < rows; row++) {
        out = put_big(out, (uint64_t)layout->columns, 2);
        for (int64_t i = 0; i < layout->columns; i++) out = put_field(out, layout, layout->column + i, &b, row, scratch);
    }
    return put_big(out, 0xFFFF, TRAILER_BYTES) - start;
}
