/* server/master.c: tallyd's first process: reads tally.conf, opens the FastAGI sockets,
 * then forks, reaps, starts again and forwards signals. It has one thread and no state of
 * calls or counters, and never touches nng, which aborts in a child that inherits it.
 * Here are its start, its signals and its loop; master.h names the rest. */
#include "server/master.h"

#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "replica/control.h"
#include "replica/state.h"
#include "server/metrics.h"
#include "server/reload.h"
#include "server/sandbox.h"
#include "server/service.h"
#include "server/spawn.h"
#include "server/tree.h"
#include "server/worker.h"

/* Milliseconds. */
enum {
    /* The children of a master that was killed end within this. */
    LISTEN_WAIT_MS = 5000,
    /* For a worker to end beyond drain-time and answer-time, which bound it by
     * themselves. */
    WORKER_GRACE_MS = 10000,
};

static void log_figures(const struct master *m, const char *what)
{
    struct figures_worker sum;

    figures_sum(m->figures, &sum);
    log_info("%s: %" PRIu64 " connections taken, %" PRIu64 " refused, %" PRIu64
             " open; %" PRIu64 " scripts done, %" PRIu64 " hangups, %" PRIu64
             " gone, %" PRIu64 " empty, %" PRIu64 " not AGI, %" PRIu64
             " too long, %" PRIu64 " out of time, %" PRIu64 " errors, %" PRIu64
             " cut; %" PRIu64 " counts, %" PRIu64 " repeated messages",
             what, sum.taken, sum.refused, sum.open, sum.ended[CALL_END_DONE],
             sum.ended[CALL_END_HANGUP], sum.ended[CALL_END_GONE],
             sum.ended[CALL_END_EMPTY], sum.ended[CALL_END_NOT_AGI],
             sum.ended[CALL_END_TOO_LONG], sum.ended[CALL_END_TIME],
             sum.ended[CALL_END_ERROR], sum.cut, sum.counts, sum.resends);
}

/* -- Signals -- */

static void stop(struct master *m, const char *signal_name)
{
    if (m->phase == PHASE_RUN) {
        log_info("%s: taking no more calls; those here have %u s to end", signal_name,
                 m->conf->drain_ms / 1000);
        service_stopping();
        listeners_close(&m->listeners, NULL);
        m->listeners.count = 0;
        m->phase = PHASE_WORKERS_END;
        m->kill_ms =
            clock_mono_ms() + m->conf->drain_ms + m->conf->answer_ms + WORKER_GRACE_MS;
        tree_signal_workers(m, WORKER_STOP);
    } else if (m->phase == PHASE_WORKERS_END) {
        log_info("%s again: not waiting for calls", signal_name);
        m->kill_ms = clock_mono_ms() + m->conf->answer_ms + WORKER_GRACE_MS;
        tree_signal_workers(m, WORKER_STOP);
    }
}

static void on_signal(struct master *m, int number)
{
    switch (number) {
    case SIGCHLD:
        tree_reap(m);
        break;
    case SIGHUP:
        m->reload_asked = true;
        break;
    case SIGUSR1:
        log_figures(m, "figures");
        break;
    case SIGTERM:
        stop(m, "SIGTERM");
        break;
    case SIGINT:
        stop(m, "SIGINT");
        break;
    default:
        break;
    }
}

static void read_signals(struct master *m)
{
    struct signalfd_siginfo info;

    while (read(m->signals_fd, &info, sizeof info) == sizeof info)
        on_signal(m, (int)info.ssi_signo);
}

/* -- The loop -- */

/* What is due. True: all is over. */
static bool turn(struct master *m)
{
    uint64_t now = clock_mono_ms();

    reload_if_asked(m);
    tree_watch(m, now);
    tree_start_due(m, now);
    if (m->phase == PHASE_RUN)
        tree_replace_one(m, now);
    if (m->phase == PHASE_WORKERS_END && !tree_workers_left(m))
        tree_end_state(m, now);
    if ((m->phase == PHASE_WORKERS_END || m->phase == PHASE_STATE_ENDS) &&
        now >= m->kill_ms) {
        log_error("%s in time: killing what is left",
                  m->phase == PHASE_STATE_ENDS ? "the state process did not end"
                                               : "workers did not end");
        tree_kill(m, EXIT_FAILED);
    }
    return m->phase != PHASE_RUN && m->state.now.pid == 0 && m->metrics.now.pid == 0 &&
           !tree_workers_left(m) && m->phase != PHASE_WORKERS_END;
}

/* Milliseconds until turn() has something to do though nothing happens; -1: never. */
static int timeout_ms(const struct master *m)
{
    uint64_t now = clock_mono_ms(), due = tree_due_ms(m, now);

    if (m->phase == PHASE_WORKERS_END || m->phase == PHASE_STATE_ENDS)
        due = due < m->kill_ms ? due : m->kill_ms;
    if (m->watch_ms > 0 && m->ask_ms < due)
        due = m->ask_ms;
    if (due == UINT64_MAX || m->phase == PHASE_KILLED)
        return -1;
    due = due > now ? due - now : 0;
    return due < 60000 ? (int)due : 60000;
}

static int run(struct master *m)
{
    struct pollfd fds[3] = {{.fd = m->signals_fd, .events = POLLIN},
                            {.fd = m->ready_fd[0], .events = POLLIN},
                            {.events = POLLIN}};

    while (!turn(m)) {
        /* One that has ended is not looked at until there is another: its end would be news for ever. */
        fds[2].fd = m->state.now.pid > 0 ? m->settings_fd : -1;
        if (poll(fds, 3, timeout_ms(m)) < 0 && errno != EINTR) {
            err_errno("wait for", "signals");
            tree_kill(m, EXIT_FAILED);
        }
        /* Who says that it is ready may have ended since: in this order it is still
         * known. */
        tree_read_ready(m);
        tree_hear_state(m);
        read_signals(m);
    }
    log_figures(m, "ended");
    return m->exit_code;
}

