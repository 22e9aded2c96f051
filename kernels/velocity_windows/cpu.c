/* Sliding-window aggregates of events per entity, exact, amortised O(1) a window for events in time order.
 *
 * The contract is written in __init__.py; reference.py is the truth that this file is tested against.
 *
 * Each entity owns a log of its retained events, sorted by (time, arrival). A window is a tail position in that log
 * plus running sums; all are exact because money is whole minor units (sums in 64 bits, squares in 128).
 *   distinct: an event that leaves the window lowers the count only if no later event of the entity names the same
 *             counterpart (`again`). One shared map (entity, counterpart) -> last position tells an event that comes.
 *   maximum:  the events that no later event exceeds form one linked stack an entity, shared by all windows; a window
 *             points at the first of them inside it.
 * Each event also knows the event before it that is larger (`previous`) and the one before it with the same counterpart
 * (`same`). With these, the windows of any other moment follow from the present ones by stepping over the events between:
 * an event that arrives late costs O(events that overtook it + events that its windows reach further back).
 * Positions are absolute, so that dropping old events moves nothing but `base`.
 *
 * What a batch waits for is memory: a store is far larger than any cache. So an entity keeps at hand what it would look up in
 * its log (times at the edges of the windows, the largest amounts), a kind keeps only the windows that some column reports, and
 * the memory of the rows to come is asked for while a row is worked on.
 *
 * A copy of the whole store can be taken while it changes (velocity_export_*): entities are copied a few at a time under the
 * lock, and one that is about to change before its turn is set aside first, as it was when the copy began.
 */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../cpu.h"

#define NONE UINT32_MAX
#define NEVER INT64_MAX
#define MAX_WINDOWS 6
#define LANES 8 /* MAX_WINDOWS, and as many more as fill a vector */
#define AGGREGATIONS 14
#define SEGMENTS 256
#define ABSENT_OTHER (-1)
#define UNKNOWN_ENTITY (-2) /* present in the event, never met before, and not to be remembered */
#define FRAUD_BIT 0x80000000u

typedef __int128 wide;
typedef __int128 stored_wide __attribute__((aligned(8)));

enum aggregation {
    COUNT, SUM, MEAN, MAXIMUM, DISTINCT, RATIO, ZSCORE, SINCE_LAST, RISK_COUNT, RISK_FRAUD, RISK_RATE, LAST_AMOUNT, LAST_GAP,
    LAST_SAME
};

typedef struct {
    int64_t time, amount;
    uint32_t key; /* 31 bits of the caller's event key; the top bit says: known as fraud */
    int32_t other;
    uint32_t previous; /* the last event before that is larger: the neighbour below on the stack of maxima */
    uint32_t next;     /* the neighbour above, for those that are on the stack */
    uint32_t same;     /* the last event before with the same counterpart */
    uint32_t again;    /* the next event after with the same counterpart */
} event;

typedef struct {
    int64_t sum;
    stored_wide squares;
    int64_t tail_time; /* of the event at `tail`; NEVER where there is none */
    int64_t largest;   /* amount of the event at `maximum` */
    uint32_t tail, distinct, maximum;
} window;

typedef struct {
    int64_t low_time; /* of the event at `low`; NEVER where there is none */
    uint32_t low, fraud;
} risk_window;

/* Followed by the windows and the risk windows of its kind. */
typedef struct {
    event *events;
    void *saved; /* as it was when an export began that has not come to it yet */
    uint32_t base, length, first, capacity; /* event with absolute position p is events[p - base]; first >= base */
    uint32_t stack_top, risk_high;
    int64_t first_time, last_time, high_time; /* of the events at first, end - 1 and risk_high; NEVER where there is none */
} entity;

typedef struct {
    uint64_t key;
    uint32_t position;
} slot;

typedef struct {
    slot *slots; /* open addressing, key 0 is free */
    uint64_t mask, used;
} segment;

typedef struct {
    char *rows;
    int64_t count, capacity, stride;
    int windows, risks; /* those that a column of the kind reports */
    int lasts;          /* of so many events before the present one a column of the kind tells */
    int64_t window_us[MAX_WINDOWS], risk_us[MAX_WINDOWS];
    int keeps_others, wants_maximum, wants_squares;
    int64_t columns;
    int32_t *places; /* [columns] where the column is found among aggregation * LANES + window */
} kind;

typedef struct {
    int kinds;
    int64_t delay_us, retention_us, reach_us; /* reach: the longest look back */
    int64_t newest;                           /* time of the newest event that was inserted */
    double deviation_floor;
    kind *kind;
    segment segments[SEGMENTS]; /* by the top bits of the hash: one that fills up grows by itself, and nobody waits for all */
    int64_t events, bytes;      /* kept as they change: another thread may read them at any time */
    int failed;
    int exporting, export_failed, export_kind; /* entities before (export_kind, export_row) have been exported */
    int64_t export_row, *export_counts;        /* [kinds] how many there were when the export began */
    int idle_kind;
    int64_t idle_row; /* where the search for idle entities goes on */
    pthread_mutex_t lock;
} store;

/* ---- last position of (entity, counterpart) ------------------------------------------------------------------ */

static uint64_t mix(uint64_t x) {
    x ^= x >> 31; x *= 0x7fb5d329728ea185ull; x ^= x >> 27; x *= 0x81dadef4bc2dd44dull; return x ^ (x >> 33);
}

static uint64_t pair_key(int k, int64_t row, int32_t other) {
    return (((uint64_t)row << 32) ^ (uint32_t)other ^ ((uint64_t)k << 58)) + 1;
}

static segment *segment_of(store *s, uint64_t hash) { return &s->segments[hash >> 56]; }

static slot *slot_of(const segment *of, uint64_t hash, uint64_t key) {
    uint64_t h = hash & of->mask;
    while (of->slots[h].key && of->slots[h].key != key) h = (h + 1) & of->mask;
    return &of->slots[h];
}

static void map_grow(store *s, segment *of) {
    uint64_t old = of->mask + 1;
    segment larger = {calloc(old * 2, sizeof(slot)), old * 2 - 1, of->used};
    if (!larger.slots) { s->failed = 1; return; }
    for (uint64_t i = 0; i < old; i++)
        if (of->slots[i].key) *slot_of(&larger, mix(of->slots[i].key), of->slots[i].key) = of->slots[i];
    free(of->slots);
    *of = larger; s->bytes += (int64_t)(old * sizeof(slot));
}

static slot *map_find(store *s, uint64_t key) {
    uint64_t hash = mix(key);
    return slot_of(segment_of(s, hash), hash, key);
}

static uint32_t map_swap(store *s, uint64_t key, uint32_t position) {
    uint64_t hash = mix(key);
    segment *of = segment_of(s, hash);
    if ((of->used + 1) * 10 > (of->mask + 1) * 7) map_grow(s, of);
    slot *at = slot_of(of, hash, key);
    if (at->key) { uint32_t old = at->position; at->position = position; return old; }
    at->key = key; at->position = position; of->used++;
    return NONE;
}

static void map_remove(store *s, uint64_t key) {
    uint64_t hash = mix(key);
    segment *of = segment_of(s, hash);
    slot *at = slot_of(of, hash, key);
    if (!at->key) return;
    uint64_t hole = (uint64_t)(at - of->slots), i = hole;
    for (;;) { /* move later members of the run back, so that no tombstones are needed */
        i = (i + 1) & of->mask;
        if (!of->slots[i].key) break;
        uint64_t home = mix(of->slots[i].key) & of->mask;
        if (((i - home) & of->mask) >= ((i - hole) & of->mask)) { of->slots[hole] = of->slots[i]; hole = i; }
    }
    of->slots[hole].key = 0; of->used--;
}

