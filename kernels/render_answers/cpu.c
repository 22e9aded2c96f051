/* The JSON answers of n decisions; the contract is in __init__.py, reference.py is the truth that this file is tested against.
 *
 * All texts lie ready in one blob, escaped (native_form.py): an answer is pieces of the blob and numbers between them.
 * The arrays come joined into one piece of memory, in the order of AnswerColumns: finding the address of each would take
 * longer than a single answer. Each row is checked before it is written; `row_bound` is the longest that a row can be without
 * its transaction's id.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../cpu.h"

#define DECISION_ID 36
#define MOST_REASONS 16
#define FIRST_US (-62135596800000000LL)
#define LAST_US 253402300799999999LL
#define DAY_US 86400000000LL
#define WHOLE_FROM 0x1p32 /* far above the 2^24 from which a float32 has no fraction; its product with 10^4 is far below 2^52 */

typedef unsigned __int128 wide;
typedef struct { int32_t start, size; } span; /* of the blob */

enum unit { TENTHS, MONEY, SECONDS, SHARE, TIMES, WHOLE, FLAG };

/* kernels/render_answers/native_form.py has the same fields. */
typedef struct {
    const char *blob;
    int64_t outcomes, rules, rule_words, features, stamps, max_reasons, row_bound, hit, no_hit, degrading;
    double least_contribution, no_probability_weight;
    span all_rules; /* the rules where none is hit, with the keys before and after */
    span no_probability, versions, normal, degraded, not_degraded;
    const span *outcome;       /* [outcomes] */
    const span *rule_word;     /* [rule_words] */
    const int32_t *rule_at;    /* [rules] where in the blob the rule's word starts */
    const span *rule_reason;   /* [rules] */
    const double *rule_weight; /* [rules] in ten thousandths */
    const span *said;          /* [features] the reason up to the value in words */
    const span *denied;        /* [features] the same of a flag that is 0 */
    const span *feature;       /* [features] between the weight and the value */
    const uint8_t *unit;       /* [features] */
    const span *stamp;         /* [stamps] with quotes */
} answer_form;

typedef struct {
    const char *decision_ids, *text;
    int64_t text_size, top;
    const double *probability;
    const int64_t *occurred_us, *received_us;
    const int32_t *id_starts, *id_lengths, *score, *top_features;
    const float *top_contributions, *top_values;
    const uint32_t *stamps, *queue_us, *features_us, *program_us;
    const uint8_t *outcome, *rule_codes;
} answer_columns;

typedef struct {
    double weight;
    int32_t place; /* >= 0: of top_features; below: -1 - rule, where rule == rules means that there is no probability */
} candidate;

int64_t answer_form_size(void) { return (int64_t)sizeof(answer_form); }

/* --- pieces ------------------------------------------------------------------------------------------------------------ */

INLINE char *put(char *out, const char *from, int64_t size) {
    memcpy(out, from, (size_t)size);
    return out + size;
}

#define PUT(out, literal) put(out, literal, sizeof(literal) - 1)

INLINE char *put_span(char *out, const answer_form *form, span of) { return put(out, form->blob + of.start, of.size); }

