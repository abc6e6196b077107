/* replica/state.c: the state process: its loop. Takes what workers ask over the IPC and what peers send, hands
 * it to the node, and sends the answers when they are durable. One turn: drain what has come, one commit,
 * the answers, what peers are to hear, then what is not on the way of a count. While it syncs, the next counts
 * gather in the socket. */
#include "replica/state.h"

#include <assert.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "common/clock.h"
#include "common/ipc.h"
#include "common/log.h"
#include "common/msg.h"
#include "replica/control.h"
#include "replica/doors.h"
#include "replica/key.h"
#include "replica/look.h"
#include "replica/network.h"
#include "replica/node.h"
#include "replica/node_time.h"

enum {
    TURN_MESSAGES = 256, /* taken in one turn, at most: so that a commit is never far */
    TURN_REQUESTS = 1,   /* likewise, of tallyctl */
    GAUGES_MS = 250,     /* between two looks that others get */
    /* Connections. When all workers are replaced there are two of each; the others are of tallyctl add. */
    WORKERS_MAX = 2 * CONF_WORKERS_MAX + 64,
    CONTROLS_MAX = 64,
    /* Answers that were not read yet, in bytes: those of the message under way, and of its repeats. */
    WORKER_UNREAD = 2 * MSG_MAX,
    CONTROL_UNREAD = 2 * CONTROL_REPLY_MAX,
};

struct state {
    const struct conf *conf;
    struct disk *disk;
    struct node *node;
    struct network *network;    /* NULL: without peer-listen */
    struct control_about about; /* for tallyctl */
    struct control_calls_source calls;
    struct gauges *gauges; /* for whoever serves figures */
    uint64_t shown_ms;     /* when they were last brought up to date; 0: never */
    uv_loop_t loop;
    uv_poll_t workers_readable, control_readable, settings_readable;
    int settings_fd;
    uv_async_t made; /* the disk has made a file; sent by its thread */
    uv_timer_t due;
    uv_signal_t term;
    struct door *workers, *control;
    bool stopping;
    bool restored; /* STATE_RESTORED is there */
    bool
        waiting; /* for a segment or for peers: messages stay in the workers' sockets meanwhile */
    uint64_t
        peers_due_ms; /* until then it waits for the peers that are to hold copies; see awaits_peers() */
    int exit_code;
    struct log_limit malformed;
};

/* The counts of one message, and the message that answers them. */
struct batch {
    struct state *state;
    uint64_t worker;       /* as doors.h numbers guests */
    unsigned items, left;  /* in all, and still to be answered */
    struct writer replies; /* COUNT_REP, complete but for its header's count */
    uint8_t bytes[];
};

/* Nothing may be answered any more: what was not answered is asked again after the recovery. */
static void state_fail(struct state *s, enum err err)
{
    log_error("stopping to recover: %s", err_name(err));
    s->exit_code = STATE_EXIT_FAILED;
    uv_stop(&s->loop);
}

/* ---- to workers ---- */

static void send_welcome(struct state *s, uint64_t worker)
{
    struct position position = node_position(s->node);
    uint8_t bytes[MSG_HEADER_SIZE + MSG_WELCOME_SIZE];
    struct writer w = writer_of(bytes, sizeof bytes);

    msg_begin(&w, MSG_WELCOME);
    msg_put_welcome(&w, &position);
    msg_end(&w, 1);
    door_send(s->workers, worker, w.start, w.len);
}

/* All of a message's counts are answered. The position goes ahead of them, so that whoever has an
 * answer has also heard of its block. */
static void batch_send(struct batch *batch)
{
    struct position position = node_position(batch->state->node);
    struct writer head = writer_of(batch->bytes, MSG_HEADER_SIZE + MSG_POSITION_SIZE);

    msg_begin(&head, MSG_POSITION);
    msg_put_position(&head, &position);
    msg_end(&head, 1);
    msg_end(&batch->replies, batch->items);
    head.len += batch->replies.len;
    door_send(batch->state->workers, batch->worker, head.start, head.len);
    free(batch);
}

