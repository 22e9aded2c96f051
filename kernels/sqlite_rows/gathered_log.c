/* A VFS of SQLite ("OS Interface", sqlite.org/vfs.html) in front of the usual one, for sessions whose commits wait for the disk.
 *
 * A commit writes each page to the write-ahead log in two calls of the system, the header of the frame and the page, some
 * 4 us each on ext4: a fifth to a third of a commit's processor time. All frames of a commit lie one behind the other and are of use
 * to nobody until the log is synced; so they are held here and handed over in one call, before that.
 *
 * Only a thread that says so (gathered_log_hold) may hold anything back, and only in a session with synchronous=FULL, where
 * SQLite syncs the log before it lets others see the commit (sqlite3WalFrames in wal.c). What it writes to the log between that
 * sync and the end of the commit is not held: it may be padding that is seen as well. What is held when the commit is over
 * belongs to one that failed in between, and its place in the log may be another's by now: it is dropped. Whatever else
 * is done with the log during the commit hands over first what is held. All other files are opened by the usual VFS and never
 * seen here.
 */
#include "gathered_log.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, ERROR = 1, NOMEM = 7 };
enum { OPEN_WAL = 0x00080000 };
enum { MOST_HELD = 127 << 10 }; /* the usual VFS writes less than 128 KiB at once (seekAndWriteFd in os_unix.c) */

typedef struct file file;
typedef struct vfs vfs;

/* Version 1: SQLite asks a log for no more. */
typedef struct {
    int version;
    int (*close)(file *);
    int (*read)(file *, void *, int, int64_t);
    int (*write)(file *, const void *, int, int64_t);
    int (*truncate)(file *, int64_t);
    int (*sync)(file *, int);
    int (*file_size)(file *, int64_t *);
    int (*lock)(file *, int);
    int (*unlock)(file *, int);
    int (*check_reserved_lock)(file *, int *);
    int (*file_control)(file *, int, void *);
    int (*sector_size)(file *);
    int (*device_characteristics)(file *);
} file_methods;

struct file {
    const file_methods *methods;
};

struct vfs { /* version 3; an earlier one ends before the functions that it does not have */
    int version, file_bytes, longest_path;
    vfs *next;
    const char *name;
    void *data;
    int (*open)(vfs *, const char *, file *, int, int *);
    void (*others[15])(void); /* xDelete, xAccess, ...; the last four came with versions 2 and 3 */
};

typedef struct {
    file base;
    int held_bytes;
    int64_t held_from; /* where in the log they belong */
    char *held;
} log_file; /* the usual VFS's file lies behind it */

static vfs *usual, gathered;
static _Thread_local int may_hold;
static _Thread_local log_file *holder; /* the log for which this thread holds something */
static _Thread_local int64_t asked, made; /* writes to logs while they might be held, and what became of them */

static void drop(log_file *log) {
    log->held_bytes = 0;
    if (holder == log) holder = NULL;
}

/* To be called before and after a commit. */
void gathered_log_hold(int whether) {
    may_hold = whether;
    if (holder) drop(holder);
}

/* For tests: how many writes a log was asked for while this thread might hold them, and how many became of these. */
void gathered_log_counts(int64_t *out) {
    out[0] = asked;
    out[1] = made;
}

static file *real(file *of) { return (file *)((char *)of + sizeof(log_file)); }

/* Hand over what is held. On a failure it is gone: SQLite takes the commit back that it belonged to. */
static int hand_over(file *of) {
    log_file *log = (log_file *)of;
    if (!log->held_bytes) return OK;
    int bytes = log->held_bytes;
    drop(log);
    made++;
    return real(of)->methods->write(real(of), log->held, bytes, log->held_from);
}