/* ---- life cycle ------------------------------------------------------------------------------------------------ */

static entity *row_of(const kind *of, int64_t row) { return (entity *)(of->rows + row * of->stride); }

static window *windows_of(entity *e) { return (window *)(e + 1); }

static risk_window *risks_of(const kind *of, entity *e) { return (risk_window *)(windows_of(e) + of->windows); }

void velocity_destroy(store *s) {
    if (!s) return;
    if (s->kind) for (int k = 0; k < s->kinds; k++) {
        for (int64_t i = 0; i < s->kind[k].count; i++) { free(row_of(&s->kind[k], i)->events); free(row_of(&s->kind[k], i)->saved); }
        free(s->kind[k].rows); free(s->kind[k].places);
    }
    for (int i = 0; i < SEGMENTS; i++) free(s->segments[i].slots);
    pthread_mutex_destroy(&s->lock);
    free(s->kind); free(s->export_counts); free(s);
}

static int is_risk(int what) { return what >= RISK_COUNT && what <= RISK_RATE; }

static int is_last(int what) { return what >= LAST_AMOUNT; }

/* What the columns of a kind need, and where each of them finds it. */
static int plan(kind *of, int k, const int64_t *window_us, const int64_t *risk_us, int64_t columns, const int32_t *column_kind,
                const int32_t *column_aggregation, const int32_t *column_window) {
    int used[2][MAX_WINDOWS] = {{0}}, at[2][MAX_WINDOWS];
    for (int64_t c = 0; c < columns; c++) {
        int what = column_aggregation[c];
        if (column_kind[c] != k) continue;
        of->columns++;
        of->keeps_others |= what == DISTINCT || what == LAST_SAME;
        of->wants_maximum |= what == MAXIMUM; of->wants_squares |= what == ZSCORE;
        if (is_last(what)) { if (of->lasts <= column_window[c]) of->lasts = column_window[c] + 1; }
        else if (what != SINCE_LAST) used[is_risk(what)][column_window[c]] = 1;
    }
    for (int w = 0; w < MAX_WINDOWS; w++) {
        if (used[0][w]) { at[0][w] = of->windows; of->window_us[of->windows++] = window_us[w]; }
        if (used[1][w]) { at[1][w] = of->risks; of->risk_us[of->risks++] = risk_us[w]; }
    }
    of->stride = (int64_t)(sizeof(entity) + of->windows * sizeof(window) + of->risks * sizeof(risk_window));
    of->places = calloc(of->columns + 1, sizeof *of->places);
    if (!of->places) return 0;
    int64_t place = 0;
    for (int64_t c = 0; c < columns; c++) {
        int what = column_aggregation[c];
        if (column_kind[c] != k) continue;
        int lane = what == SINCE_LAST ? 0 : is_last(what) ? column_window[c] : at[is_risk(what)][column_window[c]];
        of->places[place++] = what * LANES + lane;
    }
    return 1;
}

store *velocity_create(int kinds, int windows, const int64_t *window_us, int risks, const int64_t *risk_us, int64_t delay_us,
                       int64_t retention_us, double deviation_floor, int64_t columns, const int32_t *column_kind,
                       const int32_t *column_aggregation, const int32_t *column_window) {
    if (windows > MAX_WINDOWS || risks > MAX_WINDOWS) return NULL;
    store *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    pthread_mutex_init(&s->lock, NULL);
    s->kinds = kinds; s->newest = INT64_MIN;
    s->delay_us = delay_us; s->retention_us = retention_us; s->deviation_floor = deviation_floor;
    for (int w = 0; w < windows; w++) if (window_us[w] > s->reach_us) s->reach_us = window_us[w];
    for (int r = 0; r < risks; r++) if (delay_us + risk_us[r] > s->reach_us) s->reach_us = delay_us + risk_us[r];
    s->kind = calloc(kinds + 1, sizeof *s->kind); s->export_counts = calloc(kinds + 1, sizeof *s->export_counts);
    int made = s->kind && s->export_counts;
    for (int k = 0; made && k < kinds; k++)
        made = plan(&s->kind[k], k, window_us, risk_us, columns, column_kind, column_aggregation, column_window);
    for (int i = 0; made && i < SEGMENTS; i++) { s->segments[i].mask = 3; made = !!(s->segments[i].slots = calloc(4, sizeof(slot))); }
    if (!made) { velocity_destroy(s); return NULL; }
    s->bytes = (int64_t)(sizeof *s + kinds * sizeof *s->kind + SEGMENTS * 4 * sizeof(slot));
    return s;
}

int64_t velocity_bytes(const store *s) { return s->bytes; }

int64_t velocity_events(const store *s) { return s->events; }

int64_t velocity_newest(const store *s) { return s->newest; }

void velocity_set_newest(store *s, int64_t newest) { s->newest = newest; }

static void clear(const kind *of, entity *e) {
    memset(e, 0, (size_t)of->stride);
    e->stack_top = NONE;
    e->first_time = e->last_time = e->high_time = NEVER;
    for (int w = 0; w < of->windows; w++) { windows_of(e)[w].maximum = NONE; windows_of(e)[w].tail_time = NEVER; }
    for (int r = 0; r < of->risks; r++) risks_of(of, e)[r].low_time = NEVER;
}

static entity *entity_at(store *s, int k, int64_t row) {
    kind *of = &s->kind[k];
    if (row >= of->capacity) {
        int64_t capacity = of->capacity ? of->capacity : 256;
        while (capacity <= row) capacity += capacity / 2;
        char *rows = realloc(of->rows, (size_t)(capacity * of->stride));
        if (!rows) { s->failed = 1; return NULL; }
        s->bytes += (capacity - of->capacity) * of->stride;
        of->rows = rows; of->capacity = capacity;
    }
    while (of->count <= row) clear(of, row_of(of, of->count++));
    return row_of(of, row);
}

#define AT(e, position) ((e)->events[(position) - (e)->base])
#define END(e) ((e)->base + (e)->length)
#define TIME(e, position) ((position) < END(e) ? AT(e, position).time : NEVER)

/* ---- keeping the windows --------------------------------------------------------------------------------------- */

static void advance(const store *s, entity *e, int k, int64_t now) {
    const kind *kind = &s->kind[k];
    uint32_t end = END(e);
    for (int w = 0; w < kind->windows; w++) {
        window *of = &windows_of(e)[w];
        int64_t from = now - kind->window_us[w];
        if (of->tail_time >= from) continue;
        while (of->tail < end && AT(e, of->tail).time < from) {
            event *gone = &AT(e, of->tail);
            of->sum -= gone->amount;
            if (kind->wants_squares) of->squares -= (wide)gone->amount * gone->amount;
            if (gone->other >= 0 && gone->again == NONE) of->distinct--;
            if (of->maximum == of->tail) {
                of->maximum = gone->next;
                if (gone->next != NONE) of->largest = AT(e, gone->next).amount;
            }
            of->tail++;
        }
        of->tail_time = TIME(e, of->tail);
    }
    if (!kind->risks) return;
    if (e->high_time < now - s->delay_us) {
        while (e->risk_high < end && AT(e, e->risk_high).time < now - s->delay_us) {
            uint32_t fraud = AT(e, e->risk_high).key >> 31;
            for (int r = 0; r < kind->risks; r++) risks_of(kind, e)[r].fraud += fraud;
            e->risk_high++;
        }
        e->high_time = TIME(e, e->risk_high);
    }
    for (int r = 0; r < kind->risks; r++) {
        risk_window *of = &risks_of(kind, e)[r];
        int64_t from = now - s->delay_us - kind->risk_us[r];
        if (of->low_time >= from) continue;
        while (of->low < e->risk_high && AT(e, of->low).time < from) { of->fraud -= AT(e, of->low).key >> 31; of->low++; }
        of->low_time = TIME(e, of->low);
    }
}

