#include "replica/look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/checkpoint.h"

/* ---- a folder for reading ---- */

struct look_disk {
    struct disk disk; /* first */
    int folder;       /* descriptor */
};

struct look_file {
    int fd;
    char name[DISK_NAME_MAX + 1];
};

static const struct look_file *look_file(const struct disk_file *file)
{
    return (const struct look_file *)file;
}

static enum err look_file_open(struct disk *disk, const char *name,
                               struct disk_file **file)
{
    struct look_file *f = calloc(1, sizeof *f);
    enum err err;

    if (f == NULL)
        return ERR_MEMORY;
    f->fd = openat(((struct look_disk *)disk)->folder, name,
                   O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (f->fd < 0) {
        err = err_errno("open", name);
        free(f);
        return err;
    }
    snprintf(f->name, sizeof f->name, "%s", name);
    *file = (struct disk_file *)f;
    return ERR_OK;
}

static void look_file_close(struct disk_file *file)
{
    close(look_file(file)->fd);
    free(file);
}

static enum err look_file_size(struct disk_file *file, uint64_t *size)
{
    struct stat st;

    if (fstat(look_file(file)->fd, &st) != 0)
        return err_errno("stat", look_file(file)->name);
    *size = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err look_file_read(struct disk_file *file, uint64_t offset, void *to,
                               size_t len, size_t *got)
{
    *got = 0;
    while (*got < len) {
        ssize_t n = pread(look_file(file)->fd, (uint8_t *)to + *got, len - *got,
                          (off_t)(offset + *got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno("read", look_file(file)->name);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return ERR_OK;
}

static enum err look_list(struct disk *disk, void (*each)(void *arg, const char *name),
                          void *arg)
{
    int fd = openat(((struct look_disk *)disk)->folder, ".",
                    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    enum err err = ERR_OK;

    if (stream == NULL) {
        err = err_errno("list", "the log's folder");
        if (fd >= 0)
            close(fd);
        return err;
    }
    for (errno = 0; (entry = readdir(stream)) != NULL; errno = 0)
        if (entry->d_name[0] != '.')
            each(arg, entry->d_name);
    if (errno != 0)
        err = err_errno("list", "the log's folder");
    closedir(stream);
    return err;
}

/* What would change anything is not there: to call it is a bug, and ends at once. */
static const struct disk_ops look_ops = {
    .open = look_file_open,
    .close = look_file_close,
    .size = look_file_size,
    .read = look_file_read,
    .list = look_list,
};

enum err look_disk_open(const char *path, struct disk **disk)
{
    struct look_disk *d = calloc(1, sizeof *d);
    enum err err;

    if (d == NULL)
        return ERR_MEMORY;
    d->disk.ops = &look_ops;
    d->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->folder < 0) {
        err = err_errno("open", path);
        free(d);
        return err;
    }
    *disk = &d->disk;
    return ERR_OK;
}

void look_disk_close(struct disk *disk)
{
    close(((struct look_disk *)disk)->folder);
    free(disk);
}

/* ---- what a recovery would find ---- */

static struct core *look_core(const struct public_key *own)
{
    struct core_config config = {.crypto = &crypto_real, .requests = CORE_REQUESTS};

    config.key.public = *own;
    return core_new(&config);
}

/* The newest checkpoint that is whole, as node_open() chooses it. */
static enum err look_checkpoint(struct disk *disk, const struct public_key *own,
                                struct look *look)
{
    uint64_t numbers[CHECKPOINT_KEPT + 1];
    struct checkpoint checkpoint;
    size_t count;
    enum err err = checkpoint_list(disk, numbers, CHECKPOINT_KEPT + 1, &count);

    for (size_t i = 0; i < count && i < CHECKPOINT_KEPT + 1 && err == ERR_OK; i++) {
        look->core = look_core(own);
        if (look->core == NULL)
            return ERR_MEMORY;
        err = checkpoint_load(disk, numbers[i], &crypto_real, look->core, &checkpoint);
        if (err == ERR_OK) {
            look->figures.checkpoint = numbers[i];
            look->figures.checkpoint_lsn = checkpoint.mark.lsn;
            look->figures.end = checkpoint.mark;
            return ERR_OK;
        }
        core_free(look->core);
        look->core = NULL;
        if (err == ERR_CORRUPT)
            err = ERR_OK;
    }
    if (err == ERR_OK && (look->core = look_core(own)) == NULL)
        err = ERR_MEMORY;
    return err;
}

static enum err look_frame(void *arg, const struct wal_frame *frame)
{
    struct look *look = arg;
    enum err err = core_replay(look->core, frame->bytes, frame->len);

    look->figures.recovered_blocks++;
    if (err != ERR_OK && err != ERR_MEMORY)
        log_alarm("%s: the block at offset %" PRIu64 " does not fit: %s", look->end.file,
                  look->end.offset, err_name(err));
    return err;
}

static enum err look_log(struct disk *disk, struct look *look)
{
    const struct wal_mark mark = look->figures.end;
    enum err err = wal_scan(disk, look->figures.checkpoint != 0 ? &mark : NULL,
                            look_frame, look, &look->end);

    if (err == ERR_OK && look->figures.checkpoint == 0 && look->end.first != 0) {
        log_alarm("the log's beginning is gone and no checkpoint is whole");
        return ERR_CORRUPT;
    }
    return err == ERR_MALFORMED || err == ERR_TOO_LONG ? ERR_CORRUPT : err;
}

enum err look_open(struct disk *disk, const struct public_key *own, struct look *look)
{
    enum err err;

    *look = (struct look){.core = NULL};
    err = look_checkpoint(disk, own, look);
    if (err == ERR_OK)
        err = look_log(disk, look);
    if (err != ERR_OK) {
        look_close(look);
        return err;
    }
    core_figures(look->core, &look->figures.core);
    look->figures.end = look->end.mark;
    look->figures.first = look->end.first;
    return ERR_OK;
}

void look_close(struct look *look)
{
    if (look->core != NULL)
        core_free(look->core);
    look->core = NULL;
}