static const char PAIRS[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960"
    "6162636465666768697071727374757677787980818283848586878889909192939495969798"
    "99";

INLINE char *put_two(char *out, uint32_t below_100) { return put(out, PAIRS + 2 * below_100, 2); }

static char *put_digits(char *out, uint64_t number) {
    char digits[20], *at = digits + 20;
    for (; number >= 100; number /= 100) memcpy(at -= 2, PAIRS + 2 * (number % 100), 2);
    if (number >= 10) memcpy(at -= 2, PAIRS + 2 * number, 2);
    else *--at = (char)('0' + number);
    return put(out, at, digits + 20 - at);
}

/* `number` has up to 39 digits; so many digits at least, with zeros in front */
static char *put_wide(char *out, wide number) {
    const uint64_t part = 10000000000000000000ull; /* 10^19 */
    if (number < part) return put_digits(out, (uint64_t)number);
    out = put_wide(out, number / part);
    uint64_t rest = (uint64_t)(number % part);
    for (int i = 18; i >= 0; i--, rest /= 10) out[i] = (char)('0' + rest % 10);
    return out + 19;
}

static char *put_grouped(char *out, wide number) {
    char digits[40], *end = put_wide(digits, number);
    for (char *at = digits; at < end; at++) {
        *out++ = *at;
        if ((end - at) % 3 == 1 && at + 1 < end) *out++ = ',';
    }
    return out;
}

/* a non-negative number below 2^51 to the nearest whole one, ties to even */
INLINE double nearest(double number) { return (number + 0x1p52) - 0x1p52; }

typedef struct {
    int negative;
    wide whole;
    uint32_t part; /* below the scale */
} parts;

/* number * scale, rounded, as whole * scale + part; exact for every finite float32 and scale up to 10^4, and for a whole double */
INLINE parts split(double number, uint32_t scale) {
    double magnitude = fabs(number);
    parts of;
    if (magnitude >= WHOLE_FROM) {
        of.whole = (wide)magnitude;
        of.part = 0;
    } else {
        uint64_t scaled = (uint64_t)nearest(magnitude * scale);
        of.whole = scaled / scale;
        of.part = (uint32_t)(scaled % scale);
    }
    of.negative = number < 0 && (of.whole || of.part);
    return of;
}

/* shortest, with at least one digit after the point */
static char *put_decimal(char *out, double number, uint32_t scale, int digits) {
    parts of = split(number, scale);
    if (of.negative) *out++ = '-';
    out = put_wide(out, of.whole);
    *out++ = '.';
    uint32_t part = of.part;
    for (int i = digits - 1; i >= 0; i--, part /= 10) out[i] = (char)('0' + part % 10);
    while (digits > 1 && out[digits - 1] == '0') digits--;
    return out + digits;
}

static char *put_tenths(char *out, double number) {
    parts of = split(number, 10);
    if (of.negative) *out++ = '-';
    out = put_wide(out, of.whole);
    *out++ = '.';
    *out++ = (char)('0' + of.part);
    return out;
}

static char *put_whole(char *out, double number) {
    parts of = split(number, 1);
    if (of.negative) *out++ = '-';
    return put_wide(out, of.whole);
}

static char *put_money(char *out, double minor_units) {
    parts of = split(minor_units, 1);
    if (of.negative) *out++ = '-';
    out = put_grouped(out, of.whole / 100);
    *out++ = '.';
    return put_two(out, (uint32_t)(of.whole % 100));
}

static char *put_percent(char *out, double share) {
    parts of = split(share, 1000);
    if (of.negative) *out++ = '-';
    if (of.whole >= 1000000) { /* hundreds of percent: the product could be too large, and need not be made */
        out = put_wide(out, of.whole);
        out = put_two(out, of.part / 10);
    } else out = put_digits(out, (uint64_t)of.whole * 100 + of.part / 10);
    *out++ = '.';
    *out++ = (char)('0' + of.part % 10);
    *out++ = '%';
    return out;
}

static char *put_duration(char *out, double seconds) {
    if (seconds >= 2 * 86400) return PUT(put_whole(out, rint(seconds / 86400)), " days");
    if (seconds >= 2 * 3600) return PUT(put_whole(out, rint(seconds / 3600)), " hours");
    if (seconds >= 2 * 60) return PUT(put_whole(out, rint(seconds / 60)), " minutes");
    return PUT(put_whole(out, seconds), " seconds");
}

static char *put_in_words(char *out, int unit, double value) {
    switch (unit) {
    case MONEY: return put_money(out, value);
    case SECONDS: return put_duration(out, value);
    case SHARE: return put_percent(out, value);
    case TIMES: return PUT(put_tenths(out, value), " times");
    case WHOLE: return put_whole(out, value);
    default: return put_tenths(out, value);
    }
}

/* Days to a date: H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days. */
static char *put_moment(char *out, int64_t us) {
    int64_t days = us / DAY_US - (us % DAY_US < 0);
    uint64_t in_day = (uint64_t)(us - days * DAY_US);
    uint32_t z = (uint32_t)(days + 719468 + 146097); /* from 0000-03-01, and one era more, so that it is never negative */
    uint32_t era = z / 146097, day_of_era = z % 146097;
    uint32_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t from_march = (5 * day_of_year + 2) / 153;
    uint32_t day = day_of_year - (153 * from_march + 2) / 5 + 1, month = from_march < 10 ? from_march + 3 : from_march - 9;
    uint32_t year = year_of_era + era * 400 - 400 + (month <= 2);
    uint32_t second = (uint32_t)(in_day / 1000000), micro = (uint32_t)(in_day % 1000000);
    out = put_two(put_two(out, year / 100), year % 100);
    *out++ = '-'; out = put_two(out, month);
    *out++ = '-'; out = put_two(out, day);
    *out++ = 'T'; out = put_two(out, second / 3600);
    *out++ = ':'; out = put_two(out, second / 60 % 60);
    *out++ = ':'; out = put_two(out, second % 60);
    *out++ = '.'; out = put_two(put_two(put_two(out, micro / 10000), micro / 100 % 100), micro % 100);
    *out++ = 'Z';
    return out;
}

/* --- reasons ----------------------------------------------------------------------------------------------------------- */

/* Put a candidate behind all that are at least as heavy; the lightest beyond max_reasons falls out. */
INLINE int64_t rank(candidate *best, int64_t count, int64_t most, double weight, int32_t place) {
    int64_t at = count;
    while (at > 0 && best[at - 1].weight < weight) at--;
    if (at == most) return count;
    if (count < most) count++;
    for (int64_t i = count - 1; i > at; i--) best[i] = best[i - 1];
    best[at] = (candidate){weight, place};
    return count;
}

INLINE double in_ten_thousandths(double weight) { return weight < WHOLE_FROM ? nearest(weight * 1e4) : weight * 1e4; }

static char *put_model_reason(char *out, const answer_form *form, int32_t feature, double contribution, double value) {
    int unit = form->unit[feature], known = isfinite(value);
    out = put_span(out, form, unit == FLAG && value == 0 ? form->denied[feature] : form->said[feature]);
    if (!known) out = PUT(out, ": not known");
    else if (unit != FLAG) {
        out = PUT(out, ": ");
        out = put_in_words(out, unit, value);
    }
    out = PUT(out, "\",\"weight\":");
    out = put_decimal(out, contribution, 10000, 4);
    out = put_span(out, form, form->feature[feature]);
    out = known ? put_decimal(out, value, 10000, 4) : PUT(out, "null");
    *out++ = '}';
    return out;
}

static char *put_reasons(char *out, const answer_form *form, const answer_columns *c, int64_t row, int64_t counted) {
    candidate best[MOST_REASONS];
    int64_t count = 0;
    const uint8_t *codes = c->rule_codes + row * form->rules;
    for (int64_t r = 0; r < form->rules; r++)
        if (codes[r] == form->hit) count = rank(best, count, form->max_reasons, form->rule_weight[r], (int32_t)(-1 - r));
    if (isnan(c->probability[row]))
        count = rank(best, count, form->max_reasons, form->no_probability_weight, (int32_t)(-1 - form->rules));
    for (int64_t k = 0; k < counted; k++)
        count = rank(best, count, form->max_reasons, in_ten_thousandths(c->top_contributions[row * c->top + k]), (int32_t)k);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = row * c->top + best[i].place, rule = -1 - (int64_t)best[i].place;
        if (i) *out++ = ',';
        if (rule < 0) out = put_model_reason(out, form, c->top_features[at], c->top_contributions[at], c->top_values[at]);
        else out = put_span(out, form, rule < form->rules ? form->rule_reason[rule] : form->no_probability);
    }
    return out;
}