/* Put the event on the stack of maxima: it takes the place of all that are not larger. */
static void push(entity *e, uint32_t position) {
    event *now = &AT(e, position);
    while (e->stack_top != NONE && e->stack_top >= e->first && AT(e, e->stack_top).amount <= now->amount)
        e->stack_top = AT(e, e->stack_top).previous;
    if (e->stack_top != NONE && e->stack_top < e->first) e->stack_top = NONE;
    now->previous = e->stack_top; now->next = NONE;
    if (e->stack_top != NONE) AT(e, e->stack_top).next = position;
    e->stack_top = position;
}

/* The event at `position`, the last one, joins the windows. */
static void enter(store *s, entity *e, int k, int64_t row, uint32_t position) {
    const kind *kind = &s->kind[k];
    event *now = &AT(e, position);
    uint32_t last = now->other >= 0 ? map_swap(s, pair_key(k, row, now->other), position) : NONE;
    now->same = last; now->again = NONE;
    if (last != NONE) AT(e, last).again = position;
    if (kind->wants_maximum) push(e, position);
    e->last_time = now->time;
    if (e->first == position) e->first_time = now->time;
    for (int w = 0; w < kind->windows; w++) {
        window *of = &windows_of(e)[w];
        of->sum += now->amount;
        if (kind->wants_squares) of->squares += (wide)now->amount * now->amount;
        if (now->other >= 0 && (last == NONE || last < of->tail)) of->distinct++;
        if (of->tail == position) of->tail_time = now->time;
        if (!kind->wants_maximum) continue;
        if (of->tail == position || of->maximum == NONE || of->largest <= now->amount) { of->maximum = position; of->largest = now->amount; }
    }
    if (!kind->risks) return;
    if (e->risk_high == position) e->high_time = now->time;
    for (int r = 0; r < kind->risks; r++) if (risks_of(kind, e)[r].low == position) risks_of(kind, e)[r].low_time = now->time;
}

/* Look up again what the entity keeps at hand. */
static void remember_edges(const kind *kind, entity *e) {
    e->first_time = TIME(e, e->first); e->high_time = TIME(e, e->risk_high);
    e->last_time = END(e) > e->first ? AT(e, END(e) - 1).time : NEVER;
    for (int w = 0; w < kind->windows; w++) {
        window *of = &windows_of(e)[w];
        of->tail_time = TIME(e, of->tail);
        if (of->maximum != NONE && of->maximum >= e->first) of->largest = AT(e, of->maximum).amount;
    }
    for (int r = 0; r < kind->risks; r++) risks_of(kind, e)[r].low_time = TIME(e, risks_of(kind, e)[r].low);
}

enum { LATER_AHEAD = 12 };

/* The place of the last position of the event's counterpart. */
static void fetch_last(const store *s, int k, int64_t row, const event *of) {
    if (of->other < 0) return;
    uint64_t hash = mix(pair_key(k, row, of->other));
    const segment *segment = &s->segments[hash >> 56];
    __builtin_prefetch(&segment->slots[hash & segment->mask], 1);
}

/* What the next function will ask of memory for an event that has been overtaken. */
static void fetch_for_later(const store *s, const entity *e, int k, int64_t row, const event *later) {
    if (later->other < 0) return;
    if (later->same != NONE && later->same >= e->first) __builtin_prefetch(&AT(e, later->same).again, 1);
    if (later->again == NONE) fetch_last(s, k, row, later);
}

/* The event at `position` was put before later ones, which have moved up by one: mend what refers to them. */
static void enter_late(store *s, entity *e, int k, int64_t row, uint32_t position) {
    const kind *kind = &s->kind[k];
    event *now = &AT(e, position);
    uint32_t end = END(e);
    int64_t newest = AT(e, end - 1).time;
    int again = 0; /* the counterpart occurs among the later events */
    now->same = now->again = NONE;
    for (uint32_t p = position + 1; p < end; p++) {
        if (p + LATER_AHEAD < end) fetch_for_later(s, e, k, row, &AT(e, p + LATER_AHEAD));
        event *later = &AT(e, p);
        if (later->other < 0) continue;
        if (later->again != NONE) later->again++;
        if (later->same != NONE && later->same >= position) later->same++;
        if (!again && later->other == now->other) {
            again = 1;
            now->same = later->same; now->again = p;
            later->same = position;
        } else if (later->same != NONE && later->same >= e->first && later->same < position) AT(e, later->same).again = p;
        if (later->again == NONE) map_find(s, pair_key(k, row, later->other))->position = p;
    }
    if (now->other >= 0 && !again) now->same = map_swap(s, pair_key(k, row, now->other), position);
    if (now->same != NONE && now->same >= e->first) AT(e, now->same).again = position;
    if (kind->wants_maximum) {
        e->stack_top = position > e->first ? position - 1 : NONE;
        for (uint32_t p = position; p < end; p++) push(e, p);
    }
    for (int w = 0; w < kind->windows; w++) {
        window *of = &windows_of(e)[w];
        if (now->time < newest - kind->window_us[w]) of->tail++;
        else {
            of->sum += now->amount;
            if (kind->wants_squares) of->squares += (wide)now->amount * now->amount;
            if (now->other >= 0 && !again && (now->same == NONE || now->same < of->tail)) of->distinct++;
        }
        of->maximum = NONE;
        if (kind->wants_maximum) for (uint32_t p = e->stack_top; p != NONE && p >= of->tail; p = AT(e, p).previous) of->maximum = p;
    }
    if (now->time < newest - s->delay_us) {
        e->risk_high++;
        for (int r = 0; r < kind->risks; r++)
            if (now->time < newest - s->delay_us - kind->risk_us[r]) risks_of(kind, e)[r].low++;
    }
    remember_edges(kind, e);
}

static int resize(store *s, entity *e, uint32_t capacity) {
    event *events = realloc(e->events, capacity * sizeof *events);
    if (!events) return 0;
    s->bytes += ((int64_t)capacity - e->capacity) * (int64_t)sizeof *events;
    e->events = events; e->capacity = capacity;
    return 1;
}

static void forget_old(store *s, entity *e, int k, int64_t row) {
    int64_t from = e->last_time - s->retention_us;
    if (e->first_time >= from) return;
    while (AT(e, e->first).time < from) {
        event *gone = &AT(e, e->first);
        if (gone->other >= 0 && gone->again == NONE) map_remove(s, pair_key(k, row, gone->other));
        e->first++; s->events--;
    }
    e->first_time = AT(e, e->first).time;
    uint32_t dead = e->first - e->base;
    if (dead > 16 && dead > e->length / 2) {
        e->length -= dead;
        memmove(e->events, e->events + dead, e->length * sizeof(event));
        e->base = e->first;
        if (e->capacity > 64 && e->length < e->capacity / 4) resize(s, e, e->length * 2);
    }
}

static int make_room(store *s, entity *e, uint32_t events) {
    uint32_t needed = e->length + events, larger = e->capacity ? e->capacity + e->capacity / 2 + 2 : 4;
    if (needed <= e->capacity) return 1;
    if (!resize(s, e, needed > larger ? needed : larger)) s->failed = 1;
    return !s->failed;
}

