#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/agi.h"

#define FIRST "agi_network: yes\n"

static enum err parse(const char *text, struct agi_env *env)
{
    size_t scanned = 0, used = 0;

    return agi_env_parse(text, strlen(text), &scanned, env, &used);
}

static void assert_text(struct agi_text text, const char *expected)
{
    cr_assert_eq(text.len, strlen(expected), "%zu bytes, not \"%s\"", text.len, expected);
    cr_assert_arr_eq(text.at, expected, text.len);
}

Test(env, values_and_arguments_are_found_under_their_names)
{
    struct agi_env env;

    cr_assert_eq(parse(FIRST
                       "agi_network_script: hits/radio\n"
                       "agi_uniqueid: 1.2\nagi_callerid: 1234\nagi_accountcode: \n"
                       "agi_threadid: 1\nagi_arg_1: one\nagi_arg_2: \nagi_arg_3: a,b\n\n",
                       &env),
                 ERR_OK);
    assert_text(env.value[AGI_NETWORK_SCRIPT], "hits/radio");
    assert_text(env.value[AGI_UNIQUEID], "1.2");
    assert_text(env.value[AGI_ACCOUNTCODE], "");
    cr_assert_null(env.value[AGI_CHANNEL].at);
    cr_assert_eq(env.args, 3);
    assert_text(env.arg[0], "one");
    assert_text(env.arg[1], "");
    assert_text(env.arg[2], "a,b");
    cr_assert_not(env.forged);
}

Test(env, a_line_is_split_at_its_first_colon_and_blank)
{
    struct agi_env env;

    cr_assert_eq(parse(FIRST "agi_calleridname: a: b: c\n\n", &env), ERR_OK);
    assert_text(env.value[AGI_CALLERIDNAME], "a: b: c");
}

Test(env, bytes_behind_the_empty_line_are_not_part_of_it)
{
    const char *text = FIRST "\nHANGUP\n";
    size_t scanned = 0, used = 0;
    struct agi_env env;

    cr_assert_eq(agi_env_parse(text, strlen(text), &scanned, &env, &used), ERR_OK);
    cr_assert_eq(used, strlen(FIRST "\n"));
}

Test(env, byte_by_byte_it_is_complete_with_its_very_last_byte)
{
    const char *text = FIRST "agi_network_script: hits\nagi_arg_1: x\n\n";
    size_t scanned = 0, used = 0;
    struct agi_env env;

    for (size_t len = 1; len < strlen(text); len++)
        cr_assert_eq(agi_env_parse(text, len, &scanned, &env, &used), ERR_AGAIN);
    cr_assert_eq(agi_env_parse(text, strlen(text), &scanned, &env, &used), ERR_OK);
    assert_text(env.arg[0], "x");
}

Test(env, whatever_does_not_begin_like_fastagi_is_refused_at_the_first_byte_that_differs)
{
    struct agi_env env;

    cr_assert_eq(parse("agi_n", &env), ERR_AGAIN);
    cr_assert_eq(parse("G", &env), ERR_MALFORMED);
    cr_assert_eq(parse("agi_network: no\n", &env), ERR_MALFORMED);
    cr_assert_eq(parse("agi_network: yes\r\n\r\n", &env), ERR_MALFORMED);
    cr_assert_eq(parse("\n\n", &env), ERR_MALFORMED);
}

Test(env, a_nul_byte_is_refused_wherever_it_stands)
{
    static const char text[] = FIRST "agi_callerid: 12\0"
                                     "34\n\n";
    struct agi_env env;

    for (size_t len = sizeof FIRST; len < sizeof text; len++) {
        size_t scanned = 0, used = 0;
        bool there = len > strlen(FIRST "agi_callerid: 12");
        cr_assert_eq(agi_env_parse(text, len, &scanned, &env, &used) == ERR_MALFORMED,
                     there, "%zu bytes", len);
    }
}

