/* tests/bench/bench_ipc.c: counts at state processes the way their workers do, over the IPC and without a call
 * around it, and looks at what becomes of it. Nodes are named by their state directories.
 *
 *   bench_ipc load [--connections N] [--each N] [--every US] [--names N] [--seconds S | --counts N] DIR
 *   bench_ipc delay [--seconds S] DIR OTHER...
 *   bench_ipc catchup --counts N DIR
 *
 * load     Each connection (2) has one message under way, of so many counts (32), as a worker under load; --every:
 *          and begins them so far apart, in microseconds. They are of counter `load`, or in turn of so many
 *          named load-N.
 * delay    One count at a time at DIR: how long after its answer all the others say a total that has it in it?
 * catchup  A count every 5 ms at DIR, which is behind: until its counter `load` has come to so much, how fast
 *          did that grow, and how long did the answers take?
 * Each prints one line of JSON. */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/dial.h"
#include "common/ipc.h"
#include "common/log.h"
#include "common/msg.h"
#include "lib/samples.h"

enum {
    CONNECTIONS_MAX = 64,
    OTHERS_MAX = 8,
    PATH_SIZE = 256,
    /* From one name to the next: a prime, so that as many counts as there are names have each once, and
     * neighbours in the order of their making are not asked for one after another. */
    NAME_STRIDE = 7919,
    LOOK_US = 200,    /* between two looks whether a count has arrived */
    CALL_US = 5000,   /* between two calls while a node catches up */
    PATIENCE_S = 120, /* for an answer that never comes */
};

static struct settings {
    unsigned connections, each, every_us, names;
    double seconds;
    uint64_t counts;
} settings = {.connections = 2, .each = 32};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_ipc: %s: %s\n", what, why);
    exit(1);
}

static void sleep_until(double time)
{
    double left = time - samples_now();

    if (left > 0)
        usleep((unsigned)(left * 1e6));
}

/* ---- one connection ---- */

struct door {
    struct dial dial;
    char path[PATH_SIZE];
    struct position heard;
    uint64_t chance; /* of the requests' ids */
    uint8_t bytes[MSG_MAX];
};

static void check(enum err err, const char *what)
{
    if (err != ERR_OK)
        fail(what, err_name(err));
}

static uint64_t patience_ms(void)
{
    return clock_mono_ms() + PATIENCE_S * 1000;
}

static void door_send(struct door *d, const struct writer *w)
{
    check(dial_send(&d->dial, w->start, w->len, patience_ms()), "send");
}

/* Good until the next one. */
static struct reader door_receive(struct door *d)
{
    const uint8_t *message;
    size_t len;

    check(dial_receive(&d->dial, &message, &len, patience_ms()), "receive");
    return reader_of(message, len);
}

static void door_hello(struct door *d)
{
    struct writer w = writer_of(d->bytes, sizeof d->bytes);
    struct reader r;
    enum msg_type type;
    unsigned items;

    msg_begin(&w, MSG_HELLO);
    msg_put_hello(&w);
    msg_end(&w, 1);
    door_send(d, &w);
    r = door_receive(d);
    if (msg_read_header(&r, &type, &items) != ERR_OK || type != MSG_WELCOME ||
        msg_read_welcome(&r, &d->heard) != ERR_OK)
        fail("hello", "no welcome");
}

static struct door *door_open(const char *folder)
{
    struct door *d = malloc(sizeof *d);

    if (d == NULL)
        fail(folder, "no memory");
    snprintf(d->path, sizeof d->path, "%s/" IPC_WORKERS_PATH, folder);
    randombytes_buf(&d->chance, sizeof d->chance);
    check(dial_init(&d->dial, d->path, MSG_MAX, MSG_MAX), "open");
    check(dial_connect(&d->dial, patience_ms()), d->path);
    door_hello(d);
    return d;
}

