#include <inttypes.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/clock.h"
#include "replica/ctl.h"
#include "replica/ctl_processes.h"
#include "replica/ctl_verdict.h"

static const char *text_at(const json_t *json, const char *member)
{
    const char *text = json_string_value(json_object_get(json, member));

    return text != NULL ? text : "-";
}

/* ---- status, key ---- */

static void print_process(const json_t *status)
{
    char since[CTL_TIME_SIZE];

    if (!json_is_true(json_object_get(status, "running"))) {
        puts("process      not running; this is what its files hold");
        return;
    }
    ctl_format_time((uint64_t)ctl_number(status, "started_ms"), since);
    printf("process      %" JSON_INTEGER_FORMAT ", version %s, since %s\n",
           ctl_number(status, "pid"), text_at(status, "version"), since);
}

static void print_log(const json_t *status)
{
    const json_t *log = json_object_get(status, "log");
    const json_t *checkpoint = json_object_get(status, "checkpoint");
    json_int_t made = ctl_number(checkpoint, "made_ms");
    char when[CTL_TIME_SIZE] = "before the start";

    printf("log          bytes %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT "\n",
           ctl_number(log, "first"), ctl_number(log, "end"));
    if (json_is_null(checkpoint)) {
        puts("checkpoint   none yet");
        return;
    }
    if (made != 0)
        ctl_format_time((uint64_t)made, when);
    printf("checkpoint   number %" JSON_INTEGER_FORMAT " at byte %" JSON_INTEGER_FORMAT
           ", made %s\n",
           ctl_number(checkpoint, "number"), ctl_number(checkpoint, "lsn"), when);
}

static void print_cluster(const json_t *status)
{
    const json_t *peers = json_object_get(status, "peers");
    json_int_t strangers = ctl_number(peers, "strangers");

    if (peers == NULL)
        return;
    printf("numbers      %s%s\n", text_at(status, "numbers"),
           json_is_true(json_object_get(status, "joining"))
               ? ", and none is said yet: catching up with a peer first"
               : "");
    if (ctl_number(peers, "count") == 0 && strangers == 0)
        return;
    printf("peers        %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " connected",
           ctl_number(peers, "connected"), ctl_number(peers, "count"));
    if (strangers > 0)
        printf("; %" JSON_INTEGER_FORMAT " messages of strangers dropped", strangers);
    putchar('\n');
    if (ctl_number(peers, "rivals") > 0)
        puts(
            "             COPIED: more than one process is alive with the key of one peer: see "
            "tallyctl peers");
    if (json_is_true(json_object_get(peers, "copied")))
        puts(
            "             COPIED: peers say that another process with this node's key is alive");
}

static void print_copies(const json_t *status)
{
    const json_t *copies = json_object_get(status, "copies");
    json_int_t wanted = ctl_number(copies, "wanted"), nodes = ctl_number(copies, "nodes"),
               late = ctl_number(copies, "late");

    if (wanted <= 1)
        return;
    printf("copies       %" JSON_INTEGER_FORMAT
           " nodes hold a count before it is answered; %" JSON_INTEGER_FORMAT
           " are connected\n",
           wanted, nodes);
    printf("             %" JSON_INTEGER_FORMAT " answers wait, %" JSON_INTEGER_FORMAT
           " were UNKNOWN for want of copies\n",
           ctl_number(copies, "waiting"), late);
}

static void print_status(const json_t *status)
{
    const json_t *position = json_object_get(status, "position");

    printf("node         %s\n", text_at(status, "node"));
    print_process(status);
    printf("fingerprint  %s\n", text_at(status, "fingerprint"));
    printf("cluster      %s\n", text_at(status, "cluster"));
    if (json_is_null(position))
        puts("position     nothing was counted yet");
    else
        printf("position     block %" JSON_INTEGER_FORMAT " of stream %s\n",
               ctl_number(position, "number"), text_at(position, "stream"));
    printf("counters     %" JSON_INTEGER_FORMAT "\n", ctl_number(status, "counters"));
    print_cluster(status);
    if (ctl_number(status, "forks") > 0)
        printf(
            "forks        %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
            " streams: a copied process counted in them, too, and nodes may differ by what "
            "it counted\n",
            ctl_number(status, "forks"), ctl_number(status, "streams"));
    print_copies(status);
    print_log(status);
}

