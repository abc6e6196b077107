/* Asterisk's side of a call as agicall plays it, held against what a real Asterisk
 * did. */
#include <criterion/criterion.h>

#include "server/fake.h"
#include "server/fake_text.h"
#include "tests/lib/transcript.h"

/* A fake and all that it sent. */
struct rig {
    struct fake_caller caller;
    struct fake *fake;
    struct text sent;
    enum fake_do state; /* where it stands: FAKE_READ, _WAIT, _CLOSE or _BREACH */
    unsigned ms, commands;
    const char *reason;
};

static void pump(struct rig *r)
{
    struct fake_todo todo;

    for (;;) {
        fake_next(r->fake, &todo);
        switch (todo.what) {
        case FAKE_SEND:
            text_put(&r->sent, todo.bytes, todo.len);
            r->state = FAKE_READ;
            break;
        case FAKE_COMMAND:
            r->commands++;
            r->state = FAKE_READ;
            break;
        case FAKE_READ: /* A time that was told runs on. */
            return;
        case FAKE_WAIT:
            r->state = FAKE_WAIT;
            r->ms = todo.ms;
            break;
        case FAKE_CLOSE:
        case FAKE_BREACH:
            r->state = todo.what;
            r->reason = todo.reason;
            return;
        }
    }
}

static void start_leaving(struct rig *r, struct fake_caller caller, enum fake_leave leave,
                          unsigned at)
{
    *r = (struct rig){.caller = caller};
    if (caller.keys == NULL)
        r->caller.keys = "";
    r->fake = fake_new(&r->caller, leave, at);
    cr_assert_not_null(r->fake);
    pump(r);
}

static void start(struct rig *r, struct fake_caller caller)
{
    start_leaving(r, caller, FAKE_STAYS, 0);
}

static void end(struct rig *r)
{
    fake_free(r->fake);
    text_free(&r->sent);
}

static void serve(struct rig *r, const char *bytes)
{
    fake_received(r->fake, bytes, strlen(bytes));
    pump(r);
}

static void elapse(struct rig *r)
{
    fake_elapsed(r->fake);
    pump(r);
}

static void hang_up(struct rig *r)
{
    fake_hangup(r->fake);
    pump(r);
}

/* What was sent since the last look at it. */
static void assert_sent(struct rig *r, const char *expected)
{
    cr_assert_str_eq(r->sent.len > 0 ? r->sent.at : "", expected);
    r->sent.len = 0;
}

static struct fake_result result(const struct rig *r)
{
    struct fake_result found;

    fake_result(r->fake, &found);
    return found;
}

/* Recorded sessions. A command's time passes when the record has its answer next; the
 * caller of a record in which a command fails with -1 and then HANGUP comes left in the
 * middle of it. */

struct session {
    const char *name;
    const char *keys;
    const char *variable;
    bool dead;
    bool caller_leaves;
    /* Answers to commands that begin so are not compared: agicall does not play that. */
    const char *unplayed[4];
};

static const struct session sessions[] = {
    {.name = "agiexitonhangup-yes",
     .variable = "AGIEXITONHANGUP=yes",
     .caller_leaves = true},
    {.name = "agisighup-no", .variable = "AGISIGHUP=no", .caller_leaves = true},
    {.name = "arguments"},
    {.name = "bad-usage"},
    {.name = "caller-hangup-before-answer", .caller_leaves = true},
    {.name = "caller-hangup-exec", .caller_leaves = true},
    {.name = "caller-hangup-idle", .caller_leaves = true},
    {.name = "caller-hangup-midstream", .caller_leaves = true},
    {.name = "caller-hangup-saynumber", .caller_leaves = true},
    {.name = "caller-hangup-wait", .caller_leaves = true},
    {.name = "command-in-pieces"},
    {.name = "command-many-words"},
    {.name = "dead-start", .variable = "EXTEN=h", .dead = true},
    {.name = "digits-lost"},
    {.name = "digits-pressed", .keys = "512#73"},
    {.name = "digits-timeout"},
    {.name = "early-command"},
    {.name = "exec-app", .unplayed = {"EXEC NoSuchApp", "GET VARIABLE B"}},
    {.name = "failure-word"},
    {.name = "hangup-not-closed"},
    {.name = "hangup-other", .caller_leaves = true},
    {.name = "last-without-newline"},
    {.name = "missing-file"},
    {.name = "missing-file-then-hangup"},
    {.name = "normal-call"},
    {.name = "pipeline-exec-playback"},
    {.name = "pipeline-one-write"},
    {.name = "pipeline-say-number"},
    {.name = "pipeline-stream-one-write"},
    {.name = "pipeline-while-playing"},
    {.name = "say-number"},
    {.name = "say-number-large"},
    {.name = "say-others"},
    {.name = "server-closes"},
    {.name = "server-closes-at-once"},
    {.name = "server-closes-midstream"},
    {.name = "server-half-closes"},
    {.name = "server-resets"},
    {.name = "unknown-command"},
    {.name = "variables",
     .unplayed = {"SET CALLERID", "GET VARIABLE CALLERID", "GET VARIABLE CHANNEL"}},
    {.name = "verbose"},
};

