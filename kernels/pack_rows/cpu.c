/* Feature rows as compact bytes and back; the format is told in __init__.py, reference.py is the truth that this file is
 * tested against. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../cpu.h"

enum code { NAN_CODE, ZERO_CODE, BYTE_CODE, NUMBER_CODE };
enum { SMALL = 96, MEAN = 96, RATIO = 97, SEEN = 98, PLACES = 32, TWO = 130 };
enum { HEADER = 5, TWO_FIRST = SMALL + 1, TWO_LAST = SMALL + (256 - TWO) * 256 };
enum fault { SOUND, OTHER_VERSION, OTHER_WIDTH, OTHER_CHECK, OTHER_CONTENT };
#define QUIET_NAN 0x7FC00000u
#define LARGEST 0x1p127
#define MULTIPLIER 0x9E3779B97F4A7C15ull

/* What was written out lately; NaN where a place is free. */
typedef struct {
    uint32_t places[PLACES];
} seen;

INLINE uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

INLINE float value_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* Integers are little-endian whatever the machine is. */
INLINE uint8_t *put_little(uint8_t *out, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(number >> (8 * i));
    return out + bytes;
}

INLINE uint64_t little(const uint8_t *from, int64_t bytes) {
    uint64_t number = 0;
    for (int64_t i = 0; i < bytes; i++) number |= (uint64_t)from[i] << (8 * i);
    return number;
}

static uint32_t check_of(const uint8_t *body, int64_t size) {
    uint64_t state = (uint64_t)size + 1;
    for (int64_t at = 0; at < size; at += 8) {
        state = (state ^ (size - at >= 8 ? little(body + at, 8) : little(body + at, size - at))) * MULTIPLIER;
        state = state << 32 | state >> 32;
    }
    return (uint32_t)(state * MULTIPLIER >> 48);
}

INLINE void forget_all(seen *of) {
    for (int i = 0; i < PLACES; i++) of->places[i] = QUIET_NAN;
}

INLINE uint32_t place_of(uint32_t bits) { return bits * 0x9E3779B1u >> 27; }

/* a / b, or NaN where it is no number or too near the largest for a float32 */
INLINE double quotient(double a, double b) {
    if (!(fabs(a) < LARGEST) || !(fabs(b) < LARGEST) || b == 0) return NAN;
    double q = a / b;
    return fabs(q) < LARGEST ? q : NAN;
}

INLINE double mean_at(const float *x, int64_t i) { return i < 10 ? NAN : quotient(x[i - 5], x[i - 10]); }
INLINE double ratio_at(const float *x, int64_t i) { return i < 25 ? NAN : quotient(x[0], quotient(x[i - 20], x[i - 25])); }

INLINE int says(double quotient, uint32_t bits) { return !isnan(quotient) && bits_of((float)quotient) == bits; }

/* --- packing ----------------------------------------------------------------------------------------------------------- */

static uint8_t *put_value(uint8_t *out, const float *x, int64_t i, seen *of, int *code) {
    float value = x[i];
    uint32_t bits = bits_of(value);
    int32_t whole = value > 0 && value <= TWO_LAST ? (int32_t)value : 0;
    if ((float)whole != value) whole = 0;
    *code = BYTE_CODE;
    if (whole && whole <= SMALL) {
        *out = (uint8_t)(whole - 1);
        return out + 1;
    }
    uint32_t place = place_of(bits);
    if (of->places[place] == bits) *out = (uint8_t)(SEEN + place);
    else if (says(mean_at(x, i), bits)) *out = MEAN;
    else if (says(ratio_at(x, i), bits)) *out = RATIO;
    else {
        of->places[place] = bits;
        if (whole) {
            out[0] = (uint8_t)(TWO + (whole - TWO_FIRST) / 256);
            out[1] = (uint8_t)((whole - TWO_FIRST) % 256);
            return out + 2;
        }
        *code = NUMBER_CODE;
        return put_little(out, bits, 4);
    }
    return out + 1;
}

