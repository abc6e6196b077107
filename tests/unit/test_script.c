#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/script.h"
#include "tests/unit/scripts.h"

/* The script's text starts in line 3, so its first step stands in line 4. */
static void assert_refused(const char *step, const char *expected)
{
    struct script_table *table = NULL;
    struct conf_error error = {""};
    char text[1024], at[600];

    snprintf(text, sizeof text, "[script s]\nstep = %s\n", step);
    snprintf(at, sizeof at, "t.conf:4: %s", expected);
    cr_assert_neq(compile_text(text, &table, &error), ERR_OK, "%s", step);
    cr_assert_null(table);
    cr_assert_not_null(strstr(error.text, at), "step = %s\ngave      %s\nexpected  %s",
                       step, error.text, at);
}

static const struct script_step *step_of(const struct script_table *table,
                                         const char *name, size_t i)
{
    const struct script *s = script_find(table, name, strlen(name));

    cr_assert_not_null(s);
    cr_assert_lt(i, s->steps.count);
    return &s->steps.step[i];
}

/* A command without variables stands ready to be sent. */
static void assert_line(const char *step, const char *expected)
{
    const struct script_text *command;
    struct script_table *table;
    char text[512];

    snprintf(text, sizeof text, "[script s]\nstep = %s\n", step);
    table = compiled(text);
    command = &step_of(table, "s", 0)->command;
    cr_assert_eq(command->count, 1, "%s", step);
    cr_assert_eq(command->piece[0].len, strlen(expected), "%s gave %.*s", step,
                 (int)command->piece[0].len, command->piece[0].text);
    cr_assert_arr_eq(command->piece[0].text, expected, strlen(expected), "%s gave %.*s",
                     step, (int)command->piece[0].len, command->piece[0].text);
    script_table_free(table);
}

Test(script, each_step_without_variables_is_one_line_for_asterisk)
{
    assert_line("answer", "ANSWER\n");
    assert_line("hangup", "HANGUP\n");
    assert_line("stream-file queue-thereare", "STREAM FILE queue-thereare \"\"\n");
    assert_line("stream-file \"my sounds/hi\" 12#",
                "STREAM FILE \"my sounds/hi\" \"12#\"\n");
    assert_line("stream-file beep 1-3*", "STREAM FILE beep \"123*\"\n");
    assert_line("set-variable A 1", "SET VARIABLE A 1\n");
    assert_line("set-variable CALLERID(name) \"Bob B\"",
                "SET VARIABLE CALLERID(name) \"Bob B\"\n");
    assert_line("set-variable A \"\"", "SET VARIABLE A \"\"\n");
    assert_line("set-variable A \"say \\\"hi\\\" \\\\\"",
                "SET VARIABLE A \"say \\\"hi\\\" \\\\\"\n");
    assert_line("set-variable A \\${B}", "SET VARIABLE A \"${B}\"\n");
    assert_line("set-variable A mid\"dle quo\"te", "SET VARIABLE A \"middle quote\"\n");
    assert_line("get-data vm-press into=d", "GET DATA vm-press 5000 16\n");
    assert_line("get-data vm-press 500ms 4 into=d digits=1-4",
                "GET DATA vm-press 500 4\n");
    assert_line("wait-for-digit 1h into=d", "WAIT FOR DIGIT 3600000\n");
    assert_line("verbose \"50% of it\"", "VERBOSE \"50% of it\" 1\n");
    assert_line("verbose hi 3", "VERBOSE hi 3\n");
    assert_line("exec NoOp", "EXEC NoOp\n");
    assert_line("exec Set \"B=1 2\"", "EXEC Set \"B=1 2\"\n");
}

