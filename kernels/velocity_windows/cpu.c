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
 * An event that arrives behind the entity's newest is answered by scanning the entity's log, then the log is mended:
 * O(events of that entity). Positions are absolute, so that dropping old events moves nothing but `base`.
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
    uint32_t next, previous; /* neighbours on the stack of maxima */
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
    uint64_t *seen; /* scratch of the scanning path: counterparts met, stamped */
    uint64_t seen_mask, stamp;
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
    free(s->kind); free(s->slots); free(s->seen); free(s);
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
    s->seen_mask = 1023; s->seen = calloc(s->seen_mask + 1, sizeof *s->seen);
    if (!s->kind || !s->slots || !s->seen) { velocity_destroy(s); return NULL; }
    s->bytes = (int64_t)(sizeof *s + kinds * sizeof *s->kind + (s->mask + 1) * sizeof(slot) + (s->seen_mask + 1) * sizeof *s->seen);
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

static void enter(store *s, entity *e, int k, int64_t row, uint32_t position) {
    event *now = &AT(e, position);
    uint32_t last = now->other >= 0 ? map_swap(s, pair_key(k, row, now->other), position) : NONE;
    while (e->stack_top != NONE && e->stack_top >= e->first && AT(e, e->stack_top).amount <= now->amount)
        e->stack_top = AT(e, e->stack_top).previous;
    if (e->stack_top != NONE && e->stack_top < e->first) e->stack_top = NONE;
    now->previous = e->stack_top; now->next = NONE;
    if (e->stack_top != NONE) AT(e, e->stack_top).next = position;
    e->stack_top = position;
    for (int w = 0; w < s->windows; w++) {
        window *of = &e->windows[w];
        of->sum += now->amount; of->squares += (wide)now->amount * now->amount;
        if (now->other >= 0 && (last == NONE || last < of->tail)) of->distinct++;
        if (of->tail == position || of->maximum == NONE || AT(e, of->maximum).amount <= now->amount) of->maximum = position;
    }
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

/* First position whose time is above t: where an event of time t that arrives now belongs. */
static uint32_t position_after(const entity *e, int64_t t) {
    uint32_t low = e->first, high = END(e);
    while (low < high) { uint32_t middle = low + (high - low) / 2; if (AT(e, middle).time <= t) low = middle + 1; else high = middle; }
    return low;
}

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

static int seen_before(store *s, int32_t other, uint64_t *members) {
    if ((*members + 1) * 2 > s->seen_mask + 1) { /* grow and start again with the old members kept */
        uint64_t size = (s->seen_mask + 1) * 2;
        uint64_t *to = calloc(size, sizeof *to);
        if (!to) { s->failed = 1; return 1; }
        for (uint64_t i = 0; i <= s->seen_mask; i++) if (s->seen[i] >> 32 == s->stamp) {
            uint64_t h = mix(s->seen[i] & 0xffffffffu) & (size - 1);
            while (to[h]) h = (h + 1) & (size - 1);
            to[h] = s->seen[i];
        }
        free(s->seen); s->bytes += (int64_t)((size - s->seen_mask - 1) * sizeof *to); s->seen = to; s->seen_mask = size - 1;
    }
    uint64_t entry = s->stamp << 32 | (uint32_t)other, h = mix((uint32_t)other) & s->seen_mask;
    while (s->seen[h] >> 32 == s->stamp) { if (s->seen[h] == entry) return 1; h = (h + 1) & s->seen_mask; }
    s->seen[h] = entry; ++*members;
    return 0;
}

/* The same answer for any moment, by looking at each retained event once. */
static void scan_windows(store *s, const entity *e, int64_t now, answer *a) {
    uint32_t end = position_after(e, now);
    a->since_last = since_last(s, e, end, now);
    if (++s->stamp >= UINT32_MAX) { memset(s->seen, 0, (s->seen_mask + 1) * sizeof *s->seen); s->stamp = 1; }
    uint64_t members = 0;
    uint32_t p = end, count = 0, distinct = 0;
    int64_t sum = 0, maximum = 0;
    wide squares = 0;
    for (int w = 0; w < s->windows; w++) { /* windows are sorted, so each continues where the shorter one stopped */
        while (p > e->first && AT(e, p - 1).time >= now - s->window_us[w]) {
            const event *of = &AT(e, --p);
            if (!count || of->amount > maximum) maximum = of->amount;
            count++; sum += of->amount; squares += (wide)of->amount * of->amount;
            if (of->other >= 0 && !seen_before(s, of->other, &members)) distinct++;
        }
        a->count[w] = count; a->sum[w] = (double)sum; a->distinct[w] = distinct;
        a->squares[w] = scaled_variance(count, sum, squares); a->maximum[w] = count ? (double)maximum : NAN;
    }
    uint32_t risk_count = 0, fraud = 0;
    for (p = e->first; p < end && AT(e, p).time < now - s->delay_us; p++) {}
    for (int r = 0; r < s->risks; r++) {
        while (p > e->first && AT(e, p - 1).time >= now - s->delay_us - s->risk_us[r]) { risk_count++; fraud += AT(e, --p).key >> 31; }
        a->risk_count[r] = risk_count; a->risk_fraud[r] = fraud;
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
                scan_windows(s, &empty, time[i], &a);
                for (; c < columns && column_kind[c] == k; c++)
                    row_out[c] = column(s, &a, column_aggregation[c], column_window[c], (double)amount[i]);
                continue;
            }
            if (row < 0) { for (; c < columns && column_kind[c] == k; c++) row_out[c] = NAN; continue; }
            entity *e = entity_at(s, k, row);
            if (!e) return 1;
            uint32_t end = END(e);
            int behind = end > e->first && time[i] < AT(e, end - 1).time;
            if (behind || !insert[i]) scan_windows(s, e, time[i], &a);
            else { advance(s, e, k, row, time[i]); read_windows(s, e, time[i], &a); }
            for (; c < columns && column_kind[c] == k; c++)
                row_out[c] = column(s, &a, column_aggregation[c], column_window[c], (double)amount[i]);
            if (!insert[i]) continue;
            if (behind && time[i] < AT(e, end - 1).time - s->retention_us) { too_late[i]++; continue; }
            if (!make_room(s, e)) return 1;
            event now = {time[i], amount[i], (uint32_t)key[i] & ~FRAUD_BIT, others[i * s->kinds + k], NONE, NONE};
            s->events++;
            if (behind) {
                uint32_t p = position_after(e, time[i]);
                memmove(&AT(e, p) + 1, &AT(e, p), (end - p) * sizeof(event));
                AT(e, p) = now; e->length++;
                rebuild(s, e, k, row);
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
