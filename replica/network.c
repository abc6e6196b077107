#include "replica/network.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/log.h"
#include "replica/sockets.h"

enum {
    SWEEP_MS = 1000, /* between two looks at the connections, or tries to listen */
    LOG_MS = 10000,  /* between two lines about strangers */
    URL_SIZE = CONF_ADDRESS_MAX + sizeof "tcp://",
    FROM_SIZE = INET6_ADDRSTRLEN + sizeof "[]:65535",
};

/* A connection that somebody made to here. */
struct pipe {
    int id; /* 0: none */
    struct in6_addr addr;
    uint64_t
        heard_ms; /* when a peer's message came over it last; before the first, when it was made */
    bool proven;                /* there was one */
    uint64_t bad_since_ms, bad; /* of the second under way */
};

/* The way to one peer. */
struct way {
    struct conf_peer peer;
    nng_socket socket;
    struct network *network;
    atomic_int pipes;  /* 0 or 1; written by nng's threads */
    atomic_bool fresh; /* a pipe has come, and the peer was not greeted over it */
    atomic_bool
        worn; /* a pipe has gone: ways_renew() makes another way; written by nng's threads */
    uint64_t made_ms;
};

struct network {
    struct network_config config;
    char listen_url[URL_SIZE];
    nng_socket inbox;
    bool listening, complained, watching;
    uv_poll_t readable;
    uv_async_t reached; /* sent by nng's threads */
    struct peers *peers;
    struct public_key own;
    struct way *way[PEERS_MAX];
    size_t count;
    struct network_figures figures;
    nng_pipe receiving; /* that the message at hand came over */
    uint64_t swept_ms, logged_ms, unsaid;

    uv_mutex_t lock; /* of the pipes: nng's threads add and remove them */
    struct pipe pipe[NETWORK_PIPES_MAX];
};

/* ---- connections from others ---- */

static void remote_text(nng_pipe pipe, char out[FROM_SIZE])
{
    char text[INET6_ADDRSTRLEN] = "an unknown address";
    struct in6_addr addr;
    uint16_t port;

    if (sockets_remote(pipe, &addr, &port)) {
        if (IN6_IS_ADDR_V4MAPPED(&addr))
            inet_ntop(AF_INET, addr.s6_addr + 12, text, sizeof text);
        else
            inet_ntop(AF_INET6, &addr, text, sizeof text);
    }
    snprintf(out, FROM_SIZE, strchr(text, ':') != NULL ? "[%s]:%u" : "%s:%u", text, port);
}

static struct pipe *pipe_find(struct network *n, int id)
{
    for (size_t i = 0; i < NETWORK_PIPES_MAX; i++)
        if (n->pipe[i].id == id)
            return &n->pipe[i];
    return NULL;
}

/* In a thread of nng's: whoever finds no place is sent away before anything is read from him. */
static void on_pipe_come(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct network *n = arg;
    struct pipe *place = NULL;
    struct in6_addr addr;
    size_t same = 0;
    uint16_t port;

    (void)event;
    sockets_remote(pipe, &addr, &port);
    uv_mutex_lock(&n->lock);
    for (size_t i = 0; i < NETWORK_PIPES_MAX; i++)
        same += n->pipe[i].id != 0 && memcmp(&n->pipe[i].addr, &addr, sizeof addr) == 0;
    if (same < NETWORK_PIPES_ADDRESS)
        place = pipe_find(n, 0);
    if (place != NULL)
        *place = (struct pipe){
            .id = nng_pipe_id(pipe), .addr = addr, .heard_ms = clock_mono_ms()};
    uv_mutex_unlock(&n->lock);
    if (place == NULL)
        nng_pipe_close(pipe);
}

static void on_pipe_gone(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct network *n = arg;
    struct pipe *place;

    (void)event;
    uv_mutex_lock(&n->lock);
    place = pipe_find(n, nng_pipe_id(pipe));
    if (place != NULL)
        *place = (struct pipe){.id = 0};
    uv_mutex_unlock(&n->lock);
}

