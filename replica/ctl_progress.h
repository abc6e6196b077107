/* replica/ctl_progress.h: how far long work is, with rate and time left: told on a terminal at standard error, and
 * nowhere else. */
#ifndef REPLICA_CTL_PROGRESS_H
#define REPLICA_CTL_PROGRESS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/disk.h"

struct progress {
    const char *what; /* the caller's */
    bool shown, on_terminal;
    uint64_t total, done; /* bytes */
    uint64_t begun_ms, told_ms;
};
struct progress progress_begin(const char *what, uint64_t total);
void progress_advance(struct progress *p, size_t bytes);
/* Takes the line away again. */
void progress_end(struct progress *p);

/* A folder of which as much is to be read as there is. For reading only, as look_disk_open(). Errors: ERR_MEMORY,
 * ERR_IO, ERR_NOT_FOUND: logged but for ERR_MEMORY. */
enum err progress_open(const char *path, const char *what, struct disk **disk);
/* Takes the line away again. */
void progress_close(struct disk *disk);

/* For work that has to clean up behind itself: from now on Ctrl-C, SIGTERM and SIGHUP end nothing, but reading from
 * such a folder is ERR_IO, and whoever does something else looks. */
void progress_catch(void);
bool progress_interrupted(void);

#endif
