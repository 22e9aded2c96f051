// One run: its connections, and what happens to a request between its schedule and its answer.
#ifndef LOADGEN_RUN_H
#define LOADGEN_RUN_H

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "ledger.h"
#include "report.h"
#include "response.h"

#define RETRY_CONNECT_NS 20000000ull

struct connection {
    int fd;    // -1: closed; opened when a request needs it
    bool open; // the connect has succeeded
    bool busy; // holds a request that is neither answered nor lost
    uint64_t ordinal, scheduled, started, retry_at;
    char *out; // the request being sent
    size_t out_length, out_capacity, out_sent;
    struct response answer;
};

struct run {
    struct options options;
    struct requests requests;
    struct ledger ledger;
    struct counters counters;
    struct connection *connections;
    int *idle; // ring of free connections, the longest idle first: none grows stale unused
    size_t idle_head, idle_count;
    int epoll, timer;
    bool showed_failure;
    uint64_t warm_at, stop_at; // the measured window
    uint64_t end_at;           // of what follows it at another rate; otherwise stop_at
    uint64_t last_answer_at, unreachable_since;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void make_idle(struct run *run, struct connection *c)
{
    size_t size = (size_t)run->options.connections;
    c->busy = false;
    run->idle[(run->idle_head + run->idle_count++) % size] = (int)(c - run->connections);
}

static void close_connection(struct connection *c)
{
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->open = false;
}

static bool was_due_in_window(const struct run *run, uint64_t scheduled)
{
    return scheduled >= run->warm_at && scheduled < run->stop_at;
}

// A request that got no answer took at least until now; leaving it out would flatter the percentiles.
static void count_wait(struct run *run, uint64_t scheduled, uint64_t now)
{
    if (was_due_in_window(run, scheduled)) add_sample(&run->counters.latency, now - scheduled);
}

static void slice_answer(struct run *run, const struct connection *c, bool is_ok, uint64_t now)
{
    if (!run->options.sliding_windows || now < run->warm_at) return;
    struct slice *s = slice_at(&run->counters, now - run->warm_at);
    if (!is_ok) {
        s->other++;
        return;
    }
    s->ok++;
    add_sample(&s->service, now - c->started);
    add_sample(&s->latency, now - c->scheduled);
}

static void lose_request(struct run *run, struct connection *c, uint64_t *counter)
{
    (*counter)++;
    uint64_t now = now_ns();
    count_wait(run, c->scheduled, now);
    if (run->options.sliding_windows && now >= run->warm_at) slice_at(&run->counters, now - run->warm_at)->lost++;
    close_connection(c);
    make_idle(run, c);
}

static void count_answer(struct run *run, struct connection *c)
{
    struct counters *n = &run->counters;
    int status = c->answer.status;
    uint64_t now = now_ns();
    bool is_ok = status >= 200 && status <= 299;
    if (!is_ok && !run->showed_failure) {
        fprintf(stderr, "loadgen: first answer that is not 2xx: %d %.*s\n", status,
                (int)c->answer.excerpt_length, c->answer.excerpt);
        run->showed_failure = true;
    }
    n->acknowledged++;
    n->by_status[status]++;
    run->last_answer_at = now;
    if (now >= run->warm_at && now < run->stop_at) {
        n->in_window++;
        n->ok_in_window += is_ok;
    }
    count_wait(run, c->scheduled, now);
    if (was_due_in_window(run, c->scheduled)) {
        if (is_ok) add_sample(&n->ok_latency, now - c->scheduled);
        add_sample(is_ok ? &n->ok_service : &n->refused_service, now - c->started);
    }
    slice_answer(run, c, is_ok, now);
    note_answer(&run->ledger, c->ordinal, status);
    // An answer before the end of the request (413, say) leaves the rest of it in the way of the next one.
    if (c->answer.closes || c->out_sent < c->out_length) close_connection(c);
    make_idle(run, c);
}

static void watch(struct run *run, struct connection *c, int operation, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.u32 = (uint32_t)(c - run->connections)};
    if (epoll_ctl(run->epoll, operation, c->fd, &e)) refuse("epoll: %s", strerror(errno));
}