/* ---- what only tallyctl sees: the disk, the processes, and the verdict ---- */

struct outlook {
    struct verdict_around around;
    struct processes processes;
    bool processes_known;
    enum verdict_word word;
    json_t *problems;
};

static void look_around(struct outlook *o)
{
    struct statvfs fs;

    if (statvfs(".", &fs) == 0)
        o->around = (struct verdict_around){.free = (uint64_t)fs.f_bavail * fs.f_frsize,
                                            .size = (uint64_t)fs.f_blocks * fs.f_frsize};
    o->around.now_ms = clock_wall_ms();
    o->processes_known = processes_look(&o->processes);
}

/* Of a running node. */
static enum ctl_exit judge(struct ctl *ctl, const json_t *status, struct outlook *o)
{
    const json_t *peers = json_object_get(status, "peers");
    json_t *reply = NULL;
    enum ctl_exit code = CTL_FINE;

    if (ctl_number(peers, "count") > 0)
        code = ctl_request(ctl, json_pack("{s:s}", "do", "peers"), &reply);
    if (code != CTL_FINE)
        return code;
    o->word = verdict_of(status, reply, &o->around, &o->problems);
    json_decref(reply);
    return o->word == VERDICT_OK ? CTL_FINE : CTL_NOT_FINE;
}

static void print_problem(const json_t *problem, bool bad)
{
    const char *word = bad ? "NOT OK" : "ATTENTION";

    printf("%s%s%s: ", ctl_color(bad ? CTL_BAD : CTL_WARN), word, ctl_color(CTL_PLAIN));
    ctl_print_wrapped(text_at(problem, "what"), (int)strlen(word) + 2, 2);
    fputs("    ", stdout);
    ctl_print_wrapped(text_at(problem, "do"), 4, 4);
}

static void print_well(const json_t *status, const struct outlook *o)
{
    const json_t *peers = json_object_get(status, "peers");

    printf("%sOK%s: %s counts", ctl_color(CTL_GOOD), ctl_color(CTL_PLAIN),
           text_at(status, "node"));
    if (ctl_number(peers, "count") > 0)
        printf(", %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
               " peers are connected",
               ctl_number(peers, "connected"), ctl_number(peers, "count"));
    if (o->processes_known && o->processes.workers == 0)
        printf("; no worker: a witness takes no calls");
    putchar('\n');
}

/* The first lines: what is wrong comes before what is. */
static void print_verdict(const struct ctl *ctl, const json_t *status,
                          const struct outlook *o)
{
    const json_t *problem;
    size_t i;

    if (!ctl->node.running)
        printf("%sNOT RUNNING%s: no tallyd has this state directory; this is what its "
               "files hold\n",
               ctl_color(CTL_BAD), ctl_color(CTL_PLAIN));
    else if (o->word == VERDICT_OK)
        print_well(status, o);
    json_array_foreach(o->problems, i, problem)
        print_problem(problem, strcmp(text_at(problem, "severity"), "not ok") == 0);
    putchar('\n');
}

static void print_calls(const json_t *status)
{
    const json_t *calls = json_object_get(status, "calls");

    if (calls == NULL)
        return;
    printf("calls        %" JSON_INTEGER_FORMAT " open; %" JSON_INTEGER_FORMAT
           " taken, %" JSON_INTEGER_FORMAT " failed, %" JSON_INTEGER_FORMAT " refused\n",
           ctl_number(calls, "open"), ctl_number(calls, "taken"),
           ctl_number(calls, "failed"), ctl_number(calls, "refused"));
}

static void print_around(const struct outlook *o)
{
    char free_text[CTL_SIZE_SIZE], size_text[CTL_SIZE_SIZE];

    if (o->processes_known)
        printf("processes    master %d, workers %u\n", (int)o->processes.master,
               o->processes.workers);
    ctl_format_size(o->around.free, free_text);
    ctl_format_size(o->around.size, size_text);
    printf("disk         %s of %s are free\n", free_text, size_text);
}

static void print_all_json(const struct ctl *ctl, json_t *status, const struct outlook *o)
{
    json_object_set_new(
        status, "verdict",
        json_string(ctl->node.running ? verdict_name(o->word) : "not running"));
    json_object_set(status, "problems", o->problems);
    json_object_set_new(status, "disk",
                        json_pack("{s:I, s:I}", "free", (json_int_t)o->around.free,
                                  "size", (json_int_t)o->around.size));
    if (o->processes_known)
        json_object_set_new(status, "processes",
                            json_pack("{s:i, s:i}", "master", (int)o->processes.master,
                                      "workers", (int)o->processes.workers));
    ctl_print_json(status);
}

