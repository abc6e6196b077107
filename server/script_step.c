#include "server/script_step.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/name.h"
#include "common/nearest.h"
#include "server/agi.h"
#include "server/script_rules.h"
#include "server/script_variable.h"

/* ---- lines for Asterisk ---- */

static void line_quoted(struct draft *line, const struct draft *word)
{
    draft_puts(line, "\"");
    for (size_t i = 0; i < word->count; i++) {
        const struct script_piece *p = &word->piece[i];
        char escaped[2 * CONF_LINE_MAX];
        struct agi_command command = agi_command_of(escaped, sizeof escaped);
        if (p->from != SCRIPT_TEXT) {
            draft_piece(line, p);
            continue;
        }
        agi_put_escaped(&command, p->text, p->len);
        draft_text(line, escaped, command.len);
    }
    draft_puts(line, "\"");
}

/* A blank and the word, quoted where it must be. */
static void line_word(struct draft *line, const struct word *word)
{
    char text[2 * CONF_LINE_MAX + 2];
    struct agi_command command = agi_command_of(text, sizeof text);
    const char *fixed;
    size_t len;

    draft_puts(line, " ");
    if (!word_fixed(word, &fixed, &len)) {
        line_quoted(line, &word->draft);
        return;
    }
    agi_put_word(&command, fixed, len);
    assert(command.err == ERR_OK); /* tally.conf's lines hold neither newline nor NUL. */
    draft_text(line, text, command.len);
}

/* ---- the verbs ---- */

static enum err compile_line(struct compiler *c, struct step_draft *s)
{
    draft_puts(&s->line, "\n");
    return draft_keep(c, &s->line, &s->step->command);
}

static enum err compile_answer(struct compiler *c, struct step_draft *s)
{
    draft_puts(&s->line, "ANSWER");
    return compile_line(c, s);
}

static enum err compile_hangup(struct compiler *c, struct step_draft *s)
{
    draft_puts(&s->line, "HANGUP");
    return compile_line(c, s);
}

static enum err compile_wait(struct compiler *c, struct step_draft *s)
{
    return rule_duration(c, s->place[0], &s->step->ms);
}

static enum err compile_get(struct compiler *c, struct step_draft *s)
{
    static const struct script_piece counter = {.from = SCRIPT_COUNTER};

    c->numbered = true;
    if (s->place[0] != NULL)
        return rule_counter(c, &s->place[0]->draft, &s->step->text);
    s->step->text = (struct script_text){&counter, 1};
    return ERR_OK;
}

static enum err compile_count(struct compiler *c, struct step_draft *s)
{
    struct word **option = s->option;
    struct script_text *to[] = {&s->step->by, &s->step->id, &s->step->tag};
    const char *text;
    size_t len;
    int64_t by;
    enum err err = compile_get(c, s);

    if (err == ERR_OK && option[0] != NULL && word_fixed(option[0], &text, &len))
        err = rule_number(c, option[0], "by=", 1, INT32_MAX, &by);
    if (err == ERR_OK && option[2] != NULL && word_fixed(option[2], &text, &len) &&
        !tag_valid(text, len))
        err = compiler_refuse(c, ERR_TOO_LONG,
                              "tag= may have at most %d bytes, and no control bytes",
                              TAG_MAX_BYTES);
    for (size_t i = 0; i < 3 && err == ERR_OK; i++)
        if (option[i] != NULL)
            err = draft_keep(c, &option[i]->draft, to[i]);
    return err;
}

static enum err compile_stream_file(struct compiler *c, struct step_draft *s)
{
    char keys[RULE_KEYS_SIZE] = "";
    enum err err = ERR_OK;

    c->sound = true;
    if (s->place[1] != NULL)
        err = rule_keys(c, s->place[1], "escape digits", keys);
    if (err != ERR_OK)
        return err;
    draft_puts(&s->line, "STREAM FILE");
    line_word(&s->line, s->place[0]);
    draft_puts(&s->line, " \"");
    draft_puts(&s->line, keys);
    draft_puts(&s->line, "\"");
    return compile_line(c, s);
}

