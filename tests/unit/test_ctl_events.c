/* tests/unit/test_ctl_events.c: what watch --events tells. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "replica/ctl_events.h"

static char told[4096]; /* a line for each event: name, weight, peer */

static void tell(void *arg, const struct event *event)
{
    size_t len = strlen(told);

    (void)arg;
    cr_expect_neq(event->what[0], '\0');
    snprintf(told + len, sizeof told - len, "%s, %s, %s\n", event->name,
             event_weight_name(event->weight), event->peer != NULL ? event->peer : "-");
}

static json_t *read_json(const char *text)
{
    json_t *json;

    if (text == NULL)
        return NULL;
    json = json_loads(text, 0, NULL);
    cr_assert_not_null(json, "%s", text);
    return json;
}

/* NULL: nothing was seen. */
static void between(const char *status, const char *peers, const char *status_now,
                    const char *peers_now, const char *expected)
{
    const struct events_seen before = {read_json(status), read_json(peers)};
    const struct events_seen now = {read_json(status_now), read_json(peers_now)};

    told[0] = '\0';
    events_between(status != NULL ? &before : NULL, &now, tell, NULL);
    cr_expect_str_eq(told, expected, "told %s, expected %s", told, expected);
    json_decref((json_t *)before.status);
    json_decref((json_t *)before.peers);
    json_decref((json_t *)now.status);
    json_decref((json_t *)now.peers);
}

#define WELL                                                                           \
    "{\"started_ms\": 5, \"numbers\": \"FINAL\", \"full\": false, \"joining\": false," \
    " \"forks\": 0, \"checkpoint\": {\"number\": 3}, \"peers\": {\"copied\": false},"  \
    " \"copies\": {\"to_be_had\": true},"                                              \
    " \"calls\": {\"workers_started\": 2, \"states_started\": 1}}"
#define ILL                                                                                \
    "{\"started_ms\": 5, \"numbers\": \"PROVISIONAL\", \"full\": true, \"joining\": true," \
    " \"forks\": 2, \"checkpoint\": {\"number\": 4}, \"peers\": {\"copied\": true},"       \
    " \"copies\": {\"to_be_had\": false},"                                                 \
    " \"calls\": {\"workers_started\": 3, \"states_started\": 1}}"

Test(ctl_events, at_first_only_what_is_wrong_is_told)
{
    between(NULL, NULL, WELL, NULL, "");
    between(NULL, NULL, ILL, NULL,
            "disk-full, not ok, -\njoining, not ok, -\ncopied, not ok, -\n"
            "copies-missing, not ok, -\nfork, attention, -\n");
}

Test(ctl_events, what_changes_is_told_both_ways)
{
    between(WELL, NULL, WELL, NULL, "");
    between(WELL, NULL, ILL, NULL,
            "worker-started, note, -\ndisk-full, not ok, -\njoining, not ok, -\n"
            "copied, not ok, -\ncopies-missing, not ok, -\nfork, attention, -\n"
            "numbers, note, -\ncheckpoint, note, -\n");
    between(ILL, NULL, WELL, NULL,
            "disk-room, ok, -\njoined, ok, -\ncopy-gone, ok, -\ncopies-back, ok, -\n"
            "numbers, note, -\n");
}

Test(ctl_events, a_crash_is_told_apart_from_a_start)
{
    static const char first[] = "{\"started_ms\": 5, \"calls\": {\"states_started\": 1,"
                                " \"workers_started\": 4}}";

    between(first, NULL, "{\"started_ms\": 6, \"calls\": {\"states_started\": 2}}", NULL,
            "state-started, attention, -\n");
    between(first, NULL, "{\"started_ms\": 6, \"calls\": {\"states_started\": 1}}", NULL,
            "node-started, note, -\n");
}

#define PEER(connected, wrong, refused)                                      \
    "{\"name\": \"b\", \"connected\": " connected ", \"too_far\": " wrong    \
    ", \"differs\": " wrong ", \"rivals\": " wrong ", \"refused\": " refused \
    ", \"newer\": " refused "}"

Test(ctl_events, peers_come_and_go_by_their_names)
{
    static const char other[] = "{\"name\": \"c\", \"connected\": true}";
    char both[1024], reversed[1024];
    static const char none[] = "{\"peers\": []}";
    static const char good[] = "{\"peers\": [" PEER("true", "false", "0") "]}";
    static const char bad[] = "{\"peers\": [" PEER("false", "true", "7") "]}";

    snprintf(both, sizeof both, "{\"peers\": [%s, " PEER("true", "false", "0") "]}",
             other);
    snprintf(reversed, sizeof reversed,
             "{\"peers\": [" PEER("true", "false", "0") ", %s]}", other);
    between(
        WELL, good, WELL, bad,
        "peer-gone, attention, b\npeer-too-far, attention, b\npeer-differs, not ok, b\n"
        "peer-copied, not ok, b\npeer-refused, attention, b\npeer-newer, attention, b\n");
    between(
        WELL, bad, WELL, good,
        "peer-connected, ok, b\npeer-near, ok, b\npeer-agrees, ok, b\npeer-alone, ok, b\n");
    between(WELL, both, WELL, reversed, "");
    between(WELL, both, WELL, good, "peer-removed, note, c\n");
    between(WELL, good, WELL, both, "peer-added, note, c\n");
    between(
        WELL, none, WELL, bad,
        "peer-added, note, b\npeer-gone, attention, b\npeer-too-far, attention, b\n"
        "peer-differs, not ok, b\npeer-copied, not ok, b\npeer-refused, attention, b\n"
        "peer-newer, attention, b\n");
    /* Peers that could not be asked are not gone. */
    between(WELL, good, WELL, NULL, "");
}

Test(ctl_events, replies_that_make_no_sense_are_no_events)
{
    between("{}", "{}", "{\"full\": 7, \"peers\": 1}", "{\"peers\": [1, null]}",
            "peer-added, note, ?\npeer-added, note, ?\n");
}
