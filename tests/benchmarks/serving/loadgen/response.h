// Incremental reader of HTTP/1.1 answers: finds where each one ends, keeps only what the report needs.
#ifndef LOADGEN_RESPONSE_H
#define LOADGEN_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum response_state {
    STATUS_LINE, HEADERS, // line by line
    SIZED_BODY, BODY_UNTIL_CLOSE,
    CHUNK_SIZE, CHUNK_BYTES, CHUNK_END, TRAILERS,
    COMPLETE, MALFORMED
};

struct response {
    enum response_state state;
    int status;
    bool chunked, sized, closes; // closes: the server will close the connection after this answer
    uint64_t left;               // body or chunk bytes still to come
    size_t received;             // bytes of this answer so far, head included
    size_t line_length;
    char line[4096];
    size_t excerpt_length;
    char excerpt[400]; // start of the body, shown for the first answer that is not 2xx
};

static void response_begin(struct response *r)
{
    r->state = STATUS_LINE;
    r->status = 0;
    r->chunked = r->sized = r->closes = false;
    r->left = r->received = r->line_length = r->excerpt_length = 0;
}

static bool parse_number(const char *text, int base, const char *may_follow, uint64_t *value)
{
    char *end;
    while (*text == ' ' || *text == '\t') text++;
    if (*text == '-' || *text == '+' || !*text) return false;
    *value = strtoull(text, &end, base);
    return end != text && (!*end || strchr(may_follow, *end));
}

static void status_line(struct response *r)
{
    bool known = !strncmp(r->line, "HTTP/1.1 ", 9) || !strncmp(r->line, "HTTP/1.0 ", 9);
    r->closes = known && r->line[7] == '0';
    r->status = known ? atoi(r->line + 9) : 0;
    r->state = r->status >= 100 && r->status <= 599 ? HEADERS : MALFORMED;
}

static void end_of_headers(struct response *r)
{
    if (r->status < 200) {
        response_begin(r); // an interim answer; the real one follows
    } else if (r->status == 204 || r->status == 304) {
        r->state = COMPLETE;
    } else if (r->chunked) {
        r->state = CHUNK_SIZE;
    } else if (r->sized) {
        r->state = r->left ? SIZED_BODY : COMPLETE;
    } else {
        r->closes = true;
        r->state = BODY_UNTIL_CLOSE;
    }
}

static void header_line(struct response *r)
{
    const char *line = r->line;
    if (!*line) {
        end_of_headers(r);
    } else if (!strncasecmp(line, "content-length:", 15)) {
        if (!parse_number(line + 15, 10, " \t", &r->left)) r->state = MALFORMED;
        r->sized = true;
    } else if (!strncasecmp(line, "transfer-encoding:", 18)) {
        r->chunked = strcasestr(line + 18, "chunked") != NULL;
    } else if (!strncasecmp(line, "connection:", 11)) {
        if (strcasestr(line + 11, "close")) r->closes = true;
        if (strcasestr(line + 11, "keep-alive")) r->closes = false;
    }
}

static void complete_line(struct response *r)
{
    if (r->line_length && r->line[r->line_length - 1] == '\r') r->line_length--;
    r->line[r->line_length] = 0;
    r->line_length = 0;
    switch (r->state) {
    case STATUS_LINE: status_line(r); break;
    case HEADERS: header_line(r); break;
    case CHUNK_SIZE:
        if (!parse_number(r->line, 16, "; \t", &r->left)) r->state = MALFORMED;
        else r->state = r->left ? CHUNK_BYTES : TRAILERS;
        break;
    case CHUNK_END: r->state = *r->line ? MALFORMED : CHUNK_SIZE; break;
    default: // TRAILERS
        if (!*r->line) r->state = COMPLETE;
    }
}

static size_t take_line(struct response *r, const char *bytes, size_t length)
{
    const char *newline = memchr(bytes, '\n', length);
    size_t part = newline ? (size_t)(newline - bytes) : length;
    if (r->line_length + part >= sizeof r->line) {
        r->state = MALFORMED;
        return length;
    }
    memcpy(r->line + r->line_length, bytes, part);
    r->line_length += part;
    if (!newline) return length;
    complete_line(r);
    return part + 1;
}

static size_t take_body(struct response *r, const char *bytes, size_t length)
{
    size_t part = r->state == BODY_UNTIL_CLOSE || length < r->left ? length : (size_t)r->left;
    size_t room = sizeof r->excerpt - 1 - r->excerpt_length;
    size_t kept = part < room ? part : room;
    memcpy(r->excerpt + r->excerpt_length, bytes, kept);
    r->excerpt_length += kept;
    if (r->state == BODY_UNTIL_CLOSE) return part;
    r->left -= part;
    if (!r->left) r->state = r->state == SIZED_BODY ? COMPLETE : CHUNK_END;
    return part;
}

// Reads up to `length` bytes; stops at the end of the answer. Returns how many were taken.
static size_t response_take(struct response *r, const char *bytes, size_t length)
{
    size_t taken = 0;
    while (taken < length && r->state != COMPLETE && r->state != MALFORMED) {
        bool in_body = r->state == SIZED_BODY || r->state == CHUNK_BYTES ||
                       r->state == BODY_UNTIL_CLOSE;
        taken += in_body ? take_body(r, bytes + taken, length - taken)
                         : take_line(r, bytes + taken, length - taken);
    }
    r->received += taken;
    return taken;
}

// The server closed the connection: true if that completes the answer.
static bool response_closed(struct response *r)
{
    if (r->state == BODY_UNTIL_CLOSE) r->state = COMPLETE;
    return r->state == COMPLETE;
}

#endif