/* Of up to 64 features, one bit each. */
typedef struct {
    uint64_t zero, value; /* plus zero; neither that nor NaN */
} kinds;

static kinds kinds_of(const float *x, int64_t features) {
    kinds of = {0, 0};
    int64_t i = 0;
#if HAS_X86
    for (; i + 4 <= features; i += 4) {
        __m128 four = _mm_loadu_ps(x + i);
        uint64_t known = (uint64_t)_mm_movemask_ps(_mm_cmpord_ps(four, four));
        uint64_t zero = (uint64_t)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(_mm_castps_si128(four), _mm_setzero_si128())));
        of.zero |= zero << i;
        of.value |= (known & ~zero) << i;
    }
#endif
    for (; i < features; i++) {
        uint64_t zero = bits_of(x[i]) == 0, known = x[i] == x[i];
        of.zero |= zero << i;
        of.value |= (known & ~zero) << i;
    }
    return of;
}

/* four bits to the low halves of four codes */
static const uint8_t SPREAD[16] = {0x00, 0x01, 0x04, 0x05, 0x10, 0x11, 0x14, 0x15, 0x40, 0x41, 0x44, 0x45, 0x50, 0x51, 0x54, 0x55};

/* Codes are made sixteen at a time: a byte a quad and 16 more; then the content, of up to 4 bytes a feature. */
static int64_t code_room(int64_t width) { return (width + 3) / 4 + 16; }

int64_t packed_row_scratch(int64_t width) { return code_room(width) + 4 * width; }

uint8_t *pack_row(uint8_t *out, const float *x, int64_t width, uint8_t *scratch) {
    int64_t mask_bytes = ((width + 3) / 4 + 7) / 8;
    uint8_t *codes = scratch, *content = scratch + code_room(width);
    uint8_t *mask = out + HEADER, *code = codes, *value = content;
    seen of;
    forget_all(&of);
    for (int64_t from = 0; from < width; from += 64) {
        kinds here = kinds_of(x + from, width - from < 64 ? width - from : 64);
        uint64_t low = here.zero, high = here.value; /* halves of the codes: a number has both */
        for (uint64_t left = here.value; left; left &= left - 1) {
            int at = __builtin_ctzll(left), kind;
            value = put_value(value, x, from + at, &of, &kind);
            low |= (uint64_t)(kind == NUMBER_CODE) << at;
        }
        uint32_t set = 0;
        for (int q = 0; q < 16; q++, low >>= 4, high >>= 4) {
            uint8_t quad = (uint8_t)(SPREAD[low & 15] | SPREAD[high & 15] << 1);
            *code = quad; /* over the one before, if that was NaN alone */
            code += quad != 0;
            set |= (uint32_t)(quad != 0) << q;
        }
        mask[from / 32] = (uint8_t)set;
        if (from / 32 + 1 < mask_bytes) mask[from / 32 + 1] = (uint8_t)(set >> 8);
    }
    uint8_t *end = mask + mask_bytes;
    memcpy(end, codes, (size_t)(code - codes));
    end += code - codes;
    memcpy(end, content, (size_t)(value - content));
    end += value - content;
    out[0] = 1;
    put_little(out + 1, (uint64_t)width, 2);
    put_little(out + 3, check_of(mask, end - mask), 2);
    return end;
}

/* Write into memory of this thread and say in found[0] where: int64 ends[rows], then the bytes. Returns the number of bytes,
 * or -1 without memory. */
int64_t pack_rows(const float *x, int64_t rows, int64_t width, void **found) {
    int64_t quads = (width + 3) / 4, longest = HEADER + (quads + 7) / 8 + quads + 4 * width;
    int64_t *ends = kernels_scratch((size_t)(rows * ((int64_t)sizeof(int64_t) + longest) + packed_row_scratch(width)));
    if (ends == NULL) return -1;
    uint8_t *start = (uint8_t *)(ends + rows), *out = start, *scratch = start + rows * longest;
    for (int64_t row = 0; row < rows; row++) {
        out = pack_row(out, x + row * width, width, scratch);
        ends[row] = out - start;
    }
    *found = ends;
    return out - start;
}

