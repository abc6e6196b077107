/* replica/ctl_backup.c: tallyctl backup: a copy of a node's log as of one place in it, made beside, verified, and
 * renamed when it is whole. The key is left out unless it is asked for: whoever has it is that node, and backups
 * travel to where the node's own disk does not. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "replica/ctl_copy.h"
#include "replica/ctl_history.h"
#include "replica/ctl_manifest.h"
#include "replica/ctl_progress.h"
#include "replica/key.h"
#include "replica/verify.h"

enum {
    OPEN_TRIES = 20
}; /* a node makes or removes a segment every few seconds at most */

struct backup {
    struct ctl *ctl;
    char target[PATH_MAX], beside[PATH_MAX];
    bool with_key;
    struct copy copy;
    json_t *status; /* of the node, as of `end` */
    uint64_t end;
    struct place place;
    struct verify_report report;
    json_t *manifest;
};

/* ---- what is to be copied, and up to where ---- */

static enum ctl_exit ask_end(struct backup *b)
{
    enum ctl_exit code =
        ctl_request(b->ctl, json_pack("{s:s}", "do", "status"), &b->status);

    if (code != CTL_FINE)
        return code;
    b->end = (uint64_t)ctl_number(json_object_get(b->status, "log"), "end");
    return CTL_FINE;
}

/* Everything that was answered before now is durable before `end`. */
static enum ctl_exit choose_end(struct backup *b)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        enum err err = copy_open(&b->copy, "log");
        enum ctl_exit code = CTL_FINE;

        if (err != ERR_OK && err != ERR_AGAIN)
            return CTL_NOT_FINE;
        json_decref(b->status);
        b->status = NULL;
        if (err == ERR_OK)
            code = ask_end(b);
        if (code != CTL_FINE)
            return code;
        if (err == ERR_OK && copy_reaches(&b->copy, b->end))
            return CTL_FINE;
        if (err == ERR_OK && json_is_null(json_object_get(b->status, "position")) &&
            ctl_number(b->status, "streams") == 0) {
            ctl_complain("nothing was ever counted here: there is nothing to back up");
            return CTL_NOT_FINE;
        }
        copy_close(&b->copy);
    }
    ctl_complain("the log's files change faster than they can be opened: try again");
    return CTL_NOT_FINE;
}

/* ---- making it ---- */

/* What to say of an error that is not logged. */
static enum ctl_exit tell(const struct backup *b, enum err err)
{
    char size[CTL_SIZE_SIZE];

    ctl_format_size(copy_bytes(&b->copy, b->end), size);
    if (progress_interrupted())
        ctl_complain("interrupted: nothing of the backup was left");
    else if (err == ERR_FULL)
        ctl_complain("no space left for %s: the backup takes %s; nothing of it was left",
                     b->target, size);
    else
        ctl_complain("no backup was made: %s", err_name(err));
    return CTL_NOT_FINE;
}

static enum err copy_key(const struct backup *b)
{
    char text[256];
    struct key_pair key;
    enum err err = key_read(false, &key);
    ssize_t len = -1;
    int fd;

    sodium_memzero(&key, sizeof key);
    if (err == ERR_NOT_FOUND)
        ctl_complain("--with-key: the node has no key (" KEY_FILE ")");
    if (err != ERR_OK)
        return err;
    fd = open(KEY_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0)
        len = read(fd, text, sizeof text);
    if (len < 0)
        err = err_errno("read", KEY_FILE);
    if (fd >= 0)
        close(fd);
    if (err == ERR_OK)
        err = place_put(&b->place, KEY_FILE, text, (size_t)len);
    sodium_memzero(text, sizeof text);
    return err;
}

static bool read_own_key(const struct backup *b, struct public_key *own)
{
    const char *hex = json_string_value(json_object_get(b->status, "key"));
    size_t len;

    return hex != NULL &&
           sodium_hex2bin(own->byte, sizeof own->byte, hex, strlen(hex), NULL, &len,
                          NULL) == 0 &&
           len == sizeof own->byte;
}

static void tell_misfit(const struct verify_report *r)
{
    if (r->file[0] != '\0')
        ctl_complain("the log is damaged: log/%s, offset %" PRIu64 ": %s", r->file,
                     r->offset, r->reason);
    else
        ctl_complain("the log is damaged: %s", r->reason);
}

/* The copy is what is looked at: it shows that the log was whole, and that the copy is. */
static enum err verify_copy(struct backup *b)
{
    struct public_key own;
    bool known = read_own_key(b, &own);
    char path[PATH_MAX + 8];
    struct disk *disk;
    enum err err;

    snprintf(path, sizeof path, "%s/log", b->beside);
    err = progress_open(path, "verifying", &disk);
    if (err != ERR_OK)
        return err;
    err = verify_log(disk, &crypto_real, known ? &own : NULL, UINT64_MAX, &b->report);
    progress_close(disk);
    if (err == ERR_CORRUPT)
        tell_misfit(&b->report);
    if (err == ERR_OK && b->report.end.mark.lsn != b->end) {
        ctl_complain("the log is damaged: it is whole up to byte %" PRIu64
                     " only, and should be up to %" PRIu64,
                     b->report.end.mark.lsn, b->end);
        err = ERR_CORRUPT;
    }
    return err;
}

static enum err make_manifest(struct backup *b)
{
    char end[HISTORY_PLACE_SIZE];
    const struct verify_report *r = &b->report;

