#include "server/worker.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/call.h"
#include "server/client.h"
#include "server/sandbox.h"
#include "server/timers.h"

enum {
    /* Of one listener per turn: while one worker takes these, another one that is idle
     * takes the next. */
    ACCEPTS_PER_TURN = 8,
    /* How long to leave the queue alone when there was no descriptor or memory for a
     * connection. */
    ACCEPT_PAUSE_MS = 100,
    EVENTS_PER_TURN = 256,
    /* One for all calls: what arrived is handed on before the next read. */
    READ_BYTES = 64 * 1024,
    /* Memory of a call beside its environment: itself, its questions, what malloc adds.
     * In bytes. */
    CALL_BYTES = 16 * 1024,
    /* For all else in a worker: messages and tables. In bytes. */
    BASE_BYTES = 64 * 1024 * 1024,
    IDS_DRAWN = 64,
};

/* What an epoll event is about; the first member of whatever its data points to. */
enum watched { WATCHED_LISTENER, WATCHED_SIGNALS, WATCHED_CLIENT, WATCHED_CALL };

struct watch {
    enum watched what;
    int fd;
};

/* Bytes of a command that the socket did not take at once. */
struct unsent {
    size_t len, done;
    char bytes[];
};

/* One call and its connection. */
struct conn {
    struct watch watch; /* fd -1: closed, to be freed at the end of this turn */
    struct worker *worker;
    struct call *call;
    struct ask *ask; /* asked of the state process, no answer yet */
    uint64_t asked_us;
    struct unsent *unsent;
    struct timer timer; /* the earlier one of the next two */
    uint64_t step_ms;   /* when the present step's time is over; UINT64_MAX: no limit */
    uint64_t whole_ms;  /* when that of the environment, then of the whole call is */
    struct conn *prev, *next;
    struct in6_addr peer; /* IPv4 as ::ffff:a.b.c.d */
    uint16_t peer_port;
    bool greeted;
};

struct worker {
    const struct worker_start *start;
    const struct conf *conf;
    struct figures_worker *figures;
    struct call_limits limits;
    int epoll;
    struct watch signals;
    struct watch listener[CONF_LISTEN_MAX];
    size_t listener_count;
    struct client *client;
    struct watch client_watch;
    uint64_t resends; /* already in the figures */
    struct timers *timers;
    struct conn *conns, *dead;
    size_t conn_count;

    bool listening;           /* the listeners are in the epoll set */
    uint64_t listen_again_ms; /* not before that, though there is room for a call */
    bool ready;
    bool stopping, stop_asked;
    uint64_t stop_ms; /* when calls are waited for no longer */
    bool failed;

    uint64_t now_ms; /* CLOCK_MONOTONIC, and the wall clock, of this turn */
    int64_t unix_s;

    struct id ids[IDS_DRAWN];
    unsigned ids_left;
    struct log_limit limit_end[CALL_ENDS], limit_refused, limit_accept;
    char buffer[READ_BYTES];
};

static const struct {
    enum log_level level;
    const char *text;
} ends[CALL_ENDS] = {
    [CALL_END_DONE] = {LOG_LEVEL_DEBUG, "done"},
    [CALL_END_HANGUP] = {LOG_LEVEL_DEBUG, "hung up"},
    [CALL_END_GONE] = {LOG_LEVEL_DEBUG,
                       "the connection closed in the middle of the call"},
    [CALL_END_EMPTY] = {LOG_LEVEL_DEBUG, "the connection closed without a byte"},
    [CALL_END_NOT_AGI] = {LOG_LEVEL_WARN, "closed: this is not FastAGI"},
    [CALL_END_TOO_LONG] =
        {LOG_LEVEL_WARN,
         "closed: the AGI environment or a line is too long (greeting-size "
         "in [fastagi] bounds the first)"},
    [CALL_END_TIME] = {LOG_LEVEL_WARN, "closed: a time limit of [fastagi] is over"},
    [CALL_END_ERROR] = {LOG_LEVEL_WARN, "closed: a command failed and so did on-error"},
};

