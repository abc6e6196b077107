#include "tests/simulation/simdisk.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/trace.h"

enum { PAGE = 4096, SECTORS = PAGE / SECTOR };

struct page {
    uint8_t *data; /* what reads give; NULL: zeros */
    uint8_t *old;  /* what is durable, where that differs; else NULL */
    uint8_t dirty,
        lying; /* a bit a sector: differs, and a sync writes it; and never does */
};

struct simfile {
    struct simdisk *disk;
    char name[DISK_NAME_MAX + 1];
    uint64_t size;
    bool seen, durable; /* its name */
    size_t opened;
    size_t page_count;
    struct page *pages;
    uint8_t *made; /* its first bytes as it was made */
    size_t made_len;
    uint32_t *changed; /* pages that have `old` */
    size_t changed_count, changed_size;
    struct simfile *next; /* in the order of names */
};

struct simhandle {
    struct simfile *file;
};

struct simcopy {
    struct simfile *files;
};

struct simdisk {
    struct disk disk; /* first */
    struct rng rng;
    struct simdisk_watch watch;
    struct simdisk_rates rates;
    struct simdisk_mutants mutants;
    struct simdisk_counts counts;
    struct simfile *files;
    uint64_t fuse, took_ms;
    bool dead, failed, must_stop;
    unsigned flipped;
    struct {
        struct disk_make make;
        uint64_t hash; /* of what is to be written, at its begin */
        bool going, ended;
        enum err result;
    } making;
};

static struct simdisk *sim(struct disk *disk)
{
    return (struct simdisk *)disk;
}

static struct simhandle *handle(struct disk_file *file)
{
    return (struct simhandle *)file;
}

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* ---- pages ---- */

static size_t pages_of(uint64_t size)
{
    return (size_t)((size + PAGE - 1) / PAGE);
}

static struct simfile *file_new(struct simdisk *d, const char *name, uint64_t size,
                                const void *made, size_t made_len)
{
    struct simfile *f = must(calloc(1, sizeof *f));

    f->disk = d;
    snprintf(f->name, sizeof f->name, "%s", name);
    f->size = size;
    f->page_count = pages_of(size);
    f->pages = must(calloc(f->page_count + 1, sizeof *f->pages));
    f->made = must(malloc(made_len));
    f->made_len = made_len;
    memcpy(f->made, made, made_len);
    return f;
}

static void file_free(struct simfile *f)
{
    for (size_t i = 0; i < f->page_count; i++) {
        free(f->pages[i].data);
        free(f->pages[i].old);
    }
    free(f->pages);
    free(f->made);
    free(f->changed);
    free(f);
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    static const uint8_t zeros[PAGE];

    assert(len <= PAGE);
    return memcmp(bytes, zeros, len) == 0;
}

static void page_changes(struct simfile *f, size_t index)
{
    struct page *p = &f->pages[index];

    if (p->data == NULL)
        p->data = must(calloc(1, PAGE));
    if (p->old != NULL)
        return;
    p->old = must(malloc(PAGE));
    memcpy(p->old, p->data, PAGE);
    if (f->changed_count == f->changed_size) {
        f->changed_size = f->changed_size == 0 ? 16 : 2 * f->changed_size;
        f->changed = must(realloc(f->changed, f->changed_size * sizeof *f->changed));
    }
    f->changed[f->changed_count++] = (uint32_t)index;
}

/* Into the page cache. */
static void cache_write(struct simfile *f, uint64_t offset, const uint8_t *bytes,
                        size_t len)
{
    while (len > 0) {
        size_t index = (size_t)(offset / PAGE), in = (size_t)(offset % PAGE);
        size_t n = len < PAGE - in ? len : PAGE - in;
        struct page *p = &f->pages[index];

        if (p->data != NULL || !all_zero(bytes, n)) {
            page_changes(f, index);
            memcpy(p->data + in, bytes, n);
            for (size_t s = in / SECTOR; s <= (in + n - 1) / SECTOR; s++) {
                p->dirty |= (uint8_t)(1U << s);
                p->lying &= (uint8_t) ~(1U << s);
            }
        }
        offset += n;
        bytes += n;
        len -= n;
    }
}