static bool starts_with(const char *text, const char *start_of_it)
{
    return strncmp(text, start_of_it, strlen(start_of_it)) == 0;
}

static bool unplayed(const struct session *s, const char *command)
{
    for (size_t i = 0; i < 4 && s->unplayed[i] != NULL; i++)
        if (starts_with(command, s->unplayed[i]))
            return true;
    return false;
}

/* What differs and may: a sound's length, and the words of a command's usage. */
static void normalise(const char *from, struct text *to)
{
    bool usage = false;

    while (*from != '\0') {
        size_t len = strcspn(from, "\n");
        const char *endpos = strstr(from, " endpos=");

        if (starts_with(from, "520 "))
            usage = false;
        if (!usage && endpos != NULL && endpos < from + len && endpos[8] != '0') {
            text_put(to, from, (size_t)(endpos - from));
            text_puts(to, " endpos=N\n");
        } else if (!usage) {
            text_put(to, from, len);
            text_puts(to, "\n");
        }
        if (starts_with(from, "520-"))
            usage = true;
        from += len + (from[len] == '\n');
    }
}

/* The commands of one write of the server, all of them. */
static size_t serve_write(struct rig *r, const struct transcript *t, size_t i)
{
    struct text write = {0};

    do {
        text_put(&write, t->lines[i].bytes, t->lines[i].len);
        i++;
    } while (i < t->count && t->lines[i].who == TRANSCRIPT_SERVER && t->lines[i].joined);
    fake_received(r->fake, write.at, write.len);
    text_free(&write);
    pump(r);
    return i;
}

/* Let time pass, or the caller leave, until there is as much as Asterisk had sent. */
static void catch_up(struct rig *r, const struct session *s, const struct text *expected,
                     const char *line)
{
    struct text sent = {0};
    bool left = s->caller_leaves &&
                (strstr(line, "result=-1") != NULL || strcmp(line, "HANGUP\n") == 0);

    normalise(r->sent.len > 0 ? r->sent.at : "", &sent);
    if (sent.len < expected->len && r->state != FAKE_CLOSE) {
        if (left)
            hang_up(r);
        else
            elapse(r);
    }
    text_free(&sent);
}

static bool server_is_done(const char *event)
{
    return starts_with(event, "the server closes") ||
           starts_with(event, "the server shuts") ||
           starts_with(event, "the server resets");
}

/* Behind the environment of the first connection. */
static size_t skip_environment(const struct transcript *t)
{
    size_t i = 0;

    while (i < t->count && (t->lines[i].who != TRANSCRIPT_ASTERISK ||
                            strcmp(t->lines[i].bytes, "\n") != 0))
        i++;
    return i + 1;
}

static const char *last_status(const struct transcript *t)
{
    const char *status = NULL;

    for (size_t i = 0; i < t->count; i++)
        if (t->lines[i].who == TRANSCRIPT_LOG && strstr(t->lines[i].bytes, "AGISTATUS="))
            status = strstr(t->lines[i].bytes, "AGISTATUS=") + strlen("AGISTATUS=");
    return status;
}

static void replay(struct rig *r, const struct session *s, const struct transcript *t,
                   struct text *expected)
{
    bool skip_answer = false;

    for (size_t i = 0; i < t->count;) {
        const struct transcript_line *line = &t->lines[i];

        if (line->who == TRANSCRIPT_SERVER && r->state != FAKE_CLOSE) {
            skip_answer = unplayed(s, line->bytes);
            i = serve_write(r, t, i);
            continue;
        }
        if (line->who == TRANSCRIPT_EVENT && server_is_done(line->bytes)) {
            fake_eof(r->fake);
            pump(r);
        }
        if (line->who == TRANSCRIPT_ASTERISK && i >= skip_environment(t) && skip_answer) {
            /* Take the fake's answer for Asterisk's. */
            if (r->state == FAKE_WAIT)
                elapse(r);
            expected->len = 0;
            normalise(r->sent.at, expected);
            skip_answer = false;
        } else if (line->who == TRANSCRIPT_ASTERISK && i >= skip_environment(t)) {
            text_put(expected, line->bytes, line->len);
            catch_up(r, s, expected, line->bytes);
        }
        i++;
    }
}

