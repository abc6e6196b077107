/* replica/disk_posix.c: the disk of a real machine. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/disk.h"

enum { PIECE = 256 * 1024 }; /* bytes written or compared at a time when a file is made */

/* Files being made; what is found under such a name at the start is left over from a crash. */
static const char unfinished[] = ".new";

struct posix_file {
    int fd;
    char name[DISK_NAME_MAX + 1];
};

struct posix_disk {
    struct disk disk; /* first */
    int folder;       /* descriptor */
    int archive;      /* descriptor, or -1 */
    char *path;
    void (*notify)(void *arg);
    void *notify_arg;
    /* The make under way. The thread owns `make`, `piece` and `result` until it sets `done`. */
    bool making;
    pthread_t thread;
    atomic_bool done;
    struct disk_make make;
    enum err result;
    uint8_t piece[PIECE], read_back[PIECE];
};

static struct posix_disk *posix(struct disk *disk)
{
    return (struct posix_disk *)disk;
}

static struct posix_file *posix_file(struct disk_file *file)
{
    return (struct posix_file *)file;
}

static enum err posix_open(struct disk *disk, const char *name, struct disk_file **file)
{
    struct posix_file *f = calloc(1, sizeof *f);

    if (f == NULL)
        return ERR_MEMORY;
    f->fd = openat(posix(disk)->folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (f->fd < 0) {
        free(f);
        return err_errno("open", name);
    }
    snprintf(f->name, sizeof f->name, "%s", name);
    *file = (struct disk_file *)f;
    return ERR_OK;
}

static void posix_close(struct disk_file *file)
{
    close(posix_file(file)->fd);
    free(file);
}

static enum err posix_size(struct disk_file *file, uint64_t *size)
{
    struct stat st;