static void update_clock(struct worker *w)
{
    w->now_ms = clock_mono_ms();
    w->unix_s = (time_t)(clock_wall_ms() / 1000);
}

static bool watch_add(struct worker *w, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, watch->fd, &event) == 0;
}

/* What strangers can cause is logged once a second per kind. */
static void log_peer(struct log_limit *limit, const struct worker *w,
                     enum log_level level, const struct in6_addr *peer, unsigned port,
                     const char *text)
{
    char address[INET6_ADDRSTRLEN];
    uint64_t more = 0;

    if (level != LOG_LEVEL_DEBUG && !log_limit_pass(limit, w->now_ms, &more))
        return;
    if (IN6_IS_ADDR_V4MAPPED(peer))
        inet_ntop(AF_INET, &peer->s6_addr[12], address, sizeof address);
    else
        inet_ntop(AF_INET6, peer, address, sizeof address);
    if (more > 0)
        log_write(level, "%s port %u: %s (and %" PRIu64 " more since the last such line)",
                  address, port, text, more);
    else
        log_write(level, "%s port %u: %s", address, port, text);
}

/* -- The listening sockets -- */

/* They are in the set exactly while this worker takes calls, so a full one leaves callers
 * to the others. */
static void listen_set(struct worker *w, bool on)
{
    if (w->listening == on)
        return;
    for (size_t i = 0; i < w->listener_count; i++) {
        /* Of all workers that sleep on this socket, a caller wakes one. */
        if (on && !watch_add(w, &w->listener[i], EPOLLIN | EPOLLEXCLUSIVE))
            err_errno("watch", "a listening socket");
        if (!on)
            epoll_ctl(w->epoll, EPOLL_CTL_DEL, w->listener[i].fd, NULL);
    }
    w->listening = on;
}

static bool has_room(const struct worker *w)
{
    return w->conn_count < w->conf->calls;
}

static void listen_if_room(struct worker *w)
{
    listen_set(w, !w->stopping && has_room(w) && w->now_ms >= w->listen_again_ms);
}

/* -- One call -- */

static void conn_deadline(struct conn *c)
{
    timers_set(c->worker->timers, &c->timer,
               c->step_ms < c->whole_ms ? c->step_ms : c->whole_ms);
}

/* No shutdown() before the close(): a call ends with its last command answered, so
 * nothing of ours is on its way that a reset could overtake. */
static void conn_close(struct conn *c)
{
    struct worker *w = c->worker;

    close(c->watch.fd); /* The only descriptor of this socket, so epoll forgets it too. */
    c->watch.fd = -1;
    if (c->ask != NULL)
        asks_forget(client_asks(w->client), c->ask);
    timers_stop(w->timers, &c->timer);
    call_free(c->call);
    free(c->unsent);
    DL_DELETE(w->conns, c);
    w->conn_count--;
    figures_set(&w->figures->open, w->conn_count);
    LL_PREPEND(w->dead, c); /* Events of this turn may still point to it. */
}

static void conn_ended(struct conn *c, enum call_end end)
{
    struct worker *w = c->worker;

    figures_add(&w->figures->ended[end], 1);
    log_peer(&w->limit_end[end], w, ends[end].level, &c->peer, c->peer_port,
             ends[end].text);
    conn_close(c);
}

/* Keep what the socket did not take, until it does. False without memory. */
static bool conn_keep(struct conn *c, const char *bytes, size_t len)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = &c->watch};
    size_t had = c->unsent != NULL ? c->unsent->len : 0;
    struct unsent *unsent = realloc(c->unsent, sizeof *unsent + had + len);

    if (unsent == NULL)
        return false;
    if (had == 0)
        unsent->len = unsent->done = 0;
    memcpy(unsent->bytes + had, bytes, len);
    unsent->len += len;
    c->unsent = unsent;
    return had > 0 ||
           epoll_ctl(c->worker->epoll, EPOLL_CTL_MOD, c->watch.fd, &event) == 0;
}

