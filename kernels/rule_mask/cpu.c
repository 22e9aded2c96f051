/* The rule program on a block of rows, 64 of them a word, or on one row. See kernels/cpu.h for the tables. */
#include <string.h>

#include "../cpu.h"

enum { SET = 0, AND = 1, OR = 2 };
enum { PREDICATE = 0, REGISTER = 1, TRUE_ = 2 };
#define WORDS (BLOCK / 64)

static inline uint64_t holds_plain(const uint8_t *bins, uint8_t low, uint8_t width) {
    uint64_t bits = 0;
    for (int i = 0; i < 64; i++) bits |= (uint64_t)((uint8_t)(bins[i] - low) < width) << i;
    return bits;
}

static inline uint64_t combine(int op, uint64_t accumulator, uint64_t operand) {
    return op == SET ? operand : op == AND ? accumulator & operand : accumulator | operand;
}

#define RUN(name, target, holds)                                                                                        \
    target static void name(const rule_table *rules, const uint8_t *plain, uint64_t *registers) {                       \
        uint64_t accumulator[WORDS] = {0};                                                                              \
        for (int64_t s = 0; s < rules->steps; s++) {                                                                    \
            const rule_step step = rules->step[s];                                                                      \
            const uint64_t flip = step.negate ? ~(uint64_t)0 : 0;                                                       \
            for (int w = 0; w < WORDS; w++) {                                                                           \
                uint64_t operand = ~(uint64_t)0;                                                                        \
                if (step.source == PREDICATE)                                                                           \
                    operand = holds(plain + (int64_t)step.operand * BLOCK + w * 64, step.low, step.width);              \
                else if (step.source == REGISTER)                                                                       \
                    operand = registers[step.operand * WORDS + w];                                                      \
                accumulator[w] = combine(step.op, accumulator[w], operand ^ flip);                                      \
                if (step.store >= 0) registers[step.store * WORDS + w] = accumulator[w];                                \
            }                                                                                                           \
        }                                                                                                               \
    }

RUN(run_plain, , holds_plain)

#if HAS_X86
INLINE FOR_AVX2 uint64_t holds_avx2(const uint8_t *bins, uint8_t low, uint8_t width) {
    const __m256i from = _mm256_set1_epi8((char)low), last = _mm256_set1_epi8((char)(width - 1));
    uint64_t bits = 0;
    for (int half = 0; half < 2; half++) {
        const __m256i past = _mm256_sub_epi8(_mm256_load_si256((const __m256i *)(bins + half * 32)), from);
        const __m256i inside = _mm256_cmpeq_epi8(_mm256_min_epu8(past, last), past);
        bits |= (uint64_t)(uint32_t)_mm256_movemask_epi8(inside) << (32 * half);
    }
    return width ? bits : 0;
}

INLINE FOR_AVX512 uint64_t holds_avx512(const uint8_t *bins, uint8_t low, uint8_t width) {
    const __m512i past = _mm512_sub_epi8(_mm512_load_si512(bins), _mm512_set1_epi8((char)low));
    return _mm512_cmplt_epu8_mask(past, _mm512_set1_epi8((char)width));
}

RUN(run_avx2, FOR_AVX2, holds_avx2)
RUN(run_avx512, FOR_AVX512, holds_avx512)
#endif

/* Row i's bit j becomes row j's bit i (Warren, Hacker's Delight, 7-3). */
static void transpose(uint64_t of[64]) {
    uint64_t mask = 0x00000000ffffffffull;
    for (int width = 32; width; width >>= 1, mask ^= mask << width)
        for (int base = 0; base < 64; base += 2 * width)
            for (int i = base; i < base + width; i++) {
                const uint64_t swapped = ((of[i] >> width) ^ of[i + width]) & mask;
                of[i] ^= swapped << width;
                of[i + width] ^= swapped;
            }
}

static void write_words(const rule_table *rules, const int32_t *output, const uint64_t *registers, int64_t rows, uint64_t *out) {
    for (int64_t word = 0; word < rules->words; word++)
        for (int64_t from = 0; from < rows; from += 64) {
            uint64_t bits[64] __attribute__((aligned(64)));
            const int64_t here = rules->rules - word * 64 < 64 ? rules->rules - word * 64 : 64;
            for (int64_t r = 0; r < here; r++) {
                const int32_t at = output[word * 64 + r];
                bits[r] = at < 0 ? 0 : registers[at * WORDS + from / 64];
            }
            memset(bits + here, 0, (size_t)(64 - here) * sizeof(uint64_t));
            transpose(bits);
            const int64_t to = rows - from < 64 ? rows - from : 64;
            for (int64_t r = 0; r < to; r++) out[(from + r) * rules->words + word] = bits[r];
        }
}