/* What say-number and say-digits say: their word, or the last number. */
static enum err compile_said(struct compiler *c, struct step_draft *s,
                             const char *expected,
                             bool (*sayable)(const char *text, size_t len))
{
    static const struct script_piece number = {.from = SCRIPT_NUMBER};
    const char *text;
    size_t len;

    c->sound = true;
    if (s->place[0] == NULL) {
        if (!c->numbered)
            return compiler_refuse(
                c, ERR_MALFORMED, "there is no number to say before a count or get step");
        s->step->text = (struct script_text){&number, 1};
        return ERR_OK;
    }
    if (word_fixed(s->place[0], &text, &len) && !sayable(text, len))
        return compiler_refuse(c, ERR_MALFORMED, "\"%.*s\" cannot be said: expected %s",
                               (int)len, text, expected);
    return draft_keep(c, &s->place[0]->draft, &s->step->text);
}

static bool number_sayable(const char *text, size_t len)
{
    int64_t number;

    return agi_number(text, len, &number);
}

static enum err compile_say_number(struct compiler *c, struct step_draft *s)
{
    char gender[2] = "";
    enum err err = compile_said(c, s, "a whole number", number_sayable);

    if (err == ERR_OK && s->option[0] != NULL)
        err = rule_text(c, s->option[0], "gender=", gender, sizeof gender);
    if (err == ERR_OK && s->option[0] != NULL &&
        (gender[0] == '\0' || strchr("mfncp", gender[0]) == NULL))
        err = compiler_refuse(c, ERR_MALFORMED, "gender=%s: expected m, f, n, c or p",
                              gender);
    if (err != ERR_OK)
        return err;
    s->step->gender = script_keep_text(c->table, gender, strlen(gender));
    return s->step->gender != NULL ? ERR_OK : compiler_no_memory(c);
}

static enum err compile_say_digits(struct compiler *c, struct step_draft *s)
{
    return compile_said(c, s, "digits, also * and # behind the first",
                        agi_digits_sayable);
}

static enum err compile_set_variable(struct compiler *c, struct step_draft *s)
{
    char name[CONF_LINE_MAX + 1];
    enum err err = rule_text(c, s->place[0], "the variable's name", name, sizeof name);

    if (err != ERR_OK)
        return err;
    if (name[0] == '\0' || name[strcspn(name, " \t\"\\")] != '\0')
        return compiler_refuse(
            c, ERR_MALFORMED,
            "a channel variable's name is not empty and has no blanks, quotes or \\");
    draft_puts(&s->line, "SET VARIABLE");
    line_word(&s->line, s->place[0]);
    line_word(&s->line, s->place[1]);
    return compile_line(c, s);
}

static enum err compile_verbose(struct compiler *c, struct step_draft *s)
{
    int64_t level = 1;
    char text[8];
    enum err err = ERR_OK;

    if (s->place[1] != NULL)
        err = rule_number(c, s->place[1], "the level", 1, 4, &level);
    if (err != ERR_OK)
        return err;
    draft_puts(&s->line, "VERBOSE");
    line_word(&s->line, s->place[0]);
    snprintf(text, sizeof text, " %d", (int)level);
    draft_puts(&s->line, text);
    return compile_line(c, s);
}

static enum err compile_exec(struct compiler *c, struct step_draft *s)
{
    char name[CONF_LINE_MAX + 1];
    enum err err = rule_text(c, s->place[0], "the application", name, sizeof name);

    if (err != ERR_OK)
        return err;
    if (!name_valid(name, strlen(name)))
        return compiler_refuse(c, ERR_MALFORMED, "\"%s\" is no application's name", name);
    draft_puts(&s->line, "EXEC");
    line_word(&s->line, s->place[0]);
    if (s->place[1] != NULL)
        line_word(&s->line, s->place[1]);
    return compile_line(c, s);
}

/* into=NAME and digits=KEYS, for what asks for keys. */
static enum err compile_keys(struct compiler *c, struct step_draft *s, unsigned max)
{
    struct script_slot slot = {.kind = SCRIPT_SLOT_INTO, .max = (uint16_t)max};
    char name[SCRIPT_INTO_NAME_MAX + 1], keys[RULE_KEYS_SIZE] = "";
    enum err err;

