// Command line of the load generator. Every wrong value ends the program with status 2 and one line that says why.
#ifndef LOADGEN_OPTIONS_H
#define LOADGEN_OPTIONS_H

#include <arpa/inet.h>
#include <getopt.h>
#include <math.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct sockaddr_in address;
    const char *host, *path, *method, *content_type;
    const char *bodies_file, *headers_file, *ledger_file;
    bool framed_bodies, repeat_bodies, poisson;
    bool ledger_at_end, sliding_windows;
    int connections;
    double rate;           // requests/s of the open loop; 0 is the closed loop
    double seconds;        // measured window, after the warm-up
    double then_rate, then_seconds; // open loop: another rate after the measured window
    double abandon_ms;     // open loop: a request that found no connection for so long is never sent; 0: it waits
    double warmup_seconds; // sent and answered as usual, left out of rate and latency
    double timeout_seconds;
    double reconnect_seconds; // how long nobody may answer a connect before the run is given up
    unsigned long long max_requests; // 0: bounded by the time and the bodies alone
    unsigned long long seed;
};

static const char USAGE[] =
    "usage: loadgen --port N --path /p --bodies FILE --seconds S [options]\n"
    "  --host 127.0.0.1       loopback only; any other address is refused\n"
    "  --method POST          --content-type application/json\n"
    "  --headers FILE         extra request headers, one 'Name: value' a line\n"
    "  --body-format lines    one body a line; 'framed': 4-byte little-endian length, then the body\n"
    "  --repeat               start again at the first body (default: stop after the last)\n"
    "  --connections 64       --rate 0 (closed loop) or requests/s (open loop)\n"
    "  --arrivals poisson     or 'constant'; --seed 1\n"
    "  --then-rate 0          requests/s for the --then-seconds 0 after the measured window (open loop)\n"
    "  --abandon-ms 0         give up a request that waited so long for a free connection (open loop; 0: never)\n"
    "  --windows              also report each second, in steps of a tenth, from the end of the warm-up\n"
    "  --warmup 0             seconds before the measured window\n"
    "  --requests 0           stop after that many requests (0: no such bound)\n"
    "  --timeout 10           seconds for one answer, and for the answers still due at the end\n"
    "  --reconnect 1          give up after that many seconds without any successful connect\n"
    "  --ledger FILE          append 'ordinal status' for each answer read in full, synced to disk\n"
    "  --ledger-at-end        write the ledger once, after the run\n";

__attribute__((noreturn, format(printf, 1, 2))) static void refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static double number_option(const char *name, const char *text, double at_least, double at_most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value) || value < at_least || value > at_most)
        refuse("--%s must be a number from %g to %g; got '%s'", name, at_least, at_most, text);
    return value;
}

static bool choice_option(const char *name, const char *text, const char *yes, const char *no)
{
    if (strcmp(text, yes) && strcmp(text, no))
        refuse("--%s must be '%s' or '%s'; got '%s'", name, yes, no, text);
    return !strcmp(text, yes);
}

static void require_one_token(const char *name, const char *text)
{
    if (!text || !*text) refuse("--%s is required", name);
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c == 127) refuse("--%s must not hold spaces or control characters", name);
}

// A load generator that can be pointed at any host is a weapon; this one only reaches its own machine.
static void set_loopback_address(struct options *o, int port)
{
    o->address.sin_family = AF_INET;
    o->address.sin_port = htons((unsigned short)port);
    if (inet_pton(AF_INET, o->host, &o->address.sin_addr) != 1 ||
        ntohl(o->address.sin_addr.s_addr) >> 24 != 127)
        refuse("--host must be a loopback address, 127.x.x.x; got '%s'", o->host);
}

