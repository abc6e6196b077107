/* tests/bench/floor.c: the yardstick of durable counts: append and fdatasync in groups, and nothing else. Clients
 * send records over socket pairs, each one message of so many at a time, as a worker of Tally's does; the
 * server takes what has come from all of them, appends it, syncs once, and answers. Nobody looks at what
 * is in a record: no ids, no repeats, no hash, no signature, no state.
 *
 *   floor [--connections N] [--each N] [--seconds S] FILE
 *
 * The file is 64 MiB of zeros, made and synced before, and written round and round, so that a sync has no
 * size to write: what Tally's own log does. It is removed in the end. Prints one line of JSON. */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/samples.h"

enum {
    RECORD_BYTES = 64,
    EACH_MAX = 1024, /* a message of more would not fit a socket's buffer */
    CONNECTIONS_MAX = 64,
    FILE_BYTES = 64 * 1024 * 1024,
    CHUNK_BYTES = 1024 * 1024,
};

static unsigned connections = 2, each = 32;
static double seconds = 3;

/* ---- the server ---- */

static int file_of_zeros(const char *path)
{
    static const char zeros[CHUNK_BYTES];
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0)
        err(1, "%s", path);
    for (size_t done = 0; done < FILE_BYTES; done += sizeof zeros)
        if (write(fd, zeros, sizeof zeros) != (ssize_t)sizeof zeros)
            err(1, "%s", path);
    if (fsync(fd) != 0)
        err(1, "%s", path);
    return fd;
}

static void append(int fd, const char *bytes, size_t len)
{
    static off_t end;

    if (end + (off_t)len > FILE_BYTES)
        end = 0;
    if (pwrite(fd, bytes, len, end) != (ssize_t)len || fdatasync(fd) != 0)
        err(1, "append");
    end += (off_t)len;
}

/* Until every client has closed its end. */
static void serve(int file, struct pollfd *clients)
{
    static char batch[CONNECTIONS_MAX * EACH_MAX * RECORD_BYTES];
    unsigned open = connections;

    while (open > 0) {
        bool asked[CONNECTIONS_MAX] = {false};
        size_t len = 0;

        if (poll(clients, connections, -1) < 0)
            err(1, "poll");
        for (unsigned i = 0; i < connections; i++) {
            ssize_t got = 0;

            if (clients[i].revents == 0)
                continue;
            got = recv(clients[i].fd, batch + len, EACH_MAX * RECORD_BYTES, 0);
            if (got <= 0) {
                clients[i].fd = -1; /* poll() passes over it. */
                open--;
                continue;
            }
            asked[i] = true;
            len += (size_t)got;
        }
        if (len > 0)
            append(file, batch, len);
        for (unsigned i = 0; i < connections; i++)
            if (asked[i] && send(clients[i].fd, "done", 4, MSG_NOSIGNAL) != 4)
                err(1, "answer");
    }
}

/* ---- its clients, in a process of their own ---- */

struct client {
    pthread_t thread;
    int fd;
    uint64_t counts;
    struct samples samples;
};

static double started;

static void *client_run(void *arg)
{
    static const char records[EACH_MAX * RECORD_BYTES] = {1};
    struct client *c = arg;
    const size_t len = (size_t)each * RECORD_BYTES;
    char answer[4];

    while (samples_now() < started + seconds) {
        double begun = samples_now();

        if (send(c->fd, records, len, MSG_NOSIGNAL) != (ssize_t)len ||
            recv(c->fd, answer, sizeof answer, 0) != (ssize_t)sizeof answer)
            err(1, "ask");
        samples_add(&c->samples, samples_now() - begun);
        c->counts += each;
    }
    return NULL;
}

static void run_clients(const int *fds)
{
    static struct client clients[CONNECTIONS_MAX];
    struct samples all = samples_new();
    uint64_t counts = 0;
    double took;

    for (unsigned i = 0; i < connections; i++)
        clients[i] = (struct client){.fd = fds[i], .samples = samples_new()};
    started = samples_now();
    for (unsigned i = 0; i < connections; i++)
        if (pthread_create(&clients[i].thread, NULL, client_run, &clients[i]) != 0)
            errx(1, "no thread");
    for (unsigned i = 0; i < connections; i++) {
        pthread_join(clients[i].thread, NULL);
        counts += clients[i].counts;
        samples_add_all(&all, &clients[i].samples);
    }
    took = samples_now() - started;
    printf("{\"counts\": %" PRIu64 ", \"seconds\": %.3f, \"rate\": %.0f", counts, took,
           (double)counts / took);
    samples_print(&all);
}

/* ---- command line ---- */

static double number(const char *text, double most)
{
    char *end;
    double n = strtod(text, &end);

    if (*end != '\0' || !(n > 0 && n <= most))
        errx(2, "%s is no number above 0 and up to %g", text, most);
    return n;
}

static void bench(const char *path)
{
    struct pollfd clients[CONNECTIONS_MAX];
    int theirs[CONNECTIONS_MAX], file = file_of_zeros(path), status;
    pid_t server = getpid(), child;

    for (unsigned i = 0; i < connections; i++) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
            err(1, "socketpair");
        clients[i] = (struct pollfd){.fd = pair[0], .events = POLLIN};
        theirs[i] = pair[1];
    }
    child = fork();
    if (child < 0)
        err(1, "fork");
    for (unsigned i = 0; i < connections; i++)
        close(child == 0 ? clients[i].fd : theirs[i]);
    if (child == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != server)
            exit(1);
        setsid(); /* Server and load in two sessions, as with the others: rivals.py. */
        run_clients(theirs);
        exit(0);
    }
    serve(file, clients);
    unlink(path);
    if (waitpid(child, &status, 0) != child || status != 0)
        errx(1, "the clients failed");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"connections", required_argument, NULL, 'c'},
                                            {"each", required_argument, NULL, 'e'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'c')
            connections = (unsigned)number(optarg, CONNECTIONS_MAX);
        else if (option == 'e')
            each = (unsigned)number(optarg, EACH_MAX);
        else if (option == 's')
            seconds = number(optarg, 3600);
        else
            return 2;
    }
    if (argc - optind != 1)
        errx(2, "usage: floor [--connections N] [--each N] [--seconds S] FILE");
    bench(argv[optind]);
    return 0;
}
