#include "replica/doors.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/frames.h"
#include "common/ipc.h"
#include "common/log.h"

enum {
    EVENTS = 64,       /* looked at in one turn */
    TURN_ACCEPTS = 64, /* likewise */
};

struct guest {
    uint64_t number; /* 0: this place is free */
    int fd;
    pid_t pid;
    uint64_t
        heard; /* which of the door's events it was when it came or said something last */
    bool broken;  /* nothing is sent any more; its end is seen with the next turn */
    bool writing; /* epoll tells when there is room again */
    struct frames_in in;
    struct frames_out out;
};

/* What an epoll event is about: the number of a guest's place, or one of these. */
enum { ABOUT_LISTENER = 1 << 30, ABOUT_MORE };

struct door {
    struct door_config config;
    int listener, epoll;
    int more; /* eventfd, readable while messages that were read wait for the next turn */
    int spare; /* closed to let somebody in where there is no other descriptor, if only to be shown out */
    bool more_said;
    uint64_t events;      /* so far */
    uint64_t let_in;      /* guests so far */
    unsigned count;       /* of guests now */
    unsigned top;         /* places from here on are free */
    unsigned turn;        /* the place whose turn it is */
    struct log_limit cut; /* one a second */
    struct log_limit full;
    struct guest place[];
};

/* ---- guests ---- */

static uint64_t number_of(const struct door *d, unsigned place)
{
    return d->let_in * d->config.guests + place;
}

static struct guest *guest_of(struct door *d, uint64_t number)
{
    struct guest *g = &d->place[number % d->config.guests];

    return number != 0 && g->number == number ? g : NULL;
}

static void guest_leaves(struct door *d, struct guest *g)
{
    close(g->fd); /* and with it what epoll knows of it */
    frames_in_free(&g->in);
    frames_out_free(&g->out);
    g->number = 0;
    d->count--;
    while (d->top > 0 && d->place[d->top - 1].number == 0)
        d->top--;
}

static void say_why(struct door *d, const struct guest *g, const char *why)
{
    uint64_t more;

    if (log_limit_pass(&d->cut, clock_mono_ms(), &more))
        log_warn("%s (pid %d) is cut off: %s", d->config.guest, (int)g->pid, why);
}

/* Not freed at once: this may be called while a message of its own is being taken. */
static void guest_breaks(struct guest *g)
{
    g->broken = true;
    shutdown(g->fd, SHUT_RDWR);
}

static bool watch(struct door *d, int op, int fd, uint32_t events, uint32_t about)
{
    struct epoll_event event = {.events = events, .data.u32 = about};

    return epoll_ctl(d->epoll, op, fd, &event) == 0;
}

static void watch_room(struct door *d, struct guest *g)
{
    bool wanted = frames_kept(&g->out) > 0;

    if (wanted == g->writing || g->broken)
        return;
    g->writing = wanted;
    if (!watch(d, EPOLL_CTL_MOD, g->fd, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN,
               (uint32_t)(g - d->place)))
        guest_breaks(g);
}

/* ---- the listener ---- */

static unsigned free_place(const struct door *d)
{
    unsigned place = 0;

    while (place < d->config.guests && d->place[place].number != 0)
        place++;
    return place;
}

/* Guests connect again by themselves: so a place that a stopped or forgotten one holds keeps nobody out. */
static unsigned make_place(struct door *d)
{
    struct guest *longest = &d->place[0];

    for (unsigned i = 1; i < d->config.guests; i++)
        if (d->place[i].heard < longest->heard)
            longest = &d->place[i];
    say_why(d, longest, "there are too many, and it has been silent longest");
    guest_leaves(d, longest);
    return (unsigned)(longest - d->place);
}

static pid_t pid_of(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 ? peer.pid : 0;
}

static void let_in(struct door *d, int fd)
{
    unsigned place = free_place(d);
    struct guest *g;

    if (place == d->config.guests)
        place = make_place(d);
    g = &d->place[place];
    *g = (struct guest){.fd = fd, .pid = pid_of(fd), .heard = ++d->events};
    frames_out_init(&g->out, d->config.send_max);
    if (frames_in_init(&g->in, d->config.receive_max) != ERR_OK ||
        !watch(d, EPOLL_CTL_ADD, fd, EPOLLIN, place)) {
        err_errno("let in", d->config.guest);
        frames_in_free(&g->in);
        close(fd);
        return;
    }
    d->let_in++;
    d->count++;
    g->number = number_of(d, place);
    if (place >= d->top)
        d->top = place + 1;
}

/* One that is not taken would make the listener readable for ever. */
static void show_out(struct door *d)
{
    uint64_t more;
    int fd;

    if (log_limit_pass(&d->full, clock_mono_ms(), &more))
        err_errno("let anybody in at", d->config.path);
    close(d->spare);
    fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    d->spare = eventfd(0, EFD_CLOEXEC);
}

/* The listener stays readable: so it would be said in every turn. */
static void say_accept(struct door *d)
{
    uint64_t more;

    if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED &&
        log_limit_pass(&d->full, clock_mono_ms(), &more))
        err_errno("accept at", d->config.path);
}

