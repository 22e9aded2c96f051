// HTTP/1.1 load generator for this machine: closed loop, or open loop with the latency counted from
// the moment each request was due, so that a slow answer cannot hide the ones that queue behind it.
// Build: cc -O2 loadgen.c -o loadgen -lm. Prints one JSON object; run it with no argument for its options.
#define _GNU_SOURCE
#include <signal.h>
#include <sys/timerfd.h>

#include "run.h"

#define SWEEP_MS 10
#define TIMER_EVENT UINT32_MAX

static volatile sig_atomic_t interrupted;

static void on_signal(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

struct schedule {
    uint64_t released, limit;   // requests due so far; most that may ever be
    uint64_t begun;             // of these, given to a connection or abandoned
    uint64_t used, most_bodies; // bodies given to a connection; most that may ever be
    uint64_t *due;              // open loop: when each was due
    size_t capacity;
    double next_due;            // ns; a double keeps the fractions of a gap
    uint64_t drain_until;       // 0 while requests are still being released
    uint64_t random;
};

// xorshift64*: the same arrivals for the same seed on every machine.
static double uniform(struct schedule *s)
{
    s->random ^= s->random >> 12;
    s->random ^= s->random << 25;
    s->random ^= s->random >> 27;
    return (double)((s->random * 2685821657736338717ull) >> 11) / 9007199254740992.0;
}

static void release_due(struct run *run, struct schedule *s, uint64_t now)
{
    const struct options *o = &run->options;
    while (s->released < s->limit && s->next_due <= (double)now && s->next_due < (double)run->end_at) {
        if (s->released == s->capacity) {
            s->capacity = s->capacity ? 2 * s->capacity : 1 << 14;
            s->due = resized(s->due, s->capacity * sizeof *s->due);
        }
        s->due[s->released++] = (uint64_t)s->next_due;
        double gap = 1e9 / (s->next_due < (double)run->stop_at ? o->rate : o->then_rate);
        s->next_due += o->poisson ? -log(1 - uniform(s)) * gap : gap;
    }
}

static bool still_sending(struct run *run, struct schedule *s, uint64_t now)
{
    return !interrupted && !run->counters.gave_up && now < run->end_at && s->released < s->limit && s->used < s->most_bodies;
}

// Whether the request has waited for a connection for so long that its sender is taken to have given up.
static bool is_abandoned(struct run *run, uint64_t due, uint64_t now)
{
    double waited = now > due ? (double)(now - due) : 0;
    if (run->options.abandon_ms == 0 || waited <= run->options.abandon_ms * 1e6) return false;
    run->counters.abandoned++;
    count_wait(run, due, now);
    return true;
}

static void begin_requests(struct run *run, struct schedule *s)
{
    if (run->options.rate > 0) {
        while (run->idle_count && s->begun < s->released && s->used < s->most_bodies && !interrupted) {
            uint64_t due = s->due[s->begun++];
            if (!is_abandoned(run, due, now_ns())) begin_request(run, s->used++, due);
        }
        return;
    }
    // Bounded by the number of connections: a refused one must not spin here until the time is up.
    for (size_t turn = run->idle_count; turn && run->idle_count; turn--) {
        uint64_t now = now_ns();
        if (!still_sending(run, s, now)) return;
        s->released++;
        s->begun++;
        begin_request(run, s->used++, now);
    }
}

static void sweep(struct run *run, uint64_t now)
{
    uint64_t timeout = (uint64_t)(run->options.timeout_seconds * 1e9);
    for (int i = 0; i < run->options.connections; i++) {
        struct connection *c = &run->connections[i];
        if (!c->busy) continue;
        if (now > c->started + timeout) lose_request(run, c, &run->counters.timeouts);
        else if (c->fd < 0 && now >= c->retry_at) open_connection(run, c);
    }
    if (run->unreachable_since && now > run->unreachable_since + (uint64_t)(run->options.reconnect_seconds * 1e9))
        run->counters.gave_up = true;
}

static void arm_timer(struct run *run, const struct schedule *s)
{
    uint64_t at = (uint64_t)s->next_due;
    struct itimerspec due = {.it_value = {(time_t)(at / 1000000000), (long)(at % 1000000000)}};
    timerfd_settime(run->timer, TFD_TIMER_ABSTIME, &due, NULL);
}

static void wait_for_events(struct run *run, struct schedule *s)
{
    struct epoll_event events[256];
    int count = epoll_wait(run->epoll, events, 256, SWEEP_MS);
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 == TIMER_EVENT) {
            uint64_t expirations;
            if (read(run->timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
                refuse("timer: %s", strerror(errno));
            continue;
        }
        on_event(run, &run->connections[events[i].data.u32], events[i].events);
        begin_requests(run, s);
    }
    if (!run->options.ledger_at_end) flush_ledger(&run->ledger);
}

static bool finished(struct run *run, struct schedule *s, uint64_t now)
{
    if (still_sending(run, s, now)) return false;
    if (!s->drain_until) s->drain_until = now + (uint64_t)(run->options.timeout_seconds * 1e9);
    bool all_idle = run->idle_count == (size_t)run->options.connections;
    bool none_waiting = s->begun == s->released || s->used == s->most_bodies || interrupted;
    return (all_idle && none_waiting) || run->counters.gave_up || now >= s->drain_until;
}

static void drive(struct run *run, struct schedule *s)
{
    uint64_t now, swept = 0, armed = 0;
    while (now = now_ns(), !finished(run, s, now)) {
        if (run->options.rate > 0 && still_sending(run, s, now)) {
            release_due(run, s, now);
            if (armed != (uint64_t)s->next_due) arm_timer(run, s);
            armed = (uint64_t)s->next_due;
        }
        begin_requests(run, s);
        if (now - swept >= SWEEP_MS * 1000000ull) {
            sweep(run, now);
            swept = now;
        }
        wait_for_events(run, s);
    }
}

static void count_leftovers(struct run *run, const struct schedule *s)
{
    uint64_t now = now_ns();
    for (int i = 0; i < run->options.connections; i++)
        if (run->connections[i].busy) {
            run->counters.unfinished++;
            count_wait(run, run->connections[i].scheduled, now);
        }
    for (uint64_t i = s->begun; i < s->released; i++) {
        run->counters.unsent++;
        count_wait(run, s->due[i], now);
    }
}

static struct run prepare_run(const struct options *o)
{
    struct run run = {.options = *o, .requests = load_requests(o), .ledger = open_ledger(o->ledger_file)};
    size_t connections = (size_t)o->connections;
    run.connections = calloc(connections, sizeof *run.connections);
    run.idle = calloc(connections, sizeof *run.idle);
    if (!run.connections || !run.idle) refuse("out of memory");
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    run.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = TIMER_EVENT};
    if (run.epoll < 0 || run.timer < 0 || epoll_ctl(run.epoll, EPOLL_CTL_ADD, run.timer, &e))
        refuse("epoll: %s", strerror(errno));
    for (size_t i = 0; i < connections; i++) {
        run.connections[i].fd = -1;
        make_idle(&run, &run.connections[i]);
    }
    return run;
}

