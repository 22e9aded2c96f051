/* Strings to numbers, in order of first sight; and sets of ids.
 *
 * The contract is written in __init__.py; reference.py is the truth that this file is tested against.
 *
 * A table is SEGMENTS small tables of open addressing, chosen by the top bits of the hash: one that fills up doubles by itself,
 * so that no single look-up waits for all of a large table to be moved. A slot holds 32 bits of the hash, which send nearly
 * every other string away before its bytes are looked at, and suffice to place it again. The bytes lie end to end in one block.
 *
 * The strings come from outside. Their hash is SipHash-1-3 (Aumasson and Bernstein 2012, with one and three rounds as in Rust and
 * CPython) under a random key of the process, so that nobody can prepare strings that all meet in one slot.
 *
 * Look-ups go in blocks: hashes first, then the memory that they need is asked for, then the comparisons: what would be three waits
 * for memory a string is shared by the block.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ABSENT (-1)
#define UNKNOWN (-2)
#define SEGMENTS 64
#define FIRST_SLOTS 4
#define AHEAD 32 /* look-ups in a block */
#define MAX_FIELDS 32
#define ROWS 64

enum { DONE = 0, NO_MEMORY = 1, OUTSIDE = 2 };

typedef struct {
    uint32_t tag;  /* low half of the hash */
    uint32_t next; /* code + 1; 0 is free */
} slot;

typedef struct {
    slot *slots;
    uint32_t mask, used;
} segment;

typedef struct {
    segment segments[SEGMENTS];
    uint64_t key[2];
    char *bytes;
    uint64_t *ends; /* [count + 1] the string with code c is bytes[ends[c], ends[c + 1]) */
    uint64_t bytes_capacity;
    int64_t count, capacity, memory;
    pthread_mutex_t lock; /* of `bytes` and `ends` while they move; look-ups are the writer's own */
} table;

/* ---- hash ---------------------------------------------------------------------------------------------------------- */

#define ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define ROUND                                                                                                                \
    v0 += v1; v1 = ROTATE(v1, 13); v1 ^= v0; v0 = ROTATE(v0, 32);                                                             \
    v2 += v3; v3 = ROTATE(v3, 16); v3 ^= v2;                                                                                  \
    v0 += v3; v3 = ROTATE(v3, 21); v3 ^= v0;                                                                                  \
    v2 += v1; v1 = ROTATE(v1, 17); v1 ^= v2; v2 = ROTATE(v2, 32);

static uint64_t hash(const uint64_t key[2], const char *from, uint32_t length) {
    uint64_t v0 = key[0] ^ 0x736f6d6570736575ull, v1 = key[1] ^ 0x646f72616e646f6dull;
    uint64_t v2 = key[0] ^ 0x6c7967656e657261ull, v3 = key[1] ^ 0x7465646279746573ull;
    uint32_t whole = length & ~7u;
    for (uint32_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        v3 ^= word; ROUND v0 ^= word;
    }
    uint64_t last = (uint64_t)length << 56;
    for (uint32_t i = 0; i < length - whole; i++) last |= (uint64_t)(uint8_t)from[whole + i] << (8 * i);
    v3 ^= last; ROUND v0 ^= last;
    v2 ^= 0xff; ROUND ROUND ROUND
    return v0 ^ v1 ^ v2 ^ v3;
}

/* ---- a table ------------------------------------------------------------------------------------------------------- */

