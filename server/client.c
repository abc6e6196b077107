#include "server/client.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pair1/pair.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"

/* The state process starts again within milliseconds; nng's own first delay would be a
 * second. */
enum { RECONNECT_MIN_MS = 10, RECONNECT_MAX_MS = 100 };

/* In messages. Without any, nng refuses a message while its thread is not yet back from
 * sending the last one, though that was answered. */
enum { SEND_BUFFER = 4 };

/* A connection that was lost with a message in it that was not taken yet, as where this process stood still while the
 * state process was replaced, may never be let go of by nng 1.5.2: then its socket does not dial again.
 * After so long without another connection a new socket is opened, a bounded number of times, for the old
 * one stays open: nng_close() might not return. */
enum { RENEW_MS = 1000, RENEWALS_MAX = 16 };

struct client {
    nng_socket socket;
    _Atomic int socket_id; /* read by nng's threads */
    struct asks *asks;
    int received_fd; /* nng's: readable when a message is there */
    int watched_fd;  /* epoll: has the present socket's received_fd in it */
    int pipe_fd;     /* eventfd: the connection came or went */
    _Atomic uint32_t
        pipe; /* the connection there is, 0 for none; written by nng's threads */
    uint32_t pipe_seen;
    uint64_t
        lost_ms; /* when the last connection was lost; 0: there is one, or was none */
    unsigned renewals;
    uint64_t hello_ms; /* when this connection's last HELLO was sent */
    bool served;
    struct log_limit malformed;
    uint8_t message[MSG_MAX];
};

/* In a thread of nng's. */
static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct client *client = arg;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    uint64_t one = 1;

    if (nng_socket_id(nng_pipe_socket(pipe)) != atomic_load(&client->socket_id))
        return; /* of one that was given up */
    if (event == NNG_PIPE_EV_ADD_POST) {
        atomic_store(&client->pipe, id);
    } else {
        uint32_t gone = id;

        /* The next one may be there already; then this one is old news. */
        atomic_compare_exchange_strong(&client->pipe, &gone, 0);
    }
    /* An eventfd takes 2^64 - 2 of these. */
    if (write(client->pipe_fd, &one, sizeof one) < 0)
        abort();
}

static enum err nng_failed(const char *what, int rv)
{
    log_error("cannot %s %s: %s", what, IPC_WORKERS_URL, nng_strerror(rv));
    return rv == NNG_ENOMEM ? ERR_MEMORY : ERR_IO;
}

static enum err client_connect(struct client *client)
{
    struct epoll_event received = {.events = EPOLLIN};
    int rv;

    if ((rv = nng_pair1_open(&client->socket)) != 0)
        return nng_failed("open a socket for", rv);
    atomic_store(&client->socket_id, nng_socket_id(client->socket));
    if ((rv = nng_socket_set_ms(client->socket, NNG_OPT_RECONNMINT, RECONNECT_MIN_MS)) !=
            0 ||
        (rv = nng_socket_set_ms(client->socket, NNG_OPT_RECONNMAXT, RECONNECT_MAX_MS)) !=
            0 ||
        (rv = nng_socket_set_size(client->socket, NNG_OPT_RECVMAXSZ, MSG_MAX)) != 0 ||
        (rv = nng_socket_set_int(client->socket, NNG_OPT_SENDBUF, SEND_BUFFER)) != 0 ||
        (rv = nng_socket_get_int(client->socket, NNG_OPT_RECVFD, &client->received_fd)) !=
            0 ||
        (rv = nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_POST, pipe_changed,
                              client)) != 0 ||
        (rv = nng_pipe_notify(client->socket, NNG_PIPE_EV_REM_POST, pipe_changed,
                              client)) != 0)
        return nng_failed("set up a socket for", rv);
    if (epoll_ctl(client->watched_fd, EPOLL_CTL_ADD, client->received_fd, &received) != 0)
        return err_errno("watch", IPC_WORKERS_URL);
    if ((rv = nng_dial(client->socket, IPC_WORKERS_URL, NULL, NNG_FLAG_NONBLOCK)) != 0)
        return nng_failed("dial", rv);
    return ERR_OK;
}

/* A client that never was: nothing has been dialled. */
static void client_free(struct client *client)
{
    if (nng_socket_id(client->socket) > 0)
        nng_close(client->socket);
    asks_free(client->asks);
    if (client->pipe_fd >= 0)
        close(client->pipe_fd);
    if (client->watched_fd >= 0)
        close(client->watched_fd);
    free(client);
}

enum err client_new(unsigned answer_ms, const struct asks_owner *to,
                    struct client **client)
{
    struct client *new = calloc(1, sizeof *new);
    enum err err = ERR_MEMORY;