int main(int argc, char **argv)
{
    struct options o = parse_options(argc, argv);
    struct run run = prepare_run(&o);
    struct schedule s = {.random = o.seed * 2654435769ull + 1, .limit = UINT64_MAX};
    bool bounded_by_bodies = !o.repeat_bodies && (!o.max_requests || o.max_requests > run.requests.count);
    if (o.max_requests) s.limit = o.max_requests;
    if (bounded_by_bodies) s.limit = run.requests.count;
    s.most_bodies = s.limit;
    if (o.abandon_ms > 0) s.limit = UINT64_MAX; // more may be due than are ever sent
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);

    uint64_t start = now_ns();
    run.warm_at = start + (uint64_t)(o.warmup_seconds * 1e9);
    run.stop_at = run.warm_at + (uint64_t)(o.seconds * 1e9);
    run.end_at = run.stop_at + (uint64_t)(o.then_seconds * 1e9);
    s.next_due = (double)start;
    drive(&run, &s);
    flush_ledger(&run.ledger);
    count_leftovers(&run, &s);

    bool used_up = s.released == s.limit || s.used == s.most_bodies;
    bool ended_early = used_up || interrupted || run.counters.gave_up;
    uint64_t window_end = ended_early && run.last_answer_at < run.stop_at ? run.last_answer_at : run.stop_at;
    double window = window_end > run.warm_at ? (double)(window_end - run.warm_at) / 1e9 : 0;
    run.counters.interrupted = interrupted;
    run.counters.bodies_exhausted = bounded_by_bodies && used_up && run.last_answer_at < run.end_at;
    print_report(&o, &run.counters, window);
    return 0;
}
