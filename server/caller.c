#include "server/caller.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/log.h"
#include "server/fake_text.h"

enum {
    READ_BYTES = 64 * 1024,
    EVENTS_MAX = 256, /* taken per turn of the loop */
    /* How long a caller whose connection failed takes to try again, or to give up: not at
     * once, so that a server that is away costs no CPU. */
    CONNECT_PAUSE_MS = 20,
    LOOPBACK_SOURCES_MAX = 64, /* 127.0.0.1 to 127.0.0.64, when ports run out */
};

enum state {
    STATE_FREE,
    STATE_CONNECTING,
    STATE_PAUSED, /* no connection: waits for CONNECT_PAUSE_MS */
    STATE_TALKING,
};

/* One call; kept for the next one when it ends. Times are the loop's, in ms; 0: none. */
struct caller {
    struct callers *owner;
    struct caller *next_free;
    enum state state;
    int fd;
    int error; /* of the last connect */
    size_t address;
    struct caller_choice choice;
    struct fake *fake;
    struct text pending; /* what the socket has not taken yet */
    bool number_known, command_seen;
    uint64_t begun_ns, answered_ns;
    uint64_t first_try_ms;
    uint64_t command_due, silence_due, hangup_due, timer_due;
    uv_timer_t timer;
};

struct callers {
    uv_loop_t *loop;
    struct caller_plan *plan;
    const struct caller_watch *watch;
    int epoll_fd;
    uv_poll_t poll;
    unsigned source; /* how many further loopback addresses were needed */
    size_t unserved; /* open calls that no command came for */
    struct caller **all;
    size_t count, open;
    struct caller *free_list;
    size_t handles; /* timers and the poll that libuv still has to close */
    char buffer[READ_BYTES];
};

static void caller_pump(struct caller *c);
static void connect_begin(struct caller *c);
static void on_timer(uv_timer_t *timer);

/* One timer per call stands on the earliest of its times. A time that moves away leaves
 * the timer where it is: it looks again when it rings, and so an active call touches no
 * timer. */
static void caller_arm(struct caller *c, uint64_t due)
{
    uint64_t now = uv_now(c->owner->loop);

    if (due == 0 || (c->timer_due != 0 && c->timer_due <= due))
        return;
    c->timer_due = due;
    uv_timer_start(&c->timer, on_timer, due > now ? due - now : 0, 0);
}

/* Only memory can be missing, and the call would hang unseen. */
static void watch_fd(struct caller *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};

    if (epoll_ctl(c->owner->epoll_fd, operation, c->fd, &event) == 0)
        return;
    log_error("cannot watch a connection: %s", strerror(errno));
    abort();
}

static void keep_pending(struct caller *c, const char *bytes, size_t len)
{
    text_put(&c->pending, bytes, len);
    if (!c->pending.failed)
        return;
    log_error("out of memory");
    abort();
}

