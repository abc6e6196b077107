/* replica/dir.c: the state directory: whose it is, and that one tallyd alone uses it.
 *     FORMAT      "tally state 1"
 *     lock        locked by the master; holds its process id
 *     node.key    the node's key pair (key.h)
 *     log/        segments and checkpoints (FORMAT.md)
 *     ipc/        sockets (common/ipc.h) */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/ipc.h"
#include "common/log.h"
#include "replica/file.h"
#include "replica/state.h"

static const char format[] = "tally state 1\n", any_format[] = "tally state ";

enum {
    LOCK_TRIES = 100,
    LOCK_TRY_MS = 100,
    PID_WIDTH =
        16, /* bytes in the lock file: always as many, so that a full disk cannot refuse them */
};

static enum err make_folder(const char *path)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return ERR_OK;
    return err_errno("make", path);
}

static enum err check_owner(const char *path)
{
    struct stat st;

    if (stat(".", &st) != 0)
        return err_errno("stat", path);
    if ((st.st_mode & 022) == 0 && (st.st_uid == geteuid() || geteuid() == 0))
        return ERR_OK;
    log_error(
        "the state directory %s can be written by others or belongs to somebody else: make "
        "it 0700 and this user's own (user id %u)",
        path, (unsigned)geteuid());
    return ERR_REFUSED;
}

/* What may stand in a folder that is to become a state directory. */
static bool harmless(const char *name)
{
    size_t len = strlen(name);

    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
           strcmp(name, "lost+found") == 0 ||
           (len > 4 &&
            strcmp(name + len - 4, ".new") == 0); /* a first start that crashed */
}

static enum err check_empty(const char *path)
{
    DIR *stream = opendir(".");
    struct dirent *entry;
    enum err err = ERR_OK;

    if (stream == NULL)
        return err_errno("list", path);
    while (err == ERR_OK && (entry = readdir(stream)) != NULL) {
        if (harmless(entry->d_name))
            continue;
        log_error(
            "%s is not a state directory of Tally's: it holds %s and no file FORMAT; name "
            "an empty or a new folder in tally.conf (state =)",
            path, entry->d_name);
        err = ERR_REFUSED;
    }
    closedir(stream);
    return err;
}

static enum err check_format(const char *path)
{
    char text[64] = "";
    ssize_t len;
    int fd = open("FORMAT", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    enum err err;

    if (fd < 0 && errno == ENOENT) {
        err = check_empty(path);
        return err == ERR_OK ? file_make("FORMAT", format, sizeof format - 1) : err;
    }
    if (fd < 0)
        return err_errno("open", "FORMAT");
    len = read(fd, text, sizeof text - 1);
    close(fd);
    if (len < 0)
        return err_errno("read", "FORMAT");
    if (strcmp(text, format) == 0)
        return ERR_OK;
    if (strncmp(text, any_format, sizeof any_format - 1) == 0)
        log_error("%s is of a newer version: run that version of Tally", path);
    else if (strncmp(text, "tally backup ", 13) == 0)
        log_error("%s is a backup: tallyctl restore makes a state directory of it", path);
    else if (strncmp(text, "tally unfinished ", 17) == 0)
        log_error("%s is of a restore that was not finished: run tallyctl restore again",
                  path);
    else
        log_error(
            "%s is not a state directory of Tally's: its file FORMAT says something else; "
            "name another folder in tally.conf (state =)",
            path);
    return ERR_REFUSED;
}

/* Who has the lock, or 0 where that process is no more. */
static pid_t lock_holder(int fd)
{
    char text[PID_WIDTH + 1] = "";
    long pid;

    if (pread(fd, text, PID_WIDTH, 0) <= 0)
        return 0;
    pid = strtol(text, NULL, 10);
    return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM) ? (pid_t)pid : 0;
}

static void lock_sign(int fd)
{
    char text[PID_WIDTH + 1];

    snprintf(text, sizeof text, "%-*ld\n", PID_WIDTH - 1, (long)getpid());
    if (pwrite(fd, text, PID_WIDTH, 0) != PID_WIDTH)
        log_warn("cannot write the process id into the lock file: %s", strerror(errno));
}

/* Children of a master that was killed still hold the lock for the moment that they need to end. */
static enum err take_lock(const char *path, int *lock_fd)
{
    int fd = open("lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    pid_t holder;

    if (fd < 0)
        return err_errno("open", "lock");
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            lock_sign(fd);
            *lock_fd = fd;
            return ERR_OK;
        }
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        holder = lock_holder(fd);
        if (holder != 0) {
            log_error("another tallyd, process %ld, uses the state directory %s",
                      (long)holder, path);
            close(fd);
            return ERR_REFUSED;
        }
        poll(NULL, 0, LOCK_TRY_MS);
    }
    log_error(
        "cannot lock %s/lock: %s; processes of an earlier tallyd may still be ending",
        path, strerror(errno));
    close(fd);
    return ERR_REFUSED;
}

static enum err enter(const char *path, int *lock_fd)
{
    enum err err = make_folder(path);

    if (err == ERR_OK && chdir(path) != 0)
        err = err_errno("enter", path);
    if (err == ERR_OK)
        err = check_owner(path);
    if (err == ERR_OK)
        err = check_format(path);
    if (err == ERR_OK)
        err = take_lock(path, lock_fd);
    if (err == ERR_OK)
        err = make_folder("log");
    if (err == ERR_OK)
        err = make_folder(IPC_FOLDER);
    return err;
}

enum err state_dir_enter(const struct conf *conf, int *lock_fd)
{
    enum err err = enter(conf->state_dir, lock_fd);

    if (err == ERR_FULL)
        log_error("no space left to begin a state directory in %s", conf->state_dir);
    return err;
}