static void batch_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    struct batch *batch = (struct batch *)(uintptr_t)ticket;

    (void)arg;
    msg_put_count_rep(&batch->replies, rep);
    if (--batch->left == 0)
        batch_send(batch);
}

static struct batch *batch_new(struct state *s, uint64_t worker, unsigned items)
{
    size_t head = MSG_HEADER_SIZE + MSG_POSITION_SIZE,
           replies = MSG_HEADER_SIZE + (size_t)items * MSG_COUNT_REP_SIZE;
    struct batch *batch = malloc(sizeof *batch + head + replies);

    if (batch == NULL)
        return NULL;
    *batch = (struct batch){.state = s, .worker = worker, .items = items, .left = items};
    batch->replies = writer_of(batch->bytes + head, replies);
    msg_begin(&batch->replies, MSG_COUNT_REP);
    return batch;
}

/* ---- from workers ---- */

/* Whole or not at all: a message with one bad item says that its sender is not to be believed. */
static enum err check_counts(struct reader r, unsigned items)
{
    struct msg_count_req req;
    enum err err = ERR_OK;

    for (unsigned i = 0; i < items && err == ERR_OK; i++)
        err = msg_read_count_req(&r, &req);
    return err == ERR_OK && !reader_done(&r) ? ERR_MALFORMED : err;
}

