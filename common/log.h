/* common/log.h: log lines to standard error, one write(2) each.
 * Under systemd (JOURNAL_STREAM is set) a line begins with "<priority>", as sd-daemon(3) says, and
 * has no time of its own; elsewhere it begins with the local time and the process's role. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H
#include <stdint.h>

enum log_level {
    LOG_LEVEL_NONE = -1, /* for a program that looks for damage, and tells of it itself */
    LOG_LEVEL_ALARM,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

/* A longer line, in bytes, is cut and ends in "...". Control bytes become '?', since text from the
 * network gets here. */
enum { LOG_LINE_MAX = 1024 };

/* role: "master", "worker 2", "state": kept by pointer, so it must live on. Lines less
 * urgent than level are dropped. */
void log_init(const char *role, enum log_level level);
void log_set_level(enum log_level level);

/* "debug", "info", "warn", "error": 0, or -1 where name is none of these. */
int log_level_parse(const char *name, enum log_level *level);
/* The other way; "alarm" too. Static. */
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* An alarm wants a person to look at it: rot, a fork, a copied machine. */
#define log_alarm(...) log_write(LOG_LEVEL_ALARM, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* For what strangers can cause: at most one line a second of one kind. Zero-initialised; one
 * per kind. */
struct log_limit {
    uint64_t last_ms;    /* when a line of this kind was last written, CLOCK_MONOTONIC */
    uint64_t suppressed; /* how many were dropped since */
};

/* Whether a line may be written now. If so, *suppressed is how many were dropped before it, for
 * the line to say so. */
int log_limit_pass(struct log_limit *limit, uint64_t now_ms, uint64_t *suppressed);

#endif