static void close_fd(struct caller *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void caller_end(struct caller *c, enum caller_end end, const char *reason)
{
    struct callers *owner = c->owner;
    struct caller_outcome outcome = {.end = end, .reason = reason, .error = c->error};
    struct fake *fake = c->fake;

    outcome.whole_us = (uv_hrtime() - c->choice.due_ns) / 1000;
    if (fake != NULL)
        fake_result(fake, &outcome.result);
    outcome.fake = fake;
    close_fd(c);
    uv_timer_stop(&c->timer);
    c->timer_due = 0;
    c->fake = NULL;
    c->pending.len = 0;
    c->state = STATE_FREE;
    c->next_free = owner->free_list;
    owner->free_list = c;
    owner->open--;
    owner->unserved -= !c->command_seen;
    owner->watch->ended(owner->watch->context, &outcome);
    fake_free(fake);
}

/* Talking */

static void send_bytes(struct caller *c, const char *bytes, size_t len)
{
    ssize_t sent = 0;

    if (c->pending.len == 0) {
        sent = send(c->fd, bytes, len, MSG_NOSIGNAL);
        /* A connection that is gone is seen, and told, by reading. */
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return;
        if (sent < 0)
            sent = 0;
    }
    if ((size_t)sent == len)
        return;
    if (c->pending.len == 0)
        watch_fd(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    keep_pending(c, bytes + sent, len - (size_t)sent);
}

static void send_pending(struct caller *c)
{
    ssize_t sent = send(c->fd, c->pending.at, c->pending.len, MSG_NOSIGNAL);

    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (sent < 0)
        sent = (ssize_t)c->pending.len; /* Reading will tell. */
    c->pending.len -= (size_t)sent;
    memmove(c->pending.at, c->pending.at + sent, c->pending.len);
    if (c->pending.len == 0)
        watch_fd(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void tell_command(struct caller *c, const struct fake_todo *todo)
{
    const struct caller_watch *watch = c->owner->watch;
    uint64_t since = c->command_seen ? c->answered_ns : c->begun_ns;
    bool first = !c->command_seen;
    const char *number = NULL;
    struct fake_result result;

    c->command_due = 0;
    c->owner->unserved -= first;
    c->command_seen = true;
    if (watch->command == NULL)
        return;
    if (!c->number_known) {
        fake_result(c->fake, &result);
        c->number_known = result.number[0] != '\0';
        number = c->number_known ? result.number : NULL;
    }
    watch->command(watch->context, todo->line, todo->line_len,
                   (uv_hrtime() - since) / 1000, first, number);
}

static void tell_sent(struct caller *c, const struct fake_todo *todo)
{
    const struct caller_watch *watch = c->owner->watch;

    /* Where the server breaks off in the middle the answer is the last to see. */
    if (watch->sent != NULL)
        watch->sent(watch->context, todo->bytes, todo->len);
    send_bytes(c, todo->bytes, todo->len);
    c->answered_ns = uv_hrtime();
    c->command_due = 0;
    c->silence_due = uv_now(c->owner->loop) + c->owner->plan->timeout_ms;
}

static enum caller_end closed_how(const struct fake *f, bool reset)
{
    struct fake_result result;

    fake_result(f, &result);
    if (result.commands == 0 && !result.over)
        return CALLER_EMPTY;
    /* A server that closes before it has read the line HANGUP resets: that is normal. */
    return result.running || (reset && !result.over) ? CALLER_CUT : CALLER_CLOSED;
}

/* Do what the fake wants done, until it waits. */
static void caller_pump(struct caller *c)
{
    struct fake_todo todo;

    for (;;) {
        fake_next(c->fake, &todo);
        switch (todo.what) {
        case FAKE_READ:
            return;
        case FAKE_COMMAND:
            tell_command(c, &todo);
            break;
        case FAKE_SEND:
            tell_sent(c, &todo);
            break;
        case FAKE_WAIT:
            c->command_due = uv_now(c->owner->loop) + todo.ms;
            caller_arm(c, c->command_due);
            break;
        case FAKE_CLOSE:
            caller_end(c, closed_how(c->fake, false), NULL);
            return;
        case FAKE_BREACH:
            caller_end(c, CALLER_BREACH, todo.reason);
            return;
        }
    }
}

static void on_readable(struct caller *c)
{
    ssize_t got = recv(c->fd, c->owner->buffer, sizeof c->owner->buffer, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < 0) {
        caller_end(c, closed_how(c->fake, true), "connection reset");
        return;
    }
    if (got == 0)
        fake_eof(c->fake);
    else
        fake_received(c->fake, c->owner->buffer, (size_t)got);
    caller_pump(c);
}

/* Connecting */

static void put_serial(char *at, uint32_t serial, unsigned base, size_t len)
{
    while (len-- > 0) {
        at[len] = "0123456789abcdef"[serial % base];
        serial /= base;
    }
}

/* Where nobody listens on a port that clients are given too, TCP may connect a socket to
 * itself. */
static bool own_end(const struct caller *c)
{
    const struct caller_address *to = &c->owner->plan->address[c->address];
    struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof from;

    return getsockname(c->fd, (struct sockaddr *)&from, &len) == 0 && len == to->len &&
           memcmp(&from, &to->addr, len) == 0;
}

/* False, and errno is set, where the connection does not stand. */
static bool greet(struct caller *c)
{
    struct caller_plan *plan = c->owner->plan;
    ssize_t sent;

    if (own_end(c)) {
        errno = ECONNREFUSED;
        return false;
    }
    if (plan->channel_serial != NULL)
        put_serial(plan->channel_serial, c->choice.serial, 16, CALLER_SERIAL_HEX);
    if (plan->id_serial != NULL)
        put_serial(plan->id_serial, c->choice.serial, 10, CALLER_SERIAL_DIGITS);
    sent = send(c->fd, plan->env, plan->env_len, MSG_NOSIGNAL);
    if (sent < 0)
        return false;
    keep_pending(c, plan->env + sent, plan->env_len - (size_t)sent);
    return true;
}

static void connected(struct caller *c, int operation)
{
    const struct caller_watch *watch = c->owner->watch;
    const struct caller_plan *plan = c->owner->plan;
    uint64_t now = uv_now(c->owner->loop);

    c->state = STATE_TALKING;
    c->error = 0;
    watch_fd(c, operation, c->pending.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
    c->command_due = 0;
    c->silence_due = now + plan->timeout_ms;
    c->hangup_due = plan->hangup_after_ms > 0 ? now + plan->hangup_after_ms : 0;
    caller_arm(c, c->silence_due);
    caller_arm(c, c->hangup_due);
    if (watch->connected != NULL)
        watch->connected(watch->context, &plan->address[c->address]);
    if (watch->sent != NULL)
        watch->sent(watch->context, plan->env, plan->env_len);
}

static void connect_failed(struct caller *c, int error)
{
    struct callers *owner = c->owner;

    c->error = error;
    close_fd(c);
    if (++c->address < owner->plan->address_count) {
        connect_begin(c);
        return;
    }
    c->state = STATE_PAUSED;
    c->command_due = uv_now(owner->loop) + CONNECT_PAUSE_MS;
    caller_arm(c, c->command_due);
}

/* 127.0.0.1 has some 28,000 ports to call from; its neighbours have as many each. */
static bool bind_source(int fd, unsigned source, const struct caller_address *to)
{
    const struct sockaddr_in *target = (const struct sockaddr_in *)&to->addr;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int on = 1;

    if (source == 0 || to->addr.ss_family != AF_INET ||
        ntohl(target->sin_addr.s_addr) >> 24 != 127)
        return true;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + source);
    return setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0 &&
           bind(fd, (struct sockaddr *)&from, sizeof from) == 0;
}

/* 0, or the errno. */
static int connect_once(struct caller *c, unsigned source)
{
    const struct caller_address *to = &c->owner->plan->address[c->address];

    c->fd = socket(to->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return errno;
    if (!bind_source(c->fd, source, to))
        return EADDRNOTAVAIL;
    if (connect(c->fd, (const struct sockaddr *)&to->addr, to->len) == 0 ||
        errno == EINPROGRESS)
        return 0;
    return errno;
}

static void connect_begin(struct caller *c)
{
    struct callers *owner = c->owner;
    int error = connect_once(c, owner->source);

    while (error == EADDRNOTAVAIL && owner->source < LOOPBACK_SOURCES_MAX) {
        close_fd(c);
        error = connect_once(c, ++owner->source);
    }
    c->state = STATE_CONNECTING;
    if (error != 0) {
        connect_failed(c, error);
        return;
    }
    /* On loopback the connection stands already, and saves a turn of the loop. */
    if (greet(c)) {
        connected(c, EPOLL_CTL_ADD);
        return;
    }
    if (errno != EAGAIN) { /* Taken off the socket now: it would not be told again. */
        connect_failed(c, errno);
        return;
    }
    watch_fd(c, EPOLL_CTL_ADD, EPOLLOUT);
    c->command_due = uv_now(owner->loop) + CALLER_CONNECT_MS;
    caller_arm(c, c->command_due);
}

static void on_writable(struct caller *c)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (c->state == STATE_TALKING) {
        send_pending(c);
        return;
    }
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0)
        connect_failed(c, error);
    else if (greet(c))
        connected(c, EPOLL_CTL_MOD);
    else
        connect_failed(c, errno);
}

static bool is_local(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
           error == EADDRNOTAVAIL;
}

static void on_pause_over(struct caller *c)
{
    if (uv_now(c->owner->loop) - c->first_try_ms < c->owner->plan->retry_ms) {
        c->address = 0;
        connect_begin(c);
        return;
    }
    fake_free(c->fake);
    c->fake = NULL;
    caller_end(c, is_local(c->error) ? CALLER_NO_MEANS : CALLER_NO_CONNECTION, NULL);
}

/* Time */

static bool reached(uint64_t *due, uint64_t now)
{
    if (*due == 0 || *due > now)
        return false;
    *due = 0;
    return true;
}

static void on_silence(struct caller *c)
{
    struct fake_result result;

    fake_result(c->fake, &result);
    if (result.running) /* It is the caller whom we wait for. */
        c->silence_due = uv_now(c->owner->loop) + c->owner->plan->timeout_ms;
    else
        caller_end(c, CALLER_SILENT,
                   result.ahead ? "a command sent before the last one was answered "
                                  "waits in Asterisk until more comes"
                                : NULL);
}

static void on_talking_timer(struct caller *c, uint64_t now)
{
    if (reached(&c->hangup_due, now)) {
        fake_hangup(c->fake);
        caller_pump(c);
    } else if (reached(&c->command_due, now)) {
        fake_elapsed(c->fake);
        caller_pump(c);
    } else if (reached(&c->silence_due, now)) {
        on_silence(c);
    }
    /* What else is due rings at once. */
    if (c->state == STATE_TALKING) {
        caller_arm(c, c->hangup_due);
        caller_arm(c, c->command_due);
        caller_arm(c, c->silence_due);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct caller *c = timer->data;
    uint64_t now = uv_now(c->owner->loop);

    c->timer_due = 0;
    switch (c->state) {
    case STATE_TALKING:
        on_talking_timer(c, now);
        break;
    case STATE_CONNECTING:
    case STATE_PAUSED:
        if (!reached(&c->command_due, now))
            caller_arm(c, c->command_due);
        else if (c->state == STATE_PAUSED)
            on_pause_over(c);
        else
            connect_failed(c, ETIMEDOUT);
        break;
    case STATE_FREE:
        break;
    }
}

static void on_events(uv_poll_t *poll, int status, int events)
{
    struct callers *owner = poll->data;
    struct epoll_event ready[EVENTS_MAX];
    int count = epoll_wait(owner->epoll_fd, ready, EVENTS_MAX, 0);

    (void)status;
    (void)events;
    for (int i = 0; i < count; i++) {
        struct caller *c = ready[i].data.ptr;

        /* A descriptor comes once a turn, and only its own event closes it: c is not
         * stale. */
        if (c->state == STATE_CONNECTING || (ready[i].events & EPOLLOUT) != 0)
            on_writable(c);
        if (c->state == STATE_TALKING && (ready[i].events & ~(uint32_t)EPOLLOUT) != 0)
            on_readable(c);
    }
}

/* All calls */

enum err callers_new(uv_loop_t *loop, struct caller_plan *plan,
                     const struct caller_watch *watch, struct callers **callers)
{
    struct callers *owner = calloc(1, sizeof *owner);

    if (owner == NULL)
        return ERR_MEMORY;
    owner->loop = loop;
    owner->plan = plan;
    owner->watch = watch;
    owner->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (owner->epoll_fd < 0) {
        enum err err = err_errno("create", "an epoll descriptor");

        free(owner);
        return err;
    }
    if (uv_poll_init(loop, &owner->poll, owner->epoll_fd) != 0) {
        close(owner->epoll_fd);
        free(owner);
        return ERR_MEMORY;
    }
    owner->poll.data = owner;
    owner->handles = 1;
    uv_poll_start(&owner->poll, UV_READABLE, on_events);
    *callers = owner;
    return ERR_OK;
}

static struct caller *take_slot(struct callers *owner)
{
    struct caller *c = owner->free_list;
    struct caller **all;

    if (c != NULL) {
        owner->free_list = c->next_free;
        return c;
    }
    all = realloc(owner->all, (owner->count + 1) * sizeof *all);
    if (all == NULL)
        return NULL;
    owner->all = all;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->owner = owner;
    c->fd = -1;
    uv_timer_init(owner->loop, &c->timer);
    c->timer.data = c;
    owner->all[owner->count++] = c;
    owner->handles++;
    return c;
}

enum err callers_start(struct callers *owner, const struct caller_choice *choice)
{
    struct caller *c = take_slot(owner);

    if (c == NULL)
        return ERR_MEMORY;
    c->fake = fake_new(&owner->plan->fake, choice->leave, choice->leave_at);
    if (c->fake == NULL) {
        c->next_free = owner->free_list;
        owner->free_list = c;
        return ERR_MEMORY;
    }
    c->choice = *choice;
    c->address = 0;
    c->error = 0;
    c->number_known = c->command_seen = false;
    c->begun_ns = uv_hrtime();
    c->first_try_ms = uv_now(owner->loop);
    owner->open++;
    owner->unserved++;
    connect_begin(c);
    return ERR_OK;
}

size_t callers_open(const struct callers *owner)
{
    return owner->open;
}

size_t callers_unserved(const struct callers *owner)
{
    return owner->unserved;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct callers *owner = handle->type == UV_POLL
                                ? (struct callers *)handle->data
                                : ((struct caller *)handle->data)->owner;

    if (--owner->handles > 0)
        return;
    for (size_t i = 0; i < owner->count; i++) {
        text_free(&owner->all[i]->pending);
        free(owner->all[i]);
    }
    free(owner->all);
    close(owner->epoll_fd);
    free(owner);
}

void callers_free(struct callers *owner)
{
    for (size_t i = 0; i < owner->count; i++) {
        struct caller *c = owner->all[i];

        close_fd(c);
        fake_free(c->fake);
        c->fake = NULL;
        uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    }
    uv_close((uv_handle_t *)&owner->poll, on_handle_closed);
}
