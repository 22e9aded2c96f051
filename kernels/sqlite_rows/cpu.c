/* Rows of kernels/table_rows into tables of SQLite, all of a call in one transaction, in the session of the caller; the contract
 * is in __init__.py.
 *
 * SQLite is called by the addresses that Python found in the very library that its own sqlite3 module uses: another copy of
 * SQLite would not know that module's sessions. So nothing of SQLite is included or linked here.
 */
#include <stdint.h>
#include <string.h>

#include "../cpu.h"
#include "gathered_log.h"

enum type { SMALLINT, INTEGER, BIGINT, DOUBLE, BOOLEAN, TEXT, BYTEA, TIMESTAMPTZ };
enum { OK = 0, DONE = 101, UTF8 = 1, DIRECT_ONLY = 0x80000, PERSISTENT = 1 }; /* of SQLite */
enum { SIGNATURE_BYTES = 19, MESSAGE_BYTES = 256, MOMENT_BYTES = 26 };
enum { MOST_MOMENTS = 16 }; /* columns of times in a table */
#define EPOCH_US 946684800000000LL /* from 1970 to 2000 */
#define DAY_US 86400000000LL

typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt statement;
typedef struct sqlite3_context context;
typedef struct sqlite3_value value;
typedef struct sqlite3_mutex mutex;

/* kernels/sqlite_rows/native_writer.py has the same fields. */
typedef struct {
    int (*auto_extension)(void (*)(void));
    int (*create_function_v2)(sqlite3 *, const char *, int, int, void *, void (*)(context *, int, value **),
                              void (*)(context *, int, value **), void (*)(context *), void (*)(void *));
    sqlite3 *(*context_db_handle)(context *);
    void (*result_int64)(context *, int64_t);
    int (*prepare_v3)(sqlite3 *, const char *, int, unsigned, statement **, const char **);
    int (*step)(statement *);
    int (*reset)(statement *);
    int (*clear_bindings)(statement *);
    int (*finalize)(statement *);
    int (*bind_text)(statement *, int, const char *, int, void (*)(void *));
    int (*bind_blob)(statement *, int, const void *, int, void (*)(void *));
    int (*bind_int64)(statement *, int, int64_t);
    int (*bind_double)(statement *, int, double);
    int (*bind_null)(statement *, int);
    int (*extended_errcode)(sqlite3 *);
    const char *(*errmsg)(sqlite3 *);
    int (*get_autocommit)(sqlite3 *);
    mutex *(*db_mutex)(sqlite3 *);
    void (*mutex_enter)(mutex *);
    void (*mutex_leave)(mutex *);
} sqlite_calls;

typedef struct {
    statement *insert;
    const uint8_t *types;
    int64_t columns, rows;
    const uint8_t *stream;
} table;

static sqlite_calls sqlite;

int64_t sqlite_rows_size(void) { return (int64_t)(sizeof(sqlite_calls) * 1000 + sizeof(table)); }

/* --- the session ------------------------------------------------------------------------------------------------------- */

static void give_handle(context *of, int count, value **values) {
    (void)count;
    (void)values;
    sqlite.result_int64(of, (int64_t)(intptr_t)sqlite.context_db_handle(of));
}

static int add_handle_function(sqlite3 *db, const char **error, const void *api) {
    (void)error;
    (void)api;
    return sqlite.create_function_v2(db, "session_handle", 0, UTF8 | DIRECT_ONLY, NULL, give_handle, NULL, NULL, NULL);
}

/* From now on each session that this library opens has the function session_handle(). Returns SQLite's code. */
int sqlite_rows_register(const sqlite_calls *calls) {
    sqlite = *calls;
    return sqlite.auto_extension((void (*)(void))add_handle_function);
}

int sqlite_rows_prepare(sqlite3 *db, const char *sql, int size, statement **found) {
    return sqlite.prepare_v3(db, sql, size, PERSISTENT, found, NULL);
}

int sqlite_rows_finalize(statement *of) { return sqlite.finalize(of); }

/* What is wrong in a session: SQLite's extended code, and its words in message[256]. */
int sqlite_rows_fault(sqlite3 *db, char *message) {
    strncpy(message, sqlite.errmsg(db), MESSAGE_BYTES - 1);
    message[MESSAGE_BYTES - 1] = 0;
    return sqlite.extended_errcode(db);
}

/* --- rows -------------------------------------------------------------------------------------------------------------- */

INLINE int64_t big(const uint8_t *from, int bytes) {
    uint64_t number = from[0] & 0x80 ? ~0ull : 0;
    for (int i = 0; i < bytes; i++) number = number << 8 | from[i];
    return (int64_t)number;
}

INLINE void put_digits(char *out, uint32_t number, int digits) {
    for (int i = digits - 1; i >= 0; i--, number /= 10) out[i] = (char)('0' + number % 10);
}

/* An instant as Django stores it in SQLite: "2026-01-31 10:15:30.123456", without a fraction where it is zero. Returns its size.
 * Days to a date: H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days. */