/* Recompute every derived number of the entity from its sorted log, of whose counterparts the map knows nothing. */
static void derive(store *s, entity *e, int k, int64_t row) {
    const kind *kind = &s->kind[k];
    uint32_t end = END(e), length = e->length;
    e->stack_top = NONE; e->risk_high = e->first;
    e->first_time = e->last_time = e->high_time = NEVER;
    for (int w = 0; w < kind->windows; w++)
        windows_of(e)[w] = (window){.tail = e->first, .maximum = NONE, .tail_time = NEVER};
    for (int r = 0; r < kind->risks; r++) risks_of(kind, e)[r] = (risk_window){.low = e->first, .low_time = NEVER};
    for (uint32_t p = e->first; p < end; p++) {
        if (p + LATER_AHEAD < end) fetch_last(s, k, row, &AT(e, p + LATER_AHEAD));
        e->length = p - e->base; /* advance() must not see the events that follow */
        advance(s, e, k, AT(e, p).time);
        e->length++;
        enter(s, e, k, row, p);
    }
    e->length = length;
}

static void forget_counterparts(store *s, entity *e, int k, int64_t row) {
    for (uint32_t p = e->first; p < END(e); p++) {
        if (p + LATER_AHEAD < END(e)) fetch_last(s, k, row, &AT(e, p + LATER_AHEAD));
        if (AT(e, p).other >= 0 && AT(e, p).again == NONE) map_remove(s, pair_key(k, row, AT(e, p).other));
    }
}

/* First position whose time is at least t, sought outwards from a position that is likely to be near: an event that is late by
 * seconds lies next to the newest ones, and its windows begin next to where the present ones do. */
static uint32_t position_from(const entity *e, int64_t t, uint32_t near) {
    uint32_t low = e->first, high = END(e);
    if (near < low) near = low;
    if (near < high && AT(e, near).time < t) {
        low = near + 1;
        for (uint32_t width = 1; width <= high - low; width *= 2) {
            uint32_t probe = low + width - 1;
            if (AT(e, probe).time >= t) { high = probe; break; }
            low = probe + 1;
        }
    } else {
        if (near < high) high = near;
        for (uint32_t width = 1; width <= high - low; width *= 2) {
            uint32_t probe = high - width;
            if (AT(e, probe).time < t) { low = probe + 1; break; }
            high = probe;
        }
    }
    while (low < high) { uint32_t middle = low + (high - low) / 2; if (AT(e, middle).time < t) low = middle + 1; else high = middle; }
    return low;
}

/* First position whose time is above t: where an event of time t that arrives now belongs. */
static uint32_t position_after(const entity *e, int64_t t) { return position_from(e, t + 1, END(e)); }

/* ---- answers --------------------------------------------------------------------------------------------------- */

/* What is known of each window, in whole numbers; lanes of no window hold what an earlier answer left. */
typedef struct {
    double since_last;
    int64_t sum[LANES], largest[LANES]; /* largest: where there is an event */
    double squares[LANES]; /* n * sum(x^2) - sum(x)^2 */
    uint32_t count[LANES], distinct[LANES], risk_count[LANES], risk_fraud[LANES];
    double last_amount[LANES], last_gap[LANES], last_same[LANES]; /* by how many events lie between; NaN where not known */
} answer;

/* n * sum(x^2) - sum(x)^2 without the cancellation that doubles would suffer. */
static double scaled_variance(uint32_t count, int64_t sum, wide squares) {
    wide scaled = (wide)count * squares - (wide)sum * sum;
    return scaled == (int64_t)scaled ? (double)(int64_t)scaled : (double)scaled; /* the same number; the first is quicker */
}

static double since_last(const store *s, const entity *e, uint32_t end, int64_t now) {
    if (end == e->first || now - AT(e, end - 1).time > s->reach_us) return NAN;
    return (double)(now - AT(e, end - 1).time) * 1e-6;
}

/* What is told of single events before a moment: those at positions below `end`. */
static void read_lasts(const store *s, const entity *e, int k, uint32_t end, int64_t now, int32_t other, answer *a) {
    for (int i = 0; i < s->kind[k].lasts; i++) {
        const event *past = end - e->first > (uint32_t)i ? &AT(e, end - 1 - i) : NULL;
        int known = past && now - past->time <= s->reach_us;
        a->last_amount[i] = known ? (double)past->amount : NAN;
        a->last_gap[i] = known ? (double)(now - past->time) * 1e-6 : NAN;
        a->last_same[i] = known && past->other >= 0 && other != ABSENT_OTHER ? past->other == other : NAN;
    }
}

static void read_windows(const store *s, entity *e, int k, int64_t now, int32_t other, answer *a) {
    const kind *kind = &s->kind[k];
    uint32_t end = END(e);
    a->since_last = end == e->first || now - e->last_time > s->reach_us ? NAN : (double)(now - e->last_time) * 1e-6;
    for (int w = 0; w < kind->windows; w++) {
        const window *of = &windows_of(e)[w];
        a->count[w] = end - of->tail; a->sum[w] = of->sum; a->distinct[w] = of->distinct; a->largest[w] = of->largest;
        if (kind->wants_squares) a->squares[w] = scaled_variance(end - of->tail, of->sum, of->squares);
    }
    for (int r = 0; r < kind->risks; r++) {
        const risk_window *of = &risks_of(kind, e)[r];
        a->risk_count[r] = e->risk_high - of->low; a->risk_fraud[r] = of->fraud;
    }
    read_lasts(s, e, k, end, now, other, a);
}

static uint32_t distance(uint32_t a, uint32_t b) { return a > b ? a - b : b - a; }

typedef struct {
    int64_t sum;
    wide squares;
    uint32_t distinct;
} totals;

static void add(totals *of, const event *which, int sign, int changes_distinct) {
    of->sum += sign * which->amount; of->squares += sign * (wide)which->amount * which->amount;
    if (which->other >= 0 && changes_distinct) of->distinct += sign;
}

/* Totals over [from, to), an event at a time. */
static totals scan(const entity *e, uint32_t from, uint32_t to) {
    totals found = {0, 0, 0};
    for (uint32_t p = from; p < to; p++) add(&found, &AT(e, p), 1, AT(e, p).same == NONE || AT(e, p).same < from);
    return found;
}

/* The same, by stepping from what the window holds now: [tail, end), of which those from `to` on are `later` together. */
static totals step(const entity *e, const window *of, uint32_t from, uint32_t to, const totals *later) {
    totals found = {of->sum - later->sum, of->squares - later->squares, of->distinct};
    for (uint32_t p = of->tail; p > from; p--) { /* further back: new where no later event has the counterpart */
        const event *in = &AT(e, p - 1);
        add(&found, in, 1, in->again == NONE);
    }
    for (uint32_t p = of->tail; p < from; p++) {
        const event *out = &AT(e, p);
        add(&found, out, -1, out->again == NONE);
    }
    for (uint32_t p = to; p < END(e); p++) { /* gone where no earlier one in the window has the counterpart */
        const event *out = &AT(e, p);
        found.distinct -= out->other >= 0 && (out->same == NONE || out->same < from);
    }
    return found;
}

static uint32_t frauds(const entity *e, uint32_t from, uint32_t to) {
    uint32_t found = 0;
    for (uint32_t p = from; p < to; p++) found += AT(e, p).key >> 31;
    return found;
}

static uint32_t stepped_frauds(const entity *e, const risk_window *of, uint32_t from, uint32_t to) {
    uint32_t found = of->fraud + frauds(e, from, of->low) - frauds(e, of->low, from); /* one of the two is empty */
    return found + frauds(e, e->risk_high, to) - frauds(e, to, e->risk_high);
}

