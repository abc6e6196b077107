/* tests/fuzz/fuzz_script.c: any lines as a script. What is taken keeps its limits, and
 * its commands are whole lines; what is refused is refused with a place and a reason. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/name.h"
#include "server/agi.h"
#include "server/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES_MAX = 256 };

static void check_pieces(const struct script *s, const struct script_text *text)
{
    for (size_t i = 0; i < text->count; i++) {
        const struct script_piece *p = &text->piece[i];
        if (p->from == SCRIPT_TEXT)
            assert(p->len > 0 && memchr(p->text, '\0', p->len) == NULL);
        if (p->from == SCRIPT_SLOT)
            assert(p->slot < s->slots);
        if (p->from == SCRIPT_TIME)
            assert(strchr("YmdHM", p->code) != NULL);
    }
}

static void check_command(const struct script_text *command)
{
    size_t len = 0, newlines = 0;
    char last = '\n';

    for (size_t i = 0; i < command->count; i++) {
        const struct script_piece *p = &command->piece[i];
        if (p->from != SCRIPT_TEXT)
            continue;
        for (size_t j = 0; j < p->len; j++)
            newlines += p->text[j] == '\n';
        last = p->text[p->len - 1];
        len += p->len;
    }
    assert(newlines == (command->count > 0) && last == '\n' && len <= AGI_COMMAND_MAX);
}

static void check_steps(const struct script *s, const struct script_steps *steps)
{
    assert(steps->count <= SCRIPT_STEPS_MAX);
    for (size_t i = 0; i < steps->count; i++) {
        const struct script_step *step = &steps->step[i];
        const struct script_text *const texts[] = {&step->command, &step->text, &step->by,
                                                   &step->id, &step->tag};
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++)
            check_pieces(s, texts[j]);
        check_command(&step->command);
        if (step->verb == SCRIPT_HANGUP)
            assert(i == steps->count - 1);
        if (step->verb == SCRIPT_GET_DATA || step->verb == SCRIPT_WAIT_FOR_DIGIT)
            assert(step->ms <= SCRIPT_KEY_MS_MAX &&
                   s->slot[step->into].kind == SCRIPT_SLOT_INTO &&
                   s->slot[step->into].max <= SCRIPT_INTO_MAX);
    }
}

static void check(const struct conf *conf)
{
    struct conf_error error = {.text = ""};
    struct script_table *table;
    const struct script *s;

    if (script_compile(conf, &table, &error) != ERR_OK) {
        assert(strncmp(error.text, "f:", 2) == 0 && strlen(error.text) > 5);
        return;
    }
    s = script_find(table, "s", 1);
    assert(s != NULL && s->slots <= SCRIPT_SLOTS_MAX && s->steps.count > 0);
    check_pieces(s, &s->counter);
    check_steps(s, &s->steps);
    check_steps(s, &s->on_error);
    script_table_free(table);
}

/* Each line of the input is one of the script: "E..." an on-error step, "C..." its
 * counter, any other a step. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char step[] = "step", on_error[] = "on-error", counter[] = "counter";
    static struct conf_line line[LINES_MAX];
    struct conf_script script = {.name = "s", .line = 1, .lines = line};
    struct conf conf = {
        .path = "f", .default_script = "hits", .scripts = &script, .script_count = 1};
    char *text = malloc(size + 1), *at = text;

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    while (script.count < LINES_MAX && at != NULL && *at != '\0') {
        char *value = strsep(&at, "\n");
        struct conf_line *l = &line[script.count++];
        *l = (struct conf_line){
            .name = step, .value = value, .line = (unsigned)script.count};
        if (*value == 'E' || *value == 'C') {
            l->name = *value == 'E' ? on_error : counter;
            l->value++;
        }
    }
    check(&conf);
    free(text);
    return 0;
}
