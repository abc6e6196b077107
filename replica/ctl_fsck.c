/* replica/ctl_fsck.c: tallyctl fsck: what is damaged in a state directory, what is safe, what the next start will do,
 * and what to do. It changes nothing. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/checkpoint.h"
#include "replica/ctl_history.h"
#include "replica/ctl_progress.h"
#include "replica/key.h"
#include "replica/look.h"
#include "replica/verify.h"

enum { SEGMENTS_MAX = 65536 }; /* looked at for gaps */

/* What the next start will do; the worst of what was found. */
enum next_start { GOES_ON, REFUSES };

struct fsck {
    struct ctl *ctl;
    json_t *findings; /* {"what", "do"} */
    bool damaged;
    enum next_start next;
    bool key_known, has_log;
    struct public_key key;
    struct verify_report report;
    uint64_t segments[SEGMENTS_MAX]; /* their numbers, in no order */
    size_t segment_count;
    bool gaps; /* between them: nothing behind one can be read in its place */
};

__attribute__((format(printf, 3, 4))) static void found(struct fsck *f, const char *what,
                                                        const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_array_append_new(f->findings, json_pack("{s:s, s:s}", "what", what, "do", text));
}

static void damage(struct fsck *f, enum next_start next)
{
    f->damaged = true;
    if (next > f->next)
        f->next = next;
}

/* ---- the key ---- */

static void see_key(struct fsck *f)
{
    struct key_pair pair = {.public = {{0}}};
    enum err err = key_read(false, &pair);

    f->key_known = err == ERR_OK;
    f->key = pair.public;
    sodium_memzero(&pair, sizeof pair);
    if (err == ERR_OK || (err == ERR_NOT_FOUND && f->ctl->node.backup))
        return;
    if (err == ERR_NOT_FOUND && !f->has_log) {
        found(f, "there is no " KEY_FILE " and no log yet",
              "nothing: the next start makes both");
        return;
    }
    damage(f, REFUSES);
    if (err == ERR_NOT_FOUND)
        found(f, KEY_FILE " is missing beside a log",
              "put it back from a backup, with mode 0600. If it is lost: with peers, see "
              "below, and tell them the new key (tallyd -k); without, nothing signs for "
              "this log any more");
    else
        found(
            f, KEY_FILE " cannot be used",
            "make it 0600 and the node's user's own; if it is damaged put it back from a "
            "backup");
}

/* ---- the log's folder ---- */