static void accept_some(struct door *d)
{
    for (int i = 0; i < TURN_ACCEPTS; i++) {
        int fd = accept4(d->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            let_in(d, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE)
            show_out(d);
        else
            say_accept(d);
        return;
    }
}

/* ---- messages ---- */

/* What has come is read only when all that came before it was taken: who sends much has to wait like the others. */
static void guest_event(struct door *d, struct guest *g, uint32_t events)
{
    enum err err = ERR_OK;

    if (g->number == 0)
        return; /* It has gone in this very turn. */
    if (events & EPOLLOUT)
        err = frames_flush(&g->out, g->fd);
    if (err == ERR_OK && g->writing)
        watch_room(d, g);
    if ((err == ERR_OK || err == ERR_AGAIN) && (g->broken || !frames_ready(&g->in)))
        err = g->broken ? ERR_NOT_FOUND : frames_read(&g->in, g->fd);
    if (err != ERR_OK && err != ERR_AGAIN)
        guest_leaves(d, g);
}

static void look_around(struct door *d)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(d->epoll, events, EVENTS, 0);
    uint64_t times;

    for (int i = 0; i < n; i++) {
        uint32_t about = events[i].data.u32;

        if (about == ABOUT_LISTENER)
            accept_some(d);
        else if (about == ABOUT_MORE)
            d->more_said = read(d->more, &times, sizeof times) < 0 && d->more_said;
        else
            guest_event(d, &d->place[about], events[i].events);
    }
}

static bool has_message(const struct guest *g)
{
    return g->number != 0 && !g->broken && frames_ready(&g->in);
}

/* False: enough. */
static bool take_one(struct door *d, struct guest *g, door_taken *taken, void *arg)
{
    const uint8_t *message;
    size_t len;

    g->heard = ++d->events;
    if (frames_next(&g->in, &message, &len) == ERR_OK)
        return taken(arg, g->number, message, len);
    say_why(d, g, "it sends a longer message than there may be");
    guest_leaves(d, g);
    return true;
}

/* epoll tells of what is in the sockets only. */
static void say_more(struct door *d)
{
    const uint64_t one = 1;
    bool more = false;

    for (unsigned i = 0; i < d->top && !more; i++)
        more = has_message(&d->place[i]);
    if (more && !d->more_said)
        d->more_said = write(d->more, &one, sizeof one) == sizeof one;
}

void door_take(struct door *d, unsigned most, door_taken *taken, void *arg)
{
    unsigned looked = 0;
    bool more = true;

    look_around(d);
    while (more && most > 0 && looked < d->top) {
        struct guest *g;

        if (d->turn >= d->top)
            d->turn = 0;
        g = &d->place[d->turn++];
        looked++;
        if (!has_message(g))
            continue;
        more = take_one(d, g, taken, arg);
        most--;
        looked = 0;
    }
    say_more(d);
}

void door_send(struct door *d, uint64_t number, const void *message, size_t len)
{
    struct guest *g = guest_of(d, number);
    enum err err;

    if (g == NULL || g->broken)
        return;
    err = frames_send(&g->out, g->fd, message, len);
    if (err == ERR_FULL)
        say_why(d, g, "it does not read its answers");
    else if (err == ERR_MEMORY)
        say_why(d, g, "there is no memory for its answers");
    if (err != ERR_OK)
        guest_breaks(g);
    else
        watch_room(d, g);
}

/* ---- open and close ---- */

int door_fd(const struct door *d)
{
    return d->epoll;
}

unsigned door_guests(const struct door *d)
{
    return d->count;
}

static void close_if(int fd)
{
    if (fd >= 0)
        close(fd);
}

void door_close(struct door *d)
{
    if (d == NULL)
        return;
    for (unsigned i = 0; i < d->config.guests; i++)
        if (d->place[i].number != 0)
            guest_leaves(d, &d->place[i]);
    close_if(d->listener);
    close_if(d->epoll);
    close_if(d->more);
    close_if(d->spare);
    free(d);
}

static enum err open_all(struct door *d)
{
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    d->more = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->spare = eventfd(0, EFD_CLOEXEC);
    if (d->epoll < 0 || d->more < 0 || d->spare < 0)
        return err_errno("make descriptors for", d->config.path);
    d->listener = ipc_listen(d->config.path);
    if (d->listener < 0)
        return err_errno("listen at", d->config.path);
    if (!watch(d, EPOLL_CTL_ADD, d->listener, EPOLLIN, ABOUT_LISTENER) ||
        !watch(d, EPOLL_CTL_ADD, d->more, EPOLLIN, ABOUT_MORE))
        return err_errno("watch", d->config.path);
    return ERR_OK;
}

enum err door_open(const struct door_config *config, struct door **door)
{
    struct door *d = calloc(1, sizeof *d + config->guests * sizeof *d->place);
    enum err err;

    if (d == NULL)
        return err_errno("open", config->path);
    d->config = *config;
    d->listener = d->epoll = d->more = d->spare = -1;
    err = open_all(d);
    if (err != ERR_OK) {
        door_close(d);
        return err;
    }
    *door = d;
    return ERR_OK;
}
