/* replica/disk.h: the little that the log and the checkpoints need of a file system: one flat
 * folder of files. The POSIX implementation is disk_posix.c; the simulator brings another, which
 * forgets what was not synced, tears writes and fills up.
 *
 * Every failure is final for the caller's process: it stops, and recovery starts anew. Only ERR_FULL
 * from a make may be tried again, because a make that failed has left nothing behind. */
#ifndef REPLICA_DISK_H
#define REPLICA_DISK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { DISK_NAME_MAX = 63 }; /* bytes of a file's name */

struct disk_file;

/* A file to be made whole or not at all: first `len` bytes of `bytes`, then zeros up to `size`. It is
 * written under another name, synced, read back and compared, renamed, and the folder synced. */
struct disk_make {
    char name[DISK_NAME_MAX + 1];
    const void *bytes; /* the caller's; must stay as it is until the make has ended */
    size_t len;
    uint64_t size;
    /* NULL, or what completes the bytes first: called once, perhaps in another thread. */
    void (*complete)(void *arg);
    void *arg;
};

struct disk;
struct disk_ops {
    /* Open an existing file for reading and writing. ERR_NOT_FOUND, ERR_IO. */
    enum err (*open)(struct disk *disk, const char *name, struct disk_file **file);
    void (*close)(struct disk_file *file);
    enum err (*size)(struct disk_file *file, uint64_t *size);
    /* Up to len bytes from offset; *got is less than len only at the file's end. ERR_IO. */
    enum err (*read)(struct disk_file *file, uint64_t offset, void *to, size_t len,
                     size_t *got);
    /* All of it, and only inside the file's size. ERR_IO. */
    enum err (*write)(struct disk_file *file, uint64_t offset, const void *from,
                      size_t len);
    /* Returns when what was written is durable. ERR_IO. */
    enum err (*sync)(struct disk_file *file);
    /* Calls each() once per file, in no order; each() neither makes nor removes. ERR_IO. */
    enum err (*list)(struct disk *disk, void (*each)(void *arg, const char *name),
                     void *arg);
    /* Take a file away: into the archive where there is one, and `archive` is set. Durable when it
     * returns. ERR_REFUSED: the archive does not take it, and it stays; logged. ERR_IO. */
    enum err (*remove)(struct disk *disk, const char *name, bool archive);
    /* Start to make a file, in the background; one at a time. */
    enum err (*make)(struct disk *disk, const struct disk_make *make);
    /* How the last make ended. ERR_AGAIN: it has not. ERR_FULL, ERR_IO, ERR_CORRUPT (read back and
     * found to differ); nothing of the file is left then. */
    enum err (*made)(struct disk *disk);
};

struct disk {
    const struct disk_ops *ops;
};

/* The folder at path, which the caller has made; archive: another folder for what is removed,
 * on the same file system, or NULL. notify(arg) is called from another thread when a make has ended.
 * Errors: ERR_NOT_FOUND, ERR_IO: logged. *disk is freed by disk_posix_close(), which
 * waits for a make under way. */
enum err disk_posix_open(const char *path, const char *archive, void (*notify)(void *arg),
                         void *arg, struct disk **disk);
void disk_posix_close(struct disk *disk);

#endif