/* splitmix64: a system call for each id would be most of what a count costs here. */
static uint64_t next_random(struct door *d)
{
    uint64_t z = d->chance += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void put_count(struct door *d, struct writer *w, const char *name)
{
    struct msg_count_req req = {.heard = d->heard, .amount = 1};
    uint64_t words[2] = {next_random(d), next_random(d)};

    memcpy(req.id.byte, words, sizeof req.id.byte);
    req.name_len = (uint8_t)snprintf(req.name, sizeof req.name, "%s", name);
    msg_put_count_req(w, &req);
}

/* Send counts, and wait for their answers. Returns the last number that was said. */
static int64_t door_answers(struct door *d, const struct writer *w, unsigned asked)
{
    struct msg_count_rep rep = {.number = 0};
    enum msg_type type;
    unsigned items = 0;
    struct reader r;

    door_send(d, w);
    r = door_receive(d);
    if (msg_read_header(&r, &type, &items) != ERR_OK || type != MSG_POSITION ||
        msg_read_position(&r, &d->heard) != ERR_OK ||
        msg_read_header(&r, &type, &items) != ERR_OK || type != MSG_COUNT_REP ||
        items != asked)
        fail("count", "not the answer");
    for (unsigned i = 0; i < items; i++)
        if (msg_read_count_rep(&r, &rep) != ERR_OK || !status_has_number(rep.status))
            fail("count", status_name(rep.status));
    return rep.number;
}

static int64_t door_count(struct door *d, const char *name)
{
    struct writer w = writer_of(d->bytes, sizeof d->bytes);

    msg_begin(&w, MSG_COUNT_REQ);
    put_count(d, &w, name);
    msg_end(&w, 1);
    return door_answers(d, &w, 1);
}

static int64_t door_get(struct door *d, const char *name)
{
    struct writer w = writer_of(d->bytes, sizeof d->bytes);
    struct msg_get_req req = {.name_len = (uint8_t)strlen(name)};
    struct msg_get_rep rep;
    struct reader r;
    enum msg_type type;
    unsigned items;

    memcpy(req.name, name, req.name_len);
    msg_begin(&w, MSG_GET_REQ);
    msg_put_get_req(&w, &req);
    msg_end(&w, 1);
    door_send(d, &w);
    r = door_receive(d);
    if (msg_read_header(&r, &type, &items) != ERR_OK || type != MSG_GET_REP ||
        msg_read_get_rep(&r, &rep) != ERR_OK)
        fail("get", "not the answer");
    return rep.total;
}

/* ---- load ---- */

struct load {
    pthread_t thread;
    struct door *door;
    uint64_t counts;
    struct samples samples;
};

static double load_start;
static atomic_uint_fast64_t name_number;

static void load_message(struct load *load)
{
    struct door *d = load->door;
    struct writer w = writer_of(d->bytes, sizeof d->bytes);
    char name[NAME_MAX_BYTES] = "load";
    double begun = samples_now();

    msg_begin(&w, MSG_COUNT_REQ);
    for (unsigned i = 0; i < settings.each; i++) {
        if (settings.names > 0)
            snprintf(name, sizeof name, "load-%u",
                     (unsigned)(atomic_fetch_add(&name_number, 1) * NAME_STRIDE %
                                settings.names));
        put_count(d, &w, name);
    }
    msg_end(&w, settings.each);
    door_answers(d, &w, settings.each);
    load->counts += settings.each;
    samples_add(&load->samples, samples_now() - begun);
}

static void *load_run(void *arg)
{
    struct load *load = arg;
    const uint64_t counts = settings.counts / settings.connections;
    double next = load_start;

    while (counts > 0 ? load->counts < counts
                      : samples_now() < load_start + settings.seconds) {
        sleep_until(next);
        next += settings.every_us / 1e6;
        load_message(load);
    }
    return NULL;
}

static void load(const char *folder)
{
    static struct load loads[CONNECTIONS_MAX];
    struct samples all = samples_new();
    uint64_t counts = 0;
    double took;

    for (unsigned i = 0; i < settings.connections; i++)
        loads[i] = (struct load){.door = door_open(folder), .samples = samples_new()};
    load_start = samples_now();
    for (unsigned i = 0; i < settings.connections; i++)
        if (pthread_create(&loads[i].thread, NULL, load_run, &loads[i]) != 0)
            fail("load", "no thread");
    for (unsigned i = 0; i < settings.connections; i++) {
        pthread_join(loads[i].thread, NULL);
        counts += loads[i].counts;
        samples_add_all(&all, &loads[i].samples);
    }
    took = samples_now() - load_start;
    printf("{\"counts\": %" PRIu64 ", \"seconds\": %.3f, \"rate\": %.0f", counts, took,
           (double)counts / took);
    samples_print(&all);
}

/* ---- delay ---- */

static void delay(char **folders, size_t count)
{
    struct door *at = door_open(folders[0]), *others[OTHERS_MAX];
    struct samples samples = samples_new();
    double end = samples_now() + settings.seconds;

    if (count < 2 || count - 1 > OTHERS_MAX)
        fail("delay", "how many others?");
    for (size_t i = 1; i < count; i++)
        others[i - 1] = door_open(folders[i]);
    while (samples_now() < end) {
        int64_t number = door_count(at, "delay");
        double answered = samples_now();

        for (size_t i = 0; i + 1 < count; i++)
            while (door_get(others[i], "delay") < number) {
                if (samples_now() > answered + PATIENCE_S)
                    fail("delay", "a count does not arrive");
                usleep(LOOK_US);
            }
        samples_add(&samples, samples_now() - answered);
    }
    printf("{\"probes\": %zu", samples.count);
    samples_print(&samples);
}

/* ---- catchup ---- */

static void catchup(const char *folder)
{
    struct door *d = door_open(folder);
    struct samples samples = samples_new();
    const int64_t first = door_get(d, "load");
    int64_t total = first;
    double begun = samples_now(), opened = begun;

    while (total < (int64_t)settings.counts) {
        double asked = samples_now();

        door_count(d, "calls");
        samples_add(&samples, samples_now() - asked);
        total = door_get(d, "load");
        if (total == first)
            begun = samples_now();
        if (samples_now() > opened + PATIENCE_S)
            fail("catchup", "it does not get there");
        sleep_until(asked + CALL_US / 1e6);
    }
    begun = samples_now() - begun;
    printf("{\"counts\": %" PRId64 ", \"seconds\": %.3f, \"rate\": %.0f", total - first,
           begun, (double)(total - first) / begun);
    samples_print(&samples);
}

/* ---- command line ---- */

static double number(const char *text)
{
    char *end;
    double n = strtod(text, &end);

    if (*end != '\0' || n <= 0)
        fail(text, "is no number above 0");
    return n;
}

static void set(int option, const char *text)
{
    switch (option) {
    case 'c':
        settings.connections = (unsigned)number(text);
        if (settings.connections > CONNECTIONS_MAX)
            fail(text, "too many connections");
        break;
    case 'e':
        settings.each = (unsigned)number(text);
        if (settings.each > MSG_ITEMS_MAX)
            fail(text, "too many in a message");
        break;
    case 'y':
        settings.every_us = (unsigned)number(text);
        break;
    case 'a':
        settings.names = (unsigned)number(text);
        break;
    case 's':
        settings.seconds = number(text);
        break;
    case 'n':
        settings.counts = (uint64_t)number(text);
        break;
    default:
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"connections", required_argument, NULL, 'c'},
                                            {"each", required_argument, NULL, 'e'},
                                            {"every", required_argument, NULL, 'y'},
                                            {"names", required_argument, NULL, 'a'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"counts", required_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    int option;

    log_init("bench", LOG_LEVEL_WARN);
    if (sodium_init() < 0)
        return 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        set(option, optarg);
    if (argc - optind < 2)
        fail("usage", "see tests/bench/bench_ipc.c");
    if (strcmp(argv[optind], "load") == 0)
        load(argv[optind + 1]);
    else if (strcmp(argv[optind], "delay") == 0)
        delay(argv + optind + 1, (size_t)(argc - optind - 1));
    else if (strcmp(argv[optind], "catchup") == 0)
        catchup(argv[optind + 1]);
    else
        fail(argv[optind], "is none of load, delay, catchup");
    return 0;
}
