#include "replica/control.h"

#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/name.h"
#include "common/nearest.h"

static json_t *sentence(const char *text)
{
    return json_pack("{s:s}", "error", text);
}

/* ---- status ---- */

void control_key_format(const struct public_key *key, char hex[CONTROL_KEY_SIZE],
                        char fingerprint[CONTROL_FINGERPRINT_SIZE])
{
    enum { GROUP = 4, GROUPS = 8 };
    struct hash hash;
    char *to = fingerprint;
    char digits[GROUP * GROUPS + 1];

    sodium_bin2hex(hex, CONTROL_KEY_SIZE, key->byte, sizeof key->byte);
    crypto_real.hash(&hash, key->byte, sizeof key->byte);
    sodium_bin2hex(digits, sizeof digits, hash.byte, GROUP * GROUPS / 2);
    for (size_t i = 0; i < GROUPS; i++, to += GROUP + 1) {
        memcpy(to, digits + GROUP * i, GROUP);
        to[GROUP] = i + 1 < GROUPS ? '-' : '\0';
    }
}

void control_key_print(const struct public_key *key, const char *name, const char *listen)
{
    char hex[CONTROL_KEY_SIZE], fingerprint[CONTROL_FINGERPRINT_SIZE];
    bool any = listen[0] == '\0' || strncmp(listen, "0.0.0.0:", 8) == 0 ||
               strncmp(listen, "[::]:", 5) == 0;

    control_key_format(key, hex, fingerprint);
    printf("key          %s\nfingerprint  %s\n\n"
           "In the other nodes' tally.conf:\n\n[peer %s]\naddress = %s%s\nkey = %s\n",
           hex, fingerprint, name[0] != '\0' ? name : "NAME", any ? "HOST" : listen,
           !any                ? ""
           : listen[0] == '\0' ? ":PORT"
                               : strrchr(listen, ':'),
           hex);
}

static json_t *json_id(const struct id *id)
{
    char hex[ID_HEX + 1];

    if (id_is_zero(id))
        return json_null();
    id_format(id, hex);
    return json_string(hex);
}

static json_t *json_u64(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *json_end(const struct stream_end *end)
{
    char hash[2 * HASH_BYTES + 1];

    if (end->position.number == 0)
        return json_null();
    sodium_bin2hex(hash, sizeof hash, end->hash.byte, sizeof end->hash.byte);
    return json_pack("{s:o, s:o, s:s}", "stream", json_id(&end->position.stream),
                     "number", json_u64(end->position.number), "hash", hash);
}

/* A node that has not founded one with its first block has none: the next start draws another. */
static json_t *json_cluster(const struct core_figures *f)
{
    return f->streams > 0 ? json_id(&f->cluster) : json_null();
}

static json_t *json_checkpoint(const struct node_figures *f)
{
    if (f->checkpoint == 0)
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "number", json_u64(f->checkpoint), "lsn",
                     json_u64(f->checkpoint_lsn), "made_ms",
                     json_u64(f->checkpoint_wall_ms));
}

static json_t *status_process(const struct control_view *view)
{
    if (view->node == NULL)
        return json_pack("{s:b, s:s}", "running", 0, "version", TALLY_VERSION);
    return json_pack("{s:b, s:s, s:i, s:o}", "running", 1, "version", TALLY_VERSION,
                     "pid", (int)getpid(), "started_ms",
                     json_u64(view->about.started_ms));
}

static int status_node(json_t *status, const struct control_about *about)
{
    char key[CONTROL_KEY_SIZE], fingerprint[CONTROL_FINGERPRINT_SIZE];

    if (json_object_set_new(status, "node", json_string(about->node_name)) != 0)
        return -1;
    if (!about->key_known)
        return 0;
    control_key_format(&about->key, key, fingerprint);
    return json_object_set_new(status, "key", json_string(key)) |
           json_object_set_new(status, "fingerprint", json_string(fingerprint));
}

