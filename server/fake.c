#include "server/fake.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/fake_command.h"
#include "server/fake_text.h"
#include "server/fake_words.h"

enum {
    /* Nagle's algorithm holds the line HANGUP back so long, when a response went just
     * before it. */
    LATE_MS = 40,
    /* A sound that takes no time is taken for one of this length, in samples of 8 kHz. */
    SOUND_SAMPLES = 8000,
    SAMPLES_PER_MS = 8,
    /* What GET DATA waits for a key where the command does not say. */
    GET_DATA_MS = 6000,
};

struct variable {
    char *name, *value;
};

struct fake {
    const struct fake_caller *caller;
    enum fake_leave leave;
    unsigned leave_at;
    const char *keys; /* not pressed yet */
    bool sighup, exit_on_hangup;

    /* What the server sent. Asterisk reads it through a stdio buffer and looks at it only
     * when the descriptor is readable: in[start..seen) stands in that buffer,
     * in[seen..len) has yet to be read. */
    struct text in;
    size_t start, seen;
    bool eof;

    /* The command that runs: NULL for none. answer is what it will say. */
    const struct fake_command *running;
    struct text answer;
    unsigned run_ms;
    bool timed;       /* FAKE_WAIT was said */
    bool leaves_here; /* the caller hangs up when its time is over */

    struct text out;  /* what to send, not handed out yet */
    struct text line; /* the command as it came, and its words */
    struct text words;

    bool dead, over, caller_left, failed, up, ahead;
    bool hangup_owed, hangup_timed; /* the line HANGUP is on its way */
    bool closing;
    const char *breach;
    unsigned commands, refused;
    const char *playback; /* PLAYBACKSTATUS, "" until something was played */
    char number[FAKE_NUMBER_MAX];
    struct variable *variables;
    size_t variable_count;
};

/* Variables */

/* The value in "NAME=VALUE", or NULL where it is of another name. */
static const char *value_in(const char *assignment, const char *name)
{
    size_t len = strlen(name);

    if (strncmp(assignment, name, len) != 0 || assignment[len] != '=')
        return NULL;
    return assignment + len + 1;
}

static struct variable *find_variable(const struct fake *f, const char *name)
{
    for (size_t i = 0; i < f->variable_count; i++)
        if (strcmp(f->variables[i].name, name) == 0)
            return &f->variables[i];
    return NULL;
}

static const char *get_variable(const struct fake *f, const char *name)
{
    const struct variable *v = find_variable(f, name);

    if (v != NULL)
        return v->value;
    if (strcmp(name, "PLAYBACKSTATUS") == 0 && f->playback[0] != '\0')
        return f->playback;
    /* The last one given counts. */
    for (size_t i = f->caller->variable_count; i-- > 0;) {
        const char *value = value_in(f->caller->variables[i], name);

        if (value != NULL)
            return value;
    }
    return NULL;
}

static struct variable *add_variable(struct fake *f, const char *name)
{
    struct variable *v = NULL;

    if (f->variable_count == FAKE_VARIABLES_MAX) {
        f->breach = "sets more than 256 variables in one call";
        return NULL;
    }
    /* Room for all is made at once: most calls set none, or some of few names. */
    if (f->variables == NULL)
        f->variables = calloc(FAKE_VARIABLES_MAX, sizeof *f->variables);
    if (f->variables != NULL)
        v = &f->variables[f->variable_count];
    if (v != NULL && (v->name = strdup(name)) != NULL) {
        f->variable_count++;
        return v;
    }
    f->breach = "out of memory";
    return NULL;
}

static void note_number(struct fake *f, const char *number)
{
    size_t len = strlen(number);

    if (f->number[0] == '\0' && len < sizeof f->number)
        memcpy(f->number, number, len + 1);
}

static void set_variable(struct fake *f, const char *name, const char *value)
{
    struct variable *v = find_variable(f, name);
    char *copy = strdup(value);

    if (v == NULL)
        v = add_variable(f, name);
    if (v == NULL || copy == NULL) {
        free(copy);
        if (f->breach == NULL)
            f->breach = "out of memory";
        return;
    }
    free(v->value);
    v->value = copy;
    if (strcmp(name, "TALLY_NUMBER") == 0)
        note_number(f, value);
}