Test(env, lines_that_are_no_agi_lines_are_stepped_over)
{
    struct agi_env env;

    cr_assert_eq(
        parse(FIRST
              "junk\nx_callerid: 1\nagi_callerid:2\nagi_new: 3\nagi_callerid: 4\n\n",
              &env),
        ERR_OK);
    assert_text(env.value[AGI_CALLERID], "4");
    cr_assert_not(env.forged);
}

/* The caller's name held a newline: what it forged comes before the true lines. */
Test(env, a_name_that_comes_twice_or_out_of_order_marks_the_whole_as_forged)
{
    static const char *const forged[] = {
        FIRST "agi_network_script: a\nagi_network_script: b\n\n",
        FIRST "agi_calleridname: x\nagi_network_script: victim\n\n",
        FIRST "agi_calleridname: x\nagi_arg_1: forged\nagi_callingpres: 0\n\n",
        FIRST "agi_arg_1: forged\nagi_arg_1: true\n\n",
        FIRST "agi_arg_2: gap\n\n",
        FIRST "agi_arg_1: a\nagi_arg_3: gap\n\n",
        FIRST "agi_network: yes\n\n",
    };

    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        struct agi_env env;
        cr_assert_eq(parse(forged[i], &env), ERR_OK);
        cr_assert(env.forged, "%s", forged[i]);
    }
}

Test(env, an_argument_beyond_the_127_that_asterisk_sends_is_forged)
{
    char text[8192] = FIRST;
    size_t len = strlen(text);
    struct agi_env env;

    for (int i = 1; i <= 127; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "agi_arg_%d: %d\n", i, i);
    strcpy(text + len, "\n");
    cr_assert_eq(parse(text, &env), ERR_OK);
    cr_assert_eq(env.args, AGI_ARGS_MAX);
    assert_text(env.arg[126], "127");
    cr_assert_not(env.forged);
    strcpy(text + len, "agi_arg_128: 128\n\n");
    cr_assert_eq(parse(text, &env), ERR_OK);
    cr_assert(env.forged);
}

Test(env, more_lines_than_any_environment_has_are_refused)
{
    char text[4096] = FIRST;
    size_t len = strlen(text);
    struct agi_env env;

    for (int i = 1; i < AGI_ENV_LINES_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "x\n");
    strcpy(text + len, "\n");
    cr_assert_eq(parse(text, &env), ERR_OK);
    strcpy(text + len, "x\n\n");
    cr_assert_eq(parse(text, &env), ERR_TOO_LONG);
}

static struct agi_response respond(const char *line)
{
    struct agi_parser parser = {0};
    struct agi_response r;

    cr_assert_eq(agi_parse_line(&parser, line, strlen(line), &r), AGI_RESPONSE, "%s",
                 line);
    return r;
}

Test(response, a_plain_result_is_a_number)
{
    struct agi_response r = respond("200 result=53");

    cr_assert_eq(r.code, 200);
    cr_assert(r.has_result && r.result == 53);
    cr_assert_null(r.value.at);
    cr_assert_eq(r.endpos, -1);
    cr_assert_eq(respond("200 result=-1").result, -1);
}

Test(response, an_end_position_follows_the_result)
{
    struct agi_response r = respond("200 result=0 endpos=18080");

    cr_assert(r.has_result && r.result == 0);
    cr_assert_eq(r.endpos, 18080);
    cr_assert_eq(respond("200 result=-1 endpos=0").endpos, 0);
}

Test(response, a_timeout_may_leave_the_result_out)
{
    struct agi_response r = respond("200 result= (timeout)");

    cr_assert_not(r.has_result);
    cr_assert(r.timeout);
    cr_assert_eq(r.digits.len, 0);
    r = respond("200 result=12 (timeout)");
    cr_assert(r.has_result && r.result == 12 && r.timeout);
}

