// The list of acknowledged requests on disk, so that a crash test knows what the server had promised.
#ifndef LOADGEN_LEDGER_H
#define LOADGEN_LEDGER_H

#include <inttypes.h>
#include <stdint.h>
#include <unistd.h>

#include "requests.h"

struct ledger {
    int fd; // -1: no ledger was asked for
    char *records;
    size_t length, capacity;
};

static struct ledger open_ledger(const char *name)
{
    struct ledger l = {.fd = -1};
    if (!name) return l;
    l.fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (l.fd < 0) refuse("cannot open %s: %s", name, strerror(errno));
    return l;
}

// Records one answer that was read in full. It is on disk after the next flush_ledger.
static void note_answer(struct ledger *l, uint64_t ordinal, int status)
{
    if (l->fd < 0) return;
    if (l->capacity - l->length < 64) {
        l->capacity = l->capacity ? 2 * l->capacity : 1 << 16;
        l->records = resized(l->records, l->capacity);
    }
    l->length += (size_t)snprintf(l->records + l->length, 64, "%" PRIu64 " %d\n", ordinal, status);
}

// One write and one sync for all answers of one turn of the event loop: a sync for each would cap the rate.
static void flush_ledger(struct ledger *l)
{
    size_t done = 0;
    while (done < l->length) {
        ssize_t wrote = write(l->fd, l->records + done, l->length - done);
        if (wrote < 0) refuse("cannot write the ledger: %s", strerror(errno));
        done += (size_t)wrote;
    }
    if (done && fdatasync(l->fd)) refuse("cannot sync the ledger: %s", strerror(errno));
    l->length = 0;
}

#endif