static void compare(const struct session *s)
{
    const char *missing[] = {"nosuchfile", "no such file", "../../etc/passwd",
                             "beep.gsm"};
    const char *variables[] = {"EXTEN=script", "CONTEXT=default", "PRIORITY=2",
                               s->variable};
    struct transcript t = transcript_read(s->name);
    struct text expected = {0}, wanted = {0}, sent = {0};
    struct rig r;

    start(&r, (struct fake_caller){.keys = s->keys,
                                   .missing = missing,
                                   .missing_count = 4,
                                   .dead = s->dead,
                                   .think_ms = 1000,
                                   .answer_ms = 500,
                                   .patience_ms = 60000,
                                   .variables = variables,
                                   .variable_count = s->variable != NULL ? 4 : 3});
    replay(&r, s, &t, &expected);
    normalise(expected.len > 0 ? expected.at : "", &wanted);
    normalise(r.sent.len > 0 ? r.sent.at : "", &sent);
    if (wanted.at == NULL)
        text_puts(&wanted, "");
    /* The last HANGUP of all is not in the record where the server had closed before it
     * came. */
    cr_expect(sent.len == wanted.len || sent.len == wanted.len + strlen("HANGUP\n"),
              "%s: sent\n%s\nnot\n%s", s->name, sent.at, wanted.at);
    cr_expect(wanted.len == 0 || memcmp(sent.at, wanted.at, wanted.len) == 0,
              "%s: sent\n%s\nnot\n%s", s->name, sent.at, wanted.at);
    cr_expect(starts_with(last_status(&t), fake_status_name(result(&r).status)),
              "%s: %s, not %s", s->name, fake_status_name(result(&r).status),
              last_status(&t));
    end(&r);
    text_free(&expected);
    text_free(&wanted);
    text_free(&sent);
    transcript_free(&t);
}

Test(sessions, what_asterisk_did_is_what_the_fake_does)
{
    for (size_t i = 0; i < sizeof sessions / sizeof *sessions; i++)
        compare(&sessions[i]);
}

/* What the records do not show */

Test(fake, a_caller_who_leaves_during_a_command_gets_minus_one_and_the_line_hangup)
{
    struct rig r;

    start_leaving(&r, (struct fake_caller){.think_ms = 1000}, FAKE_LEAVES_DURING, 2);
    serve(&r, "ANSWER\n");
    assert_sent(&r, "200 result=0\n");
    serve(&r, "SAY NUMBER 7 \"\"\n");
    cr_assert_eq(r.state, FAKE_WAIT);
    cr_assert_eq(r.ms, 500, "half of what it would have taken");
    assert_sent(&r, "");
    elapse(&r);
    assert_sent(&r, "200 result=-1\nHANGUP\n");
    cr_assert(result(&r).caller_left);
    cr_assert_eq(result(&r).status, FAKE_HANGUP);
    end(&r);
}

Test(fake, a_late_hangup_line_comes_before_the_next_response)
{
    struct rig r;

    start_leaving(&r, (struct fake_caller){0}, FAKE_LEAVES_LATE, 1);
    serve(&r, "SAY NUMBER 7 \"\"\n");
    assert_sent(&r, "200 result=-1\n");
    serve(&r, "GET DATA beep 1000 3\n");
    assert_sent(&r, "HANGUP\n"
                    "511 Command Not Permitted on a dead channel or intercept routine\n");
    end(&r);
}

Test(fake, a_late_hangup_line_comes_by_itself_where_no_command_does)
{
    struct rig r;

    start_leaving(&r, (struct fake_caller){0}, FAKE_LEAVES_LATE, 1);
    serve(&r, "SAY NUMBER 7 \"\"\n");
    assert_sent(&r, "200 result=-1\n");
    cr_assert_eq(r.state, FAKE_WAIT);
    elapse(&r);
    assert_sent(&r, "HANGUP\n");
    end(&r);
}

Test(fake, a_caller_who_leaves_after_a_command_lets_it_succeed)
{
    struct rig r;

    start_leaving(&r, (struct fake_caller){0}, FAKE_LEAVES_AFTER, 1);
    serve(&r, "SAY NUMBER 7 \"\"\n");
    assert_sent(&r, "200 result=0\nHANGUP\n");
    end(&r);
}