static struct options parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"path", 1, 0, 'u'}, {"method", 1, 0, 'm'},
        {"content-type", 1, 0, 't'}, {"bodies", 1, 0, 'b'}, {"body-format", 1, 0, 'f'},
        {"headers", 1, 0, 'H'}, {"ledger", 1, 0, 'l'}, {"connections", 1, 0, 'c'},
        {"rate", 1, 0, 'r'}, {"arrivals", 1, 0, 'a'}, {"seconds", 1, 0, 's'},
        {"warmup", 1, 0, 'w'}, {"requests", 1, 0, 'n'}, {"timeout", 1, 0, 'T'},
        {"reconnect", 1, 0, 'R'}, {"seed", 1, 0, 'S'}, {"repeat", 0, 0, 'o'},
        {"then-rate", 1, 0, 'x'}, {"then-seconds", 1, 0, 'y'}, {"abandon-ms", 1, 0, 'A'},
        {"windows", 0, 0, 'W'}, {"ledger-at-end", 0, 0, 'L'}, {0, 0, 0, 0}};
    struct options o = {.host = "127.0.0.1", .method = "POST", .content_type = "application/json",
                        .poisson = true, .connections = 64, .timeout_seconds = 10,
                        .reconnect_seconds = 1, .seed = 1};
    int port = 0, letter, at = 0;
    while ((letter = getopt_long(argc, argv, "", known, &at)) != -1) {
        const char *name = letter == '?' ? "" : known[at].name;
        switch (letter) {
        case 'h': o.host = optarg; break;
        case 'p': port = (int)number_option(name, optarg, 1, 65535); break;
        case 'u': o.path = optarg; break;
        case 'm': o.method = optarg; break;
        case 't': o.content_type = optarg; break;
        case 'b': o.bodies_file = optarg; break;
        case 'f': o.framed_bodies = choice_option(name, optarg, "framed", "lines"); break;
        case 'H': o.headers_file = optarg; break;
        case 'l': o.ledger_file = optarg; break;
        case 'c': o.connections = (int)number_option(name, optarg, 1, 10000); break;
        case 'r': o.rate = number_option(name, optarg, 0, 1e6); break;
        case 'a': o.poisson = choice_option(name, optarg, "poisson", "constant"); break;
        case 's': o.seconds = number_option(name, optarg, 0.001, 3600); break;
        case 'w': o.warmup_seconds = number_option(name, optarg, 0, 3600); break;
        case 'n': o.max_requests = (unsigned long long)number_option(name, optarg, 0, 1e12); break;
        case 'T': o.timeout_seconds = number_option(name, optarg, 0.001, 600); break;
        case 'R': o.reconnect_seconds = number_option(name, optarg, 0, 600); break;
        case 'S': o.seed = (unsigned long long)number_option(name, optarg, 0, 1e15); break;
        case 'o': o.repeat_bodies = true; break;
        case 'x': o.then_rate = number_option(name, optarg, 0, 1e6); break;
        case 'y': o.then_seconds = number_option(name, optarg, 0, 3600); break;
        case 'A': o.abandon_ms = number_option(name, optarg, 0, 600000); break;
        case 'W': o.sliding_windows = true; break;
        case 'L': o.ledger_at_end = true; break;
        default: fputs(USAGE, stderr); exit(2);
        }
    }
    if (optind != argc) refuse("unexpected argument '%s'", argv[optind]);
    if (!port) refuse("--port is required");
    if (!o.bodies_file) refuse("--bodies is required");
    if (o.seconds == 0) refuse("--seconds is required");
    if ((o.then_seconds > 0 || o.abandon_ms > 0) && o.rate == 0)
        refuse("--then-seconds and --abandon-ms need a --rate");
    if (o.then_seconds > 0 && o.then_rate == 0) refuse("--then-seconds needs a --then-rate");
    require_one_token("path", o.path);
    if (o.path[0] != '/') refuse("--path must start with '/'");
    require_one_token("method", o.method);
    if (strpbrk(o.content_type, "\r\n")) refuse("--content-type must be one line");
    set_loopback_address(&o, port);
    return o;
}

#endif
