/* server/master.c: tallyd's first process: reads tally.conf, opens the FastAGI sockets,
 * then forks, reaps, starts again and forwards signals. It has one thread and no state of
 * calls or counters, and never touches nng, which aborts in a child that inherits it. */
#include <assert.h>
#include <bsd/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/conf.h"
#include "common/log.h"
#include "replica/control.h"
#include "replica/gauges.h"
#include "replica/state.h"
#include "server/backoff.h"
#include "server/figures.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/sandbox.h"
#include "server/script.h"
#include "server/service.h"
#include "server/worker.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum {
    /* Milliseconds. The children of a master that was killed end within this. */
    LISTEN_WAIT_MS = 5000,
    /* For a worker to end beyond drain-time and answer-time, which bound it by
     * themselves. */
    WORKER_GRACE_MS = 10000,
    /* For the state process to write its last checkpoint. */
    STATE_GRACE_MS = 60000,
    /* Replaced workers whose calls have not ended yet: with so many, no new configuration
     * is taken. */
    OLD_MAX = 4 * CONF_WORKERS_MAX,
    PLACES = OLD_MAX + 2 * CONF_WORKERS_MAX,
    /* Descriptors of a worker beside its calls: listeners, epoll, the state process; generously. */
    DESCRIPTORS = 96,
};

struct process {
    pid_t pid; /* 0: none */
    uint64_t started_ms;
    unsigned place;      /* a worker's, in the figures */
    unsigned generation; /* of the configuration that it has */
    bool ready;          /* it serves */
};

/* Something that is to run always. */
struct slot {
    char role[20];
    unsigned number; /* a worker's, from 1; 0: another process */
    struct process now;
    struct process next; /* with a newer configuration: takes over once it serves */
    struct backoff backoff;
    uint64_t start_ms; /* not before that, if it does not run */
};

enum phase {
    PHASE_RUN,
    PHASE_WORKERS_END, /* asked to stop: the state process still serves them */
    PHASE_STATE_ENDS,
    PHASE_KILLED, /* everything was; what is left is to reap it */
};

struct master {
    char *argv0; /* where the kernel put it */
    size_t argv0_len;
    char *conf_path;
    struct conf *conf;
    struct script_table *scripts;
    struct listeners listeners;
    struct figures *figures;
    struct gauges *gauges;
    int metrics_fd; /* where figures are served; -1: nowhere */
    bool place_taken[PLACES];
    int lock_fd, signals_fd, ready_fd[2];
    int settings_fd; /* to the state process there is; -1: none was started yet */
    pid_t pid;
    uint64_t watch_ms; /* how long processes may be silent; 0: for ever */
    uint64_t ask_ms;   /* when the manager is told and the state process asked */
    uint64_t heard_ms; /* when the state process said something last */

    struct slot state, metrics, worker[CONF_WORKERS_MAX];
    unsigned workers;
    struct process old[OLD_MAX];
    size_t old_count;

    unsigned generation;
    bool replacing; /* workers of an older generation are to be replaced */
    bool reload_asked, ready_said;
    enum phase phase;
    uint64_t kill_ms; /* what is asked to end is killed then */
    int exit_code;
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

/* What ps shows: "tallyd: worker 1". Where a title is shorter than argv[0] was, libbsd
 * puts a '.' at argv[0]'s end, so that the kernel would take what follows for title; it
 * shows the dot. */
static void title(const struct master *m, const char *text)
{
    setproctitle("%s", text);
    if (strlen(m->argv0) < m->argv0_len)
        m->argv0[m->argv0_len] = '\0';
}

/* -- Starting processes -- */

/* What every child does first. The master must not be outlived: its successor needs port
 * and lock. */
static void child_begin(const struct master *m, const struct slot *slot)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != m->pid)
        _exit(EXIT_FAILED);
    log_init(slot->role, m->conf->level);
    title(m, slot->role);
    /* A terminal sends these to all of its processes, and what they mean is the master's
     * to say. */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    close(m->signals_fd);
    close(m->ready_fd[0]);
    if (m->settings_fd >= 0)
        close(m->settings_fd);
    if (m->metrics_fd >= 0 && slot != &m->metrics)
        close(m->metrics_fd);
    if (sandbox_no_new_rights() != ERR_OK)
        _exit(EXIT_FAILED);
}

