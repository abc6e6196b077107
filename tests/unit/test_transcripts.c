/* Sessions recorded from a real Asterisk 22 (tests/transcripts/README.md), replayed byte
 * for byte against the protocol's parser and against calls. */
#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/agi.h"
#include "server/call.h"
#include "tests/unit/scripts.h"

enum { TURNS_MAX = 512, SESSIONS_MAX = 128 };

/* What one read or write brought. */
struct turn {
    char who; /* 'A' Asterisk, 'S' the server */
    char *bytes;
    size_t len;
};

/* One connection. */
struct session {
    char name[64]; /* the file's, without .txt */
    struct turn turn[TURNS_MAX];
    size_t turns;
};

static unsigned char unhex(const char *digits)
{
    const char pair[] = {digits[0], digits[1], '\0'};

    return (unsigned char)strtoul(pair, NULL, 16);
}

/* One quoted string of the file, put behind the turn's bytes. */
static void unquote(struct turn *turn, const char *quoted)
{
    const char *at = quoted + 1;

    turn->bytes = realloc(turn->bytes, turn->len + strlen(quoted));
    for (; *at != '"'; at++) {
        char c = *at;
        cr_assert_neq(c, '\0', "no end: %s", quoted);
        if (c == '\\') {
            c = *++at;
            if (c == 'x') {
                c = (char)unhex(at + 1);
                at += 2;
            } else {
                c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
            }
        }
        turn->bytes[turn->len++] = c;
    }
}

static void take_line(struct session *s, const char *line)
{
    bool more = strncmp(line, "        + ", 10) == 0;
    const char *who = line + 10;

    if ((*who != 'A' && *who != 'S') || who[1] != ' ' || who[2] != '"')
        return;
    if (!more || s->turns == 0 || s->turn[s->turns - 1].who != *who) {
        cr_assert_lt(s->turns, TURNS_MAX);
        s->turn[s->turns++] = (struct turn){.who = *who};
    }
    unquote(&s->turn[s->turns - 1], who + 2);
}

static struct session sessions[SESSIONS_MAX];

/* All connections of all files; read once, and kept until the test's process ends. */
static size_t load(void)
{
    static size_t count;
    size_t size = 0;
    char *line = NULL;
    glob_t files;

    if (count > 0)
        return count;
    cr_assert_eq(glob(TESTS_DIR "/transcripts/*.txt", 0, NULL, &files), 0);
    cr_assert_geq(files.gl_pathc, 60);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        const char *base = strrchr(files.gl_pathv[i], '/') + 1;
        FILE *f = fopen(files.gl_pathv[i], "r");
        cr_assert_not_null(f);
        while (getline(&line, &size, f) > 0) {
            if (strstr(line, " - connection ") != NULL &&
                strstr(line, " accepted") != NULL) {
                cr_assert_lt(count, SESSIONS_MAX);
                snprintf(sessions[count].name, sizeof sessions[count].name, "%.*s",
                         (int)strlen(base) - 4, base);
                count++;
            } else if (count > 0 && line[0] != '#') {
                take_line(&sessions[count - 1], line);
            }
        }
        fclose(f);
    }
    free(line);
    globfree(&files);
    return count;
}

static const struct session *session_of(const char *name)
{
    size_t count = load(), i = 0;

    while (i < count && strcmp(sessions[i].name, name) != 0)
        i++;
    cr_assert_lt(i, count, "there is no transcript %s", name);
    return &sessions[i];
}

/* ---- the parser ---- */

/* The parser's caller: keeps what is not complete, and writes down what comes. */
struct reading {
    char *bytes;
    size_t len, scanned;
    bool greeted; /* the environment is complete */
    struct agi_parser parser;
    char *events;
    size_t events_len;
    FILE *to;
    size_t responses, hangups;
};

static void read_line(struct reading *r, const char *line, size_t len)
{
    struct agi_response response;

    switch (agi_parse_line(&r->parser, line, len, &response)) {
    case AGI_RESPONSE:
        r->responses++;
        fprintf(r->to, "%u %d %lld [%.*s] [%.*s] %d %lld\n", response.code,
                response.has_result, response.has_result ? (long long)response.result : 0,
                (int)response.digits.len, response.digits.at, (int)response.value.len,
                response.value.at, response.timeout, (long long)response.endpos);
        break;
    case AGI_HANGUP:
        r->hangups++;
        fprintf(r->to, "HANGUP\n");
        break;
    case AGI_PART:
        fprintf(r->to, "part\n");
        break;
    case AGI_STRAY:
    case AGI_JUNK:
        fprintf(r->to, "junk %.*s\n", (int)len, line);
        break;
    }
}