/* --- an answer --------------------------------------------------------------------------------------------------------- */

static char *put_rules(char *out, const answer_form *form, const uint8_t *codes) {
    int32_t from = form->all_rules.start, skip = form->rule_word[form->no_hit].size;
    for (int64_t r = 0; r < form->rules; r++) {
        if (codes[r] == form->no_hit) continue;
        out = put(out, form->blob + from, form->rule_at[r] - from);
        out = put_span(out, form, form->rule_word[codes[r]]);
        from = form->rule_at[r] + skip;
    }
    return put(out, form->blob + from, form->all_rules.start + form->all_rules.size - from);
}

static char *put_stamps(char *out, const answer_form *form, uint32_t bits) {
    out = put_span(out, form, bits & form->degrading ? form->degraded : form->not_degraded);
    if (!bits) return put_span(out, form, form->normal);
    out = put_span(out, form, form->stamp[__builtin_ctz(bits)]);
    out = PUT(out, ",\"stamps\":[");
    for (; bits; bits &= bits - 1) {
        out = put_span(out, form, form->stamp[__builtin_ctz(bits)]);
        if (bits & (bits - 1)) *out++ = ',';
    }
    return out;
}

static char *put_answer(char *out, const answer_form *form, const answer_columns *c, int64_t row, int64_t counted) {
    out = PUT(out, "{\"decision_id\":\"");
    out = put(out, c->decision_ids + row * DECISION_ID, DECISION_ID);
    out = PUT(out, "\",\"transaction_id\":\"");
    out = put(out, c->text + c->id_starts[row], c->id_lengths[row]);
    out = PUT(out, "\",\"status\":\"new\",\"outcome\":");
    out = put_span(out, form, form->outcome[c->outcome[row]]);
    out = PUT(out, ",\"score\":");
    int64_t score = c->score[row];
    if (score < 0) *out++ = '-';
    out = put_digits(out, (uint64_t)(score < 0 ? -score : score));
    out = PUT(out, ",\"probability\":");
    out = isnan(c->probability[row]) ? PUT(out, "null") : put_decimal(out, c->probability[row], 1000000, 6);
    out = PUT(out, ",\"reasons\":[");
    out = put_reasons(out, form, c, row, counted);
    out = put_rules(out, form, c->rule_codes + row * form->rules);
    out = put_stamps(out, form, c->stamps[row]);
    out = put_span(out, form, form->versions);
    out = put_digits(out, c->queue_us[row]);
    out = PUT(out, ",\"features\":");
    out = put_digits(out, c->features_us[row]);
    out = PUT(out, ",\"program\":");
    out = put_digits(out, c->program_us[row]);
    out = PUT(out, "},\"occurred_at\":\"");
    out = put_moment(out, c->occurred_us[row]);
    out = PUT(out, "\",\"received_at\":\"");
    out = put_moment(out, c->received_us[row]);
    return PUT(out, "\"}");
}