    history_place_format(&r->end.mark, end);
    b->manifest = json_pack(
        "{s:I, s:O, s:O*, s:O, s:O, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "made_ms",
        (json_int_t)clock_wall_ms(), "node", json_object_get(b->status, "node"), "key",
        json_object_get(b->status, "key"), "cluster",
        json_object_get(b->status, "cluster"), "position",
        json_object_get(b->status, "position"), "end", end, "first",
        (json_int_t)r->end.first, "counts", (json_int_t)r->counts, "blocks",
        (json_int_t)r->blocks, "streams", (json_int_t)r->streams, "checkpoints",
        (json_int_t)r->checkpoints, "bytes", (json_int_t)copy_bytes(&b->copy, b->end),
        "with_key", b->with_key);
    return b->manifest != NULL ? ERR_OK : ERR_MEMORY;
}

static enum err fill(struct backup *b)
{
    enum err err = copy_to(&b->copy, b->end, b->place.log, "copying");

    if (err == ERR_OK)
        err = place_settle(&b->place);
    if (err == ERR_OK)
        err = verify_copy(b);
    if (err == ERR_OK && b->with_key)
        err = copy_key(b);
    if (err == ERR_OK)
        err = make_manifest(b);
    if (err == ERR_OK && progress_interrupted())
        err = ERR_REFUSED;
    return err == ERR_OK ? manifest_put(&b->place, b->manifest) : err;
}

/* Never over anything that is there. A file system that does not know how is asked first. */
static enum err rename_whole(const struct backup *b)
{
    struct stat st;
    int failed = renameat2(AT_FDCWD, b->beside, AT_FDCWD, b->target, RENAME_NOREPLACE);

    if (failed != 0 && errno == EINVAL) {
        failed = lstat(b->target, &st) == 0 ? -1 : rename(b->beside, b->target);
        if (failed != 0 && errno == 0)
            errno = EEXIST;
    }
    return failed == 0 ? place_sync_parent(b->target)
                       : err_errno("rename the backup to", b->target);
}

static enum ctl_exit make(struct backup *b)
{
    enum err err = place_open(&b->place, b->beside, true);

    if (err == ERR_REFUSED)
        return CTL_NOT_FINE;
    if (err != ERR_OK)
        return tell(b, err);
    err = fill(b);
    if (err == ERR_OK)
        err = rename_whole(b);
    if (err == ERR_OK)
        err = place_named(&b->place);
    if (err != ERR_OK)
        place_undo(&b->place);
    place_close(&b->place);
    return err == ERR_OK ? CTL_FINE : tell(b, err);
}

/* ---- the command ---- */

static void print_json(const struct backup *b)
{
    json_t *json = json_copy(b->manifest);

    if (json != NULL)
        json_object_set_new(json, "backup", json_string(b->target));
    ctl_print_json(json);
    json_decref(json);
}

static void print_text(const struct backup *b)
{
    const struct verify_report *r = &b->report;
    char size[CTL_SIZE_SIZE];

    ctl_format_size(copy_bytes(&b->copy, b->end), size);
    printf("%sgood%s: every checksum, hash and signature of the backup fits\n",
           ctl_color(CTL_GOOD), ctl_color(CTL_PLAIN));
    fputs("backup       ", stdout);
    ctl_print_text(b->target, strlen(b->target));
    putchar('\n');
    printf("node         %s\n", json_string_value(json_object_get(b->status, "node")));
    printf(
        "covers       all that was answered before it began: the log up to byte %" PRIu64
        "\n",
        b->end);
    printf("holds        counts %" PRIu64 ", blocks %" PRIu64 ", streams %" PRIu64
           ", checkpoints %" PRIu64 ", in %s\n",
           r->counts, r->blocks, r->streams, r->checkpoints, size);
    puts(b->with_key ? "key          in it: whoever has the backup can sign as this node"
                     : "key          not in it: keep a copy of " KEY_FILE
                       " elsewhere, for tallyctl restore --key");
}

static enum ctl_exit choose_target(struct backup *b)
{
    const char *word = b->ctl->words->arg[0];
    struct stat st;

    if (!ctl_path(b->ctl, word, b->target))
        return CTL_USAGE;
    if (strlen(b->target) + sizeof "/log/0000000000000000.checkpoint.new" > PATH_MAX)
        return ctl_usage("%.64s...: the path is too long", word);
    snprintf(b->beside, sizeof b->beside, "%.*s.new", PATH_MAX - 8, b->target);
    if (b->ctl->node.backup) {
        ctl_complain("this is a backup already: copy the folder");
        return CTL_NOT_FINE;
    }
    if (lstat(b->target, &st) != 0)
        return CTL_FINE;
    ctl_complain("%s is there already, and is not written over: name another", b->target);
    return CTL_NOT_FINE;
}

enum ctl_exit ctl_backup(struct ctl *ctl)
{
    static struct backup b;
    enum ctl_exit code;

    b.ctl = ctl;
    b.with_key = ctl->words->option[CTL_OPT_WITH_KEY] != NULL;
    b.place = (struct place){.owner = (uid_t)-1, .group = (gid_t)-1};
    progress_catch();
    code = choose_target(&b);
    if (code == CTL_FINE)
        code = choose_end(&b);
    if (code == CTL_FINE)
        code = make(&b);
    if (code == CTL_FINE && ctl->json)
        print_json(&b);
    else if (code == CTL_FINE)
        print_text(&b);
    copy_close(&b.copy);
    json_decref(b.status);
    json_decref(b.manifest);
    return code;
}
