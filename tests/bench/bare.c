/* tests/bench/bare.c: the yardstick: the dialogue of `hits` with as little as a server
 * can do. Two processes (or as many as told), each with an epoll descriptor, share a
 * listener; a call is a position in a fixed list of commands; nothing that comes is
 * looked at but the empty line that ends the environment; the number is an atomic counter
 * in shared memory, and gone in the end.
 *
 *     bare [-p PORT] [-w WAIT_MS] [-n PROCESSES]
 *
 * prints "listening on 127.0.0.1:PORT" and serves until SIGTERM. The port 0 (default) is
 * any that is free. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_MAX = 64, ACCEPTS_MAX = 16, BACKLOG = 4096 };

struct call {
    int fd;
    unsigned step;     /* of steps[], sent already */
    int gone;          /* closed while it waits: freed when the wait is over */
    uint64_t due_ms;   /* 0 when it does not wait */
    struct call *next; /* of those that wait: all wait as long, so a queue is in order */
};

static const char *const steps[] = {
    NULL, /* the environment */
    "ANSWER\n",
    "STREAM FILE queue-thereare \"\"\n",
    NULL, /* SAY NUMBER, made when it is said */
    "STREAM FILE vm-goodbye \"\"\n",
    "HANGUP\n",
};
enum { STEP_ANSWER = 1, STEP_NUMBER = 3, STEP_LAST = 5 };

static atomic_long *counter;
static int epoll_fd, listener;
static unsigned wait_ms;
static struct call *first_waiting, **last_waiting = &first_waiting;

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void end_call(struct call *call)
{
    if (!call->gone)
        close(call->fd);
    call->gone = 1;
    if (call->due_ms == 0)
        free(call);
}

static void next_step(struct call *call)
{
    const char *line;
    char number[48];

    if (call->step == STEP_LAST) {
        end_call(call);
        return;
    }
    line = steps[++call->step];
    if (call->step == STEP_NUMBER) {
        snprintf(number, sizeof number, "SAY NUMBER %ld \"\"\n",
                 atomic_fetch_add(counter, 1) + 1);
        line = number;
    }
    if (send(call->fd, line, strlen(line), MSG_NOSIGNAL) < 0)
        return; /* The close that comes ends the call. */
}

static void start_wait(struct call *call)
{
    call->due_ms = now_ms() + wait_ms;
    call->next = NULL;
    *last_waiting = call;
    last_waiting = &call->next;
}

static void end_waits(void)
{
    uint64_t now = now_ms();

    while (first_waiting != NULL && first_waiting->due_ms <= now) {
        struct call *call = first_waiting;

        first_waiting = call->next;
        if (first_waiting == NULL)
            last_waiting = &first_waiting;
        call->due_ms = 0;
        if (call->gone)
            end_call(call);
        else
            next_step(call);
    }
}

static void on_bytes(struct call *call)
{
    char buffer[4096];
    ssize_t got = recv(call->fd, buffer, sizeof buffer, 0);

    if (got <= 0)
        end_call(call);
    else if (call->step == 0 && (got < 2 || memcmp(buffer + got - 2, "\n\n", 2) != 0))
        return; /* The environment came in pieces. */
    else if (call->step == STEP_ANSWER && wait_ms > 0)
        start_wait(call);
    else
        next_step(call);
}

static void accept_calls(void)
{
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct call *call;

        if (fd < 0)
            return;
        call = calloc(1, sizeof *call);
        if (call == NULL)
            err(1, "no memory for a call");
        call->fd = fd;
        event.data.ptr = call;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
            err(1, "epoll_ctl");
    }
}

static int until_next_wait(void)
{
    uint64_t now;

    if (first_waiting == NULL)
        return -1;
    now = now_ms();
    return first_waiting->due_ms > now ? (int)(first_waiting->due_ms - now) : 0;
}

static void serve(void)
{
    struct epoll_event events[EVENTS_MAX] = {{.events = EPOLLIN | EPOLLEXCLUSIVE}};

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, events) != 0)
        err(1, "epoll");
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, until_next_wait());

        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                accept_calls();
            else
                on_bytes(events[i].data.ptr);
        }
        end_waits();
    }
}

static void open_listener(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof address;
    int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 ||
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(listener, (struct sockaddr *)&address, len) != 0 ||
        listen(listener, BACKLOG) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0)
        err(1, "cannot listen on 127.0.0.1:%u", port);
    printf("listening on 127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    unsigned port = 0, processes = 2;
    int option;

    while ((option = getopt(argc, argv, "p:w:n:")) != -1) {
        if (option == 'p')
            port = (unsigned)atoi(optarg);
        else if (option == 'w')
            wait_ms = (unsigned)atoi(optarg);
        else if (option == 'n')
            processes = (unsigned)atoi(optarg);
        else
            errx(2, "usage: bare [-p PORT] [-w WAIT_MS] [-n PROCESSES]");
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counter == MAP_FAILED)
        err(1, "mmap");
    open_listener(port);
    for (unsigned i = 1; i < processes; i++) {
        pid_t parent = getpid();

        if (fork() == 0) {
            if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
                return 1;
            break;
        }
    }
    serve();
}
