#include "server/script.h"

#include <assert.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/name.h"
#include "common/nearest.h"
#include "server/agi.h"

static const char ready_made[] =
    "; Answer, say which caller this is, and hang up.\n"
    "[script hits]\n"
    "step = answer\n"
    "step = wait 1s\n"
    "step = count\n"
    "step = stream-file queue-thereare\n"
    "step = say-number\n"
    "step = stream-file vm-goodbye\n"
    "step = hangup\n"
    "\n"
    "; AGI(agi://host/count,tickets,by=1,id=${UNIQUEID},tag=web): no sound, the dialplan goes on.\n"
    "[script count]\n"
    "counter = ${arg1}\n"
    "step = count by=${arg.by} id=${arg.id} tag=${arg.tag}\n"
    "step = set-variable TALLY_STATUS ${status}\n"
    "step = set-variable TALLY_NUMBER ${number}\n"
    "step = set-variable TALLY_TOTAL ${total}\n"
    "step = set-variable TALLY_NODE ${node}\n"
    "\n"
    "; AGI(agi://host/get,tickets): the same without counting; the number is the total.\n"
    "[script get]\n"
    "counter = ${arg1}\n"
    "step = get\n"
    "step = set-variable TALLY_STATUS ${status}\n"
    "step = set-variable TALLY_NUMBER ${number}\n"
    "step = set-variable TALLY_TOTAL ${total}\n"
    "step = set-variable TALLY_NODE ${node}\n"
    "\n"
    "; Press 1 to 9: counts vote-1 to vote-9, with /vote/song song-1 to song-9.\n"
    "[script vote]\n"
    "step = answer\n"
    "step = wait 1s\n"
    "step = get-data vm-press 10s 1 into=digit digits=1-9\n"
    "step = count ${counter}-${digit}\n"
    "step = stream-file auth-thankyou\n"
    "step = stream-file vm-goodbye\n"
    "step = hangup\n"
    "\n"
    "; Instead of a script that does not exist, or a call that cannot be right.\n"
    "[script refused]\n"
    "step = verbose \"tally refuses this call: ${error}\"\n"
    "step = set-variable TALLY_STATUS ${status}\n";

const char *script_ready_made(void)
{
    return ready_made;
}

/* ---- the table and its memory ---- */

struct kept {
    struct kept *next;
    max_align_t bytes[];
};

struct script_table {
    struct kept *kept; /* everything that scripts point to */
    struct script *script;
    size_t count;
};

/* Zeros, freed with the table. NULL without memory. */
static void *keep(struct script_table *table, size_t size)
{
    struct kept *k = calloc(1, sizeof *k + size);

    if (k == NULL)
        return NULL;
    k->next = table->kept;
    table->kept = k;
    return k->bytes;
}

