#include "replica/ctl_out.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "common/conf.h"

static bool in_color, in_utc, in_utf8;
static int broken_by; /* errno */

static bool wants_color(const char *color)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    if (color != NULL && strcmp(color, "auto") != 0)
        return strcmp(color, "always") == 0;
    return isatty(STDOUT_FILENO) && (no == NULL || *no == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0;
}

/* A descriptor that was closed would be given to the next file that is opened, and be written to. */
static void fill_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
            _exit(1);
}

void ctl_out_open(const char *color, bool utc)
{
    fill_descriptors();
    signal(SIGPIPE, SIG_IGN);
    setlocale(LC_CTYPE, "");
    in_utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    in_color = wants_color(color);
    in_utc = utc;
}

bool ctl_out_broken(void)
{
    if (ferror(stdout) && broken_by == 0)
        broken_by = errno != 0 ? errno : EIO;
    return broken_by != 0;
}

bool ctl_out_close(void)
{
    errno = 0;
    if (fflush(stdout) != 0 && broken_by == 0)
        broken_by = errno;
    if (!ctl_out_broken())
        return true;
    if (broken_by != EPIPE)
        ctl_complain("cannot write the output: %s", strerror(broken_by));
    return false;
}

bool ctl_out_utf8(void)
{
    return in_utf8;
}

const char *ctl_color(enum ctl_color color)
{
    static const char *const codes[] = {[CTL_PLAIN] = "\033[0m",
                                        [CTL_GOOD] = "\033[32m",
                                        [CTL_WARN] = "\033[33m",
                                        [CTL_BAD] = "\033[1;31m",
                                        [CTL_BOLD] = "\033[1m"};

    return in_color ? codes[color] : "";
}

/* ---- texts ---- */

/* What turns the direction of writing, or cannot be seen, can make a line look like another one. */
static bool is_format(wchar_t c)
{
    return (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || c == 0x061c || c == 0x00ad;
}

/* The bytes of the character at text that may be shown as it is, and its columns; 0: none may. */
static size_t shown(const char *text, size_t len, int *columns)
{
    mbstate_t state = {0};
    wchar_t c;
    size_t bytes;

    *columns = 1;
    if (*text >= 0x20 && *text < 0x7f)
        return 1;
    if (!in_utf8)
        return 0;
    bytes = mbrtowc(&c, text, len, &state);
    if (bytes == 0 || bytes > len || !iswprint((wint_t)c) || is_format(c))
        return 0;
    *columns = wcwidth(c) < 0 ? 1 : wcwidth(c);
    return bytes;
}

int ctl_print_text(const char *text, size_t len)
{
    int all = 0, columns;

    while (len > 0) {
        size_t bytes = shown(text, len, &columns);

        if (bytes == 0) {
            columns = printf("\\x%02x", (unsigned char)*text);
            bytes = 1;
        } else if (*text == '\\') {
            columns = printf("\\\\");
        } else {
            fwrite(text, 1, bytes, stdout);
        }
        all += columns;
        text += bytes;
        len -= bytes;
    }
    return all;
}

void ctl_print_wrapped(const char *text, int at, int indent)
{
    enum { COLUMNS = 79 };
    bool first = true;

    while (*text != '\0') {
        int len = (int)strcspn(text, " ");

        if (!first && at + 1 + len > COLUMNS) {
            printf("\n%*s", indent, "");
            at = indent;
        } else if (!first) {
            putchar(' ');
            at++;
        }
        printf("%.*s", len, text);
        at += len;
        text += len;
        text += strspn(text, " ");
        first = false;
    }
    putchar('\n');
}

/* ASCII whatever is in it: JSON allows it, and nothing in it can speak to a terminal. */
void ctl_print_json(const json_t *json)
{
    if (json == NULL || json_dumpf(json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII) != 0) {
        if (!ferror(stdout))
            ctl_complain("out of memory");
        return;
    }
    putchar('\n');
}

void ctl_complain(const char *format, ...)
{
    char text[1024];
    size_t len;
    va_list args;
    int columns;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    len = strlen(text);
    for (size_t at = 0, bytes; at < len; at += bytes) {
        bytes = shown(text + at, len - at, &columns);
        if (bytes == 0) {
            text[at] = '?';
            bytes = 1;
        }
    }
    fprintf(stderr, "tallyctl: %s\n", text);
}

/* ---- times and sizes ---- */

void ctl_format_time(uint64_t ms, char out[CTL_TIME_SIZE])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[24] = "?", zone[8] = "Z";

    if ((in_utc ? gmtime_r(&seconds, &tm) : localtime_r(&seconds, &tm)) != NULL) {
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
        if (!in_utc) {
            strftime(zone, sizeof zone - 1, "%z", &tm); /* "+0100" */
            memmove(zone + 4, zone + 3, 3);
            zone[3] = ':';
        }
    }
    snprintf(out, CTL_TIME_SIZE, "%s.%03u%s", text, (unsigned)(ms % 1000), zone);
}