void token_table_destroy(table *t) {
    if (!t) return;
    for (int i = 0; i < SEGMENTS; i++) free(t->segments[i].slots);
    free(t->bytes); free(t->ends);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

table *token_table_create(uint64_t key0, uint64_t key1) {
    table *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    pthread_mutex_init(&t->lock, NULL);
    t->key[0] = key0; t->key[1] = key1;
    for (int i = 0; i < SEGMENTS; i++) {
        t->segments[i].mask = FIRST_SLOTS - 1;
        if (!(t->segments[i].slots = calloc(FIRST_SLOTS, sizeof(slot)))) { token_table_destroy(t); return NULL; }
    }
    t->bytes_capacity = 256; t->capacity = 16;
    t->bytes = malloc(t->bytes_capacity); t->ends = calloc(t->capacity + 1, sizeof *t->ends);
    if (!t->bytes || !t->ends) { token_table_destroy(t); return NULL; }
    t->memory = (int64_t)(sizeof *t + SEGMENTS * FIRST_SLOTS * sizeof(slot) + t->bytes_capacity + (t->capacity + 1) * sizeof *t->ends);
    return t;
}

int64_t token_table_count(const table *t) { return t->count; }

int64_t token_table_memory(const table *t) { return t->memory; }

static segment *segment_of(table *t, uint64_t hash) { return &t->segments[hash >> 58]; }

static int grow(table *t, segment *of) {
    uint32_t old = of->mask + 1, size = old * 2;
    slot *to = calloc(size, sizeof *to);
    if (!to) return 0;
    for (uint32_t i = 0; i < old; i++) if (of->slots[i].next) {
        uint32_t at = of->slots[i].tag & (size - 1);
        while (to[at].next) at = (at + 1) & (size - 1);
        to[at] = of->slots[i];
    }
    free(of->slots); of->slots = to; of->mask = size - 1; t->memory += (int64_t)(old * sizeof *to);
    return 1;
}

/* Room for one more string of this length. */
static int make_room(table *t, uint32_t length) {
    int done = 1;
    uint64_t needed = t->ends[t->count] + length;
    if (needed <= t->bytes_capacity && t->count < t->capacity) return 1;
    if (t->count >= INT32_MAX - 1) return 0;
    pthread_mutex_lock(&t->lock);
    if (needed > t->bytes_capacity) {
        uint64_t capacity = t->bytes_capacity + t->bytes_capacity / 2;
        if (capacity < needed) capacity = needed;
        char *bytes = realloc(t->bytes, capacity);
        if (bytes) { t->memory += (int64_t)(capacity - t->bytes_capacity); t->bytes = bytes; t->bytes_capacity = capacity; }
        else done = 0;
    }
    if (t->count == t->capacity) {
        int64_t capacity = t->capacity + t->capacity / 2;
        uint64_t *ends = realloc(t->ends, (capacity + 1) * sizeof *ends);
        if (ends) { t->memory += (capacity - t->capacity) * (int64_t)sizeof *ends; t->ends = ends; t->capacity = capacity; }
        else done = 0;
    }
    pthread_mutex_unlock(&t->lock);
    return done;
}

/* The slot of the string, or the free one where it would go. */
static slot *find(const table *t, const segment *of, uint32_t tag, const char *from, uint32_t length) {
    for (uint32_t at = tag & of->mask;; at = (at + 1) & of->mask) {
        slot *here = &of->slots[at];
        if (!here->next) return here;
        if (here->tag != tag) continue;
        uint64_t start = t->ends[here->next - 1];
        if (t->ends[here->next] - start == length && !memcmp(t->bytes + start, from, length)) return here;
    }
}

/* Code of the string, or UNKNOWN; with `remember` a new one gets the next code. *failed is set where memory ran out. */
static int32_t code_of(table *t, uint64_t hash, const char *from, uint32_t length, int remember, int *failed) {
    segment *of = segment_of(t, hash);
    uint32_t tag = (uint32_t)hash;
    slot *at = find(t, of, tag, from, length);
    if (at->next) return (int32_t)at->next - 1;
    if (!remember) return UNKNOWN;
    if (!make_room(t, length)) { *failed = 1; return UNKNOWN; }
    if ((of->used + 1) * 10 > (of->mask + 1) * 7) {
        if (!grow(t, of)) { *failed = 1; return UNKNOWN; }
        at = find(t, of, tag, from, length);
    }
    uint64_t start = t->ends[t->count];
    memcpy(t->bytes + start, from, length);
    t->ends[t->count + 1] = start + length;
    at->tag = tag; at->next = (uint32_t)++t->count; of->used++;
    return (int32_t)t->count - 1;
}

typedef struct {
    table *of;
    const char *from;
    int32_t *to;
    uint64_t hash;
    uint32_t length;
    int remember;
} look_up;

/* The table's first guess at the string's code, whose bytes can be fetched ahead; 0 for none. */
static uint32_t guess(const look_up *l) {
    const segment *of = segment_of(l->of, l->hash);
    const slot *at = &of->slots[(uint32_t)l->hash & of->mask];
    return at->tag == (uint32_t)l->hash ? at->next : 0;
}

static int work_off(look_up *block, int count) {
    int failed = 0;
    uint32_t guesses[AHEAD];
    for (int i = 0; i < count; i++) {
        look_up *l = &block[i];
        l->hash = hash(l->of->key, l->from, l->length);
        const segment *of = segment_of(l->of, l->hash);
        __builtin_prefetch(&of->slots[(uint32_t)l->hash & of->mask]);
    }
    for (int i = 0; i < count; i++)
        if ((guesses[i] = guess(&block[i]))) __builtin_prefetch(&block[i].of->ends[guesses[i] - 1]);
    for (int i = 0; i < count; i++)
        if (guesses[i]) __builtin_prefetch(block[i].of->bytes + block[i].of->ends[guesses[i] - 1]);
    for (int i = 0; i < count && !failed; i++)
        *block[i].to = code_of(block[i].of, block[i].hash, block[i].from, block[i].length, block[i].remember, &failed);
    return failed ? NO_MEMORY : DONE;
}

/* Codes of n spans, any distance apart. */
int token_table_codes(table *t, int64_t n, const char *text, int64_t text_length, const int32_t *starts, int64_t starts_stride,
                      const int32_t *lengths, int64_t lengths_stride, const uint8_t *remember, int32_t *codes) {
    look_up block[AHEAD];
    int filled = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t length = lengths[i * lengths_stride], start = starts[i * starts_stride];
        if (length < 0) { codes[i] = ABSENT; continue; }
        if (start < 0 || (int64_t)start + length > text_length) return OUTSIDE;
        block[filled++] = (look_up){t, text + start, &codes[i], 0, (uint32_t)length, remember[i]};
        if (filled < AHEAD) continue;
        if (work_off(block, filled)) return NO_MEMORY;
        filled = 0;
    }
    return work_off(block, filled);
}

