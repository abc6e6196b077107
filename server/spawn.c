#include "server/spawn.h"

#include <bsd/unistd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "replica/control.h"
#include "replica/state.h"
#include "server/metrics.h"
#include "server/sandbox.h"
#include "server/worker.h"

/* Where a title is shorter than argv[0] was, libbsd
 * puts a '.' at argv[0]'s end, so that the kernel would take what follows for title; it
 * shows the dot. */
void spawn_title(const struct master *m, const char *text)
{
    setproctitle("%s", text);
    if (strlen(m->argv0) < m->argv0_len)
        m->argv0[m->argv0_len] = '\0';
}

/* What every child does first. The master must not be outlived: its successor needs port
 * and lock. */
static void child_begin(const struct master *m, const struct slot *slot)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != m->pid)
        _exit(EXIT_FAILED);
    log_init(slot->role, m->conf->level);
    spawn_title(m, slot->role);
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

/* settings_fd: its end of the way on which new settings come. */
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

void spawn_leave(struct master *m, unsigned place)
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

void spawn_worker(struct master *m, struct slot *slot, struct process *process)
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

void spawn_metrics(struct master *m)
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
void spawn_state(struct master *m)
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
