/* Flat JSON objects to columns and canonical text, without an object a record.
 *
 * The contract is written in __init__.py; reference.py is the truth that this file is tested against. What is not surely
 * right is not accepted, and somebody slower looks at it again: no error is explained here.
 *
 * Hostile texts arrive here. Two rules keep every read inside the record:
 *   - A record ends in '}', which is checked first. No value, name or white space holds that byte, so that a scan that
 *     goes on while a byte is of some class stops at the last byte at the latest.
 *   - What reads several bytes at once looks first whether the record has so many left.
 * The text that is written may be longer than what was read by `growth` bytes a record (fields.py), and a copy in whole
 * chunks may write up to SLACK bytes beyond its end: the caller's buffer has room for both.
 */
#define _POSIX_C_SOURCE 200809L /* newlocale */
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define MAX_FIELDS 64
#define PREFIX 48   /* bytes of  ,"name":"  with a name of 40 characters, rounded up */
#define REWRITTEN 48 /* bytes of a value that is not copied from the record */
#define MAX_NUMBER 40
#define CHUNK 16
#define SLACK 64
#define ABSENT_INTEGER INT64_MIN
#define NO_FIELD (-1)
#define NO_ROOM (-2) /* more than `most` were found */

enum kind { TOKEN, CHOICE, INTEGER, TIME, NUMBER, BOOLEAN, LETTERS, DIGITS, ADDRESS };

/* As __init__.py fills it (_FIELD). */
typedef struct {
    char name[PREFIX];
    double low, high;
    int64_t largest;
    int32_t kind, required, card_numbers, name_length, column, span, shortest, longest, length, first_choice, choices, unused;
} field;

typedef struct {
    uint64_t low, high; /* the word, padded with zeros */
    int32_t code;       /* -1: free */
} word;

typedef struct {
    field of;
    uint8_t quoted[PREFIX]; /* name", padded with zeros */
    uint8_t mask[PREFIX];   /* 0xff where a byte of `quoted` counts */
    uint8_t prefix[PREFIX]; /* ,"name":" or without the last quote */
    int32_t prefix_length, is_text, slots_shift;
    word *slots;
} column;

typedef struct {
    int32_t fields, integers, numbers, codes, spans;
    uint64_t required;
    locale_t numeric; /* a decimal point is a point, whatever the process has set */
    int8_t by_name[256];
    column columns[MAX_FIELDS];
} reader;

/* Where the columns of a batch lie. */
typedef struct {
    int64_t n;
    int64_t *ends, *integers;
    double *numbers;
    int32_t *codes, *starts, *lengths;
    uint8_t *accepted;
} block;

/* The record at hand. */
typedef struct {
    const uint8_t *from[MAX_FIELDS]; /* where the written form of each present value lies */
    int32_t length[MAX_FIELDS];
    uint64_t seen, present, rewritten_fields;
    int verbatim; /* the record is its own canonical text so far */
    uint8_t rewritten[MAX_FIELDS][REWRITTEN];
} record;