static json_t *status_peers(const struct network *network)
{
    struct network_figures figures = {.strangers = 0};
    size_t count = network != NULL ? network_count(network) : 0;
    json_int_t connected = 0, rivals = 0;

    for (size_t i = 0; i < count; i++) {
        struct network_peer peer;

        network_peer(network, i, &peer);
        connected += peer.figures.connected;
        rivals += peer.figures.rivals;
    }
    if (network != NULL)
        network_figures(network, &figures);
    return json_pack("{s:I, s:I, s:I, s:b, s:o, s:o}", "count", (json_int_t)count,
                     "connected", connected, "rivals", rivals, "copied", figures.copied,
                     "strangers", json_u64(figures.strangers), "cut_off",
                     json_u64(figures.cut_off));
}

static json_t *json_digest(struct core *core)
{
    char hex[2 * HASH_BYTES + 1];
    struct hash digest;

    core_digest(core, &digest);
    sodium_bin2hex(hex, sizeof hex, digest.byte, sizeof digest.byte);
    return json_string(hex);
}

static json_t *status_copies(const struct control_view *view)
{
    const struct core_figures *f = &view->figures.core;

    return json_pack("{s:i, s:i, s:b, s:o, s:o}", "wanted", (int)f->copies, "nodes",
                     (int)f->nodes, "to_be_had", core_copies_to_be_had(view->core),
                     "waiting", json_u64(f->waiting), "late", json_u64(f->late));
}

/* What only a process knows. */
static int status_cluster(json_t *status, const struct control_view *view)
{
    const char *listen = view->about.peer_listen;
    json_t *more;
    int failed;

    if (view->node == NULL)
        return 0;
    more = json_pack(
        "{s:o, s:s, s:b, s:o, s:o, s:o}", "digest", json_digest(view->core), "numbers",
        status_name(core_status(view->core)), "joining", !core_is_open(view->core),
        "peer_listen",
        listen == NULL || *listen == '\0' ? json_null() : json_string(listen), "peers",
        status_peers(view->about.network), "copies", status_copies(view));
    failed = json_object_update(status, more);
    json_decref(more);
    return failed;
}

static json_t *json_times(const struct times *times)
{
    json_t *below = json_array(), *number = json_array();

    for (size_t i = 0; i < TIMES_BUCKETS; i++) {
        if (i < TIMES_BUCKETS - 1)
            json_array_append_new(below, json_u64(times_bounds_us[i]));
        json_array_append_new(number, json_u64(times->bucket[i]));
    }
    return json_pack("{s:o, s:o, s:o}", "below_us", below, "number", number, "sum_us",
                     json_u64(times->sum_us));
}

static int status_commits(json_t *status, const struct times *commits)
{
    if (commits == NULL)
        return 0;
    return json_object_set_new(status, "commit_times", json_times(commits));
}

static int status_calls(json_t *status, const struct control_calls_source *source)
{
    struct control_calls c = {.open = 0};
    json_t *calls;

    if (source->read == NULL)
        return 0;
    source->read(source->arg, &c);
    calls = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "open",
                      json_u64(c.open), "taken", json_u64(c.taken), "refused",
                      json_u64(c.refused), "failed", json_u64(c.failed), "resends",
                      json_u64(c.resends), "workers_started", json_u64(c.workers_started),
                      "states_started", json_u64(c.states_started), "counts",
                      json_u64(c.counts), "answers", json_times(&c.answers));
    return json_object_set_new(status, "calls", calls);
}

static json_t *json_log(const struct node_figures *f)
{
    char check[17];

    snprintf(check, sizeof check, "%016" PRIx64, f->end.check);
    return json_pack("{s:o, s:o, s:s}", "first", json_u64(f->first), "end",
                     json_u64(f->end.lsn), "check", check);
}

static json_t *json_stuck(enum node_stuck stuck)
{
    static const char *const names[] = {[NODE_STUCK_FORK] = "fork",
                                        [NODE_STUCK_DOUBT] = "doubt",
                                        [NODE_STUCK_LOG] = "log"};

    return stuck == NODE_GOES_ON ? json_null() : json_string(names[stuck]);
}

static json_t *json_stuck_stream(const struct node_figures *f)
{
    char stream[ID_HEX + 1];

    id_format(&f->stuck_stream, stream);
    return f->stuck == NODE_GOES_ON ? json_null() : json_string(stream);
}