/* -- The start -- */

static enum err open_signals(struct master *m)
{
    static const int numbers[] = {SIGCHLD, SIGHUP,  SIGINT,
                                  SIGTERM, SIGUSR1, WORKER_RETIRE};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&set, numbers[i]);
    /* Before any fork, so that a child never misses one. */
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return err_errno("block", "signals");
    /* A parent may have left it ignored, and then children vanish without a word. */
    signal(SIGCHLD, SIG_DFL);
    m->signals_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (m->signals_fd < 0)
        return err_errno("watch", "signals");
    if (pipe2(m->ready_fd, O_NONBLOCK | O_CLOEXEC) != 0)
        return err_errno("make", "a pipe");
    return ERR_OK;
}

static enum err prepare(struct master *m)
{
    struct conf *conf = m->conf;
    enum err err;

    m->pid = getpid();
    m->settings_fd = -1;
    m->watch_ms = service_watchdog_ms();
    m->conf_path = strdup(conf->path);
    m->figures = figures_map(PLACES);
    m->gauges = gauges_map();
    if (m->conf_path == NULL || m->figures == NULL || m->gauges == NULL) {
        log_error("cannot start: out of memory");
        return ERR_MEMORY;
    }
    err = open_signals(m);
    if (err == ERR_OK)
        err = listeners_open(conf, NULL, LISTEN_WAIT_MS, &m->listeners);
    m->metrics_fd = -1;
    if (err == ERR_OK && conf->metrics.len > 0)
        err = listen_open(&conf->metrics, METRICS_CONNECTIONS, LISTEN_WAIT_MS,
                          "listen= in [metrics]", &m->metrics_fd);
    if (err != ERR_OK)
        return err;
    reload_fit_calls(conf); /* As root, who may raise the limit. */
    if (geteuid() == 0 && conf->user[0] != '\0')
        err = sandbox_become(conf->user, conf->state_dir);
    if (err == ERR_OK)
        err = state_dir_enter(conf, &m->lock_fd);
    return err;
}

static int serve(struct master *m)
{
    char text[CONF_LISTEN_MAX * sizeof(m->conf->listen[0].text)];

    log_init("master", m->conf->level);
    snprintf(text, sizeof text, "master [node %s]", m->conf->node_name);
    spawn_title(m, text);
    if (prepare(m) != ERR_OK)
        return EXIT_FAILED;
    listeners_text(&m->listeners, text, sizeof text);
    log_info("tallyd %s: node %s, FastAGI on %s, %u workers, state in %s", TALLY_VERSION,
             m->conf->node_name, m->conf->workers > 0 ? text : "nothing (a witness)",
             m->conf->workers, m->conf->state_dir);
    snprintf(m->state.role, sizeof m->state.role, "state");
    snprintf(m->metrics.role, sizeof m->metrics.role, "metrics");
    tree_fit(m);
    return run(m);
}

/* For a cluster's tally.conf, which names keys before their nodes run. */
static int tell_key(struct master *m)
{
    const struct conf *conf = m->conf;
    struct public_key key;
    enum err err = ERR_OK;

    log_init("tallyd", conf->level);
    if (geteuid() == 0 && conf->user[0] != '\0')
        err = sandbox_become(conf->user, conf->state_dir);
    if (err == ERR_OK)
        err = state_dir_enter(conf, &m->lock_fd);
    if (err == ERR_OK)
        err = state_key(&key);
    if (err != ERR_OK) {
        log_error("no key to tell: %s", err_name(err));
        return EXIT_FAILED;
    }
    control_key_print(&key, conf->node_name, conf->peer_listen);
    return EXIT_OK;
}

static void usage(FILE *to)
{
    fputs("usage: tallyd -c FILE [-k | -n]\n"
          "Serve FastAGI calls, in the foreground, until SIGTERM or SIGINT.\n"
          "  -c FILE  the configuration, tally.conf\n"
          "  -k       make this node's key, if there is none, tell it and exit\n"
          "  -n       check the configuration and exit: 0 good, 2 not\n"
          "  -V       print the version and exit\n"
          "  -h       print this and exit\n"
          "SIGHUP reads the configuration again, SIGUSR1 logs the figures; a second\n"
          "SIGTERM does not wait for calls to end.\n",
          to);
}

int main(int argc, char **argv)
{
    static struct master master;
    const char *path = NULL;
    struct conf_error error;
    bool check = false, key = false;
    int option;

    master.argv0 = argv[0];
    master.argv0_len = strlen(argv[0]);
    setproctitle_init(argc, argv, environ);
    while ((option = getopt(argc, argv, "c:knVh")) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            key = true;
            break;
        case 'n':
            check = true;
            break;
        case 'V':
            puts("tallyd " TALLY_VERSION);
            return EXIT_OK;
        case 'h':
            usage(stdout);
            return EXIT_OK;
        default:
            fputs("tallyd -h tells the options\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (path == NULL || optind < argc) {
        fputs(path == NULL ? "tallyd: -c FILE is missing; tallyd -h tells the options\n"
                           : "tallyd: takes options only; tallyd -h tells them\n",
              stderr);
        return EXIT_USAGE;
    }
    if ((key ? conf_read_keyless(path, &master.conf, &error)
             : reload_read(path, &master.conf, &master.scripts, &error)) != ERR_OK) {
        fprintf(stderr, "%s\n", error.text);
        return EXIT_USAGE;
    }
    if (key)
        return tell_key(&master);
    if (check) {
        printf("%s: good\n", master.conf->path);
        return EXIT_OK;
    }
    return serve(&master);
}
