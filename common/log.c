#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The header's names; the numbers are syslog(3)'s priorities. */
static const struct {
    const char *name;
    int priority;
} levels[] = {
    [LOG_LEVEL_ALARM] = {"alarm", 1}, [LOG_LEVEL_ERROR] = {"error", 3},
    [LOG_LEVEL_WARN] = {"warn", 4},   [LOG_LEVEL_INFO] = {"info", 6},
    [LOG_LEVEL_DEBUG] = {"debug", 7},
};

static const char *log_role = "tally";
static enum log_level log_threshold = LOG_LEVEL_INFO;
static int log_to_journal;

void log_init(const char *role, enum log_level level)
{
    log_role = role;
    log_threshold = level;
    log_to_journal = getenv("JOURNAL_STREAM") != NULL;
    tzset(); /* Now, because a sandboxed worker cannot read the time zone's file later. */
}

void log_set_level(enum log_level level)
{
    log_threshold = level;
}

int log_level_parse(const char *name, enum log_level *level)
{
    for (size_t i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
        if (strcmp(name, levels[i].name) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

const char *log_level_name(enum log_level level)
{
    return levels[level].name;
}

static int log_prefix(char *buf, size_t size, enum log_level level)
{
    struct timespec now;
    struct tm tm;
    char when[40];

    if (log_to_journal)
        return snprintf(buf, size, "<%d>%s: ", levels[level].priority, log_role);
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    return snprintf(buf, size, "%s.%03ld %s: %s: ", when, now.tv_nsec / 1000000, log_role,
                    levels[level].name);
}

void log_write(enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    va_list args;
    size_t prefix;
    int text;
    size_t len;

    if (level > log_threshold)
        return;
    prefix = (size_t)log_prefix(line, sizeof line, level);
    va_start(args, format);
    text = vsnprintf(line + prefix, sizeof line - prefix, format, args);
    va_end(args);
    if (text < 0)
        text = 0;
    len = prefix + (size_t)text;
    if (len > sizeof line - 1) {
        len = sizeof line - 1;
        memcpy(line + len - 3, "...", 3);
    }
    for (size_t i = prefix; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[len] = '\n';
    /* Where standard error does not take a line there is nowhere left to say so. */
    if (write(STDERR_FILENO, line, len + 1) < 0)
        return;
}
