#include "server/script_ready.h"

#include <assert.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

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

struct reading {
    struct script_table *table;
    struct script_ready *ready;
};

/* inih's handler: 1 to go on. */
static int take_line(void *user, const char *section, const char *name, const char *value)
{
    struct reading *reading = user;
    struct script_ready *r = reading->ready;
    const char *script = section + strlen("script ");
    struct conf_script *last = r->count > 0 ? &r->script[r->count - 1] : NULL;
    struct conf_line *line;

    if (last == NULL || strcmp(last->name, script) != 0) {
        assert(r->count < SCRIPT_READY_MAX);
        last = &r->script[r->count++];
        snprintf(last->name, sizeof last->name, "%s", script);
        last->lines =
            script_keep(reading->table, SCRIPT_READY_LINES_MAX * sizeof *last->lines);
    }
    if (last->lines == NULL)
        return 0;
    assert(last->count < SCRIPT_READY_LINES_MAX);
    line = &last->lines[last->count++];
    line->name = script_keep_text(reading->table, name, strlen(name));
    line->value = script_keep_text(reading->table, value, strlen(value));
    return line->name != NULL && line->value != NULL;
}

enum err script_ready(struct script_table *table, struct script_ready *ready)
{
    struct reading reading = {.table = table, .ready = ready};

    ready->count = 0;
    memset(ready->script, 0, sizeof ready->script);
    return ini_parse_string(ready_made, take_line, &reading) == 0 ? ERR_OK : ERR_MEMORY;
}
