/* Feature rows as compact bytes and back; the format is told in __init__.py, reference.py is the truth that this file is
 * tested against. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../cpu.h"

enum code { NAN_CODE, ZERO_CODE, BYTE_CODE, NUMBER_CODE };
enum { SMALL = 96, MEAN = 96, RATIO = 97, RING = 98, PLACES = 32, TWO = 130 };
enum { HEADER = 5, TWO_FIRST = SMALL + 1, TWO_LAST = SMALL + (256 - TWO) * 256 };
enum fault { SOUND, OTHER_VERSION, OTHER_WIDTH, OTHER_CHECK, OTHER_CONTENT };
#define QUIET_NAN 0x7FC00000u
#define LARGEST 0x1p127
#define MULTIPLIER 0x9E3779B97F4A7C15ull

typedef struct {
    uint32_t places[PLACES];
    uint32_t count;
} ring;

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

INLINE void ring_clear(ring *of) {
    of->count = 0;
    for (int i = 0; i < PLACES; i++) of->places[i] = QUIET_NAN; /* never looked for */
}

INLINE void ring_put(ring *of, uint32_t bits) { of->places[of->count++ % PLACES] = bits; }

/* The place of these bits, or -1; each is there once at most. */
INLINE int ring_find(const ring *of, uint32_t bits) {
    int32_t place = 0;
    for (int32_t i = 0; i < PLACES; i++) place |= of->places[i] == bits ? i + 1 : 0;
    return place - 1;
}

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

static uint8_t *put_value(uint8_t *out, const float *x, int64_t i, ring *of, int *code) {
    float value = x[i];
    uint32_t bits = bits_of(value);
    int32_t whole = value > 0 && value <= TWO_LAST ? (int32_t)value : 0;
    if ((float)whole != value) whole = 0;
    *code = BYTE_CODE;
    if (whole && whole <= SMALL) {
        *out = (uint8_t)(whole - 1);
        return out + 1;
    }
    int place = ring_find(of, bits);
    if (place >= 0) *out = (uint8_t)(RING + place);
    else if (says(mean_at(x, i), bits)) *out = MEAN;
    else if (says(ratio_at(x, i), bits)) *out = RATIO;
    else {
        ring_put(of, bits);
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

/* Up to four features from i on: their codes in one byte, their values behind *out. */
static int put_quad(uint8_t **out, const float *x, int64_t i, int64_t width, ring *of) {
    int quad = 0, features = width - i < 4 ? (int)(width - i) : 4, known = 0;
    for (int lane = 0; lane < features; lane++) known |= x[i + lane] == x[i + lane];
    if (!known) return 0;
    for (int lane = 0; lane < features; lane++) {
        float value = x[i + lane];
        int code = bits_of(value) == 0 ? ZERO_CODE : NAN_CODE;
        if (bits_of(value) != 0 && value == value) *out = put_value(*out, x, i + lane, of, &code);
        quad |= code << 2 * lane;
    }
    return quad;
}

/* codes: room of a byte a quad, content: of 4 bytes a feature */
static uint8_t *pack_row(uint8_t *out, const float *x, int64_t width, uint8_t *codes, uint8_t *content) {
    int64_t quads = (width + 3) / 4, mask_bytes = (quads + 7) / 8;
    uint8_t *mask = out + HEADER, *code = codes, *value = content;
    ring of;
    ring_clear(&of);
    memset(mask, 0, (size_t)mask_bytes);
    for (int64_t q = 0; q < quads; q++) {
        int quad = put_quad(&value, x, 4 * q, width, &of);
        *code = (uint8_t)quad;
        code += quad != 0;
        mask[q / 8] |= (uint8_t)((quad != 0) << (q % 8));
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
    int64_t *ends = kernels_scratch((size_t)(rows * ((int64_t)sizeof(int64_t) + longest) + quads + 4 * width));
    if (ends == NULL) return -1;
    uint8_t *start = (uint8_t *)(ends + rows), *out = start, *codes = start + rows * longest, *content = codes + quads;
    for (int64_t row = 0; row < rows; row++) {
        out = pack_row(out, x + row * width, width, codes, content);
        ends[row] = out - start;
    }
    *found = ends;
    return out - start;
}

/* --- unpacking --------------------------------------------------------------------------------------------------------- */

/* Read feature i at `at`; returns where the next begins, or NULL where that is not to be had. */
static const uint8_t *read_value(const uint8_t *at, const uint8_t *end, int code, float *x, int64_t i, ring *of) {
    if (code == NUMBER_CODE) {
        if (end - at < 4) return NULL;
        uint32_t bits = (uint32_t)little(at, 4);
        ring_put(of, bits);
        x[i] = value_of(bits);
        return at + 4;
    }
    if (at == end) return NULL;
    int byte = *at++;
    if (byte < SMALL) {
        x[i] = (float)(byte + 1);
    } else if (byte < RING) {
        double q = byte == MEAN ? mean_at(x, i) : ratio_at(x, i);
        if (isnan(q)) return NULL;
        x[i] = (float)q;
    } else if (byte < TWO) {
        if ((uint32_t)(byte - RING) >= of->count) return NULL;
        x[i] = value_of(of->places[byte - RING]);
    } else {
        if (at == end) return NULL;
        x[i] = (float)((byte - TWO) * 256 + *at++ + TWO_FIRST);
        ring_put(of, bits_of(x[i]));
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
    ring of;
    ring_clear(&of);
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
