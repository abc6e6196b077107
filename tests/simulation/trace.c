#include "tests/simulation/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

enum { KEPT = 32, LINE_MAX_BYTES = 600, LOG_MAX_BYTES = 480 };

struct entry {
    uint64_t at_ms;
    const char *actor;
    uint64_t first, second;
    enum trace_kind kind;
    char
        text[LOG_MAX_BYTES]; /* a file's name, or a line of the node's log where is_log */
    bool is_log;
};

#define TRACE_TEXT(name, text) text,
static const char *const texts[TRACE_KINDS] = {TRACE_EVENTS(TRACE_TEXT)};

static struct {
    const uint64_t *now_ms;
    uint64_t hash, count;
    int verbose;
    const char *actor;
    trace_alarm_fn *alarm;
    void *alarm_arg;
    struct entry last[KEPT];
} t;

void trace_begin(uint64_t seed, const uint64_t *now_ms, int verbose)
{
    memset(&t, 0, sizeof t);
    t.now_ms = now_ms;
    t.actor = "";
    t.verbose = verbose;
    t.hash = seed ^ UINT64_C(0xcbf29ce484222325);
}

static void mix(uint64_t word)
{
    t.hash = (t.hash ^ word) * UINT64_C(0x9fb21c651e98df25);
    t.hash ^= t.hash >> 32;
}

static size_t entry_text(const struct entry *e, char *to, size_t size)
{
    uint64_t s = e->at_ms / 1000;
    size_t len = (size_t)snprintf(to, size, "%3" PRIu64 ":%02u:%02u.%03u %s ", s / 3600,
                                  (unsigned)(s / 60 % 60), (unsigned)(s % 60),
                                  (unsigned)(e->at_ms % 1000), e->actor);

    if (e->is_log)
        return len + (size_t)snprintf(to + len, size - len, "  | %s\n", e->text);
    for (const char *c = texts[e->kind]; *c != '\0' && len + 24 < size; c++) {
        if (*c == '%') {
            c++;
            len += (size_t)snprintf(to + len, size - len, "%" PRId64,
                                    (int64_t)(*c == '1' ? e->first : e->second));
        } else {
            to[len++] = *c;
        }
    }
    return len + (size_t)snprintf(to + len, size - len, " %s\n", e->text);
}

static struct entry *entry_next(void)
{
    struct entry *e = &t.last[t.count++ % KEPT];

    e->at_ms = *t.now_ms;
    e->actor = t.actor;
    return e;
}

static void tell(const struct entry *e)
{
    char line[LINE_MAX_BYTES];

    entry_text(e, line, sizeof line);
    fputs(line, stdout);
}

void trace_name(enum trace_kind kind, const char *name, uint64_t first, uint64_t second)
{
    struct entry *e = entry_next();
    size_t i;

    e->kind = kind;
    e->first = first;
    e->second = second;
    e->is_log = false;
    for (i = 0; i + 1 < sizeof e->text && name[i] != '\0'; i++) {
        e->text[i] = name[i];
        mix((uint8_t)name[i]);
    }
    e->text[i] = '\0';
    mix(e->at_ms);
    mix((uint64_t)kind << 56 ^ first);
    mix(second);
    if (t.verbose)
        tell(e);
}

void trace(enum trace_kind kind, uint64_t first, uint64_t second)
{
    trace_name(kind, "", first, second);
}

void trace_actor(const char *name)
{
    t.actor = name;
}

void trace_on_alarm(trace_alarm_fn *alarm, void *arg)
{
    t.alarm = alarm;
    t.alarm_arg = arg;
}

/* In the place of common/log.c. */
void log_write(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"alarm", "error", "warning", "info", "debug"};
    struct entry *e = entry_next();
    char line[LOG_MAX_BYTES - 16];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    e->is_log = true;
    snprintf(e->text, sizeof e->text, "%s: %s", names[level], line);
    if (t.verbose)
        tell(e);
    if (level == LOG_LEVEL_ALARM && t.alarm != NULL)
        t.alarm(t.alarm_arg, line);
}

uint64_t trace_hash(void)
{
    return t.hash;
}

void trace_last(char *to, size_t size)
{
    uint64_t from = t.count > KEPT ? t.count - KEPT : 0;
    size_t len = 0;

    to[0] = '\0';
    for (uint64_t i = from; i < t.count && len + LINE_MAX_BYTES < size; i++)
        len += entry_text(&t.last[i % KEPT], to + len, LINE_MAX_BYTES);
}

uint64_t trace_now_ms(void)
{
    return t.now_ms != NULL ? *t.now_ms : 0;
}