static char *keep_text(struct script_table *table, const char *text, size_t len)
{
    char *copy = keep(table, len + 1);

    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

void script_table_free(struct script_table *table)
{
    if (table == NULL)
        return;
    while (table->kept != NULL) {
        struct kept *next = table->kept->next;
        free(table->kept);
        table->kept = next;
    }
    free(table->script);
    free(table);
}

const struct script *script_find(const struct script_table *table, const char *name,
                                 size_t len)
{
    for (size_t i = 0; i < table->count; i++)
        if (strlen(table->script[i].name) == len &&
            memcmp(table->script[i].name, name, len) == 0)
            return &table->script[i];
    return NULL;
}

const struct script *script_refused(const struct script_table *table)
{
    return script_find(table, "refused", strlen("refused"));
}

/* ---- the compiler ---- */

enum {
    PIECES_MAX = CONF_LINE_MAX, /* of one line: each takes a byte of it at least */
    WORDS_MAX = 8,
    OPTIONS_MAX = 3, /* of one verb */
};

/* What may stand in a line depends on where it stands. */
struct compiler {
    struct script_table *table;
    const char *path; /* for messages */
    unsigned line;
    struct conf_error *error;
    struct script *script;
    struct script_slot slot[SCRIPT_SLOTS_MAX];
    bool numbered; /* a count or get came before: there is a number to say */
    bool sound;
    bool in_counter; /* compiling "counter =", before any step */
};

static enum err refuse(struct compiler *c, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err refuse(struct compiler *c, enum err err, const char *format, ...)
{
    char text[sizeof c->error->text];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    conf_error_set(c->error, c->path, c->line, "%s", text);
    return err;
}

static enum err no_memory(struct compiler *c)
{
    return refuse(c, ERR_MEMORY, "no memory left to compile the scripts");
}

/* Pieces in the making: a line for Asterisk or a word. Its texts stand in bytes, in their
 * order. */
struct draft {
    struct script_piece piece[PIECES_MAX];
    size_t count;
    char bytes[4 * CONF_LINE_MAX +
               64]; /* escaped twice over, and the command's own words */
    size_t len;
};

static void draft_text(struct draft *d, const char *text, size_t len)
{
    struct script_piece *last = d->count > 0 ? &d->piece[d->count - 1] : NULL;

    assert(len <= sizeof d->bytes - d->len);
    memcpy(d->bytes + d->len, text, len);
    if (last == NULL || last->from != SCRIPT_TEXT) {
        assert(d->count < PIECES_MAX);
        last = &d->piece[d->count++];
        *last = (struct script_piece){.from = SCRIPT_TEXT, .text = d->bytes + d->len};
    }
    last->len += (uint32_t)len;
    d->len += len;
}

static void draft_puts(struct draft *d, const char *text)
{
    draft_text(d, text, strlen(text));
}

static void draft_piece(struct draft *d, const struct script_piece *piece)
{
    assert(d->count < PIECES_MAX);
    d->piece[d->count++] = *piece;
}

/* Move it to where the script can point to it. */
static enum err draft_keep(struct compiler *c, const struct draft *d,
                           struct script_text *out)
{
    struct script_piece *piece = keep(c->table, (d->count + 1) * sizeof *piece);
    char *bytes = keep_text(c->table, d->bytes, d->len);

    if (piece == NULL || bytes == NULL)
        return no_memory(c);
    for (size_t i = 0; i < d->count; i++) {
        piece[i] = d->piece[i];
        if (piece[i].from == SCRIPT_TEXT)
            piece[i].text = bytes + (d->piece[i].text - d->bytes);
    }
    *out = (struct script_text){piece, d->count};
    return ERR_OK;
}

/* ---- variables ---- */

static const struct {
    const char *name;
    enum script_source from;
    bool numbered;   /* there must have been a count or get */
    bool in_counter; /* may stand in "counter =" */
} variables[] = {
    {"counter", SCRIPT_COUNTER, false, false}, {"number", SCRIPT_NUMBER, true, false},
    {"total", SCRIPT_TOTAL, true, false},      {"status", SCRIPT_STATUS, false, false},
    {"node", SCRIPT_NODE, false, true},
};

static enum err slot_of(struct compiler *c, const struct script_slot *want,
                        uint16_t *index)
{
    size_t i = 0;

    for (; i < c->script->slots; i++) {
        const struct script_slot *s = &c->slot[i];
        if (s->kind == want->kind && s->index == want->index &&
            (s->name == want->name ||
             (s->name != NULL && want->name != NULL && strcmp(s->name, want->name) == 0)))
            break;
    }
    if (i == SCRIPT_SLOTS_MAX)
        return refuse(c, ERR_TOO_LONG, "a script may use at most %d different variables",
                      SCRIPT_SLOTS_MAX);
    if (i == c->script->slots) {
        c->slot[i] = *want;
        if (want->name != NULL) {
            c->slot[i].name = keep_text(c->table, want->name, strlen(want->name));
            if (c->slot[i].name == NULL)
                return no_memory(c);
        }
        c->script->slots++;
    }
    if (c->slot[i].max < want->max)
        c->slot[i].max = want->max;
    *index = (uint16_t)i;
    return ERR_OK;
}

/* "arg1" to "arg127", "arg.NAME", "uniqueid" and the others of the environment,
 * "error". */
static bool environment_slot(const char *name, struct script_slot *slot)
{
    enum agi_name found = agi_name_find(name, strlen(name));
    int64_t n;

    *slot = (struct script_slot){0};
    if (found != AGI_NAME_COUNT) {
        slot->kind = SCRIPT_SLOT_ENV;
        slot->index = (uint16_t)found;
        return true;
    }
    if (strcmp(name, "error") == 0) {
        slot->kind = SCRIPT_SLOT_ERROR;
        return true;
    }
    if (strncmp(name, "arg.", 4) == 0 && name_valid(name + 4, strlen(name + 4))) {
        slot->kind = SCRIPT_SLOT_OPTION;
        slot->name = name + 4;
        return true;
    }
    if (strncmp(name, "arg", 3) == 0 && name[3] != '0' &&
        agi_number(name + 3, strlen(name + 3), &n) && n >= 1 && n <= AGI_ARGS_MAX) {
        slot->kind = SCRIPT_SLOT_ARG;
        slot->index = (uint16_t)(n - 1);
        return true;
    }
    return false;
}

static bool into_slot(const struct compiler *c, const char *name, uint16_t *index)
{
    for (size_t i = 0; i < c->script->slots; i++)
        if (c->slot[i].kind == SCRIPT_SLOT_INTO && strcmp(c->slot[i].name, name) == 0) {
            *index = (uint16_t)i;
            return true;
        }
    return false;
}

static enum err unknown_variable(struct compiler *c, const char *name)
{
    struct nearest near = nearest_to(name);

    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        nearest_try(&near, variables[i].name);
    for (enum agi_name n = 0; n < AGI_NAME_COUNT; n++)
        nearest_try(&near, agi_name(n));
    for (size_t i = 0; i < c->script->slots; i++)
        if (c->slot[i].kind == SCRIPT_SLOT_INTO)
            nearest_try(&near, c->slot[i].name);
    if (near.best != NULL)
        return refuse(c, ERR_MALFORMED, "there is no variable ${%s}; did you mean ${%s}?",
                      name, near.best);
    return refuse(
        c, ERR_MALFORMED,
        "there is no variable ${%s}: expected counter, number, total, status, node, arg1 to "
        "arg127, arg.NAME, a name from the AGI environment such as uniqueid, or a name that an "
        "earlier step has as into=",
        name);
}

static enum err variable(struct compiler *c, const char *name, struct script_piece *piece)
{
    struct script_slot slot;

    *piece = (struct script_piece){.from = SCRIPT_SLOT};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        if (strcmp(variables[i].name, name) != 0)
            continue;
        if (c->in_counter && !variables[i].in_counter)
            return refuse(c, ERR_MALFORMED,
                          "${%s} is not known yet where the counter is named", name);
        if (variables[i].numbered && !c->numbered)
            return refuse(c, ERR_MALFORMED,
                          "${%s} is not known before a count or get step", name);
        piece->from = variables[i].from;
        return ERR_OK;
    }
    if (into_slot(c, name, &piece->slot))
        return ERR_OK;
    if (!environment_slot(name, &slot))
        return unknown_variable(c, name);
    return slot_of(c, &slot, &piece->slot);
}

/* ---- words ---- */

/* One word of a line. option is which of the verb's options it gives, or -1. */
struct word {
    int option;
    struct draft draft; /* without the option's "name=" */
};

struct words {
    struct word word[WORDS_MAX];
    size_t count;
};

/* The word's text, when it holds no variable. */
static bool word_fixed(const struct word *w, const char **text, size_t *len)
{
    if (w->draft.count > 1 ||
        (w->draft.count == 1 && w->draft.piece[0].from != SCRIPT_TEXT))
        return false;
    *text = w->draft.bytes;
    *len = w->draft.len;
    return true;
}

/* at stands on "${". */
static enum err lex_variable(struct compiler *c, const char **at, struct draft *d)
{
    const char *name = *at + 2, *end = strchr(name, '}');
    char text[CONF_LINE_MAX + 1];
    struct script_piece piece;
    enum err err;

    if (end == NULL)
        return refuse(c, ERR_MALFORMED,
                      "${ without }: expected ${NAME}; write \\$ for a $");
    memcpy(text, name, (size_t)(end - name));
    text[end - name] = '\0';
    err = variable(c, text, &piece);
    if (err == ERR_OK)
        draft_piece(d, &piece);
    *at = end + 1;
    return err;
}

/* One word, up to a blank outside quotes. */
static enum err lex_word(struct compiler *c, const char **at, struct draft *d)
{
    bool quoted = false;

    d->count = d->len = 0;
    for (; **at != '\0' && (quoted || (**at != ' ' && **at != '\t'));) {
        enum err err = ERR_OK;
        if (**at == '"') {
            quoted = !quoted;
            ++*at;
        } else if (**at == '$' && (*at)[1] == '{') {
            err = lex_variable(c, at, d);
        } else if (**at == '\\' && (*at)[1] == '\0') {
            return refuse(c, ERR_MALFORMED, "a lone \\ at the end: write \\\\ for a \\");
        } else {
            *at += **at == '\\';
            draft_text(d, (*at)++, 1);
        }
        if (err != ERR_OK)
            return err;
    }
    if (quoted)
        return refuse(c, ERR_MALFORMED, "a \" without its end; write \\\" for a \"");
    return ERR_OK;
}

/* Which option a word begins with; *at moves behind its "=". */
static int lex_option(const char **at, const char *const *options)
{
    for (int i = 0; i < OPTIONS_MAX && options[i] != NULL; i++) {
        size_t len = strlen(options[i]);
        if (strncmp(*at, options[i], len) == 0 && (*at)[len] == '=') {
            *at += len + 1;
            return i;
        }
    }
    return -1;
}

static enum err lex_words(struct compiler *c, const char *at, const char *const *options,
                          struct words *words)
{
    words->count = 0;
    for (;;) {
        struct word *w = words->word + words->count;
        enum err err;
        at += strspn(at, " \t");
        if (*at == '\0')
            return ERR_OK;
        if (words->count == WORDS_MAX)
            return refuse(c, ERR_MALFORMED,
                          "too many words; \"...\" makes one of several");
        w->option = lex_option(&at, options);
        err = lex_word(c, &at, &w->draft);
        if (err != ERR_OK)
            return err;
        words->count++;
    }
}

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

/* ---- what the words of each verb must be ---- */

/* A step in the making: its verb's row, and its words by place. */
struct step_draft {
    struct words words;
    struct word *place[WORDS_MAX + 1]; /* without the verb; NULL behind the last */
    size_t places;
    struct word *option[OPTIONS_MAX]; /* NULL: not given */
    struct draft line;
    struct script_step *step;
};

static enum err fixed_text(struct compiler *c, const struct word *w, const char *what,
                           char *out, size_t size)
{
    const char *text;
    size_t len;

    if (!word_fixed(w, &text, &len))
        return refuse(c, ERR_MALFORMED, "%s must be written out, without ${...}", what);
    if (len >= size)
        return refuse(c, ERR_TOO_LONG, "%s may have at most %zu bytes", what, size - 1);
    memcpy(out, text, len);
    out[len] = '\0';
    return ERR_OK;
}

static enum err fixed_number(struct compiler *c, const struct word *w, const char *what,
                             int64_t least, int64_t most, int64_t *number)
{
    char text[32];
    enum err err = fixed_text(c, w, what, text, sizeof text);

    if (err != ERR_OK)
        return err;
    if (!agi_number(text, strlen(text), number) || *number < least || *number > most)
        return refuse(c, ERR_RANGE, "%s is \"%s\": expected a number from %lld to %lld",
                      what, text, (long long)least, (long long)most);
    return ERR_OK;
}

static enum err fixed_duration(struct compiler *c, const struct word *w, unsigned *ms)
{
    char text[32];
    enum err err = fixed_text(c, w, "the time", text, sizeof text);

    if (err != ERR_OK)
        return err;
    if (conf_duration(text, ms) != ERR_OK)
        return refuse(
            c, ERR_MALFORMED,
            "\"%s\" is no duration: expected a number and ms, s, m or h, such as 500ms or 3s",
            text);
    return ERR_OK;
}

static bool is_key(char k)
{
    return k != '\0' && strchr("0123456789*#ABCD", k) != NULL;
}

/* Keys as a script names them, "1-9" or "12*#", written out one by one. */
static enum err fixed_keys(struct compiler *c, const struct word *w, const char *what,
                           char out[32])
{
    char text[32];
    size_t len = 0;
    enum err err = fixed_text(c, w, what, text, sizeof text);

    if (err != ERR_OK)
        return err;
    for (const char *at = text; *at != '\0';) {
        char first = *at++, last = first;
        if (*at == '-' && at[1] != '\0') {
            last = at[1];
            at += 2;
        }
        if (!is_key(first) || !is_key(last) || first > last || last - first > 9)
            return refuse(
                c, ERR_MALFORMED,
                "%s \"%s\": expected keys out of 0123456789*#ABCD, or a range such as 1-9",
                what, text);
        for (char k = first; k <= last; k++) {
            if (is_key(k) && memchr(out, k, len) == NULL)
                out[len++] = k;
        }
    }
    out[len] = '\0';
    return ERR_OK;
}

static bool time_code(char code)
{
    return code != '\0' && strchr("YmdHM", code) != NULL;
}

/* A text piece of a counter's name: what of it is time becomes pieces of its own. */
static enum err counter_text(struct compiler *c, const struct script_piece *text,
                             struct draft *out)
{
    for (size_t i = 0; i < text->len; i++) {
        char byte = text->text[i], code = i + 1 < text->len ? text->text[i + 1] : '\0';
        if (byte == '%' && time_code(code)) {
            draft_piece(out, &(struct script_piece){.from = SCRIPT_TIME, .code = code});
            i++;
        } else if (byte == '%') {
            return refuse(c, ERR_MALFORMED,
                          "%% in a counter's name: expected %%Y, %%m, %%d, %%H or %%M");
        } else if (!name_valid(&byte, 1)) {
            return refuse(
                c, ERR_MALFORMED,
                "a counter's name holds letters, digits and ._- only (and %%Y %%m %%d %%H %%M, "
                "${...})");
        } else {
            draft_text(out, &byte, 1);
        }
    }
    return ERR_OK;
}

static enum err counter_name(struct compiler *c, const struct draft *word,
                             struct script_text *out)
{
    struct draft name;

    name.count = name.len = 0;
    for (size_t i = 0; i < word->count; i++) {
        enum err err = ERR_OK;
        if (word->piece[i].from == SCRIPT_TEXT)
            err = counter_text(c, &word->piece[i], &name);
        else
            draft_piece(&name, &word->piece[i]);
        if (err != ERR_OK)
            return err;
    }
    if (name.count == 0)
        return refuse(c, ERR_MALFORMED, "a counter's name cannot be empty");
    if (name.len > NAME_MAX_BYTES)
        return refuse(c, ERR_TOO_LONG, "a counter's name may have at most %d bytes",
                      NAME_MAX_BYTES);
    return draft_keep(c, &name, out);
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
    return fixed_duration(c, s->place[0], &s->step->ms);
}

static enum err compile_get(struct compiler *c, struct step_draft *s)
{
    static const struct script_piece counter = {.from = SCRIPT_COUNTER};

    c->numbered = true;
    if (s->place[0] != NULL)
        return counter_name(c, &s->place[0]->draft, &s->step->text);
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
        err = fixed_number(c, option[0], "by=", 1, INT32_MAX, &by);
    if (err == ERR_OK && option[2] != NULL && word_fixed(option[2], &text, &len) &&
        !tag_valid(text, len))
        err =
            refuse(c, ERR_TOO_LONG,
                   "tag= may have at most %d bytes, and no control bytes", TAG_MAX_BYTES);
    for (size_t i = 0; i < 3 && err == ERR_OK; i++)
        if (option[i] != NULL)
            err = draft_keep(c, &option[i]->draft, to[i]);
    return err;
}

static enum err compile_stream_file(struct compiler *c, struct step_draft *s)
{
    char keys[32] = "";
    enum err err = ERR_OK;

    c->sound = true;
    if (s->place[1] != NULL)
        err = fixed_keys(c, s->place[1], "escape digits", keys);
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
            return refuse(c, ERR_MALFORMED,
                          "there is no number to say before a count or get step");
        s->step->text = (struct script_text){&number, 1};
        return ERR_OK;
    }
    if (word_fixed(s->place[0], &text, &len) && !sayable(text, len))
        return refuse(c, ERR_MALFORMED, "\"%.*s\" cannot be said: expected %s", (int)len,
                      text, expected);
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
        err = fixed_text(c, s->option[0], "gender=", gender, sizeof gender);
    if (err == ERR_OK && s->option[0] != NULL &&
        (gender[0] == '\0' || strchr("mfncp", gender[0]) == NULL))
        err = refuse(c, ERR_MALFORMED, "gender=%s: expected m, f, n, c or p", gender);
    if (err != ERR_OK)
        return err;
    s->step->gender = keep_text(c->table, gender, strlen(gender));
    return s->step->gender != NULL ? ERR_OK : no_memory(c);
}