/* ${NAME} stands for that variable's value; functions and nesting are not played. */
static void expand(const struct fake *f, const char *from, struct text *to)
{
    const char *open, *close;

    while ((open = strstr(from, "${")) != NULL && (close = strchr(open, '}')) != NULL) {
        char *name = strndup(open + 2, (size_t)(close - open) - 2);
        const char *value = name != NULL ? get_variable(f, name) : NULL;

        text_put(to, from, (size_t)(open - from));
        if (value != NULL)
            text_puts(to, value);
        to->failed = to->failed || name == NULL;
        free(name);
        from = close + 1;
    }
    text_puts(to, from);
}

/* The handlers of commands: each puts the whole answer, without its newline, into
 * f->answer and says by f->run_ms how long it takes. False for bad usage. w has count
 * words and a NULL behind them. */

/* As sscanf("%d") reads a C int: what follows the digits is not looked at, and what does
 * not fit wraps. */
static bool read_int(const char *word, int *value)
{
    char *end;
    long wide = strtol(word, &end, 10);

    *value = (int)(unsigned)(unsigned long)wide;
    return end != word;
}

/* The next key of the caller if it is one of `digits`, else NUL. */
static char press(struct fake *f, const char *digits)
{
    if (*f->keys == '\0' || strchr(digits, *f->keys) == NULL)
        return '\0';
    return *f->keys++;
}

static void answer_result(struct fake *f, int result)
{
    text_printf(&f->answer, "200 result=%d", result);
}

static bool sound_missing(const struct fake *f, const char *name)
{
    if (name[0] == '\0')
        return true;
    for (size_t i = 0; i < f->caller->missing_count; i++)
        if (strcmp(f->caller->missing[i], name) == 0)
            return true;
    return false;
}

static unsigned sound_samples(const struct fake *f)
{
    unsigned ms = f->caller->think_ms;

    return ms == 0                          ? SOUND_SAMPLES
           : ms < UINT_MAX / SAMPLES_PER_MS ? ms * SAMPLES_PER_MS
                                            : UINT_MAX;
}

static void play(struct fake *f, const char *const *w)
{
    if (sound_missing(f, w[0])) {
        text_puts(&f->answer, "200 result=-1 endpos=0");
        f->failed = true;
        f->playback = "FAILED";
        return;
    }
    f->run_ms = f->caller->think_ms;
    f->playback = "SUCCESS";
    text_printf(&f->answer, "200 result=%d endpos=%u", press(f, w[1]), sound_samples(f));
}

static bool stream_file(struct fake *f, const char *const *w, size_t count)
{
    int offset;

    if (count == 5 && strcasecmp(w[0], "STREAM") == 0 && !read_int(w[4], &offset))
        return false;
    play(f, w + (strcasecmp(w[0], "CONTROL") == 0 ? 3 : 2));
    return true;
}

/* A wait for a key, which ends at once where one is pressed. ms below 0 is without an
 * end. */
static void wait_for_key(struct fake *f, int ms, bool pressed)
{
    if (!pressed)
        f->run_ms = ms < 0 ? f->caller->patience_ms : (unsigned)ms;
    if (!pressed && ms < 0)
        f->leaves_here = true;
}

static bool get_data(struct fake *f, const char *const *w, size_t count)
{
    char digits[FAKE_PRESSED_MAX + 1];
    size_t len = 0, most = FAKE_PRESSED_MAX;
    int number, ms = count > 3 ? atoi(w[3]) : 0;
    bool ended = false;

    if (count > 4 && (number = atoi(w[4])) > 0 && number < FAKE_PRESSED_MAX)
        most = (size_t)number;
    if (sound_missing(f, w[2])) {
        answer_result(f, -1);
        return true;
    }
    while (len < most && *f->keys != '\0' && !ended) {
        ended = *f->keys == '#';
        if (!ended)
            digits[len++] = *f->keys;
        f->keys++;
    }
    ended = ended || len == most;
    digits[len] = '\0';
    text_puts(&f->answer, "200 result=");
    text_put(&f->answer, digits, len);
    if (!ended)
        text_puts(&f->answer, " (timeout)");
    wait_for_key(f, ms == 0 ? GET_DATA_MS : ms, ended);
    if (f->run_ms <= UINT_MAX - f->caller->think_ms)
        f->run_ms += f->caller->think_ms;
    return true;
}