/* Takes down what the pipe's message was worth. Whether the pipe is to be closed. */
static bool pipe_note(struct network *n, nng_pipe pipe, bool bad, uint64_t now_ms)
{
    struct pipe *place;
    bool flood = false;

    uv_mutex_lock(&n->lock);
    place = pipe_find(n, nng_pipe_id(pipe));
    if (place != NULL && !bad) {
        place->proven = true;
        place->heard_ms = now_ms;
    } else if (place != NULL) {
        if (now_ms - place->bad_since_ms >= 1000) {
            place->bad_since_ms = now_ms;
            place->bad = 0;
        }
        flood = ++place->bad == NETWORK_BAD_MAX + 1;
    }
    uv_mutex_unlock(&n->lock);
    return flood;
}

/* Close the pipes that had their time to prove themselves, and those whose other end is gone: who is there is
 * heard every second. */
static void sweep(struct network *n, uint64_t now_ms)
{
    int late[NETWORK_PIPES_MAX];
    size_t count = 0;

    uv_mutex_lock(&n->lock);
    for (size_t i = 0; i < NETWORK_PIPES_MAX; i++) {
        const struct pipe *pipe = &n->pipe[i];
        uint64_t limit_ms = pipe->proven ? NETWORK_SILENT_MS : NETWORK_PROVE_MS;

        if (pipe->id == 0 || now_ms < pipe->heard_ms + limit_ms)
            continue;
        n->figures.cut_off += !pipe->proven;
        late[count++] = pipe->id;
    }
    uv_mutex_unlock(&n->lock);
    while (count > 0)
        sockets_end((nng_pipe){.id = (uint32_t)late[--count]});
}

/* ---- receiving ---- */

static void log_stranger(struct network *n, nng_pipe pipe, uint64_t now_ms)
{
    char from[FROM_SIZE];

    n->unsaid++;
    if (n->logged_ms != 0 && now_ms - n->logged_ms < LOG_MS)
        return;
    remote_text(pipe, from);
    log_warn(
        "%s sent what no peer has sealed for this node (%llu such messages since the last "
        "line like this): if it is a node of this cluster, its key here or this node's key "
        "there is wrong or missing",
        from, (unsigned long long)n->unsaid);
    n->logged_ms = now_ms;
    n->unsaid = 0;
}

static enum err take_message(struct network *n, nng_msg *msg, uint64_t now_ms)
{
    nng_pipe pipe = nng_msg_get_pipe(msg);
    enum peers_sender sender;
    enum err err;

    n->receiving = pipe;
    err = peers_receive(n->peers, nng_msg_body(msg), nng_msg_len(msg), now_ms, &sender);
    if (sender == PEERS_STRANGER)
        log_stranger(n, pipe, now_ms);
    n->figures.strangers += sender != PEERS_PEER;
    if (pipe_note(n, pipe, sender != PEERS_PEER, now_ms)) {
        n->figures.cut_off++;
        sockets_end(pipe);
    }
    return err;
}

enum err network_take(struct network *n)
{
    uint64_t begun_ms = clock_mono_ms(), now_ms = begun_ms;
    enum err err = ERR_OK;
    nng_msg *msg;
    int failed = 0;

    while (err == ERR_OK && now_ms - begun_ms < NETWORK_TURN_MS &&
           (failed = nng_recvmsg(n->inbox, &msg, NNG_FLAG_NONBLOCK)) == 0) {
        err = take_message(n, msg, now_ms);
        nng_msg_free(msg);
        now_ms = clock_mono_ms();
    }
    return failed == NNG_ENOMEM ? ERR_MEMORY : err; /* It would be there for ever. */
}

/* ---- sending ---- */

static void on_send(void *arg, size_t peer, const uint8_t *bytes, size_t len)
{
    struct network *n = arg;
    nng_msg *msg;

    if (peer >= n->count || atomic_load(&n->way[peer]->pipes) == 0 ||
        atomic_load(&n->way[peer]->worn) || nng_msg_alloc(&msg, 0) != 0)
        return;
    if (nng_msg_append(msg, bytes, len) != 0 ||
        nng_sendmsg(n->way[peer]->socket, msg, NNG_FLAG_NONBLOCK) != 0)
        nng_msg_free(msg);
}

