#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/agi.h"
#include "server/call.h"
#include "tests/unit/scripts.h"

/* One call, and what it wants done. */
static struct script_table *table;
static struct call *call;
static struct call_todo todo;
static struct call_limits limits = {.command_ms = 600000,
                                    .answer_ms = 10000,
                                    .greeting_bytes = 65536,
                                    .node_name = "node1",
                                    .default_script = "hits"};
static const int64_t now = 1795407734; /* 2026-11-23 04:22:14 UTC */

static void begin(const char *scripts)
{
    setenv("TZ", "UTC", 1);
    tzset();
    table = compiled(scripts);
    call = call_new(table, &limits);
    cr_assert_not_null(call);
}

static void end(void)
{
    call_free(call);
    script_table_free(table);
    call = NULL;
    table = NULL;
}

static void receive_bytes(const char *bytes, size_t len)
{
    char *copy = malloc(len);

    /* Gone afterwards, so that a sanitizer sees whoever holds on to it. */
    memcpy(copy, bytes, len);
    call_received(call, copy, len, now, &todo);
    free(copy);
}

static void receive(const char *text)
{
    receive_bytes(text, strlen(text));
}

static void greet(const char *path, const char *rest)
{
    char text[2048];

    snprintf(
        text, sizeof text,
        "agi_network: yes\nagi_network_script: %s\nagi_uniqueid: 17.1\nagi_callerid: 1234\n"
        "%s\n",
        path, rest);
    receive(text);
}

static void assert_sends(const char *line)
{
    cr_assert_eq(todo.what, CALL_SEND, "%d instead of sending %s", todo.what, line);
    cr_assert_eq(todo.len, strlen(line), "%.*s instead of %s", (int)todo.len, todo.bytes,
                 line);
    cr_assert_arr_eq(todo.bytes, line, todo.len, "%.*s instead of %s", (int)todo.len,
                     todo.bytes, line);
}

static void assert_closes(enum call_end how)
{
    cr_assert_eq(todo.what, CALL_CLOSE, "%d instead of closing", todo.what);
    cr_assert_eq(todo.end, how, "ended as %d instead of %d", todo.end, how);
}

static void assert_counts(const char *name, int32_t amount, const char *tag)
{
    cr_assert_eq(todo.what, CALL_COUNT, "%d instead of counting %s", todo.what, name);
    cr_assert_eq(todo.count->name_len, strlen(name));
    cr_assert_arr_eq(todo.count->name, name, strlen(name), "%.*s instead of %s",
                     todo.count->name_len, todo.count->name, name);
    cr_assert_eq(todo.count->amount, amount);
    cr_assert_eq(todo.count->tag_len, strlen(tag));
    cr_assert_arr_eq(todo.count->tag, tag, strlen(tag));
    cr_assert_eq(todo.ms, 10000);
}

static void counted(enum status status, int64_t number, int64_t total)
{
    struct msg_count_rep rep = {.status = status, .number = number, .total = total};

    call_counted(call, &rep, now, &todo);
}

static void wait_over(void)
{
    cr_assert_eq(todo.what, CALL_WAIT);
    call_timeout(call, 0, now, &todo);
}

/* From the start of hits to its count. */
static void hits_until_count(void)
{
    begin("");
    greet("hits", "");
    assert_sends("ANSWER\n");
    receive("200 result=0\n");
    cr_assert_eq(todo.ms, 1000);
    wait_over();
    assert_counts("hits", 1, "");
}

Test(hits, it_says_the_number_and_hangs_up_and_sends_nothing_else)
{
    hits_until_count();
    cr_assert(id_is_zero(&todo.count->id));
    counted(STATUS_PROVISIONAL, 42, 42);
    assert_sends("STREAM FILE queue-thereare \"\"\n");
    cr_assert_eq(todo.ms, 600000);
    receive("200 result=0 endpos=18080\n");
    assert_sends("SAY NUMBER 42 \"\"\n");
    receive("200 result=0\n");
    assert_sends("STREAM FILE vm-goodbye \"\"\n");
    receive("200 result=0 endpos=7040\n");
    assert_sends("HANGUP\n");
    receive("200 result=1\n");
    assert_closes(CALL_END_HANGUP);
    end();
}