static bool wait_for_digit(struct fake *f, const char *const *w)
{
    char key;
    int ms;

    if (!read_int(w[3], &ms))
        return false;
    key = press(f, "0123456789*#ABCD");
    wait_for_key(f, ms, key != '\0');
    answer_result(f, key);
    return true;
}

static bool say(struct fake *f, const char *digits)
{
    f->run_ms = f->caller->think_ms;
    answer_result(f, press(f, digits));
    return true;
}

static bool say_number(struct fake *f, const char *const *w)
{
    char number[FAKE_NUMBER_MAX];
    int value;

    if (!read_int(w[2], &value))
        return false;
    if (value == INT_MAX) { /* Asterisk says nothing, and that all is well. */
        answer_result(f, 0);
        return true;
    }
    snprintf(number, sizeof number, "%d", value);
    note_number(f, number);
    return say(f, w[3]);
}

static bool say_digits(struct fake *f, const char *const *w)
{
    int value;

    if (!read_int(w[2], &value))
        return false;
    if (w[2][strspn(w[2], "0123456789")] == '\0')
        note_number(f, w[2]);
    return say(f, w[3]);
}

static bool get_variable_answer(struct fake *f, const char *name)
{
    const char *value = get_variable(f, name);

    if (value == NULL) {
        answer_result(f, 0);
        return true;
    }
    text_puts(&f->answer, "200 result=1 (");
    text_put(&f->answer, value, strnlen(value, FAKE_VARIABLE_SHOWN_MAX));
    text_puts(&f->answer, ")");
    return true;
}

static bool get_full_variable(struct fake *f, const char *expression)
{
    text_puts(&f->answer, "200 result=1 (");
    expand(f, expression, &f->answer);
    text_puts(&f->answer, ")");
    return true;
}

static bool own_channel(const struct fake *f, const char *name)
{
    const char *own = get_variable(f, "CHANNEL");

    return name == NULL || (own != NULL && strcmp(own, name) == 0);
}

static void exec_set(struct fake *f, const char *assignment)
{
    char *name = strndup(assignment, strcspn(assignment, "="));

    if (name == NULL)
        f->breach = "out of memory";
    else if (assignment[strlen(name)] == '=')
        set_variable(f, name, assignment + strlen(name) + 1);
    free(name);
}

static bool exec(struct fake *f, const char *const *w)
{
    const char *options = w[2] != NULL ? w[2] : "";

    if (f->caller->exec_fails) {
        answer_result(f, -2);
        return true;
    }
    if (strcasecmp(w[1], "Hangup") == 0) {
        answer_result(f, -1);
        f->over = true;
        return true;
    }
    if (strcasecmp(w[1], "Playback") == 0) {
        f->playback = sound_missing(f, options) ? "FAILED" : "SUCCESS";
        f->run_ms = f->caller->think_ms;
    } else if (strcasecmp(w[1], "Wait") == 0) {
        double seconds = atof(options);

        f->run_ms =
            seconds > 0 && seconds < UINT_MAX / 1000 ? (unsigned)(seconds * 1000) : 0;
    } else if (strcasecmp(w[1], "Set") == 0) {
        exec_set(f, options);
    }
    answer_result(f, 0);
    return true;
}

static bool run(struct fake *f, const struct fake_command *c, const char *const *w,
                size_t count)
{
    int number;

    switch (c->verb) {
    case VERB_ANSWER:
        f->run_ms = f->up ? 0 : f->caller->answer_ms;
        f->up = true;
        answer_result(f, 0);
        return true;
    case VERB_CHANNEL_STATUS:
        answer_result(f, !own_channel(f, w[2]) ? -1 : f->up ? 6 : 4);
        return true;
    case VERB_EXEC:
        return exec(f, w);
    case VERB_GET_DATA:
        return get_data(f, w, count);
    case VERB_GET_FULL_VARIABLE:
        return get_full_variable(f, w[3]);
    case VERB_GET_OPTION:
        play(f, w + 2);
        return true;
    case VERB_GET_VARIABLE:
        return get_variable_answer(f, w[2]);
    case VERB_HANGUP:
        f->over = own_channel(f, w[1]);
        answer_result(f, f->over ? 1 : -1);
        return true;
    case VERB_SAY:
        return say(f, c->words_max == 4 ? w[3] : "");
    case VERB_SAY_DIGITS:
        return say_digits(f, w);
    case VERB_SAY_NUMBER:
        return say_number(f, w);
    case VERB_SAY_TIME:
        return read_int(w[2], &number) && say(f, w[3]);
    case VERB_SET_VARIABLE:
        set_variable(f, w[2], w[3]);
        answer_result(f, 1);
        return true;
    case VERB_STREAM_FILE:
        return stream_file(f, w, count);
    case VERB_WAIT_FOR_DIGIT:
        return wait_for_digit(f, w);
    case VERB_ONE:
        answer_result(f, 1);
        return true;
    case VERB_DATABASE_GET: /* An empty database. */
    case VERB_ZERO:
        break;
    }
    answer_result(f, 0);
    return true;
}