/* codes[i * stride] for pairs of codes: the string is the two numbers. */
static int pair_codes(table *t, int64_t n, const int32_t *first, int64_t first_stride, const int32_t *second, int64_t second_stride,
                      const uint8_t *remember, int32_t *codes, int64_t stride) {
    look_up block[AHEAD];
    int32_t pairs[AHEAD][2];
    int filled = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t a = first[i * first_stride], b = second[i * second_stride], *to = &codes[i * stride];
        if (a == ABSENT || b == ABSENT) { *to = ABSENT; continue; }
        if (a < 0 || b < 0) { *to = UNKNOWN; continue; }
        pairs[filled][0] = a; pairs[filled][1] = b;
        block[filled] = (look_up){t, (const char *)pairs[filled], to, 0, 8, remember[i]};
        if (++filled < AHEAD) continue;
        if (work_off(block, filled)) return NO_MEMORY;
        filled = 0;
    }
    return work_off(block, filled);
}

int token_table_pair_codes(table *t, int64_t n, const int32_t *first, int64_t first_stride, const int32_t *second,
                           int64_t second_stride, const uint8_t *remember, int32_t *codes) {
    return pair_codes(t, n, first, first_stride, second, second_stride, remember, codes, 1);
}

/* ---- entities of rows ---------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t fields, kinds;
    table **tables;      /* [fields] */
    const int32_t *plan; /* [kinds][4] field, second field, counted field, class that the row must have; -1 for none */
    table **pairs;       /* [kinds] the table of a kind with a second field */
} entity_tables;