Test(hits, a_number_too_large_to_say_is_said_as_digits)
{
    hits_until_count();
    counted(STATUS_FINAL, 2147483647, 2147483647);
    receive("200 result=0 endpos=18080\n");
    assert_sends("SAY DIGITS 2147483647 \"\"\n");
    end();
}

Test(hits, the_path_names_the_counter)
{
    begin("");
    greet("hits/radio-1", "");
    receive("200 result=0\n");
    wait_over();
    assert_counts("radio-1", 1, "");
    end();
}

Test(hits, without_a_path_the_default_script_runs)
{
    begin("");
    receive("agi_network: yes\nagi_request: agi://h\n\n");
    assert_sends("ANSWER\n");
    receive("200 result=0\n");
    wait_over();
    assert_counts("hits", 1, "");
    end();
}

Test(hits, a_count_that_fails_is_heard_and_the_call_ended)
{
    static const enum status bad[] = {STATUS_UNAVAILABLE, STATUS_UNKNOWN, STATUS_DENIED,
                                      STATUS_ERROR};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hits_until_count();
        counted(bad[i], 7, 7);
        assert_sends("STREAM FILE please-try-call-later \"\"\n");
        receive("200 result=-1 endpos=0\n");
        assert_sends("HANGUP\n");
        receive("200 result=1\n");
        assert_closes(CALL_END_ERROR);
        end();
    }
}

Test(hits, a_count_without_an_answer_in_time_is_unknown_and_heard)
{
    hits_until_count();
    call_timeout(call, 0, now, &todo);
    assert_sends("STREAM FILE please-try-call-later \"\"\n");
    counted(STATUS_FINAL, 1, 1);
    cr_assert_eq(todo.what, CALL_READ);
    end();
    begin("[script s]\nstep = count\non-error = verbose ${status}\n");
    greet("s", "");
    call_timeout(call, 0, now, &todo);
    assert_sends("VERBOSE \"UNKNOWN\" 1\n");
    end();
}

Test(hits, a_missing_sound_is_skipped)
{
    hits_until_count();
    counted(STATUS_FINAL, 3, 3);
    receive("200 result=-1 endpos=0\n");
    assert_sends("SAY NUMBER 3 \"\"\n");
    end();
}

Test(hangup, in_the_middle_of_a_sound_nothing_more_is_sent)
{
    hits_until_count();
    counted(STATUS_FINAL, 3, 3);
    receive("200 result=-1 endpos=12000\n");
    assert_closes(CALL_END_HANGUP);
    end();
}

Test(hangup, glued_to_a_response_it_stops_the_next_command)
{
    hits_until_count();
    counted(STATUS_FINAL, 3, 3);
    receive("200 result=-1 endpos=0\nHANGUP\n");
    assert_closes(CALL_END_HANGUP);
    end();
}

Test(hangup, between_a_command_and_its_response_it_ends_the_call)
{
    hits_until_count();
    counted(STATUS_FINAL, 3, 3);
    receive("HANG");
    cr_assert_eq(todo.what, CALL_READ);
    receive("UP\n");
    assert_closes(CALL_END_HANGUP);
    end();
}

Test(hangup, during_a_wait_or_a_count_it_ends_the_call_at_once)
{
    begin("");
    greet("hits", "");
    receive("200 result=0\n");
    cr_assert_eq(todo.what, CALL_WAIT);
    receive("HANGUP\n");
    assert_closes(CALL_END_HANGUP);
    end();
    hits_until_count();
    receive("HANGUP\n");
    assert_closes(CALL_END_HANGUP);
    end();
}

Test(hangup, a_dead_channel_ends_the_call_where_no_hangup_line_comes)
{
    begin("");
    greet("hits", "");
    receive("511 Command Not Permitted on a dead channel or intercept routine\n");
    assert_closes(CALL_END_HANGUP);
    end();
}

/* AGISIGHUP=no: "-1" at a number may be a hangup or a missing sound; the next command tells. */
Test(hangup, an_ambiguous_failure_costs_one_command_more)
{
    hits_until_count();
    counted(STATUS_FINAL, 3, 3);
    receive("200 result=0 endpos=1\n");
    receive("200 result=-1\n");
    assert_sends("STREAM FILE please-try-call-later \"\"\n");
    receive("511 Command Not Permitted on a dead channel or intercept routine\n");
    assert_closes(CALL_END_HANGUP);
    end();
}