/* A command is one write, since half a line makes Asterisk spin. False: the connection is
 * no more. */
static bool conn_write(struct conn *c, const char *bytes, size_t len)
{
    ssize_t n = 0;

    if (c->unsent == NULL) {
        n = write(c->watch.fd, bytes, len);
        if (n == (ssize_t)len)
            return true;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            n = 0;
    }
    return conn_keep(c, bytes + n, len - (size_t)n);
}

/* The socket takes bytes again. False: the connection is no more. */
static bool conn_write_rest(struct conn *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &c->watch};
    struct unsent *unsent = c->unsent;
    ssize_t n =
        write(c->watch.fd, unsent->bytes + unsent->done, unsent->len - unsent->done);

    if (n < 0)
        return errno == EAGAIN;
    unsent->done += (size_t)n;
    if (unsent->done < unsent->len)
        return true;
    free(unsent);
    c->unsent = NULL;
    return epoll_ctl(c->worker->epoll, EPOLL_CTL_MOD, c->watch.fd, &event) == 0;
}

/* Drawn many at a time: a system call each would be felt. */
static struct id draw_id(struct worker *w)
{
    if (w->ids_left == 0) {
        randombytes_buf(w->ids, sizeof w->ids);
        w->ids_left = IDS_DRAWN;
    }
    return w->ids[--w->ids_left];
}

static bool ask_count(struct conn *c, const struct msg_count_req *asked)
{
    struct worker *w = c->worker;
    struct msg_count_req req = *asked;

    if (id_is_zero(&req.id))
        req.id = draw_id(w);
    c->ask = asks_count(client_asks(w->client), &req, c, w->now_ms);
    c->asked_us = clock_mono_us();
    figures_add(&w->figures->counts, 1);
    return c->ask != NULL;
}

static bool ask_get(struct conn *c, const struct msg_get_req *asked)
{
    struct worker *w = c->worker;
    struct msg_get_req req = *asked;

    if (id_is_zero(&req.id))
        req.id = draw_id(w);
    c->ask = asks_get(client_asks(w->client), &req, c, w->now_ms);
    return c->ask != NULL;
}

/* Do what the call wants; it is over when that is done, or waits for the next event. */
static void conn_act(struct conn *c, struct call_todo *todo)
{
    static const struct msg_count_rep no_count = {.status = STATUS_UNAVAILABLE};
    static const struct msg_get_rep no_get = {.status = STATUS_UNAVAILABLE};
    struct worker *w = c->worker;

    for (;;) {
        switch (todo->what) {
        case CALL_READ:
            return;
        case CALL_SEND:
            if (!conn_write(c, todo->bytes, todo->len)) {
                call_eof(c->call, todo);
                continue;
            }
            /* fallthrough */
        case CALL_WAIT:
            c->step_ms = w->now_ms + todo->ms;
            conn_deadline(c);
            return;
        case CALL_COUNT:
            /* The time for an answer is asks.c's business. */
            c->step_ms = UINT64_MAX;
            if (ask_count(c, todo->count))
                return;
            call_counted(c->call, &no_count, w->unix_s, todo);
            break;
        case CALL_GET:
            c->step_ms = UINT64_MAX;
            if (ask_get(c, todo->get))
                return;
            call_got(c->call, &no_get, w->unix_s, todo);
            break;
        case CALL_CLOSE:
            conn_ended(c, todo->end);
            return;
        }
    }
}

static void on_counted(void *owner, const struct msg_count_rep *rep)
{
    struct conn *c = owner;
    struct call_todo todo;

    c->ask = NULL;
    times_add(&c->worker->figures->answers, clock_mono_us() - c->asked_us);
    call_counted(c->call, rep, c->worker->unix_s, &todo);
    conn_act(c, &todo);
}

static void on_got(void *owner, const struct msg_get_rep *rep)
{
    struct conn *c = owner;
    struct call_todo todo;

    c->ask = NULL;
    call_got(c->call, rep, c->worker->unix_s, &todo);
    conn_act(c, &todo);
}