static enum err take_counts(struct state *s, uint64_t worker, struct reader *r,
                            unsigned items)
{
    struct node_time now = node_time_now();
    struct msg_count_req req;
    struct batch *batch;
    enum err err;

    if (check_counts(*r, items) != ERR_OK || items == 0)
        return ERR_MALFORMED;
    batch = batch_new(s, worker, items);
    if (batch == NULL)
        return ERR_MEMORY;
    for (unsigned i = 0; i < items; i++) {
        msg_read_count_req(r, &req);
        err = node_count(s->node, &req, (uint64_t)(uintptr_t)batch, now);
        if (err != ERR_OK) {
            state_fail(s, err);
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static enum err answer_gets(struct state *s, uint64_t worker, struct reader *r,
                            unsigned items)
{
    size_t size = MSG_HEADER_SIZE + (size_t)items * MSG_GET_REP_SIZE;
    uint8_t *bytes = malloc(size);
    struct writer w = writer_of(bytes, size);
    struct msg_get_req req;
    struct msg_get_rep rep;
    enum err err = bytes == NULL ? ERR_MEMORY : ERR_OK;

    if (err == ERR_OK)
        msg_begin(&w, MSG_GET_REP);
    for (unsigned i = 0; i < items && err == ERR_OK; i++) {
        err = msg_read_get_req(r, &req);
        node_get(s->node, &req, &rep);
        msg_put_get_rep(&w, &rep);
    }
    if (err == ERR_OK && !reader_done(r))
        err = ERR_MALFORMED;
    if (err == ERR_OK) {
        msg_end(&w, items);
        door_send(s->workers, worker, w.start, w.len);
    }
    free(bytes);
    return err;
}

static enum err take_message(struct state *s, uint64_t worker, const uint8_t *bytes,
                             size_t len)
{
    struct reader r = reader_of(bytes, len);
    enum msg_type type;
    unsigned items;
    enum err err = msg_read_header(&r, &type, &items);

    if (err != ERR_OK)
        return err;
    switch (type) {
    case MSG_HELLO:
        err = msg_read_hello(&r);
        /* Another version's worker hears this one's number from the welcome, and gives up. */
        if (err == ERR_OK || err == ERR_VERSION)
            send_welcome(s, worker);
        return err;
    case MSG_COUNT_REQ:
        return take_counts(s, worker, &r, items);
    case MSG_GET_REQ:
        return answer_gets(s, worker, &r, items);
    case MSG_WELCOME:
    case MSG_COUNT_REP:
    case MSG_GET_REP:
    case MSG_POSITION:
        break;
    }
    return ERR_MALFORMED;
}

/* ---- the loop ---- */

static void on_due(uv_timer_t *timer);
static void on_workers_readable(uv_poll_t *poll, int status, int events);

/* For copies-wait after the start: new counts would be refused only because it takes a moment until the peers are
 * there. */
static bool awaits_peers(const struct state *s, uint64_t now_ms)
{
    return now_ms < s->peers_due_ms && !core_copies_to_be_had(node_core(s->node));
}

/* Workers wait for their answers as long as answer-time, peers send again, and a segment is made in much
 * less. */
static void wait_before_counts(struct state *s, uint64_t now_ms)
{
    bool is_short = node_short(s->node), waiting = is_short || awaits_peers(s, now_ms);

    if (waiting && !s->waiting)
        uv_poll_stop(&s->workers_readable);
    if (!waiting && s->waiting)
        uv_poll_start(&s->workers_readable, UV_READABLE, on_workers_readable);
    if (s->network != NULL)
        network_pause(s->network, is_short);
    s->waiting = waiting;
}

/* Only where figures are served, and now and then. *due_ms: when what happened since will be shown. */
static void show(struct state *s, uint64_t now_ms, uint64_t *due_ms)
{
    *due_ms = UINT64_MAX;
    if (s->conf->metrics.len == 0)
        return;
    if (s->shown_ms != 0 && now_ms - s->shown_ms < GAUGES_MS) {
        *due_ms = s->shown_ms + GAUGES_MS;
        return;
    }
    s->shown_ms = now_ms;
    gauges_publish(s->gauges, s->node, s->network);
}

/* Whether the file is gone for good does not matter: where it comes back the node only waits once more. */
static void forget_restore(struct state *s)
{
    if (!s->restored || !core_is_open(node_core(s->node)))
        return;
    s->restored = false;
    if (unlink(STATE_RESTORED) != 0)
        err_errno("remove", STATE_RESTORED);
}

/* What follows a commit. */
static void settle(struct state *s)
{
    struct node_time now = node_time_now();
    uint64_t next_ms, network_ms = UINT64_MAX, show_ms, wait_ms;
    enum err err;

    if (s->network != NULL)
        network_turn(s->network, now.mono_ms, &network_ms);
    forget_restore(s);
    err = node_maintain(s->node, now, &next_ms);
    if (err != ERR_OK) {
        state_fail(s, err);
        return;
    }
    if (s->stopping && !node_busy(s->node)) {
        uv_stop(&s->loop);
        return;
    }
    show(s, now.mono_ms, &show_ms);
    wait_before_counts(s, now.mono_ms);
    if (awaits_peers(s, now.mono_ms) && s->peers_due_ms < next_ms)
        next_ms = s->peers_due_ms;
    next_ms = network_ms < next_ms ? network_ms : next_ms;
    next_ms = show_ms < next_ms ? show_ms : next_ms;
    if (next_ms == UINT64_MAX) {
        uv_timer_stop(&s->due);
        return;
    }
    /* Not 0: libuv 1.44 runs such a timer again and again before it looks at the sockets. */
    wait_ms = next_ms > now.mono_ms ? next_ms - now.mono_ms : 1;
    uv_update_time(&s->loop);
    uv_timer_start(&s->due, on_due, wait_ms, 0);
}

static void commit_and_settle(struct state *s);

static void on_due(uv_timer_t *timer)
{
    commit_and_settle(timer->data);
}

static void on_made(uv_async_t *async)
{
    commit_and_settle(async->data);
}

/* False: no more of them for now. */
static bool take_worker(void *arg, uint64_t worker, const uint8_t *bytes, size_t len)
{
    struct state *s = arg;
    uint64_t more;
    enum err err = take_message(s, worker, bytes, len);

    if (err != ERR_OK && log_limit_pass(&s->malformed, clock_mono_ms(), &more))
        log_error("a worker's message is left out: %s", err_name(err));
    return s->exit_code == STATE_EXIT_OK && !node_short(s->node);
}

static void take_workers(struct state *s)
{
    if (!node_short(s->node))
        door_take(s->workers, TURN_MESSAGES, take_worker, s);
}

static enum err commit(struct state *s)
{
    const struct core *core = node_core(s->node);
    bool anything = core_gathered(core);
    uint64_t begun_us = clock_mono_us();
    enum err err = node_commit(s->node, node_time_now());

    if (anything && err == ERR_OK)
        times_add(gauges_commits(s->gauges), clock_mono_us() - begun_us);
    return err;
}

/* What was put off is made durable before peers are told what is held. */
static void commit_and_settle(struct state *s)
{
    enum err err = commit(s);

    if (err != ERR_OK)
        state_fail(s, err);
    else
        settle(s);
}

static void turn(void *arg)
{
    struct state *s = arg;
    enum err err = ERR_OK;

    if (!awaits_peers(s, clock_mono_ms()))
        take_workers(s);
    if (s->exit_code != STATE_EXIT_OK)
        return;
    if (s->network != NULL && !node_short(s->node))
        err = network_take(s->network);
    if (err != ERR_OK)
        state_fail(s, err);
    else
        commit_and_settle(s);
}

static void on_workers_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    turn(poll->data);
}

static void tell_alive(const struct state *s)
{
    /* A master that is no more, or has many such answers to read, needs none. */
    if (send(s->settings_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EPIPE &&
        errno != EAGAIN)
        err_errno("answer", "the master");
}

/* The master has read another tally.conf, or asks. */
static void on_settings_readable(uv_poll_t *poll, int status, int events)
{
    struct state *s = poll->data;
    static struct state_settings new;
    ssize_t len = recv(s->settings_fd, &new, sizeof new, MSG_DONTWAIT);
    enum err err = ERR_OK;

    (void)status;
    (void)events;
    if (len <= 0) {
        /* The master is no more, and so will this process be in a moment. */
        if (len == 0)
            uv_poll_stop(poll);
        return;
    }
    if (len == 1) {
        tell_alive(s);
        return;
    }
    assert(len == sizeof new &&new.count <= CONF_PEERS_MAX);
    log_set_level(new.level);
    core_set_copies(node_core(s->node), new.copies, new.copies_wait_ms);
    if (s->network != NULL)
        err = node_flush(s->node, node_time_now());
    if (s->network != NULL && err == ERR_OK)
        err = network_set(s->network, new.peers, new.count);
    if (err == ERR_OK)
        err = node_commit(s->node,
                          node_time_now()); /* Some who wait may have enough now. */
    if (err != ERR_OK)
        state_fail(s, err); /* The next start has the list from its configuration. */
    else
        settle(s);
}

static bool take_request(void *arg, uint64_t guest, const uint8_t *bytes, size_t len)
{
    struct state *s = arg;
    char *reply;

    s->about.now_ms = clock_mono_ms();
    reply = control_answer(s->node, &s->about, (const char *)bytes, len);
    if (reply == NULL) {
        log_error("cannot answer tallyctl: %s", err_name(ERR_MEMORY));
        return true;
    }
    door_send(s->control, guest, reply, strlen(reply));
    free(reply);
    return s->exit_code == STATE_EXIT_OK;
}

/* For tallyctl: durable before it is told. */
static enum err retire(void *arg, struct core_retirement *wanted, enum status *status)
{
    struct state *s = arg;
    enum err err;

    randombytes_buf(&wanted->id, sizeof wanted->id);
    err = node_retire(s->node, wanted, node_time_now(), status);
    if (err != ERR_OK)
        state_fail(s, err);
    return err;
}

static void on_control_readable(uv_poll_t *poll, int status, int events)
{
    struct state *s = poll->data;

    (void)status;
    (void)events;
    door_take(s->control, TURN_REQUESTS, take_request, s);
    if (s->exit_code == STATE_EXIT_OK)
        settle(s); /* It may have asked for a checkpoint. */
}

static void on_term(uv_signal_t *signal, int number)
{
    struct state *s = signal->data;

    (void)number;
    if (s->stopping)
        return;
    s->stopping = true;
    node_want_checkpoint(s->node);
    settle(s);
}

/* ---- start and end ---- */

static enum err watch(struct state *s, const struct door *door, uv_poll_t *poll,
                      uv_poll_cb on_readable)
{
    int failed = uv_poll_init(&s->loop, poll, door_fd(door));

    poll->data = s;
    if (failed == 0)
        failed = uv_poll_start(poll, UV_READABLE, on_readable);
    if (failed == 0)
        return ERR_OK;
    log_error("cannot watch %s: %s", IPC_FOLDER, uv_strerror(failed));
    return ERR_IO;
}

static enum err open_doors(struct state *s)
{
    static const struct door_config workers = {.path = IPC_WORKERS_PATH,
                                               .guest = "a worker",
                                               .receive_max = MSG_MAX,
                                               .send_max = WORKER_UNREAD,
                                               .guests = WORKERS_MAX},
                                    control = {.path = IPC_CONTROL_PATH,
                                               .guest = "a tallyctl",
                                               .receive_max = CONTROL_REQUEST_MAX,
                                               .send_max = CONTROL_UNREAD,
                                               .guests = CONTROLS_MAX};
    enum err err = door_open(&workers, &s->workers);

    if (err == ERR_OK)
        err = door_open(&control, &s->control);
    if (err == ERR_OK)
        err = watch(s, s->workers, &s->workers_readable, on_workers_readable);
    if (err == ERR_OK)
        err = watch(s, s->control, &s->control_readable, on_control_readable);
    return err;
}

/* Called by the disk's thread. */
static void disk_notify(void *arg)
{
    uv_async_send(arg);
}

static enum err open_loop(struct state *s)
{
    int failed = uv_loop_init(&s->loop);

    if (failed == 0)
        failed = uv_async_init(&s->loop, &s->made, on_made);
    if (failed == 0)
        failed = uv_timer_init(&s->loop, &s->due);
    if (failed == 0)
        failed = uv_signal_init(&s->loop, &s->term);
    if (failed == 0)
        failed = uv_signal_start(&s->term, on_term, SIGTERM);
    if (failed == 0)
        failed = uv_poll_init(&s->loop, &s->settings_readable, s->settings_fd);
    s->made.data = s->due.data = s->term.data = s->settings_readable.data = s;
    if (failed == 0)
        failed = uv_poll_start(&s->settings_readable, UV_READABLE, on_settings_readable);
    if (failed == 0)
        return ERR_OK;
    log_error("cannot set up the event loop: %s", uv_strerror(failed));
    return ERR_IO;
}

static void see_any(void *arg, const char *name)
{
    (void)name;
    *(bool *)arg = true;
}

/* A key that is missing where there is a log is lost, not yet to be made: a new one would make another
 * node of this one. */
static enum err open_key(struct disk *disk, struct key_pair *key)
{
    bool has_log = false;
    enum err err = disk->ops->list(disk, see_any, &has_log);

    if (err == ERR_OK)
        err = key_read(!has_log, key);
    if (err != ERR_NOT_FOUND)
        return err;
    log_error("there is a log, but its node's key is missing: restore " KEY_FILE
              " from a backup, or set the state directory aside");
    return ERR_REFUSED;
}

enum err state_key(struct public_key *key)
{
    struct key_pair pair = {.public = {{0}}};
    struct disk *disk;
    enum err err = sodium_init() < 0 ? ERR_IO : look_disk_open("log", &disk);

    if (err != ERR_OK)
        return err;
    err = open_key(disk, &pair);
    look_disk_close(disk);
    *key = pair.public;
    sodium_memzero(&pair, sizeof pair);
    return err;
}

static void random_bytes(void *to, size_t len)
{
    randombytes_buf(to, len);
}

static void configure(struct state *s, struct node_config *config)
{
    const struct conf *conf = s->conf;

    *config = (struct node_config){.disk = s->disk,
                                   .segment_bytes = conf->segment_bytes,
                                   .checkpoint_bytes = conf->checkpoint_bytes,
                                   .checkpoint_ms = conf->checkpoint_ms,
                                   .reply = batch_reply,
                                   .random = random_bytes};
    config->core.crypto = &crypto_real;
    config->core.items_max = conf->counters;
    config->core.requests = CORE_REQUESTS;
    static_assert(sizeof config->core.node_name == sizeof conf->node_name, "one limit");
    memcpy(config->core.node_name, conf->node_name, sizeof conf->node_name);
    randombytes_buf(&config->core.cluster, sizeof config->core.cluster);
    randombytes_buf(&config->core.stream, sizeof config->core.stream);
}

static enum err open_network(struct state *s, const struct key_pair *key)
{
    const struct conf *conf = s->conf;
    const struct network_config config = {.loop = &s->loop,
                                          .node = s->node,
                                          .key = key,
                                          .listen = conf->peer_listen,
                                          .join_wait_ms = conf->join_ms,
                                          .readable = turn,
                                          .arg = s};
    enum err err;

    if (conf->peer_listen[0] == '\0')
        return ERR_OK;
    err = network_open(&config, clock_mono_ms(), &s->network);
    return err == ERR_OK ? network_set(s->network, conf->peers, conf->peer_count) : err;
}

static enum err open_node(struct state *s)
{
    const char *archive = s->conf->archive_dir[0] != '\0' ? s->conf->archive_dir : NULL;
    struct node_time start = node_time_now();
    struct node_figures figures;
    struct node_config config;
    enum err err = disk_posix_open("log", archive, disk_notify, &s->made, &s->disk);

    if (err != ERR_OK)
        return err;
    configure(s, &config);
    s->restored = config.rejoin = access(STATE_RESTORED, F_OK) == 0;
    err = open_key(s->disk, &config.core.key);
    if (err == ERR_OK)
        err = node_open(&config, start, &s->node);
    if (err == ERR_OK)
        core_set_copies(node_core(s->node), s->conf->copies, s->conf->copies_wait_ms);
    s->peers_due_ms = clock_mono_ms() + s->conf->copies_wait_ms;
    if (err == ERR_OK)
        err = open_network(s, &config.core.key);
    s->about = (struct control_about){.node_name = s->conf->node_name,
                                      .key = config.core.key.public,
                                      .key_known = true,
                                      .started_ms = start.wall_ms,
                                      .network = s->network,
                                      .peer_listen = s->conf->peer_listen,
                                      .retire = {retire, s},
                                      .calls = s->calls,
                                      .commits = gauges_commits(s->gauges)};
    sodium_memzero(&config.core.key, sizeof config.core.key);
    if (err != ERR_OK)
        return err;
    node_figures(s->node, &figures);
    log_info("recovered %llu counters: %llu blocks after checkpoint %llu, in %llu ms",
             (unsigned long long)figures.core.items,
             (unsigned long long)figures.recovered_blocks,
             (unsigned long long)figures.checkpoint,
             (unsigned long long)(clock_mono_ms() - start.mono_ms));
    return ERR_OK;
}

static int exit_code(enum err err)
{
    switch (err) {
    case ERR_OK:
        return STATE_EXIT_OK;
    case ERR_CORRUPT:
    case ERR_VERSION:
    case ERR_REFUSED:
    case ERR_MALFORMED:
        return STATE_EXIT_REFUSED;
    default:
        return STATE_EXIT_FAILED;
    }
}

/* The master decides when to stop; a Ctrl-C or a hang-up of the terminal reaches it, too. */
static void ignore_signals(void)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

int state_main(const struct conf *conf, int settings_fd, struct gauges *gauges,
               const struct control_calls_source *calls)
{
    static struct state state; /* all zero; one per process */
    struct state *s = &state;
    enum err err;

    ignore_signals();
    s->conf = conf;
    s->settings_fd = settings_fd;
    s->gauges = gauges;
    s->calls = *calls;
    if (sodium_init() < 0) {
        log_error("cannot set up libsodium");
        return STATE_EXIT_FAILED;
    }
    err = open_loop(s);
    if (err == ERR_OK)
        err = open_node(s);
    if (err == ERR_OK)
        err = open_doors(s);
    if (err != ERR_OK)
        return exit_code(err);
    tell_alive(s);
    settle(s);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    if (s->exit_code == STATE_EXIT_OK) {
        node_close(s->node);
        disk_posix_close(s->disk);
        log_info("stopped, with all on disk");
    }
    return s->exit_code;
}
