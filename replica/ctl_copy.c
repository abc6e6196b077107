#include "replica/ctl_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/checkpoint.h"
#include "replica/ctl_progress.h"
#include "replica/wal.h"

enum { PIECE = 256 * 1024 }; /* bytes copied or compared at a time */

/* ---- what is to be copied ---- */

static bool is_checkpoint(const char *name)
{
    char expected[DISK_NAME_MAX + 1];
    uint64_t number;

    if (sscanf(name, "%16" SCNu64, &number) != 1)
        return false;
    checkpoint_name(number, expected);
    return strcmp(name, expected) == 0;
}

static enum err add(struct copy *c, const char *name)
{
    if (c->count == c->size) {
        size_t size = c->size == 0 ? 64 : 2 * c->size;
        struct copy_file *list = reallocarray(c->list, size, sizeof *list);

        if (list == NULL)
            return ERR_MEMORY;
        c->list = list;
        c->size = size;
    }
    c->list[c->count] = (struct copy_file){.fd = -1, .base = UINT64_MAX};
    snprintf(c->list[c->count++].name, sizeof c->list->name, "%.*s", DISK_NAME_MAX, name);
    return ERR_OK;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(((const struct copy_file *)a)->name,
                  ((const struct copy_file *)b)->name);
}

static enum err list(struct copy *c, int folder, const char *path)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    enum err err = ERR_OK;
    uint64_t number;

    if (stream == NULL) {
        if (fd >= 0)
            close(fd);
        return err_errno("list", path);
    }
    for (errno = 0; err == ERR_OK && (entry = readdir(stream)) != NULL; errno = 0)
        if (wal_segment_number(entry->d_name, &number) || is_checkpoint(entry->d_name))
            err = add(c, entry->d_name);
    if (err == ERR_OK && errno != 0)
        err = err_errno("list", path);
    closedir(stream);
    if (err == ERR_OK && c->count > 0)
        qsort(c->list, c->count, sizeof *c->list, name_order);
    return err;
}

static enum err read_header(struct copy_file *f, uint64_t number)
{
    uint8_t bytes[WAL_SEGMENT_HEADER] = {0};
    struct wal_segment segment;
    enum err err;

    if (pread(f->fd, bytes, sizeof bytes, 0) < 0)
        return err_errno("read", f->name);
    err = wal_segment_parse(bytes, number, &segment);
    if (err == ERR_OK && segment.size != f->size)
        err = ERR_CORRUPT;
    if (err != ERR_OK) {
        log_alarm("%s: the segment's header: %s", f->name, err_name(err));
        return err;
    }
    f->base = segment.base;
    return ERR_OK;
}

static enum err open_one(struct copy_file *f, int folder)
{
    struct stat st;
    uint64_t number;

    f->fd = openat(folder, f->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (f->fd < 0 && errno == ENOENT)
        return ERR_AGAIN;
    if (f->fd < 0)
        return err_errno("open", f->name);
    if (fstat(f->fd, &st) != 0)
        return err_errno("stat", f->name);
    f->size = (uint64_t)st.st_size;
    return wal_segment_number(f->name, &number) ? read_header(f, number) : ERR_OK;
}

/* A folder is not listed at one moment: one made meanwhile may be there and one made before it not. */
static enum err check_gaps(const struct copy *c)
{
    const struct copy_file *last = NULL;

    for (size_t i = 0; i < c->count; i++) {
        const struct copy_file *f = &c->list[i];

        if (f->base == UINT64_MAX)
            continue;
        if (last != NULL && f->base != last->base + last->size)
            return ERR_AGAIN;
        last = f;
    }
    return ERR_OK;
}

/* A log that peers hold up may have many segments, and each is open. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* Else opening one will say so. */
}

enum err copy_open(struct copy *c, const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err err;

    *c = (struct copy){.list = NULL};
    if (fd < 0)
        return err_errno("open", folder);
    raise_descriptors();
    err = list(c, fd, folder);
    for (size_t i = 0; i < c->count && err == ERR_OK; i++)
        err = open_one(&c->list[i], fd);
    if (err == ERR_OK)
        err = check_gaps(c);
    close(fd);
    if (err != ERR_OK)
        copy_close(c);
    return err;
}

void copy_close(struct copy *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->list[i].fd >= 0)
            close(c->list[i].fd);
    free(c->list);
    *c = (struct copy){.list = NULL};
}