static const struct asks_owner asks_owner = {.counted = on_counted, .got = on_got};

/* Also while a question is under way: Asterisk drops what it cannot write within 100 ms.
 * */
static void conn_read(struct conn *c)
{
    struct worker *w = c->worker;
    ssize_t n = read(c->watch.fd, w->buffer, sizeof w->buffer);
    struct call_todo todo;

    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0)
        call_received(c->call, w->buffer, (size_t)n, w->unix_s, &todo);
    else
        call_eof(c->call, &todo);
    if (!c->greeted && todo.what != CALL_CLOSE && call_greeted(c->call)) {
        c->greeted = true;
        c->whole_ms = w->now_ms + w->conf->call_ms;
        conn_deadline(c);
    }
    conn_act(c, &todo);
}

static void conn_event(struct conn *c, uint32_t events)
{
    struct call_todo todo;

    if (c->watch.fd < 0)
        return; /* Closed earlier in this turn. */
    if (c->unsent != NULL && (events & EPOLLOUT) && !conn_write_rest(c)) {
        call_eof(c->call, &todo);
        conn_act(c, &todo);
    } else if (events & ~(uint32_t)EPOLLOUT) {
        conn_read(c);
    }
}

static void conn_timer(struct conn *c)
{
    struct worker *w = c->worker;
    int whole = c->whole_ms <= w->now_ms;
    struct call_todo todo;

    c->step_ms = UINT64_MAX;
    if (!whole)
        conn_deadline(c);
    call_timeout(c->call, whole, w->unix_s, &todo);
    conn_act(c, &todo);
}

/* -- Taking calls -- */

static void peer_set(struct conn *c, const struct sockaddr_storage *peer)
{
    if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;

        c->peer = in6->sin6_addr;
        c->peer_port = ntohs(in6->sin6_port);
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)peer;

        c->peer.s6_addr[10] = c->peer.s6_addr[11] = 0xff;
        memcpy(&c->peer.s6_addr[12], &in->sin_addr, sizeof in->sin_addr);
        c->peer_port = ntohs(in->sin_port);
    }
}

/* NULL without memory. */
static struct conn *conn_new(struct worker *w, int fd,
                             const struct sockaddr_storage *peer)
{
    struct conn *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->watch = (struct watch){WATCHED_CALL, fd};
    c->worker = w;
    peer_set(c, peer);
    c->call = call_new(w->start->scripts, &w->limits);
    if (c->call == NULL || !watch_add(w, &c->watch, EPOLLIN)) {
        call_free(c->call);
        free(c);
        return NULL;
    }
    c->step_ms = UINT64_MAX;
    c->whole_ms = w->now_ms + w->conf->greeting_ms;
    DL_APPEND(w->conns, c);
    w->conn_count++;
    conn_deadline(c);
    figures_add(&w->figures->taken, 1);
    figures_set(&w->figures->open, w->conn_count);
    return c;
}

/* No descriptor or no memory for one more: without the pause, the loop would spin on the
 * queue. */
static void accept_pause(struct worker *w)
{
    uint64_t more;

    if (log_limit_pass(&w->limit_accept, w->now_ms, &more))
        log_error("cannot take a call: %s; %zu calls are here", strerror(errno),
                  w->conn_count);
    w->listen_again_ms = w->now_ms + ACCEPT_PAUSE_MS;
    listen_set(w, false);
}

static void refuse(struct worker *w, int fd, const struct sockaddr_storage *peer)
{
    struct conn c = {0};

    close(fd);
    peer_set(&c, peer);
    figures_add(&w->figures->refused, 1);
    log_peer(&w->limit_refused, w, LOG_LEVEL_WARN, &c.peer, c.peer_port,
             "refused: not in allow= of [fastagi]");
}