static void read_more(struct reading *r, const char *bytes, size_t len)
{
    size_t used = 0;
    const char *newline;

    r->bytes = realloc(r->bytes, r->len + len + 1);
    memcpy(r->bytes + r->len, bytes, len);
    r->len += len;
    if (!r->greeted) {
        struct agi_env env;
        enum err err = agi_env_parse(r->bytes, r->len, &r->scanned, &env, &used);
        if (err == ERR_AGAIN)
            return;
        cr_assert_eq(err, ERR_OK);
        r->greeted = true;
        fprintf(r->to,
                "%zu bytes, %zu arguments, uniqueid %.*s, script %.*s, forged %d\n", used,
                env.args, (int)env.value[AGI_UNIQUEID].len, env.value[AGI_UNIQUEID].at,
                (int)env.value[AGI_NETWORK_SCRIPT].len, env.value[AGI_NETWORK_SCRIPT].at,
                env.forged);
    }
    while ((newline = memchr(r->bytes + used, '\n', r->len - used)) != NULL) {
        read_line(r, r->bytes + used, (size_t)(newline - r->bytes) - used);
        used = (size_t)(newline - r->bytes) + 1;
    }
    r->len -= used;
    memmove(r->bytes, r->bytes + used, r->len);
}

/* How the bytes are cut: 0 as recorded, 1 byte by byte, 2 all at once. */
static void read_session(const struct session *s, int cut, struct reading *r)
{
    char *all = NULL;
    size_t len = 0;

    *r = (struct reading){0};
    r->to = open_memstream(&r->events, &r->events_len);
    for (size_t i = 0; i < s->turns; i++) {
        const struct turn *t = &s->turn[i];
        if (t->who != 'A')
            continue;
        if (cut == 0)
            read_more(r, t->bytes, t->len);
        for (size_t j = 0; cut == 1 && j < t->len; j++)
            read_more(r, t->bytes + j, 1);
        all = realloc(all, len + t->len);
        memcpy(all + len, t->bytes, t->len);
        len += t->len;
    }
    if (cut == 2 && len > 0)
        read_more(r, all, len);
    fclose(r->to);
    free(all);
    free(r->bytes);
    cr_assert_eq(r->len, 0, "%s ends in half a line", s->name);
}

Test(transcripts, however_tcp_cuts_the_bytes_the_parser_sees_the_same)
{
    size_t count = load();

    cr_assert_geq(count, 58);
    for (size_t i = 0; i < count; i++) {
        struct reading as_recorded, other;
        read_session(&sessions[i], 0, &as_recorded);
        for (int cut = 1; cut <= 2; cut++) {
            read_session(&sessions[i], cut, &other);
            cr_assert_str_eq(as_recorded.events, other.events, "%s", sessions[i].name);
            free(other.events);
        }
        free(as_recorded.events);
    }
}

/* Lines that the server sent; a last one may lack its newline. */
static size_t commands_in(const struct session *s)
{
    size_t commands = 0;
    char last = '\n';

    for (size_t i = 0; i < s->turns; i++)
        for (size_t j = 0; s->turn[i].who == 'S' && j < s->turn[i].len; j++) {
            last = s->turn[i].bytes[j];
            commands += last == '\n';
        }
    return commands + (last != '\n');
}

/* The transcripts in which responses are not as many as commands, and why. */
static const struct {
    const char *name;
    int more; /* responses than commands */
} uneven[] = {
    {"agiexitonhangup-yes", -1},    /* Asterisk closed before it read the last one */
    {"command-too-long", 1},        /* Asterisk ran the rest of the long line as well */
    {"failure-word", -1},           /* "failure" is not answered */
    {"newline-injection", 1},       /* a value with a newline forged a response */
    {"nul-byte", -1},               /* the NUL ate a newline: two lines, one command */
    {"pipeline-while-playing", -2}, /* the stopped commands are not answered */
    {"server-closes-midstream", -1},
    {"server-half-closes", -1},
};

static int more_responses(const char *name)
{
    for (size_t i = 0; i < sizeof uneven / sizeof *uneven; i++)
        if (strcmp(uneven[i].name, name) == 0)
            return uneven[i].more;
    return 0;
}