static int put_moment(char *out, int64_t us) {
    int64_t days = us / DAY_US - (us % DAY_US < 0);
    uint64_t in_day = (uint64_t)(us - days * DAY_US);
    uint32_t z = (uint32_t)(days + 719468 + 146097); /* from 0000-03-01, and one era more, so that it is never negative */
    uint32_t era = z / 146097, day_of_era = z % 146097;
    uint32_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t from_march = (5 * day_of_year + 2) / 153;
    uint32_t day = day_of_year - (153 * from_march + 2) / 5 + 1, month = from_march < 10 ? from_march + 3 : from_march - 9;
    uint32_t second = (uint32_t)(in_day / 1000000), micro = (uint32_t)(in_day % 1000000);
    memcpy(out, "0000-00-00 00:00:00.000000", MOMENT_BYTES);
    put_digits(out, year_of_era + era * 400 - 400 + (month <= 2), 4);
    put_digits(out + 5, month, 2);
    put_digits(out + 8, day, 2);
    put_digits(out + 11, second / 3600, 2);
    put_digits(out + 14, second / 60 % 60, 2);
    put_digits(out + 17, second % 60, 2);
    put_digits(out + 20, micro, 6);
    return micro ? MOMENT_BYTES : MOMENT_BYTES - 7;
}

INLINE int bind(statement *to, int place, uint8_t type, const uint8_t *from, int size, char *moment) {
    switch (type) {
    case TEXT: return sqlite.bind_text(to, place, (const char *)from, size, NULL);
    case BYTEA: return sqlite.bind_blob(to, place, from, size, NULL);
    case BOOLEAN: return sqlite.bind_int64(to, place, from[0]);
    case TIMESTAMPTZ: return sqlite.bind_text(to, place, moment, put_moment(moment, big(from, 8) + EPOCH_US), NULL);
    case DOUBLE: {
        int64_t bits = big(from, 8);
        double number;
        memcpy(&number, &bits, 8);
        return sqlite.bind_double(to, place, number);
    }
    default: return sqlite.bind_int64(to, place, big(from, size));
    }
}

/* Texts and bytes are bound where they lie. Returns SQLite's code. */
static int insert_rows(const table *of) {
    char moments[MOST_MOMENTS][MOMENT_BYTES];
    const uint8_t *at = of->stream + SIGNATURE_BYTES;
    for (int64_t row = 0; row < of->rows; row++) {
        int times = 0, code = OK;
        at += 2;
        for (int64_t i = 0; i < of->columns && code == OK; i++) {
            int size = (int)big(at, 4);
            at += 4;
            if (size < 0) code = sqlite.bind_null(of->insert, (int)i + 1);
            else {
                code = bind(of->insert, (int)i + 1, of->types[i], at, size, moments[times]);
                times += of->types[i] == TIMESTAMPTZ;
                at += size;
            }
        }
        if (code == OK && (code = sqlite.step(of->insert)) == DONE) code = OK;
        if (code != OK) return code;
        sqlite.reset(of->insert);
    }
    return OK;
}

static int run(statement *of) {
    int code = sqlite.step(of);
    return code == DONE ? OK : code;
}

/* COMMIT; with hold_log the session's commits wait for the disk, and its log may be written in one piece. */
static int commit(statement *of, int hold_log) {
    gathered_log_hold(hold_log);
    int code = run(of);
    gathered_log_hold(0);
    return code;
}

static int insert_all(sqlite3 *db, statement *const own[3], int hold_log, const table *tables, int64_t count, int *fault,
                      char *message) {
    int code = own ? run(own[0]) : OK;
    for (int64_t i = 0; i < count && code == OK; i++) code = insert_rows(tables + i);
    if (code == OK && own) code = commit(own[1], hold_log);
    if (code != OK) *fault = sqlite_rows_fault(db, message); /* before anything else overwrites it */
    for (int64_t i = 0; i < count; i++) {
        sqlite.reset(tables[i].insert);
        sqlite.clear_bindings(tables[i].insert); /* they point into the caller's memory */
    }
    if (own) {
        for (int i = 0; i < 2; i++) sqlite.reset(own[i]);
        if (code != OK && !sqlite.get_autocommit(db)) {
            sqlite.step(own[2]);
            sqlite.reset(own[2]);
        }
    }
    return code;
}

/* Insert all rows of all tables; with `own` (BEGIN, COMMIT, ROLLBACK) as a transaction of its own, otherwise as a part of the
 * caller's, who has to take back what was inserted before a failure. hold_log: see commit(). Returns SQLite's code; fault[0] is the
 * extended one, with its words in message[256]. */
int sqlite_rows_insert(sqlite3 *db, statement *const own[3], int hold_log, const table *tables, int64_t count, int *fault,
                       char *message) {
    mutex *of = sqlite.db_mutex(db); /* each call takes it, which costs less where it is held already */
    sqlite.mutex_enter(of);
    int code = insert_all(db, own, hold_log, tables, count, fault, message);
    sqlite.mutex_leave(of);
    return code;
}