Test(count, it_tells_the_dialplan_and_goes_back_to_it)
{
    begin("");
    greet("count", "agi_arg_1: tickets\nagi_arg_2: by=3\nagi_arg_3: tag=web shop\n");
    assert_counts("tickets", 3, "web shop");
    cr_assert(id_is_zero(&todo.count->id));
    counted(STATUS_PROVISIONAL, 45, 48);
    assert_sends("SET VARIABLE TALLY_STATUS \"PROVISIONAL\"\n");
    receive("200 result=1\n");
    assert_sends("SET VARIABLE TALLY_NUMBER \"45\"\n");
    receive("200 result=1\n");
    assert_sends("SET VARIABLE TALLY_TOTAL \"48\"\n");
    receive("200 result=1\n");
    assert_sends("SET VARIABLE TALLY_NODE \"node1\"\n");
    receive("200 result=1\n");
    assert_closes(CALL_END_DONE);
    end();
}

Test(count, the_path_goes_before_the_argument)
{
    begin("");
    greet("count/tickets", "agi_arg_1: by=2\n");
    assert_counts("tickets", 2, "");
    end();
}

Test(count, a_failure_is_told_with_an_empty_number)
{
    begin("");
    greet("count", "agi_arg_1: tickets\n");
    counted(STATUS_UNAVAILABLE, 9, 9);
    assert_sends("SET VARIABLE TALLY_STATUS \"UNAVAILABLE\"\n");
    receive("200 result=1\n");
    assert_sends("SET VARIABLE TALLY_NUMBER \"\"\n");
    end();
}

Test(count, arguments_that_make_no_sense_are_an_error_and_count_nothing)
{
    static const char *const bad[] = {
        "",
        "agi_arg_1: \n",
        "agi_arg_1: a/b\n",
        "agi_arg_1: two words\n",
        "agi_arg_1: tickets\"\n",
        "agi_arg_1: %Y\n",
        "agi_arg_1: t\xc3\xbc\n",
        "agi_arg_1: 12345678901234567890123456789012345678901234567890123456789012345\n",
        "agi_arg_1: t\nagi_arg_2: by=0\n",
        "agi_arg_1: t\nagi_arg_2: by=-1\n",
        "agi_arg_1: t\nagi_arg_2: by=2147483648\n",
        "agi_arg_1: t\nagi_arg_2: by=99999999999999999999\n",
        "agi_arg_1: t\nagi_arg_2: by=1x\n",
        "agi_arg_1: t\nagi_arg_2: tag=a\tb\n",
        ("agi_arg_1: t\nagi_arg_2: "
         "tag=12345678901234567890123456789012345678901234567890123456789012345\n"),
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin("");
        greet("count", bad[i]);
        assert_sends("SET VARIABLE TALLY_STATUS \"ERROR\"\n");
        end();
    }
}

static struct id id_for(const char *counter, const char *id)
{
    char arguments[256];
    struct id made;

    snprintf(arguments, sizeof arguments, "agi_arg_1: %s\nagi_arg_2: id=%s\n", counter,
             id);
    begin("");
    greet("count", arguments);
    cr_assert_eq(todo.what, CALL_COUNT);
    made = todo.count->id;
    end();
    return made;
}

Test(count, an_id_makes_the_same_request_id_again_for_the_same_counter_only)
{
    struct id one = id_for("ab", "c"), again = id_for("ab", "c"),
              other = id_for("a", "bc"), next = id_for("ab", "d"),
              none = id_for("ab", "");

    cr_assert(id_equal(&one, &again));
    cr_assert_not(id_equal(&one, &other));
    cr_assert_not(id_equal(&one, &next));
    cr_assert_not(id_is_zero(&one));
    cr_assert(id_is_zero(&none));
}

/* The ids stand in logs: the way they are made must not change. BLAKE2b-128 of 02 "ab" "c". */
Test(count, an_id_is_blake2b_of_length_counter_and_text)
{
    struct id id = id_for("ab", "c");
    char hex[ID_HEX + 1];

    id_format(&id, hex);
    cr_assert_str_eq(hex, "dec139c19addc9a119f0cf923c9e41e0");
}