/* settings_fd: its end of the way on which new settings come. */
static void read_calls(const void *arg, struct control_calls *calls)
{
    const struct figures *figures = arg;
    const struct figures_master *master = figures_of_master(figures);
    struct figures_worker sum;

    figures_sum(figures, &sum);
    *calls = (struct control_calls){
        .open = sum.open,
        .taken = sum.taken,
        .refused = sum.refused,
        .failed = sum.ended[CALL_END_TIME] + sum.ended[CALL_END_ERROR] +
                  sum.ended[CALL_END_NOT_AGI] + sum.ended[CALL_END_TOO_LONG] + sum.cut,
        .resends = sum.resends,
        .workers_started = figures_read(&master->workers_started),
        .states_started = figures_read(&master->states_started),
        .counts = sum.counts,
        .answers = sum.answers};
}

static int state_child(const struct master *m, int settings_fd)
{
    const struct control_calls_source calls = {read_calls, m->figures};
    sigset_t none;

    listeners_close(&m->listeners, NULL);
    close(m->ready_fd[1]);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return state_main(m->conf, settings_fd, m->gauges, &calls);
}

static int metrics_child(const struct master *m)
{
    const struct metrics_start start = {.conf = m->conf,
                                        .figures = m->figures,
                                        .gauges = m->gauges,
                                        .listen_fd = m->metrics_fd};

    listeners_close(&m->listeners, NULL);
    close(m->lock_fd);
    close(m->ready_fd[1]);
    return metrics_main(&start);
}

static int worker_child(const struct master *m, const struct slot *slot, unsigned place)
{
    const struct worker_start start = {.conf = m->conf,
                                       .scripts = m->scripts,
                                       .listeners = &m->listeners,
                                       .figures = figures_place(m->figures, place),
                                       .number = slot->number,
                                       .ready_fd = m->ready_fd[1]};

    close(m->lock_fd);
    return worker_main(&start);
}

static unsigned place_take(struct master *m)
{
    unsigned place = 0;

    while (m->place_taken[place])
        place++; /* There are more places than processes. */
    m->place_taken[place] = true;
    return place;
}

/* Its process is no more, and with it its calls. */
static void place_leave(struct master *m, unsigned place)
{
    figures_set(&figures_place(m->figures, place)->open, 0);
    m->place_taken[place] = false;
}

/* Fork what the slot says. Where that fails, the slot waits like after a crash. */
static pid_t fork_slot(struct slot *slot)
{
    pid_t pid = fork();

    if (pid < 0) {
        err_errno("fork", slot->role);
        slot->start_ms = clock_mono_ms() + BACKOFF_MAX_MS;
    }
    return pid;
}

static void started(const struct master *m, const struct slot *slot,
                    struct process *process, pid_t pid, unsigned place)
{
    *process = (struct process){.pid = pid,
                                .started_ms = clock_mono_ms(),
                                .place = place,
                                .generation = m->generation};
    log_debug("%s is pid %d", slot->role, (int)pid);
}

static void start(struct master *m, struct slot *slot, struct process *process)
{
    unsigned place = place_take(m);
    pid_t pid = fork_slot(slot);

    if (pid == 0) {
        child_begin(m, slot);
        exit(worker_child(m, slot, place));
    }
    if (pid > 0) {
        started(m, slot, process, pid, place);
        figures_add(&figures_master(m->figures)->workers_started, 1);
    } else {
        m->place_taken[place] = false;
    }
}