static void see_file(void *arg, const char *name)
{
    struct fsck *f = arg;
    size_t len = strlen(name);

    f->has_log = true;
    if (len == 20 && strcmp(name + 16, ".log") == 0 && f->segment_count < SEGMENTS_MAX)
        f->segments[f->segment_count++] = strtoull(name, NULL, 10);
    if (len > 4 && strcmp(name + len - 4, ".new") == 0 && !f->ctl->node.running) {
        char what[DISK_NAME_MAX + 64];

        snprintf(what, sizeof what, "log/%.63s was being made when the node ended", name);
        found(f, what, "nothing: the next start removes it, and makes it anew");
    }
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Segments follow one another without a gap. */
static void see_gaps(struct fsck *f)
{
    qsort(f->segments, f->segment_count, sizeof f->segments[0], by_number);
    for (size_t i = 1; i < f->segment_count; i++) {
        uint64_t missing = f->segments[i - 1] + 1;
        char what[96];

        if (f->segments[i] == missing)
            continue;
        snprintf(what, sizeof what, "log/%016" PRIu64 ".log is missing", missing);
        f->gaps = true;
        damage(f, GOES_ON); /* That it refuses is seen by trying. */
        found(f, what,
              "put it back from a backup, if there is one: a full segment never changes");
    }
}

static void see_checkpoint(struct fsck *f, struct disk *disk, uint64_t number,
                           bool newest)
{
    struct checkpoint checkpoint;
    char name[DISK_NAME_MAX + 1], what[128];
    enum err err = checkpoint_load(disk, number, &crypto_real, NULL, &checkpoint);

    checkpoint_name(number, name);
    if (err == ERR_OK && newest && f->key_known &&
        memcmp(checkpoint.maker.byte, f->key.byte, sizeof f->key.byte) != 0) {
        snprintf(what, sizeof what, KEY_FILE " is not the key that signed log/%s", name);
        damage(f, GOES_ON);
        found(f, what,
              "put the right key back: with this one the node is another one than that "
              "which counted");
    }
    if (err == ERR_OK || err == ERR_NOT_FOUND) /* a running node may have removed it */
        return;
    snprintf(what, sizeof what, "log/%s is %s", name,
             err == ERR_VERSION ? "of a newer version" : "damaged");
    damage(f, err == ERR_VERSION ? REFUSES : GOES_ON);
    found(f, what,
          err == ERR_VERSION ? "run that version of Tally"
                             : "nothing by hand: the one before it and the log say the "
                               "same, as long as they are whole. See to the disk");
}

static enum err see_checkpoints(struct fsck *f, struct disk *disk)
{
    uint64_t numbers[CHECKPOINT_KEPT + 1];
    size_t count;
    enum err err = checkpoint_list(disk, numbers, CHECKPOINT_KEPT + 1, &count);

    for (size_t i = 0; i < count && i < CHECKPOINT_KEPT + 1 && err == ERR_OK; i++)
        see_checkpoint(f, disk, numbers[i], i == 0);
    return err;
}

/* ---- every byte ---- */

/* Was it said already that this checkpoint is damaged? */
static bool checkpoint_told(const struct fsck *f)
{
    size_t len = strlen(f->report.file);
    const json_t *finding;
    size_t i;

    if (len < 11 || strcmp(f->report.file + len - 11, ".checkpoint") != 0)
        return false;
    json_array_foreach(f->findings, i, finding)
    {
        const char *what = json_string_value(json_object_get(finding, "what"));

        if (strstr(what, f->report.file) != NULL)
            return true;
    }
    return false;
}

static enum ctl_exit see_bytes(struct fsck *f, struct disk *disk)
{
    const struct verify_report *r = &f->report;
    uint64_t first, limit;
    char what[512];
    enum ctl_exit code = history_limit(f->ctl, &first, &limit);
    enum err err;

    if (code != CTL_FINE || limit == 0)
        return code;
    err =
        verify_log(disk, &crypto_real, f->key_known ? &f->key : NULL, limit, &f->report);
    if (err == ERR_OK)
        return CTL_FINE;
    if (err != ERR_CORRUPT && err != ERR_VERSION) {
        ctl_complain("the log cannot be read: %s", err_name(err));
        return CTL_NOT_FINE;
    }
    damage(f, GOES_ON);
    if (f->gaps || checkpoint_told(f))
        return CTL_FINE;
    if (r->file[0] == '\0')
        snprintf(what, sizeof what, "%s",
                 r->reason[0] != '\0' ? r->reason : err_name(err));
    else
        snprintf(what, sizeof what, "log/%s, offset %" PRIu64 ": %s", r->file, r->offset,
                 r->reason);
    found(f, what,
          "what stands before it is whole: %" PRIu64 " counts in %" PRIu64 " blocks",
          r->counts, r->blocks);
    return CTL_FINE;
}

/* ---- what a start would do ---- */

static void tell_start(struct fsck *f, const struct look *look, enum err err)
{
    char what[256];
    bool told;

    if (err == ERR_OK && look->end.torn)
        found(f, "the log's last write was cut off by a crash",
              "nothing: the next start cuts it away. What was answered stands before it; "
              "should just these bytes have rotted instead, peers have them");
    if (err == ERR_OK)
        return;
    snprintf(what, sizeof what,
             "the log cannot be read from the checkpoint on: log/%s, "
             "offset %" PRIu64 ": %s",
             look->end.file, look->end.offset, err_name(err));
    told = f->damaged && err == ERR_CORRUPT;
    damage(f, REFUSES);
    if (!told) /* by what looked at every byte */
        found(f, what, "%s",
              err == ERR_VERSION ? "run the version of Tally that wrote it"
                                 : "see below");
}

static void try_start(struct fsck *f, struct disk *disk)
{
    struct look look;
    enum err err = look_open(disk, &f->key, &look);

    tell_start(f, &look, err);
    if (err == ERR_OK)
        look_close(&look);
}

/* ---- what to do ---- */

static const char with_peers[] =
    "With peers: they hold what they have acknowledged. Stop tallyd, set the\n"
    "directory aside, keep the key, and start; it catches up before it counts:\n"
    "    mv DIR DIR.damaged && mkdir -m 0700 DIR\n"
    "    cp -p DIR.damaged/FORMAT DIR.damaged/node.key DIR/\n"
    "    (and chown DIR to tallyd's user, if it has one)\n"
    "Without peers: put back what is named above from a backup or an image of the\n"
    "disk (a segment that is full never changes), or the whole directory. Look at\n"
    "the disk and the memory first, and keep the damaged directory.\n";

static const char *next_of(const struct fsck *f)
{
    if (f->ctl->node.running)
        return "it runs";
    return f->next == REFUSES || f->ctl->node.backup ? "refuses" : "goes on";
}

static void print_text(const struct fsck *f)
{
    const char *bad = ctl_color(CTL_BAD), *good = ctl_color(CTL_GOOD),
               *plain = ctl_color(CTL_PLAIN);
    const json_t *finding;
    size_t i;

    if (f->damaged)
        printf("%sDAMAGED%s\n", bad, plain);
    else
        printf("%swhole%s: %" PRIu64 " counts in %" PRIu64 " blocks, %" PRIu64
               " checkpoints\n",
               good, plain, f->report.counts, f->report.blocks, f->report.checkpoints);
    json_array_foreach(f->findings, i, finding)
    {
        fputs("- ", stdout);
        ctl_print_wrapped(json_string_value(json_object_get(finding, "what")), 2, 2);
        fputs("    ", stdout);
        ctl_print_wrapped(json_string_value(json_object_get(finding, "do")), 4, 4);
    }
    if (f->ctl->node.running)
        puts("The node runs: what it writes now was left out.");
    else if (f->ctl->node.backup)
        puts("It is a backup: tallyctl restore makes a state directory of it.");
    else if (f->next == REFUSES)
        puts("The next start refuses to run, and changes nothing.");
    else
        puts("The next start goes on where the log ends.");
    if (f->damaged)
        printf("\n%s", with_peers);
}

static void print_json(const struct fsck *f)
{
    json_t *json = json_pack(
        "{s:b, s:s, s:O, s:I, s:I, s:I}", "good", !f->damaged, "next_start", next_of(f),
        "findings", f->findings, "counts", (json_int_t)f->report.counts, "blocks",
        (json_int_t)f->report.blocks, "checkpoints", (json_int_t)f->report.checkpoints);

    ctl_print_json(json);
    json_decref(json);
}

static enum ctl_exit see_log(struct fsck *f, struct disk *disk)
{
    enum err err;
    enum ctl_exit code;

    see_key(f);
    see_gaps(f);
    log_set_level(LOG_LEVEL_NONE);
    err = see_checkpoints(f, disk);
    code = err == ERR_OK ? see_bytes(f, disk) : CTL_NOT_FINE;
    if (code == CTL_FINE && !f->ctl->node.running)
        try_start(f, disk);
    log_set_level(LOG_LEVEL_WARN);
    return code;
}

static enum ctl_exit see_all(struct fsck *f)
{
    struct disk *disk;
    enum ctl_exit code = CTL_NOT_FINE;
    enum err err;

    if (access("log", F_OK) != 0 && errno == ENOENT) {
        see_key(f); /* not begun yet */
        return CTL_FINE;
    }
    err = progress_open("log", "fsck", &disk);
    if (err != ERR_OK)
        return CTL_NOT_FINE;
    err = disk->ops->list(disk, see_file, f);
    if (err == ERR_OK)
        code = see_log(f, disk);
    progress_close(disk);
    return code;
}

enum ctl_exit ctl_fsck(struct ctl *ctl)
{
    static struct fsck f;
    enum ctl_exit code;

    f.ctl = ctl;
    f.findings = json_array();
    code = see_all(&f);
    if (code == CTL_FINE) {
        if (ctl->json)
            print_json(&f);
        else
            print_text(&f);
        code = f.damaged ? CTL_NOT_FINE : CTL_FINE;
    }
    json_decref(f.findings);
    return code;
}
