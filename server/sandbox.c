#include "server/sandbox.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"

static enum err folder_give(const char *folder, const struct passwd *to)
{
    struct stat st;

    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return err_errno("make the state directory", folder);
    if (stat(folder, &st) != 0)
        return err_errno("look at the state directory", folder);
    if (st.st_uid == 0 && chown(folder, to->pw_uid, to->pw_gid) != 0)
        return err_errno("change the owner of", folder);
    return ERR_OK;
}

enum err sandbox_become(const char *user, const char *folder)
{
    const struct passwd *to;
    enum err err;

    errno = 0;
    to = getpwnam(user);
    if (to == NULL) {
        log_error("there is no user %s: create it (adduser --system %s) or change user= "
                  "in [node]",
                  user, user);
        return ERR_NOT_FOUND;
    }
    err = folder_give(folder, to);
    if (err != ERR_OK)
        return err;
    if (initgroups(user, to->pw_gid) != 0 ||
        setresgid(to->pw_gid, to->pw_gid, to->pw_gid) != 0 ||
        setresuid(to->pw_uid, to->pw_uid, to->pw_uid) != 0)
        return err_errno("become user", user);
    /* Saved ids are gone too: a way back would be one for an attacker as well. */
    if (to->pw_uid != 0 && setuid(0) == 0) {
        log_error("user %s can become root again", user);
        return ERR_IO;
    }
    return ERR_OK;
}

enum err sandbox_no_new_rights(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return err_errno("set", "no_new_privs");
    return ERR_OK;
}

enum err sandbox_drop_rights(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    const struct rlimit no_core = {0, 0};

    if (syscall(SYS_capset, &header, none) != 0)
        return err_errno("drop", "capabilities");
    if (setrlimit(RLIMIT_CORE, &no_core) != 0)
        return err_errno("set", "RLIMIT_CORE");
    return ERR_OK;
}

size_t sandbox_descriptors(size_t wanted)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < wanted) {
        struct rlimit raised = {wanted,
                                limit.rlim_max < wanted ? wanted : limit.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            return wanted;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}

#if defined(TALLY_SANITIZE) || defined(TALLY_COVERAGE)

enum err sandbox_enter(size_t more_bytes)
{
    (void)more_bytes;
    log_warn("this is an instrumented build: the system call filter is left out");
    return ERR_OK;
}

#else

/* What serving calls and figures takes, libmicrohttpd's thread and the C library included. */
static const int allowed[] = {
    /* Calls and their connections. */
    SCMP_SYS(accept4), SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close),
    SCMP_SYS(shutdown), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(setsockopt), SCMP_SYS(getsockopt), SCMP_SYS(getpeername),
    SCMP_SYS(getsockname),
    /* The connection to the state process, which is made anew when that is. */
    SCMP_SYS(connect), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom),
    /* libmicrohttpd's connections and its thread. */
    SCMP_SYS(writev), SCMP_SYS(sendto), SCMP_SYS(fcntl), SCMP_SYS(poll), SCMP_SYS(futex),
    /* Memory. mmap() and mprotect() have rules of their own. */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    /* Time and random numbers; the first three mostly stay in the vDSO. */
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(getrandom),
    /* Signals, and the end. */
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigtimedwait), SCMP_SYS(restart_syscall), SCMP_SYS(getpid),
    SCMP_SYS(gettid), SCMP_SYS(tgkill), SCMP_SYS(exit), SCMP_SYS(exit_group),
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq)};

/* The C library opens files by itself on some rare paths, and copes when it cannot. */
static const int refused[] = {
    SCMP_SYS(open),   SCMP_SYS(openat),    SCMP_SYS(openat2),    SCMP_SYS(creat),
    SCMP_SYS(stat),   SCMP_SYS(lstat),     SCMP_SYS(newfstatat), SCMP_SYS(statx),
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(readlink),   SCMP_SYS(readlinkat)};

static int add_rules(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp unix_only = SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0);
    const struct scmp_arg_cmp own_name = SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0);
    const struct scmp_arg_cmp no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    int rv = 0;

    for (size_t i = 0; i < sizeof allowed / sizeof *allowed && rv == 0; i++)
        rv = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; i < sizeof refused / sizeof *refused && rv == 0; i++)
        rv = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), refused[i], 0);
    if (rv == 0)
        rv = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, unix_only);
    /* libmicrohttpd's thread names itself when it first runs, which may be as late as now. */
    if (rv == 0)
        rv = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, own_name);
    if (rv == 0)
        rv = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, no_code);
    if (rv == 0)
        rv = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, no_code);
    return rv;
}

static int load_filter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int rv;

    if (filter == NULL)
        return -ENOMEM;
    /* All threads; and the kernel's own error numbers, not one ECANCELED for all. */
    rv = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (rv == 0)
        rv = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
    /* The list is searched with every call: a tree finds its place sooner than a chain.
     * */
    if (rv == 0)
        rv = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (rv == 0)
        rv = add_rules(filter);
    if (rv == 0)
        rv = seccomp_load(filter);
    seccomp_release(filter);
    return rv;
}

/* Data memory of this process now, in bytes: what libraries and threads have taken at their start. */
static size_t data_now(void)
{
    FILE *statm = fopen("/proc/self/statm", "r");
    size_t pages = 0;

    if (statm == NULL)
        return 0;
    if (fscanf(statm, "%*u %*u %*u %*u %*u %zu", &pages) != 1)
        pages = 0;
    fclose(statm);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

enum err sandbox_enter(size_t more_bytes)
{
    const size_t now = data_now();
    const struct rlimit data = {now + more_bytes, now + more_bytes};
    int rv;

    if (now == 0)
        log_warn("no /proc here: going on without a limit of memory");
    else if (setrlimit(RLIMIT_DATA, &data) != 0)
        return err_errno("set", "RLIMIT_DATA");
    rv = load_filter();
    if (rv == -EINVAL || rv == -ENOSYS || rv == -EOPNOTSUPP) {
        log_warn("this kernel has no seccomp filters: going on without one");
        return ERR_OK;
    }
    if (rv != 0) {
        errno = -rv;
        return err_errno("load", "the system call filter");
    }
    return ERR_OK;
}

#endif