static enum err compile_say_digits(struct compiler *c, struct step_draft *s)
{
    return compile_said(c, s, "digits, also * and # behind the first",
                        agi_digits_sayable);
}

static enum err compile_set_variable(struct compiler *c, struct step_draft *s)
{
    char name[CONF_LINE_MAX + 1];
    enum err err = fixed_text(c, s->place[0], "the variable's name", name, sizeof name);

    if (err != ERR_OK)
        return err;
    if (name[0] == '\0' || name[strcspn(name, " \t\"\\")] != '\0')
        return refuse(
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
        err = fixed_number(c, s->place[1], "the level", 1, 4, &level);
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
    enum err err = fixed_text(c, s->place[0], "the application", name, sizeof name);

    if (err != ERR_OK)
        return err;
    if (!name_valid(name, strlen(name)))
        return refuse(c, ERR_MALFORMED, "\"%s\" is no application's name", name);
    draft_puts(&s->line, "EXEC");
    line_word(&s->line, s->place[0]);
    if (s->place[1] != NULL)
        line_word(&s->line, s->place[1]);
    return compile_line(c, s);
}

/* into=NAME and digits=KEYS, for what asks for keys. */
static enum err compile_keys(struct compiler *c, struct step_draft *s, unsigned max)
{
    struct script_slot slot = {.kind = SCRIPT_SLOT_INTO, .max = (uint16_t)max}, taken;
    char name[SCRIPT_INTO_NAME_MAX + 1], keys[32] = "";
    enum err err;

