/* tests/simulation/simdisk.h: a disk that does all that disks, file systems and their
 * users do to the node.
 *
 * Each file has what reads give (the page cache) and what would be left after a power
 * failure, which differ in sectors that were written and not synced. A failed sync leaves
 * sectors that look clean and are not on the disk: no later sync writes them. Names are
 * likewise seen or durable. */
#ifndef SIMULATION_SIMDISK_H
#define SIMULATION_SIMDISK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/disk.h"
#include "tests/simulation/rng.h"

enum { SECTOR = 512 };

/* How often what goes wrong, in a million operations; all zero: never. */
struct simdisk_rates {
    uint32_t read_error, write_error, sync_error, remove_error, list_error;
    uint32_t make_error, make_differs;
    uint32_t archive_refuses;
    uint32_t cut_make; /* makes that a crash cuts off after the rename */
    uint32_t flip;     /* reads that give one wrong bit */
    uint32_t slow;     /* syncs that take up to sync_ms */
    uint64_t sync_ms;  /* the longest sync */
    uint64_t make_ms;  /* the longest make */
    bool full;         /* no make succeeds */
};

/* Rules that the disk itself breaks, to see whether that is noticed. */
struct simdisk_mutants {
    bool no_sync, no_folder_sync;
};

struct simfile;

/* What the rest of the simulation looks at while the node works. */
struct simdisk_watch {
    void (*writes)(void *arg, const struct simfile *file, uint64_t offset,
                   const void *bytes, size_t len); /* before it is done */
    void (*synced)(void *arg, const struct simfile *file);
    void (*removes)(void *arg, const struct simfile *file);
    void (*make_begins)(void *arg, uint64_t takes_ms);
    void (*made)(void *arg, const struct simfile *file); /* it is durable; may be NULL */
    void *arg;
};

struct simdisk;

/* A copy of a directory: what a user's backup holds. */
struct simcopy;

struct simdisk_counts {
    uint64_t operations;
    uint64_t read_errors, write_errors, sync_errors, remove_errors, list_errors;
    uint64_t make_errors, made_full, archive_refuses, flips, slow_syncs, half_made,
        evicted;
};

struct simdisk *simdisk_new(uint64_t seed, const struct simdisk_watch *watch);
void simdisk_free(struct simdisk *d);
struct disk *simdisk_interface(struct simdisk *d);
struct simdisk_rates *simdisk_rates(struct simdisk *d);
struct simdisk_mutants *simdisk_mutants(struct simdisk *d);
const struct simdisk_counts *simdisk_counts(const struct simdisk *d);

/* ---- the process that uses it ---- */

/* A process starts: what disk_posix_open() does. */
void simdisk_open(struct simdisk *d);
/* The process dies in its n-th action from here on; 0: not at all. An action is an
 * operation of the disk, or a call of simdisk_act(). */
void simdisk_arm(struct simdisk *d, uint64_t actions);
bool simdisk_armed(const struct simdisk *d);
/* An action other than of the disk. False: the process is dead. */
bool simdisk_act(struct simdisk *d);
/* The process is dead: everything fails, nothing changes any more. */
void simdisk_kill(struct simdisk *d);
bool simdisk_dead(const struct simdisk *d);
/* An error was injected into this process; and one after which it must stop, and must not
 * answer. */
bool simdisk_failed(const struct simdisk *d);
bool simdisk_must_stop(const struct simdisk *d);
/* How long its syncs took since simdisk_took_none(). */
uint64_t simdisk_took_ms(const struct simdisk *d);
void simdisk_took_none(struct simdisk *d);
/* Wrong bits that this process was given. */
unsigned simdisk_flipped(const struct simdisk *d);
/* The time that make_begins() announced has come. */
void simdisk_make_ends(struct simdisk *d);

/* ---- between two processes ---- */

/* What a crash leaves of a make; and with `power` of what was not synced. */
void simdisk_crash(struct simdisk *d, bool power);
/* The page cache lets go of pages that look clean and are not. */
void simdisk_evict(struct simdisk *d);
struct simcopy *simdisk_copy(const struct simdisk *d);
void simdisk_restore(struct simdisk *d, const struct simcopy *copy);
void simcopy_free(struct simcopy *copy);
void simdisk_wipe(struct simdisk *d);
/* Over all names and bytes as they read. */
uint64_t simdisk_hash(const struct simdisk *d);

/* ---- files ---- */

/* Calls each() for every file that is seen, in the order of their names. */
void simdisk_each(struct simdisk *d, void (*each)(void *arg, struct simfile *file),
                  void *arg);
/* NULL where there is none. */
struct simfile *simdisk_find(struct simdisk *d, const char *name);
const char *simfile_name(const struct simfile *file);
uint64_t simfile_size(const struct simfile *file);
void simfile_read(const struct simfile *file, uint64_t offset, void *to, size_t len);
/* What a power failure now would leave; false where any of it is not what reads give. */
bool simfile_durable(const struct simfile *file, uint64_t offset, void *to, size_t len);
/* Whether all of it is zero and durable. */
bool simfile_zero(const struct simfile *file, uint64_t offset, uint64_t len);
/* Put bytes where they do not belong, on the disk and in the cache. */
void simfile_plant(struct simfile *file, uint64_t offset, const void *bytes, size_t len);
/* Its user deletes it. */
void simdisk_delete(struct simdisk *d, struct simfile *file);
/* What the file was made of: the first *len bytes. */
const uint8_t *simfile_made(const struct simfile *file, size_t *len);

#endif