static const uint8_t class_of[256] = { /* 1: letters and separators of a token; 3: digits */
    ['-'] = 1, ['.'] = 1, ['_'] = 1, [':'] = 1,
    ['0'] = 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
    ['A'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ['a'] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};

static inline int is_space(uint8_t c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
static inline int is_digit(uint8_t c) { return (uint8_t)(c - '0') < 10; }

/* ---- life cycle ------------------------------------------------------------------------------------------------ */

static inline unsigned name_slot(const uint8_t *name, int64_t length) {
    return (unsigned)(name[0] * 31u + name[length / 2] * 7u + name[length - 1] * 3u + (unsigned)length * 59u) & 255u;
}

static inline uint64_t word_slot(uint64_t low, uint64_t high, int shift) {
    return ((low ^ (high * 0x9e3779b97f4a7c15ull)) * 0xd6e8feb86659fd93ull) >> shift;
}

static void load_word(const uint8_t *from, int64_t length, uint64_t *low, uint64_t *high) {
    uint64_t both[2] = {0, 0};
    memcpy(both, from, (size_t)length);
    *low = both[0]; *high = both[1];
}

void flat_records_destroy(reader *r) {
    if (!r) return;
    for (int f = 0; f < r->fields; f++) free(r->columns[f].slots);
    if (r->numeric) freelocale(r->numeric);
    free(r);
}

static int add_choices(column *c, const char *words, const int32_t *lengths) {
    int bits = 1;
    while ((1 << bits) < 4 * c->of.choices) bits++;
    c->slots_shift = 64 - bits;
    c->slots = malloc(sizeof *c->slots << bits);
    if (!c->slots) return 0;
    for (int64_t s = 0; s < (int64_t)1 << bits; s++) c->slots[s] = (word){0, 0, -1};
    for (int32_t code = 0; code < c->of.choices; code++) {
        int32_t at = c->of.first_choice + code;
        word w = {.code = code};
        load_word((const uint8_t *)words + 16 * (int64_t)at, lengths[at], &w.low, &w.high);
        uint64_t s = word_slot(w.low, w.high, c->slots_shift);
        while (c->slots[s].code >= 0) s = (s + 1) & (((uint64_t)1 << bits) - 1);
        c->slots[s] = w;
    }
    return 1;
}

int64_t flat_records_field_size(void) { return sizeof(field); }

reader *flat_records_create(int64_t fields, const field *given, const char *words, const int32_t *lengths,
                            int64_t integers, int64_t numbers, int64_t codes, int64_t spans) {
    if (fields < 1 || fields > MAX_FIELDS) return NULL;
    reader *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->fields = (int32_t)fields; r->integers = (int32_t)integers; r->numbers = (int32_t)numbers;
    r->codes = (int32_t)codes; r->spans = (int32_t)spans;
    r->numeric = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    int made = r->numeric != (locale_t)0;
    memset(r->by_name, NO_FIELD, sizeof r->by_name);
    for (int f = 0; f < fields && made; f++) {
        column *c = &r->columns[f];
        c->of = given[f];
        int length = c->of.name_length;
        c->is_text = c->of.kind != INTEGER && c->of.kind != NUMBER && c->of.kind != BOOLEAN;
        memcpy(c->quoted, c->of.name, length);
        c->quoted[length] = '"';
        memset(c->mask, 0xff, length + 1);
        c->prefix[0] = ','; c->prefix[1] = '"';
        memcpy(c->prefix + 2, c->of.name, length);
        memcpy(c->prefix + 2 + length, "\":\"", 3);
        c->prefix_length = length + 4 + c->is_text;
        if (c->of.required) r->required |= (uint64_t)1 << f;
        unsigned s = name_slot(c->quoted, length);
        while (r->by_name[s] != NO_FIELD) s = (s + 1) & 255u;
        r->by_name[s] = (int8_t)f;
        if (c->of.kind == CHOICE) made = add_choices(c, words, lengths);
    }
    if (!made) { flat_records_destroy(r); return NULL; }
    return r;
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

/* Whether `name"` stands at p. */
static inline int is_name(const column *c, const uint8_t *p, const uint8_t *end) {
    int64_t length = c->of.name_length + 1;
    if (end - p < PREFIX) return end - p >= length && memcmp(p, c->quoted, (size_t)length) == 0;
    for (int64_t at = 0; at < length; at += 8) {
        uint64_t have, want, mask;
        memcpy(&have, p + at, 8);
        memcpy(&want, c->quoted + at, 8);
        memcpy(&mask, c->mask + at, 8);
        if ((have ^ want) & mask) return 0;
    }
    return 1;
}

static int find_name(const reader *r, const uint8_t *p, const uint8_t *end) {
    const uint8_t *q = p;
    while (class_of[*q]) q++;
    if (*q != '"' || q == p) return NO_FIELD;
    for (unsigned s = name_slot(p, q - p); r->by_name[s] != NO_FIELD; s = (s + 1) & 255u)
        if (is_name(&r->columns[r->by_name[s]], p, end)) return r->by_name[s];
    return NO_FIELD;
}

/* ---- values: each returns where it ends, or NULL where it is not accepted ---------------------------------------- */

static int luhn_is_right(const uint8_t *digits, int count) {
    int total = 0;
    for (int place = 0; place < count; place++) {
        int value = digits[count - 1 - place] * (1 + (place & 1));
        total += value > 9 ? value - 9 : value;
    }
    return total % 10 == 0;
}

static int is_issuer(const uint8_t *d) {
    int four = d[0] * 1000 + d[1] * 100 + d[2] * 10 + d[3];
    return (d[0] >= 3 && d[0] <= 6) || (four >= 2221 && four <= 2720);
}

static inline int is_separator(uint8_t c) { return c == '-' || c == '.' || c == '_' || c == ':'; }

/* Whether 13 to 19 digits, with at most one separator between two of them, look like a payment card's number. */
static int holds_card_number(const uint8_t *text, int64_t length) {
    uint8_t digits[20];
    for (int64_t i = 0; i < length;) {
        if (!is_digit(text[i])) { i++; continue; }
        int64_t count = 0;
        for (;;) {
            if (count < 20) digits[count] = (uint8_t)(text[i] - '0');
            count++; i++;
            if (i < length && is_digit(text[i])) continue;
            if (i + 1 < length && is_separator(text[i]) && is_digit(text[i + 1])) { i++; continue; }
            break;
        }
        if (count >= 13 && count <= 19 && is_issuer(digits) && luhn_is_right(digits, (int)count)) return 1;
    }
    return 0;
}

static const uint8_t *read_token(const field *of, const uint8_t *p, int trusted, record *now, int f) {
    if (*p++ != '"') return NULL;
    const uint8_t *from = p;
    int64_t digits = 0;
    for (uint8_t c; (c = class_of[*p]); p++) digits += c >> 1;
    int64_t length = p - from;
    if (*p != '"' || length < of->shortest || length > of->longest) return NULL;
    if (digits >= 13 && of->card_numbers && !trusted && holds_card_number(from, length)) return NULL;
    now->from[f] = from; now->length[f] = (int32_t)length;
    return p + 1;
}

static const uint8_t *read_choice(const column *c, const uint8_t *p, record *now, int f, int32_t *code) {
    if (*p++ != '"') return NULL;
    const uint8_t *from = p;
    while (class_of[*p]) p++;
    int64_t length = p - from;
    if (*p != '"' || length < 1 || length > 16) return NULL;
    uint64_t low, high, mask = ((uint64_t)1 << (64 - c->slots_shift)) - 1;
    load_word(from, length, &low, &high);
    for (uint64_t s = word_slot(low, high, c->slots_shift); c->slots[s].code >= 0; s = (s + 1) & mask)
        if (c->slots[s].low == low && c->slots[s].high == high) {
            *code = c->slots[s].code;
            now->from[f] = from; now->length[f] = (int32_t)length;
            return p + 1;
        }
    return NULL;
}

static const uint8_t *read_integer(const field *of, const uint8_t *p, record *now, int f, int64_t *value) {
    const uint8_t *from = p;
    uint64_t sum = 0; /* 19 digits fit */
    while (is_digit(*p) && p - from < 19) sum = 10 * sum + (uint64_t)(*p++ - '0');
    int64_t length = p - from;
    if (length < 1 || length > 18 || (*from == '0' && length > 1) || (int64_t)sum > of->largest) return NULL;
    now->from[f] = from; now->length[f] = (int32_t)length;
    *value = (int64_t)sum;
    return p; /* whatever stands here, a comma or a brace is asked for next */
}

static inline unsigned digits_of(const uint8_t *p, int count, unsigned *wrong) {
    unsigned sum = 0;
    for (int i = 0; i < count; i++) {
        unsigned digit = (unsigned)p[i] - '0';
        *wrong |= digit > 9;
        sum = 10 * sum + digit;
    }
    return sum;
}

static int days_in_month(unsigned year, unsigned month) {
    static const uint8_t days[13] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month] + (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

/* Days from 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
static int64_t days_since_1970(int64_t year, int64_t month, int64_t day) {
    year -= month <= 2;
    int64_t era = year / 400, of_era = year % 400; /* year >= 0 */
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static const uint8_t *read_time(const uint8_t *p, const uint8_t *end, record *now, int f, int64_t *value) {
    if (end - p < 23) return NULL; /* "2026-01-31T10:15:30Z" and the brace */
    const uint8_t *from = p + 1;
    unsigned wrong = *p != '"' || from[4] != '-' || from[7] != '-' || from[10] != 'T' || from[13] != ':' || from[16] != ':';
    unsigned year = digits_of(from, 4, &wrong), month = digits_of(from + 5, 2, &wrong), day = digits_of(from + 8, 2, &wrong);
    unsigned hour = digits_of(from + 11, 2, &wrong), minute = digits_of(from + 14, 2, &wrong);
    unsigned second = digits_of(from + 17, 2, &wrong);
    if (wrong || year < 1 || month < 1 || month > 12 || day < 1 || (int)day > days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 59) return NULL;
    p = from + 19;
    unsigned micros = 0;
    int decimals = 0;
    if (*p == '.') {
        for (p++; is_digit(*p) && decimals < 7; p++, decimals++) micros = 10 * micros + (*p - '0');
        if (decimals < 1 || decimals > 6) return NULL;
        for (int i = decimals; i < 6; i++) micros *= 10;
    }
    int is_zulu = *p == 'Z';
    if (is_zulu) p++;
    else if (end - p >= 7 && memcmp(p, "+00:00", 6) == 0) p += 6;
    else return NULL;
    if (*p != '"') return NULL;
    *value = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60000000 + (int64_t)second * 1000000 + micros;
    now->from[f] = from; now->length[f] = (int32_t)(p - from);
    if (!is_zulu || (decimals && (decimals < 6 || !micros))) {
        uint8_t *to = now->rewritten[f];
        int64_t length = 19;
        memcpy(to, from, 19);
        if (micros) {
            to[19] = '.';
            for (int i = 25; i > 19; i--, micros /= 10) to[i] = (uint8_t)('0' + micros % 10);
            length = 26;
        }
        to[length++] = 'Z';
        now->from[f] = to; now->length[f] = (int32_t)length;
        now->rewritten_fields |= (uint64_t)1 << f;
        now->verbatim = 0;
    }
    return p + 1;
}

/* The shortest digits that are read as the same number, as Python's repr prints them: the smallest precision that comes
 * back. At a power of two that is not always so, and such a number is not accepted. */
static int shortest_digits(const reader *r, double number, uint8_t *to) {
    int exponent;
    if (fabs(frexp(number, &exponent)) == 0.5) return 0;
    char text[REWRITTEN];
    locale_t before = uselocale(r->numeric);
    int length = 0;
    for (int precision = 15; precision <= 17; precision++) {
        length = snprintf(text, sizeof text, "%.*g", precision, number);
        if (strtod(text, NULL) == number) break;
    }
    uselocale(before);
    if (!memchr(text, '.', (size_t)length)) { memcpy(text + length, ".0", 2); length += 2; }
    memcpy(to, text, (size_t)length);
    return length;
}

static double parsed_number(const reader *r, const uint8_t *from, int64_t length) {
    char text[MAX_NUMBER + 1];
    memcpy(text, from, (size_t)length);
    text[length] = 0;
    locale_t before = uselocale(r->numeric);
    double number = strtod(text, NULL);
    uselocale(before);
    return number;
}

static const uint8_t *read_number(const reader *r, const field *of, const uint8_t *p, int trusted, record *now, int f,
                                  double *value) {
    static const double tens[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const uint8_t *from = p, *point = NULL, *last;
    int is_negative = *p == '-', digits = 0, has_exponent = 0;
    uint64_t mantissa = 0;
    p += is_negative;
    const uint8_t *whole = p;
    for (; is_digit(*p); p++) {
        digits += digits || *p != '0';
        if (digits <= 15) mantissa = 10 * mantissa + (uint64_t)(*p - '0');
    }
    if (p == whole || (*whole == '0' && p - whole > 1)) return NULL;
    if (*p == '.') {
        point = p++;
        for (; is_digit(*p); p++) {
            digits += digits || *p != '0';
            if (digits <= 15) mantissa = 10 * mantissa + (uint64_t)(*p - '0');
        }
        if (p == point + 1) return NULL;
    }
    last = p; /* behind the last digit that is not of an exponent */
    if (*p == 'e' || *p == 'E') {
        has_exponent = 1;
        p++;
        p += *p == '+' || *p == '-';
        const uint8_t *exponent = p;
        while (is_digit(*p)) p++;
        if (p == exponent) return NULL;
    }
    int64_t length = p - from, decimals = point ? last - point - 1 : 0;
    if (length > MAX_NUMBER) return NULL;
    int is_short = digits <= 15 && decimals <= 22 && !has_exponent;
    /* Both are exact as float64, so that the quotient is rounded once, as it has to be. */
    double number = is_short ? (double)mantissa / tens[decimals] : parsed_number(r, from, length);
    if (is_short && is_negative) number = -number;
    if (!isfinite(number) || number < of->low || number > of->high) return NULL;
    *value = number;
    now->from[f] = from; now->length[f] = (int32_t)length;
    double size = fabs(number);
    int is_plain = !has_exponent && ((size >= 1e-4 && size < 1e15) || (digits == 0 && (point || !is_negative)));
    uint8_t *to = now->rewritten[f];
    int64_t written = 0;
    if (is_plain && digits <= 15) {
        while (point && last > point + 2 && last[-1] == '0') last--;
        if (point && last == p) return p;
        written = last - from;
        memcpy(to, from, (size_t)written);
        if (!point) { memcpy(to + written, ".0", 2); written += 2; }
    } else if (is_plain) {
        written = shortest_digits(r, number, to);
    }
    if (written) {
        now->from[f] = to; now->length[f] = (int32_t)written;
        now->rewritten_fields |= (uint64_t)1 << f;
        now->verbatim = 0;
        return p;
    }
    return trusted ? p : NULL;
}

static const uint8_t *read_boolean(const uint8_t *p, const uint8_t *end, record *now, int f, int32_t *code) {
    int64_t length = *p == 't' ? 4 : 5;
    if (end - p <= length || memcmp(p, *p == 't' ? "true" : "false", (size_t)length) != 0) return NULL;
    *code = *p == 't';
    now->from[f] = p; now->length[f] = (int32_t)length;
    return p + length;
}

static const uint8_t *read_code(const field *of, const uint8_t *p, const uint8_t *end, record *now, int f, int32_t *code) {
    uint8_t first = of->kind == LETTERS ? 'A' : '0';
    unsigned base = of->kind == LETTERS ? 26 : 10, sum = 0, wrong = 0;
    int64_t length = of->length;
    if (end - p < length + 3) return NULL; /* two quotes and the brace */
    for (int64_t i = 1; i <= length; i++) {
        unsigned digit = (unsigned)p[i] - first;
        wrong |= digit >= base;
        sum = base * sum + digit;
    }
    if (wrong || *p != '"' || p[length + 1] != '"') return NULL;
    *code = (int32_t)sum;
    now->from[f] = p + 1; now->length[f] = (int32_t)length;
    return p + length + 2;
}

static inline int is_address_byte(uint8_t c) {
    return is_digit(c) || (uint8_t)((c | 32) - 'a') < 6 || c == '.' || c == ':';
}

static const uint8_t *read_address(const field *of, const uint8_t *p, int trusted, record *now, int f) {
    if (*p++ != '"') return NULL;
    const uint8_t *from = p;
    if (trusted) {
        while (is_address_byte(*p)) p++;
    } else {
        for (int part = 0; part < 4; part++) {
            if (part && *p++ != '.') return NULL;
            const uint8_t *first = p;
            int value = 0;
            while (is_digit(*p) && p - first < 4) value = 10 * value + (*p++ - '0');
            if (p == first || p - first > 3 || value > 255 || (*first == '0' && p - first > 1)) return NULL;
        }
    }
    int64_t length = p - from;
    if (*p != '"' || length < of->shortest || length > of->longest) return NULL;
    now->from[f] = from; now->length[f] = (int32_t)length;
    return p + 1;
}

/* ---- a record ---------------------------------------------------------------------------------------------------- */

static const uint8_t *read_value(const reader *r, int f, const uint8_t *p, const uint8_t *end, int trusted, const block *out,
                                 int64_t i, record *now) {
    const column *c = &r->columns[f];
    int64_t at = (int64_t)c->of.column * out->n + i;
    switch (c->of.kind) {
        case TOKEN: return read_token(&c->of, p, trusted, now, f);
        case CHOICE: return read_choice(c, p, now, f, &out->codes[at]);
        case INTEGER: return read_integer(&c->of, p, now, f, &out->integers[at]);
        case TIME: return read_time(p, end, now, f, &out->integers[at]);
        case NUMBER: return read_number(r, &c->of, p, trusted, now, f, &out->numbers[at]);
        case BOOLEAN: return read_boolean(p, end, now, f, &out->codes[at]);
        case LETTERS: case DIGITS: return read_code(&c->of, p, end, now, f, &out->codes[at]);
        case ADDRESS: return read_address(&c->of, p, trusted, now, f);
        default: return NULL;
    }
}

static inline const uint8_t *skip_space(const uint8_t *p, record *now) {
    if (*p > ' ') return p;
    now->verbatim = 0;
    while (is_space(*p)) p++;
    return p;
}

/* Whether [p, end), which begins with a brace and ends with one, is a record. `next` guesses which name comes after which. */
static int read_members(const reader *r, const uint8_t *p, const uint8_t *end, int trusted, const block *out, int64_t i,
                        int8_t *next, record *now) {
    int before = r->fields; /* the place of the guess at the first name */
    p = skip_space(p + 1, now);
    if (*p == '}') return p == end - 1 && !r->required;
    for (;;) {
        if (*p++ != '"') return 0;
        int f = next[before];
        if (!is_name(&r->columns[f], p, end)) {
            f = find_name(r, p, end);
            if (f == NO_FIELD) return 0;
            next[before] = (int8_t)f;
        }
        const column *c = &r->columns[f];
        uint64_t bit = (uint64_t)1 << f;
        if (now->seen & bit) return 0;
        if (now->seen > bit) now->verbatim = 0;
        now->seen |= bit;
        p += c->of.name_length + 1;
        p = skip_space(p, now);
        if (*p++ != ':') return 0;
        p = skip_space(p, now);
        if (*p == 'n') {
            if (c->of.required || end - p < 5 || memcmp(p, "null", 4) != 0) return 0;
            now->verbatim = 0;
            p += 4;
        } else {
            p = read_value(r, f, p, end, trusted, out, i, now);
            if (!p) return 0;
            now->present |= bit;
        }
        p = skip_space(p, now);
        if (*p == '}') return p == end - 1 && (now->present & r->required) == r->required;
        if (*p++ != ',') return 0;
        p = skip_space(p, now);
        before = f;
    }
}

/* Copies in whole chunks where as much can be read; what lies behind the copy is written next. */
static inline void copy(uint8_t *to, const uint8_t *from, int64_t length, const uint8_t *end) {
    if (end - from < (length + CHUNK - 1) / CHUNK * CHUNK) { memcpy(to, from, (size_t)length); return; }
    for (int64_t at = 0; at < length; at += CHUNK) memcpy(to + at, from + at, CHUNK);
}

static int64_t write_record(const reader *r, const record *now, const uint8_t *from, const uint8_t *end, const block *out,
                            int64_t i, uint8_t *text, int64_t at) {
    int32_t *starts = out->starts + i * r->spans, *lengths = out->lengths + i * r->spans;
    if (now->verbatim) {
        memcpy(text + at, from, (size_t)(end - from));
        for (uint64_t left = now->present; left; left &= left - 1) {
            int f = __builtin_ctzll(left), span = r->columns[f].of.span;
            if (span < 0) continue;
            starts[span] = (int32_t)(at + (now->from[f] - from)); lengths[span] = now->length[f];
        }
        return at + (end - from);
    }
    int64_t first = at;
    text[at] = '{'; text[at + 1] = '}';
    for (uint64_t left = now->present; left; left &= left - 1) {
        int f = __builtin_ctzll(left);
        const column *c = &r->columns[f];
        memcpy(text + at, c->prefix, PREFIX);
        at += c->prefix_length;
        if (c->of.span >= 0) { starts[c->of.span] = (int32_t)at; lengths[c->of.span] = now->length[f]; }
        int is_rewritten = (int)(now->rewritten_fields >> f & 1);
        copy(text + at, now->from[f], now->length[f], is_rewritten ? now->rewritten[f] + REWRITTEN : end);
        at += now->length[f];
        text[at] = '"';
        at += c->is_text;
    }
    text[first] = '{'; /* in the place of the first comma */
    at += at == first;
    text[at] = '}';
    return at + 1;
}

static void clear_row(const reader *r, const block *out, int64_t i) {
    for (int c = 0; c < r->integers; c++) out->integers[c * out->n + i] = ABSENT_INTEGER;
    for (int c = 0; c < r->numbers; c++) out->numbers[c * out->n + i] = NAN;
    for (int c = 0; c < r->codes; c++) out->codes[c * out->n + i] = -1;
}

static block block_of(const reader *r, int64_t n, int64_t *words) {
    block out = {.n = n, .ends = words, .integers = words + n + 1};
    out.numbers = (double *)(out.integers + n * r->integers);
    out.codes = (int32_t *)(out.numbers + n * r->numbers);
    out.starts = out.codes + n * r->codes;
    out.lengths = out.starts + n * r->spans;
    out.accepted = (uint8_t *)(words + 1 + n * (1 + r->integers + r->numbers) + (n * (r->codes + 2 * r->spans) + 1) / 2);
    for (int64_t i = 0; i < n * r->integers; i++) out.integers[i] = ABSENT_INTEGER;
    for (int64_t i = 0; i < n * r->numbers; i++) out.numbers[i] = NAN;
    memset(out.codes, 0xff, sizeof *out.codes * (size_t)(n * r->codes));
    memset(out.starts, 0, sizeof *out.starts * (size_t)(n * r->spans));
    memset(out.lengths, 0xff, sizeof *out.lengths * (size_t)(n * r->spans));
    return out;
}

/* Fills `words` (RecordLayout of fields.py) and `text`. `starts` NULL: the records lie one behind the other; `lengths` NULL
 * as well: they are one. Returns -1, or the first record that does not lie inside the `size` bytes. */
int64_t flat_records_read(const reader *r, const uint8_t *texts, int64_t size, int64_t n, const int64_t *starts,
                          const int64_t *lengths, int trusted, int64_t *words, uint8_t *text) {
    for (int64_t i = 0, start = 0, length; i < n; i++, start += length) { /* all of them first: the buffers fit their sum */
        start = starts ? starts[i] : start;
        length = lengths ? lengths[i] : size;
        if (start < 0 || length < 0 || start > size || length > size - start) return i;
    }
    block out = block_of(r, n, words);
    record now;
    int8_t next[MAX_FIELDS + 1];
    for (int f = 0; f < r->fields; f++) next[f] = (int8_t)((f + 1) % r->fields);
    next[r->fields] = 0;
    int64_t at = 0, behind = 0;
    out.ends[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t start = starts ? starts[i] : behind, length = lengths ? lengths[i] : size;
        behind = start + length;
        const uint8_t *from = texts + start, *end = from + length;
        while (from < end && is_space(*from)) from++;
        while (from < end && is_space(end[-1])) end--;
        now.seen = now.present = now.rewritten_fields = 0;
        now.verbatim = 1;
        int is_record = end - from >= 2 && *from == '{' && end[-1] == '}';
        out.accepted[i] = (uint8_t)(is_record && read_members(r, from, end, trusted, &out, i, next, &now));
        if (out.accepted[i]) at = write_record(r, &now, from, end, &out, i, text, at);
        else clear_row(r, &out, i);
        out.ends[i + 1] = at;
    }
    return -1;
}

/* ---- where records lie in a larger text -------------------------------------------------------------------------- */

static int64_t skip(const uint8_t *p, int64_t at, int64_t end) {
    while (at < end && is_space(p[at])) at++;
    return at;
}

/* Which of 64 bytes are quotes, backslashes, and braces or brackets: bit i for byte i. */
typedef struct {
    uint64_t quotes, escapes, brackets;
} marks;

#ifdef __SSE2__
static inline uint64_t where(__m128i found, int at) { return (uint64_t)(uint32_t)_mm_movemask_epi8(found) << at; }

static inline marks marks_of(const uint8_t *p) {
    marks m = {0, 0, 0};
    for (int at = 0; at < 64; at += 16) {
        __m128i c = _mm_loadu_si128((const __m128i *)(p + at)), folded = _mm_or_si128(c, _mm_set1_epi8(0x20));
        m.quotes |= where(_mm_cmpeq_epi8(c, _mm_set1_epi8('"')), at);
        m.escapes |= where(_mm_cmpeq_epi8(c, _mm_set1_epi8('\\')), at);
        /* A bracket and the brace of its side differ in that one bit. */
        __m128i opens = _mm_cmpeq_epi8(folded, _mm_set1_epi8('{')), closes = _mm_cmpeq_epi8(folded, _mm_set1_epi8('}'));
        m.brackets |= where(_mm_or_si128(opens, closes), at);
    }
    return m;
}
#else
static inline marks marks_of(const uint8_t *p) {
    marks m = {0, 0, 0};
    for (int at = 0; at < 64; at++) {
        m.quotes |= (uint64_t)(p[at] == '"') << at;
        m.escapes |= (uint64_t)(p[at] == '\\') << at;
        m.brackets |= (uint64_t)((p[at] | 0x20) == '{' || (p[at] | 0x20) == '}') << at;
    }
    return m;
}
#endif

/* Whether white space alone, or with one comma where there has to be one, lies in [at, end). */
static int is_gap(const uint8_t *p, int64_t at, int64_t end, int with_comma) {
    at = skip(p, at, end);
    if (with_comma) {
        if (at == end || p[at] != ',') return 0;
        at = skip(p, at + 1, end);
    }
    return at == end;
}

/* Returns how many items were found, -1 where the text is not clearly an array of flat objects, or NO_ROOM.
 * Texts are told from what is between them as in G. Langdale, D. Lemire, "Parsing Gigabytes of JSON per Second" (2019):
 * the parity of the quotes so far, for 64 bytes at once. */
int64_t flat_records_split_array(const uint8_t *p, int64_t size, int64_t most, int64_t *starts, int64_t *lengths) {
    while (size > 0 && is_space(p[size - 1])) size--;
    int64_t first = skip(p, 0, size), last = size - 1, n = 0, start = -1, behind = first + 1;
    if (size - first < 2 || p[first] != '[' || p[last] != ']') return -1;
    uint64_t in_text = 0; /* all ones while a text goes on from the block before */
    for (int64_t at = first + 1; at < last; at += 64) {
        uint8_t rest[64] = {0};
        if (last - at < 64) memcpy(rest, p + at, (size_t)(last - at));
        marks m = marks_of(last - at < 64 ? rest : p + at);
        if (m.escapes) return -1;
        uint64_t texts = m.quotes;
        for (int shift = 1; shift < 64; shift *= 2) texts ^= texts << shift;
        texts ^= in_text;
        in_text = 0 - (texts >> 63);
        for (uint64_t left = m.brackets & ~texts; left; left &= left - 1) {
            int64_t place = at + __builtin_ctzll(left);
            if (start < 0) {
                if (p[place] != '{' || !is_gap(p, behind, place, n > 0)) return -1;
                if (n == most) return NO_ROOM;
                start = place;
            } else {
                if (p[place] != '}') return -1;
                behind = place + 1;
                starts[n] = start; lengths[n++] = behind - start;
                start = -1;
            }
        }
    }
    return start < 0 && !in_text && is_gap(p, behind, last, 0) ? n : -1;
}

/* Returns how many lines are not blank, or NO_ROOM. */
int64_t flat_records_split_lines(const uint8_t *p, int64_t size, int64_t most, int64_t *starts, int64_t *lengths) {
    int64_t n = 0;
    for (int64_t at = 0; at < size;) {
        const uint8_t *found = memchr(p + at, '\n', (size_t)(size - at));
        int64_t end = found ? found - p : size, first = at;
        while (first < end && (is_space(p[first]) || p[first] == '\v' || p[first] == '\f')) first++;
        if (first < end) {
            if (n == most) return NO_ROOM;
            starts[n] = at; lengths[n++] = end - at;
        }
        at = end + 1;
    }
    return n;
}
