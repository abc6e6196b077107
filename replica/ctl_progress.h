/* replica/ctl_progress.h: a folder of which as much is to be read as there is, and how far that is: told on a
 * terminal at standard error, and nowhere else. */
#ifndef REPLICA_CTL_PROGRESS_H
#define REPLICA_CTL_PROGRESS_H
#include "replica/disk.h"

/* For reading only, as look_disk_open(). Errors: ERR_MEMORY, ERR_IO, ERR_NOT_FOUND: logged but for ERR_MEMORY. */
enum err progress_open(const char *path, const char *what, struct disk **disk);
/* Takes the line away again. */
void progress_close(struct disk *disk);

#endif