    if (s->option[0] == NULL)
        return compiler_refuse(c, ERR_MALFORMED,
                               "into=NAME is missing: it takes the keys pressed");
    err = rule_text(c, s->option[0], "into=", name, sizeof name);
    if (err == ERR_OK && s->option[1] != NULL)
        err = rule_keys(c, s->option[1], "digits=", keys);
    if (err != ERR_OK)
        return err;
    if (variable_taken(name))
        return compiler_refuse(c, ERR_EXISTS, "into=%s: ${%s} is something else already",
                               name, name);
    if (name[0] == '\0' ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
        return compiler_refuse(
            c, ERR_MALFORMED, "into=%s: expected lower-case letters, digits and _", name);
    slot.name = name;
    s->step->digits = script_keep_text(c->table, keys, strlen(keys));
    if (s->step->digits == NULL)
        return compiler_no_memory(c);
    return variable_slot(c, &slot, &s->step->into);
}

static enum err compile_key_time(struct compiler *c, struct step_draft *s, size_t place,
                                 unsigned standard)
{
    enum err err = ERR_OK;

    s->step->ms = standard;
    if (s->place[place] != NULL)
        err = rule_duration(c, s->place[place], &s->step->ms);
    if (err == ERR_OK && (s->step->ms == 0 || s->step->ms > SCRIPT_KEY_MS_MAX))
        err = compiler_refuse(c, ERR_RANGE,
                              "the time to wait for a key: expected 1ms to 1h");
    return err;
}

static enum err compile_get_data(struct compiler *c, struct step_draft *s)
{
    int64_t max = 16;
    char text[32];
    enum err err = compile_key_time(c, s, 1, 5000);

    c->sound = true;
    if (err == ERR_OK && s->places > 2)
        err =
            rule_number(c, s->place[2], "the number of digits", 1, SCRIPT_INTO_MAX, &max);
    if (err == ERR_OK)
        err = compile_keys(c, s, (unsigned)max);
    if (err != ERR_OK)
        return err;
    draft_puts(&s->line, "GET DATA");
    line_word(&s->line, s->place[0]);
    snprintf(text, sizeof text, " %u %d", s->step->ms, (int)max);
    draft_puts(&s->line, text);
    return compile_line(c, s);
}

static enum err compile_wait_for_digit(struct compiler *c, struct step_draft *s)
{
    char text[32];
    enum err err = compile_key_time(c, s, 0, 5000);