/* Whether there may be more to accept. */
static bool accept_one(struct worker *w, int listener)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    struct conn *c;
    int fd =
        accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0) {
        /* Anything else is about a connection that broke in the queue, as accept(2) says.
         * */
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            accept_pause(w);
        return w->listening && errno != EAGAIN;
    }
    if (!conf_allows(w->conf, &peer)) {
        refuse(w, fd, &peer);
        return true;
    }
    c = conn_new(w, fd, &peer);
    if (c == NULL) {
        close(fd);
        accept_pause(w);
        return false;
    }
    conn_read(c); /* Asterisk writes as soon as it is connected. */
    return true;
}

static void accept_some(struct worker *w, int listener, unsigned most)
{
    for (unsigned i = 0; i < most && has_room(w); i++)
        if (!accept_one(w, listener))
            return;
}

/* -- The end -- */

/* Who waits in the queues has a connection already, and would not try the next node any
 * more. */
static void stop_listening(struct worker *w)
{
    for (size_t i = 0; i < w->listener_count && w->listening; i++)
        accept_some(w, w->listener[i].fd, w->conf->calls);
    /* Out of the set first: other processes hold the same sockets, so closing them does
     * not do it. */
    listen_set(w, false);
    for (size_t i = 0; i < w->listener_count; i++)
        close(w->listener[i].fd);
    w->listener_count = 0;
}

static void stop(struct worker *w, bool retire)
{
    uint64_t until = retire ? UINT64_MAX : w->now_ms + w->conf->drain_ms;

    if (!w->stopping)
        stop_listening(w);
    w->stopping = true;
    w->stop_ms = w->stop_asked ? w->now_ms : until;
    w->stop_asked = w->stop_asked || !retire;
}

static void signals_event(struct worker *w)
{
    struct signalfd_siginfo info;

    while (read(w->signals.fd, &info, sizeof info) == sizeof info)
        stop(w, info.ssi_signo == WORKER_RETIRE);
}

static void cut_calls(struct worker *w)
{
    struct conn *c, *next;

    if (w->conns == NULL)
        return;
    log_warn("%zu calls had not ended: closed", w->conn_count);
    figures_add(&w->figures->cut, w->conn_count);
    DL_FOREACH_SAFE(w->conns, c, next)
    {
        conn_close(c);
    }
}

/* Counts of callers who hung up are still asked for, until they are answered or given up.
 * */
static bool is_over(const struct worker *w)
{
    if (w->failed)
        return true;
    return w->stopping && w->conns == NULL && asks_open(client_asks(w->client)) == 0;
}

/* -- The loop -- */

static void on_event(struct worker *w, const struct epoll_event *event)
{
    struct watch *watch = event->data.ptr;

    switch (watch->what) {
    case WATCHED_LISTENER:
        if (w->listening)
            accept_some(w, watch->fd, ACCEPTS_PER_TURN);
        break;
    case WATCHED_SIGNALS:
        signals_event(w);
        break;
    case WATCHED_CLIENT:
        w->failed = client_receive(w->client, w->now_ms) != ERR_OK || w->failed;
        break;
    case WATCHED_CALL:
        conn_event((struct conn *)watch, event->events);
        break;
    }
}

static void on_timers(struct worker *w)
{
    struct timer *timer;

    while ((timer = timers_over(w->timers, w->now_ms)) != NULL)
        conn_timer((struct conn *)((char *)timer - offsetof(struct conn, timer)));
    if (w->stopping && w->now_ms >= w->stop_ms)
        cut_calls(w);
}

static void free_dead(struct worker *w)
{
    struct conn *c, *next;

    LL_FOREACH_SAFE(w->dead, c, next)
    {
        free(c);
    }
    w->dead = NULL;
}