    if (s->option[0] == NULL)
        return refuse(c, ERR_MALFORMED,
                      "into=NAME is missing: it takes the keys pressed");
    err = fixed_text(c, s->option[0], "into=", name, sizeof name);
    if (err == ERR_OK && s->option[1] != NULL)
        err = fixed_keys(c, s->option[1], "digits=", keys);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (strcmp(variables[i].name, name) == 0)
            return refuse(c, ERR_EXISTS, "into=%s: ${%s} is something else already", name,
                          name);
    if (environment_slot(name, &taken))
        return refuse(c, ERR_EXISTS, "into=%s: ${%s} is something else already", name,
                      name);
    if (name[0] == '\0' ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
        return refuse(c, ERR_MALFORMED,
                      "into=%s: expected lower-case letters, digits and _", name);
    slot.name = name;
    s->step->digits = keep_text(c->table, keys, strlen(keys));
    if (s->step->digits == NULL)
        return no_memory(c);
    return slot_of(c, &slot, &s->step->into);
}

static enum err compile_key_time(struct compiler *c, struct step_draft *s, size_t place,
                                 unsigned standard)
{
    enum err err = ERR_OK;

    s->step->ms = standard;
    if (s->place[place] != NULL)
        err = fixed_duration(c, s->place[place], &s->step->ms);
    if (err == ERR_OK && (s->step->ms == 0 || s->step->ms > SCRIPT_KEY_MS_MAX))
        err = refuse(c, ERR_RANGE, "the time to wait for a key: expected 1ms to 1h");
    return err;
}

static enum err compile_get_data(struct compiler *c, struct step_draft *s)
{
    int64_t max = 16;
    char text[32];
    enum err err = compile_key_time(c, s, 1, 5000);