Test(script, each_mistake_in_a_step_is_told_with_its_place_and_what_was_expected)
{
    static const struct {
        const char *step, *expected;
    } cases[] = {
        {"anwser", "there is no step \"anwser\"; did you mean answer?"},
        {"${arg1}", "there is no step \"${arg1}\": expected answer, wait, count"},
        {"answer now", "too many words: expected answer"},
        {"wait", "too few words: expected wait DURATION"},
        {"wait soon", "\"soon\" is no duration: expected a number and ms, s, m or h"},
        {"wait ${arg1}", "the time must be written out, without ${...}"},
        {"say-number", "there is no number to say before a count or get step"},
        {"say-digits", "there is no number to say before a count or get step"},
        {"say-number abc", "\"abc\" cannot be said: expected a whole number"},
        {"say-number 1 gender=x", "gender=x: expected m, f, n, c or p"},
        {"say-number 1 gender=${arg1}", "gender= must be written out"},
        {"say-number 1 f", "too many words: expected say-number [NUMBER] [gender=f]"},
        {"say-digits #1", "\"#1\" cannot be said: expected digits"},
        {"stream-file", "too few words: expected stream-file FILE [ESCAPE-DIGITS]"},
        {"stream-file beep 12x",
         "escape digits \"12x\": expected keys out of 0123456789*#ABCD"},
        {"stream-file beep 9-1", "escape digits \"9-1\": expected keys out of"},
        {"stream-file beep 1-", "escape digits \"1-\": expected keys out of"},
        {"stream-file beep ${arg1}", "escape digits must be written out"},
        {"stream-file two words here", "too many words: expected stream-file"},
        {"stream-file \"beep", "a \" without its end"},
        {"stream-file beep\\", "a lone \\ at the end"},
        {"stream-file ${beep", "${ without }"},
        {"stream-file ${}", "there is no variable ${}"},
        {"stream-file ${arg0}", "there is no variable ${arg0}"},
        {"stream-file ${arg128}", "there is no variable ${arg128}"},
        {"stream-file ${uniqeid}",
         "there is no variable ${uniqeid}; did you mean ${uniqueid}?"},
        {"verbose ${number}", "${number} is not known before a count or get step"},
        {"verbose ${total}", "${total} is not known before a count or get step"},
        {"verbose hi 5", "the level is \"5\": expected a number from 1 to 4"},
        {"count a/b", "a counter's name holds letters, digits and ._- only"},
        {"count \"\"", "a counter's name cannot be empty"},
        {"count a%y", "% in a counter's name: expected %Y, %m, %d, %H or %M"},
        {"count a%", "% in a counter's name: expected %Y"},
        {"count a b", "too many words: expected count [COUNTER] [by=N]"},
        {"count bye=2", "a counter's name holds letters"},
        {"count by=0", "by= is \"0\": expected a number from 1 to 2147483647"},
        {"count by=2147483648",
         "by= is \"2147483648\": expected a number from 1 to 2147483647"},
        {"count by=-1", "by= is \"-1\": expected a number from 1"},
        {"count by=", "by= is \"\": expected a number from 1"},
        {"count by=1 by=2", "by= is given twice"},
        {"count tag=12345678901234567890123456789012345678901234567890123456789012345",
         "tag= may have at most 64 bytes, and no control bytes"},
        {"count a2345678901234567890123456789012345678901234567890123456789012345",
         "a counter's name may have at most 64 bytes"},
        {"get by=1", "a counter's name holds letters"},
        {"set-variable A", "too few words: expected set-variable NAME VALUE"},
        {"set-variable ${arg1} x", "the variable's name must be written out"},
        {"set-variable \"A B\" x",
         "a channel variable's name is not empty and has no blanks"},
        {"exec ${arg1}", "the application must be written out"},
        {"exec \"No Op\"", "\"No Op\" is no application's name"},
        {"get-data beep", "into=NAME is missing"},
        {"get-data beep 0s into=d", "the time to wait for a key: expected 1ms to 1h"},
        {"get-data beep 61m into=d", "the time to wait for a key: expected 1ms to 1h"},
        {"get-data beep 5s 65 into=d",
         "the number of digits is \"65\": expected a number from 1 to 64"},
        {"get-data beep 5s 0 into=d", "the number of digits is \"0\""},
        {"wait-for-digit 5s into=Digit",
         "into=Digit: expected lower-case letters, digits and _"},
        {"wait-for-digit 5s into=", "into=: expected lower-case letters"},
        {"wait-for-digit 5s into=number",
         "into=number: ${number} is something else already"},
        {"wait-for-digit 5s into=callerid",
         "into=callerid: ${callerid} is something else already"},
        {"wait-for-digit 5s into=arg1", "into=arg1: ${arg1} is something else already"},
        {"wait-for-digit 5s into=a2345678901234567", "into= may have at most 16 bytes"},
        {"wait-for-digit 5s into=d digits=x", "digits= \"x\": expected keys out of"},
        {"verbose a b c d e f g h i", "too many words"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].step, cases[i].expected);
}