/* Codes [n, fields] of the rows' strings; the span of row i and field f is at i * row_stride + column[f]. */
static int field_codes(const entity_tables *e, int64_t n, const char *text, int64_t text_length, const int32_t *starts,
                       const int32_t *lengths, int64_t row_stride, const int64_t *column, const uint8_t *remember, int32_t *codes) {
    look_up block[AHEAD];
    int filled = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t f = 0; f < e->fields; f++) {
            int64_t at = i * row_stride + column[f];
            int32_t length = lengths[at], start = starts[at], *to = &codes[i * e->fields + f];
            if (length < 0) { *to = ABSENT; continue; }
            if (start < 0 || (int64_t)start + length > text_length) return OUTSIDE;
            block[filled++] = (look_up){e->tables[f], text + start, to, 0, (uint32_t)length, remember[i]};
            if (filled < AHEAD) continue;
            if (work_off(block, filled)) return NO_MEMORY;
            filled = 0;
        }
    return work_off(block, filled);
}

/* Entities and counterparts [n, kinds] of n rows from their codes [n, fields]. */
int entity_tables_of_codes(const entity_tables *e, int64_t n, const int32_t *codes, const int32_t *classes, const uint8_t *remember,
                           int32_t *entities, int32_t *others) {
    for (int64_t k = 0; k < e->kinds; k++) {
        const int32_t *of = e->plan + 4 * k, *first = codes + of[0];
        int32_t *to = entities + k;
        if (e->pairs[k]) {
            int status = pair_codes(e->pairs[k], n, first, e->fields, codes + of[1], e->fields, remember, to, e->kinds);
            if (status) return status;
        } else for (int64_t i = 0; i < n; i++) to[i * e->kinds] = first[i * e->fields];
        for (int64_t i = 0; i < n; i++) others[i * e->kinds + k] = of[2] < 0 ? ABSENT : codes[i * e->fields + of[2]];
        if (of[3] >= 0) for (int64_t i = 0; i < n; i++) if (classes[i] != of[3]) to[i * e->kinds] = ABSENT;
    }
    return DONE;
}

/* The same from their strings, a few rows at a time, so that the codes in between stay at hand. */
int entity_tables_of_text(const entity_tables *e, int64_t n, const char *text, int64_t text_length, const int32_t *starts,
                          const int32_t *lengths, int64_t row_stride, const int64_t *column, const int32_t *classes,
                          const uint8_t *remember, int32_t *entities, int32_t *others) {
    int32_t codes[ROWS * MAX_FIELDS];
    for (int64_t i = 0; i < n; i += ROWS) {
        int64_t rows = n - i < ROWS ? n - i : ROWS, at = i * e->kinds, spans = i * row_stride;
        int status = field_codes(e, rows, text, text_length, starts + spans, lengths + spans, row_stride, column, remember + i, codes);
        if (status) return status;
        status = entity_tables_of_codes(e, rows, codes, classes + i, remember + i, entities + at, others + at);
        if (status) return status;
    }
    return DONE;
}

/* Copy the bytes and the lengths of strings [first, first + n). With bytes NULL: return how many bytes that takes. Any thread may. */
int64_t token_table_export(table *t, int64_t first, int64_t n, char *bytes, int32_t *lengths) {
    pthread_mutex_lock(&t->lock);
    uint64_t start = t->ends[first];
    int64_t size = (int64_t)(t->ends[first + n] - start);
    if (bytes) {
        memcpy(bytes, t->bytes + start, (size_t)size);
        for (int64_t i = 0; i < n; i++) lengths[i] = (int32_t)(t->ends[first + i + 1] - t->ends[first + i]);
    }
    pthread_mutex_unlock(&t->lock);
    return size;
}