    if (new == NULL)
        return ERR_MEMORY;
    new->pipe_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    new->watched_fd = epoll_create1(EPOLL_CLOEXEC);
    if (new->pipe_fd < 0 || new->watched_fd < 0)
        err = err_errno("make descriptors for", IPC_WORKERS_URL);
    else if ((new->asks = asks_new(answer_ms, to)) != NULL)
        err = client_connect(new);
    if (err != ERR_OK) {
        client_free(new);
        return err;
    }
    *client = new;
    return ERR_OK;
}

void client_fds(const struct client *client, int fds[CLIENT_FDS])
{
    fds[0] = client->watched_fd;
    fds[1] = client->pipe_fd;
}

struct asks *client_asks(struct client *client)
{
    return client->asks;
}

/* Whatever cannot be sent now is sent again after ASKS_RESEND_MS, or by the next
 * connection. */
static void client_write(struct client *client, const struct writer *w)
{
    nng_msg *msg;

    if (nng_msg_alloc(&msg, 0) != 0)
        return;
    if (nng_msg_append(msg, w->start, w->len) != 0 ||
        nng_sendmsg(client->socket, msg, NNG_FLAG_NONBLOCK) != 0)
        nng_msg_free(msg);
}

static void client_hello(struct client *client, uint64_t now_ms)
{
    struct writer w = writer_of(client->message, sizeof client->message);

    msg_begin(&w, MSG_HELLO);
    msg_put_hello(&w);
    msg_end(&w, 1);
    client_write(client, &w);
    client->hello_ms = now_ms;
}

/* The connection came, went, or was replaced by another. */
static void client_pipe(struct client *client, uint64_t now_ms)
{
    uint64_t times;
    uint32_t now;

    if (read(client->pipe_fd, &times, sizeof times) < 0)
        return; /* EAGAIN: it was the other descriptor. */
    now = atomic_load(&client->pipe);
    if (now == client->pipe_seen)
        return;
    client->pipe_seen = now;
    client->lost_ms = now != 0 ? 0 : now_ms;
    asks_disconnected(client->asks);
    log_debug("state process: %s", now != 0 ? "connected" : "connection lost");
    if (now != 0)
        client_hello(client, now_ms);
}

static uint64_t renew_due_ms(const struct client *client)
{
    return client->lost_ms != 0 && client->renewals < RENEWALS_MAX
               ? client->lost_ms + RENEW_MS
               : UINT64_MAX;
}

static void client_renew(struct client *client, uint64_t now_ms)
{
    client->lost_ms = now_ms;
    client->renewals++;
    epoll_ctl(client->watched_fd, EPOLL_CTL_DEL, client->received_fd, NULL);
    log_info("state process: no connection for %d ms: trying with a new socket",
             RENEW_MS);
    /* Where it fails, it was logged, and is tried again. */
    (void)client_connect(client);
}

enum err client_receive(struct client *client, uint64_t now_ms)
{
    nng_msg *msg;
    uint64_t more;
    enum err err;

    client_pipe(client, now_ms);
    /* One only, since one is what is under way: trying for a second costs nearly as much
     * as it does. The descriptor stays readable while there is another. */
    if (nng_recvmsg(client->socket, &msg, NNG_FLAG_NONBLOCK) != 0)
        return ERR_OK;
    err = asks_answer(client->asks, nng_msg_body(msg), nng_msg_len(msg), now_ms);
    nng_msg_free(msg);
    client->served = client->served || asks_connected(client->asks);
    if (err == ERR_VERSION)
        log_error("the state process is of another version: start tallyd again");
    else if (err != ERR_OK && log_limit_pass(&client->malformed, now_ms, &more))
        log_error("a %s message from the state process is left out", err_name(err));
    return err == ERR_VERSION ? ERR_VERSION : ERR_OK;
}

/* A HELLO may be lost like any message. */
static uint64_t hello_due_ms(const struct client *client)
{
    return client->pipe_seen != 0 && !asks_connected(client->asks)
               ? client->hello_ms + ASKS_RESEND_MS
               : UINT64_MAX;
}

void client_send(struct client *client, size_t calls, uint64_t now_ms)
{
    struct writer w = writer_of(client->message, sizeof client->message);

    asks_expire(client->asks, now_ms);
    if (renew_due_ms(client) <= now_ms)
        client_renew(client, now_ms);
    if (hello_due_ms(client) <= now_ms)
        client_hello(client, now_ms);
    else if (asks_next(client->asks, &w, calls, now_ms))
        client_write(client, &w);
}

uint64_t client_due_ms(const struct client *client)
{
    uint64_t hello = hello_due_ms(client), renew = renew_due_ms(client),
             due = asks_due_ms(client->asks);

    due = hello < due ? hello : due;
    return renew < due ? renew : due;
}

bool client_served(const struct client *client)
{
    return client->served;
}