/* How much of a file is copied; behind it a segment has zeros. False: none of it. */
static bool wanted(const struct copy_file *f, uint64_t end, uint64_t *bytes)
{
    *bytes = f->size;
    if (f->base == UINT64_MAX)
        return true;
    if (f->base >= end)
        return false; /* Made ahead. */
    if (end - f->base < f->size)
        *bytes = end - f->base;
    return true;
}

bool copy_reaches(const struct copy *c, uint64_t lsn)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->list[i].base != UINT64_MAX && c->list[i].base < lsn &&
            c->list[i].base + c->list[i].size >= lsn)
            return true;
    return false;
}

uint64_t copy_bytes(const struct copy *c, uint64_t end)
{
    uint64_t all = 0, bytes;

    for (size_t i = 0; i < c->count; i++)
        if (wanted(&c->list[i], end, &bytes))
            all += c->list[i].size;
    return all;
}

/* ---- copying ---- */

struct copying {
    struct progress progress;
    uint8_t piece[PIECE], back[PIECE];
};

static enum err read_exactly(int fd, const char *name, uint64_t at, uint8_t *to,
                             size_t len)
{
    while (len > 0) {
        ssize_t n = pread(fd, to, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno("read", name);
        if (n == 0) {
            log_alarm("%s: shorter than it was", name);
            return ERR_CORRUPT;
        }
        to += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err write_exactly(int fd, const char *name, const uint8_t *from, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, from, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno("write", name);
        from += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

/* What the copy holds in [at, at + len), of which `bytes` in all come from the file. */
static enum err make_piece(struct copying *c, const struct copy_file *f, uint64_t bytes,
                           uint64_t at, size_t len)
{
    size_t given = 0;

    if (at < bytes)
        given = bytes - at < len ? (size_t)(bytes - at) : len;
    memset(c->piece + given, 0, len - given);
    return progress_interrupted() ? ERR_REFUSED
                                  : read_exactly(f->fd, f->name, at, c->piece, given);
}

static size_t piece_at(const struct copy_file *f, uint64_t at)
{
    return f->size - at < PIECE ? (size_t)(f->size - at) : PIECE;
}

static enum err write_copy(struct copying *c, const struct copy_file *f, uint64_t bytes,
                           int to)
{
    enum err err = ERR_OK;

    for (uint64_t at = 0; at < f->size && err == ERR_OK; at += PIECE) {
        size_t len = piece_at(f, at);

        err = make_piece(c, f, bytes, at, len);
        if (err == ERR_OK)
            err = write_exactly(to, f->name, c->piece, len);
        progress_advance(&c->progress, len);
    }
    if (err == ERR_OK && fsync(to) != 0)
        err = err_errno("sync", f->name);
    return err;
}

static enum err compare_copy(struct copying *c, const struct copy_file *f, uint64_t bytes,
                             int to)
{
    enum err err = ERR_OK;

    /* So that it is the disk that is read, and not what was just written. */
    (void)posix_fadvise(to, 0, 0, POSIX_FADV_DONTNEED);
    for (uint64_t at = 0; at < f->size && err == ERR_OK; at += PIECE) {
        size_t len = piece_at(f, at);

        err = make_piece(c, f, bytes, at, len);
        if (err == ERR_OK)
            err = read_exactly(to, f->name, at, c->back, len);
        if (err == ERR_OK && memcmp(c->piece, c->back, len) != 0) {
            log_alarm("%s: what was written reads back different", f->name);
            err = ERR_CORRUPT;
        }
        progress_advance(&c->progress, len);
    }
    return err;
}

static enum err copy_one(struct copying *c, const struct copy_file *f, uint64_t bytes,
                         int to)
{
    int fd =
        openat(to, f->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    enum err err;

    if (fd < 0)
        return err_errno("make", f->name);
    err = write_copy(c, f, bytes, fd);
    if (err == ERR_OK)
        err = compare_copy(c, f, bytes, fd);
    close(fd);
    return err;
}

enum err copy_to(const struct copy *c, uint64_t end, int to, const char *what)
{
    struct copying *copying = malloc(sizeof *copying);
    enum err err = copying == NULL ? ERR_MEMORY : ERR_OK;
    uint64_t bytes;

    if (err == ERR_OK)
        copying->progress = progress_begin(what, 2 * copy_bytes(c, end));
    for (size_t i = 0; i < c->count && err == ERR_OK; i++)
        if (wanted(&c->list[i], end, &bytes))
            err = copy_one(copying, &c->list[i], bytes, to);
    if (copying != NULL)
        progress_end(&copying->progress);
    free(copying);
    return err;
}