Test(fake, a_command_that_asks_nothing_of_the_caller_succeeds_while_he_leaves)
{
    struct rig r;

    start_leaving(&r, (struct fake_caller){0}, FAKE_LEAVES_DURING, 1);
    serve(&r, "SET VARIABLE A 1\n");
    assert_sent(&r, "200 result=1\nHANGUP\n");
    end(&r);
}

Test(fake,
     the_number_said_is_known_with_its_command_and_is_the_int_that_asterisk_makes_of_it)
{
    static const struct {
        const char *command, *number;
    } cases[] = {
        {"SAY NUMBER 42 \"\"\n", "42"},
        {"SAY NUMBER 007 \"\"\n", "7"},
        {"SAY NUMBER 4294967297 \"\"\n", "1"},
        {"SAY NUMBER 2147483648 \"\"\n", "-2147483648"},
        {"SAY NUMBER 2147483647 \"\"\n", ""},
        {"SAY NUMBER none \"\"\n", ""},
        {"SAY DIGITS 9007199254740993 \"\"\n", "9007199254740993"},
        {"SET VARIABLE TALLY_NUMBER 5\n", "5"},
        {"SET VARIABLE TALLY_TOTAL 5\n", ""},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;

        start(&r, (struct fake_caller){.think_ms = 1000});
        serve(&r, cases[i].command);
        cr_assert_str_eq(result(&r).number, cases[i].number, "%s", cases[i].command);
        end(&r);
    }
}

Test(fake, the_first_number_of_a_call_counts)
{
    struct rig r;

    start(&r, (struct fake_caller){0});
    serve(&r, "SET VARIABLE TALLY_NUMBER 5\n");
    serve(&r, "SAY NUMBER 9 \"\"\n");
    cr_assert_str_eq(result(&r).number, "5");
    end(&r);
}

Test(fake, get_data_takes_keys_up_to_its_most_or_a_hash_and_says_when_it_had_to_give_up)
{
    struct rig r;

    start(&r, (struct fake_caller){.keys = "12345#67"});
    serve(&r, "GET DATA beep 5000 3\n");
    assert_sent(&r, "200 result=123\n");
    serve(&r, "GET DATA beep 5000 3\n");
    assert_sent(&r, "200 result=45\n");
    serve(&r, "GET DATA beep 5000 3\n");
    cr_assert_eq(r.ms, 5000);
    elapse(&r);
    assert_sent(&r, "200 result=67 (timeout)\n");
    serve(&r, "GET DATA beep\n");
    cr_assert_eq(r.ms, 6000, "the limit that Asterisk has by itself");
    elapse(&r);
    assert_sent(&r, "200 result= (timeout)\n");
    end(&r);
}

Test(fake, a_key_that_is_no_escape_digit_waits_for_a_command_that_takes_it)
{
    struct rig r;

    start(&r, (struct fake_caller){.keys = "5"});
    serve(&r, "STREAM FILE beep \"123\"\n");
    assert_sent(&r, "200 result=0 endpos=8000\n");
    serve(&r, "SAY NUMBER 1 \"5\"\n");
    assert_sent(&r, "200 result=53\n");
    serve(&r, "WAIT FOR DIGIT 10\n");
    elapse(&r);
    assert_sent(&r, "200 result=0\n");
    end(&r);
}

Test(fake, a_wait_without_an_end_ends_with_the_callers_patience)
{
    struct rig r;

    start(&r, (struct fake_caller){.patience_ms = 7000});
    serve(&r, "WAIT FOR DIGIT -1\n");
    cr_assert_eq(r.ms, 7000);
    elapse(&r);
    assert_sent(&r, "200 result=-1\nHANGUP\n");
    end(&r);
}

Test(fake, variables_that_the_server_set_are_told_in_their_order_with_their_last_values)
{
    const char *known[] = {"A=before"}, *name, *value;
    struct rig r;

    start(&r, (struct fake_caller){.variables = known, .variable_count = 1});
    serve(&r, "GET VARIABLE A\n");
    assert_sent(&r, "200 result=1 (before)\n");
    serve(&r, "SET VARIABLE B 1\n");
    serve(&r, "SET VARIABLE A \"two words\"\n");
    serve(&r, "SET VARIABLE B 2\n");
    cr_assert(fake_variable(r.fake, 0, &name, &value));
    cr_assert_str_eq(name, "B");
    cr_assert_str_eq(value, "2");
    cr_assert(fake_variable(r.fake, 1, &name, &value));
    cr_assert_str_eq(value, "two words");
    cr_assert_not(fake_variable(r.fake, 2, &name, &value));
    end(&r);
}