/* The answer for any moment, which changes nothing. */
static void look(const store *s, entity *e, int k, int64_t now, int32_t other, answer *a) {
    const kind *kind = &s->kind[k];
    uint32_t end = END(e), to = position_after(e, now);
    totals later = {0, 0, 0}; /* sum and squares of the events that came after that moment */
    for (uint32_t p = to; p < end; p++) add(&later, &AT(e, p), 1, 0);
    a->since_last = since_last(s, e, to, now);
    read_lasts(s, e, k, to, now, other, a);
    for (int w = 0; w < kind->windows; w++) {
        const window *of = &windows_of(e)[w];
        uint32_t from = position_from(e, now - kind->window_us[w], of->tail), count = to - from;
        int near = count > distance(of->tail, from) + (end - to);
        totals found = near ? step(e, of, from, to, &later) : scan(e, from, to);
        a->count[w] = count; a->sum[w] = found.sum; a->distinct[w] = found.distinct;
        if (kind->wants_squares) a->squares[w] = scaled_variance(count, found.sum, found.squares);
        if (!count || !kind->wants_maximum) continue;
        uint32_t largest = to - 1;
        while (AT(e, largest).previous != NONE && AT(e, largest).previous >= from) largest = AT(e, largest).previous;
        a->largest[w] = AT(e, largest).amount;
    }
    if (!kind->risks) return;
    uint32_t high = position_from(e, now - s->delay_us, e->risk_high);
    for (int r = 0; r < kind->risks; r++) {
        const risk_window *of = &risks_of(kind, e)[r];
        uint32_t low = position_from(e, now - s->delay_us - kind->risk_us[r], of->low);
        int near = high - low > distance(of->low, low) + distance(e->risk_high, high);
        a->risk_count[r] = high - low;
        a->risk_fraud[r] = near ? stepped_frauds(e, of, low, high) : frauds(e, low, high);
    }
}

static void look_at_nothing(answer *a) {
    memset(a, 0, sizeof *a);
    a->since_last = NAN;
    for (int i = 0; i < LANES; i++) a->last_amount[i] = a->last_gap[i] = a->last_same[i] = NAN;
}

typedef float lanes[LANES];

/* Where a window holds nothing, or its sum is not above zero, NaN takes the place of the value. Numbers of one width are compared
 * and chosen in a loop of its own: only so does a compiler make vectors of it. */
INLINE void where(const uint32_t *count, const double *values, float *to) {
    lanes narrow;
    for (int w = 0; w < LANES; w++) narrow[w] = (float)values[w];
    for (int w = 0; w < LANES; w++) to[w] = count[w] ? narrow[w] : NAN;
}

INLINE void all_of(const double *values, float *to) {
    for (int w = 0; w < LANES; w++) to[w] = (float)values[w];
}

/* All aggregations of all windows at once: a loop a step, so that the lanes become vectors. */
INLINE void aggregate(const answer *a, double amount, double deviation_floor, lanes *values) {
    double count[LANES], sum[LANES], mean[LANES], other[LANES];
    uint32_t positive[LANES];
    for (int w = 0; w < LANES; w++) count[w] = (double)a->count[w];
    for (int w = 0; w < LANES; w++) sum[w] = (double)a->sum[w];
    for (int w = 0; w < LANES; w++) mean[w] = sum[w] / count[w];
    all_of(count, values[COUNT]);
    all_of(sum, values[SUM]);
    where(a->count, mean, values[MEAN]);
    for (int w = 0; w < LANES; w++) other[w] = (double)a->distinct[w];
    all_of(other, values[DISTINCT]);
    for (int w = 0; w < LANES; w++) other[w] = (double)a->largest[w];
    where(a->count, other, values[MAXIMUM]);
    for (int w = 0; w < LANES; w++) other[w] = amount / mean[w];
    for (int w = 0; w < LANES; w++) positive[w] = values[SUM][w] > 0 ? a->count[w] : 0;
    where(positive, other, values[RATIO]);
    for (int w = 0; w < LANES; w++) other[w] = (amount - mean[w]) / (sqrt(a->squares[w]) / count[w] + deviation_floor);
    where(a->count, other, values[ZSCORE]);
}

INLINE void aggregate_risks(const answer *a, lanes *values) {
    double count[LANES], fraud[LANES], rate[LANES];
    for (int r = 0; r < LANES; r++) count[r] = (double)a->risk_count[r];
    for (int r = 0; r < LANES; r++) fraud[r] = (double)a->risk_fraud[r];
    for (int r = 0; r < LANES; r++) rate[r] = fraud[r] / count[r];
    all_of(count, values[RISK_COUNT]);
    all_of(fraud, values[RISK_FRAUD]);
    where(a->risk_count, rate, values[RISK_RATE]);
}

INLINE void write_values(const kind *of, const answer *a, double amount, double deviation_floor, float *out) {
    lanes values[AGGREGATIONS];
    if (of->windows) aggregate(a, amount, deviation_floor, values);
    if (of->risks) aggregate_risks(a, values);
    if (of->lasts) {
        all_of(a->last_amount, values[LAST_AMOUNT]); all_of(a->last_gap, values[LAST_GAP]); all_of(a->last_same, values[LAST_SAME]);
    }
    values[SINCE_LAST][0] = (float)a->since_last;
    const float *from = values[0];
    for (int64_t c = 0; c < of->columns; c++) out[c] = from[of->places[c]];
}

#if HAS_X86
FOR_AVX512 static void write_values_avx512(const kind *of, const answer *a, double amount, double deviation_floor, float *out) {
    write_values(of, a, amount, deviation_floor, out);
}

FOR_AVX2 static void write_values_avx2(const kind *of, const answer *a, double amount, double deviation_floor, float *out) {
    write_values(of, a, amount, deviation_floor, out);
}
#endif

/* The columns of a kind; the same bits whatever writes them. */
static void write_columns(const store *s, const kind *of, const answer *a, double amount, float *out) {
#if HAS_X86
    if (kernels_variant() == AVX512) { write_values_avx512(of, a, amount, s->deviation_floor, out); return; }
    if (kernels_variant() == AVX2) { write_values_avx2(of, a, amount, s->deviation_floor, out); return; }
#endif
    write_values(of, a, amount, s->deviation_floor, out);
}

/* ---- what the rows to come ask of memory ------------------------------------------------------------------------ */

/* How many rows ahead memory is asked for, in three waves, since each is found with what the one before has brought: first the
 * entities and the places of their counterparts, then the ends of their logs, then the last event with the same counterpart. */
enum { ENTITIES_AHEAD = 8, ENDS_AHEAD = 5, SAME_AHEAD = 2 };

static int is_there(const kind *of, int32_t row) { return row >= 0 && row < of->count; }

static void fetch_entities(const store *s, const int32_t *rows, const int32_t *others) {
    for (int k = 0; k < s->kinds; k++) {
        const kind *of = &s->kind[k];
        if (!is_there(of, rows[k])) continue;
        const char *at = of->rows + rows[k] * of->stride;
        for (int64_t b = 0; b < of->stride; b += 64) __builtin_prefetch(at + b, 1);
        if (others[k] < 0 || !of->keeps_others) continue;
        uint64_t hash = mix(pair_key(k, rows[k], others[k]));
        const segment *segment = &s->segments[hash >> 56];
        __builtin_prefetch(&segment->slots[hash & segment->mask], 1);
    }
}

static void fetch_two(const event *first) {
    __builtin_prefetch(first, 1);
    __builtin_prefetch((const char *)(first + 2) - 1, 1);
}

