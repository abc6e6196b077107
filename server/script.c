#include "server/script.h"

#include <stdlib.h>
#include <string.h>

#include "common/name.h"
#include "server/script_ready.h"
#include "server/script_rules.h"
#include "server/script_step.h"

/* ---- steps ---- */

/* All lines of that name, in order. */
static enum err compile_steps(struct compiler *c, const struct conf_script *source,
                              const char *name, struct step_draft *draft,
                              struct script_steps *out)
{
    struct script_step *steps;
    size_t count = 0;

    for (size_t i = 0; i < source->count; i++)
        count += strcmp(source->lines[i].name, name) == 0;
    steps = script_keep(c->table, (count + 1) * sizeof *steps);
    if (steps == NULL)
        return compiler_no_memory(c);
    *out = (struct script_steps){steps, 0};
    for (size_t i = 0; i < source->count; i++) {
        enum err err;
        if (strcmp(source->lines[i].name, name) != 0)
            continue;
        c->line = source->lines[i].line;
        if (out->count == SCRIPT_STEPS_MAX)
            return compiler_refuse(c, ERR_TOO_LONG,
                                   "a script may have at most %d %s lines",
                                   SCRIPT_STEPS_MAX, name);
        if (out->count > 0 && steps[out->count - 1].verb == SCRIPT_HANGUP)
            return compiler_refuse(c, ERR_MALFORMED, "nothing can follow hangup");
        draft->step = &steps[out->count++];
        err = step_compile(c, source->lines[i].value, draft);
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
            return compiler_refuse(c, ERR_EXISTS, "counter is given twice");
    }
    if (strlen(value) > CONF_LINE_MAX)
        return compiler_refuse(c, ERR_TOO_LONG,
                               "a counter's name may have at most %d bytes",
                               NAME_MAX_BYTES);
    c->in_counter = true;
    err = words_lex(c, value, no_options, &draft->words);
    c->in_counter = false;
    if (err != ERR_OK)
        return err;
    if (draft->words.count != 1)
        return compiler_refuse(c, ERR_MALFORMED, "expected counter = NAME, one word");
    return rule_counter(c, &draft->words.word[0].draft, &c->script->counter);
}

static enum err check_names(struct compiler *c, const struct conf_script *source)
{
    for (size_t i = 0; i < source->count; i++) {
        const char *name = source->lines[i].name;
        c->line = source->lines[i].line;
        if (strcmp(name, "step") != 0 && strcmp(name, "on-error") != 0 &&
            strcmp(name, "counter") != 0)
            return compiler_refuse(
                c, ERR_MALFORMED,
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
        err = compiler_refuse(c, ERR_MALFORMED,
                              "script %s has no step line: expected step = VERB ...",
                              source->name);
    if (err == ERR_OK)
        err = compile_steps(c, source, "on-error", draft, &c->script->on_error);
    if (err == ERR_OK && c->script->on_error.count == 0 && c->sound)
        err = compile_default_on_error(c, draft);
    if (err != ERR_OK)
        return err;
    slot = script_keep(c->table, (c->script->slots + 1) * sizeof *slot);
    if (slot == NULL)
        return compiler_no_memory(c);
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
            err = compiler_refuse(&c, ERR_EXISTS, "there are two scripts %s",
                                  scripts[i].name);
            break;
        }
        if (draft == NULL) {
            err = compiler_no_memory(&c);
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

/* ---- all of them ---- */

static enum err compile_ready_made(struct script_table *table, struct conf_error *error)
{
    static const char path[] = "ready-made scripts";
    struct script_ready ready;

    if (script_ready(table, &ready) != ERR_OK) {
        conf_error_set(error, path, 0, "no memory left to compile the scripts");
        return ERR_MEMORY;
    }
    return compile_all(table, path, ready.script, ready.count, true, error);
}

enum err script_compile(const struct conf *conf, struct script_table **table,
                        struct conf_error *error)
{
    struct script_table *t = calloc(1, sizeof *t);
    enum err err = ERR_MEMORY;

    if (t != NULL)
        t->script = calloc(conf->script_count + SCRIPT_READY_MAX, sizeof *t->script);
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