/* ---- a set of ids: nothing but their hashes ------------------------------------------------------------------------- */

typedef struct {
    uint64_t *hashes; /* 0 is free */
    uint64_t mask, used;
} id_segment;

typedef struct {
    id_segment segments[SEGMENTS];
    uint64_t key[2];
    int64_t count, memory;
} id_set;

void id_set_destroy(id_set *s) {
    if (!s) return;
    for (int i = 0; i < SEGMENTS; i++) free(s->segments[i].hashes);
    free(s);
}

id_set *id_set_create(uint64_t key0, uint64_t key1) {
    id_set *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->key[0] = key0; s->key[1] = key1;
    for (int i = 0; i < SEGMENTS; i++) {
        s->segments[i].mask = FIRST_SLOTS - 1;
        if (!(s->segments[i].hashes = calloc(FIRST_SLOTS, sizeof(uint64_t)))) { id_set_destroy(s); return NULL; }
    }
    s->memory = (int64_t)(sizeof *s + SEGMENTS * FIRST_SLOTS * sizeof(uint64_t));
    return s;
}

int64_t id_set_count(const id_set *s) { return s->count; }

int64_t id_set_memory(const id_set *s) { return s->memory; }

static uint64_t *id_find(id_segment *of, uint64_t hash) {
    uint64_t at = hash & of->mask;
    while (of->hashes[at] && of->hashes[at] != hash) at = (at + 1) & of->mask;
    return &of->hashes[at];
}

/* Filled to seven eighths, so that a set holds 9 to 18 bytes an id. */
static int id_insert(id_set *s, uint64_t hash) {
    id_segment *of = &s->segments[hash >> 58];
    uint64_t *at = id_find(of, hash);
    if (*at) return 1;
    if ((of->used + 1) * 8 > (of->mask + 1) * 7) {
        uint64_t old = of->mask + 1;
        id_segment larger = {calloc(old * 2, sizeof(uint64_t)), old * 2 - 1, of->used};
        if (!larger.hashes) return 0;
        for (uint64_t i = 0; i < old; i++) if (of->hashes[i]) *id_find(&larger, of->hashes[i]) = of->hashes[i];
        free(of->hashes);
        *of = larger; s->memory += (int64_t)(old * sizeof(uint64_t));
        at = id_find(of, hash);
    }
    *at = hash; of->used++; s->count++;
    return 1;
}

/* With `found`: say for each id whether it may be in the set. Without: put the ids into it. A length below 0 is no id. */
int id_set_visit(id_set *s, int64_t n, const char *text, int64_t text_length, const int32_t *starts, int64_t starts_stride,
                 const int32_t *lengths, int64_t lengths_stride, uint8_t *found) {
    uint64_t hashes[AHEAD];
    for (int64_t first = 0; first < n; first += AHEAD) {
        int64_t count = n - first < AHEAD ? n - first : AHEAD;
        for (int64_t i = 0; i < count; i++) {
            int32_t start = starts[(first + i) * starts_stride], length = lengths[(first + i) * lengths_stride];
            hashes[i] = 0;
            if (length < 0) continue;
            if (start < 0 || (int64_t)start + length > text_length) return OUTSIDE;
            hashes[i] = hash(s->key, text + start, (uint32_t)length);
            if (!hashes[i]) hashes[i] = 1;
            const id_segment *of = &s->segments[hashes[i] >> 58];
            __builtin_prefetch(&of->hashes[hashes[i] & of->mask]);
        }
        for (int64_t i = 0; i < count; i++) {
            if (found) found[first + i] = hashes[i] && *id_find(&s->segments[hashes[i] >> 58], hashes[i]);
            else if (hashes[i] && !id_insert(s, hashes[i])) return NO_MEMORY;
        }
    }
    return DONE;
}