static void start_metrics(struct master *m)
{
    struct slot *slot = &m->metrics;
    pid_t pid = fork_slot(slot);

    if (pid == 0) {
        child_begin(m, slot);
        exit(metrics_child(m));
    }
    if (pid < 0)
        return;
    started(m, slot, &slot->now, pid, 0);
    figures_add(&figures_master(m->figures)->metrics_started, 1);
}

/* With a new way for new settings: what its predecessor left in the old one is not for it. */
static void start_state(struct master *m)
{
    struct slot *slot = &m->state;
    int ends[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) !=
        0) {
        err_errno("make", "a socket pair");
        slot->start_ms = clock_mono_ms() + BACKOFF_MAX_MS;
        return;
    }
    pid = fork_slot(slot);
    if (pid == 0) {
        close(ends[0]);
        child_begin(m, slot);
        exit(state_child(m, ends[1]));
    }
    close(ends[1]);
    if (m->settings_fd >= 0)
        close(m->settings_fd);
    m->settings_fd = ends[0];
    if (pid < 0)
        return;
    started(m, slot, &slot->now, pid, 0);
    figures_add(&figures_master(m->figures)->states_started, 1);
}

/* -- Workers, replaced one by one -- */

static void signal_process(const struct process *process, int number)
{
    if (process->pid > 0 && kill(process->pid, number) != 0)
        err_errno("signal", "a child");
}

static void signal_workers(const struct master *m, int number)
{
    for (unsigned i = 0; i < m->workers; i++) {
        signal_process(&m->worker[i].now, number);
        signal_process(&m->worker[i].next, number);
    }
    for (size_t i = 0; i < m->old_count; i++)
        signal_process(&m->old[i], number);
}

/* It takes no more calls, and ends with the last one it has. */
static void retire(struct master *m, struct process *process)
{
    if (process->pid == 0)
        return;
    signal_process(process, WORKER_RETIRE);
    assert(m->old_count < OLD_MAX); /* reload() looked. */
    m->old[m->old_count++] = *process;
    process->pid = 0;
}

static struct slot *oldest_generation(struct master *m)
{
    for (unsigned i = 0; i < m->workers; i++)
        if (m->worker[i].now.generation != m->generation)
            return &m->worker[i];
    return NULL;
}

/* To the service manager. */
static void tell_ready(const struct master *m)
{
    char where[CONF_LISTEN_MAX * sizeof(m->conf->listen[0].text)];

    listeners_text(&m->listeners, where, sizeof where);
    service_ready(m->conf->workers > 0 ? where : NULL);
}

/* The next worker of an older configuration gets its successor, one at a time. */
static void replace_one(struct master *m, uint64_t now)
{
    struct slot *slot = oldest_generation(m);

    if (!m->replacing)
        return;
    if (slot == NULL) {
        m->replacing = false;
        log_info("the new configuration is in force; %zu workers of older ones finish "
                 "their calls",
                 m->old_count);
        tell_ready(m);
    } else if (slot->next.pid == 0 && now >= slot->start_ms) {
        start(m, slot, &slot->next);
    }
}

static void say_ready_if_so(struct master *m)
{
    char where[CONF_LISTEN_MAX * sizeof(m->conf->listen[0].text)];

    for (unsigned i = 0; i < m->workers; i++)
        if (!m->worker[i].now.ready)
            return;
    if (m->ready_said || !m->state.now.ready)
        return;
    m->ready_said = true;
    listeners_text(&m->listeners, where, sizeof where);
    if (m->conf->workers > 0)
        log_info("ready: serving FastAGI on %s", where);
    else
        log_info("ready: a witness, which takes no calls");
    tell_ready(m);
}

/* It has recovered, or was asked whether it still runs. */
static void hear_state(struct master *m)
{
    char said;

    while (recv(m->settings_fd, &said, sizeof said, MSG_DONTWAIT) == sizeof said) {
        m->heard_ms = clock_mono_ms();
        m->state.now.ready = true;
    }
    say_ready_if_so(m);
}