enum ctl_exit ctl_status(struct ctl *ctl)
{
    struct outlook o = {.word = VERDICT_OK};
    json_t *status;
    enum ctl_exit code = ctl_request(ctl, json_pack("{s:s}", "do", "status"), &status);

    if (code != CTL_FINE)
        return code;
    look_around(&o);
    if (ctl->node.running)
        code = judge(ctl, status, &o);
    else
        code = CTL_UNREACHABLE;
    if (o.problems == NULL)
        o.problems = json_array();
    if (ctl->json) {
        print_all_json(ctl, status, &o);
    } else {
        print_verdict(ctl, status, &o);
        print_status(status);
        print_calls(status);
        print_around(&o);
    }
    json_decref(o.problems);
    json_decref(status);
    return code;
}

static bool read_key(const char *hex, struct public_key *key)
{
    size_t len;

    return sodium_hex2bin(key->byte, sizeof key->byte, hex, strlen(hex), NULL, &len,
                          NULL) == 0 &&
           len == sizeof key->byte;
}

enum ctl_exit ctl_key(struct ctl *ctl)
{
    json_t *status, *key;
    const char *name, *listen;
    struct public_key bytes;
    enum ctl_exit code = ctl_request(ctl, json_pack("{s:s}", "do", "status"), &status);

    if (code != CTL_FINE)
        return code;
    key = json_object_get(status, "key");
    name = json_string_value(json_object_get(status, "node"));
    listen = json_string_value(json_object_get(status, "peer_listen"));
    if (key == NULL || !read_key(json_string_value(key), &bytes)) {
        if (ctl_number(json_object_get(status, "log"), "end") > 0)
            ctl_complain(
                "the key is missing beside a log; tallyctl fsck tells what to do");
        else
            ctl_complain(
                "the node has no key yet: its first start makes it, or tallyd -k");
        code = CTL_NOT_FINE;
    } else if (ctl->words->option[CTL_OPT_FINGERPRINT] != NULL && !ctl->json) {
        puts(text_at(status, "fingerprint"));
    } else if (ctl->json) {
        json_t *both = json_pack("{s:O, s:O}", "key", key, "fingerprint",
                                 json_object_get(status, "fingerprint"));

        ctl_print_json(both);
        json_decref(both);
    } else {
        control_key_print(&bytes, name != NULL ? name : "", listen != NULL ? listen : "");
    }
    json_decref(status);
    return code;
}

/* ---- peers ---- */

/* What there is to say about a peer in a few words. */
static void peer_state(const json_t *peer, char *out, size_t size)
{
    const json_t *behind = json_object_get(peer, "behind");

    if (!json_is_true(json_object_get(peer, "reached")))
        snprintf(out, size, "not reachable");
    else if (!json_is_true(json_object_get(peer, "connected")))
        snprintf(out, size, "reached, but it does not answer: are both keys right?");
    else if (json_is_true(json_object_get(peer, "too_far")))
        snprintf(out, size, "connected, lacks blocks that this node's log has no more");
    else if (!json_is_integer(behind))
        snprintf(out, size, "connected");
    else if (json_integer_value(behind) == 0)
        snprintf(out, size, "connected, holds all that this node does");
    else
        snprintf(out, size, "connected, behind by %" JSON_INTEGER_FORMAT " blocks",
                 json_integer_value(behind));
}

static void print_peer(const json_t *peer, int name_width, int address_width)
{
    const json_t *heard = json_object_get(peer, "heard_ms");
    const char *rival_from = text_at(peer, "rival_from");
    json_int_t refused = ctl_number(peer, "refused"), forged = ctl_number(peer, "forged");
    json_int_t of = ctl_number(peer, "fetch_bytes");
    char state[80], when[32] = "never";

    peer_state(peer, state, sizeof state);
    if (json_is_integer(heard))
        snprintf(when, sizeof when, "%.1f s ago",
                 (double)json_integer_value(heard) / 1000);
    printf("%-*s  %-*s  %10s  %s", name_width, text_at(peer, "name"), address_width,
           text_at(peer, "address"), when, state);
    if (of > 0)
        printf("; %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
               " KiB of a checkpoint are fetched from it",
               ctl_number(peer, "fetched") / 1024, of / 1024);
    if (json_is_true(json_object_get(peer, "differs")))
        printf("; ITS COUNTERS DIFFER though it holds the same blocks");
    if (json_is_true(json_object_get(peer, "rivals")))
        printf("; COPIED: another process with its key is alive, too%s%s",
               *rival_from != '\0' ? ", at " : "", rival_from);
    if (refused > 0)
        printf("; %" JSON_INTEGER_FORMAT " of its blocks REFUSED", refused);
    if (forged > 0)
        printf("; %" JSON_INTEGER_FORMAT " messages under its name FORGED", forged);
    putchar('\n');
}