/* printable ASCII without quotes and backslashes */
static int is_token(const char *text, int64_t size) {
    int bad = 0;
    for (int64_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];
        bad |= (uint8_t)(byte - 0x20) >= 0x5F || byte == '"' || byte == '\\';
    }
    return !bad;
}

/* How many contributions count, or -1 where one is no number or names no feature. */
static int64_t count_contributions(const answer_form *form, const answer_columns *c, int64_t row) {
    const float *contributions = c->top_contributions + row * c->top;
    const int32_t *features = c->top_features + row * c->top;
    int64_t k = 0;
    for (; k < c->top && contributions[k] >= form->least_contribution; k++)
        if (isinf(contributions[k]) || features[k] < 0 || features[k] >= form->features) return -1;
    return k;
}

static int is_writable(const answer_form *form, const answer_columns *c, int64_t row) {
    int64_t start = c->id_starts[row], length = c->id_lengths[row];
    double probability = c->probability[row];
    if (c->outcome[row] >= form->outcomes || !(isnan(probability) || (probability >= 0 && probability <= 1))) return 0;
    if ((uint64_t)c->stamps[row] >> form->stamps || start < 0 || length < 1 || start + length > c->text_size) return 0;
    if (c->occurred_us[row] < FIRST_US || c->occurred_us[row] > LAST_US) return 0;
    if (c->received_us[row] < FIRST_US || c->received_us[row] > LAST_US) return 0;
    uint8_t largest = 0;
    const uint8_t *codes = c->rule_codes + row * form->rules;
    for (int64_t r = 0; r < form->rules; r++) largest = codes[r] > largest ? codes[r] : largest;
    if (largest >= form->rule_words) return 0;
    return is_token(c->decision_ids + row * DECISION_ID, DECISION_ID) && is_token(c->text + start, length);
}

/* Take `size` bytes off the joined arrays. */
INLINE const void *next(const char **joined, int64_t size) {
    const char *here = *joined;
    *joined += size;
    return here;
}

static answer_columns columns_of(const answer_form *form, int64_t n, int64_t top, const char *joined) {
    answer_columns c;
    c.top = top;
    c.probability = next(&joined, 8 * n);
    c.occurred_us = next(&joined, 8 * n);
    c.received_us = next(&joined, 8 * n);
    c.id_starts = next(&joined, 4 * n);
    c.id_lengths = next(&joined, 4 * n);
    c.score = next(&joined, 4 * n);
    c.top_features = next(&joined, 4 * n * top);
    c.top_contributions = next(&joined, 4 * n * top);
    c.top_values = next(&joined, 4 * n * top);
    c.stamps = next(&joined, 4 * n);
    c.queue_us = next(&joined, 4 * n);
    c.features_us = next(&joined, 4 * n);
    c.program_us = next(&joined, 4 * n);
    c.outcome = next(&joined, n);
    c.rule_codes = next(&joined, n * form->rules);
    return c;
}

/* Write rows first to last - 1 into memory of this thread and say in found[0] where: last - first int64 ends, then the bytes.
 * Returns the number of bytes, -1 without memory, -2 where a row cannot be written. */
int64_t render_answers(const answer_form *form, int64_t n, int64_t top, int64_t first, int64_t last, const char *joined,
                       const char *decision_ids, const char *text, int64_t text_size, void **found) {
    answer_columns c = columns_of(form, n, top, joined);
    c.decision_ids = decision_ids;
    c.text = text;
    c.text_size = text_size;
    int64_t bytes = (last - first) * (form->row_bound + (int64_t)sizeof(int64_t));
    for (int64_t row = first; row < last; row++) bytes += c.id_lengths[row] > 0 ? c.id_lengths[row] : 0;
    int64_t *ends = kernels_scratch((size_t)bytes);
    if (ends == NULL) return -1;
    char *start = (char *)(ends + (last - first)), *out = start;
    for (int64_t row = first; row < last; row++) {
        int64_t counted = is_writable(form, &c, row) ? count_contributions(form, &c, row) : -1;
        if (counted < 0) return -2;
        out = put_answer(out, form, &c, row, counted);
        ends[row - first] = out - start;
    }
    *found = ends;
    return out - start;
}