Test(count, an_option_given_twice_refuses_the_call)
{
    begin("");
    greet("count", "agi_arg_1: t\nagi_arg_2: by=1\nagi_arg_3: by=1000\n");
    assert_sends(
        "VERBOSE \"tally refuses this call: an argument NAME=... is there twice\" 1\n");
    end();
}

/* The h extension: the channel is dead, and these commands work all the same. */
Test(count, no_command_of_it_needs_a_living_channel)
{
    begin("");
    for (size_t i = 0; i < 2; i++) {
        const char *const names[] = {"count", "get"};
        const struct script *s = script_find(table, names[i], strlen(names[i]));
        for (size_t j = 1; j < s->steps.count; j++)
            cr_assert_eq(
                strncmp(s->steps.step[j].command.piece[0].text, "SET VARIABLE ", 13), 0);
    }
    end();
}

Test(get, its_number_is_the_total)
{
    struct msg_get_rep rep = {.status = STATUS_FINAL, .total = 12};

    begin("");
    greet("get", "agi_arg_1: tickets\n");
    cr_assert_eq(todo.what, CALL_GET);
    cr_assert_eq(todo.get->name_len, 7);
    cr_assert_arr_eq(todo.get->name, "tickets", 7);
    call_got(call, &rep, now, &todo);
    assert_sends("SET VARIABLE TALLY_STATUS \"FINAL\"\n");
    receive("200 result=1\n");
    assert_sends("SET VARIABLE TALLY_NUMBER \"12\"\n");
    receive("200 result=1\n");
    assert_sends("SET VARIABLE TALLY_TOTAL \"12\"\n");
    end();
}

Test(get, a_counter_that_makes_no_sense_is_an_error)
{
    begin("");
    greet("get", "agi_arg_1: a b\n");
    assert_sends("SET VARIABLE TALLY_STATUS \"ERROR\"\n");
    end();
}

Test(get, without_an_answer_it_is_unavailable)
{
    begin("");
    greet("get/tickets", "");
    call_timeout(call, 0, now, &todo);
    assert_sends("SET VARIABLE TALLY_STATUS \"UNAVAILABLE\"\n");
    end();
}

static void vote_until_key(const char *path)
{
    begin("");
    greet(path, "");
    receive("200 result=0\n");
    wait_over();
    assert_sends("GET DATA vm-press 10000 1\n");
    cr_assert_eq(todo.ms, 610000);
}

Test(vote, a_key_counts_for_its_own_counter)
{
    vote_until_key("vote");
    receive("200 result=5\n");
    assert_counts("vote-5", 1, "");
    counted(STATUS_FINAL, 1, 1);
    assert_sends("STREAM FILE auth-thankyou \"\"\n");
    end();
    vote_until_key("vote/song");
    receive("200 result=9\n");
    assert_counts("song-9", 1, "");
    end();
}

Test(vote, no_key_or_another_one_counts_nothing)
{
    static const char *const bad[] = {
        "200 result= (timeout)\n", "200 result=0\n", "200 result=#\n", "200 result=12\n",
        "200 result=-1\n",         "510 Invalid\n",  "200 result=\n",  "200 result=x\n"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vote_until_key("vote");
        receive(bad[i]);
        assert_sends("STREAM FILE please-try-call-later \"\"\n");
        end();
    }
}

Test(keys, a_digit_waited_for_comes_as_its_code)
{
    begin("[script s]\nstep = wait-for-digit 5s into=d\nstep = verbose \"<${d}>\"\n");
    greet("s", "");
    assert_sends("WAIT FOR DIGIT 5000\n");
    receive("200 result=53\n");
    assert_sends("VERBOSE \"<5>\" 1\n");
    end();
    begin("[script s]\nstep = wait-for-digit 5s into=d\nstep = verbose \"<${d}>\"\n");
    greet("s", "");
    receive("200 result=0\n");
    assert_sends("VERBOSE \"<>\" 1\n");
    end();
}

Test(keys, one_that_is_needed_and_was_not_pressed_is_an_error)
{
    static const char *const steps[] = {"get-data beep 5s 2", "wait-for-digit 5s"};
    static const char *const nothing[] = {"200 result= (timeout)\n", "200 result=0\n"};

    for (size_t i = 0; i < 2; i++) {
        char scripts[256];
        snprintf(scripts, sizeof scripts,
                 "[script s]\nstep = %s into=d digits=1-9\non-error = verbose none\n",
                 steps[i]);
        begin(scripts);
        greet("s", "");
        receive(nothing[i]);
        assert_sends("VERBOSE none 1\n");
        end();
    }
}

