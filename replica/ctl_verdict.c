#include "replica/ctl_verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/ctl_out.h"

enum {
    BEHIND_MANY = 10000, /* blocks; under load some are always on their way */
    RESTART_RECENT_MS = 15 * 60 * 1000,
};
#define MIB (UINT64_C(1) << 20)

struct verdict {
    enum verdict_word word;
    json_t *not_ok, *attention; /* problems */
};

/* text: what is wrong, a newline, what to do. */
__attribute__((format(printf, 3, 4))) static void
add(struct verdict *v, enum verdict_word word, const char *format, ...)
{
    json_t *list = word == VERDICT_NOT_OK ? v->not_ok : v->attention;
    char text[1024];
    char *newline;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    newline = text;
    while (*newline != '\n' && *newline != '\0')
        newline++;
    if (*newline == '\n')
        *newline++ = '\0';
    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:s}", "severity", verdict_name(word),
                                    "what", text, "do", newline));
    if (word > v->word)
        v->word = word;
}

static json_int_t number(const json_t *json, const char *member)
{
    return json_integer_value(json_object_get(json, member));
}

static bool is(const json_t *json, const char *member)
{
    return json_is_true(json_object_get(json, member));
}

static const char *text_of(const json_t *json, const char *member)
{
    const char *text = json_string_value(json_object_get(json, member));

    return text != NULL ? text : "?";
}

/* ---- the node itself ---- */

static void see_disk(struct verdict *v, const json_t *status,
                     const struct verdict_around *around)
{
    char free_text[CTL_SIZE_SIZE];
    bool little = around->free < 256 * MIB ||
                  (around->free < around->size / 20 && around->free < 4096 * MIB);

    ctl_format_size(around->free, free_text);
    if (is(status, "full"))
        add(v, VERDICT_NOT_OK,
            "the disk is full: new counts are refused, or soon will be\n"
            "make room on the state directory's file system (%s are free); counting goes "
            "on by itself",
            free_text);
    else if (around->size > 0 && little)
        add(v, VERDICT_ATTENTION,
            "the disk is nearly full: %s are free\n"
            "make room on the state directory's file system before new counts are "
            "refused",
            free_text);
}

static void see_joining(struct verdict *v, const json_t *status)
{
    bool alone = number(json_object_get(status, "peers"), "connected") == 0;

    if (!is(status, "joining"))
        return;
    add(v, VERDICT_NOT_OK,
        "no number is said yet: the node is to catch up with a peer first\n%s",
        alone ? "no peer is connected: see to one; without any, counting begins after "
                "join-wait"
              : "wait; tallyctl peers tells how far it is");
}

static void see_copies(struct verdict *v, const json_t *status)
{
    const json_t *copies = json_object_get(status, "copies");

    json_int_t wanted = number(copies, "wanted"), nodes = number(copies, "nodes");

    if (!json_is_false(json_object_get(copies, "to_be_had")))
        return;
    if (nodes < wanted)
        add(v, VERDICT_NOT_OK,
            "new counts are refused: copies = %" JSON_INTEGER_FORMAT
            ", and %" JSON_INTEGER_FORMAT " nodes are connected, this one included\n"
            "bring the others back (tallyctl peers), or lower copies in tally.conf and "
            "send SIGHUP",
            wanted, nodes);
    else
        add(v, VERDICT_NOT_OK,
            "new counts are refused until %" JSON_INTEGER_FORMAT
            " nodes hold all that was counted here\n"
            "tallyctl peers tells who is behind; or lower copies in tally.conf and send "
            "SIGHUP",
            wanted);
}

static void see_copied(struct verdict *v, const json_t *status)
{
    if (is(json_object_get(status, "peers"), "copied"))
        add(v, VERDICT_NOT_OK,
            "peers say that another process with this node's key is alive: it was copied\n"
            "find and stop the copy: /usr/share/doc/tally/CLUSTER.md tells how nothing is "
            "lost");
}

static void see_forks(struct verdict *v, const json_t *status)
{
    if (number(status, "forks") == 0)
        return;
    add(v, VERDICT_ATTENTION,
        "%" JSON_INTEGER_FORMAT
        " streams fork: a copied process counted in them, too, and nodes may differ by "
        "what it counted\n"
        "find and stop the copy; tallyctl verify has the proof, "
        "/usr/share/doc/tally/CLUSTER.md what to do",
        number(status, "forks"));
}

/* Whatever it holds stays: only people can tell what of it the others lack. An export of a node that has taken a checkpoint over
 * lacks what that brought, so two exports do not tell. */
static void see_stuck(struct verdict *v, const json_t *status)
{
    static const char anew[] =
        "save what it has with tallyctl export; stop tallyd, move the folder log out of its "
        "state directory, start it, and wait until it has caught up";
    const char *stuck = json_string_value(json_object_get(status, "stuck")),
               *stream = text_of(status, "stuck_stream");

    if (stuck == NULL)
        return;
    if (strcmp(stuck, "log") == 0)
        add(v, VERDICT_NOT_OK,
            "this node does not catch up by itself: peers' checkpoints lack blocks of stream %s "
            "that it holds, and its log has them no more\n"
            "wait while a peer is behind this node (tallyctl peers); where none is, or none "
            "gets on: %s; then put back by tallyctl add what only this node had counted, as "
            "far as that export and its log's archive tell "
            "(/usr/share/doc/tally/CLUSTER.md)",
            stream, anew);
    else
        add(v, VERDICT_NOT_OK,
            "this node does not catch up by itself: peers' checkpoints would take the place "
            "of what it holds of stream %s, which %s\n"
            "%s; then put back by tallyctl add what the export has of that stream since its "
            "machine was copied (/usr/share/doc/tally/CLUSTER.md)",
            stream,
            strcmp(stuck, "fork") == 0 ? "forks"
                                       : "may fork: it was counted in elsewhere, too",
            anew);
}

