#include "replica/ctl_progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "replica/ctl_out.h"
#include "replica/look.h"

enum {
    TELL_MS = 200,   /* between two lines */
    FIRST_MS = 1000, /* what takes less needs none */
    WIDTH = 79,
};

struct progress_disk {
    struct disk disk; /* first */
    struct disk *inner;
    struct progress progress;
};

struct progress_file {
    struct progress *progress;
    struct disk *disk; /* of inner */
    struct disk_file *inner;
};

/* ---- Ctrl-C ---- */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void progress_catch(void)
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool progress_interrupted(void)
{
    return interrupted != 0;
}

/* ---- the line ---- */

static void tell(struct progress *p, uint64_t now)
{
    char line[4 * CTL_SIZE_SIZE + 64], done[CTL_SIZE_SIZE], total[CTL_SIZE_SIZE],
        rate[CTL_SIZE_SIZE], left[CTL_SPAN_SIZE];
    uint64_t taken = now - p->begun_ms + 1;
    uint64_t all = p->done > p->total ? p->done : p->total; /* some is read twice */

    ctl_format_size(p->done, done);
    ctl_format_size(all, total);
    ctl_format_size(p->done * 1000 / taken, rate);
    ctl_format_span((all - p->done) / (p->done / taken + 1), left);
    snprintf(line, sizeof line, "%s: %3" PRIu64 " %%, %s of %s, %s/s, %s left", p->what,
             all == 0 ? 100 : p->done * 100 / all, done, total, rate, left);
    fprintf(stderr, "\r%-*.*s", WIDTH, WIDTH, line);
    p->shown = true;
    p->told_ms = now;
}

struct progress progress_begin(const char *what, uint64_t total)
{
    return (struct progress){.what = what,
                             .on_terminal = isatty(STDERR_FILENO) == 1,
                             .total = total,
                             .begun_ms = clock_mono_ms()};
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r%*s\r", WIDTH, "");
    p->shown = false;
}

void progress_advance(struct progress *p, size_t bytes)
{
    uint64_t now;

    p->done += bytes;
    if (!p->on_terminal)
        return;
    now = clock_mono_ms();
    if (now - p->begun_ms >= FIRST_MS && now - p->told_ms >= TELL_MS)
        tell(p, now);
}

/* ---- the folder ---- */

static enum err progress_file_open(struct disk *disk, const char *name,
                                   struct disk_file **file)
{
    struct progress_disk *p = (struct progress_disk *)disk;
    struct progress_file *f = malloc(sizeof *f);
    enum err err;

    if (f == NULL)
        return ERR_MEMORY;
    f->progress = &p->progress;
    f->disk = p->inner;
    err = p->inner->ops->open(p->inner, name, &f->inner);
    if (err != ERR_OK)
        free(f);
    else
        *file = (struct disk_file *)f;
    return err;
}

static void progress_file_close(struct disk_file *file)
{
    struct progress_file *f = (struct progress_file *)file;

    f->disk->ops->close(f->inner);
    free(f);
}

static enum err progress_file_size(struct disk_file *file, uint64_t *size)
{
    struct progress_file *f = (struct progress_file *)file;

    return f->disk->ops->size(f->inner, size);
}

static enum err progress_file_read(struct disk_file *file, uint64_t offset, void *to,
                                   size_t len, size_t *got)
{
    struct progress_file *f = (struct progress_file *)file;
    enum err err;

    *got = 0;
    if (interrupted)
        return ERR_IO;
    err = f->disk->ops->read(f->inner, offset, to, len, got);
    progress_advance(f->progress, *got);
    return err;
}

static enum err progress_list(struct disk *disk,
                              void (*each)(void *arg, const char *name), void *arg)
{
    struct progress_disk *p = (struct progress_disk *)disk;

    return p->inner->ops->list(p->inner, each, arg);
}

static const struct disk_ops progress_ops = {
    .open = progress_file_open,
    .close = progress_file_close,
    .size = progress_file_size,
    .read = progress_file_read,
    .list = progress_list,
};

/* What is being made, or was just removed, does not matter here. */
static void add_size(void *arg, const char *name)
{
    struct progress_disk *p = arg;
    struct disk_file *file;
    uint64_t size;

    if (p->inner->ops->open(p->inner, name, &file) != ERR_OK)
        return;
    if (p->inner->ops->size(file, &size) == ERR_OK)
        p->progress.total += size;
    p->inner->ops->close(file);
}

enum err progress_open(const char *path, const char *what, struct disk **disk)
{
    struct progress_disk *p = calloc(1, sizeof *p);
    enum err err;

    if (p == NULL)
        return ERR_MEMORY;
    p->disk.ops = &progress_ops;
    p->progress = progress_begin(what, 0);
    err = look_disk_open(path, &p->inner);
    if (err == ERR_OK && p->progress.on_terminal)
        err = p->inner->ops->list(p->inner, add_size, p);
    if (err != ERR_OK) {
        free(p);
        return err;
    }
    *disk = &p->disk;
    return ERR_OK;
}

void progress_close(struct disk *disk)
{
    struct progress_disk *p = (struct progress_disk *)disk;

    progress_end(&p->progress);
    look_disk_close(p->inner);
    free(p);
}
