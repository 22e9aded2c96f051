/* Sliding-window aggregates of events per entity, exact, amortised O(1) a window for events in time order.
 *
 * The contract is written in __init__.py; reference.py is the truth that this file is tested against.
 *
 * Each entity owns a log of its retained events, sorted by (time, arrival). A window is a tail position in that log
 * plus running sums; all are exact because money is whole minor units (sums in 64 bits, squares in 128).
 *   distinct: an event that leaves the window lowers the count only if no later event of the entity names the same
 *             counterpart, which one shared map (entity, counterpart) -> last position answers.
 *   maximum:  the events that no later event exceeds form one linked stack an entity, shared by all windows; a window
 *             points at the first of them inside it.
 * Each event also knows the event before it that is larger (`previous`) and the one before it with the same counterpart
 * (`same`). With these, the windows of any other moment follow from the present ones by stepping over the events between:
 * an event that arrives late costs O(events that overtook it + events that its windows reach further back).
 * Positions are absolute, so that dropping old events moves nothing but `base`.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define MAX_WINDOWS 6
#define UNKNOWN_ENTITY (-2) /* present in the event, never met before, and not to be remembered */
#define FRAUD_BIT 0x80000000u

typedef __int128 wide;

enum aggregation { COUNT, SUM, MEAN, MAXIMUM, DISTINCT, RATIO, ZSCORE, SINCE_LAST, RISK_COUNT, RISK_FRAUD, RISK_RATE };

typedef struct {
    int64_t time, amount;
    uint32_t key; /* 31 bits of the caller's event key; the top bit says: known as fraud */
    int32_t other;
    uint32_t previous; /* the last event before that is larger: the neighbour below on the stack of maxima */
    uint32_t next;     /* the neighbour above, for those that are on the stack */
    uint32_t same;     /* the last event before with the same counterpart */
} event;

typedef struct {
    int64_t sum;
    wide squares;
    uint32_t tail, distinct, maximum;
} window;

typedef struct {
    uint32_t low, fraud;
} risk_window;

typedef struct {
    event *events;
    uint32_t base, length, first, capacity; /* event with absolute position p is events[p - base]; first >= base */
    uint32_t stack_top, risk_high;
    window windows[MAX_WINDOWS];
    risk_window risks[MAX_WINDOWS];
} entity;

typedef struct {
    uint64_t key;
    uint32_t position;
} slot;

typedef struct {
    entity *rows;
    int64_t count, capacity;
} kind;

typedef struct {
    int kinds, windows, risks;
    int64_t window_us[MAX_WINDOWS], risk_us[MAX_WINDOWS], delay_us, retention_us, reach_us; /* reach: the longest look back */
    double deviation_floor;
    kind *kind;
    slot *slots; /* open addressing, key 0 is free */
    uint64_t mask, used;
    int64_t events, bytes; /* kept as they change: another thread may read them at any time */
    int failed;
} store;

/* ---- last position of (entity, counterpart) ------------------------------------------------------------------ */

static uint64_t mix(uint64_t x) {
    x ^= x >> 31; x *= 0x7fb5d329728ea185ull; x ^= x >> 27; x *= 0x81dadef4bc2dd44dull; return x ^ (x >> 33);
}

static uint64_t pair_key(int k, int64_t row, int32_t other) {
    return (((uint64_t)row << 32) ^ (uint32_t)other ^ ((uint64_t)k << 58)) + 1;
}

static void map_grow(store *s) {
    uint64_t old = s->mask + 1, size = old * 2;
    slot *from = s->slots, *to = calloc(size, sizeof *to);
    if (!to) { s->failed = 1; return; }
    for (uint64_t i = 0; i < old; i++) if (from[i].key) {
        uint64_t h = mix(from[i].key) & (size - 1);
        while (to[h].key) h = (h + 1) & (size - 1);
        to[h] = from[i];
    }
    free(from); s->slots = to; s->mask = size - 1; s->bytes += (int64_t)(old * sizeof *to);
}

static slot *map_find(store *s, uint64_t key) {
    uint64_t h = mix(key) & s->mask;
    while (s->slots[h].key && s->slots[h].key != key) h = (h + 1) & s->mask;
    return &s->slots[h];
}