    c->sound = true;
    if (err == ERR_OK && s->places > 2)
        err = fixed_number(c, s->place[2], "the number of digits", 1, SCRIPT_INTO_MAX,
                           &max);
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
        return refuse(c, ERR_MALFORMED, "there is no step \"%s\"; did you mean %s?", word,
                      near.best);
    return refuse(
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
            return refuse(c, ERR_EXISTS, "%s= is given twice", verb->options[w->option]);
        s->option[w->option] = w;
    }
    if (s->places < verb->least || s->places > verb->most)
        return refuse(c, ERR_MALFORMED, "too %s words: expected %s",
                      s->places < verb->least ? "few" : "many", verb->usage);
    return ERR_OK;
}

static enum err compile_step(struct compiler *c, const char *text, struct step_draft *s)
{
    size_t len = strcspn(text, " \t");
    const struct verb *verb = verb_find(text, len);
    enum err err;

    if (strlen(text) > CONF_LINE_MAX)
        return refuse(c, ERR_TOO_LONG, "a step may have at most %d bytes", CONF_LINE_MAX);
    if (strchr(text, '\n') != NULL)
        return refuse(c, ERR_MALFORMED, "a step is one line");
    if (verb == NULL)
        return unknown_verb(c, text, len);
    err = lex_words(c, text + len, verb->options, &s->words);
    if (err == ERR_OK)
        err = place_words(c, verb, s);
    if (err != ERR_OK)
        return err;
    s->step->verb = verb->verb;
    s->line.count = s->line.len = 0;
    return verb->compile(c, s);
}

/* All lines of that name, in order. */
static enum err compile_steps(struct compiler *c, const struct conf_script *source,
                              const char *name, struct step_draft *draft,
                              struct script_steps *out)
{
    struct script_step *steps;
    size_t count = 0;