    if (err == ERR_OK)
        err = compile_keys(c, s, 1);
    if (err != ERR_OK)
        return err;
    snprintf(text, sizeof text, "WAIT FOR DIGIT %u", s->step->ms);
    draft_puts(&s->line, text);
    return compile_line(c, s);
}

static const struct verb {
    const char *name;
    enum script_verb verb;
    size_t least, most; /* words behind it, options not counted */
    const char *options[OPTIONS_MAX];
    const char *usage;
    enum err (*compile)(struct compiler *c, struct step_draft *s);
} verbs[] = {
    {"answer", SCRIPT_COMMAND, 0, 0, {0}, "answer", compile_answer},
    {"wait", SCRIPT_WAIT, 1, 1, {0}, "wait DURATION", compile_wait},
    {"count",
     SCRIPT_COUNT,
     0,
     1,
     {"by", "id", "tag"},
     "count [COUNTER] [by=N] [id=TEXT] [tag=TEXT]",
     compile_count},
    {"get", SCRIPT_GET, 0, 1, {0}, "get [COUNTER]", compile_get},
    {"stream-file",
     SCRIPT_STREAM_FILE,
     1,
     2,
     {0},
     "stream-file FILE [ESCAPE-DIGITS]",
     compile_stream_file},
    {"say-number",
     SCRIPT_SAY_NUMBER,
     0,
     1,
     {"gender"},
     "say-number [NUMBER] [gender=f]",
     compile_say_number},
    {"say-digits",
     SCRIPT_SAY_DIGITS,
     0,
     1,
     {0},
     "say-digits [DIGITS]",
     compile_say_digits},
    {"set-variable",
     SCRIPT_COMMAND,
     2,
     2,
     {0},
     "set-variable NAME VALUE",
     compile_set_variable},
    {"get-data",
     SCRIPT_GET_DATA,
     1,
     3,
     {"into", "digits"},
     "get-data FILE [TIMEOUT] [MAX-DIGITS] into=NAME [digits=1-9]",
     compile_get_data},
    {"wait-for-digit",
     SCRIPT_WAIT_FOR_DIGIT,
     1,
     1,
     {"into", "digits"},
     "wait-for-digit TIMEOUT into=NAME [digits=1-9]",
     compile_wait_for_digit},
    {"verbose", SCRIPT_COMMAND, 1, 2, {0}, "verbose TEXT [LEVEL]", compile_verbose},
    {"exec", SCRIPT_COMMAND, 1, 2, {0}, "exec APPLICATION [ARGUMENTS]", compile_exec},
    {"hangup", SCRIPT_HANGUP, 0, 0, {0}, "hangup", compile_hangup},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

/* ---- steps ---- */

static const struct verb *verb_find(const char *name, size_t len)
{
    for (size_t i = 0; i < VERBS; i++)
        if (strlen(verbs[i].name) == len && memcmp(verbs[i].name, name, len) == 0)
            return &verbs[i];
    return NULL;
}

static enum err unknown_verb(struct compiler *c, const char *name, size_t len)
{
    char word[NEAREST_WORD_MAX + 1];
    struct nearest near;

    snprintf(word, sizeof word, "%.*s", (int)len, name);
    near = nearest_to(word);
    for (size_t i = 0; i < VERBS; i++)
        nearest_try(&near, verbs[i].name);
    if (near.best != NULL)
        return compiler_refuse(c, ERR_MALFORMED,
                               "there is no step \"%s\"; did you mean %s?", word,
                               near.best);
    return compiler_refuse(
        c, ERR_MALFORMED,
        "there is no step \"%s\": expected answer, wait, count, get, stream-file, say-number, "
        "say-digits, set-variable, get-data, wait-for-digit, verbose, exec or hangup",
        word);
}

/* Sort the words behind the verb by place and option. */
static enum err place_words(struct compiler *c, const struct verb *verb,
                            struct step_draft *s)
{
    s->places = 0;
    memset(s->place, 0, sizeof s->place);
    memset(s->option, 0, sizeof s->option);
    for (size_t i = 0; i < s->words.count; i++) {
        struct word *w = &s->words.word[i];
        if (w->option < 0) {
            s->place[s->places++] = w;
            continue;
        }
        if (s->option[w->option] != NULL)
            return compiler_refuse(c, ERR_EXISTS, "%s= is given twice",
                                   verb->options[w->option]);
        s->option[w->option] = w;
    }
    if (s->places < verb->least || s->places > verb->most)
        return compiler_refuse(c, ERR_MALFORMED, "too %s words: expected %s",
                               s->places < verb->least ? "few" : "many", verb->usage);
    return ERR_OK;
}

enum err step_compile(struct compiler *c, const char *text, struct step_draft *s)
{
    size_t len = strcspn(text, " \t");
    const struct verb *verb = verb_find(text, len);
    enum err err;

    if (strlen(text) > CONF_LINE_MAX)
        return compiler_refuse(c, ERR_TOO_LONG, "a step may have at most %d bytes",
                               CONF_LINE_MAX);
    if (strchr(text, '\n') != NULL)
        return compiler_refuse(c, ERR_MALFORMED, "a step is one line");
    if (verb == NULL)
        return unknown_verb(c, text, len);
    err = words_lex(c, text + len, verb->options, &s->words);
    if (err == ERR_OK)
        err = place_words(c, verb, s);
    if (err != ERR_OK)
        return err;
    s->step->verb = verb->verb;
    s->line.count = s->line.len = 0;
    return verb->compile(c, s);
}
