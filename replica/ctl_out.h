/* replica/ctl_out.h: how tallyctl writes: to people on a terminal, to a file, or to a program. Standard
 * output only; complaints go to standard error. */
#ifndef REPLICA_CTL_OUT_H
#define REPLICA_CTL_OUT_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ctl_color { CTL_PLAIN, CTL_GOOD, CTL_WARN, CTL_BAD, CTL_BOLD };

/* color: "auto", "always" or "never"; NULL: auto, which is: on a terminal that can, unless NO_COLOR is set.
 * Times are printed in UTC or in local time; texts in UTF-8 where the locale has it, else in ASCII. A
 * closed pipe becomes an error of the output rather than a signal. */
void ctl_out_open(const char *color, bool utc);
/* Whether the output cannot be written any more: whoever prints much looks, and ends. */
bool ctl_out_broken(void);
/* Write what is left. False: it could not be written; told, unless its reader has just gone away (| head). */
bool ctl_out_close(void);

/* Whether texts are written in UTF-8. */
bool ctl_out_utf8(void);
/* Begins a colour; CTL_PLAIN ends it. "" where there is none. */
const char *ctl_color(enum ctl_color color);

/* A text of strangers, such as a tag: whatever could speak to a terminal, or is not in the locale's character set,
 * as \xNN, and a backslash as \\. Returns how many columns it took. */
int ctl_print_text(const char *text, size_t len);
/* A sentence and a newline, broken at blanks so that it fits 80 columns: it begins in column `at`, and further
 * lines do in column `indent`. */
void ctl_print_wrapped(const char *text, int at, int indent);
void ctl_print_json(const json_t *json);

/* "tallyctl: ", the sentence, a newline. Control bytes and what is not UTF-8 become '?'. */
void ctl_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "2026-11-23T15:04:05.678+01:00", or with a "Z". ms: since 1970. */
enum { CTL_TIME_SIZE = 48 };
void ctl_format_time(uint64_t ms, char out[CTL_TIME_SIZE]);
/* For lists: "2026-11-23 15:04:05.678", and a Z in UTC. All are that wide. */
void ctl_format_clock(uint64_t ms, char out[CTL_TIME_SIZE]);
int ctl_clock_width(void);
/* Also "15:04" (today), "2026-11-23", "2026-11-23 15:04", and "10m" or "2h" for so long ago; now_ms: since 1970.
 * In UTC where the text ends in Z, or ctl_out_open() was told so. False: it is no time. */
bool ctl_read_time(const char *text, uint64_t now_ms, uint64_t *ms);
/* "3 s", "12 min", "5 h", "3 d" */
enum { CTL_SPAN_SIZE = 24 };
void ctl_format_span(uint64_t ms, char out[CTL_SPAN_SIZE]);
/* "512 B", "1.4 MiB" */
enum { CTL_SIZE_SIZE = 24 };
void ctl_format_size(uint64_t bytes, char out[CTL_SIZE_SIZE]);

#endif
