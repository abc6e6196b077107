/* tests/lib/memory_disk.h: a disk in memory, as the log and the checkpoints see one
 * (replica/disk.h). What was written is read back at once, and survives a crash only once
 * it was synced. Like Linux's page cache it forgets, at a sync that fails, that its bytes
 * still have to be written. Without memory it ends the test. */
#ifndef TESTS_LIB_MEMORY_DISK_H
#define TESTS_LIB_MEMORY_DISK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/disk.h"

/* Empty, and without bounds. To be freed by memory_disk_free(). */
struct disk *memory_disk_new(void);
void memory_disk_free(struct disk *disk);
/* The same files with the same bytes, all of them durable. */
struct disk *memory_disk_copy(const struct disk *disk);

/* ---- faults ---- */

/* Power fails: what was not synced is gone. Open files stay open. */
void memory_disk_crash(struct disk *disk);
/* How many bytes all files may have; a make that needs more ends with ERR_FULL. */
void memory_disk_set_room(struct disk *disk, uint64_t bytes);
/* The nth read, sync, write or make from now on fails with ERR_IO: 1 is the next, 0 none. */
void memory_disk_fail_read(struct disk *disk, unsigned nth);
void memory_disk_fail_sync(struct disk *disk, unsigned nth);
void memory_disk_fail_write(struct disk *disk, unsigned nth);
void memory_disk_fail_make(struct disk *disk, unsigned nth);
/* Of the reads from now on that cover this byte of the file, the nth gives it with a bit
 * changed. */
void memory_disk_misread(struct disk *disk, const char *name, uint64_t offset,
                         unsigned nth);
/* While set, a make that has begun does not end. */
void memory_disk_hold_make(struct disk *disk, bool hold);
/* The archive takes no file: remove() with `archive` set returns ERR_REFUSED. */
void memory_disk_refuse_archive(struct disk *disk, bool refuse);

/* ---- looking, and playing fate ---- */

size_t memory_disk_count(const struct disk *disk);
bool memory_disk_has(const struct disk *disk, const char *name);
/* A file's bytes, as a read would give them; NULL where there is none. */
const uint8_t *memory_disk_bytes(const struct disk *disk, const char *name, size_t *size);
/* Change bytes, durably, behind everybody's back: rot, or what a torn write left. */
void memory_disk_poke(struct disk *disk, const char *name, uint64_t offset,
                      const void *bytes, size_t len);
void memory_disk_flip(struct disk *disk, const char *name, uint64_t offset);
/* Make a file, durably, or replace it. */
void memory_disk_put(struct disk *disk, const char *name, const void *bytes, size_t len);
void memory_disk_delete(struct disk *disk, const char *name);
/* How often a sync had something to do, and how many files went into the archive. */
unsigned memory_disk_syncs(const struct disk *disk);
unsigned memory_disk_archived(const struct disk *disk);
/* Bytes that were read, of all files. */
uint64_t memory_disk_read(const struct disk *disk);

#endif