static void assert_script_refused(const char *text, const char *expected)
{
    struct script_table *table = NULL;
    struct conf_error error = {""};

    cr_assert_neq(compile_text(text, &table, &error), ERR_OK, "%s", text);
    cr_assert_not_null(strstr(error.text, expected), "%s gave %s", text, error.text);
}

Test(script, mistakes_between_lines_are_found_too)
{
    char many[8192] = "[script s]\n";

    assert_script_refused("[script s]\nstep = hangup\nstep = answer\n",
                          "t.conf:5: nothing can follow hangup");
    assert_script_refused("[script s]\non-error = hangup\n", "script s has no step line");
    assert_script_refused("[script s]\nstop = answer\n",
                          "\"stop\" in a script: expected step, on-error or counter");
    assert_script_refused("[script s]\ncounter = a\ncounter = b\nstep = count\n",
                          "t.conf:5: counter is given twice");
    assert_script_refused("[script s]\ncounter = a b\nstep = count\n",
                          "t.conf:4: expected counter = NAME, one word");
    assert_script_refused(
        "[script s]\ncounter = ${counter}\nstep = count\n",
        "t.conf:4: ${counter} is not known yet where the counter is named");
    assert_script_refused("[script s]\nstep = answer\nstep = count x-${d}\n"
                          "step = wait-for-digit 1s into=d\n",
                          "t.conf:5: there is no variable ${d}");
    assert_script_refused("[script s]\nstep = answer\non-error = say-number\n",
                          "t.conf:5: there is no number to say");
    assert_script_refused(
        "[script s]\nstep = wait-for-digit 1s into=digit\n"
        "step = verbose ${digits}\n",
        "t.conf:5: there is no variable ${digits}; did you mean ${digit}?");
    for (int i = 0; i <= SCRIPT_STEPS_MAX; i++)
        strcat(many, "step = answer\n");
    assert_script_refused(many, "t.conf:104: a script may have at most 100 step lines");
    strcpy(many, "[script s]\n");
    for (int i = 1; i <= SCRIPT_SLOTS_MAX + 1; i++)
        sprintf(many + strlen(many), "step = verbose ${arg%d}\n", i);
    assert_script_refused(many,
                          "t.conf:68: a script may use at most 64 different variables");
}

/* conf_parse() refuses these before; a configuration made otherwise must not slip through. */
Test(script, two_of_one_name_and_lines_too_long_are_refused)
{
    static char long_step[CONF_LINE_MAX + 2], name[] = "step", answer[] = "answer";
    struct conf_line line[2] = {{name, answer, 3}, {name, long_step, 7}};
    struct conf_script scripts[2] = {{"s", 2, &line[0], 1}, {"s", 6, &line[0], 1}};
    struct conf conf = {
        .path = "f", .default_script = "hits", .scripts = scripts, .script_count = 2};
    struct script_table *table = NULL;
    struct conf_error error;

    cr_assert_eq(script_compile(&conf, &table, &error), ERR_EXISTS);
    cr_assert_str_eq(error.text, "f:6: there are two scripts s");
    strcpy(scripts[1].name, "t");
    scripts[1].lines = &line[1];
    memset(long_step, 'x', CONF_LINE_MAX + 1);
    cr_assert_eq(script_compile(&conf, &table, &error), ERR_TOO_LONG);
    cr_assert_str_eq(error.text, "f:7: a step may have at most 198 bytes");
    strcpy(long_step, "answer\nhangup");
    cr_assert_eq(script_compile(&conf, &table, &error), ERR_MALFORMED);
    cr_assert_str_eq(error.text, "f:7: a step is one line");
}