static void on_way_pipe(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct way *way = arg;

    (void)pipe;
    if (event == NNG_PIPE_EV_REM_POST) {
        atomic_store(&way->worn, true);
        atomic_fetch_sub(&way->pipes, 1);
    } else {
        atomic_fetch_add(&way->pipes, 1);
        atomic_store(&way->fresh, true);
    }
    uv_async_send(&way->network->reached);
}

static int way_dial(struct way *way)
{
    char url[URL_SIZE];
    nng_dialer dialer;
    int failed;

    snprintf(url, sizeof url, "tcp://%s", way->peer.address);
    failed = nng_dialer_create(&dialer, way->socket, url);
    if (failed == 0)
        failed = nng_dialer_set_bool(dialer, NNG_OPT_TCP_NODELAY, true);
    if (failed == 0)
        failed = nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true);
    if (failed == 0)
        failed = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
    return failed;
}

static int way_open(struct way *way)
{
    int failed = nng_push0_open(&way->socket);

    if (failed != 0)
        return failed;
    /* Nothing is ever received here: whoever answers is no node of Tally's. */
    failed = nng_socket_set_size(way->socket, NNG_OPT_RECVMAXSZ, 1);
    if (failed == 0)
        failed = nng_socket_set_int(way->socket, NNG_OPT_SENDBUF, NETWORK_SEND_BUFFER);
    if (failed == 0)
        failed =
            nng_socket_set_ms(way->socket, NNG_OPT_RECONNMINT, NETWORK_REDIAL_MIN_MS);
    if (failed == 0)
        failed =
            nng_socket_set_ms(way->socket, NNG_OPT_RECONNMAXT, NETWORK_REDIAL_MAX_MS);
    if (failed == 0)
        failed = nng_pipe_notify(way->socket, NNG_PIPE_EV_ADD_POST, on_way_pipe, way);
    if (failed == 0)
        failed = nng_pipe_notify(way->socket, NNG_PIPE_EV_REM_POST, on_way_pipe, way);
    if (failed == 0)
        failed = way_dial(way);
    if (failed != 0)
        nng_close(way->socket);
    return failed;
}

static enum err way_new(struct network *n, const struct conf_peer *peer,
                        struct way **made)
{
    struct way *way = calloc(1, sizeof *way);
    int failed = way == NULL ? NNG_ENOMEM : 0;

    if (failed == 0) {
        way->peer = *peer;
        way->network = n;
        way->made_ms = clock_mono_ms();
        failed = way_open(way);
    }
    if (failed == 0) {
        *made = way;
        return ERR_OK;
    }
    free(way);
    log_error("peer %s: cannot dial %s: %s", peer->name, peer->address,
              nng_strerror(failed));
    return ERR_IO;
}

static void *way_end(void *arg)
{
    struct way *way = arg;

    nng_close(way->socket);
    free(way);
    return NULL;
}

/* In a thread of its own: nng_close() of nng 1.5.2 does not return when a connection is made at that moment,
 * and this loop must go on. Nothing else refers to the way any more. */
static void way_free(struct way *way)
{
    pthread_t thread;

    if (way == NULL)
        return;
    errno = pthread_create(&thread, NULL, way_end, way);
    if (errno != 0)
        err_errno("start a thread for",
                  "closing a peer's connection"); /* It stays open, unused. */
    else
        pthread_detach(thread);
}

/* One socket for one connection. PUSH of nng 1.5.2 may put a pipe that has just gone back among those that wait for
 * a message (push0_send_cb() takes no notice of push0_pipe_close()): the next message but one is
 * then sent over freed memory. Not more often than a dialer would dial again. */
static void ways_renew(struct network *n, uint64_t now_ms)
{
    for (size_t i = 0; i < n->count; i++) {
        struct way *old = n->way[i];

        if (!atomic_load(&old->worn) || now_ms < old->made_ms + NETWORK_REDIAL_MAX_MS)
            continue;
        old->made_ms = now_ms; /* Where it fails, it is tried again so much later. */
        if (way_new(n, &old->peer, &n->way[i]) == ERR_OK)
            way_free(old);
    }
}

