/* tests/unit/test_log.c: log lines as they arrive at the other end of standard error. */
#include <criterion/criterion.h>
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/err.h"
#include "common/log.h"

/* Packets keep the bounds of each write(2). */
static int other_end, real_stderr;
static char line[8 * LOG_LINE_MAX];

static void begin(void)
{
    int pair[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    other_end = pair[0];
    real_stderr = dup(STDERR_FILENO);
    dup2(pair[1], STDERR_FILENO);
    close(pair[1]);
    unsetenv("JOURNAL_STREAM");
}

static void end(void)
{
    dup2(real_stderr, STDERR_FILENO);
    close(other_end);
}

/* The next line, "" where there is none. */
static const char *written(void)
{
    ssize_t len = read(other_end, line, sizeof line - 1);

    line[len > 0 ? len : 0] = '\0';
    return line;
}

static bool like(const char *text, const char *pattern)
{
    regex_t regex;
    bool match;

    cr_assert_eq(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    match = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return match;
}

TestSuite(log, .init = begin, .fini = end);

Test(log, a_line_has_time_role_level_and_is_one_write)
{
    log_init("worker 2", LOG_LEVEL_INFO);
    log_warn("answer %d", 42);
    cr_expect(like(written(), "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"
                              "\\.[0-9]{3} worker 2: warn: answer 42\n$"),
              "%s", line);
    cr_expect_str_eq(written(), "");
}

Test(log, the_journal_gets_the_priority_and_no_time)
{
    setenv("JOURNAL_STREAM", "8:12345", 1);
    log_init("state", LOG_LEVEL_DEBUG);
    log_alarm("rot");
    cr_expect_str_eq(written(), "<1>state: rot\n");
    log_error("bad");
    cr_expect_str_eq(written(), "<3>state: bad\n");
    log_warn("odd");
    cr_expect_str_eq(written(), "<4>state: odd\n");
    log_info("so");
    cr_expect_str_eq(written(), "<6>state: so\n");
    log_debug("why");
    cr_expect_str_eq(written(), "<7>state: why\n");
}

Test(log, lines_less_urgent_than_the_level_are_dropped)
{
    log_init("state", LOG_LEVEL_WARN);
    log_info("not this");
    log_warn("this");
    cr_expect(like(written(), "this"), "%s", line);
    cr_expect_str_eq(written(), "");
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("not this any more");
    cr_expect_str_eq(written(), "");
    log_alarm("an alarm always");
    cr_expect(like(written(), "alarm always"));
}

Test(log, what_strangers_send_cannot_forge_lines_or_steer_terminals)
{
    setenv("JOURNAL_STREAM", "8:12345", 1);
    log_init("state", LOG_LEVEL_INFO);
    log_info("a\nb\r\x1b[31m\x7f\tc \xc3\xa4");
    cr_expect_str_eq(written(), "<6>state: a?b??[31m??c \xc3\xa4\n");
}

Test(log, a_long_line_is_cut_and_says_so)
{
    char text[2 * LOG_LINE_MAX];
    size_t fits = LOG_LINE_MAX - strlen("<6>state: \n");

    setenv("JOURNAL_STREAM", "8:12345", 1);
    log_init("state", LOG_LEVEL_INFO);
    memset(text, 'x', sizeof text);
    text[fits] = '\0';
    log_info("%s", text);
    cr_expect_eq(strlen(written()), LOG_LINE_MAX);
    cr_expect_str_eq(line + LOG_LINE_MAX - 4, "xxx\n");
    text[fits] = 'x';
    text[fits + 1] = '\0';
    log_info("%s", text);
    cr_expect_eq(strlen(written()), LOG_LINE_MAX);
    cr_expect_str_eq(line + LOG_LINE_MAX - 5, "x...\n");
}

Test(log, level_names_are_those_of_the_configuration)
{
    enum log_level level = LOG_LEVEL_ALARM;

    for (enum log_level i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
        cr_expect_eq(log_level_parse(log_level_name(i), &level), 0);
        cr_expect_eq(level, i);
    }
    cr_expect_eq(log_level_parse("alarm", &level), -1, "alarms cannot be turned off");
    cr_expect_eq(log_level_parse("", &level), -1);
    cr_expect_eq(log_level_parse("INFO", &level), -1);
    cr_expect_eq(level, LOG_LEVEL_DEBUG);
}

Test(log, one_kind_of_line_passes_once_a_second_and_then_counts_the_rest)
{
    struct log_limit limit = {0};
    uint64_t dropped = 99;

    cr_expect(log_limit_pass(&limit, 5000, &dropped));
    cr_expect_eq(dropped, 0);
    cr_expect_not(log_limit_pass(&limit, 5000, &dropped));
    cr_expect_not(log_limit_pass(&limit, 5999, &dropped));
    cr_expect(log_limit_pass(&limit, 6000, &dropped));
    cr_expect_eq(dropped, 2);
    cr_expect(log_limit_pass(&limit, 7000, &dropped));
    cr_expect_eq(dropped, 0);
}

Test(log, a_system_calls_error_is_logged_once_and_becomes_a_value)
{
    setenv("JOURNAL_STREAM", "8:12345", 1);
    log_init("state", LOG_LEVEL_INFO);
    errno = EACCES;
    cr_expect_eq(err_errno("open", "/x/y"), ERR_IO);
    cr_expect_str_eq(written(), "<3>state: cannot open /x/y: Permission denied\n");
    errno = ENOENT;
    cr_expect_eq(err_errno("open", "/x"), ERR_NOT_FOUND);
    errno = EEXIST;
    cr_expect_eq(err_errno("open", "/x"), ERR_EXISTS);
    errno = ENOMEM;
    cr_expect_eq(err_errno("open", "/x"), ERR_MEMORY);
    for (int i = 0; i < 3; i++)
        cr_expect(like(written(), "cannot open /x: "));
}

Test(log, a_full_disk_is_left_to_whoever_retries_to_be_logged)
{
    log_init("state", LOG_LEVEL_DEBUG);
    errno = ENOSPC;
    cr_expect_eq(err_errno("write", "/x"), ERR_FULL);
    errno = EDQUOT;
    cr_expect_eq(err_errno("write", "/x"), ERR_FULL);
    cr_expect_str_eq(written(), "");
}

Test(log, every_error_has_a_name_of_its_own)
{
    for (enum err a = ERR_OK; a <= ERR_MEMORY; a++) {
        cr_expect_str_neq(err_name(a), err_name((enum err)99));
        for (enum err b = ERR_OK; b < a; b++)
            cr_expect_str_neq(err_name(a), err_name(b));
    }
}