Test(keys, more_than_were_asked_for_are_none)
{
    begin("[script s]\nstep = get-data beep 5s 2 into=d\nstep = verbose \"<${d}>\"\n"
          "on-error = verbose \"bad <${d}>\"\n");
    greet("s", "");
    receive("200 result=123\n");
    assert_sends("VERBOSE \"bad <>\" 1\n");
    end();
}

Test(keys, an_empty_variable_in_a_counters_name_counts_nothing)
{
    begin("[script s]\nstep = get-data beep into=d\nstep = count code-${d}\n"
          "on-error = verbose ${status}\n");
    greet("s", "");
    receive("200 result= (timeout)\n");
    assert_sends("VERBOSE \"ERROR\" 1\n");
    end();
}

Test(names, time_is_local_time_at_the_count)
{
    begin("[script s]\nstep = count t-%Y%m%d-%H%M\n");
    greet("s", "");
    assert_counts("t-20261123-0422", 1, "");
    end();
    begin("[script s]\ncounter = day-%d\nstep = count\n");
    setenv("TZ", "UTC+12", 1);
    tzset();
    greet("s", "");
    assert_counts("day-22", 1, "");
    end();
}

Test(names, the_scripts_own_counter_yields_to_the_urls)
{
    begin("[script s]\ncounter = own\nstep = count ${counter}-x\n");
    greet("s", "");
    assert_counts("own-x", 1, "");
    end();
    begin("[script s]\ncounter = own\nstep = count ${counter}-x\n");
    greet("s/url", "");
    assert_counts("url-x", 1, "");
    end();
}

Test(data, it_never_leaves_its_quotes)
{
    begin("[script s]\nstep = verbose ${callerid}\n");
    receive("agi_network: yes\nagi_network_script: s\nagi_callerid: a\" 4 \\\n\n");
    assert_sends("VERBOSE \"a\\\" 4 \\\\\" 1\n");
    end();
}

Test(data, a_line_too_long_for_asterisk_is_never_sent)
{
    static char argument[9000], text[9200];

    begin("[script s]\nstep = verbose ${arg1}\nstep = verbose next\n");
    memset(argument, '"', 4089);
    snprintf(text, sizeof text,
             "agi_network: yes\nagi_network_script: s\nagi_arg_1: %s\n\n", argument);
    receive(text);
    cr_assert_eq(todo.what, CALL_SEND);
    cr_assert_eq(todo.len, strlen("VERBOSE \"\" 1\n") + (size_t)2 * 4089);
    cr_assert_leq(todo.len, AGI_COMMAND_MAX);
    receive("200 result=1\n");
    assert_sends("VERBOSE next 1\n");
    end();
    begin("[script s]\nstep = verbose ${arg1}\nstep = verbose next\n");
    memset(argument, '"', 4090);
    snprintf(text, sizeof text,
             "agi_network: yes\nagi_network_script: s\nagi_arg_1: %s\n\n", argument);
    receive(text);
    assert_sends("VERBOSE next 1\n");
    end();
}

Test(data, text_that_is_no_number_is_not_said)
{
    begin("[script s]\nstep = say-number ${arg1}\non-error = verbose no\n");
    greet("s", "agi_arg_1: 12abc\n");
    assert_sends("VERBOSE no 1\n");
    end();
    begin("[script s]\nstep = say-digits ${arg1}\non-error = verbose no\n");
    greet("s", "agi_arg_1: 1\" \"\n");
    assert_sends("VERBOSE no 1\n");
    end();
    begin("[script s]\nstep = say-number ${arg1} gender=f\n");
    greet("s", "agi_arg_1: 7\n");
    assert_sends("SAY NUMBER 7 \"\" f\n");
    end();
    begin("[script s]\nstep = say-digits ${arg1}\n");
    greet("s", "agi_arg_1: 04#*\n");
    assert_sends("SAY DIGITS 04#* \"\"\n");
    receive("200 result=0\n");
    assert_closes(CALL_END_DONE);
    end();
}