Test(response, digits_are_kept_as_text_also_where_they_are_no_number)
{
    assert_text(respond("200 result=0042").digits, "0042");
    assert_text(respond("200 result=*5#").digits, "*5#");
    cr_assert_not(respond("200 result=*5#").has_result);
    assert_text(respond("200 result=99999999999999999999").digits,
                "99999999999999999999");
    cr_assert_not(respond("200 result=99999999999999999999").has_result);
}

Test(response, a_value_ends_at_the_last_parenthesis_of_its_line)
{
    assert_text(respond("200 result=1 (with (parens) inside))").value,
                "with (parens) inside)");
    assert_text(respond("200 result=1 ()").value, "");
    assert_text(respond("200 result=1 (first").value, "first");
    assert_text(respond("200 result=1 (endpos=5)").value, "endpos=5");
    cr_assert_eq(respond("200 result=1 (endpos=5)").endpos, -1);
}

Test(response, refusals_carry_their_code)
{
    cr_assert_eq(respond("510 Invalid or unknown command").code, 510);
    cr_assert_eq(
        respond("511 Command Not Permitted on a dead channel or intercept routine").code,
        511);
    cr_assert_eq(respond("520 Invalid command syntax.  Proper usage not available.").code,
                 520);
}

Test(response, a_usage_of_many_lines_is_one_response)
{
    static const char *const lines[] = {
        "520-Invalid command syntax.  Proper usage follows:",
        "Send the given file",
        "200 result=7",
        "510 no",
        "",
        "agi_is: mentioned"};
    struct agi_parser parser = {0};
    struct agi_response r;

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cr_assert_eq(agi_parse_line(&parser, lines[i], strlen(lines[i]), &r), AGI_PART,
                     "%s", lines[i]);
    cr_assert_eq(agi_parse_line(&parser, "HANGUP", 6, &r), AGI_HANGUP);
    cr_assert_eq(agi_parse_line(&parser, "520 End of proper usage.", 24, &r),
                 AGI_RESPONSE);
    cr_assert_eq(r.code, 520);
    cr_assert_eq(agi_parse_line(&parser, "200 result=0", 12, &r), AGI_RESPONSE);
    cr_assert_eq(r.code, 200);
}

Test(response, what_is_none_is_told_apart)
{
    static const struct {
        const char *line;
        enum agi_line kind;
    } cases[] = {
        {"HANGUP", AGI_HANGUP},
        {"HANGUP ", AGI_JUNK},
        {"HANGUPS", AGI_JUNK},
        {"hangup", AGI_JUNK},
        {"", AGI_JUNK},
        {"200", AGI_JUNK},
        {"2000 result=1", AGI_JUNK},
        {"5100", AGI_JUNK},
        {"NOOP", AGI_JUNK},
        {"agi_callingpres: 0", AGI_STRAY},
        {"\xff\xfe", AGI_JUNK},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct agi_parser parser = {0};
        struct agi_response r;
        cr_assert_eq(agi_parse_line(&parser, cases[i].line, strlen(cases[i].line), &r),
                     cases[i].kind, "%s", cases[i].line);
    }
}

static void assert_word(const char *text, size_t len, const char *expected)
{
    char buf[64];
    struct agi_command c = agi_command_of(buf, sizeof buf);

    agi_put_word(&c, text, len);
    cr_assert_eq(c.err, ERR_OK);
    cr_assert_eq(c.len, strlen(expected), "%.*s, not %s", (int)c.len, buf, expected);
    cr_assert_arr_eq(buf, expected, c.len);
}

/* What each quoted form means to Asterisk is recorded in
 * tests/transcripts/variables.txt. */
Test(command, any_text_is_one_word)
{
    assert_word("queue-thereare", 14, "queue-thereare");
    assert_word("", 0, "\"\"");
    assert_word("two words", 9, "\"two words\"");
    assert_word("a\"b\\c", 5, "\"a\\\"b\\\\c\"");
    assert_word("tab\there", 8, "\"tab\there\"");
    assert_word("${EXTEN}", 8, "\"${EXTEN}\"");
}