static uint32_t map_swap(store *s, uint64_t key, uint32_t position) {
    if ((s->used + 1) * 10 > (s->mask + 1) * 7) map_grow(s);
    slot *at = map_find(s, key);
    if (at->key) { uint32_t old = at->position; at->position = position; return old; }
    at->key = key; at->position = position; s->used++;
    return NONE;
}

static void map_remove(store *s, uint64_t key) {
    slot *at = map_find(s, key);
    if (!at->key) return;
    uint64_t hole = (uint64_t)(at - s->slots), i = hole;
    for (;;) { /* move later members of the run back, so that no tombstones are needed */
        i = (i + 1) & s->mask;
        if (!s->slots[i].key) break;
        uint64_t home = mix(s->slots[i].key) & s->mask;
        if (((i - home) & s->mask) >= ((i - hole) & s->mask)) { s->slots[hole] = s->slots[i]; hole = i; }
    }
    s->slots[hole].key = 0; s->used--;
}

/* ---- life cycle ------------------------------------------------------------------------------------------------ */

void velocity_destroy(store *s) {
    if (!s) return;
    if (s->kind) for (int k = 0; k < s->kinds; k++) {
        for (int64_t i = 0; i < s->kind[k].count; i++) free(s->kind[k].rows[i].events);
        free(s->kind[k].rows);
    }
    free(s->kind); free(s->slots); free(s);
}

store *velocity_create(int kinds, int windows, const int64_t *window_us, int risks, const int64_t *risk_us,
                       int64_t delay_us, int64_t retention_us, double deviation_floor) {
    if (windows > MAX_WINDOWS || risks > MAX_WINDOWS) return NULL;
    store *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->kinds = kinds; s->windows = windows; s->risks = risks;
    memcpy(s->window_us, window_us, sizeof(int64_t) * windows);
    memcpy(s->risk_us, risk_us, sizeof(int64_t) * risks);
    s->delay_us = delay_us; s->retention_us = retention_us; s->deviation_floor = deviation_floor;
    for (int w = 0; w < windows; w++) if (window_us[w] > s->reach_us) s->reach_us = window_us[w];
    for (int r = 0; r < risks; r++) if (delay_us + risk_us[r] > s->reach_us) s->reach_us = delay_us + risk_us[r];
    s->kind = calloc(kinds, sizeof *s->kind);
    s->mask = 1023; s->slots = calloc(s->mask + 1, sizeof *s->slots);
    if (!s->kind || !s->slots) { velocity_destroy(s); return NULL; }
    s->bytes = (int64_t)(sizeof *s + kinds * sizeof *s->kind + (s->mask + 1) * sizeof(slot));
    return s;
}

int64_t velocity_bytes(const store *s) { return s->bytes; }

int64_t velocity_events(const store *s) { return s->events; }

static entity *entity_at(store *s, int k, int64_t row) {
    kind *of = &s->kind[k];
    if (row >= of->capacity) {
        int64_t capacity = of->capacity ? of->capacity : 256;
        while (capacity <= row) capacity *= 2;
        entity *rows = realloc(of->rows, capacity * sizeof *rows);
        if (!rows) { s->failed = 1; return NULL; }
        s->bytes += (capacity - of->capacity) * (int64_t)sizeof *rows;
        of->rows = rows; of->capacity = capacity;
    }
    while (of->count <= row) {
        entity *e = &of->rows[of->count++];
        memset(e, 0, sizeof *e);
        e->stack_top = NONE;
        for (int w = 0; w < MAX_WINDOWS; w++) e->windows[w].maximum = NONE;
    }
    return &of->rows[row];
}

#define AT(e, position) ((e)->events[(position) - (e)->base])
#define END(e) ((e)->base + (e)->length)

/* ---- keeping the windows --------------------------------------------------------------------------------------- */