Test(script, a_default_script_that_does_not_exist_is_refused)
{
    struct script_table *table = NULL;
    struct conf_error error = {""};

    cr_assert_eq(compile_text("[fastagi]\ndefault-script = hit\n", &table, &error),
                 ERR_NOT_FOUND);
    cr_assert_not_null(
        strstr(error.text, "default-script = hit: there is no such script"), "%s",
        error.text);
}

Test(script, the_ready_made_ones_are_there_without_being_configured)
{
    static const char *const names[] = {"hits", "count", "get", "vote", "refused"};
    struct script_table *table = compiled("");

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_assert_not_null(script_find(table, names[i], strlen(names[i])), "%s",
                           names[i]);
    cr_assert_null(script_find(table, "hit", 3));
    cr_assert_null(script_find(table, "hitss", 5));
    cr_assert_null(script_find(table, "", 0));
    cr_assert_eq(script_refused(table), script_find(table, "refused", 7));
    script_table_free(table);
}

Test(script, one_of_the_same_name_replaces_a_ready_made_one)
{
    struct script_table *table = compiled("[script hits]\nstep = exec NoOp\n");

    cr_assert_eq(script_find(table, "hits", 4)->steps.count, 1);
    script_table_free(table);
}

Test(script, what_asterisk_must_not_be_told_as_is_stays_apart_from_the_line)
{
    struct script_table *table =
        compiled("[script s]\nstep = verbose \"from \\\"${callerid}\\\"\"\n");
    const struct script_text *command = &step_of(table, "s", 0)->command;

    cr_assert_eq(command->count, 3);
    cr_assert_eq(command->piece[0].from, SCRIPT_TEXT);
    cr_assert_eq(command->piece[0].len, strlen("VERBOSE \"from \\\""));
    cr_assert_eq(command->piece[1].from, SCRIPT_SLOT);
    cr_assert_eq(command->piece[2].len, strlen("\\\"\" 1\n"));
    script_table_free(table);
}

Test(script, a_variable_used_twice_takes_one_slot)
{
    struct script_table *table = compiled(
        "[script s]\nstep = wait-for-digit 1s into=d\nstep = get-data beep 1s 8 into=d\n"
        "step = verbose ${d}${arg1}${arg1}${arg.by}${arg.by}\n");
    const struct script *s = script_find(table, "s", 1);

    cr_assert_eq(s->slots, 3);
    cr_assert_eq(s->slot[0].max, 8);
    script_table_free(table);
}

static size_t on_errors(const char *text)
{
    struct script_table *table = compiled(text);
    size_t count = script_find(table, "s", 1)->on_error.count;

    script_table_free(table);
    return count;
}

Test(script, a_script_with_sound_and_without_error_steps_gets_the_default_ones)
{
    cr_assert_eq(on_errors("[script s]\nstep = stream-file a\nstep = hangup\n"), 2);
    cr_assert_eq(on_errors("[script s]\nstep = stream-file a\n"), 1);
    cr_assert_eq(on_errors("[script s]\nstep = get-data a into=d\n"), 1);
    cr_assert_eq(on_errors("[script s]\nstep = count\nstep = set-variable A ${status}\n"),
                 0);
    cr_assert_eq(on_errors("[script s]\nstep = stream-file a\non-error = exec NoOp\n"
                           "on-error = wait 1s\non-error = hangup\n"),
                 3);
}

/* A reader who learns from the page must be told what is true. */
Test(script, the_page_for_users_lists_the_ready_made_scripts_as_they_are)
{
    char page[32768];
    FILE *f = fopen(TESTS_DIR "/../deploy/SCRIPTS.md", "r");
    size_t len;

    cr_assert_not_null(f);
    len = fread(page, 1, sizeof page - 1, f);
    fclose(f);
    page[len] = '\0';
    cr_assert_not_null(strstr(page, script_ready_made()));
}