/* The service manager looks after the master, and the master after the process that none can do without. A
 * stuck one is killed, and calls wait for the next; that takes no core dump, but works on a stopped one, too. */
static void watch(struct master *m, uint64_t now)
{
    struct process *state = &m->state.now;

    if (m->watch_ms == 0 || now < m->ask_ms)
        return;
    m->ask_ms = now + m->watch_ms / 4;
    service_alive();
    if (state->pid == 0 || !state->ready)
        return;
    if (now - m->heard_ms >= m->watch_ms) {
        log_error("state (pid %d) has said nothing for %" PRIu64 " s: killing it",
                  (int)state->pid, (now - m->heard_ms) / 1000);
        state->ready = false;
        signal_process(state, SIGKILL);
    } else if (send(m->settings_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
               errno != EAGAIN && errno != EPIPE) {
        err_errno("ask", "the state process");
    }
}

static void on_ready(struct master *m, pid_t pid)
{
    for (unsigned i = 0; i < m->workers; i++) {
        struct slot *slot = &m->worker[i];

        if (slot->next.pid == pid) {
            retire(m, &slot->now);
            slot->now = slot->next;
            slot->next.pid = 0;
        }
        if (slot->now.pid == pid)
            slot->now.ready = true;
    }
    say_ready_if_so(m);
}

static void read_ready(struct master *m)
{
    pid_t pid;

    /* A pid is written whole, far below PIPE_BUF. */
    while (read(m->ready_fd[0], &pid, sizeof pid) == sizeof pid)
        on_ready(m, pid);
}

/* -- A new configuration -- */

/* What the state process has from its start, and what belongs to root's time. */
static void keep_fixed(const struct conf *old, struct conf *new)
{
    bool same = strcmp(old->node_name, new->node_name) == 0 &&
                strcmp(old->state_dir, new->state_dir) == 0 &&
                strcmp(old->user, new->user) == 0 &&
                strcmp(old->peer_listen, new->peer_listen) == 0 &&
                strcmp(old->archive_dir, new->archive_dir) == 0 &&
                old->segment_bytes == new->segment_bytes &&
                old->checkpoint_bytes == new->checkpoint_bytes &&
                old->checkpoint_ms == new->checkpoint_ms &&
                old->counters == new->counters &&
                old->metrics.len ==
                    new->metrics.len &&memcmp(&old->metrics.addr, &new->metrics.addr,
                                              old->metrics.len) == 0;

    if (same)
        return;
    log_warn(
        "%s: changes in [node] other than copies and copies-wait, in [metrics], and in [log] "
        "other than level, take a restart: the old values stay until then",
        new->path);
    new->metrics = old->metrics;
    memcpy(new->node_name, old->node_name, sizeof new->node_name);
    memcpy(new->state_dir, old->state_dir, sizeof new->state_dir);
    memcpy(new->user, old->user, sizeof new->user);
    memcpy(new->archive_dir, old->archive_dir, sizeof new->archive_dir);
    memcpy(new->peer_listen, old->peer_listen, sizeof new->peer_listen);
    if (new->peer_listen[0] == '\0') {
        new->peer_count = 0;
        new->copies = 1;
    }
    new->segment_bytes = old->segment_bytes;
    new->checkpoint_bytes = old->checkpoint_bytes;
    new->checkpoint_ms = old->checkpoint_ms;
    new->counters = old->counters;
}

/* Each worker's calls need descriptors. */
static void fit_calls(struct conf *conf)
{
    size_t allowed = sandbox_descriptors((size_t)conf->calls + DESCRIPTORS);

    if (allowed >= (size_t)conf->calls + DESCRIPTORS)
        return;
    conf->calls = allowed > DESCRIPTORS ? (unsigned)(allowed - DESCRIPTORS) : 1;
    log_warn(
        "a process may open %zu files (ulimit -n, LimitNOFILE=): calls = %u per worker",
        allowed, conf->calls);
}

/* Read and compile; on failure *error says what and where, and nothing is left. */
static enum err read_conf(const char *path, struct conf **conf,
                          struct script_table **scripts, struct conf_error *error)
{
    enum err err = conf_read(path, conf, error);

    if (err != ERR_OK)
        return err;
    err = script_compile(*conf, scripts, error);
    if (err != ERR_OK)
        conf_free(*conf);
    return err;
}

static void fit_workers(struct master *m)
{
    while (m->workers > m->conf->workers) {
        struct slot *slot = &m->worker[--m->workers];

        retire(m, &slot->now);
        retire(m, &slot->next);
    }
    while (m->workers < m->conf->workers) {
        struct slot *slot = &m->worker[m->workers++];

        *slot = (struct slot){.number = m->workers};
        snprintf(slot->role, sizeof slot->role, "worker %u", m->workers);
    }
}

/* Workers fork with the new one from now on, and those there are get their successors. */
static void take_conf(struct master *m, struct conf *conf, struct script_table *scripts,
                      const struct listeners *listeners)
{
    listeners_close(&m->listeners, listeners);
    m->listeners = *listeners;
    script_table_free(m->scripts);
    conf_free(m->conf);
    m->scripts = scripts;
    m->conf = conf;
    m->generation++;
    m->replacing = true;
    log_set_level(conf->level);
    fit_workers(m);
}

/* To the state process that runs; one that starts has them from the configuration. */
static void send_settings(const struct master *m)
{
    struct state_settings new = {.level = m->conf->level,
                                 .copies = m->conf->copies,
                                 .copies_wait_ms = m->conf->copies_wait_ms,
                                 .count = m->conf->peer_count};

    if (m->state.now.pid == 0)
        return;
    memcpy(new.peers, m->conf->peers, sizeof new.peers);
    if (send(m->settings_fd, &new, sizeof new, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        err_errno("tell the new settings to", "the state process");
}

/* Whether it is in force now; else nothing has changed. */
static bool reload(struct master *m)
{
    struct script_table *scripts;
    struct listeners listeners;
    struct conf_error error;
    struct conf *conf;

    if (m->old_count + 2 * m->workers > OLD_MAX) {
        log_error(
            "%zu replaced workers still have calls: the configuration in force stays",
            m->old_count);
        return false;
    }
    if (read_conf(m->conf_path, &conf, &scripts, &error) != ERR_OK) {
        log_error("%s", error.text);
        log_error("the configuration in force stays");
        return false;
    }
    if (listeners_open(conf, &m->listeners, 0, &listeners) != ERR_OK) {
        log_error("the configuration in force stays");
        script_table_free(scripts);
        conf_free(conf);
        return false;
    }
    keep_fixed(m->conf, conf);
    fit_calls(conf);
    take_conf(m, conf, scripts, &listeners);
    send_settings(m);
    log_info("%s was read again: replacing %u workers one by one", conf->path,
             m->workers);
    return true;
}

static void reload_if_asked(struct master *m)
{
    struct figures_master *figures = figures_master(m->figures);

    if (m->phase != PHASE_RUN || !m->reload_asked || m->replacing)
        return;
    m->reload_asked = false;
    service_reloading();
    if (reload(m)) {
        figures_add(&figures->reloads, 1); /* replace_one() says when it is in force. */
        return;
    }
    figures_add(&figures->reloads_refused, 1);
    tell_ready(m);
}

/* -- Ends of processes -- */

/* "was killed by SIGKILL", "exited with 3" */
static void how_text(int status, char *text, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(text, size, "was killed by SIG%s%s", sigabbrev_np(WTERMSIG(status)),
                 WTERMSIG(status) == SIGSYS
                     ? ", for a system call that server/sandbox.c does not list"
                     : "");
    else
        snprintf(text, size, "exited with %d", WEXITSTATUS(status));
}

static void kill_all(struct master *m, int exit_code)
{
    signal_workers(m, SIGKILL);
    signal_process(&m->metrics.now, SIGKILL);
    signal_process(&m->state.now, SIGKILL);
    m->phase = PHASE_KILLED;
    m->exit_code = exit_code;
}

/* It ended unasked, or could not start. */
static void start_later(struct slot *slot, const struct process *process, int status,
                        uint64_t now)
{
    unsigned wait = backoff_ended(&slot->backoff, now - process->started_ms);
    char how[96];

    how_text(status, how, sizeof how);
    slot->start_ms = now + wait;
    if (wait == 0)
        log_error("%s (pid %d) %s: starting it again", slot->role, (int)process->pid,
                  how);
    else
        log_error("%s (pid %d) %s: starting it again in %u ms", slot->role,
                  (int)process->pid, how, wait);
}

static void state_ended(struct master *m, int status, uint64_t now)
{
    struct process process = m->state.now;
    char how[96];

    m->state.now.pid = 0;
    gauges_clear(m->gauges);
    how_text(status, how, sizeof how);
    if (m->phase == PHASE_KILLED)
        return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == STATE_EXIT_REFUSED) {
        log_error("the state directory cannot be used: tallyd ends");
        kill_all(m, EXIT_FAILED);
    } else if (m->phase == PHASE_STATE_ENDS) {
        if (status == 0)
            return;
        log_error("state (pid %d) %s while it was asked to end", (int)process.pid, how);
        m->exit_code = EXIT_FAILED;
    } else {
        start_later(&m->state, &process, status, now);
    }
}

static void metrics_ended(struct master *m, int status, uint64_t now)
{
    struct process process = m->metrics.now;

    m->metrics.now.pid = 0;
    if (m->phase == PHASE_RUN || m->phase == PHASE_WORKERS_END)
        start_later(&m->metrics, &process, status, now);
}

static void worker_ended(struct master *m, struct slot *slot, struct process *process,
                         int status, uint64_t now)
{
    place_leave(m, process->place);
    if (m->phase == PHASE_RUN)
        start_later(slot, process, status, now);
    process->pid = 0;
    process->ready = false;
}

static void old_ended(struct master *m, size_t i, int status)
{
    char how[96];

    how_text(status, how, sizeof how);
    if (status != 0 && m->phase != PHASE_KILLED)
        log_error("a replaced worker (pid %d) %s: its calls are lost", (int)m->old[i].pid,
                  how);
    place_leave(m, m->old[i].place);
    m->old[i] = m->old[--m->old_count];
}

static void on_ended(struct master *m, pid_t pid, int status)
{
    uint64_t now = clock_mono_ms();

    if (pid == m->state.now.pid) {
        state_ended(m, status, now);
        return;
    }
    if (pid == m->metrics.now.pid) {
        metrics_ended(m, status, now);
        return;
    }
    for (unsigned i = 0; i < m->workers; i++) {
        struct slot *slot = &m->worker[i];

        if (slot->now.pid == pid || slot->next.pid == pid) {
            worker_ended(m, slot, slot->now.pid == pid ? &slot->now : &slot->next, status,
                         now);
            return;
        }
    }
    for (size_t i = 0; i < m->old_count; i++) {
        if (m->old[i].pid == pid) {
            old_ended(m, i, status);
            return;
        }
    }
}

static void reap(struct master *m)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        on_ended(m, pid, status);
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
        signal_workers(m, WORKER_STOP);
    } else if (m->phase == PHASE_WORKERS_END) {
        log_info("%s again: not waiting for calls", signal_name);
        m->kill_ms = clock_mono_ms() + m->conf->answer_ms + WORKER_GRACE_MS;
        signal_workers(m, WORKER_STOP);
    }
}