void simfile_read(const struct simfile *f, uint64_t offset, void *to, size_t len)
{
    uint8_t *at = to;

    while (len > 0) {
        size_t in = (size_t)(offset % PAGE), n = len < PAGE - in ? len : PAGE - in;
        const struct page *p = &f->pages[offset / PAGE];

        if (p->data != NULL)
            memcpy(at, p->data + in, n);
        else
            memset(at, 0, n);
        offset += n;
        at += n;
        len -= n;
    }
}

bool simfile_durable(const struct simfile *f, uint64_t offset, void *to, size_t len)
{
    uint8_t *at = to;
    bool same = true;

    while (len > 0) {
        size_t in = (size_t)(offset % PAGE), n = len < PAGE - in ? len : PAGE - in;
        const struct page *p = &f->pages[offset / PAGE];

        if (p->old != NULL) {
            memcpy(at, p->old + in, n);
            same = same && memcmp(p->old + in, p->data + in, n) == 0;
        } else if (p->data != NULL) {
            memcpy(at, p->data + in, n);
        } else {
            memset(at, 0, n);
        }
        offset += n;
        at += n;
        len -= n;
    }
    return same;
}

bool simfile_zero(const struct simfile *f, uint64_t offset, uint64_t len)
{
    while (len > 0) {
        size_t in = (size_t)(offset % PAGE),
               n = len < PAGE - in ? (size_t)len : PAGE - in;
        const struct page *p = &f->pages[offset / PAGE];

        if ((p->data != NULL && !all_zero(p->data + in, n)) ||
            (p->old != NULL && !all_zero(p->old + in, n)))
            return false;
        offset += n;
        len -= n;
    }
    return true;
}

void simfile_plant(struct simfile *f, uint64_t offset, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;

    for (; len > 0; len--, offset++, from++) {
        struct page *p = &f->pages[offset / PAGE];

        if (p->data == NULL)
            p->data = must(calloc(1, PAGE));
        p->data[offset % PAGE] = *from;
        if (p->old != NULL)
            p->old[offset % PAGE] = *from;
    }
}

/* Calls sector() for each sector that differs; what it leaves in neither dirty nor lying
 * is the same again. Returns how many there were. */
typedef void sector_fn(struct simdisk *d, struct page *p, unsigned sector, void *arg);
static size_t each_sector(struct simfile *f, sector_fn *sector, void *arg)
{
    size_t kept = 0, count = 0;

    for (size_t i = 0; i < f->changed_count; i++) {
        struct page *p = &f->pages[f->changed[i]];

        for (unsigned s = 0; s < SECTORS; s++) {
            if (((p->dirty | p->lying) & (1U << s)) == 0)
                continue;
            sector(f->disk, p, s, arg);
            count++;
        }
        if (p->dirty == 0 && p->lying == 0) {
            free(p->old);
            p->old = NULL;
        } else {
            f->changed[kept++] = f->changed[i];
        }
    }
    f->changed_count = kept;
    return count;
}

static uint8_t *at(uint8_t *page, unsigned sector)
{
    return page + (size_t)sector * SECTOR;
}

static void settle(struct page *p, unsigned s)
{
    p->dirty &= (uint8_t) ~(1U << s);
    p->lying &= (uint8_t) ~(1U << s);
}

static void sector_sync(struct simdisk *d, struct page *p, unsigned s, void *arg)
{
    size_t *synced = arg;

    (void)d;
    if ((p->dirty & (1U << s)) == 0)
        return;
    memcpy(at(p->old, s), at(p->data, s), SECTOR);
    settle(p, s);
    (*synced)++;
}

/* A sync that fails: some reach the disk, the others never will, and look as if they had.
 */
static void sector_fail(struct simdisk *d, struct page *p, unsigned s, void *arg)
{
    size_t *lost = arg;

    if ((p->dirty & (1U << s)) == 0)
        return;
    if (rng_chance(&d->rng, 1, 2)) {
        memcpy(at(p->old, s), at(p->data, s), SECTOR);
        settle(p, s);
        return;
    }
    p->dirty &= (uint8_t) ~(1U << s);
    p->lying |= (uint8_t)(1U << s);
    (*lost)++;
}