/* ---- the list ---- */

/* Take the way to this peer out of the old list, or make it. */
static enum err way_take(struct network *n, const struct conf_peer *peer,
                         struct way **taken)
{
    for (size_t i = 0; i < n->count; i++) {
        struct way *way = n->way[i];

        if (way != NULL && memcmp(way->peer.key, peer->key, sizeof peer->key) == 0 &&
            strcmp(way->peer.address, peer->address) == 0) {
            way->peer = *peer;
            *taken = way;
            n->way[i] = NULL;
            return ERR_OK;
        }
    }
    return way_new(n, peer, taken);
}

static enum err set_ways(struct network *n, const struct conf_peer *list, size_t count)
{
    struct way *way[PEERS_MAX] = {NULL};
    enum err err = ERR_OK;
    size_t made = 0;

    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        if (!list[i].gone && memcmp(list[i].key, n->own.byte, PUBLIC_KEY_BYTES) != 0)
            err = way_take(n, &list[i], &way[made++]);
    }
    for (size_t i = 0; i < n->count; i++)
        way_free(n->way[i]);
    memcpy(n->way, way, sizeof way);
    n->count = err == ERR_OK ? made : made - 1;
    return err;
}

static enum err set_former(struct network *n, const struct conf_peer *list, size_t count)
{
    struct public_key keys[PEERS_MAX];
    size_t former = 0;

    for (size_t i = 0; i < count; i++)
        if (list[i].gone)
            memcpy(keys[former++].byte, list[i].key, PUBLIC_KEY_BYTES);
    return peers_former(n->peers, keys, former);
}

enum err network_set(struct network *n, const struct conf_peer *list, size_t count)
{
    struct peer_config peers[PEERS_MAX] = {{.name = ""}};
    size_t bad;
    enum err err;

    static_assert((int)CONF_PEERS_MAX <= (int)PEERS_MAX, "every list fits");
    static_assert(sizeof peers->name == sizeof list->name, "one limit");
    static_assert(sizeof peers->key == sizeof list->key, "one key");
    err = set_ways(n, list, count);
    for (size_t i = 0; i < n->count; i++) {
        memcpy(peers[i].name, n->way[i]->peer.name, sizeof peers->name);
        memcpy(peers[i].key.byte, n->way[i]->peer.key, PUBLIC_KEY_BYTES);
    }
    if (err != ERR_OK)
        return err;
    err = set_former(n, list, count);
    if (err == ERR_OK)
        err = peers_set(n->peers, peers, n->count, &bad);
    if (err != ERR_OK)
        log_error("peers cannot be taken: %s", err_name(err));
    return err;
}

/* ---- the turn ---- */

static void try_to_listen(struct network *n)
{
    int failed;
    nng_listener listener;

    failed = nng_listener_create(&listener, n->inbox, n->listen_url);
    if (failed == 0)
        failed = nng_listener_set_bool(listener, NNG_OPT_TCP_NODELAY, true);
    if (failed == 0)
        failed = nng_listener_set_bool(listener, NNG_OPT_TCP_KEEPALIVE, true);
    if (failed == 0)
        failed = nng_listener_start(listener, 0);
    if (failed == 0) {
        n->listening = true;
        log_info("listening for peers on %s", n->config.listen);
        return;
    }
    nng_listener_close(listener);
    if (!n->complained)
        log_error(
            "cannot listen for peers on %s (peer-listen): %s: trying again every second; "
            "no other node reaches this one meanwhile",
            n->config.listen, nng_strerror(failed));
    n->complained = true;
}

void network_turn(struct network *n, uint64_t now_ms, uint64_t *next_ms)
{
    if (now_ms - n->swept_ms >= SWEEP_MS) {
        n->swept_ms = now_ms;
        sweep(n, now_ms);
        if (n->count > 0)
            sockets_end_stuck();
        if (!n->listening)
            try_to_listen(n);
    }
    ways_renew(n, now_ms);
    peers_turn(n->peers, now_ms, next_ms);
    if (*next_ms > n->swept_ms + SWEEP_MS)
        *next_ms = n->swept_ms + SWEEP_MS;
}