/* --- unpacking --------------------------------------------------------------------------------------------------------- */

/* Read feature i at `at`; returns where the next begins, or NULL where that is not to be had. */
static const uint8_t *read_value(const uint8_t *at, const uint8_t *end, int code, float *x, int64_t i, seen *of) {
    if (code == NUMBER_CODE) {
        if (end - at < 4) return NULL;
        uint32_t bits = (uint32_t)little(at, 4);
        of->places[place_of(bits)] = bits;
        x[i] = value_of(bits);
        return x[i] == x[i] ? at + 4 : NULL;
    }
    if (at == end) return NULL;
    int byte = *at++;
    if (byte < SMALL) {
        x[i] = (float)(byte + 1);
    } else if (byte < SEEN) {
        double q = byte == MEAN ? mean_at(x, i) : ratio_at(x, i);
        if (isnan(q)) return NULL;
        x[i] = (float)q;
    } else if (byte < TWO) {
        if (of->places[byte - SEEN] == QUIET_NAN) return NULL;
        x[i] = value_of(of->places[byte - SEEN]);
    } else {
        if (at == end) return NULL;
        x[i] = (float)((byte - TWO) * 256 + *at++ + TWO_FIRST);
        of->places[place_of(bits_of(x[i]))] = bits_of(x[i]);
    }
    return at;
}

static int unpack_row(const uint8_t *packed, int64_t size, int64_t width, float *x) {
    if (size < HEADER || packed[0] != 1) return OTHER_VERSION;
    if ((int64_t)little(packed + 1, 2) != width) return OTHER_WIDTH;
    const uint8_t *mask = packed + HEADER, *end = packed + size;
    if (check_of(mask, end - mask) != little(packed + 3, 2)) return OTHER_CHECK;
    int64_t quads = (width + 3) / 4, mask_bytes = (quads + 7) / 8, set = 0;
    if (end - mask < mask_bytes || (quads % 8 && mask[mask_bytes - 1] >> quads % 8)) return OTHER_CONTENT;
    for (int64_t i = 0; i < mask_bytes; i++) set += __builtin_popcount(mask[i]);
    const uint8_t *code = mask + mask_bytes;
    if (end - code < set) return OTHER_CONTENT;
    if (width % 4 && set && mask[(quads - 1) / 8] >> (quads - 1) % 8 & 1 && code[set - 1] >> 2 * (width % 4)) return OTHER_CONTENT;
    const uint8_t *at = code + set;
    seen of;
    forget_all(&of);
    for (int64_t q = 0; q < quads; q++) {
        int quad = mask[q / 8] >> q % 8 & 1 ? *code++ : 0;
        int64_t i = 4 * q, last = i + 4 < width ? i + 4 : width;
        for (; i < last; i++, quad >>= 2) {
            if ((quad & 3) < BYTE_CODE) x[i] = value_of(quad & 3 ? 0 : QUIET_NAN);
            else if ((at = read_value(at, end, quad & 3, x, i, &of)) == NULL) return OTHER_CONTENT;
        }
    }
    return at == end ? SOUND : OTHER_CONTENT;
}

/* ends[rows + 1] in packed, x[rows][width]. Returns a fault, of row where[0]. */
int64_t unpack_rows(const uint8_t *packed, const int64_t *ends, int64_t rows, int64_t width, float *x, int64_t *where) {
    for (int64_t row = 0; row < rows; row++) {
        int fault = unpack_row(packed + ends[row], ends[row + 1] - ends[row], width, x + row * width);
        if (fault) {
            *where = row;
            return fault;
        }
    }
    return SOUND;
}