static json_t *do_status(const struct control_view *view, const json_t *request)
{
    const struct node_figures *f = &view->figures;
    json_t *status = status_process(view);
    json_t *figures = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b}",
        "cluster", json_cluster(&f->core), "position", json_end(&f->core.end), "counters",
        json_u64(f->core.items), "streams", json_u64(f->core.streams), "forks",
        json_u64(f->core.forks), "doubted", json_u64(f->core.doubted), "stuck",
        json_stuck(f->stuck), "stuck_stream", json_stuck_stream(f), "blocks",
        json_u64(f->core.blocks), "counts", json_u64(f->core.ops), "commits",
        json_u64(f->commits), "remembered", json_u64(f->core.requests), "log",
        json_log(f), "recovered_blocks", json_u64(f->recovered_blocks), "checkpoint",
        json_checkpoint(f), "full", f->full, "busy",
        view->node != NULL && node_busy(view->node));

    (void)request;
    if (status == NULL || figures == NULL || status_node(status, &view->about) != 0 ||
        json_object_update(status, figures) != 0 || status_cluster(status, view) != 0 ||
        status_calls(status, &view->about.calls) != 0 ||
        status_commits(status, view->about.commits) != 0) {
        json_decref(status);
        status = NULL;
    }
    json_decref(figures);
    return status;
}

/* ---- peers ---- */

static json_t *json_peer(const struct network_peer *peer, uint64_t now_ms)
{
    const struct peer_figures *f = &peer->figures;

    return json_pack(
        "{s:s, s:s, s:b, s:b, s:o, s:b, s:b, s:b, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "name", f->name, "address", peer->address, "reached", peer->reached, "connected",
        f->connected, "behind", f->known ? json_u64(f->lacks) : json_null(), "too_far",
        f->too_far, "differs", f->differs, "rivals", f->rivals, "rival_from",
        f->rival_from, "fetched", json_u64(f->fetched), "fetch_bytes",
        json_u64(f->fetch_bytes), "heard_ms",
        f->heard_ms == 0 ? json_null() : json_u64(now_ms - f->heard_ms), "sent",
        json_u64(f->sent), "received", json_u64(f->received), "refused",
        json_u64(f->refused), "forged", json_u64(f->forged), "stale", json_u64(f->stale),
        "newer", json_u64(f->newer));
}

static json_t *do_peers(const struct control_view *view, const json_t *request)
{
    const struct network *network = view->about.network;
    json_t *list = json_array();

    (void)request;
    if (view->node == NULL) {
        json_decref(list);
        return sentence("the node is not running: only its process knows its peers");
    }
    for (size_t i = 0; network != NULL && i < network_count(network); i++) {
        struct network_peer peer;

        network_peer(network, i, &peer);
        if (json_array_append_new(list, json_peer(&peer, view->about.now_ms)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:o}", "peers", list);
}

/* ---- counters ---- */

/* The first item that is not below name; past: nor equal to it. */
static const struct item *first_from(const struct control_view *view, const char *name,
                                     bool past)
{
    return core_item_from(view->core, &counter_component, name, strlen(name), past);
}

static const struct item *next(const struct item *item)
{
    return counter_component.next(item);
}

static json_t *json_counter(const struct item *item)
{
    json_t *counter = json_pack("{s:s%, s:o}", "name", item->key, (size_t)item->key_len,
                                "total", json_integer(item->total));

    if (counter != NULL && item_hidden(item))
        json_object_set_new(counter, "retired", json_true());
    return counter;
}

static json_t *no_such_counter(const struct control_view *view, const char *name)
{
    const struct item *item = first_from(view, "", false);
    struct nearest near = nearest_to(name);
    char known[NAME_MAX_BYTES + 1], best[NAME_MAX_BYTES + 1];

    /* Looking at all of a million names would keep callers waiting. */
    for (size_t i = 0; item != NULL && i < CONTROL_PAGE_MAX; i++, item = next(item)) {
        const char *before = near.best;

        if (!item->applied)
            continue;
        memcpy(known, item->key, item->key_len);
        known[item->key_len] = '\0';
        nearest_try(&near, known);
        if (near.best != before)
            near.best = memcpy(best, known, sizeof best);
    }
    if (near.best == NULL)
        return json_pack(
            "{s:o}", "error",
            json_sprintf("nothing was ever counted under the name %s", name));
    return json_pack("{s:o}", "error",
                     json_sprintf("nothing was ever counted under the name %s: did you "
                                  "mean %s?",
                                  name, near.best));
}

/* NULL: nothing was ever counted under that name. */
static const struct item *find_item(const struct control_view *view, const char *name)
{
    const struct item *item = first_from(view, name, false);

    if (item == NULL || item->key_len != strlen(name) ||
        memcmp(item->key, name, item->key_len) != 0)
        return NULL;
    return item->applied ? item : NULL;
}

static json_t *do_get(const struct control_view *view, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "name"));
    const struct item *item;

    if (name == NULL || !name_valid(name, strlen(name)))
        return sentence("expected a counter's name: 1 to 64 letters, digits and ._-");
    item = find_item(view, name);
    return item != NULL ? json_counter(item) : no_such_counter(view, name);
}