static void on_reached(uv_async_t *async)
{
    struct network *n = async->data;

    for (size_t i = 0; i < n->count; i++)
        if (atomic_exchange(&n->way[i]->fresh, false))
            peers_reached(n->peers, i);
    n->config.readable(n->config.arg);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct network *n = poll->data;

    (void)status;
    (void)events;
    n->config.readable(n->config.arg);
}

void network_pause(struct network *n, bool paused)
{
    if (n->watching != paused)
        return;
    n->watching = !paused;
    if (paused)
        uv_poll_stop(&n->readable);
    else
        uv_poll_start(&n->readable, UV_READABLE, on_readable);
}

/* ---- start and end ---- */

static int open_inbox(struct network *n)
{
    int fd, failed = nng_pull0_open(&n->inbox);

    if (failed != 0)
        return failed;
    failed = nng_socket_set_size(n->inbox, NNG_OPT_RECVMAXSZ, LINK_MESSAGE_MAX);
    if (failed == 0)
        failed = nng_pipe_notify(n->inbox, NNG_PIPE_EV_ADD_PRE, on_pipe_come, n);
    if (failed == 0)
        failed = nng_pipe_notify(n->inbox, NNG_PIPE_EV_REM_POST, on_pipe_gone, n);
    if (failed == 0)
        failed = nng_socket_get_int(n->inbox, NNG_OPT_RECVFD, &fd);
    if (failed != 0) {
        nng_close(n->inbox);
        return failed;
    }
    uv_poll_init(n->config.loop, &n->readable, fd);
    uv_async_init(n->config.loop, &n->reached, on_reached);
    n->readable.data = n->reached.data = n;
    network_pause(n, false);
    return 0;
}

static void random_bytes(void *to, size_t len)
{
    randombytes_buf(to, len);
}

static void on_whence(void *arg, char *out)
{
    struct network *n = arg;

    static_assert((int)FROM_SIZE <= (int)PEERS_WHENCE, "every address fits");
    remote_text(n->receiving, out);
}

static struct peers *open_peers(struct network *n)
{
    struct peers_config config = {.crypto = &crypto_real,
                                  .node = n->config.node,
                                  .key = *n->config.key,
                                  .join_wait_ms = n->config.join_wait_ms,
                                  .send = on_send,
                                  .arg = n,
                                  .random = random_bytes,
                                  .whence = on_whence};
    struct peers *peers = peers_new(&config);

    sodium_memzero(&config.key, sizeof config.key);
    return peers;
}

enum err network_open(const struct network_config *config, uint64_t now_ms,
                      struct network **network)
{
    struct network *n = calloc(1, sizeof *n);
    int failed;

    if (n == NULL)
        return ERR_MEMORY;
    n->config = *config;
    n->own = config->key->public;
    snprintf(n->listen_url, sizeof n->listen_url, "tcp://%s", config->listen);
    n->peers = open_peers(n);
    n->config.key = NULL; /* The caller's. */
    failed =
        n->peers == NULL || uv_mutex_init(&n->lock) != 0 ? NNG_ENOMEM : open_inbox(n);
    if (failed != 0) {
        log_error("cannot set up the network to peers: %s", nng_strerror(failed));
        if (n->peers != NULL)
            peers_free(n->peers);
        free(n);
        return ERR_IO;
    }
    try_to_listen(n);
    n->swept_ms = now_ms;
    *network = n;
    return ERR_OK;
}

/* ---- looking ---- */

size_t network_count(const struct network *n)
{
    return n->count;
}

void network_peer(const struct network *n, size_t index, struct network_peer *peer)
{
    peers_figures(n->peers, index, &peer->figures);
    peer->address = n->way[index]->peer.address;
    peer->reached = atomic_load(&n->way[index]->pipes) > 0;
}

void network_figures(const struct network *n, struct network_figures *figures)
{
    *figures = n->figures;
    figures->copied = peers_copied(n->peers);
}