static void on_signal(struct master *m, int number)
{
    switch (number) {
    case SIGCHLD:
        reap(m);
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

static bool workers_left(const struct master *m)
{
    for (unsigned i = 0; i < m->workers; i++)
        if (m->worker[i].now.pid > 0 || m->worker[i].next.pid > 0)
            return true;
    return m->old_count > 0;
}

/* Whatever should run and does not, and whose time has come. */
static void start_due(struct master *m, uint64_t now)
{
    bool wanted = m->phase == PHASE_RUN || m->phase == PHASE_WORKERS_END;

    if (wanted && m->state.now.pid == 0 && now >= m->state.start_ms)
        start_state(m);
    if (wanted && m->metrics_fd >= 0 && m->metrics.now.pid == 0 &&
        now >= m->metrics.start_ms)
        start_metrics(m);
    for (unsigned i = 0; i < m->workers && m->phase == PHASE_RUN; i++) {
        struct slot *slot = &m->worker[i];

        if (slot->now.pid == 0 && slot->next.pid == 0 && now >= slot->start_ms)
            start(m, slot, &slot->now);
    }
}

static void end_state(struct master *m, uint64_t now)
{
    m->phase = PHASE_STATE_ENDS;
    m->kill_ms = now + STATE_GRACE_MS;
    signal_process(&m->state.now, SIGTERM);
    signal_process(&m->metrics.now, SIGTERM);
}

/* What is due. True: all is over. */
static bool turn(struct master *m)
{
    uint64_t now = clock_mono_ms();

    reload_if_asked(m);
    watch(m, now);
    start_due(m, now);
    if (m->phase == PHASE_RUN)
        replace_one(m, now);
    if (m->phase == PHASE_WORKERS_END && !workers_left(m))
        end_state(m, now);
    if ((m->phase == PHASE_WORKERS_END || m->phase == PHASE_STATE_ENDS) &&
        now >= m->kill_ms) {
        log_error("%s in time: killing what is left",
                  m->phase == PHASE_STATE_ENDS ? "the state process did not end"
                                               : "workers did not end");
        kill_all(m, EXIT_FAILED);
    }
    return m->phase != PHASE_RUN && m->state.now.pid == 0 && m->metrics.now.pid == 0 &&
           !workers_left(m) && m->phase != PHASE_WORKERS_END;
}

static uint64_t slot_due(const struct slot *slot)
{
    bool waits = slot->now.pid == 0 && slot->next.pid == 0;

    return waits ? slot->start_ms : UINT64_MAX;
}

/* Milliseconds until turn() has something to do though nothing happens; -1: never. */
static int timeout_ms(const struct master *m)
{
    uint64_t now = clock_mono_ms(), due = slot_due(&m->state);

    if (m->metrics_fd >= 0 && slot_due(&m->metrics) < due)
        due = slot_due(&m->metrics);
    for (unsigned i = 0; i < m->workers; i++) {
        const struct slot *slot = &m->worker[i];
        uint64_t at = slot_due(slot);

        if (m->replacing && slot->next.pid == 0 && slot->start_ms > now &&
            slot->start_ms < at)
            at = slot->start_ms;
        if (at < due && m->phase == PHASE_RUN)
            due = at;
    }
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
            kill_all(m, EXIT_FAILED);
        }
        /* Who says that it is ready may have ended since: in this order it is still
         * known. */
        read_ready(m);
        hear_state(m);
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
    fit_calls(conf); /* As root, who may raise the limit. */
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
    title(m, text);
    if (prepare(m) != ERR_OK)
        return EXIT_FAILED;
    listeners_text(&m->listeners, text, sizeof text);
    log_info("tallyd %s: node %s, FastAGI on %s, %u workers, state in %s", TALLY_VERSION,
             m->conf->node_name, m->conf->workers > 0 ? text : "nothing (a witness)",
             m->conf->workers, m->conf->state_dir);
    snprintf(m->state.role, sizeof m->state.role, "state");
    snprintf(m->metrics.role, sizeof m->metrics.role, "metrics");
    fit_workers(m);
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
             : read_conf(path, &master.conf, &master.scripts, &error)) != ERR_OK) {
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