/* Whether a member of the request is a text that fits a name; "" where it is not there. */
static bool text_of(const json_t *request, const char *member, const char **text)
{
    const json_t *value = json_object_get(request, member);

    *text = value == NULL ? "" : json_string_value(value);
    return *text != NULL && strlen(*text) <= NAME_MAX_BYTES;
}

struct page {
    const char *prefix;
    size_t limit;
    bool all; /* those that are retired, too */
};

static json_t *page(const struct item *item, const struct page *p)
{
    enum { LOOKED_AT = 16 * CONTROL_PAGE_MAX }; /* most: callers wait meanwhile */
    json_t *list = json_array(), *reply;
    size_t len = strlen(p->prefix), looked_at = 0;
    const struct item *last = NULL;
    bool more = false;

    for (; item != NULL; item = next(item)) {
        if (item->key_len < len || memcmp(item->key, p->prefix, len) != 0)
            break;
        more = json_array_size(list) == p->limit || looked_at++ == LOOKED_AT;
        if (more)
            break;
        last = item;
        if (!item->applied || (item_hidden(item) && !p->all))
            continue;
        if (json_array_append_new(list, json_counter(item)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    reply = json_pack("{s:o, s:b}", "counters", list, "more", more);
    if (reply != NULL && more)
        json_object_set_new(reply, "last", json_stringn(last->key, last->key_len));
    return reply;
}

static json_t *counters_named(const struct control_view *view, const json_t *names)
{
    json_t *list, *value;
    size_t i;

    if (!json_is_array(names) || json_array_size(names) > CONTROL_NAMES_MAX)
        return sentence("expected at most 500 names");
    list = json_array();
    json_array_foreach(names, i, value)
    {
        const char *name = json_string_value(value);
        const struct item *item = name == NULL ? NULL : find_item(view, name);

        if (item != NULL)
            json_array_append_new(list, json_counter(item));
    }
    return json_pack("{s:o, s:b}", "counters", list, "more", 0);
}

static json_t *do_counters(const struct control_view *view, const json_t *request)
{
    const json_t *names = json_object_get(request, "names");
    const json_t *wanted = json_object_get(request, "limit");
    json_int_t limit = wanted == NULL ? CONTROL_PAGE_MAX : json_integer_value(wanted);
    struct page p = {.all = json_is_true(json_object_get(request, "all"))};
    const char *after;
    bool past;

    if (names != NULL)
        return counters_named(view, names);
    if (limit < 1 || limit > CONTROL_PAGE_MAX)
        return sentence("expected a limit from 1 to 1000");
    if (!text_of(request, "prefix", &p.prefix) || !text_of(request, "after", &after))
        return sentence("expected texts of at most 64 bytes as prefix and after");
    p.limit = (size_t)limit;
    past = strcmp(after, p.prefix) >= 0 && *after != '\0';
    return page(first_from(view, past ? after : p.prefix, past), &p);
}

/* ---- retire ---- */

static json_t *refused(enum status status)
{
    if (status == STATUS_UNKNOWN)
        return sentence("the node stops to recover: ask again");
    return sentence("the node takes nothing now: tallyctl status tells why");
}

static json_t *do_retire(const struct control_view *view, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "name"));
    const char *reason;
    const struct item *item;
    struct core_retirement wanted = {.show =
                                         json_is_true(json_object_get(request, "undo"))};
    bool before;
    enum status status;

    if (name == NULL || !name_valid(name, strlen(name)))
        return sentence("expected a counter's name: 1 to 64 letters, digits and ._-");
    if (!text_of(request, "reason", &reason) || !tag_valid(reason, strlen(reason)))
        return sentence("expected a reason of at most 64 bytes");
    if (view->about.retire.run == NULL)
        return sentence("the node is not running: its files are left as they are");
    item = find_item(view, name);
    if (item == NULL)
        return no_such_counter(view, name);
    before = item_hidden(item);
    wanted.name = name;
    wanted.name_len = (uint8_t)strlen(name);
    wanted.reason = reason;
    wanted.reason_len = (uint8_t)strlen(reason);
    if (view->about.retire.run(view->about.retire.arg, &wanted, &status) != ERR_OK)
        status = STATUS_UNKNOWN;
    if (!status_has_number(status))
        return refused(status);
    return json_pack("{s:s, s:I, s:b, s:b}", "name", name, "total",
                     (json_int_t)item->total, "retired", item_hidden(item), "changed",
                     item_hidden(item) != before);
}

/* ---- checkpoint ---- */

static json_t *do_checkpoint(const struct control_view *view, const json_t *request)
{
    (void)request;
    if (view->node == NULL)
        return sentence("the node is not running: its files are left as they are");
    node_want_checkpoint(view->node);
    return json_pack("{s:o}", "last", json_u64(view->figures.checkpoint));
}

/* ---- one request ---- */

static const struct {
    const char *name;
    json_t *(*answer)(const struct control_view *view, const json_t *request);
    const char *members[6]; /* that it may have beside "do"; ends with a NULL */
} requests[] = {
    {"status", do_status, {NULL}},
    {"peers", do_peers, {NULL}},
    {"get", do_get, {"name"}},
    {"counters", do_counters, {"prefix", "after", "limit", "names", "all"}},
    {"retire", do_retire, {"name", "undo", "reason"}},
    {"checkpoint", do_checkpoint, {NULL}},
};
enum { REQUESTS = sizeof requests / sizeof requests[0] };

static bool member_known(size_t request, const char *member)
{
    if (strcmp(member, "do") == 0)
        return true;
    for (size_t i = 0; requests[request].members[i] != NULL; i++)
        if (strcmp(member, requests[request].members[i]) == 0)
            return true;
    return false;
}

static json_t *unknown_member(size_t request, const json_t *object)
{
    const char *member;
    json_t *value;

    json_object_foreach((json_t *)object, member, value)
    {
        if (!member_known(request, member))
            return json_pack(
                "{s:o}", "error",
                json_sprintf("%s does not take \"%s\"", requests[request].name, member));
    }
    return NULL;
}

json_t *control_do(const struct control_view *view, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "do"));
    json_t *error;

    if (name == NULL)
        return sentence("expected an object with \"do\" and what is to be done");
    for (size_t i = 0; i < REQUESTS; i++) {
        if (strcmp(name, requests[i].name) != 0)
            continue;
        error = unknown_member(i, request);
        return error != NULL ? error : requests[i].answer(view, request);
    }
    return sentence(
        "the node does not know this request: tallyctl is of another version");
}

static json_t *answer(struct node *node, const struct control_about *about,
                      const char *text, size_t len)
{
    struct control_view view = {.about = *about, .core = node_core(node), .node = node};
    json_t *request, *reply;
    json_error_t error;

    request = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (request == NULL)
        return json_pack("{s:o}", "error", json_sprintf("not JSON: %s", error.text));
    node_figures(node, &view.figures);
    reply = control_do(&view, request);
    json_decref(request);
    return reply;
}

char *control_answer(struct node *node, const struct control_about *about,
                     const char *request, size_t len)
{
    json_t *json = answer(node, about, request, len);
    char *reply = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return reply;
}