Test(fake, get_variable_shows_1023_bytes_and_get_full_variable_all)
{
    char value[2001], command[2048], expected[2048];
    struct rig r;

    memset(value, 'y', 2000);
    value[2000] = '\0';
    start(&r, (struct fake_caller){0});
    snprintf(command, sizeof command, "SET VARIABLE LONG %s\n", value);
    serve(&r, command);
    assert_sent(&r, "200 result=1\n");
    serve(&r, "GET FULL VARIABLE ${LONG}\n");
    snprintf(expected, sizeof expected, "200 result=1 (%s)\n", value);
    assert_sent(&r, expected);
    serve(&r, "GET VARIABLE LONG\n");
    snprintf(expected, sizeof expected, "200 result=1 (%.1023s)\n", value);
    assert_sent(&r, expected);
    end(&r);
}

Test(fake, a_command_in_pieces_is_run_when_its_newline_is_there)
{
    struct rig r;

    start(&r, (struct fake_caller){0});
    serve(&r, "NO");
    assert_sent(&r, "");
    serve(&r, "OP\nNO");
    assert_sent(&r, "200 result=0\n");
    serve(&r, "OP\n");
    assert_sent(&r, "200 result=0\n");
    cr_assert_eq(r.commands, 2);
    end(&r);
}

Test(fake, a_line_that_asterisk_would_cut_is_a_breach_and_one_byte_less_is_none)
{
    char line[FAKE_LINE_MAX + 2];
    struct rig r;

    memset(line, 'x', sizeof line);
    start(&r, (struct fake_caller){0});
    fake_received(r.fake, line, FAKE_LINE_MAX - 1);
    pump(&r);
    cr_assert_eq(r.state, FAKE_READ);
    serve(&r, "\n");
    assert_sent(&r, "510 Invalid or unknown command\n");
    fake_received(r.fake, line, FAKE_LINE_MAX);
    pump(&r);
    cr_assert_eq(r.state, FAKE_BREACH);
    cr_assert_not_null(r.reason);
    end(&r);
}

Test(fake, a_nul_byte_is_a_breach)
{
    struct rig r;

    start(&r, (struct fake_caller){0});
    fake_received(r.fake, "NO\0OP\n", 6);
    pump(&r);
    cr_assert_eq(r.state, FAKE_BREACH);
    end(&r);
}

/* tests/transcripts/pipeline-one-write.txt: Asterisk has read both, and looks again only
 * when the descriptor is readable. */
Test(fake, the_second_of_two_commands_in_one_write_waits_for_more_bytes)
{
    struct rig r;

    start(&r, (struct fake_caller){0});
    serve(&r, "NOOP\nCHANNEL STATUS\n");
    assert_sent(&r, "200 result=0\n");
    cr_assert(result(&r).ahead);
    serve(&r, "NOOP\n");
    assert_sent(&r, "200 result=4\n200 result=0\n");
    end(&r);
}

Test(fake, commands_sent_ahead_are_bounded)
{
    struct rig r;

    start(&r, (struct fake_caller){.think_ms = 1000});
    serve(&r, "SAY NUMBER 1 \"\"\n");
    for (int i = 0; i < FAKE_AHEAD_MAX / 4 && r.state != FAKE_BREACH; i++)
        serve(&r, "NOOP\n");
    cr_assert_eq(r.state, FAKE_BREACH);
    cr_assert(result(&r).ahead);
    end(&r);
}

Test(fake, a_close_while_a_command_runs_is_told_apart_from_one_between_commands)
{
    struct rig r;

    start(&r, (struct fake_caller){.think_ms = 1000});
    serve(&r, "SAY NUMBER 1 \"\"\n");
    fake_eof(r.fake);
    pump(&r);
    cr_assert_eq(r.state, FAKE_CLOSE);
    cr_assert(result(&r).running);
    end(&r);

    start(&r, (struct fake_caller){0});
    serve(&r, "SAY NUMBER 1 \"\"\n");
    fake_eof(r.fake);
    pump(&r);
    cr_assert_eq(r.state, FAKE_CLOSE);
    cr_assert_not(result(&r).running);
    end(&r);
}

Test(fake, exec_fails_where_it_is_told_to)
{
    struct rig r;

    start(&r, (struct fake_caller){.exec_fails = true});
    serve(&r, "EXEC Playback beep\n");
    assert_sent(&r, "200 result=-2\n");
    cr_assert_eq(result(&r).status, FAKE_SUCCESS);
    end(&r);
}