Test(errors, a_failed_step_runs_the_error_steps_and_each_of_them)
{
    static const char *const failures[] = {
        "200 result=-1\n",
        "200 result=-2\n",
        "510 Invalid or unknown command\n",
        "520 Invalid command syntax.  Proper usage not available.\n",
        "520-Invalid command syntax.  Proper usage follows:\ntext\n520 End of proper usage.\n",
    };

    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        begin("[script s]\nstep = exec App\nstep = answer\non-error = exec One\n"
              "on-error = exec Two\n");
        greet("s", "");
        receive(failures[i]);
        assert_sends("EXEC One\n");
        receive(failures[i]);
        assert_sends("EXEC Two\n");
        receive("200 result=0\n");
        assert_closes(CALL_END_ERROR);
        end();
    }
}

Test(errors, a_script_without_sound_and_error_steps_goes_on)
{
    begin("[script s]\nstep = exec App\nstep = answer\n");
    greet("s", "");
    receive("510 Invalid or unknown command\n");
    assert_sends("ANSWER\n");
    receive("200 result=0\n");
    assert_closes(CALL_END_DONE);
    end();
}

static void assert_refuses(const char *path, const char *why)
{
    char line[512];

    begin("");
    greet(path, "");
    snprintf(line, sizeof line, "VERBOSE \"tally refuses this call: %s\" 1\n", why);
    assert_sends(line);
    receive("200 result=1\n");
    assert_sends("SET VARIABLE TALLY_STATUS \"ERROR\"\n");
    receive("200 result=1\n");
    assert_closes(CALL_END_ERROR);
    end();
}

Test(refused, an_unknown_script_or_impossible_counter_is_told_to_the_dialplan)
{
    assert_refuses("hit", "there is no script \\\"hit\\\"");
    assert_refuses("hits?counter=x", "there is no script \\\"hits?counter=x\\\"");
    assert_refuses("/two//slashes", "there is no script \\\"\\\"");
    assert_refuses("hits/a/b", "\\\"a/b\\\" is no counter's name");
    assert_refuses("hits/%2e", "\\\"%2e\\\" is no counter's name");
    assert_refuses("a\x1b[2J", "there is no script \\\"a?[2J\\\"");
    assert_refuses(
        "1234567890123456789012345678901234567890123456789012345678901234567890",
        "there is no script "
        "\\\"1234567890123456789012345678901234567890123456789012345678901234\\\"");
}

Test(refused, a_lone_slash_behind_the_script_names_no_counter)
{
    begin("");
    greet("hits/", "");
    assert_sends("ANSWER\n");
    end();
}

#define OUT_OF_ORDER                                                                            \
    "VERBOSE \"tally refuses this call: its AGI environment is out of order: a newline in one " \
    "of its values\" 1\n"
#define ENDED_EARLY                                                                            \
    "VERBOSE \"tally refuses this call: its AGI environment ended early: a newline in one of " \
    "its values\" 1\n"

Test(forged, an_argument_forged_by_a_newline_does_not_count)
{
    begin("");
    receive("agi_network: yes\nagi_network_script: count\nagi_calleridname: Mallory\n"
            "agi_arg_1: forged\nagi_callingpres: 0\nagi_arg_1: real\n\n");
    assert_sends(OUT_OF_ORDER);
    end();
}

Test(forged, an_environment_that_ended_early_does_not_count)
{
    begin("");
    receive("agi_network: yes\nagi_network_script: count\nagi_calleridname: Mallory\n"
            "agi_arg_1: forged\n\nNOOP\nagi_callingpres: 0\nagi_arg_1: real\n\n");
    assert_sends(ENDED_EARLY);
    receive("200 result=1\n");
    assert_sends("SET VARIABLE TALLY_STATUS \"ERROR\"\n");
    end();
}

Test(forged, its_true_end_may_come_later_and_ends_the_script_then)
{
    begin("");
    receive("agi_network: yes\nagi_network_script: hits\nagi_calleridname: Mallory\n\n");
    assert_sends("ANSWER\n");
    receive("agi_callingpres: 0\n\n");
    cr_assert_eq(todo.what, CALL_READ);
    receive("200 result=0\n");
    assert_sends(ENDED_EARLY);
    end();
}