static void advance(store *s, entity *e, int k, int64_t row, int64_t now) {
    uint32_t end = END(e);
    for (int w = 0; w < s->windows; w++) {
        window *of = &e->windows[w];
        int64_t from = now - s->window_us[w];
        while (of->tail < end && AT(e, of->tail).time < from) {
            event *gone = &AT(e, of->tail);
            of->sum -= gone->amount; of->squares -= (wide)gone->amount * gone->amount;
            if (gone->other >= 0 && map_find(s, pair_key(k, row, gone->other))->position == of->tail) of->distinct--;
            if (of->maximum == of->tail) of->maximum = gone->next;
            of->tail++;
        }
    }
    while (e->risk_high < end && AT(e, e->risk_high).time < now - s->delay_us) {
        uint32_t fraud = AT(e, e->risk_high).key >> 31;
        for (int r = 0; r < s->risks; r++) e->risks[r].fraud += fraud;
        e->risk_high++;
    }
    for (int r = 0; r < s->risks; r++) {
        risk_window *of = &e->risks[r];
        int64_t from = now - s->delay_us - s->risk_us[r];
        while (of->low < e->risk_high && AT(e, of->low).time < from) { of->fraud -= AT(e, of->low).key >> 31; of->low++; }
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

static void enter(store *s, entity *e, int k, int64_t row, uint32_t position) {
    event *now = &AT(e, position);
    uint32_t last = now->other >= 0 ? map_swap(s, pair_key(k, row, now->other), position) : NONE;
    now->same = last;
    push(e, position);
    for (int w = 0; w < s->windows; w++) {
        window *of = &e->windows[w];
        of->sum += now->amount; of->squares += (wide)now->amount * now->amount;
        if (now->other >= 0 && (last == NONE || last < of->tail)) of->distinct++;
        if (of->tail == position || of->maximum == NONE || AT(e, of->maximum).amount <= now->amount) of->maximum = position;
    }
}

/* The event at `position` was put before later ones, which have moved up by one: mend what refers to them. */
static void enter_late(store *s, entity *e, int k, int64_t row, uint32_t position) {
    event *now = &AT(e, position);
    uint32_t end = END(e);
    int64_t newest = AT(e, end - 1).time;
    int again = 0; /* the counterpart occurs among the later events */
    now->same = NONE;
    for (uint32_t p = position + 1; p < end; p++) {
        event *later = &AT(e, p);
        if (later->other < 0) continue;
        if (later->same != NONE && later->same >= position) later->same++;
        if (!again && later->other == now->other) { again = 1; now->same = later->same; later->same = position; }
        slot *last = map_find(s, pair_key(k, row, later->other));
        if (last->position == p - 1) last->position = p;
    }
    if (now->other >= 0 && !again) now->same = map_swap(s, pair_key(k, row, now->other), position);
    e->stack_top = position > e->first ? position - 1 : NONE;
    for (uint32_t p = position; p < end; p++) push(e, p);
    for (int w = 0; w < s->windows; w++) {
        window *of = &e->windows[w];
        if (now->time < newest - s->window_us[w]) of->tail++;
        else {
            of->sum += now->amount; of->squares += (wide)now->amount * now->amount;
            if (now->other >= 0 && !again && (now->same == NONE || now->same < of->tail)) of->distinct++;
        }
        of->maximum = NONE;
        for (uint32_t p = e->stack_top; p != NONE && p >= of->tail; p = AT(e, p).previous) of->maximum = p;
    }
    if (now->time >= newest - s->delay_us) return;
    e->risk_high++;
    for (int r = 0; r < s->risks; r++)
        if (now->time < newest - s->delay_us - s->risk_us[r]) e->risks[r].low++;
}

static int resize(store *s, entity *e, uint32_t capacity) {
    event *events = realloc(e->events, capacity * sizeof *events);
    if (!events) return 0;
    s->bytes += ((int64_t)capacity - e->capacity) * (int64_t)sizeof *events;
    e->events = events; e->capacity = capacity;
    return 1;
}

static void forget_old(store *s, entity *e, int k, int64_t row) {
    int64_t from = AT(e, END(e) - 1).time - s->retention_us;
    while (AT(e, e->first).time < from) {
        event *gone = &AT(e, e->first);
        if (gone->other >= 0) {
            uint64_t key = pair_key(k, row, gone->other);
            slot *at = map_find(s, key);
            if (at->key && at->position == e->first) map_remove(s, key);
        }
        e->first++; s->events--;
    }
    uint32_t dead = e->first - e->base;
    if (dead > 16 && dead > e->length / 2) {
        e->length -= dead;
        memmove(e->events, e->events + dead, e->length * sizeof(event));
        e->base = e->first;
        if (e->capacity > 64 && e->length < e->capacity / 4) resize(s, e, e->length * 2);
    }
}

static int make_room(store *s, entity *e) {
    if (e->length < e->capacity) return 1;
    if (!resize(s, e, e->capacity ? e->capacity + e->capacity / 2 + 2 : 4)) s->failed = 1;
    return !s->failed;
}

/* Recompute every derived number of the entity from its sorted log. */
static void rebuild(store *s, entity *e, int k, int64_t row) {
    uint32_t end = END(e);
    for (uint32_t p = e->first; p < end; p++)
        if (AT(e, p).other >= 0) map_remove(s, pair_key(k, row, AT(e, p).other));
    e->stack_top = NONE; e->risk_high = e->first;
    memset(e->windows, 0, sizeof e->windows); memset(e->risks, 0, sizeof e->risks);
    for (int w = 0; w < MAX_WINDOWS; w++) { e->windows[w].tail = e->first; e->windows[w].maximum = NONE; e->risks[w].low = e->first; }
    uint32_t length = e->length;
    for (uint32_t p = e->first; p < end; p++) {
        e->length = p - e->base; /* advance() must not see the events that follow */
        advance(s, e, k, row, AT(e, p).time);
        e->length++;
        enter(s, e, k, row, p);
    }
    e->length = length;
}

/* First position whose time is at least t. */
static uint32_t position_from(const entity *e, int64_t t) {
    uint32_t low = e->first, high = END(e);
    while (low < high) { uint32_t middle = low + (high - low) / 2; if (AT(e, middle).time < t) low = middle + 1; else high = middle; }
    return low;
}

/* First position whose time is above t: where an event of time t that arrives now belongs. */
static uint32_t position_after(const entity *e, int64_t t) { return position_from(e, t + 1); }

/* ---- answers --------------------------------------------------------------------------------------------------- */

typedef struct {
    double since_last;
    double count[MAX_WINDOWS], sum[MAX_WINDOWS], squares[MAX_WINDOWS], maximum[MAX_WINDOWS], distinct[MAX_WINDOWS];
    double risk_count[MAX_WINDOWS], risk_fraud[MAX_WINDOWS];
} answer;

/* n * sum(x^2) - sum(x)^2 without the cancellation that doubles would suffer. */
static double scaled_variance(uint32_t count, int64_t sum, wide squares) {
    return (double)((wide)count * squares - (wide)sum * sum);
}

static double since_last(const store *s, const entity *e, uint32_t end, int64_t now) {
    if (end == e->first || now - AT(e, end - 1).time > s->reach_us) return NAN;
    return (double)(now - AT(e, end - 1).time) * 1e-6;
}

static void read_windows(const store *s, const entity *e, int64_t now, answer *a) {
    uint32_t end = END(e);
    a->since_last = since_last(s, e, end, now);
    for (int w = 0; w < s->windows; w++) {
        const window *of = &e->windows[w];
        uint32_t count = end - of->tail;
        a->count[w] = count; a->sum[w] = (double)of->sum; a->distinct[w] = of->distinct;
        a->squares[w] = scaled_variance(count, of->sum, of->squares);
        a->maximum[w] = count ? (double)AT(e, of->maximum).amount : NAN;
    }
    for (int r = 0; r < s->risks; r++) {
        a->risk_count[r] = e->risk_high - e->risks[r].low; a->risk_fraud[r] = e->risks[r].fraud;
    }
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

/* The same, by stepping from what the window holds now: [tail, end). */
static totals step(store *s, const entity *e, int k, int64_t row, const window *of, uint32_t from, uint32_t to) {
    totals found = {of->sum, of->squares, of->distinct};
    for (uint32_t p = of->tail; p > from; p--) { /* further back: new where no later event has the counterpart */
        const event *in = &AT(e, p - 1);
        add(&found, in, 1, in->other >= 0 && map_find(s, pair_key(k, row, in->other))->position == p - 1);
    }
    for (uint32_t p = of->tail; p < from; p++) {
        const event *out = &AT(e, p);
        add(&found, out, -1, out->other >= 0 && map_find(s, pair_key(k, row, out->other))->position == p);
    }
    for (uint32_t p = END(e); p > to; p--) { /* those that came later: gone where no earlier one in the window has the counterpart */
        const event *out = &AT(e, p - 1);
        add(&found, out, -1, out->same == NONE || out->same < from);
    }
    return found;
}

static int64_t frauds(const entity *e, uint32_t from, uint32_t to) {
    int64_t found = 0;
    for (uint32_t p = from; p < to; p++) found += AT(e, p).key >> 31;
    return found;
}

static int64_t stepped_frauds(const entity *e, const risk_window *of, uint32_t from, uint32_t to) {
    int64_t found = of->fraud;
    found += from < of->low ? frauds(e, from, of->low) : -frauds(e, of->low, from);
    return found + (to > e->risk_high ? frauds(e, e->risk_high, to) : -frauds(e, to, e->risk_high));
}

/* The answer for any moment, which changes nothing. */
static void look(store *s, const entity *e, int k, int64_t row, int64_t now, answer *a) {
    uint32_t end = END(e), to = position_after(e, now);
    a->since_last = since_last(s, e, to, now);
    for (int w = 0; w < s->windows; w++) {
        const window *of = &e->windows[w];
        uint32_t from = position_from(e, now - s->window_us[w]), count = to - from;
        int near = count > distance(of->tail, from) + (end - to);
        totals found = near ? step(s, e, k, row, of, from, to) : scan(e, from, to);
        a->count[w] = count; a->sum[w] = (double)found.sum; a->distinct[w] = found.distinct;
        a->squares[w] = scaled_variance(count, found.sum, found.squares); a->maximum[w] = NAN;
        if (!count) continue;
        uint32_t largest = to - 1;
        while (AT(e, largest).previous != NONE && AT(e, largest).previous >= from) largest = AT(e, largest).previous;
        a->maximum[w] = (double)AT(e, largest).amount;
    }
    uint32_t high = position_from(e, now - s->delay_us);
    for (int r = 0; r < s->risks; r++) {
        const risk_window *of = &e->risks[r];
        uint32_t low = position_from(e, now - s->delay_us - s->risk_us[r]);
        int near = high - low > distance(of->low, low) + distance(e->risk_high, high);
        a->risk_count[r] = high - low;
        a->risk_fraud[r] = (double)(near ? stepped_frauds(e, of, low, high) : frauds(e, low, high));
    }
}

static float column(const store *s, const answer *a, int aggregation, int w, double amount) {
    double count, mean;
    switch (aggregation) {
    case COUNT: return (float)a->count[w];
    case SUM: return (float)a->sum[w];
    case MAXIMUM: return (float)a->maximum[w];
    case DISTINCT: return (float)a->distinct[w];
    case SINCE_LAST: return (float)a->since_last;
    case RISK_COUNT: return (float)a->risk_count[w];
    case RISK_FRAUD: return (float)a->risk_fraud[w];
    case RISK_RATE: return a->risk_count[w] > 0 ? (float)(a->risk_fraud[w] / a->risk_count[w]) : NAN;
    }
    count = a->count[w];
    if (count == 0) return NAN;
    mean = a->sum[w] / count;
    if (aggregation == MEAN) return (float)mean;
    if (aggregation == RATIO) return mean > 0 ? (float)(amount / mean) : NAN;
    return (float)((amount - mean) / (sqrt(a->squares[w]) / count + s->deviation_floor)); /* ZSCORE */
}

/* Answer and, where insert[i], absorb n events in arrival order. Columns must be grouped by kind, ascending.
 * too_late[i] counts the kinds for which the event lay behind the retained history and was left out.
 * Returns 0, or 1 when memory ran out. */
int velocity_process(store *s, int64_t n, const int64_t *time, const int64_t *amount, const uint64_t *key,
                     const int32_t *entities, const int32_t *others, const uint8_t *insert, int64_t columns,
                     const int32_t *column_kind, const int32_t *column_aggregation, const int32_t *column_window,
                     int64_t stride, float *out, uint8_t *too_late) {
    for (int64_t i = 0; i < n; i++) {
        int64_t c = 0;
        float *row_out = out + i * stride;
        too_late[i] = 0;
        for (int k = 0; k < s->kinds; k++) {
            int64_t row = entities[i * s->kinds + k];
            answer a;
            if (row == UNKNOWN_ENTITY || (!insert[i] && row >= s->kind[k].count)) { /* nothing is allocated for a look */
                static const entity empty;
                look(s, &empty, k, row, time[i], &a);
                for (; c < columns && column_kind[c] == k; c++)
                    row_out[c] = column(s, &a, column_aggregation[c], column_window[c], (double)amount[i]);
                continue;
            }
            if (row < 0) { for (; c < columns && column_kind[c] == k; c++) row_out[c] = NAN; continue; }
            entity *e = entity_at(s, k, row);
            if (!e) return 1;
            uint32_t end = END(e);
            int behind = end > e->first && time[i] < AT(e, end - 1).time;
            int looks = behind || !insert[i];
            if (!looks) advance(s, e, k, row, time[i]);
            if (columns) { if (looks) look(s, e, k, row, time[i], &a); else read_windows(s, e, time[i], &a); }
            for (; c < columns && column_kind[c] == k; c++)
                row_out[c] = column(s, &a, column_aggregation[c], column_window[c], (double)amount[i]);
            if (!insert[i]) continue;
            if (behind && time[i] < AT(e, end - 1).time - s->retention_us) { too_late[i]++; continue; }
            if (!make_room(s, e)) return 1;
            event now = {time[i], amount[i], (uint32_t)key[i] & ~FRAUD_BIT, others[i * s->kinds + k], NONE, NONE, NONE};
            s->events++;
            if (behind) {
                uint32_t p = position_after(e, time[i]);
                memmove(&AT(e, p) + 1, &AT(e, p), (end - p) * sizeof(event));
                AT(e, p) = now; e->length++;
                enter_late(s, e, k, row, p);
            } else {
                AT(e, end) = now; e->length++;
                enter(s, e, k, row, end);
                forget_old(s, e, k, row);
            }
            if (s->failed) return 1;
        }
    }
    return 0;
}

static event *find_event(entity *e, int64_t time, uint64_t key) {
    for (uint32_t p = position_after(e, time); p > e->first && AT(e, p - 1).time == time; p--)
        if ((AT(e, p - 1).key & ~FRAUD_BIT) == ((uint32_t)key & ~FRAUD_BIT)) return &AT(e, p - 1);
    return NULL;
}

/* Mark events as fraud (1) or not (0). Returns how many were still retained for at least one entity. */
int64_t velocity_label(store *s, int64_t n, const int64_t *time, const uint64_t *key, const int32_t *entities, const uint8_t *fraud) {
    int64_t found = 0;
    for (int64_t i = 0; i < n; i++) {
        int any = 0;
        for (int k = 0; k < s->kinds; k++) {
            int64_t row = entities[i * s->kinds + k];
            if (row < 0 || row >= s->kind[k].count) continue;
            entity *e = &s->kind[k].rows[row];
            event *of = find_event(e, time[i], key[i]);
            if (!of) continue;
            any = 1;
            int change = (int)fraud[i] - (int)(of->key >> 31);
            if (!change) continue;
            of->key ^= FRAUD_BIT;
            uint32_t position = (uint32_t)(of - e->events) + e->base;
            for (int r = 0; r < s->risks; r++)
                if (position >= e->risks[r].low && position < e->risk_high) e->risks[r].fraud += change;
        }
        found += any;
    }
    return found;
}

/* contained[i] = 1 where the event is still remembered for at least one of its entities. */
void velocity_contains(store *s, int64_t n, const int64_t *time, const uint64_t *key, const int32_t *entities, uint8_t *contained) {
    for (int64_t i = 0; i < n; i++) {
        contained[i] = 0;
        for (int k = 0; k < s->kinds && !contained[i]; k++) {
            int64_t row = entities[i * s->kinds + k];
            if (row >= 0 && row < s->kind[k].count) contained[i] = find_event(&s->kind[k].rows[row], time[i], key[i]) != NULL;
        }
    }
}

/* Take events out again, as if they had never come (their commit failed). */
void velocity_remove(store *s, int64_t n, const int64_t *time, const uint64_t *key, const int32_t *entities) {
    for (int64_t i = n - 1; i >= 0; i--)
        for (int k = 0; k < s->kinds; k++) {
            int64_t row = entities[i * s->kinds + k];
            if (row < 0 || row >= s->kind[k].count) continue;
            entity *e = &s->kind[k].rows[row];
            event *of = find_event(e, time[i], key[i]);
            if (!of) continue;
            if (of->other >= 0) map_remove(s, pair_key(k, row, of->other)); /* rebuild() restores it for the others */
            event *end = e->events + e->length;
            memmove(of, of + 1, (size_t)(end - of - 1) * sizeof(event));
            e->length--; s->events--;
            rebuild(s, e, k, row);
        }
}