static void tell_ready(struct worker *w)
{
    pid_t self = getpid();

    w->ready = true;
    if (write(w->start->ready_fd, &self, sizeof self) != sizeof self)
        err_errno("write to", "the master's pipe");
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int timeout_ms(const struct worker *w)
{
    uint64_t due = min_u64(timers_due_ms(w->timers), client_due_ms(w->client));

    if (!w->listening && !w->stopping && has_room(w))
        due = min_u64(due, w->listen_again_ms);
    if (w->stopping && w->conns != NULL)
        due = min_u64(due, w->stop_ms);
    if (due == UINT64_MAX)
        return -1;
    due = due > w->now_ms ? due - w->now_ms : 0;
    return due < 60000 ? (int)due : 60000;
}

/* epoll as it is, without libuv: libuv 1.44 never sets EPOLLEXCLUSIVE, and its uv_poll_t
 * and uv_timer_t would add 312 bytes and six system calls (strace: it probes, unregisters
 * and sets non-blocking by itself) to a call of `hits`, which makes about sixteen and
 * takes less than 512 bytes. */
static int run(struct worker *w)
{
    struct epoll_event events[EVENTS_PER_TURN];

    while (!is_over(w)) {
        int n = epoll_wait(w->epoll, events, EVENTS_PER_TURN, timeout_ms(w));

        if (n < 0 && errno != EINTR) {
            err_errno("wait for", "events");
            return 1;
        }
        update_clock(w);
        for (int i = 0; i < n; i++)
            on_event(w, &events[i]);
        on_timers(w);
        client_send(w->client, w->conn_count, w->now_ms);
        free_dead(w);
        listen_if_room(w);
        if (!w->ready && client_served(w->client))
            tell_ready(w);
        figures_add(&w->figures->resends,
                    asks_resends(client_asks(w->client)) - w->resends);
        w->resends = asks_resends(client_asks(w->client));
    }
    return w->failed ? 1 : 0;
}

static enum err open_signals(struct worker *w)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, WORKER_STOP);
    sigaddset(&set, WORKER_RETIRE);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return err_errno("block", "signals");
    w->signals.what = WATCHED_SIGNALS;
    w->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (w->signals.fd < 0 || !watch_add(w, &w->signals, EPOLLIN))
        return err_errno("watch", "signals");
    return ERR_OK;
}

static enum err open_all(struct worker *w)
{
    size_t data = BASE_BYTES + w->conf->calls * (w->conf->greeting_bytes + CALL_BYTES);
    enum err err;

    if (sodium_init() < 0)
        return ERR_IO;
    w->timers = timers_new(w->conf->calls);
    if (w->timers == NULL)
        return ERR_MEMORY;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0)
        return err_errno("make", "an epoll descriptor");
    w->client_watch = (struct watch){WATCHED_CLIENT, -1};
    err = open_signals(w);
    if (err == ERR_OK)
        err = sandbox_drop_rights();
    if (err == ERR_OK)
        err = client_new(w->conf->answer_ms, &asks_owner, w->epoll, &w->client_watch,
                         &w->client);
    if (err == ERR_OK)
        err = sandbox_enter(data);
    return err;
}

static void serve_on(struct worker *w, const struct listeners *listeners)
{
    for (size_t i = 0; i < listeners->count; i++)
        w->listener[w->listener_count++] =
            (struct watch){WATCHED_LISTENER, listeners->fd[i]};
    update_clock(w);
    listen_if_room(w);
}

static void worker_free(struct worker *w)
{
    cut_calls(w);
    free_dead(w);
    client_free(w->client);
    timers_free(w->timers);
    free(w);
}

int worker_main(const struct worker_start *start)
{
    const struct conf *conf = start->conf;
    struct worker *w = calloc(1, sizeof *w);
    enum err err;
    int code = 1;

    if (w == NULL)
        return 1;
    w->start = start;
    w->conf = conf;
    w->figures = start->figures;
    w->limits = (struct call_limits){.command_ms = conf->command_ms,
                                     .answer_ms = conf->answer_ms,
                                     .greeting_bytes = conf->greeting_bytes,
                                     .node_name = conf->node_name,
                                     .default_script = conf->default_script};
    err = open_all(w);
    if (err == ERR_OK) {
        serve_on(w, start->listeners);
        code = run(w);
    } else {
        log_error("a worker cannot start: %s", err_name(err));
    }
    worker_free(w);
    return code;
}