static void sector_some(struct simdisk *d, struct page *p, unsigned s, void *arg)
{
    size_t *synced = arg;

    if (rng_chance(&d->rng, 1, 2))
        sector_sync(d, p, s, synced);
}

static void sector_evict(struct simdisk *d, struct page *p, unsigned s, void *arg)
{
    size_t *gone = arg;

    (void)d;
    if ((p->lying & (1U << s)) == 0)
        return;
    memcpy(at(p->data, s), at(p->old, s), SECTOR);
    settle(p, s);
    (*gone)++;
}

struct power {
    unsigned survive_percent, tear_percent;
    size_t unsynced, whole;
};

/* Power fails: a dirty sector is on the disk, or is not, or is cut at a byte. */
static void sector_power(struct simdisk *d, struct page *p, unsigned s, void *arg)
{
    struct power *power = arg;
    uint8_t *now = at(p->data, s), *old = at(p->old, s);
    size_t cut;

    power->unsynced++;
    if ((p->dirty & (1U << s)) == 0) {
        memcpy(now, old, SECTOR);
    } else if (rng_chance(&d->rng, power->survive_percent, 100)) {
        power->whole++;
    } else if (rng_chance(&d->rng, power->tear_percent, 100)) {
        cut = (size_t)rng_below(&d->rng, SECTOR);
        memcpy(now + cut, old + cut, SECTOR - cut);
    } else {
        memcpy(now, old, SECTOR);
    }
    memcpy(old, now, SECTOR);
    settle(p, s);
}

/* ---- names ---- */

static void file_insert(struct simdisk *d, struct simfile *f)
{
    struct simfile **place = &d->files;

    while (*place != NULL && strcmp((*place)->name, f->name) <= 0)
        place = &(*place)->next;
    f->next = *place;
    *place = f;
}

static void drop_gone(struct simdisk *d)
{
    struct simfile **place = &d->files;

    while (*place != NULL) {
        struct simfile *f = *place;

        if (f->seen || f->durable || f->opened > 0) {
            place = &f->next;
            continue;
        }
        *place = f->next;
        file_free(f);
    }
}

static void folder_sync(struct simdisk *d)
{
    if (d->mutants.no_folder_sync)
        return;
    for (struct simfile *f = d->files; f != NULL; f = f->next)
        f->durable = f->seen;
    drop_gone(d);
}

/* Each name that was made, replaced or removed since the last sync of the folder is so,
 * or is as before. */
static void folder_power(struct simdisk *d)
{
    const char *last = "";
    bool survives = true;

    for (struct simfile *f = d->files; f != NULL; f = f->next) {
        if (strcmp(f->name, last) != 0)
            survives = rng_chance(&d->rng, 1, 2);
        last = f->name;
        if (f->seen != f->durable)
            f->seen = f->durable = survives ? f->seen : f->durable;
    }
    drop_gone(d);
}

