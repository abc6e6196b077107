/* replica/ctl_place.h: a folder that backup or restore fills, and takes away again where it fails. */
#ifndef REPLICA_CTL_PLACE_H
#define REPLICA_CTL_PLACE_H
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/err.h"

/* What a folder's file FORMAT says until all is in it, so that nobody takes it for whole; and then. */
#define PLACE_UNFINISHED "tally unfinished 1\n"
#define PLACE_STATE      "tally state 1\n"
#define PLACE_BACKUP     "tally backup 1\n"

struct place {
    int folder,
        log; /* descriptors of the folder, which is locked, and of `log` in it; -1: not open */
    char path[PATH_MAX];
    bool made;   /* the folder was made here, and goes when all is taken away */
    bool aside;  /* as place_open() has it */
    uid_t owner; /* of all that is put into it; */
    gid_t group; /* (uid_t)-1, (gid_t)-1: whoever does it */
};

/* Make the folder, or lock one that is there, and see what is in it: nothing, or what an earlier try has left, which is
 * cleared away. Then make `log`. What is wrong is told. aside: it gets its name, in a rename, only once all is in it; it
 * has the sticky bit until place_named(), so that what is whole but was never named is known from a backup that
 * somebody gave this name.
 * Errors: ERR_REFUSED  it holds something else, or another process works in it; told
 *         ERR_FULL, not told; ERR_IO, ERR_NOT_FOUND: logged */
enum err place_open(struct place *p, const char *path, bool aside);
/* Make a file, or put it in another's place: written aside, synced, renamed, folder synced. Errors: as place_open(). */
enum err place_put(const struct place *p, const char *name, const void *bytes,
                   size_t len);
/* All files of `log` are the owner's, and durable by their names. ERR_IO, logged. */
enum err place_settle(const struct place *p);
/* It has its name. ERR_IO, logged. */
enum err place_named(const struct place *p);
/* Take away what was put there, and the folder where it was made here. */
void place_undo(struct place *p);
void place_close(struct place *p);

/* fsync() of the folder that holds path. ERR_IO, logged. */
enum err place_sync_parent(const char *path);

#endif