Test(transcripts, each_command_has_its_response_but_for_those_known_to_have_none)
{
    size_t count = load();

    for (size_t i = 0; i < count; i++) {
        struct reading r;
        read_session(&sessions[i], 0, &r);
        free(r.events);
        if (!r.greeted)
            continue;
        cr_assert_eq((int)r.responses,
                     (int)commands_in(&sessions[i]) + more_responses(sessions[i].name),
                     "%s: %zu responses, %zu commands", sessions[i].name, r.responses,
                     commands_in(&sessions[i]));
    }
}

/* The file's own lines, counted without the parser: each of Asterisk's lines is one
 * string there. */
static size_t lines_in(const struct session *s, const char *start)
{
    size_t count = 0;

    for (size_t i = 0; i < s->turns; i++) {
        const struct turn *t = &s->turn[i];
        for (size_t j = 0; t->who == 'A' && j < t->len; j++)
            count += (j == 0 || t->bytes[j - 1] == '\n') && t->len - j >= strlen(start) &&
                     memcmp(t->bytes + j, start, strlen(start)) == 0;
    }
    return count;
}

Test(transcripts, no_response_and_no_hangup_of_the_file_is_missed)
{
    size_t count = load();

    for (size_t i = 0; i < count; i++) {
        const struct session *s = &sessions[i];
        struct reading r;
        read_session(s, 0, &r);
        cr_assert_eq(r.hangups, lines_in(s, "HANGUP\n"), "%s", s->name);
        cr_assert_eq(r.responses,
                     lines_in(s, "200 ") + lines_in(s, "510 ") + lines_in(s, "511 ") +
                         lines_in(s, "520 "),
                     "%s", s->name);
        free(r.events);
    }
}

Test(transcripts, only_the_session_with_a_newline_in_a_value_looks_forged)
{
    size_t count = load();

    for (size_t i = 0; i < count; i++) {
        struct reading r;
        read_session(&sessions[i], 0, &r);
        cr_assert_null(strstr(r.events, "forged 1"), "%s", sessions[i].name);
        cr_assert_eq(strstr(r.events, "junk agi_") != NULL,
                     strcmp(sessions[i].name, "newline-injection") == 0, "%s",
                     sessions[i].name);
        free(r.events);
    }
}

/* ---- calls ---- */

/* A call played against a recording: Asterisk's bytes go in; what comes out must be the
 * server's. */
struct play {
    struct script_table *table;
    struct call *call;
    struct call_todo todo;
    size_t sent; /* bytes that equalled the recorded ones */
};

static const int64_t now = 1795407734;

/* What needs no bytes from Asterisk happens at once. */
static void play_own(struct play *p)
{
    while (p->todo.what == CALL_WAIT || p->todo.what == CALL_COUNT) {
        struct msg_count_rep rep = {.status = STATUS_FINAL, .number = 42, .total = 42};
        if (p->todo.what == CALL_WAIT && p->todo.ms > 5000)
            return; /* Long waits are there for a hangup to end them. */
        if (p->todo.what == CALL_WAIT)
            call_timeout(p->call, 0, now, &p->todo);
        else
            call_counted(p->call, &rep, now, &p->todo);
    }
}

static void play_asterisk(struct play *p, const struct turn *t, bool bytewise)
{
    for (size_t at = 0; at < t->len && p->todo.what != CALL_CLOSE;) {
        size_t len = bytewise ? 1 : t->len;
        struct call_todo todo;
        call_received(p->call, t->bytes + at, len, now, &todo);
        if (todo.what != CALL_READ)
            p->todo = todo;
        at += len;
    }
}

static void play_server(struct play *p, const struct session *s, const struct turn *t)
{
    play_own(p);
    cr_assert_eq(p->todo.what, CALL_SEND, "%s: %.*s", s->name, (int)t->len, t->bytes);
    cr_assert_eq(p->todo.len, t->len, "%s: %.*s instead of %.*s", s->name,
                 (int)p->todo.len, p->todo.bytes, (int)t->len, t->bytes);
    cr_assert_arr_eq(p->todo.bytes, t->bytes, t->len, "%s: %.*s instead of %.*s", s->name,
                     (int)p->todo.len, p->todo.bytes, (int)t->len, t->bytes);
    p->sent += t->len;
    p->todo.what = CALL_READ;
}