static void fetch_edge(const entity *e, uint32_t position, uint32_t back) {
    fetch_two(&AT(e, position > e->first ? position - back : position));
}

static void fetch_ends(const store *s, const int32_t *rows, int64_t time) {
    for (int k = 0; k < s->kinds; k++) {
        const kind *of = &s->kind[k];
        if (!is_there(of, rows[k])) continue;
        entity *e = row_of(of, rows[k]);
        if (!e->length) continue;
        fetch_two(e->events + e->length - 1);
        uint32_t told = e->length < (uint32_t)of->lasts ? e->length : (uint32_t)of->lasts;
        for (uint32_t back = 2; back <= told; back++) __builtin_prefetch(e->events + e->length - back);
        if (e->stack_top != NONE && e->stack_top >= e->first) fetch_two(&AT(e, e->stack_top));
        uint32_t back = time < e->last_time; /* a late event looks at what lies before the edges */
        for (int w = 0; w < of->windows; w++) {
            const window *window = &windows_of(e)[w];
            if (back || window->tail_time < time - of->window_us[w]) fetch_edge(e, window->tail, back);
        }
        for (int r = 0; r < of->risks; r++) {
            const risk_window *risk = &risks_of(of, e)[r];
            if (back || risk->low_time < time - s->delay_us - of->risk_us[r]) fetch_edge(e, risk->low, back);
        }
        if (of->risks && (back || e->high_time < time - s->delay_us)) fetch_edge(e, e->risk_high, back);
    }
}

/* The event on the stack of maxima below those that one of this amount takes the place of. */
static void fetch_lower(const entity *e, int64_t amount) {
    uint32_t top = e->stack_top;
    for (int depth = 0; depth < 2 && top != NONE && top >= e->first; depth++) {
        if (AT(e, top).amount > amount) return;
        top = AT(e, top).previous;
    }
    if (top != NONE && top >= e->first) __builtin_prefetch(&AT(e, top), 1);
}

static void fetch_same(store *s, const int32_t *rows, const int32_t *others, int64_t amount) {
    for (int k = 0; k < s->kinds; k++) {
        const kind *of = &s->kind[k];
        if (!is_there(of, rows[k])) continue;
        const entity *e = row_of(of, rows[k]);
        fetch_lower(e, amount);
        if (others[k] < 0 || !of->keeps_others) continue;
        const slot *at = map_find(s, pair_key(k, rows[k], others[k]));
        if (at->key && at->position >= e->first && at->position < END(e)) __builtin_prefetch(&AT(e, at->position).again, 1);
    }
}

/* ---- a copy while the store changes ------------------------------------------------------------------------------ */

typedef struct {
    uint32_t length;
    event events[];
} saved_log;

/* Set the entity aside as it is, where an export has still to come to it. Call before every change. */
static void keep_for_export(store *s, entity *e, int k, int64_t row) {
    if (!s->exporting || e->saved || row >= s->export_counts[k]) return;
    if (k < s->export_kind || (k == s->export_kind && row < s->export_row)) return;
    uint32_t length = END(e) - e->first;
    saved_log *copy = malloc(sizeof *copy + length * sizeof(event));
    if (!copy) { s->export_failed = 1; return; }
    copy->length = length;
    if (length) memcpy(copy->events, &AT(e, e->first), length * sizeof(event));
    e->saved = copy;
}

/* From now on velocity_export_next tells the store as it is now. Returns 1 where an export is under way already. */
int velocity_export_start(store *s) {
    pthread_mutex_lock(&s->lock);
    int busy = s->exporting;
    if (!busy) {
        s->exporting = 1; s->export_failed = 0; s->export_kind = 0; s->export_row = 0;
        for (int k = 0; k < s->kinds; k++) s->export_counts[k] = s->kind[k].count;
    }
    pthread_mutex_unlock(&s->lock);
    return busy;
}

void velocity_export_end(store *s) {
    pthread_mutex_lock(&s->lock);
    for (int k = s->exporting ? s->export_kind : s->kinds; k < s->kinds; k++)
        for (int64_t row = 0; row < s->export_counts[k]; row++) { free(row_of(&s->kind[k], row)->saved); row_of(&s->kind[k], row)->saved = NULL; }
    s->exporting = 0;
    pthread_mutex_unlock(&s->lock);
}

enum { EXPORT_END, EXPORT_CHUNK, EXPORT_NEEDS_ROOM, EXPORT_FAILED };

