// The bytes to send: one shared head, and the bodies of a file that is mapped, not copied.
#ifndef LOADGEN_REQUESTS_H
#define LOADGEN_REQUESTS_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"

struct body {
    const char *bytes;
    size_t length;
};

struct requests {
    struct body *bodies;
    size_t count, capacity;
    char *head; // request line and headers, up to and with "Content-Length: "
    size_t head_length;
};

// Returns the file's bytes, read-only; `*length` is their number. An empty file is refused.
static const char *map_file(const char *name, size_t *length)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (fd < 0 || fstat(fd, &about)) refuse("cannot open %s: %s", name, strerror(errno));
    if (about.st_size == 0) refuse("%s is empty", name);
    *length = (size_t)about.st_size;
    void *bytes = mmap(NULL, *length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (bytes == MAP_FAILED) refuse("cannot map %s: %s", name, strerror(errno));
    close(fd);
    return bytes;
}

static void *resized(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (!memory) refuse("out of memory");
    return memory;
}

static void add_body(struct requests *r, const char *bytes, size_t length)
{
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? 2 * r->capacity : 1024;
        r->bodies = resized(r->bodies, r->capacity * sizeof *r->bodies);
    }
    r->bodies[r->count++] = (struct body){bytes, length};
}

static void read_lines(struct requests *r, const char *at, const char *end)
{
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;
        if (stop > at) add_body(r, at, (size_t)(stop - at));
        at = stop + 1;
    }
}

static void read_frames(struct requests *r, const char *at, const char *end)
{
    while (at < end) {
        if (end - at < 4) refuse("the bodies file ends inside a length");
        const unsigned char *u = (const unsigned char *)at;
        size_t length = u[0] | (size_t)u[1] << 8 | (size_t)u[2] << 16 | (size_t)u[3] << 24;
        at += 4;
        if (length > (size_t)(end - at)) refuse("the bodies file ends inside a body");
        add_body(r, at, length);
        at += length;
    }
}

// The framing of a request belongs to the generator; a header that changes it would make every answer wrong.
static void check_header(const char *line, size_t length)
{
    static const char *const own[] = {"host:", "content-length:", "content-type:",
                                      "transfer-encoding:", "connection:"};
    if (!memchr(line, ':', length) || memchr(line, '\r', length))
        refuse("each line of the headers file must be 'Name: value'");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (!strncasecmp(line, own[i], strlen(own[i])))
            refuse("the headers file must not set %.*s", (int)strlen(own[i]) - 1, own[i]);
}

static void add_headers(FILE *head, const char *name)
{
    struct requests lines = {0};
    size_t length;
    const char *bytes = map_file(name, &length);
    read_lines(&lines, bytes, bytes + length);
    for (size_t i = 0; i < lines.count; i++) {
        check_header(lines.bodies[i].bytes, lines.bodies[i].length);
        fprintf(head, "%.*s\r\n", (int)lines.bodies[i].length, lines.bodies[i].bytes);
    }
    free(lines.bodies);
}

static struct requests load_requests(const struct options *o)
{
    struct requests r = {0};
    size_t length;
    const char *bytes = map_file(o->bodies_file, &length);
    if (o->framed_bodies)
        read_frames(&r, bytes, bytes + length);
    else
        read_lines(&r, bytes, bytes + length);
    if (r.count == 0) refuse("%s holds no body", o->bodies_file);
    FILE *head = open_memstream(&r.head, &r.head_length);
    if (!head) refuse("out of memory");
    fprintf(head, "%s %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: %s\r\n", o->method, o->path,
            o->host, ntohs(o->address.sin_port), o->content_type);
    if (o->headers_file) add_headers(head, o->headers_file);
    fputs("Content-Length: ", head);
    fclose(head);
    return r;
}

#endif
