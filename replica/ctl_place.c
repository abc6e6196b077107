#include "replica/ctl_place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/ctl_out.h"
#include "replica/key.h"
#include "replica/state.h"

enum { NAME_SIZE = 64 };

/* ---- what stands there ---- */

/* False ends the listing. */
typedef bool each_fn(void *arg, const char *name);

static enum err list(int folder, const char *path, each_fn *each, void *arg)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (stream == NULL) {
        if (fd >= 0)
            close(fd);
        return err_errno("list", path);
    }
    while ((entry = readdir(stream)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !each(arg, entry->d_name))
            break;
    closedir(stream);
    return ERR_OK;
}

static bool note_other(void *arg, const char *name)
{
    if (strcmp(name, "lost+found") == 0 || strcmp(name, "FORMAT.new") == 0)
        return true;
    snprintf(arg, NAME_SIZE, "%.*s", NAME_SIZE - 1, name);
    return false;
}

static bool is_marked(const struct place *p)
{
    struct stat st;

    return p->aside && fstat(p->folder, &st) == 0 && (st.st_mode & S_ISVTX) != 0;
}

/* Whether an earlier try has left it: it says so itself, or has not come to its name. */
static bool is_left_over(const struct place *p)
{
    char text[sizeof PLACE_UNFINISHED] = "";
    int fd = openat(p->folder, "FORMAT", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len;

    if (fd < 0)
        return false;
    len = read(fd, text, sizeof text - 1);
    close(fd);
    if (len > 0 && strcmp(text, PLACE_UNFINISHED) == 0)
        return true;
    return is_marked(p) && strncmp(text, PLACE_BACKUP, strlen(PLACE_BACKUP)) == 0;
}

static bool remove_one(void *arg, const char *name)
{
    unlinkat(*(const int *)arg, name, 0);
    return true;
}

/* What was put there, the file FORMAT last: as long as it stands, it is known whose the rest is. */
static void clear(struct place *p)
{
    int log = openat(p->folder, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (log >= 0) {
        list(log, p->path, remove_one, &log);
        close(log);
    }
    unlinkat(p->folder, "log", AT_REMOVEDIR);
    unlinkat(p->folder, KEY_FILE, 0);
    unlinkat(p->folder, KEY_FILE ".new", 0);
    unlinkat(p->folder, STATE_RESTORED, 0);
    unlinkat(p->folder, STATE_RESTORED ".new", 0);
    unlinkat(p->folder, "FORMAT.new", 0);
    unlinkat(p->folder, "FORMAT", 0);
}

static enum err see_rest(const struct place *p)
{
    char other[NAME_SIZE] = "";
    enum err err = list(p->folder, p->path, note_other, other);

    if (err != ERR_OK || other[0] == '\0')
        return err;
    ctl_complain("%s is not empty: it holds %s; name a new folder, or set this one aside",
                 p->path, other);
    return ERR_REFUSED;
}

/* ---- making it ---- */

static enum err open_folder(struct place *p)
{
    p->made = mkdir(p->path, 0700) == 0;
    if (!p->made && errno != EEXIST)
        return err_errno("make", p->path);
    p->folder = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (p->folder < 0)
        return err_errno("open", p->path);
    if (flock(p->folder, LOCK_EX | LOCK_NB) == 0)
        return ERR_OK;
    if (errno != EWOULDBLOCK)
        return err_errno("lock", p->path);
    ctl_complain("another process is just filling %s", p->path);
    return ERR_REFUSED;
}

static enum err open_log(struct place *p)
{
    if (mkdirat(p->folder, "log", 0700) != 0)
        return err_errno("make", "log");
    p->log = openat(p->folder, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->log < 0)
        return err_errno("open", "log");
    return fchown(p->log, p->owner, p->group) == 0 ? ERR_OK : err_errno("own", "log");
}

static enum err fill(struct place *p)
{
    enum err err;

    if (is_left_over(p))
        clear(p);
    err = see_rest(p);
    if (err != ERR_OK)
        return err;
    if (fchown(p->folder, p->owner, p->group) != 0)
        err = err_errno("own", p->path);
    if (err == ERR_OK && p->aside && fchmod(p->folder, 0700 | S_ISVTX) != 0)
        err = err_errno("mark", p->path);
    if (err == ERR_OK)
        err = place_put(p, "FORMAT", PLACE_UNFINISHED, sizeof PLACE_UNFINISHED - 1);
    if (err == ERR_OK)
        err = open_log(p);
    if (err != ERR_OK)
        place_undo(p);
    return err;
}

enum err place_open(struct place *p, const char *path, bool aside)
{
    enum err err;

    p->folder = p->log = -1;
    p->aside = aside;
    snprintf(p->path, sizeof p->path, "%s", path);
    err = open_folder(p);
    if (err == ERR_OK)
        err = fill(p);
    if (err != ERR_OK)
        place_close(p);
    return err;
}

static enum err write_file(const struct place *p, int fd, const char *name,
                           const void *bytes, size_t len)
{
    ssize_t written = write(fd, bytes, len);

    if (written >= 0 && written != (ssize_t)len)
        errno = ENOSPC;
    if (written != (ssize_t)len)
        return err_errno("write", name);
    if (fchown(fd, p->owner, p->group) != 0)
        return err_errno("own", name);
    return fsync(fd) == 0 ? ERR_OK : err_errno("sync", name);
}

enum err place_put(const struct place *p, const char *name, const void *bytes, size_t len)
{
    char new[NAME_SIZE];
    enum err err;
    int fd;

    snprintf(new, sizeof new, "%s.new", name);
    fd = openat(p->folder, new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                0600);
    if (fd < 0)
        return err_errno("make", new);
    err = write_file(p, fd, name, bytes, len);
    close(fd);
    if (err == ERR_OK && renameat(p->folder, new, p->folder, name) != 0)
        err = err_errno("rename", new);
    if (err == ERR_OK && fsync(p->folder) != 0)
        err = err_errno("sync", p->path);
    if (err != ERR_OK)
        unlinkat(p->folder, new, 0);
    return err;
}

struct owning {
    const struct place *place;
    enum err err;
};

static bool own_one(void *arg, const char *name)
{
    struct owning *o = arg;
    const struct place *p = o->place;

    if (fchownat(p->log, name, p->owner, p->group, AT_SYMLINK_NOFOLLOW) != 0)
        o->err = err_errno("own", name);
    return o->err == ERR_OK;
}

enum err place_settle(const struct place *p)
{
    struct owning o = {.place = p};
    enum err err = list(p->log, p->path, own_one, &o);

    if (err != ERR_OK || o.err != ERR_OK)
        return err != ERR_OK ? err : o.err;
    return fsync(p->log) == 0 ? ERR_OK : err_errno("sync", "log");
}

enum err place_named(const struct place *p)
{
    return fchmod(p->folder, 0700) == 0 ? ERR_OK : err_errno("unmark", p->path);
}

void place_undo(struct place *p)
{
    clear(p);
    if (p->made && rmdir(p->path) != 0)
        log_warn("%s is left over, and can be removed", p->path);
}

void place_close(struct place *p)
{
    if (p->log >= 0)
        close(p->log);
    if (p->folder >= 0)
        close(p->folder);
    p->folder = p->log = -1;
}

enum err place_sync_parent(const char *path)
{
    char copy[PATH_MAX];
    enum err err = ERR_OK;
    int fd;

    snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        err = err_errno("sync the folder of", path);
    if (fd >= 0)
        close(fd);
    return err;
}