static int width_of(const json_t *list, const char *member)
{
    size_t width = strlen(member);
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        size_t len = strlen(text_at(item, member));

        width = len > width ? len : width;
    }
    return (int)width;
}

static void print_peers(const json_t *list)
{
    int name = width_of(list, "name"), address = width_of(list, "address");
    const json_t *peer;
    size_t i;

    if (json_array_size(list) == 0) {
        puts("this node has no peers");
        return;
    }
    printf("%-*s  %-*s  %10s  %s\n", name, "name", address, "address", "last heard",
           "state");
    json_array_foreach(list, i, peer) print_peer(peer, name, address);
}

enum ctl_exit ctl_peers(struct ctl *ctl)
{
    json_t *reply, *list;
    const json_t *peer;
    enum ctl_exit code;
    size_t i;

    if (!ctl->node.running) {
        fputs("tallyctl: the node is not running: only its process knows its peers\n",
              stderr);
        return CTL_UNREACHABLE;
    }
    code = ctl_request(ctl, json_pack("{s:s}", "do", "peers"), &reply);
    if (code != CTL_FINE)
        return code;
    list = json_object_get(reply, "peers");
    if (!ctl->json)
        print_peers(list);
    else
        json_array_foreach(list, i, peer) ctl_print_json(peer);
    json_decref(reply);
    return CTL_FINE;
}

/* ---- checkpoint ---- */

/* Until there is a checkpoint above number `last`, or no more is made. *number is then the last one. */
static enum ctl_exit await_checkpoint(struct ctl *ctl, json_int_t last,
                                      json_int_t *number, bool *full)
{
    enum { POLL_MS = 50, LIMIT_MS = 600000 };
    bool busy = true;

    *number = last;
    for (int waited = 0; busy && *number <= last && waited < LIMIT_MS;
         waited += POLL_MS) {
        json_t *status;
        enum ctl_exit code =
            ctl_request(ctl, json_pack("{s:s}", "do", "status"), &status);

        if (code != CTL_FINE)
            return code;
        *number = ctl_number(json_object_get(status, "checkpoint"), "number");
        busy = json_is_true(json_object_get(status, "busy"));
        *full = json_is_true(json_object_get(status, "full"));
        json_decref(status);
        if (busy && *number <= last)
            poll(NULL, 0, POLL_MS);
    }
    return CTL_FINE;
}

enum ctl_exit ctl_checkpoint(struct ctl *ctl)
{
    json_int_t last, number;
    bool full = false;
    json_t *reply;
    enum ctl_exit code;

    if (!ctl->node.running) {
        fputs("tallyctl: the node is not running, and its files are left as they are\n",
              stderr);
        return CTL_UNREACHABLE;
    }
    code = ctl_request(ctl, json_pack("{s:s}", "do", "checkpoint"), &reply);
    if (code != CTL_FINE)
        return code;
    last = ctl_number(reply, "last");
    json_decref(reply);
    code = await_checkpoint(ctl, last, &number, &full);
    if (code != CTL_FINE)
        return code;
    if (number <= last && full) {
        fputs("tallyctl: no checkpoint was made: the disk is full\n", stderr);
        return CTL_NOT_FINE;
    }
    if (ctl->json)
        printf("{\"number\":%" JSON_INTEGER_FORMAT ",\"made\":%s}\n", number,
               number > last ? "true" : "false");
    else if (number > last)
        printf("checkpoint %" JSON_INTEGER_FORMAT " is on disk\n", number);
    else
        printf("nothing has changed since checkpoint %" JSON_INTEGER_FORMAT "\n", number);
    return CTL_FINE;
}