    if (fstat(posix_file(file)->fd, &st) != 0)
        return err_errno("stat", posix_file(file)->name);
    *size = (uint64_t)st.st_size;
    return ERR_OK;
}

/* Like pread(), until len bytes or the file's end; -1 on an error. */
static ssize_t read_all(int fd, uint64_t offset, void *to, size_t len)
{
    size_t got = 0;

    while (got < len) {
        ssize_t n = pread(fd, (uint8_t *)to + got, len - got, (off_t)(offset + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static bool write_all(int fd, uint64_t offset, const void *from, size_t len)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, from, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        from = (const uint8_t *)from + n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

static enum err posix_read(struct disk_file *file, uint64_t offset, void *to, size_t len,
                           size_t *got)
{
    ssize_t n = read_all(posix_file(file)->fd, offset, to, len);

    if (n < 0)
        return err_errno("read", posix_file(file)->name);
    *got = (size_t)n;
    return ERR_OK;
}

/* In place, in a file whose blocks are all there, so ENOSPC would be a file system's lie: an error like
 * any other. */
static enum err posix_write(struct disk_file *file, uint64_t offset, const void *from,
                            size_t len)
{
    if (write_all(posix_file(file)->fd, offset, from, len))
        return ERR_OK;
    if (err_errno("write", posix_file(file)->name) == ERR_FULL)
        log_error("cannot write %s: no space left for bytes that it has already",
                  posix_file(file)->name);
    return ERR_IO;
}

static enum err posix_sync(struct disk_file *file)
{
    if (fdatasync(posix_file(file)->fd) == 0)
        return ERR_OK;
    if (err_errno("sync", posix_file(file)->name) == ERR_FULL)
        log_error("cannot sync %s: no space left for bytes that it has already",
                  posix_file(file)->name);
    return ERR_IO;
}

/* A stream of the folder's entries of its own, which readdir() may move. */
static DIR *folder_stream(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);

    if (stream == NULL && fd >= 0)
        close(fd);
    return stream;
}

static enum err posix_list(struct disk *disk, void (*each)(void *arg, const char *name),
                           void *arg)
{
    DIR *stream = folder_stream(posix(disk)->folder);
    struct dirent *entry;
    bool failed;

    if (stream == NULL)
        return err_errno("list", posix(disk)->path);
    for (errno = 0; (entry = readdir(stream)) != NULL; errno = 0)
        if (entry->d_name[0] != '.')
            each(arg, entry->d_name);
    failed = errno != 0;
    if (failed)
        err_errno("list", posix(disk)->path);
    closedir(stream);
    return failed ? ERR_IO : ERR_OK;
}

/* An archive that cannot take a file is no reason to stop counting: the log grows meanwhile. */
static enum err archive_file(struct posix_disk *d, const char *name)
{
    if (renameat(d->folder, name, d->archive, name) != 0) {
        if (err_errno("archive", name) == ERR_FULL)
            log_error("cannot archive %s: no space left", name);
        return ERR_REFUSED;
    }
    if (fsync(d->archive) != 0 || fsync(d->folder) != 0)
        return err_errno("sync the archive and", d->path);
    return ERR_OK;
}

static enum err posix_remove(struct disk *disk, const char *name, bool archive)
{
    struct posix_disk *d = posix(disk);

    if (archive && d->archive >= 0)
        return archive_file(d, name);
    if (unlinkat(d->folder, name, 0) != 0)
        return err_errno("remove", name);
    if (fsync(d->folder) != 0)
        return err_errno("sync", d->path);
    return ERR_OK;
}

/* ---- making files, in a thread: nothing here may touch more of the disk than the comment at
 * struct posix_disk grants ---- */

/* The bytes [offset, offset + len) that the file is to hold. */
static void make_piece(struct posix_disk *d, uint64_t offset, size_t len)
{
    const struct disk_make *make = &d->make;
    size_t given = offset < make->len ? make->len - (size_t)offset : 0;

    if (given > len)
        given = len;
    if (given > 0)
        memcpy(d->piece, (const uint8_t *)make->bytes + offset, given);
    memset(d->piece + given, 0, len - given);
}

static enum err make_write(struct posix_disk *d, int fd)
{
    for (uint64_t at = 0; at < d->make.size; at += PIECE) {
        size_t len = d->make.size - at < PIECE ? (size_t)(d->make.size - at) : PIECE;

        make_piece(d, at, len);
        if (!write_all(fd, at, d->piece, len))
            return err_errno("write", d->make.name);
    }
    if (fsync(fd) != 0)
        return err_errno("sync", d->make.name);
    return ERR_OK;
}

static enum err make_compare(struct posix_disk *d, int fd)
{
    for (uint64_t at = 0; at < d->make.size; at += PIECE) {
        size_t len = d->make.size - at < PIECE ? (size_t)(d->make.size - at) : PIECE;
        ssize_t got = read_all(fd, at, d->read_back, len);

        if (got < 0)
            return err_errno("read back", d->make.name);
        make_piece(d, at, len);
        if ((size_t)got < len || memcmp(d->piece, d->read_back, len) != 0) {
            log_alarm("%s: what was written reads back different", d->make.name);
            return ERR_CORRUPT;
        }
    }
    return ERR_OK;
}

static enum err make_file(struct posix_disk *d)
{
    char name[DISK_NAME_MAX + sizeof unfinished];
    enum err err;
    int fd;

    snprintf(name, sizeof name, "%s%s", d->make.name, unfinished);
    fd = openat(d->folder, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                0600);
    if (fd < 0)
        return err_errno("make", name);
    err = make_write(d, fd);
    if (err == ERR_OK)
        err = make_compare(d, fd);
    close(fd);
    if (err == ERR_OK && renameat(d->folder, name, d->folder, d->make.name) != 0)
        err = err_errno("rename", name);
    if (err == ERR_OK && fsync(d->folder) != 0)
        return err_errno("sync", d->path);
    if (err != ERR_OK)
        unlinkat(d->folder, name, 0);
    return err;
}

static void *make_thread(void *arg)
{
    struct posix_disk *d = arg;

    if (d->make.complete != NULL)
        d->make.complete(d->make.arg);
    d->result = make_file(d);
    atomic_store(&d->done, true);
    d->notify(d->notify_arg);
    return NULL;
}

static enum err posix_make(struct disk *disk, const struct disk_make *make)
{
    struct posix_disk *d = posix(disk);

    d->make = *make;
    atomic_store(&d->done, false);
    errno = pthread_create(&d->thread, NULL, make_thread, d);
    if (errno != 0)
        return err_errno("start a thread for", make->name);
    d->making = true;
    return ERR_OK;
}

static enum err posix_made(struct disk *disk)
{
    struct posix_disk *d = posix(disk);

    if (d->making && !atomic_load(&d->done))
        return ERR_AGAIN;
    if (d->making)
        pthread_join(d->thread, NULL);
    d->making = false;
    return d->result;
}

/* ---- the folder ---- */

static void remove_unfinished(void *arg, const char *name)
{
    const struct posix_disk *d = arg;
    size_t len = strlen(name), end = sizeof unfinished - 1;

    if (len > end && strcmp(name + len - end, unfinished) == 0 &&
        unlinkat(d->folder, name, 0) != 0)
        log_warn("cannot remove %s, left over from a crash: %s", name, strerror(errno));
}

static const struct disk_ops posix_ops = {
    .open = posix_open,
    .close = posix_close,
    .size = posix_size,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .list = posix_list,
    .remove = posix_remove,
    .make = posix_make,
    .made = posix_made,
};

static enum err open_folder(const char *path, int *fd)
{
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? err_errno("open", path) : ERR_OK;
}

enum err disk_posix_open(const char *path, const char *archive, void (*notify)(void *arg),
                         void *arg, struct disk **disk)
{
    struct posix_disk *d = calloc(1, sizeof *d);
    enum err err;

    if (d == NULL)
        return ERR_MEMORY;
    d->disk.ops = &posix_ops;
    d->folder = d->archive = -1;
    d->notify = notify;
    d->notify_arg = arg;
    d->path = strdup(path);
    err = d->path == NULL ? ERR_MEMORY : open_folder(path, &d->folder);
    if (err == ERR_OK && archive != NULL)
        err = open_folder(archive, &d->archive);
    if (err == ERR_OK)
        err = posix_list(&d->disk, remove_unfinished, d);
    /* A file that a killed process renamed is seen, but its name may not be durable, and what is going to be
     * written into it is relied on. */
    if (err == ERR_OK && fsync(d->folder) != 0)
        err = err_errno("sync", path);
    if (err != ERR_OK) {
        disk_posix_close(&d->disk);
        return err;
    }
    *disk = &d->disk;
    return ERR_OK;
}

void disk_posix_close(struct disk *disk)
{
    struct posix_disk *d = posix(disk);

    if (d->making)
        pthread_join(d->thread, NULL);
    if (d->folder >= 0)
        close(d->folder);
    if (d->archive >= 0)
        close(d->archive);
    free(d->path);
    free(d);
}