/* The end of a command, and the end of a call */

static void send_hangup(struct fake *f)
{
    f->hangup_owed = false;
    if (f->sighup)
        text_puts(&f->out, "HANGUP\n");
}

/* The channel is gone. The line HANGUP goes now, or a little later. */
static void channel_ends(struct fake *f, bool late)
{
    f->dead = f->over = true;
    if (late && f->sighup && !f->exit_on_hangup)
        f->hangup_owed = true;
    else
        send_hangup(f);
    if (f->exit_on_hangup) {
        send_hangup(f);
        f->closing = true;
    }
}

static void send_answer(struct fake *f)
{
    if (f->hangup_owed)
        send_hangup(f);
    text_put(&f->out, f->answer.at, f->answer.len);
    text_puts(&f->out, "\n");
}

static void cut_answer(struct fake *f, const struct fake_command *c)
{
    if (c->cut == CUT_NOT)
        return;
    f->answer.len = 0;
    answer_result(f, -1);
    if (c->cut == CUT_ENDPOS) {
        text_printf(&f->answer, " endpos=%u", sound_samples(f) / 2);
        f->playback = "FAILED";
    }
}

static void finish(struct fake *f)
{
    const struct fake_command *c = f->running;
    bool at = f->leave != FAKE_STAYS && f->commands == f->leave_at && !f->dead;
    bool ended_by_it = f->over && !f->dead;

    f->running = NULL;
    if (f->leaves_here)
        cut_answer(f, c);
    send_answer(f);
    if (f->leaves_here || at) {
        f->caller_left = true;
        channel_ends(f, f->leave == FAKE_LEAVES_LATE);
    } else if (ended_by_it) {
        channel_ends(f, false);
    }
}

static void refuse_usage(struct fake *f, const struct fake_command *c)
{
    f->refused++;
    f->answer.len = 0;
    text_puts(&f->answer, "520-Invalid command syntax.  Proper usage follows:\n");
    text_printf(&f->answer, "%s %s\n", c->name, c->usage);
    text_puts(&f->answer, "520 End of proper usage.");
}

static void begin(struct fake *f, const struct fake_command *c, const char *const *w,
                  size_t count)
{
    bool leaves = (f->leave == FAKE_LEAVES_DURING || f->leave == FAKE_LEAVES_LATE) &&
                  f->commands == f->leave_at && !f->dead;

    f->running = c;
    f->run_ms = 0;
    f->timed = false;
    f->leaves_here = leaves;
    f->answer.len = 0;
    if (f->dead && !c->on_dead) {
        text_puts(&f->answer,
                  "511 Command Not Permitted on a dead channel or intercept routine");
        return;
    }
    if (count < c->words_min || count > c->words_max || !run(f, c, w, count))
        refuse_usage(f, c);
    else if (leaves)
        f->run_ms /= 2;
    /* A dead channel's commands take no time, and nobody is there to leave. */
    if (f->dead) {
        f->run_ms = 0;
        f->leaves_here = false;
    }
}

/* Lines */