Test(greeting, byte_by_byte_is_the_same_as_at_once)
{
    static const char text[] =
        "agi_network: yes\nagi_network_script: count\nagi_arg_1: tickets\n\n";

    begin("");
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        cr_assert_not(call_greeted(call));
        receive_bytes(text + i, 1);
        cr_assert_eq(todo.what, i + 2 < sizeof text ? CALL_READ : CALL_COUNT);
    }
    cr_assert(call_greeted(call));
    assert_counts("tickets", 1, "");
    end();
}

Test(greeting, what_is_not_agi_is_closed_at_its_first_wrong_byte)
{
    begin("");
    receive("GET / HTTP/1.1\r\n");
    assert_closes(CALL_END_NOT_AGI);
    end();
}

Test(greeting, an_environment_without_end_is_closed_at_its_limit)
{
    static char block[4096];
    size_t sent = 17;

    memset(block, 'x', sizeof block);
    begin("");
    receive("agi_network: yes\n");
    do {
        cr_assert_eq(todo.what, CALL_READ);
        receive_bytes(block, sizeof block);
        sent += sizeof block;
    } while (todo.what == CALL_READ && sent < limits.greeting_bytes + 2 * sizeof block);
    assert_closes(CALL_END_TOO_LONG);
    end();
}

Test(greeting, one_that_is_complete_and_above_the_limit_is_refused_too)
{
    const struct call_limits small = {
        .greeting_bytes = 32, .node_name = "n", .default_script = "hits"};

    begin("");
    call_free(call);
    call = call_new(table, &small);
    receive("agi_network: yes\nagi_network_script: hits\n\n");
    assert_closes(CALL_END_TOO_LONG);
    end();
}

Test(greeting, one_above_16_kb_is_taken)
{
    static char text[40000] =
        "agi_network: yes\nagi_network_script: count/t\nagi_threadid: 1\n";
    size_t len = strlen(text);

    for (int i = 1; i <= 4; i++) {
        len += (size_t)sprintf(text + len, "agi_arg_%d: ", i);
        memset(text + len, 'x', 8000);
        len += 8000;
        text[len++] = '\n';
    }
    text[len++] = '\n';
    begin("");
    receive_bytes(text, len);
    assert_counts("t", 1, "");
    end();
}

Test(greeting, silence_ends_in_a_timeout_and_a_probe_without_a_word)
{
    begin("");
    call_timeout(call, 0, now, &todo);
    assert_closes(CALL_END_TIME);
    end();
    begin("");
    call_eof(call, &todo);
    assert_closes(CALL_END_EMPTY);
    end();
    begin("");
    receive("agi_netw");
    call_eof(call, &todo);
    assert_closes(CALL_END_GONE);
    end();
}

Test(bytes, a_response_line_without_end_is_closed_at_its_limit)
{
    static char line[AGI_LINE_MAX];

    memset(line, 'x', sizeof line);
    begin("");
    greet("hits", "");
    receive_bytes(line, sizeof line);
    cr_assert_eq(todo.what, CALL_READ);
    receive("x");
    assert_closes(CALL_END_TOO_LONG);
    end();
}

Test(bytes, junk_and_answers_that_nobody_asked_for_are_stepped_over)
{
    begin("");
    greet("hits", "");
    receive("what?\n\n200\n");
    cr_assert_eq(todo.what, CALL_READ);
    receive("200 result=0\n511 dead\n");
    cr_assert_eq(todo.what, CALL_WAIT);
    receive("200 result=0\n");
    cr_assert_eq(todo.what, CALL_READ);
    call_timeout(call, 0, now, &todo);
    cr_assert_eq(todo.what, CALL_COUNT);
    end();
}

Test(time, a_command_without_an_answer_and_a_call_without_end_are_closed)
{
    begin("");
    greet("hits", "");
    call_timeout(call, 0, now, &todo);
    assert_closes(CALL_END_TIME);
    end();
    hits_until_count();
    call_timeout(call, 1, now, &todo);
    assert_closes(CALL_END_TIME);
    end();
}

Test(time, a_wait_of_nothing_waits_for_nothing)
{
    begin("[script s]\nstep = wait 0s\nstep = answer\n");
    greet("s", "");
    assert_sends("ANSWER\n");
    end();
}