void ctl_format_clock(uint64_t ms, char out[CTL_TIME_SIZE])
{
    char text[CTL_TIME_SIZE];

    ctl_format_time(ms, text);
    snprintf(out, CTL_TIME_SIZE, "%.10s %.12s%s", text,
             strlen(text) > 11 ? text + 11 : "", in_utc ? "Z" : "");
}

int ctl_clock_width(void)
{
    return (int)sizeof "2026-11-23 15:04:05.678" - 1 + (in_utc ? 1 : 0);
}

/* What stands in a format that the text may have; rest: where it ends. */
static bool read_date(const char *text, const struct tm *today, struct tm *tm,
                      const char **rest)
{
    static const char *const formats[] = {
        "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M",
        "%Y-%m-%d",          "%H:%M:%S",          "%H:%M"};

    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        *tm = (struct tm){.tm_year = today->tm_year,
                          .tm_mon = today->tm_mon,
                          .tm_mday = today->tm_mday,
                          .tm_isdst = -1};
        *rest = strptime(text, formats[i], tm);
        if (*rest != NULL && (**rest == '\0' || strchr(".Z+-", **rest) != NULL))
            return true;
    }
    return false;
}

/* ".678" */
static uint64_t read_fraction(const char **rest)
{
    uint64_t ms = 0, unit = 100;

    if (**rest != '.')
        return 0;
    for (++*rest; **rest >= '0' && **rest <= '9'; ++*rest, unit /= 10)
        ms += (uint64_t)(**rest - '0') * unit;
    return ms;
}

/* "Z" or "+01:00"; false where it is neither, nor nothing. */
static bool read_zone(const char *rest, bool *utc, long *offset)
{
    int hours, minutes, len = 0;
    char sign;

    *offset = 0;
    if (*rest == '\0')
        return true;
    *utc = true;
    if (strcmp(rest, "Z") == 0)
        return true;
    if (sscanf(rest, "%c%2d:%2d%n", &sign, &hours, &minutes, &len) != 3 ||
        rest[len] != '\0' || (sign != '+' && sign != '-'))
        return false;
    *offset = (hours * 60L + minutes) * (sign == '-' ? -60 : 60);
    return true;
}

bool ctl_read_time(const char *text, uint64_t now_ms, uint64_t *ms)
{
    time_t now = (time_t)(now_ms / 1000), seconds;
    bool utc = in_utc;
    struct tm today, tm;
    const char *rest;
    unsigned ago;
    long offset;
    uint64_t fraction;

    if (conf_duration(text, &ago) == ERR_OK) {
        *ms = now_ms > ago ? now_ms - ago : 0;
        return true;
    }
    if ((utc || strchr(text, 'Z') != NULL ? gmtime_r(&now, &today)
                                          : localtime_r(&now, &today)) == NULL ||
        !read_date(text, &today, &tm, &rest))
        return false;
    fraction = read_fraction(&rest);
    if (!read_zone(rest, &utc, &offset))
        return false;
    seconds = utc ? timegm(&tm) - offset : mktime(&tm);
    if (seconds < 0)
        return false;
    *ms = (uint64_t)seconds * 1000 + fraction;
    return true;
}

void ctl_format_span(uint64_t ms, char out[CTL_SPAN_SIZE])
{
    uint64_t s = ms / 1000;

    if (ms < 10000)
        snprintf(out, CTL_SPAN_SIZE, "%.1f s", (double)ms / 1000);
    else if (s < 120)
        snprintf(out, CTL_SPAN_SIZE, "%" PRIu64 " s", s);
    else if (s < 7200)
        snprintf(out, CTL_SPAN_SIZE, "%" PRIu64 " min", s / 60);
    else if (s < 48 * 3600)
        snprintf(out, CTL_SPAN_SIZE, "%" PRIu64 " h", s / 3600);
    else
        snprintf(out, CTL_SPAN_SIZE, "%" PRIu64 " d", s / 86400);
}

void ctl_format_size(uint64_t bytes, char out[CTL_SIZE_SIZE])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double size = (double)bytes / 1024;
    size_t i = 0;

    if (bytes < 1024) {
        snprintf(out, CTL_SIZE_SIZE, "%" PRIu64 " B", bytes);
        return;
    }
    while (size >= 1024 && i + 1 < sizeof units / sizeof units[0]) {
        size /= 1024;
        i++;
    }
    snprintf(out, CTL_SIZE_SIZE, size < 10 ? "%.1f %s" : "%.0f %s", size, units[i]);
}