static void connect_failed(struct run *run, struct connection *c)
{
    uint64_t now = now_ns();
    run->counters.connect_errors++;
    close_connection(c);
    c->retry_at = now + RETRY_CONNECT_NS; // nothing was sent, so the same request may try again
    if (!run->unreachable_since) run->unreachable_since = now;
}

static void open_connection(struct run *run, struct connection *c)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) refuse("cannot open a socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const struct sockaddr *to = (const struct sockaddr *)&run->options.address;
    if (connect(c->fd, to, sizeof run->options.address) && errno != EINPROGRESS) {
        connect_failed(run, c);
        return;
    }
    watch(run, c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void send_rest(struct run *run, struct connection *c)
{
    if (c->out_sent == 0) run->counters.sent++;
    while (c->out_sent < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
        if (n > 0) {
            c->out_sent += (size_t)n;
        } else if (errno == EAGAIN) {
            watch(run, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        } else {
            lose_request(run, c, &run->counters.disconnects);
            return;
        }
    }
}

static void connect_finished(struct run *run, struct connection *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        connect_failed(run, c);
        return;
    }
    c->open = true;
    run->unreachable_since = 0;
    watch(run, c, EPOLL_CTL_MOD, EPOLLIN);
    send_rest(run, c);
}

static void read_answer(struct run *run, struct connection *c)
{
    static char bytes[1 << 18];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (!c->busy) { // an idle connection: closed by the server, or bytes nobody asked for
        if (n > 0) run->counters.malformed++;
        close_connection(c);
        return;
    }
    if (n <= 0) {
        if (n == 0 && response_closed(&c->answer)) count_answer(run, c);
        else lose_request(run, c, &run->counters.disconnects);
        return;
    }
    bool exact = response_take(&c->answer, bytes, (size_t)n) == (size_t)n;
    if (c->answer.state == MALFORMED || (c->answer.state == COMPLETE && !exact))
        lose_request(run, c, &run->counters.malformed);
    else if (c->answer.state == COMPLETE)
        count_answer(run, c);
}

static void on_event(struct run *run, struct connection *c, uint32_t events)
{
    if (c->fd >= 0 && !c->open) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) connect_finished(run, c);
        return;
    }
    if (events & EPOLLOUT) {
        watch(run, c, EPOLL_CTL_MOD, EPOLLIN);
        if (c->busy && c->out_sent < c->out_length) send_rest(run, c);
    }
    if (c->fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_answer(run, c);
}

static void write_request(struct run *run, struct connection *c)
{
    const struct requests *r = &run->requests;
    const struct body *body = &r->bodies[c->ordinal % r->count];
    size_t needed = r->head_length + 32 + body->length;
    if (c->out_capacity < needed) c->out = resized(c->out, c->out_capacity = needed);
    memcpy(c->out, r->head, r->head_length);
    size_t at = r->head_length;
    at += (size_t)snprintf(c->out + at, 32, "%zu\r\n\r\n", body->length);
    memcpy(c->out + at, body->bytes, body->length);
    c->out_length = at + body->length;
    c->out_sent = 0;
}

// Gives the longest idle connection the request `ordinal`, which was due at `scheduled`.
static void begin_request(struct run *run, uint64_t ordinal, uint64_t scheduled)
{
    struct connection *c = &run->connections[run->idle[run->idle_head]];
    run->idle_head = (run->idle_head + 1) % (size_t)run->options.connections;
    run->idle_count--;
    c->busy = true;
    c->ordinal = ordinal;
    c->scheduled = scheduled;
    c->started = now_ns();
    if (was_due_in_window(run, scheduled)) add_sample(&run->counters.send_delay, c->started - scheduled);
    response_begin(&c->answer);
    write_request(run, c);
    if (c->open) send_rest(run, c);
    else open_connection(run, c);
}

#endif