/* A start of the state process beside the first one follows a crash. What was long ago is in the log. */
static void see_restarts(struct verdict *v, const json_t *status, uint64_t now_ms)
{
    json_int_t starts = number(json_object_get(status, "calls"), "states_started");

    if (starts > 1 && now_ms - (uint64_t)number(status, "started_ms") < RESTART_RECENT_MS)
        add(v, VERDICT_ATTENTION,
            "the state process was started again %" JSON_INTEGER_FORMAT
            " times since the node was\n"
            "no count was lost; tallyd's log says why it ended",
            starts - 1);
}

/* ---- its peers ---- */

static void see_trust(struct verdict *v, const json_t *peer, const char *name)
{
    if (is(peer, "differs"))
        add(v, VERDICT_NOT_OK,
            "peer %s has other counters though it holds the same blocks\n"
            "run tallyctl verify on both; keep both state directories as they are",
            name);
    if (is(peer, "rivals"))
        add(v, VERDICT_NOT_OK,
            "more than one process is alive with the key of peer %s: a copied machine\n"
            "find and stop the copy: /usr/share/doc/tally/CLUSTER.md tells how nothing is "
            "lost",
            name);
    if (number(peer, "newer") > 0)
        add(v, VERDICT_ATTENTION,
            "peer %s sends blocks of a newer version, and they wait\n"
            "run that version here, too",
            name);
    if (number(peer, "refused") > 0)
        add(v, VERDICT_ATTENTION,
            "%" JSON_INTEGER_FORMAT " blocks of peer %s were refused\n"
            "tallyd's log says why",
            number(peer, "refused"), name);
    if (number(peer, "forged") > 0 && !is(peer, "connected"))
        add(v, VERDICT_ATTENTION,
            "%" JSON_INTEGER_FORMAT " messages bear the name of peer %s, wrongly\n"
            "is its key in tally.conf the one that tallyctl key tells there? If so, "
            "somebody else knocks",
            number(peer, "forged"), name);
}

static void see_way(struct verdict *v, const json_t *peer, const char *name)
{
    const json_t *heard = json_object_get(peer, "heard_ms");
    char when[CTL_SPAN_SIZE + 16] = "never heard";

    if (json_is_integer(heard)) {
        char span[CTL_SPAN_SIZE];

        ctl_format_span((uint64_t)json_integer_value(heard), span);
        snprintf(when, sizeof when, "last heard %s ago", span);
    }
    if (!is(peer, "reached"))
        add(v, VERDICT_ATTENTION,
            "peer %s at %s is not reachable, %s\n"
            "is its machine up, and tallyd running there? Is the address right, and the "
            "way free?",
            name, text_of(peer, "address"), when);
    else if (!is(peer, "connected"))
        add(v, VERDICT_ATTENTION,
            "peer %s at %s is reached but does not answer, %s\n"
            "is each one's key right in the other's tally.conf? See its log, and "
            "tallyctl status there",
            name, text_of(peer, "address"), when);
}

static void see_lag(struct verdict *v, const json_t *peer, const char *name)
{
    if (!is(peer, "connected"))
        return;
    if (is(peer, "too_far"))
        add(v, VERDICT_ATTENTION,
            "peer %s lacks blocks that this node's log has no more\n"
            "wait: it is given a checkpoint; tallyctl peers there tells how far it is",
            name);
    else if (number(peer, "behind") > BEHIND_MANY)
        add(v, VERDICT_ATTENTION,
            "peer %s is behind by %" JSON_INTEGER_FORMAT " blocks\n"
            "wait if that falls; if it grows, its disk or the way to it is too slow",
            name, number(peer, "behind"));
}

static void see_peers(struct verdict *v, const json_t *peers)
{
    const json_t *list = json_object_get(peers, "peers"), *peer;
    size_t i;

    json_array_foreach(list, i, peer)
    {
        const char *name = text_of(peer, "name");

        see_trust(v, peer, name);
        see_way(v, peer, name);
        see_lag(v, peer, name);
    }
}

/* ---- all of it ---- */

enum verdict_word verdict_of(const json_t *status, const json_t *peers,
                             const struct verdict_around *around, json_t **problems)
{
    struct verdict v = {VERDICT_OK, json_array(), json_array()};

    see_disk(&v, status, around);
    see_joining(&v, status);
    see_copies(&v, status);
    see_copied(&v, status);
    see_forks(&v, status);
    see_stuck(&v, status);
    see_restarts(&v, status, around->now_ms);
    see_peers(&v, peers);
    json_array_extend(v.not_ok, v.attention);
    json_decref(v.attention);
    *problems = v.not_ok;
    return v.word;
}

const char *verdict_name(enum verdict_word word)
{
    static const char *const names[] = {[VERDICT_OK] = "ok",
                                        [VERDICT_ATTENTION] = "attention",
                                        [VERDICT_NOT_OK] = "not ok"};

    return names[word];
}