Test(command, a_newline_or_nul_in_the_data_makes_the_command_unfit_to_send)
{
    static const char *const bad[] = {"a\nb", "a\0b"};

    for (size_t i = 0; i < 2; i++) {
        char buf[64];
        struct agi_command c = agi_command_of(buf, sizeof buf);
        agi_puts(&c, "VERBOSE ");
        agi_put_word(&c, bad[i], 3);
        agi_puts(&c, " 1");
        cr_assert_eq(agi_command_end(&c), ERR_MALFORMED);
    }
}

Test(command, a_line_has_at_most_8191_bytes_with_its_newline)
{
    static char buf[10000], text[10000];

    memset(text, 'z', sizeof text);
    for (size_t len = AGI_COMMAND_MAX - 1; len <= AGI_COMMAND_MAX; len++) {
        struct agi_command c = agi_command_of(buf, sizeof buf);
        agi_put(&c, text, len);
        cr_assert_eq(agi_command_end(&c), len < AGI_COMMAND_MAX ? ERR_OK : ERR_TOO_LONG);
    }
}

Test(command, a_small_buffer_is_not_overrun)
{
    char buf[8];
    struct agi_command c = agi_command_of(buf, sizeof buf);

    agi_puts(&c, "ANSWER");
    cr_assert_eq(agi_command_end(&c), ERR_OK);
    c = agi_command_of(buf, sizeof buf);
    agi_puts(&c, "STREAM FILE");
    cr_assert_eq(agi_command_end(&c), ERR_TOO_LONG);
}

static void assert_said(int64_t number, const char *gender, const char *expected)
{
    char buf[128];
    struct agi_command c = agi_command_of(buf, sizeof buf);

    agi_say_number(&c, number, gender);
    cr_assert_eq(agi_command_end(&c), ERR_OK);
    buf[c.len] = '\0';
    cr_assert_str_eq(buf, expected);
}

/* tests/transcripts/say-number-large.txt: 2147483647 says nothing, and above it numbers
 * wrap. */
Test(command, a_number_too_large_for_asterisk_is_said_as_digits)
{
    assert_said(0, "", "SAY NUMBER 0 \"\"\n");
    assert_said(-3, "", "SAY NUMBER -3 \"\"\n");
    assert_said(100, "f", "SAY NUMBER 100 \"\" f\n");
    assert_said(2147483646, "", "SAY NUMBER 2147483646 \"\"\n");
    assert_said(2147483647, "", "SAY DIGITS 2147483647 \"\"\n");
    assert_said(2147483647, "f", "SAY DIGITS 2147483647 \"\"\n");
    assert_said(-2147483646, "", "SAY NUMBER -2147483646 \"\"\n");
    assert_said(-2147483647, "", "SAY DIGITS -2147483647 \"\"\n");
    assert_said(INT64_MIN, "", "SAY DIGITS -9223372036854775808 \"\"\n");
}

Test(command, digits_begin_with_a_digit)
{
    static const char *const good[] = {"0", "-5", "4#2", "0123456789*#"};
    static const char *const bad[] = {"", "-", "#1", "*", "1 2", "1-2", "a", "1\n"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        cr_assert(agi_digits_sayable(good[i], strlen(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(agi_digits_sayable(bad[i], strlen(bad[i])), "%s", bad[i]);
}

Test(number, the_bounds_of_64_bits_hold)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1.9",
                                      "12a",
                                      "9223372036854775808",
                                      "-9223372036854775809"};
    int64_t n;

    cr_assert(agi_number("9223372036854775807", 19, &n) && n == INT64_MAX);
    cr_assert(agi_number("-9223372036854775808", 20, &n) && n == INT64_MIN);
    cr_assert(agi_number("007", 3, &n) && n == 7);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_not(agi_number(bad[i], strlen(bad[i]), &n), "%s", bad[i]);
}