/* Take the next line that Asterisk would look at, into f->line. */
static bool take_line(struct fake *f)
{
    const char *from, *newline;
    size_t len, left;

    if (f->in.len == 0 || (f->seen == f->in.len && !f->eof))
        return false;
    from = f->in.at + f->start;
    newline = f->seen > f->start ? memchr(from, '\n', f->seen - f->start) : NULL;
    if (newline == NULL) {
        f->seen = f->in.len;
        left = f->seen - f->start;
        newline = left > 0 ? memchr(from, '\n', left) : NULL;
    }
    left = f->seen - f->start;
    len = newline != NULL ? (size_t)(newline - from) : left;
    if (len >= FAKE_LINE_MAX) {
        f->breach =
            "a line of more than 8191 bytes: Asterisk cuts it there, and runs the rest "
            "as a command";
        return false;
    }
    if (newline == NULL && (!f->eof || len == 0))
        return false;
    f->line.len = 0;
    text_put(&f->line, from, len);
    f->start += len + (newline != NULL);
    if (f->start == f->in.len)
        f->in.len = f->start = f->seen = 0;
    else if (memchr(f->in.at + f->start, '\n', f->in.len - f->start) != NULL)
        f->ahead = true;
    if (len > 0 && memchr(f->line.at, '\0', len) != NULL) {
        f->breach = "a NUL byte: Asterisk loses the line's end";
        return false;
    }
    return true;
}

static const struct fake_command unknown_command = {.name = "", .cut = CUT_NOT};

static void run_line(struct fake *f)
{
    const char *words[FAKE_WORDS_MAX + 1];
    const struct fake_command *c;
    size_t count;

    f->commands++;
    if (f->line.len >= 7 && strncasecmp(f->line.at, "failure", 7) == 0) {
        f->failed = true;
        send_hangup(f);
        f->closing = true;
        return;
    }
    f->words.len = 0;
    text_put(&f->words, f->line.at, f->line.len);
    if (f->words.failed)
        return;
    count = f->words.len > 0 ? fake_words(f->words.at, f->words.len, words) : 0;
    c = fake_command_find(words, count);
    if (c != NULL) {
        begin(f, c, words, count);
        return;
    }
    f->refused++;
    f->running = &unknown_command;
    f->run_ms = 0;
    f->leaves_here = false;
    f->answer.len = 0;
    text_puts(&f->answer, "510 Invalid or unknown command");
}

/* Bytes came while a command runs: some commands stop then, and most of these never
 * answer. */
static void interrupt(struct fake *f)
{
    if (f->running->verb == VERB_WAIT_FOR_DIGIT) {
        f->answer.len = 0;
        answer_result(f, 1);
        finish(f);
    } else if (f->running->stops) {
        f->running = NULL;
    }
}

struct fake *fake_new(const struct fake_caller *caller, enum fake_leave leave,
                      unsigned at)
{
    struct fake *f = calloc(1, sizeof *f);
    const char *sighup, *exit_on_hangup;

    if (f == NULL)
        return NULL;
    f->caller = caller;
    f->leave = leave;
    f->leave_at = at;
    f->keys = caller->keys;
    f->dead = caller->dead;
    f->playback = "";
    /* Asterisk looks at these two when the step begins, and never again. */
    sighup = get_variable(f, "AGISIGHUP");
    f->sighup = sighup == NULL || strcasecmp(sighup, "no") != 0;
    exit_on_hangup = get_variable(f, "AGIEXITONHANGUP");
    f->exit_on_hangup = exit_on_hangup != NULL && strcasecmp(exit_on_hangup, "yes") == 0;
    return f;
}

void fake_free(struct fake *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->variable_count; i++) {
        free(f->variables[i].name);
        free(f->variables[i].value);
    }
    free(f->variables);
    text_free(&f->in);
    text_free(&f->answer);
    text_free(&f->out);
    text_free(&f->line);
    text_free(&f->words);
    free(f);
}

void fake_received(struct fake *f, const char *bytes, size_t len)
{
    if (f->running != NULL)
        f->ahead = true;
    /* What was taken already makes room first. */
    if (f->start > 0 && f->in.len + len > FAKE_AHEAD_MAX) {
        memmove(f->in.at, f->in.at + f->start, f->in.len - f->start);
        f->in.len -= f->start;
        f->seen -= f->start;
        f->start = 0;
    }
    if (f->in.len + len > FAKE_AHEAD_MAX)
        f->breach = "more than 64 KiB of commands sent ahead of their answers";
    else
        text_put(&f->in, bytes, len);
}

void fake_elapsed(struct fake *f)
{
    if (f->running != NULL && f->timed)
        finish(f);
    else if (f->hangup_owed && f->hangup_timed)
        send_hangup(f);
}

