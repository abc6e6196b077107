#include "server/script_variable.h"

#include <string.h>

#include "common/name.h"
#include "common/nearest.h"
#include "server/agi.h"

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

enum err variable_slot(struct compiler *c, const struct script_slot *want,
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
        return compiler_refuse(c, ERR_TOO_LONG,
                               "a script may use at most %d different variables",
                               SCRIPT_SLOTS_MAX);
    if (i == c->script->slots) {
        c->slot[i] = *want;
        if (want->name != NULL) {
            c->slot[i].name = script_keep_text(c->table, want->name, strlen(want->name));
            if (c->slot[i].name == NULL)
                return compiler_no_memory(c);
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
        return compiler_refuse(c, ERR_MALFORMED,
                               "there is no variable ${%s}; did you mean ${%s}?", name,
                               near.best);
    return compiler_refuse(
        c, ERR_MALFORMED,
        "there is no variable ${%s}: expected counter, number, total, status, node, arg1 to "
        "arg127, arg.NAME, a name from the AGI environment such as uniqueid, or a name that an "
        "earlier step has as into=",
        name);
}

enum err variable_find(struct compiler *c, const char *name, struct script_piece *piece)
{
    struct script_slot slot;

    *piece = (struct script_piece){.from = SCRIPT_SLOT};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        if (strcmp(variables[i].name, name) != 0)
            continue;
        if (c->in_counter && !variables[i].in_counter)
            return compiler_refuse(c, ERR_MALFORMED,
                                   "${%s} is not known yet where the counter is named",
                                   name);
        if (variables[i].numbered && !c->numbered)
            return compiler_refuse(c, ERR_MALFORMED,
                                   "${%s} is not known before a count or get step", name);
        piece->from = variables[i].from;
        return ERR_OK;
    }
    if (into_slot(c, name, &piece->slot))
        return ERR_OK;
    if (!environment_slot(name, &slot))
        return unknown_variable(c, name);
    return variable_slot(c, &slot, &piece->slot);
}

bool variable_taken(const char *name)
{
    struct script_slot slot;

    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (strcmp(variables[i].name, name) == 0)
            return true;
    return environment_slot(name, &slot);
}
