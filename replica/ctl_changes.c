#include "replica/ctl_changes.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

void changes_clear(struct changes *changes)
{
    struct change *change, *next;

    HASH_ITER(hh, changes->table, change, next)
    {
        HASH_DEL(changes->table, change);
        free(change);
    }
}

void changes_close(struct changes *changes)
{
    changes_clear(changes);
    history_close(&changes->history);
}

/* ---- where it stands ---- */

static void log_reach(const json_t *status, uint64_t *first, uint64_t *limit)
{
    const json_t *log = json_object_get(status, "log");

    *first = (uint64_t)ctl_number(log, "first");
    *limit = (uint64_t)ctl_number(log, "end");
    if (*limit <= *first + WAL_SEGMENT_HEADER)
        *limit = 0;
}

void changes_skip(struct changes *changes, const json_t *status)
{
    const json_t *log = json_object_get(status, "log");
    const char *check = json_string_value(json_object_get(log, "check"));
    struct history *h = &changes->history;
    uint64_t first, limit;

    log_reach(status, &first, &limit);
    h->at = (struct wal_mark){.lsn = limit,
                              .check = check != NULL ? strtoull(check, NULL, 16) : 0};
    h->begun = limit != 0; /* Where nothing stands all that comes is new. */
    h->learned = true;
}

enum history_place changes_where(struct changes *changes, const json_t *status)
{
    uint64_t first, limit;

    log_reach(status, &first, &limit);
    return history_where(&changes->history, first, limit);
}

/* ---- reading ---- */

static bool meant(const struct changes *changes, const char *name)
{
    for (int i = 0; i < changes->count; i++)
        if (fnmatch(changes->patterns[i], name, 0) == 0)
            return true;
    return changes->count == 0;
}

/* NULL: not meant, or *memory is false. */
static struct change *change_of(struct changes *changes, const struct op *op,
                                bool *memory)
{
    char name[NAME_MAX_BYTES + 1];
    struct change *change;

    *memory = true;
    HASH_FIND(hh, changes->table, op->key, op->key_len, change);
    if (change != NULL)
        return change;
    memcpy(name, op->key, op->key_len);
    name[op->key_len] = '\0';
    if (!meant(changes, name))
        return NULL;
    change = calloc(1, sizeof *change);
    if (change != NULL) {
        memcpy(change->name, name, sizeof name);
        HASH_ADD_KEYPTR(hh, changes->table, change->name, op->key_len, change);
    }
    *memory = change != NULL && change->hh.tbl != NULL;
    if (*memory)
        return change;
    free(change);
    return NULL;
}

struct taking {
    struct changes *changes;
    bool memory;
};

static bool take(void *arg, const struct history_count *count)
{
    struct taking *t = arg;
    struct change *change = NULL;

    t->memory = true;
    if (history_op(count->op) == NULL)
        change = change_of(t->changes, count->op, &t->memory);
    if (change != NULL) {
        change->counts++;
        change->amount += count->op->value;
        change->known = false;
    }
    t->changes->more = t->changes->more ||
                       (count->last && HASH_COUNT(t->changes->table) >= CHANGES_MOST);
    return t->memory && !t->changes->more;
}

enum ctl_exit changes_read(struct changes *changes, const json_t *status)
{
    struct taking t = {.changes = changes, .memory = true};
    uint64_t first, limit;
    enum ctl_exit code;

    log_reach(status, &first, &limit);
    changes->more = false;
    code = history_read_to(&changes->history, first, limit, take, &t);
    if (t.memory)
        return code;
    ctl_complain("out of memory");
    return CTL_NOT_FINE;
}

/* ---- totals ---- */

static void take_totals(struct changes *changes, const json_t *reply)
{
    const json_t *list = json_object_get(reply, "counters"), *counter;
    size_t i;

    json_array_foreach(list, i, counter)
    {
        const char *name = json_string_value(json_object_get(counter, "name"));
        struct change *change = NULL;

        if (name != NULL)
            HASH_FIND_STR(changes->table, name, change);
        if (change == NULL)
            continue;
        change->total = ctl_number(counter, "total");
        change->known = true;
    }
}

bool changes_totals(struct changes *changes, struct live *live)
{
    const struct change *change = changes->table;

    while (change != NULL) {
        json_t *names = json_array(), *reply;

        for (; change != NULL && json_array_size(names) < CONTROL_NAMES_MAX;
             change = change->hh.next)
            if (json_array_append_new(names, json_string(change->name)) != 0)
                break;
        reply = live_ask(live, json_pack("{s:s, s:o}", "do", "counters", "names", names));
        if (reply == NULL)
            return false;
        take_totals(changes, reply);
        json_decref(reply);
    }
    return true;
}