void fake_hangup(struct fake *f)
{
    if (f->dead || f->closing)
        return;
    if (f->running != NULL) {
        f->leaves_here = true;
        finish(f);
        return;
    }
    f->caller_left = true;
    channel_ends(f, false);
}

void fake_eof(struct fake *f)
{
    f->eof = true;
}

static bool out_of_memory(const struct fake *f)
{
    return f->in.failed || f->out.failed || f->answer.failed || f->line.failed ||
           f->words.failed;
}

/* What the shell hears while nothing is to be sent: a time that begins, else to wait
 * on. */
static void next_wait(bool *timed, unsigned ms, struct fake_todo *todo)
{
    if (*timed)
        return;
    *timed = true;
    todo->what = FAKE_WAIT;
    todo->ms = ms;
}

static bool next_of_running(struct fake *f, struct fake_todo *todo)
{
    if (f->running != NULL && f->eof) {
        /* Nobody waits for its answer; f->running stays, so that the result tells. */
        f->closing = true;
        send_hangup(f);
        return false;
    }
    if (f->running != NULL && f->seen < f->in.len)
        interrupt(f);
    if (f->running == NULL)
        return false;
    next_wait(&f->timed, f->run_ms, todo);
    return true;
}

/* Hand out what is to be sent; it stays where it is until the next call. */
static void next_send(struct fake *f, struct fake_todo *todo)
{
    todo->what = FAKE_SEND;
    todo->bytes = f->out.at;
    todo->len = f->out.len;
    f->out.len = 0;
}

static void next_command(struct fake *f, struct fake_todo *todo)
{
    todo->what = FAKE_COMMAND;
    todo->line = f->line.len > 0 ? f->line.at : "";
    todo->line_len = f->line.len;
    run_line(f);
    /* Nothing to wait for: the response is there at once. */
    if (f->running != NULL && f->run_ms == 0)
        finish(f);
}

void fake_next(struct fake *f, struct fake_todo *todo)
{
    *todo = (struct fake_todo){.what = FAKE_READ};
    if (out_of_memory(f))
        f->breach = "out of memory";
    if (f->breach == NULL && f->out.len > 0) {
        next_send(f, todo);
        return;
    }
    if (f->breach == NULL && !f->closing && next_of_running(f, todo))
        return;
    if (f->breach == NULL && f->out.len > 0) {
        next_send(f, todo);
        return;
    }
    if (f->breach == NULL && !f->closing && take_line(f)) {
        next_command(f, todo);
        return;
    }
    if (f->breach == NULL && !f->closing && f->eof) {
        /* The step's own end: Asterisk says so once more, to a server that may have
         * closed. */
        f->closing = true;
        send_hangup(f);
        if (f->out.len > 0) {
            next_send(f, todo);
            return;
        }
    }
    if (f->breach != NULL) {
        todo->what = FAKE_BREACH;
        todo->reason = f->breach;
    } else if (f->closing) {
        todo->what = FAKE_CLOSE;
    } else if (f->hangup_owed) {
        next_wait(&f->hangup_timed, LATE_MS, todo);
    }
}

const char *fake_status_name(enum fake_status status)
{
    switch (status) {
    case FAKE_SUCCESS:
        return "SUCCESS";
    case FAKE_FAILURE:
        return "FAILURE";
    case FAKE_HANGUP:
        break;
    }
    return "HANGUP";
}

void fake_result(const struct fake *f, struct fake_result *result)
{
    const struct variable *status =
        f->variable_count > 0 ? find_variable(f, "TALLY_STATUS") : NULL;

    *result = (struct fake_result){
        .status = f->failed ? FAKE_FAILURE
                  : f->over ? FAKE_HANGUP
                            : FAKE_SUCCESS,
        .commands = f->commands,
        .refused = f->refused,
        .running = f->running != NULL,
        .ahead = f->ahead,
        .over = f->over,
        .caller_left = f->caller_left,
        .number = f->number,
        .tally_status = status != NULL ? status->value : NULL,
    };
}

bool fake_variable(const struct fake *f, size_t index, const char **name,
                   const char **value)
{
    if (index >= f->variable_count)
        return false;
    *name = f->variables[index].name;
    *value = f->variables[index].value;
    return true;
}