/* The next entities of one kind: chunk gets kind, first row, rows, events. EXPORT_NEEDS_ROOM: the next entity has chunk[3] events. */
int velocity_export_next(store *s, int64_t max_rows, int64_t max_events, int64_t *chunk, uint32_t *lengths, int64_t *time,
                         int64_t *amount, uint32_t *key, int32_t *other) {
    int64_t rows = 0, events = 0;
    pthread_mutex_lock(&s->lock);
    while (s->export_kind < s->kinds && s->export_row >= s->export_counts[s->export_kind]) { s->export_kind++; s->export_row = 0; }
    int status = s->export_failed ? EXPORT_FAILED : s->export_kind == s->kinds ? EXPORT_END : EXPORT_CHUNK;
    if (status == EXPORT_CHUNK) {
        const kind *of = &s->kind[s->export_kind];
        chunk[0] = s->export_kind; chunk[1] = s->export_row;
        for (; rows < max_rows && s->export_row < s->export_counts[s->export_kind]; rows++, s->export_row++) {
            if (s->export_row + 8 < of->count) __builtin_prefetch(row_of(of, s->export_row + 8));
            if (s->export_row + 4 < of->count) __builtin_prefetch(row_of(of, s->export_row + 4)->events);
            entity *e = row_of(of, s->export_row);
            const saved_log *saved = e->saved;
            uint32_t length = saved ? saved->length : END(e) - e->first;
            const event *from = saved ? saved->events : length ? &AT(e, e->first) : NULL;
            if (events + length > max_events) { if (!rows) { status = EXPORT_NEEDS_ROOM; events = length; } break; }
            lengths[rows] = length;
            for (uint32_t i = 0; i < length; i++, events++) {
                time[events] = from[i].time; amount[events] = from[i].amount; key[events] = from[i].key; other[events] = from[i].other;
            }
            free(e->saved); e->saved = NULL;
        }
        chunk[2] = rows; chunk[3] = events;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

enum { IMPORT_DONE, IMPORT_NO_MEMORY, IMPORT_NOT_EMPTY, IMPORT_NOT_SORTED };

/* Put an exported chunk into a store whose entities of these rows are empty. */
int velocity_import(store *s, int k, int64_t first, int64_t rows, const uint32_t *lengths, const int64_t *time, const int64_t *amount,
                    const uint32_t *key, const int32_t *other) {
    int status = IMPORT_DONE;
    int64_t at = 0;
    pthread_mutex_lock(&s->lock);
    for (int64_t i = 0; i < rows && !status; i++) {
        uint32_t length = lengths[i];
        entity *e = entity_at(s, k, first + i);
        if (!e) { status = IMPORT_NO_MEMORY; break; }
        if (e->length) { status = IMPORT_NOT_EMPTY; break; }
        if (!length) continue;
        if (!resize(s, e, length + length / 8 + 2)) { status = IMPORT_NO_MEMORY; break; }
        for (uint32_t p = 0; p < length; p++, at++) {
            e->events[p] = (event){time[at], amount[at], key[at], s->kind[k].keeps_others ? other[at] : -1, NONE, NONE, NONE, NONE};
            if (p && time[at] < time[at - 1]) status = IMPORT_NOT_SORTED;
        }
        if (status) break;
        e->length = length; s->events += length;
        derive(s, e, k, first + i);
        if (s->failed) status = IMPORT_NO_MEMORY;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* Look at so many entities, where the last call stopped, and free those with no event since `before`. Returns the events freed. */
int64_t velocity_forget_idle(store *s, int64_t before, int64_t entities) {
    int64_t freed = 0;
    if (!s->kinds) return 0;
    pthread_mutex_lock(&s->lock);
    for (int64_t i = 0, turns = 0; i < entities && turns <= s->kinds; i++) {
        while (s->idle_row >= s->kind[s->idle_kind].count && turns <= s->kinds) {
            s->idle_kind = (s->idle_kind + 1) % s->kinds; s->idle_row = 0; turns++;
        }
        if (turns > s->kinds) break;
        entity *e = row_of(&s->kind[s->idle_kind], s->idle_row);
        if (e->length && e->last_time < before) {
            keep_for_export(s, e, s->idle_kind, s->idle_row);
            forget_counterparts(s, e, s->idle_kind, s->idle_row);
            freed += END(e) - e->first; s->events -= END(e) - e->first;
            s->bytes -= (int64_t)(e->capacity * sizeof(event));
            free(e->events);
            void *saved = e->saved;
            clear(&s->kind[s->idle_kind], e);
            e->saved = saved;
        }
        s->idle_row++;
    }
    pthread_mutex_unlock(&s->lock);
    return freed;
}

/* ---- batches ------------------------------------------------------------------------------------------------------ */

enum late { LEFT_OUT = 1, BEHIND = 2 };

static event event_of(const kind *of, int64_t time, int64_t amount, uint64_t key, int32_t other) {
    return (event){time, amount, (uint32_t)key & ~FRAUD_BIT, of->keeps_others ? other : -1, NONE, NONE, NONE, NONE};
}

static int is_behind(const entity *e, int64_t time) { return END(e) > e->first && time < e->last_time; }

/* Take an event that is not behind, to whose time the windows have been advanced. Returns 1 when memory ran out. */
static int insert_newest(store *s, entity *e, int k, int64_t row, event now) {
    if (!make_room(s, e, 1)) return 1;
    uint32_t end = END(e);
    AT(e, end) = now; e->length++; s->events++;
    enter(s, e, k, row, end);
    forget_old(s, e, k, row);
    return s->failed;
}

/* Take an event that is behind, within the retention. Returns 1 when memory ran out. */
static int insert_late(store *s, entity *e, int k, int64_t row, event now) {
    if (!make_room(s, e, 1)) return 1;
    uint32_t p = position_after(e, now.time);
    memmove(&AT(e, p) + 1, &AT(e, p), (END(e) - p) * sizeof(event));
    AT(e, p) = now; e->length++; s->events++;
    enter_late(s, e, k, row, p);
    return s->failed;
}

/* Answer one event for one kind, and absorb it where it is to be inserted. Returns 1 when memory ran out. */
static int process_one(store *s, int k, int64_t row, int64_t time, int64_t amount, uint64_t key, int32_t other, int insert, float *out,
                       answer *a, uint8_t *late) {
    const kind *kind = &s->kind[k];
    if (row == UNKNOWN_ENTITY || (!insert && row >= kind->count)) { /* nothing is allocated for a look */
        look_at_nothing(a);
        write_columns(s, kind, a, (double)amount, out);
        return 0;
    }
    if (row < 0) { for (int64_t c = 0; c < kind->columns; c++) out[c] = NAN; return 0; }
    entity *e = entity_at(s, k, row);
    if (!e) return 1;
    int behind = is_behind(e, time);
    if (insert) keep_for_export(s, e, k, row);
    if (behind || !insert) look(s, e, k, time, other, a);
    else {
        advance(s, e, k, time);
        read_windows(s, e, k, time, other, a);
    }
    write_columns(s, kind, a, (double)amount, out);
    if (!insert) return 0;
    if (behind && time < e->last_time - s->retention_us) { *late |= LEFT_OUT; return 0; }
    event now = event_of(kind, time, amount, key, other);
    return behind ? insert_late(s, e, k, row, now) : insert_newest(s, e, k, row, now);
}

/* Ask for the memory that the rows after row i will need; i begins ENTITIES_AHEAD before the first. */
static void fetch_ahead(store *s, int64_t i, int64_t n, const int64_t *time, const int64_t *amount, const int32_t *entities,
                        const int32_t *others) {
    int64_t entity = i + ENTITIES_AHEAD, end = i + ENDS_AHEAD, same = i + SAME_AHEAD, kinds = s->kinds;
    if (entity < n) fetch_entities(s, entities + entity * kinds, others + entity * kinds);
    if (end >= 0 && end < n) fetch_ends(s, entities + end * kinds, time[end]);
    if (same >= 0 && same < n) fetch_same(s, entities + same * kinds, others + same * kinds, amount[same]);
}

/* Answer and, where insert[i], absorb n events in arrival order. late[i]: LEFT_OUT where the event lay behind the retained history
 * of an entity and was left out of it, BEHIND where it is further behind the newest event than windows are kept exactly for.
 * Returns 0, or 1 when memory ran out. */
int velocity_process(store *s, int64_t n, const int64_t *time, const int64_t *amount, const uint64_t *key,
                     const int32_t *entities, const int32_t *others, const uint8_t *insert, int64_t stride, float *out,
                     uint8_t *late) {
    int failed = 0, kinds = s->kinds;
    answer room = {0};
    int64_t exact = s->retention_us - s->reach_us;
    pthread_mutex_lock(&s->lock);
    for (int64_t i = -ENTITIES_AHEAD; i < n && !failed; i++) {
        fetch_ahead(s, i, n, time, amount, entities, others);
        if (i < 0) continue;
        float *row_out = out + i * stride;
        late[i] = s->newest != INT64_MIN && time[i] < s->newest - exact ? BEHIND : 0;
        if (insert[i] && time[i] > s->newest) s->newest = time[i];
        for (int k = 0; k < kinds && !failed; k++) {
            int64_t at = i * kinds + k;
            failed = process_one(s, k, entities[at], time[i], amount[i], key[i], others[at], insert[i], row_out, &room, &late[i]);
            row_out += s->kind[k].columns;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return failed;
}

/* ---- batches without answers ---------------------------------------------------------------------------------------
 *
 * Nobody asks what a window held in between, so events that are overtaken by many may wait for the end of the batch: what an
 * entity retains then, and in which order, follows from the events alone. Ties stay in the order of arrival: an event that comes
 * after one that waits and has its time is overtaken by as many at least, and waits too. */

typedef struct {
    uint64_t entity; /* kind and row */
    int64_t time, arrival;
} late_event;

/* The events of a call, and which of them wait. */
typedef struct {
    const int64_t *time, *amount;
    const uint64_t *key;
    const int32_t *entities, *others;
    late_event *late;
    int64_t waiting, capacity;
} batch;

enum { WAITS_FROM = 64 }; /* overtaken by fewer, an event is put in its place at once */

static event batch_event(const store *s, const batch *of, int k, int64_t i) {
    return event_of(&s->kind[k], of->time[i], of->amount[i], of->key[i], of->others[i * s->kinds + k]);
}

/* Returns 1 when memory ran out. */
static int set_aside(batch *of, late_event which) {
    if (of->waiting == of->capacity) {
        int64_t capacity = of->capacity ? of->capacity * 2 : 256;
        late_event *late = realloc(of->late, (size_t)capacity * sizeof *late);
        if (!late) return 1;
        of->late = late; of->capacity = capacity;
    }
    of->late[of->waiting++] = which;
    return 0;
}

static int by_entity_and_time(const void *left, const void *right) {
    const late_event *a = left, *b = right;
    if (a->entity != b->entity) return a->entity < b->entity ? -1 : 1;
    if (a->time != b->time) return a->time < b->time ? -1 : 1;
    return a->arrival < b->arrival ? -1 : a->arrival > b->arrival;
}

/* Merge sorted late events into the sorted log. Returns 1 when memory ran out. */
static int merge(store *s, const batch *of, entity *e, int k, int64_t row, const late_event *late, uint32_t count) {
    if (!make_room(s, e, count)) return 1;
    forget_counterparts(s, e, k, row);
    uint32_t from = END(e), to = from + count;
    for (uint32_t left = count; left; left--) {
        while (from > e->first && AT(e, from - 1).time > late[left - 1].time) AT(e, --to) = AT(e, --from);
        AT(e, --to) = batch_event(s, of, k, late[left - 1].arrival);
    }
    e->length += count; s->events += count;
    derive(s, e, k, row);
    return s->failed;
}

/* To derive an entity's windows costs as much an event as it does to let so many events be overtaken. */
enum { OVERTAKEN_AS_DERIVED = 4 };

/* Take the late events of one entity, sorted. Returns 1 when memory ran out. */
static int insert_all_late(store *s, const batch *of, const late_event *late, int64_t count) {
    int k = (int)(late->entity >> 32), failed = 0;
    int64_t row = (int64_t)(uint32_t)late->entity, overtaken = 0;
    entity *e = row_of(&s->kind[k], row);
    /* Newer events than were there when these arrived would have made the entity forget some of them. */
    while (count && late->time < e->last_time - s->retention_us) { late++; count--; }
    for (int64_t i = 0; i < count; i++) overtaken += END(e) - position_after(e, late[i].time);
    if (overtaken > OVERTAKEN_AS_DERIVED * (END(e) - e->first + count)) return merge(s, of, e, k, row, late, (uint32_t)count);
    for (int64_t i = 0; i < count && !failed; i++) failed = insert_late(s, e, k, row, batch_event(s, of, k, late[i].arrival));
    return failed;
}

static int insert_waiting(store *s, const batch *of) {
    int failed = 0;
    if (of->waiting) qsort(of->late, (size_t)of->waiting, sizeof *of->late, by_entity_and_time);
    for (int64_t i = 0, end; i < of->waiting && !failed; i = end) {
        for (end = i + 1; end < of->waiting && of->late[end].entity == of->late[i].entity;) end++;
        failed = insert_all_late(s, of, of->late + i, end - i);
    }
    return failed;
}

/* Absorb event i for one kind, or let it wait. Returns 1 when memory ran out. */
static int absorb_one(store *s, batch *of, int k, int64_t i) {
    int64_t row = of->entities[i * s->kinds + k], time = of->time[i];
    if (row < 0) return 0;
    entity *e = entity_at(s, k, row);
    if (!e) return 1;
    keep_for_export(s, e, k, row);
    if (!is_behind(e, time)) {
        advance(s, e, k, time);
        return insert_newest(s, e, k, row, batch_event(s, of, k, i));
    }
    if (time < e->last_time - s->retention_us) return 0;
    if (END(e) - position_after(e, time) < WAITS_FROM) return insert_late(s, e, k, row, batch_event(s, of, k, i));
    return set_aside(of, (late_event){(uint64_t)k << 32 | (uint64_t)row, time, i});
}

/* Leave the store as velocity_process would. Returns 0, or 1 when memory ran out. */
int velocity_absorb(store *s, int64_t n, const int64_t *time, const int64_t *amount, const uint64_t *key, const int32_t *entities,
                    const int32_t *others, const uint8_t *insert) {
    batch of = {time, amount, key, entities, others, NULL, 0, 0};
    int failed = 0;
    pthread_mutex_lock(&s->lock);
    for (int64_t i = -ENTITIES_AHEAD; i < n && !failed; i++) {
        fetch_ahead(s, i, n, time, amount, entities, others);
        if (i < 0 || !insert[i]) continue;
        if (time[i] > s->newest) s->newest = time[i];
        for (int k = 0; k < s->kinds && !failed; k++) failed = absorb_one(s, &of, k, i);
    }
    if (!failed) failed = insert_waiting(s, &of);
    pthread_mutex_unlock(&s->lock);
    free(of.late);
    return failed;
}

static event *find_event(entity *e, int64_t time, uint64_t key) {
    for (uint32_t p = position_after(e, time); p > e->first && AT(e, p - 1).time == time; p--)
        if ((AT(e, p - 1).key & ~FRAUD_BIT) == ((uint32_t)key & ~FRAUD_BIT)) return &AT(e, p - 1);
    return NULL;
}

/* Mark events as fraud (1) or not (0). Returns how many were still retained for at least one entity. */
int64_t velocity_label(store *s, int64_t n, const int64_t *time, const uint64_t *key, const int32_t *entities, const uint8_t *fraud) {
    int64_t found = 0;
    pthread_mutex_lock(&s->lock);
    for (int64_t i = 0; i < n; i++) {
        int any = 0;
        for (int k = 0; k < s->kinds; k++) {
            const kind *kind = &s->kind[k];
            int64_t row = entities[i * s->kinds + k];
            if (row < 0 || row >= kind->count) continue;
            entity *e = row_of(kind, row);
            event *of = find_event(e, time[i], key[i]);
            if (!of) continue;
            any = 1;
            int change = (int)fraud[i] - (int)(of->key >> 31);
            if (!change) continue;
            keep_for_export(s, e, k, row);
            of->key ^= FRAUD_BIT;
            uint32_t position = (uint32_t)(of - e->events) + e->base;
            for (int r = 0; r < kind->risks; r++)
                if (position >= risks_of(kind, e)[r].low && position < e->risk_high) risks_of(kind, e)[r].fraud += change;
        }
        found += any;
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* contained[i] = 1 where the event is still remembered for at least one of its entities. */
void velocity_contains(store *s, int64_t n, const int64_t *time, const uint64_t *key, const int32_t *entities, uint8_t *contained) {
    pthread_mutex_lock(&s->lock);
    for (int64_t i = 0; i < n; i++) {
        contained[i] = 0;
        for (int k = 0; k < s->kinds && !contained[i]; k++) {
            int64_t row = entities[i * s->kinds + k];
            if (row >= 0 && row < s->kind[k].count) contained[i] = find_event(row_of(&s->kind[k], row), time[i], key[i]) != NULL;
        }
    }
    pthread_mutex_unlock(&s->lock);
}

/* Take events out again, as if they had never come (their commit failed). */
void velocity_remove(store *s, int64_t n, const int64_t *time, const uint64_t *key, const int32_t *entities) {
    pthread_mutex_lock(&s->lock);
    for (int64_t i = n - 1; i >= 0; i--)
        for (int k = 0; k < s->kinds; k++) {
            int64_t row = entities[i * s->kinds + k];
            if (row < 0 || row >= s->kind[k].count) continue;
            entity *e = row_of(&s->kind[k], row);
            event *of = find_event(e, time[i], key[i]);
            if (!of) continue;
            keep_for_export(s, e, k, row);
            forget_counterparts(s, e, k, row);
            event *end = e->events + e->length;
            memmove(of, of + 1, (size_t)(end - of - 1) * sizeof(event));
            e->length--; s->events--;
            derive(s, e, k, row);
        }
    pthread_mutex_unlock(&s->lock);
}
