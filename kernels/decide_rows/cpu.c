/* What follows from the scores of n rows. The contract is written in __init__.py; reference.py is the truth. */
#include <math.h>
#include <stdint.h>

enum outcome { APPROVE, STEP_UP, REVIEW, HOLD, DECLINE };

typedef struct {
    double slope, intercept;
    double loss_given_fraud, fraud_cost, good_margin, declined_good_cost, review_cost, review_left, hold_left, hold_friction;
    double step_up_cost, step_up_left, step_up_abandon;
    const double *survival; /* [rules] */
    const uint8_t *on_hit, *on_error;
    int64_t rules, words, has_model;
} decide_table;

typedef struct {
    int64_t n, row_stride, top, offline_limit;
    const float *x, *margin; /* margin NULL: there is no forest */
    const int64_t *amount;
    const uint8_t *late;
    const uint64_t *hit, *insufficient, *error; /* NULL: no rule ever has it */
    const int32_t *top_features;
    uint32_t flags, late_flag, missing_flag, error_flag;
    double *probability, *risk;
    int32_t *score, *safe_features;
    uint32_t *stamps;
    float *top_values;
    uint8_t *outcome, *cost_outcome, *rule_codes;
} decide_call;

static double probability_of(const decide_table *t, double margin) {
    double z = margin * -t->slope - t->intercept;
    if (z > 700.0) z = 700.0;
    if (z < -700.0) z = -700.0;
    return 1.0 / (exp(z) + 1.0);
}

static uint8_t cheapest(const decide_table *t, double p, double amount) {
    double loss = p * (amount * t->loss_given_fraud + t->fraud_cost);
    double declined = (1 - p) * (amount * t->good_margin + t->declined_good_cost);
    double costs[5] = {
        loss,
        t->step_up_cost + loss * t->step_up_left + t->step_up_abandon * declined,
        t->review_cost + loss * t->review_left,
        t->review_cost + loss * t->hold_left + (1 - p) * t->hold_friction,
        declined,
    };
    uint8_t best = APPROVE;
    for (uint8_t o = STEP_UP; o <= DECLINE; o++) if (costs[o] < costs[best]) best = o;
    return best;
}

static int bit(const uint64_t *words, int64_t r) { return words ? (int)(words[r >> 6] >> (r & 63) & 1) : 0; }

static uint64_t any(const uint64_t *words, int64_t count) {
    uint64_t found = 0;
    for (int64_t w = 0; words && w < count; w++) found |= words[w];
    return found;
}

void decide_rows(const decide_table *t, const decide_call *c) {
    for (int64_t i = 0; i < c->n; i++) {
        double p = c->margin ? probability_of(t, c->margin[i]) : NAN, survival = 1.0;
        int missing = isnan(p), failed = 0;
        uint8_t costs_say = missing ? REVIEW : cheapest(t, p, (double)c->amount[i]), demanded = APPROVE;
        if (missing && t->has_model && c->offline_limit > 0 && c->amount[i] <= c->offline_limit) costs_say = APPROVE;
        const uint64_t *hit = c->hit ? c->hit + i * t->words : 0, *error = c->error ? c->error + i * t->words : 0;
        const uint64_t *less = c->insufficient ? c->insufficient + i * t->words : 0;
        uint8_t *codes = c->rule_codes + i * t->rules;
        if (any(hit, t->words) | any(error, t->words) | any(less, t->words))
            for (int64_t r = 0; r < t->rules; r++) {
                int hits = bit(hit, r), fails = bit(error, r);
                codes[r] = (uint8_t)(hits | fails | (bit(less, r) | fails) << 1);
                if (codes[r] == 1) { survival *= t->survival[r]; if (t->on_hit[r] > demanded) demanded = t->on_hit[r]; }
                if (codes[r] == 3) { failed = 1; if (t->on_error[r] > demanded) demanded = t->on_error[r]; }
            }
        else for (int64_t r = 0; r < t->rules; r++) codes[r] = 0;
        double risk = 1.0 - (1.0 - (missing ? 0.0 : p)) * survival;
        c->probability[i] = p; c->risk[i] = risk; c->score[i] = (int32_t)nearbyint(risk * 1000.0);
        c->cost_outcome[i] = costs_say; c->outcome[i] = costs_say > demanded ? costs_say : demanded;
        c->stamps[i] = c->flags | (c->late[i] ? c->late_flag : 0) | (missing ? c->missing_flag : 0) | (failed ? c->error_flag : 0);
        for (int64_t k = 0; k < c->top; k++) {
            int32_t feature = c->top_features[i * c->top + k];
            feature = feature < 0 ? 0 : feature;
            c->safe_features[i * c->top + k] = feature;
            c->top_values[i * c->top + k] = feature < c->row_stride ? c->x[i * c->row_stride + feature] : 1; /* the net */
        }
    }
}