    for (size_t i = 0; i < source->count; i++)
        count += strcmp(source->lines[i].name, name) == 0;
    steps = keep(c->table, (count + 1) * sizeof *steps);
    if (steps == NULL)
        return no_memory(c);
    *out = (struct script_steps){steps, 0};
    for (size_t i = 0; i < source->count; i++) {
        enum err err;
        if (strcmp(source->lines[i].name, name) != 0)
            continue;
        c->line = source->lines[i].line;
        if (out->count == SCRIPT_STEPS_MAX)
            return refuse(c, ERR_TOO_LONG, "a script may have at most %d %s lines",
                          SCRIPT_STEPS_MAX, name);
        if (out->count > 0 && steps[out->count - 1].verb == SCRIPT_HANGUP)
            return refuse(c, ERR_MALFORMED, "nothing can follow hangup");
        draft->step = &steps[out->count++];
        err = compile_step(c, source->lines[i].value, draft);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* ---- scripts ---- */

/* "counter =", or the script's own name. */
static enum err compile_counter(struct compiler *c, const struct conf_script *source,
                                struct step_draft *draft)
{
    static const char *const no_options[OPTIONS_MAX] = {0};
    const char *value = source->name;
    size_t given = 0;
    enum err err;

    for (size_t i = 0; i < source->count; i++) {
        if (strcmp(source->lines[i].name, "counter") != 0)
            continue;
        value = source->lines[i].value;
        c->line = source->lines[i].line;
        if (++given > 1)
            return refuse(c, ERR_EXISTS, "counter is given twice");
    }
    if (strlen(value) > CONF_LINE_MAX)
        return refuse(c, ERR_TOO_LONG, "a counter's name may have at most %d bytes",
                      NAME_MAX_BYTES);
    c->in_counter = true;
    err = lex_words(c, value, no_options, &draft->words);
    c->in_counter = false;
    if (err != ERR_OK)
        return err;
    if (draft->words.count != 1)
        return refuse(c, ERR_MALFORMED, "expected counter = NAME, one word");
    return counter_name(c, &draft->words.word[0].draft, &c->script->counter);
}

static enum err check_names(struct compiler *c, const struct conf_script *source)
{
    for (size_t i = 0; i < source->count; i++) {
        const char *name = source->lines[i].name;
        c->line = source->lines[i].line;
        if (strcmp(name, "step") != 0 && strcmp(name, "on-error") != 0 &&
            strcmp(name, "counter") != 0)
            return refuse(c, ERR_MALFORMED,
                          "\"%s\" in a script: expected step, on-error or counter", name);
    }
    return ERR_OK;
}

static enum err compile_default_on_error(struct compiler *c, struct step_draft *draft)
{
    static const char step[] = "step";
    char lines[2][64] = {"stream-file please-try-call-later", "hangup"};
    struct conf_line line[2] = {{(char *)step, lines[0], c->line},
                                {(char *)step, lines[1], c->line}};
    const struct script_steps *steps = &c->script->steps;
    struct conf_script source = {.lines = line, .count = 1};

    if (steps->step[steps->count - 1].verb == SCRIPT_HANGUP)
        source.count = 2;
    return compile_steps(c, &source, step, draft, &c->script->on_error);
}

static enum err compile_script(struct compiler *c, const struct conf_script *source,
                               struct step_draft *draft)
{
    struct script_slot *slot;
    enum err err = check_names(c, source);

    c->line = source->line;
    if (err == ERR_OK)
        err = compile_counter(c, source, draft);
    c->line = source->line;
    if (err == ERR_OK)
        err = compile_steps(c, source, "step", draft, &c->script->steps);
    if (err == ERR_OK && c->script->steps.count == 0)
        err =
            refuse(c, ERR_MALFORMED,
                   "script %s has no step line: expected step = VERB ...", source->name);
    if (err == ERR_OK)
        err = compile_steps(c, source, "on-error", draft, &c->script->on_error);
    if (err == ERR_OK && c->script->on_error.count == 0 && c->sound)
        err = compile_default_on_error(c, draft);
    if (err != ERR_OK)
        return err;
    slot = keep(c->table, (c->script->slots + 1) * sizeof *slot);
    if (slot == NULL)
        return no_memory(c);
    memcpy(slot, c->slot, c->script->slots * sizeof *slot);
    c->script->slot = slot;
    return ERR_OK;
}

static enum err compile_all(struct script_table *table, const char *path,
                            const struct conf_script *scripts, size_t count,
                            bool replaceable, struct conf_error *error)
{
    struct step_draft *draft = calloc(1, sizeof *draft);
    enum err err = ERR_OK;

    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct compiler c = {.table = table, .path = path, .error = error};
        c.line = scripts[i].line;
        if (script_find(table, scripts[i].name, strlen(scripts[i].name)) != NULL) {
            if (replaceable)
                continue; /* tally.conf has its own. */
            err = refuse(&c, ERR_EXISTS, "there are two scripts %s", scripts[i].name);
            break;
        }
        if (draft == NULL) {
            err = no_memory(&c);
            break;
        }
        c.script = &table->script[table->count];
        memcpy(c.script->name, scripts[i].name, sizeof c.script->name);
        err = compile_script(&c, &scripts[i], draft);
        table->count += err == ERR_OK;
    }
    free(draft);
    return err;
}

/* ---- the ready-made scripts ---- */

enum { READY_MADE_SCRIPTS = 8, READY_MADE_LINES = 16 };

struct ready_made {
    struct script_table *table;
    struct conf_script script[READY_MADE_SCRIPTS];
    size_t count;
};

/* inih's handler: 1 to go on. */
static int ready_made_line(void *user, const char *section, const char *name,
                           const char *value)
{
    struct ready_made *r = user;
    const char *script = section + strlen("script ");
    struct conf_script *last = r->count > 0 ? &r->script[r->count - 1] : NULL;
    struct conf_line *line;

    if (last == NULL || strcmp(last->name, script) != 0) {
        assert(r->count < READY_MADE_SCRIPTS);
        last = &r->script[r->count++];
        snprintf(last->name, sizeof last->name, "%s", script);
        last->lines = keep(r->table, READY_MADE_LINES * sizeof *last->lines);
    }
    if (last->lines == NULL)
        return 0;
    assert(last->count < READY_MADE_LINES);
    line = &last->lines[last->count++];
    line->name = keep_text(r->table, name, strlen(name));
    line->value = keep_text(r->table, value, strlen(value));
    return line->name != NULL && line->value != NULL;
}

static enum err compile_ready_made(struct script_table *table, struct conf_error *error)
{
    static const char path[] = "ready-made scripts";
    struct ready_made r = {.table = table};

