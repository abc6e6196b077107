#include "tests/simulation/pool.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/trace.h"

/* A history takes a fraction of a second, and a long one a few. One that takes this long
 * hangs. */
enum { SECONDS_MAX = 300, JOBS_MAX = 64 };

static struct report report; /* of the history that runs in this process */
static int report_fd = -1;   /* to the parent; -1: tell on standard error */

static void fatal(const char *what)
{
    fprintf(stderr, "sim: cannot %s: %s\n", what, strerror(errno));
    exit(2);
}

static void send_report(void)
{
    const char *at = (const char *)&report;

    for (size_t left = sizeof report; left > 0;) {
        ssize_t n = write(report_fd, at, left);

        if (n < 0 && errno != EINTR)
            _exit(2); /* The parent is gone. */
        at += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
}

void replay_command(const struct sim_options *o, char *to, size_t size)
{
    const char *sep = " --without ";
    size_t len = (size_t)snprintf(to, size, "build/bin/sim%s --seed %llu --minutes %.9g",
                                  o->kind->option, (unsigned long long)o->seed,
                                  (double)o->length_ms / 60000.0);

    for (unsigned i = 0; i < o->kind->fault_count && len < size; i++) {
        if ((o->without & (1U << i)) == 0)
            continue;
        len +=
            (size_t)snprintf(to + len, size - len, "%s%s", sep, o->kind->faults[i].name);
        sep = ",";
    }
    if (o->mutant != NULL && len < size)
        snprintf(to + len, size - len, " --mutant %s", o->mutant);
}

static _Noreturn void report_broken(void)
{
    char command[512];

    report.failed = true;
    report.failed_ms = trace_now_ms();
    trace_last(report.last, sizeof report.last);
    if (report_fd >= 0) {
        send_report();
        _exit(1);
    }
    replay_command(&report.options, command, sizeof command);
    fflush(stdout);
    fprintf(stderr, "%s\nseed %llu: %s\nreplay: %s\n", report.last,
            (unsigned long long)report.options.seed, report.what, command);
    _exit(1);
}

_Noreturn void broken(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(report.what, sizeof report.what, format, args);
    va_end(args);
    report_broken();
}

/* What assert() calls: a broken assertion of the node is a finding like any other. */
_Noreturn void __assert_fail(const char *assertion, const char *file, unsigned line,
                             const char *function);
_Noreturn void __assert_fail(const char *assertion, const char *file, unsigned line,
                             const char *function)
{
    const char *name = strrchr(file, '/');

    broken("assertion failed: %s in %s(), %s:%u", assertion, function,
           name != NULL ? name + 1 : file, line);
}

static void on_signal(int number)
{
    broken("signal %d: %s", number,
           number == SIGALRM ? "it takes for ever" : strsignal(number));
}

static void run_here(const struct sim_options *options)
{
    report.options = *options;
    report.failed = false;
    alarm(SECONDS_MAX);
    options->kind->run(options, &report.result);
    alarm(0);
}

static void catch_signals(void)
{
    const int numbers[] = {SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        signal(numbers[i], on_signal);
}

void pool_here(const struct sim_options *options, struct report *to)
{
    catch_signals();
    run_here(options);
    *to = report;
}

/* ---- processes ---- */

struct job {
    pid_t pid; /* 0: none */
    int fd;
    size_t task;
    uint64_t next; /* seed */
};

static _Noreturn void child(const struct task *task, uint64_t seed, int fd)
{
    struct sim_options options = task->options;

    report_fd = fd;
    catch_signals();
    for (; seed <= task->last; seed += task->step) {
        options.seed = seed;
        run_here(&options);
        send_report();
    }
    _exit(0);
}

static void job_start(struct job *job, const struct task *task)
{
    int fds[2];

    fflush(NULL);
    if (pipe(fds) != 0)
        fatal("make a pipe");
    job->pid = fork();
    if (job->pid < 0)
        fatal("fork");
    if (job->pid == 0) {
        close(fds[0]);
        child(task, job->next, fds[1]);
    }
    close(fds[1]);
    job->fd = fds[0];
}

/* False: the process ended. */
static bool read_report(int fd, struct report *to)
{
    size_t got = 0;

    while (got < sizeof *to) {
        ssize_t n = read(fd, (char *)to + got, sizeof *to - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

static void job_end(struct job *job)
{
    int status;

    close(job->fd);
    while (waitpid(job->pid, &status, 0) < 0 && errno == EINTR)
        ;
    job->pid = 0;
}

/* A report or the end of a process: true where the job's task goes on. */
static bool job_turn(struct job *job, const struct task *task, pool_fn *each, void *arg)
{
    static struct report r;

    if (!read_report(job->fd, &r)) {
        if (job->next <= task->last) {
            /* It ended without a word: a sanitizer, or a signal that cannot be caught. */
            memset(&r, 0, sizeof r);
            r.options = task->options;
            r.options.seed = job->next;
            r.failed = true;
            snprintf(r.what, sizeof r.what, "the process died without a word");
        } else {
            job_end(job);
            return false;
        }
    }
    each(arg, job->task, &r);
    job->next = r.options.seed + task->step;
    if (!r.failed)
        return true;
    job_end(job);
    if (task->until_failed || job->next > task->last)
        return false;
    job_start(job, task);
    return true;
}

void pool_run(const struct task *tasks, size_t count, unsigned jobs, pool_fn *each,
              void *arg)
{
    struct job job[JOBS_MAX] = {0};
    struct pollfd fds[JOBS_MAX];
    size_t begun = 0, going = 0;

    if (jobs > JOBS_MAX)
        jobs = JOBS_MAX;
    for (;;) {
        for (unsigned i = 0; i < jobs && begun < count; i++) {
            if (job[i].pid != 0)
                continue;
            job[i].task = begun;
            job[i].next = tasks[begun].first;
            job_start(&job[i], &tasks[begun++]);
            going++;
        }
        if (going == 0)
            return;
        for (unsigned i = 0; i < jobs; i++)
            fds[i] =
                (struct pollfd){.fd = job[i].pid != 0 ? job[i].fd : -1, .events = POLLIN};
        if (poll(fds, jobs, -1) < 0 && errno != EINTR)
            fatal("wait for the histories");
        for (unsigned i = 0; i < jobs; i++)
            if (job[i].pid != 0 && fds[i].revents != 0 &&
                !job_turn(&job[i], &tasks[job[i].task], each, arg))
                going--;
    }
}

static void take_one(void *arg, size_t task, const struct report *r)
{
    (void)task;
    *(struct report *)arg = *r;
}

void pool_one(const struct sim_options *options, struct report *to)
{
    const struct task task = {
        .options = *options, .first = options->seed, .step = 1, .last = options->seed};

    pool_run(&task, 1, 1, take_one, to);
}
