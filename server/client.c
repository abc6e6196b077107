#include "server/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/frames.h"
#include "common/ipc.h"
#include "common/log.h"

/* Between two attempts to connect: the state process starts again within milliseconds, or takes long to recover. */
enum { RECONNECT_MIN_MS = 10, RECONNECT_MAX_MS = 100 };

struct client {
    int fd; /* -1: no connection */
    int epoll;
    void *event;
    bool writing; /* epoll tells when there is room again */
    struct asks *asks;
    struct frames_in in;
    struct frames_out out;
    uint64_t connect_ms; /* when to try next, while there is no connection */
    unsigned wait_ms;    /* and how long to wait after that */
    bool served;
    struct log_limit malformed, unreachable;
    uint8_t message[MSG_MAX];
};

enum err client_new(unsigned answer_ms, const struct asks_owner *to, int epoll,
                    void *event, struct client **client)
{
    struct client *new = calloc(1, sizeof *new);

    if (new == NULL)
        return ERR_MEMORY;
    new->fd = -1;
    new->epoll = epoll;
    new->event = event;
    new->wait_ms = RECONNECT_MIN_MS;
    frames_out_init(&new->out, FRAMES_HEAD + MSG_MAX);
    new->asks = asks_new(answer_ms, to);
    if (new->asks == NULL || frames_in_init(&new->in, MSG_MAX) != ERR_OK) {
        client_free(new);
        return ERR_MEMORY;
    }
    *client = new;
    return ERR_OK;
}

void client_free(struct client *client)
{
    if (client == NULL)
        return;
    if (client->fd >= 0)
        close(client->fd);
    asks_free(client->asks);
    frames_in_free(&client->in);
    frames_out_free(&client->out);
    free(client);
}

struct asks *client_asks(struct client *client)
{
    return client->asks;
}

/* ---- the connection ---- */

/* Later and later, until somebody has answered. */
static void connect_later(struct client *client, uint64_t now_ms)
{
    client->connect_ms = now_ms + client->wait_ms;
    client->wait_ms *= 2;
    if (client->wait_ms > RECONNECT_MAX_MS)
        client->wait_ms = RECONNECT_MAX_MS;
}

/* epoll forgets a descriptor that is closed. */
static void disconnect(struct client *client, uint64_t now_ms)
{
    log_debug("state process: connection lost");
    close(client->fd);
    client->fd = -1;
    client->writing = false;
    frames_in_clear(&client->in);
    frames_out_clear(&client->out);
    asks_disconnected(client->asks);
    connect_later(client, now_ms);
}

static bool watch(struct client *client, int op, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = client->event};

    return epoll_ctl(client->epoll, op, client->fd, &event) == 0;
}

/* What the socket does not take is kept. */
static void client_write(struct client *client, const struct writer *w, uint64_t now_ms)
{
    enum err err = frames_send(&client->out, client->fd, w->start, w->len);

    client->writing = frames_kept(&client->out) > 0;
    if (err != ERR_OK ||
        (client->writing && !watch(client, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT)))
        disconnect(client, now_ms);
}

static void client_hello(struct client *client, uint64_t now_ms)
{
    struct writer w = writer_of(client->message, sizeof client->message);

    msg_begin(&w, MSG_HELLO);
    msg_put_hello(&w);
    msg_end(&w, 1);
    client_write(client, &w, now_ms);
}

/* That nobody listens is so whenever the state process is started. */
static void say_unreachable(struct client *client, uint64_t now_ms)
{
    uint64_t more;

    if (errno != ENOENT && errno != ECONNREFUSED && errno != EAGAIN &&
        log_limit_pass(&client->unreachable, now_ms, &more))
        err_errno("connect to", IPC_WORKERS_PATH);
}

static void client_connect(struct client *client, uint64_t now_ms)
{
    client->fd = ipc_connect(IPC_WORKERS_PATH);
    if (client->fd >= 0 && watch(client, EPOLL_CTL_ADD, EPOLLIN)) {
        log_debug("state process: connected");
        client_hello(client, now_ms);
        return;
    }
    say_unreachable(client, now_ms);
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    connect_later(client, now_ms);
}

/* ---- messages ---- */

static enum err take_message(struct client *client, const uint8_t *bytes, size_t len,
                             uint64_t now_ms)
{
    uint64_t more;
    enum err err = asks_answer(client->asks, bytes, len, now_ms);

    if (asks_connected(client->asks)) {
        client->served = true;
        client->wait_ms = RECONNECT_MIN_MS;
    }
    if (err == ERR_VERSION)
        log_error("the state process is of another version: start tallyd again");
    else if (err != ERR_OK && log_limit_pass(&client->malformed, now_ms, &more))
        log_error("a %s message from the state process is left out", err_name(err));
    return err == ERR_VERSION ? ERR_VERSION : ERR_OK;
}

static enum err flush(struct client *client)
{
    enum err err = frames_flush(&client->out, client->fd);

    if (err == ERR_AGAIN)
        return ERR_OK;
    client->writing = false;
    return err == ERR_OK && !watch(client, EPOLL_CTL_MOD, EPOLLIN) ? ERR_IO : err;
}

/* One read: where there is more, epoll says so again. */
enum err client_receive(struct client *client, uint64_t now_ms)
{
    const uint8_t *bytes;
    uint64_t more;
    size_t len;
    enum err err = ERR_OK, bad = ERR_OK;

    if (client->fd < 0)
        return ERR_OK; /* The event was of a connection that has ended meanwhile. */
    if (client->writing)
        err = flush(client);
    if (err == ERR_OK)
        err = frames_read(&client->in, client->fd);
    while (err == ERR_OK && bad == ERR_OK &&
           (err = frames_next(&client->in, &bytes, &len)) == ERR_OK)
        bad = take_message(client, bytes, len, now_ms);
    if (err == ERR_TOO_LONG && log_limit_pass(&client->malformed, now_ms, &more))
        log_error("the state process sends a message of %zu bytes: connecting again",
                  len);
    if (err != ERR_OK && err != ERR_AGAIN)
        disconnect(client, now_ms);
    return bad;
}

void client_send(struct client *client, size_t calls, uint64_t now_ms)
{
    struct writer w = writer_of(client->message, sizeof client->message);

    asks_expire(client->asks, now_ms);
    if (client->fd < 0 && client->connect_ms <= now_ms)
        client_connect(client, now_ms);
    /* Behind a message that is still being written nothing is taken off: it might be given up before it goes. */
    if (client->fd >= 0 && !client->writing && asks_next(client->asks, &w, calls, now_ms))
        client_write(client, &w, now_ms);
}

uint64_t client_due_ms(const struct client *client)
{
    uint64_t due = asks_due_ms(client->asks);

    return client->fd < 0 && client->connect_ms < due ? client->connect_ms : due;
}

bool client_served(const struct client *client)
{
    return client->served;
}