void rules_block(const rule_table *rules, const uint8_t *plain, int64_t rows, uint64_t *registers, uint64_t *const out[3],
                 int64_t first_row) {
    const int variant = kernels_variant();
    memset(registers, 0, (size_t)rules->registers * WORDS * sizeof(uint64_t));
#if HAS_X86
    if (variant == AVX512)
        run_avx512(rules, plain, registers);
    else if (variant == AVX2)
        run_avx2(rules, plain, registers);
    else
#endif
        run_plain(rules, plain, registers);
    (void)variant;
    for (int o = 0; o < 3; o++) {
        if (rules->used[o]) write_words(rules, rules->outputs[o], registers, rows, out[o] + first_row * rules->words);
    }
}

#if HAS_X86
/* Four vectors of rows at a time. The cut stands first, so that the comparison can read the column from memory. The masks are
 * plain variables: in a structure they would be copied from register to register. */
#define COMPARE(v, kind) _mm512_cmp_ps_mask(cut, _mm512_loadu_ps(column + 16 * v), kind)
#define AND_COMPARE(v, kind) _mm512_mask_cmp_ps_mask(hit##v, cut, _mm512_loadu_ps(column + 16 * v), kind)
#define FIRST(kind) hit0 = COMPARE(0, kind), hit1 = COMPARE(1, kind), hit2 = COMPARE(2, kind), hit3 = COMPARE(3, kind)
#define AND_ALL(kind)                                                                                                  \
    hit0 = AND_COMPARE(0, kind), hit1 = AND_COMPARE(1, kind), hit2 = AND_COMPARE(2, kind), hit3 = AND_COMPARE(3, kind)
#define SET_BITS                                                                                                       \
    do {                                                                                                               \
        const __m512i bit = _mm512_set1_epi32((int)(1u << (of->rule & 31)));                                           \
        bits[0] = _mm512_mask_or_epi32(bits[0], hit0, bits[0], bit);                                                   \
        bits[1] = _mm512_mask_or_epi32(bits[1], hit1, bits[1], bit);                                                   \
        bits[2] = _mm512_mask_or_epi32(bits[2], hit2, bits[2], bit);                                                   \
        bits[3] = _mm512_mask_or_epi32(bits[3], hit3, bits[3], bit);                                                   \
    } while (0)

INLINE void fetch_some(fetcher *of) {
    for (int i = 0; i < 2 && of->line < of->lines; i++, of->line++)
        __builtin_prefetch(of->x + of->need[of->line / (BLOCK / 16)] * of->column_stride + of->line % (BLOCK / 16) * 16);
}

/* Clauses of LESS and AT_LEAST; those that begin with LESS apart from those that do not. The first comparison overwrites the
 * masks: set to ones first, they would wait for the clause before. */
INLINE FOR_AVX512 void common_clauses(const clause *of, const clause *end, int begin_with_less, const literal *literals,
                                      const float *wide, int64_t from, __m512i bits[4], fetcher *fetch) {
    for (; of < end; of++) {
        const literal *at = literals + of->first, *const less = at + of->less, *const last = less + of->at_least;
        const float *column = wide + at->offset + from;
        __m512 cut = _mm512_set1_ps(at->cut);
        __mmask16 hit0, hit1, hit2, hit3;
        if (begin_with_less)
            FIRST(_CMP_GT_OQ);
        else
            FIRST(_CMP_LE_OQ);
        at++;
        for (; begin_with_less && at < less; at++) {
            column = wide + at->offset + from;
            cut = _mm512_set1_ps(at->cut);
            AND_ALL(_CMP_GT_OQ);
        }
        for (; at < last; at++) {
            column = wide + at->offset + from;
            cut = _mm512_set1_ps(at->cut);
            AND_ALL(_CMP_LE_OQ);
        }
        SET_BITS;
        fetch_some(fetch);
    }
}

