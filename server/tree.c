#include "server/tree.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "replica/state.h"
#include "server/service.h"
#include "server/spawn.h"
#include "server/worker.h"

enum { STATE_GRACE_MS = 60000 }; /* for the state process to write its last checkpoint */

/* -- Who shall run -- */

static void signal_process(const struct process *process, int number)
{
    if (process->pid > 0 && kill(process->pid, number) != 0)
        err_errno("signal", "a child");
}

void tree_signal_workers(const struct master *m, int number)
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

void tree_tell_ready(const struct master *m)
{
    char where[CONF_LISTEN_MAX * sizeof(m->conf->listen[0].text)];

    listeners_text(&m->listeners, where, sizeof where);
    service_ready(m->conf->workers > 0 ? where : NULL);
}

void tree_replace_one(struct master *m, uint64_t now)
{
    struct slot *slot = oldest_generation(m);

    if (!m->replacing)
        return;
    if (slot == NULL) {
        m->replacing = false;
        log_info("the new configuration is in force; %zu workers of older ones finish "
                 "their calls",
                 m->old_count);
        tree_tell_ready(m);
    } else if (slot->next.pid == 0 && now >= slot->start_ms) {
        spawn_worker(m, slot, &slot->next);
    }
}

void tree_fit(struct master *m)
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

void tree_start_due(struct master *m, uint64_t now)
{
    bool wanted = m->phase == PHASE_RUN || m->phase == PHASE_WORKERS_END;

    if (wanted && m->state.now.pid == 0 && now >= m->state.start_ms)
        spawn_state(m);
    if (wanted && m->metrics_fd >= 0 && m->metrics.now.pid == 0 &&
        now >= m->metrics.start_ms)
        spawn_metrics(m);
    for (unsigned i = 0; i < m->workers && m->phase == PHASE_RUN; i++) {
        struct slot *slot = &m->worker[i];

        if (slot->now.pid == 0 && slot->next.pid == 0 && now >= slot->start_ms)
            spawn_worker(m, slot, &slot->now);
    }
}

static uint64_t slot_due(const struct slot *slot)
{
    bool waits = slot->now.pid == 0 && slot->next.pid == 0;

    return waits ? slot->start_ms : UINT64_MAX;
}

uint64_t tree_due_ms(const struct master *m, uint64_t now)
{
    uint64_t due = slot_due(&m->state);

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
    return due;
}

/* -- Whether they serve -- */

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
    tree_tell_ready(m);
}

/* It has recovered, or was asked whether it still runs. */
void tree_hear_state(struct master *m)
{
    char said;

    while (recv(m->settings_fd, &said, sizeof said, MSG_DONTWAIT) == sizeof said) {
        m->heard_ms = clock_mono_ms();
        m->state.now.ready = true;
    }
    say_ready_if_so(m);
}

/* Nobody can do without the state process. A stuck one is killed, and calls wait for the next; that takes no core
 * dump, but works on a stopped one, too. */
void tree_watch(struct master *m, uint64_t now)
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

void tree_read_ready(struct master *m)
{
    pid_t pid;

    /* A pid is written whole, far below PIPE_BUF. */
    while (read(m->ready_fd[0], &pid, sizeof pid) == sizeof pid)
        on_ready(m, pid);
}

/* -- Their ends -- */

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

void tree_kill(struct master *m, int exit_code)
{
    tree_signal_workers(m, SIGKILL);
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
        tree_kill(m, EXIT_FAILED);
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
    spawn_leave(m, process->place);
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
    spawn_leave(m, m->old[i].place);
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

void tree_reap(struct master *m)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        on_ended(m, pid, status);
}

bool tree_workers_left(const struct master *m)
{
    for (unsigned i = 0; i < m->workers; i++)
        if (m->worker[i].now.pid > 0 || m->worker[i].next.pid > 0)
            return true;
    return m->old_count > 0;
}

void tree_end_state(struct master *m, uint64_t now)
{
    m->phase = PHASE_STATE_ENDS;
    m->kill_ms = now + STATE_GRACE_MS;
    signal_process(&m->state.now, SIGTERM);
    signal_process(&m->metrics.now, SIGTERM);
}