struct simfile *simdisk_find(struct simdisk *d, const char *name)
{
    for (struct simfile *f = d->files; f != NULL; f = f->next)
        if (f->seen && strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

static void check_name(const char *name)
{
    size_t digits = strspn(name, "0123456789");

    if (digits != 16 ||
        (strcmp(name + digits, ".log") != 0 && strcmp(name + digits, ".checkpoint") != 0))
        broken("the file %s is none of the node's", name);
}

/* ---- operations ---- */

enum step { GOES_ON, DIES, DEAD };

static enum step step(struct simdisk *d)
{
    d->counts.operations++;
    if (d->dead)
        return DEAD;
    if (d->fuse == 0 || --d->fuse > 0)
        return GOES_ON;
    d->dead = true;
    return DIES;
}

static bool fails(struct simdisk *d, uint32_t rate, uint64_t *count, enum trace_kind kind,
                  const char *name)
{
    if (rate == 0 || !rng_chance(&d->rng, rate, 1000000))
        return false;
    ++*count;
    d->failed = true;
    if (kind == TRACE_READ_ERROR)
        trace_name(kind, name, 0, 0);
    else
        d->must_stop = true;
    return true;
}

static enum err sim_open(struct disk *disk, const char *name, struct disk_file **file)
{
    struct simdisk *d = sim(disk);
    struct simhandle *h;

    check_name(name);
    if (step(d) != GOES_ON)
        return ERR_IO;
    if (simdisk_find(d, name) == NULL)
        return ERR_NOT_FOUND;
    h = must(malloc(sizeof *h));
    h->file = simdisk_find(d, name);
    h->file->opened++;
    *file = (struct disk_file *)h;
    return ERR_OK;
}

static void sim_close(struct disk_file *file)
{
    handle(file)->file->opened--;
    free(handle(file));
}

static enum err sim_size(struct disk_file *file, uint64_t *size)
{
    const struct simfile *f = handle(file)->file;

    if (step(f->disk) != GOES_ON)
        return ERR_IO;
    *size = f->size;
    return ERR_OK;
}

static enum err sim_read(struct disk_file *file, uint64_t offset, void *to, size_t len,
                         size_t *got)
{
    const struct simfile *f = handle(file)->file;
    struct simdisk *d = f->disk;
    size_t n = offset >= f->size ? 0 : (size_t)(f->size - offset);

    if (step(d) != GOES_ON)
        return ERR_IO;
    if (fails(d, d->rates.read_error, &d->counts.read_errors, TRACE_READ_ERROR, f->name))
        return ERR_IO;
    n = n < len ? n : len;
    simfile_read(f, offset, to, n);
    *got = n;
    trace_name(TRACE_READ, f->name, offset, n);
    if (n > 0 && d->rates.flip > 0 && rng_chance(&d->rng, d->rates.flip, 1000000)) {
        /* Where something stands, for zeros are most of it. */
        size_t place = (size_t)rng_below(&d->rng, n);

        for (size_t i = 0; i < n && ((uint8_t *)to)[place] == 0; i++)
            place = place > 0 ? place - 1 : n - 1;
        ((uint8_t *)to)[place] ^= (uint8_t)(1U << rng_below(&d->rng, 8));
        d->flipped++;
        d->counts.flips++;
        trace_name(TRACE_FLIP, f->name, offset + place, 0);
    }
    return ERR_OK;
}

static enum err sim_write(struct disk_file *file, uint64_t offset, const void *from,
                          size_t len)
{
    struct simfile *f = handle(file)->file;
    struct simdisk *d = f->disk;
    enum step next = step(d);

    if (next == DEAD)
        return ERR_IO;
    if (offset > f->size || len > f->size - offset)
        broken("%s: a write of %zu bytes at %" PRIu64 " leaves the file's %" PRIu64,
               f->name, len, offset, f->size);
    if (d->must_stop)
        broken("%s is written to after an error", f->name);
    d->watch.writes(d->watch.arg, f, offset, from, len);
    trace_name(TRACE_WRITE, f->name, len, offset);
    if (next == DIES) {
        cache_write(f, offset, from, (size_t)rng_below(&d->rng, len + 1));
        return ERR_IO;
    }
    if (fails(d, d->rates.write_error, &d->counts.write_errors, TRACE_WRITE_ERROR,
              f->name)) {
        len = (size_t)rng_below(&d->rng, len + 1);
        trace_name(TRACE_WRITE_ERROR, f->name, len, 0);
        cache_write(f, offset, from, len);
        return ERR_IO;
    }
    cache_write(f, offset, from, len);
    return ERR_OK;
}

static void sync_takes(struct simdisk *d)
{
    if (d->rates.slow == 0 || !rng_chance(&d->rng, d->rates.slow, 1000000))
        return;
    d->took_ms += rng_wide(&d->rng, 1, d->rates.sync_ms);
    d->counts.slow_syncs++;
}

static enum err sim_sync(struct disk_file *file)
{
    struct simfile *f = handle(file)->file;
    struct simdisk *d = f->disk;
    enum step next = step(d);
    size_t sectors = 0;

    if (next == DEAD)
        return ERR_IO;
    sync_takes(d);
    if (next == DIES) {
        each_sector(f, sector_some, &sectors);
        return ERR_IO;
    }
    if (d->mutants.no_sync)
        return ERR_OK;
    if (fails(d, d->rates.sync_error, &d->counts.sync_errors, TRACE_SYNC_ERROR,
              f->name)) {
        each_sector(f, sector_fail, &sectors);
        trace_name(TRACE_SYNC_ERROR, f->name, sectors, 0);
        return ERR_IO;
    }
    each_sector(f, sector_sync, &sectors);
    trace_name(TRACE_SYNC, f->name, sectors, 0);
    d->watch.synced(d->watch.arg, f);
    return ERR_OK;
}

static enum err sim_list(struct disk *disk, void (*each)(void *arg, const char *name),
                         void *arg)
{
    struct simdisk *d = sim(disk);

    if (step(d) != GOES_ON)
        return ERR_IO;
    if (fails(d, d->rates.list_error, &d->counts.list_errors, TRACE_READ_ERROR, "list"))
        return ERR_IO;
    for (struct simfile *f = d->files; f != NULL; f = f->next)
        if (f->seen)
            each(arg, f->name);
    return ERR_OK;
}

static enum err sim_remove(struct disk *disk, const char *name, bool archive)
{
    struct simdisk *d = sim(disk);
    struct simfile *f = simdisk_find(d, name);
    enum step next = step(d);

    check_name(name);
    if (next == DEAD)
        return ERR_IO;
    if (f == NULL)
        broken("%s is removed and is not there", name);
    if (d->must_stop)
        broken("%s is removed after an error", name);
    if (archive && d->rates.archive_refuses > 0 &&
        rng_chance(&d->rng, d->rates.archive_refuses, 1000000)) {
        d->counts.archive_refuses++;
        trace_name(TRACE_ARCHIVE_REFUSES, name, 0, 0);
        return ERR_REFUSED;
    }
    d->watch.removes(d->watch.arg, f);
    trace_name(TRACE_REMOVE, name, 0, 0);
    f->seen = false;
    if (next == DIES || fails(d, d->rates.remove_error, &d->counts.remove_errors,
                              TRACE_WRITE_ERROR, name))
        return ERR_IO;
    folder_sync(d);
    return ERR_OK;
}

/* ---- making ---- */

static uint64_t make_hash(const struct disk_make *make)
{
    static const uint8_t key[crypto_shorthash_KEYBYTES] = "what is made";
    uint64_t hash;

    crypto_shorthash((uint8_t *)&hash, make->bytes, make->len, key);
    return hash;
}

static enum err sim_make(struct disk *disk, const struct disk_make *make)
{
    struct simdisk *d = sim(disk);
    uint64_t takes;

    check_name(make->name);
    if (d->making.going)
        broken("%s is made while %s is", make->name, d->making.make.name);
    if (step(d) != GOES_ON)
        return ERR_IO;
    if (d->must_stop)
        broken("%s is made after an error", make->name);
    takes = rng_wide(&d->rng, 1, d->rates.make_ms > 0 ? d->rates.make_ms : 1);
    trace_name(TRACE_MAKE, make->name, make->size, takes);
    d->making.make = *make;
    if (make->complete != NULL)
        make->complete(make->arg);
    d->making.hash = make_hash(make);
    d->making.going = true;
    d->making.ended = false;
    d->watch.make_begins(d->watch.arg, takes);
    return ERR_OK;
}

/* The file stands, whole, with its name seen and not yet durable. */
static struct simfile *make_file(struct simdisk *d)
{
    const struct disk_make *make = &d->making.make;
    struct simfile *f, *replaced = simdisk_find(d, make->name);

    if (make_hash(make) != d->making.hash)
        broken("%s: the bytes changed while it was made", make->name);
    if (replaced != NULL)
        replaced->seen = false;
    f = file_new(d, make->name, make->size, make->bytes, make->len);
    simfile_plant(f, 0, make->bytes, make->len);
    f->seen = true;
    file_insert(d, f);
    drop_gone(d);
    return f;
}

/* The process dies in the middle of it: it may have come as far as to rename the file. */
static void make_cut_off(struct simdisk *d)
{
    if (d->making.going && !d->making.ended && !d->rates.full && d->rates.cut_make > 0 &&
        rng_chance(&d->rng, d->rates.cut_make, 1000000)) {
        trace_name(TRACE_HALF_MADE, d->making.make.name, 0, 0);
        d->counts.half_made++;
        make_file(d);
    }
    d->making.going = false;
}

void simdisk_make_ends(struct simdisk *d)
{
    const struct simfile *file;
    enum err err = ERR_OK;

    if (!d->making.going || d->making.ended || d->dead)
        return;
    if (d->rates.full) {
        err = ERR_FULL;
        d->counts.made_full++;
    } else if (rng_chance(&d->rng, d->rates.make_error, 1000000)) {
        err = ERR_IO;
        d->counts.make_errors++;
    } else if (rng_chance(&d->rng, d->rates.make_differs, 1000000)) {
        err = ERR_CORRUPT;
        d->counts.make_errors++;
    }
    trace_name(TRACE_MADE, d->making.make.name, err, 0);
    d->making.ended = true;
    d->making.result = err;
    if (err != ERR_OK)
        return;
    file = make_file(d);
    folder_sync(d);
    if (d->watch.made != NULL)
        d->watch.made(d->watch.arg, file);
}

static enum err sim_made(struct disk *disk)
{
    struct simdisk *d = sim(disk);

    if (step(d) != GOES_ON) {
        make_cut_off(d); /* The caller takes it for ended, and its bytes go. */
        return ERR_IO;
    }
    if (!d->making.going)
        broken("nobody asked for a make");
    if (!d->making.ended)
        return ERR_AGAIN;
    d->making.going = false;
    return d->making.result;
}

static const struct disk_ops operations = {
    .open = sim_open,
    .close = sim_close,
    .size = sim_size,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .list = sim_list,
    .remove = sim_remove,
    .make = sim_make,
    .made = sim_made,
};

/* ---- the process ---- */

struct simdisk *simdisk_new(uint64_t seed, const struct simdisk_watch *watch)
{
    struct simdisk *d = must(calloc(1, sizeof *d));

    d->disk.ops = &operations;
    d->watch = *watch;
    rng_seed(&d->rng, seed, 1);
    return d;
}

static void files_free(struct simfile *files)
{
    while (files != NULL) {
        struct simfile *next = files->next;

        file_free(files);
        files = next;
    }
}

void simdisk_free(struct simdisk *d)
{
    files_free(d->files);
    free(d);
}

struct disk *simdisk_interface(struct simdisk *d)
{
    return &d->disk;
}

struct simdisk_rates *simdisk_rates(struct simdisk *d)
{
    return &d->rates;
}

struct simdisk_mutants *simdisk_mutants(struct simdisk *d)
{
    return &d->mutants;
}

const struct simdisk_counts *simdisk_counts(const struct simdisk *d)
{
    return &d->counts;
}

void simdisk_open(struct simdisk *d)
{
    d->dead = d->failed = d->must_stop = false;
    d->flipped = 0;
    d->fuse = 0;
    d->making.going = false;
    /* What a killed process renamed may not be durable yet, and is going to be relied on.
     */
    folder_sync(d);
}

void simdisk_arm(struct simdisk *d, uint64_t actions)
{
    d->fuse = actions;
}

bool simdisk_armed(const struct simdisk *d)
{
    return d->fuse > 0;
}

bool simdisk_act(struct simdisk *d)
{
    return step(d) == GOES_ON;
}

void simdisk_kill(struct simdisk *d)
{
    d->dead = true;
}

bool simdisk_dead(const struct simdisk *d)
{
    return d->dead;
}

bool simdisk_failed(const struct simdisk *d)
{
    return d->failed;
}

bool simdisk_must_stop(const struct simdisk *d)
{
    return d->must_stop;
}

uint64_t simdisk_took_ms(const struct simdisk *d)
{
    return d->took_ms;
}

void simdisk_took_none(struct simdisk *d)
{
    d->took_ms = 0;
}

unsigned simdisk_flipped(const struct simdisk *d)
{
    return d->flipped;
}

/* ---- between two processes ---- */

void simdisk_crash(struct simdisk *d, bool power)
{
    static const unsigned percents[] = {0, 10, 50, 90, 100};
    struct power p = {.survive_percent = percents[rng_below(&d->rng, 5)],
                      .tear_percent = percents[rng_below(&d->rng, 5)]};

    assert(d->dead);
    make_cut_off(d);
    if (!power)
        return;
    folder_power(d);
    for (struct simfile *f = d->files; f != NULL; f = f->next)
        each_sector(f, sector_power, &p);
    trace(TRACE_POWER, p.unsynced, p.whole);
}

void simdisk_evict(struct simdisk *d)
{
    size_t gone = 0;

    for (struct simfile *f = d->files; f != NULL; f = f->next)
        each_sector(f, sector_evict, &gone);
    if (gone == 0)
        return;
    d->counts.evicted++;
    trace(TRACE_EVICTED, gone, 0);
}

static struct simfile *file_copy(struct simdisk *d, const struct simfile *from)
{
    struct simfile *f = file_new(d, from->name, from->size, from->made, from->made_len);

    for (size_t i = 0; i < f->page_count; i++) {
        if (from->pages[i].data == NULL)
            continue;
        f->pages[i].data = must(malloc(PAGE));
        memcpy(f->pages[i].data, from->pages[i].data, PAGE);
    }
    f->seen = f->durable = true;
    return f;
}

/* The seen ones of a list of files, copied. */
static struct simfile *files_copy(struct simdisk *d, const struct simfile *files)
{
    struct simfile *copies = NULL, **end = &copies;

    for (; files != NULL; files = files->next) {
        if (!files->seen)
            continue;
        *end = file_copy(d, files);
        end = &(*end)->next;
    }
    return copies;
}

struct simcopy *simdisk_copy(const struct simdisk *d)
{
    struct simcopy *copy = must(calloc(1, sizeof *copy));

    copy->files = files_copy(NULL, d->files);
    return copy;
}

void simdisk_restore(struct simdisk *d, const struct simcopy *copy)
{
    simdisk_wipe(d);
    d->files = files_copy(d, copy->files);
}

void simcopy_free(struct simcopy *copy)
{
    if (copy == NULL)
        return;
    files_free(copy->files);
    free(copy);
}

void simdisk_wipe(struct simdisk *d)
{
    files_free(d->files);
    d->files = NULL;
}

uint64_t simdisk_hash(const struct simdisk *d)
{
    static const uint8_t key[crypto_shorthash_KEYBYTES] = "a whole folder";
    uint64_t hash = 0, part;

    for (const struct simfile *f = d->files; f != NULL; f = f->next) {
        if (!f->seen)
            continue;
        crypto_shorthash((uint8_t *)&part, (const uint8_t *)f->name, strlen(f->name),
                         key);
        hash = hash * 31 + part + f->size;
        for (size_t i = 0; i < f->page_count; i++) {
            if (f->pages[i].data == NULL || all_zero(f->pages[i].data, PAGE))
                continue;
            crypto_shorthash((uint8_t *)&part, f->pages[i].data, PAGE, key);
            hash = hash * 31 + (part ^ i);
        }
    }
    return hash;
}

/* ---- files ---- */

void simdisk_each(struct simdisk *d, void (*each)(void *arg, struct simfile *file),
                  void *arg)
{
    for (struct simfile *f = d->files; f != NULL; f = f->next)
        if (f->seen)
            each(arg, f);
}

const char *simfile_name(const struct simfile *f)
{
    return f->name;
}

uint64_t simfile_size(const struct simfile *f)
{
    return f->size;
}

const uint8_t *simfile_made(const struct simfile *f, size_t *len)
{
    *len = f->made_len;
    return f->made;
}

void simdisk_delete(struct simdisk *d, struct simfile *file)
{
    file->seen = file->durable = false;
    drop_gone(d);
}
