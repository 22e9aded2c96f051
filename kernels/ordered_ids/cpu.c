/* Version 7 UUIDs as text. The contract is written in __init__.py; reference.py is the truth. */
#include <stdint.h>

static const char DIGITS[] = "0123456789abcdef";

/* random: 8 bytes an id; text: 36 bytes an id. */
void ordered_ids(uint64_t milliseconds, uint64_t first, int64_t n, const uint8_t *random, char *text, uint64_t *keys) {
    for (int64_t i = 0; i < n; i++, random += 8, text += 36) {
        uint64_t count = (first + (uint64_t)i) & 0xfff, key = 0;
        uint8_t of[16];
        for (int b = 0; b < 6; b++) of[b] = (uint8_t)(milliseconds >> (40 - 8 * b));
        of[6] = (uint8_t)(0x70 | count >> 8); of[7] = (uint8_t)count;
        of[8] = (uint8_t)(0x80 | (random[0] & 0x3f));
        for (int b = 9; b < 16; b++) of[b] = random[b - 8];
        for (int b = 10; b < 16; b++) key = key << 8 | of[b];
        keys[i] = key;
        for (int b = 0, at = 0; b < 16; b++) {
            if (b == 4 || b == 6 || b == 8 || b == 10) text[at++] = '-';
            text[at++] = DIGITS[of[b] >> 4]; text[at++] = DIGITS[of[b] & 15];
        }
    }
}