static void assert_plays(const char *name, const char *scripts, enum call_end end,
                         const char *last_sent)
{
    static const struct call_limits limits = {.command_ms = 60000,
                                              .answer_ms = 10000,
                                              .greeting_bytes = 65536,
                                              .node_name = "n",
                                              .default_script = "hits"};
    const struct session *s = session_of(name);

    for (int bytewise = 0; bytewise <= 1; bytewise++) {
        struct play p = {.table = compiled(scripts)};
        const struct turn *last = NULL;
        p.call = call_new(p.table, &limits);
        for (size_t i = 0; i < s->turns && p.todo.what != CALL_CLOSE; i++) {
            if (s->turn[i].who == 'A') {
                play_asterisk(&p, &s->turn[i], bytewise);
            } else {
                last = &s->turn[i];
                play_server(&p, s, last);
            }
        }
        play_own(&p);
        cr_assert_eq(p.todo.what, CALL_CLOSE, "%s", name);
        cr_assert_eq(p.todo.end, end, "%s ended as %d", name, p.todo.end);
        if (last_sent == NULL) {
            cr_assert_null(last);
        } else {
            cr_assert_eq(last->len, strlen(last_sent), "%s: %.*s", name, (int)last->len,
                         last->bytes);
            cr_assert_arr_eq(last->bytes, last_sent, last->len);
        }
        call_free(p.call);
        script_table_free(p.table);
    }
}

Test(transcripts, the_script_hits_sends_the_very_bytes_of_the_recorded_call)
{
    assert_plays("normal-call", "", CALL_END_HANGUP, "HANGUP\n");
}

Test(transcripts, when_the_caller_hangs_up_nothing_more_is_sent)
{
    assert_plays("caller-hangup-midstream",
                 "[script caller-hangup-midstream]\nstep = answer\n"
                 "step = stream-file demo-congrats 0-9\nstep = hangup\n",
                 CALL_END_HANGUP, "STREAM FILE demo-congrats \"0123456789\"\n");
    assert_plays("caller-hangup-saynumber",
                 "[script caller-hangup-saynumber]\nstep = answer\n"
                 "step = say-number 777777777\nstep = hangup\non-error = wait 10s\n",
                 CALL_END_HANGUP, "SAY NUMBER 777777777 \"\"\n");
    assert_plays("caller-hangup-exec",
                 "[script caller-hangup-exec]\nstep = answer\nstep = exec Wait 10\n"
                 "step = hangup\non-error = wait 10s\n",
                 CALL_END_HANGUP, "EXEC Wait 10\n");
    assert_plays(
        "caller-hangup-idle",
        "[script caller-hangup-idle]\nstep = answer\nstep = wait 10s\nstep = hangup\n",
        CALL_END_HANGUP, "ANSWER\n");
    assert_plays("caller-hangup-before-answer",
                 "[script caller-hangup-before-answer]\nstep = wait 10s\nstep = answer\n",
                 CALL_END_HANGUP, NULL);
}

Test(transcripts, where_no_hangup_line_comes_the_end_position_tells)
{
    assert_plays(
        "agisighup-no",
        "[script agisighup-no]\nstep = answer\nstep = stream-file demo-congrats\n"
        "step = hangup\n",
        CALL_END_HANGUP, "STREAM FILE demo-congrats \"\"\n");
}

Test(transcripts, on_a_channel_that_is_dead_from_the_start_one_command_is_sent)
{
    assert_plays("dead-start", "[script dead-start]\nstep = answer\nstep = hangup\n",
                 CALL_END_HANGUP, "ANSWER\n");
}

Test(transcripts, a_missing_sound_is_skipped_and_the_call_goes_on)
{
    assert_plays(
        "missing-file-then-hangup",
        "[script missing-file-then-hangup]\nstep = answer\nstep = stream-file nosuchfile\n"
        "step = stream-file beep\nstep = hangup\n",
        CALL_END_HANGUP, "HANGUP\n");
}

Test(transcripts, keys_and_arguments_arrive_in_their_variables)
{
    assert_plays(
        "digits-pressed",
        "[script digits-pressed]\nstep = wait-for-digit 5s into=d digits=5\n"
        "step = get-data beep 5s 4 into=e digits=12\nstep = stream-file demo-congrats 7-9\n",
        CALL_END_DONE, "STREAM FILE demo-congrats \"789\"\n");
    assert_plays(
        "arguments",
        "[script increment]\nstep = verbose \"counter ${arg1}\"\nstep = wait 0s\n",
        CALL_END_DONE, "VERBOSE \"counter contest\" 1\n");
}

Test(transcripts, a_variable_for_asterisk_to_expand_passes_as_text)
{
    assert_plays(
        "exec-app",
        "[script exec-app]\nstep = answer\nstep = exec NoOp\nstep = exec NoOp hello\n",
        CALL_END_DONE, "EXEC NoOp hello\n");
}