static int log_write(file *of, const void *from, int bytes, int64_t at) {
    log_file *log = (log_file *)of;
    if (may_hold) asked++;
    if (!may_hold || (holder && holder != log) || bytes > MOST_HELD || (!log->held && !(log->held = malloc(MOST_HELD)))) {
        int code = hand_over(of);
        made += may_hold;
        return code == OK ? real(of)->methods->write(real(of), from, bytes, at) : code;
    }
    if (at != log->held_from + log->held_bytes || log->held_bytes + bytes > MOST_HELD) {
        int code = hand_over(of);
        if (code != OK) return code;
    }
    if (!log->held_bytes) log->held_from = at;
    holder = log;
    memcpy(log->held + log->held_bytes, from, (size_t)bytes);
    log->held_bytes += bytes;
    return OK;
}

#define BEHIND_WHAT_IS_HELD(call)                                                                                                \
    int code = hand_over(of);                                                                                                    \
    return code == OK ? real(of)->methods->call : code

static int log_read(file *of, void *to, int bytes, int64_t at) { BEHIND_WHAT_IS_HELD(read(real(of), to, bytes, at)); }
static int log_truncate(file *of, int64_t bytes) { BEHIND_WHAT_IS_HELD(truncate(real(of), bytes)); }
static int log_size(file *of, int64_t *bytes) { BEHIND_WHAT_IS_HELD(file_size(real(of), bytes)); }
static int log_control(file *of, int what, void *with) { BEHIND_WHAT_IS_HELD(file_control(real(of), what, with)); }
static int log_lock(file *of, int level) { BEHIND_WHAT_IS_HELD(lock(real(of), level)); }
static int log_unlock(file *of, int level) { BEHIND_WHAT_IS_HELD(unlock(real(of), level)); }
static int log_reserved(file *of, int *whether) { return real(of)->methods->check_reserved_lock(real(of), whether); }
static int log_sector(file *of) { return real(of)->methods->sector_size(real(of)); }
static int log_device(file *of) { return real(of)->methods->device_characteristics(real(of)); }

static int log_sync(file *of, int how) {
    may_hold = 0;
    BEHIND_WHAT_IS_HELD(sync(real(of), how));
}

static int log_close(file *of) {
    log_file *log = (log_file *)of;
    drop(log);
    free(log->held);
    log->held = NULL;
    return real(of)->methods->close(real(of));
}

static const file_methods log_methods = {1,           log_close, log_read, log_write,  log_truncate, log_sync,    log_size,
                                         log_lock,    log_unlock, log_reserved, log_control, log_sector, log_device};

static int open_file(vfs *of, const char *name, file *opened, int flags, int *out_flags) {
    (void)of;
    if (!(flags & OPEN_WAL)) return usual->open(usual, name, opened, flags, out_flags);
    memset(opened, 0, sizeof(log_file) + sizeof(file));
    int code = usual->open(usual, name, real(opened), flags, out_flags);
    if (code == OK) opened->methods = &log_methods;
    else if (real(opened)->methods) real(opened)->methods->close(real(opened));
    return code;
}

/* Make the VFS known to SQLite by a name; find and add are sqlite3_vfs_find and sqlite3_vfs_register. Returns SQLite's code. */
int gathered_log_register(vfs *(*find)(const char *), int (*add)(vfs *, int), const char *name) {
    static const size_t OTHERS[] = {0, 11, 12, 15}; /* by version */
    if (gathered.open) return OK; /* it is known already, and in SQLite's list */
    if (!(usual = find(NULL)) || usual->version < 1) return ERROR;
    int version = usual->version < 3 ? usual->version : 3;
    /* All else is the usual VFS's: its functions find what they need in the same places of a copy. */
    memset(&gathered, 0, sizeof gathered);
    memcpy(&gathered, usual, offsetof(vfs, others) + OTHERS[version] * sizeof gathered.others[0]);
    gathered.version = version;
    gathered.next = NULL;
    gathered.name = name;
    gathered.file_bytes = usual->file_bytes + (int)sizeof(log_file);
    gathered.open = open_file;
    return add(&gathered, 0);
}
