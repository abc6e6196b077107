/* What a worker can no longer do once it has entered the sandbox. Each test does it in a
 * child, since there is no way back out. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/sandbox.h"

enum { MIB = 1024 * 1024 };

/* Run act in a sandboxed child; what waitpid() says of it. act returns the exit code. */
static int in_sandbox(int (*act)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        if (sandbox_no_new_rights() != ERR_OK || sandbox_drop_rights() != ERR_OK ||
            sandbox_enter(16 * MIB) != ERR_OK)
            _exit(99);
        _exit(act());
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void ends_with(int (*act)(void), int code)
{
    int status = in_sandbox(act);

    cr_assert(WIFEXITED(status), "it was killed by signal %d", WTERMSIG(status));
    cr_assert_eq(WEXITSTATUS(status), code);
}

/* The instrumented builds have no system call filter, as sandbox.h says. */
static void is_killed(int (*act)(void))
{
#if defined(TALLY_SANITIZE) || defined(TALLY_COVERAGE)
    (void)act;
#else
    int status = in_sandbox(act);

    cr_assert(WIFSIGNALED(status), "it exited with %d", WEXITSTATUS(status));
    cr_assert_eq(WTERMSIG(status), SIGSYS);
#endif
}

static int nothing(void)
{
    return 7;
}

Test(sandbox, a_process_goes_on_inside)
{
    ends_with(nothing, 7);
}

static int open_file(void)
{
    return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? 1 : 0;
}

Test(sandbox, it_can_open_no_file)
{
#if !defined(TALLY_SANITIZE) && !defined(TALLY_COVERAGE)
    ends_with(open_file, 1);
#else
    (void)open_file;
#endif
}

static int start_program(void)
{
    char *const args[] = {"true", NULL};

    execv("/bin/true", args);
    return 1;
}

Test(sandbox, it_can_start_no_program)
{
    is_killed(start_program);
}

static int make_process(void)
{
    return fork() < 0 ? 1 : 0;
}

Test(sandbox, it_can_make_no_process)
{
    is_killed(make_process);
}

static int inet_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0) < 0 ? 1 : 0;
}

Test(sandbox, it_can_make_no_connection_to_another_machine)
{
    is_killed(inet_socket);
}

static int unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 7 : 1;
}

Test(sandbox, it_can_make_the_socket_that_leads_to_the_state_process)
{
    ends_with(unix_socket, 7);
}

static int make_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? 1
               : 0;
}

Test(sandbox, it_can_make_no_memory_executable)
{
    is_killed(make_code);
}

static int trace_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL) == 0 ? 0 : 1;
}

Test(sandbox, it_can_trace_no_process)
{
    is_killed(trace_parent);
}

static int stop_parent(void)
{
    return kill(getppid(), 0) == 0 ? 0 : 1;
}

Test(sandbox, it_can_signal_no_process)
{
    is_killed(stop_parent);
}

static int abort_self(void)
{
    abort();
}

Test(sandbox, an_assertion_still_ends_it_with_sigabrt)
{
    int status = in_sandbox(abort_self);

    cr_assert(WIFSIGNALED(status));
    cr_assert_eq(WTERMSIG(status), SIGABRT);
}

static int take_memory(void)
{
    for (int i = 0; i < 64; i++)
        if (malloc(MIB) == NULL)
            return 7;
    return 1;
}

Test(sandbox, its_memory_is_bounded)
{
#if !defined(TALLY_SANITIZE) && !defined(TALLY_COVERAGE)
    ends_with(take_memory, 7);
#else
    (void)take_memory;
#endif
}

static int no_core(void)
{
    struct rlimit core;

    return getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0 ? 7 : 1;
}

Test(sandbox, dropping_rights_leaves_no_core_file)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(sandbox_drop_rights() == ERR_OK ? no_core() : 99);
    waitpid(pid, &status, 0);
    cr_assert_eq(WEXITSTATUS(status), 7);
}

/* The thread that serves figures is there before the filter is. */
static int gate[2];

static void *open_in_thread(void *arg)
{
    char byte;

    (void)arg;
    if (read(gate[0], &byte, 1) != 1)
        return NULL;
    return open("/etc/passwd", O_RDONLY) < 0 ? gate : NULL;
}

Test(sandbox, a_thread_that_was_there_before_is_inside_too)
{
#if !defined(TALLY_SANITIZE) && !defined(TALLY_COVERAGE)
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        pthread_t thread;
        void *refused;

        if (pipe(gate) != 0 || pthread_create(&thread, NULL, open_in_thread, NULL) != 0 ||
            sandbox_enter(16 * MIB) != ERR_OK || write(gate[1], "x", 1) != 1 ||
            pthread_join(thread, &refused) != 0)
            _exit(99);
        _exit(refused != NULL ? 7 : 1);
    }
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 7);
#else
    (void)open_in_thread;
#endif
}
