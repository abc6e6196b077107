#include "replica/ctl_live.h"

#include "replica/ctl.h"

enum {
    PAUSE_FIRST_MS = 100,
    PAUSE_MOST_MS = 2000,
};

static void lose(struct live *live)
{
    unsigned longer = 2 * live->pause_ms;

    /* What cannot be looked at is taken as it was. */
    (void)ctl_node_look(live->node);
    live->pause_ms = !live->lost              ? PAUSE_FIRST_MS
                     : longer < PAUSE_MOST_MS ? longer
                                              : PAUSE_MOST_MS;
    live->lost = true;
}

json_t *live_ask(struct live *live, json_t *request)
{
    json_t *reply;

    if (ctl_try(live->node, request, live->wait_ms, &reply) != ERR_OK) {
        lose(live);
        return NULL;
    }
    if (json_object_get(reply, "error") == NULL)
        return reply;
    json_decref(reply);
    return NULL;
}

json_t *live_status(struct live *live)
{
    json_t *status = live_ask(live, json_pack("{s:s}", "do", "status"));
    json_int_t pid, started_ms;

    if (status == NULL)
        return NULL;
    pid = ctl_number(status, "pid");
    started_ms = ctl_number(status, "started_ms");
    live->changed = live->pid != pid || live->started_ms != started_ms;
    live->pid = pid;
    live->started_ms = started_ms;
    live->lost = false;
    live->node->running = true;
    return status;
}

const char *live_why(const struct live *live)
{
    return live->node->running ? "runs, but does not answer" : "does not run";
}