    if (ini_parse_string(ready_made, ready_made_line, &r) != 0) {
        conf_error_set(error, path, 0, "no memory left to compile the scripts");
        return ERR_MEMORY;
    }
    return compile_all(table, path, r.script, r.count, true, error);
}

enum err script_compile(const struct conf *conf, struct script_table **table,
                        struct conf_error *error)
{
    struct script_table *t = calloc(1, sizeof *t);
    enum err err = ERR_MEMORY;

    if (t != NULL)
        t->script = calloc(conf->script_count + READY_MADE_SCRIPTS, sizeof *t->script);
    if (t != NULL && t->script != NULL)
        err = compile_all(t, conf->path, conf->scripts, conf->script_count, false, error);
    else
        conf_error_set(error, conf->path, 0, "no memory left to compile the scripts");
    if (err == ERR_OK)
        err = compile_ready_made(t, error);
    if (err == ERR_OK &&
        script_find(t, conf->default_script, strlen(conf->default_script)) == NULL) {
        conf_error_set(error, conf->path, 0,
                       "default-script = %s: there is no such script",
                       conf->default_script);
        err = ERR_NOT_FOUND;
    }
    if (err != ERR_OK) {
        script_table_free(t);
        return err;
    }
    *table = t;
    return ERR_OK;
}
