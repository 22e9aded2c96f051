// What was measured, and the JSON object that says so.
#ifndef LOADGEN_REPORT_H
#define LOADGEN_REPORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "requests.h"

struct samples { // nanoseconds
    uint64_t *values;
    size_t count, capacity;
};

struct counters {
    uint64_t sent, acknowledged, in_window, ok_in_window; // ok: answered with 2xx
    uint64_t by_status[600];
    uint64_t connect_errors, disconnects, timeouts, malformed, unfinished, unsent, abandoned;
    bool bodies_exhausted, interrupted, gave_up;
    struct samples latency, send_delay;
    // Of the requests that were due in the measured window, by their answer: since due, and since hand-over.
    struct samples ok_latency, ok_service, refused_service;
    struct slice *slices; // since the end of the warm-up, by the time of the answer
    size_t slice_count;
};

#define SLICE_NS 100000000ull
#define SLICES_A_WINDOW 10

// A tenth of a second: answers of each kind, requests without an answer, and how long the 2xx took.
struct slice {
    uint64_t ok, other, lost;
    struct samples service, latency;
};

static void add_sample(struct samples *s, uint64_t value)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 1 << 16;
        s->values = resized(s->values, s->capacity * sizeof *s->values);
    }
    s->values[s->count++] = value;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void add_samples(struct samples *to, const struct samples *from)
{
    for (size_t i = 0; i < from->count; i++) add_sample(to, from->values[i]);
}

// The slice that `since` (ns after the warm-up) belongs to.
static struct slice *slice_at(struct counters *c, uint64_t since)
{
    size_t at = (size_t)(since / SLICE_NS);
    if (at >= c->slice_count) {
        c->slices = resized(c->slices, (at + 1) * sizeof *c->slices);
        memset(c->slices + c->slice_count, 0, (at + 1 - c->slice_count) * sizeof *c->slices);
        c->slice_count = at + 1;
    }
    return &c->slices[at];
}

// Nearest rank: the smallest sample that at least the fraction `q` of them does not exceed.
static double quantile_ms(const struct samples *s, double q)
{
    size_t rank = (size_t)ceil(q * (double)s->count);
    return (double)s->values[rank ? rank - 1 : 0] / 1e6;
}

static void print_samples(const char *name, struct samples *s)
{
    if (s->count == 0) {
        printf(",\"%s\":null", name);
        return;
    }
    double sum = 0;
    for (size_t i = 0; i < s->count; i++) sum += (double)s->values[i] / 1e6;
    qsort(s->values, s->count, sizeof *s->values, by_value);
    printf(",\"%s\":{\"count\":%zu,\"mean\":%.4f,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,"
           "\"p99_9\":%.4f,\"max\":%.4f}",
           name, s->count, sum / (double)s->count, quantile_ms(s, .5), quantile_ms(s, .9),
           quantile_ms(s, .99), quantile_ms(s, .999), quantile_ms(s, 1));
}

static void print_statuses(const struct counters *c)
{
    uint64_t non_2xx = 0;
    const char *separator = "";
    printf(",\"statuses\":{");
    for (int status = 0; status < 600; status++) {
        if (!c->by_status[status]) continue;
        if (status < 200 || status > 299) non_2xx += c->by_status[status];
        printf("%s\"%d\":%llu", separator, status, (unsigned long long)c->by_status[status]);
        separator = ",";
    }
    printf("},\"non_2xx\":%llu", (unsigned long long)non_2xx);
}

static double sorted_p99_ms(struct samples *s)
{
    if (s->count == 0) return 0;
    qsort(s->values, s->count, sizeof *s->values, by_value);
    return quantile_ms(s, .99);
}

// Each whole second in steps of a slice; `to_s` is its end, counted from the end of the warm-up.
static void print_windows(const struct counters *c)
{
    printf(",\"windows\":[");
    for (size_t end = SLICES_A_WINDOW; end <= c->slice_count; end++) {
        uint64_t ok = 0, other = 0, lost = 0;
        struct samples service = {0}, latency = {0};
        for (size_t i = end - SLICES_A_WINDOW; i < end; i++) {
            ok += c->slices[i].ok;
            other += c->slices[i].other;
            lost += c->slices[i].lost;
            add_samples(&service, &c->slices[i].service);
            add_samples(&latency, &c->slices[i].latency);
        }
        printf("%s{\"to_s\":%.1f,\"ok\":%llu,\"other\":%llu,\"lost\":%llu,\"service_p99_ms\":%.4f,\"p99_ms\":%.4f}",
               end == SLICES_A_WINDOW ? "" : ",", (double)end * SLICE_NS / 1e9, (unsigned long long)ok,
               (unsigned long long)other, (unsigned long long)lost, sorted_p99_ms(&service), sorted_p99_ms(&latency));
        free(service.values);
        free(latency.values);
    }
    printf("]");
}

static void print_report(const struct options *o, struct counters *c, double window_seconds)
{
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"sent", c->sent}, {"acknowledged", c->acknowledged},
                  {"in_window", c->in_window}, {"connect_errors", c->connect_errors},
                  {"disconnects", c->disconnects}, {"timeouts", c->timeouts},
                  {"malformed", c->malformed}, {"unfinished", c->unfinished},
                  {"unsent", c->unsent}, {"abandoned", c->abandoned},
                  {"ok_in_window", c->ok_in_window}};
    printf("{\"mode\":\"%s\",\"connections\":%d,\"offered_per_s\":%.17g,\"window_s\":%.6f,"
           "\"rate_per_s\":%.4f",
           o->rate > 0 ? "open" : "closed", o->connections, o->rate, window_seconds,
           window_seconds > 0 ? (double)c->in_window / window_seconds : 0.0);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        printf(",\"%s\":%llu", counts[i].name, (unsigned long long)counts[i].value);
    print_statuses(c);
    printf(",\"bodies_exhausted\":%s,\"interrupted\":%s,\"gave_up\":%s",
           c->bodies_exhausted ? "true" : "false", c->interrupted ? "true" : "false",
           c->gave_up ? "true" : "false");
    print_samples("latency_ms", &c->latency);
    print_samples("send_delay_ms", &c->send_delay);
    print_samples("ok_latency_ms", &c->ok_latency);
    print_samples("ok_service_ms", &c->ok_service);
    print_samples("refused_service_ms", &c->refused_service);
    print_windows(c);
    puts("}");
}

#endif