FOR_AVX512 static void rare_clauses(const clause *of, const clause *end, const literal *literals, const float *wide,
                                    int64_t from, __m512i bits[4]) {
    for (; of < end; of++) {
        __mmask16 hit0 = 0xffff, hit1 = 0xffff, hit2 = 0xffff, hit3 = 0xffff;
        const literal *at = literals + of->first, *const last = at + of->less + of->at_least + of->other;
        for (; at < last; at++) {
            const float *column = wide + at->offset + from;
            const __m512 cut = _mm512_set1_ps(at->cut);
            switch (at->kind) {
                case LESS: AND_ALL(_CMP_GT_OQ); break;
                case AT_LEAST: AND_ALL(_CMP_LE_OQ); break;
                case NOT_LESS: AND_ALL(_CMP_NGT_UQ); break;
                case NOT_AT_LEAST: AND_ALL(_CMP_NLE_UQ); break;
                case MISSING_VALUE: AND_ALL(_CMP_UNORD_Q); break;
                default: AND_ALL(_CMP_ORD_Q); break;
            }
        }
        SET_BITS;
    }
}

/* Sixteen rows are a vector of 32-bit halves of words: a rule that hits sets its bit in them, so that nothing has to be
 * transposed. */
FOR_AVX512 void rules_columns(const rule_table *rules, const clause_table *clauses, const float *wide, int64_t from,
                              int64_t rows, uint64_t *const out[3], int64_t first_row, fetcher *fetch) {
    const clause *of = clauses->clause;
    for (int output = 0; output < 3; output++) {
        if (!rules->used[output]) continue;
        for (int64_t word = 0; word < rules->words; word++) {
            uint32_t halves[2][64] __attribute__((aligned(64)));
            for (int h = 0; h < 2; h++) {
                __m512i bits[4];
                for (int v = 0; v < 4; v++) bits[v] = _mm512_setzero_si512();
                const int32_t *run = clauses->runs + ((output * rules->words + word) * 2 + h) * 3;
                common_clauses(of, of + run[0], 1, clauses->literals, wide, from, bits, fetch);
                of += run[0];
                common_clauses(of, of + run[1], 0, clauses->literals, wide, from, bits, fetch);
                of += run[1];
                if (run[2]) rare_clauses(of, of + run[2], clauses->literals, wide, from, bits);
                of += run[2];
                for (int v = 0; v < 4; v++) _mm512_store_si512(halves[h] + 16 * v, bits[v]);
            }
            uint64_t *to = out[output] + first_row * rules->words + word;
            uint64_t words[64] __attribute__((aligned(64)));
            for (int r = 0; r < 64; r++) words[r] = (uint64_t)halves[1][r] << 32 | halves[0][r];
            if (rules->words == 1)
                memcpy(to, words, (size_t)rows * sizeof(uint64_t));
            else
                for (int64_t r = 0; r < rows; r++) to[r * rules->words] = words[r];
        }
    }
}
#endif

void rules_row(const rule_table *rules, const uint8_t *plain, uint8_t *registers, uint64_t *const out[3]) {
    unsigned accumulator = 0;
    memset(registers, 0, (size_t)rules->registers);
    for (int64_t s = 0; s < rules->steps; s++) {
        const rule_step step = rules->step[s];
        unsigned operand = 1;
        if (step.source == PREDICATE)
            operand = (uint8_t)(plain[step.operand] - step.low) < step.width;
        else if (step.source == REGISTER)
            operand = registers[step.operand];
        operand ^= step.negate;
        accumulator = step.op == SET ? operand : step.op == AND ? accumulator & operand : accumulator | operand;
        if (step.store >= 0) registers[step.store] = (uint8_t)accumulator;
    }
    for (int o = 0; o < 3; o++) {
        if (!rules->used[o]) continue;
        memset(out[o], 0, (size_t)rules->words * sizeof(uint64_t));
        for (int64_t r = 0; r < rules->rules; r++)
            if (rules->outputs[o][r] >= 0) out[o][r / 64] |= (uint64_t)registers[rules->outputs[o][r]] << (r % 64);
    }
}

/* bins[at least columns][rows]; out[3] is [rows][words] each */
int rule_mask(const rule_table *rules, const uint8_t *bins, int64_t columns, int64_t rows, uint64_t *hit,
              uint64_t *insufficient, uint64_t *error) {
    uint64_t *const out[3] = {hit, insufficient, error};
    const size_t block = (size_t)columns * BLOCK;
    uint8_t *plain = kernels_scratch(block + (size_t)rules->registers * WORDS * sizeof(uint64_t));
    if (plain == NULL) return -1;
    for (int64_t first = 0; first < rows; first += BLOCK) {
        const int64_t here = rows - first < BLOCK ? rows - first : BLOCK;
        for (int64_t k = 0; k < columns; k++) {
            memcpy(plain + k * BLOCK, bins + k * rows + first, (size_t)here);
            memset(plain + k * BLOCK + here, 0, (size_t)(BLOCK - here));
        }
        rules_block(rules, plain, here, (uint64_t *)(plain + block), out, first);
    }
    return 0;
}
