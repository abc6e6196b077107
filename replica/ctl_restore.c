/* replica/ctl_restore.c: tallyctl restore: a state directory made of a backup, all of which is verified before.
 * Until it is whole its file FORMAT says so, and neither tallyd nor tallyctl takes it for a node. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/ctl.h"
#include "replica/ctl_copy.h"
#include "replica/ctl_manifest.h"
#include "replica/ctl_progress.h"
#include "replica/ctl_skip.h"
#include "replica/key.h"
#include "replica/state.h"
#include "replica/streams.h"
#include "replica/verify.h"

struct restore {
    struct ctl *ctl;
    struct ctl_where where;
    char backup[PATH_MAX], key_path[PATH_MAX]; /* key_path "": a new one is made */
    json_t *manifest;
    struct wal_mark end;
    bool shared;    /* made in a cluster: others hold what was counted since */
    bool skip_said; /* skip is what was asked for */
    int32_t skip;
    struct copy copy;
    struct place place;
    struct key_pair key;
    uint64_t skipped; /* counters */
};

/* ---- what is asked for ---- */

static bool read_skip(const char *text, int32_t *skip)
{
    size_t len = strlen(text);

    if (len == 0 || len > 10 || strspn(text, "0123456789") != len ||
        strtoll(text, NULL, 10) > INT32_MAX)
        return false;
    *skip = (int32_t)strtoll(text, NULL, 10);
    return true;
}

static enum ctl_exit choose_key(struct restore *r)
{
    const char *word = r->ctl->words->option[CTL_OPT_KEY];
    bool new = r->ctl->words->option[CTL_OPT_NEW_KEY] != NULL;
    struct stat st;

    if (word != NULL && new)
        return ctl_usage("--key and --new-key contradict each other: give one");
    if (new)
        return CTL_FINE;
    if (word != NULL)
        return ctl_path(r->ctl, word, r->key_path) ? CTL_FINE : CTL_USAGE;
    snprintf(r->key_path, sizeof r->key_path, "%.*s/" KEY_FILE, PATH_MAX - 16, r->backup);
    if (lstat(r->key_path, &st) == 0)
        return CTL_FINE;
    return ctl_usage("the backup does not hold the node's key: give it with --key FILE; "
                     "where it is lost, --new-key makes another node of it");
}

static enum ctl_exit read_words(struct restore *r)
{
    const struct ctl_words *words = r->ctl->words;
    const char *skip = words->option[CTL_OPT_SKIP];
    enum ctl_exit code = ctl_find(r->ctl, &r->where);

    if (code != CTL_FINE)
        return code;
    if (!ctl_path(r->ctl, words->arg[0], r->backup))
        return CTL_USAGE;
    if (strlen(r->backup) > PATH_MAX - 64 || strlen(r->where.state_dir) > PATH_MAX - 64)
        return ctl_usage("the path is too long");
    r->skip_said = skip != NULL;
    if (skip != NULL && !read_skip(skip, &r->skip))
        return ctl_usage("--skip %.64s: expected a number from 0 to %d", skip, INT32_MAX);
    if (skip == NULL && words->option[CTL_OPT_COUNTER] != NULL)
        return ctl_usage("--counter says on which counters --skip N is to be done");
    return CTL_FINE;
}

/* ---- is the backup whole? ---- */

static enum ctl_exit tell_damage(const struct restore *r, const struct verify_report *v)
{
    if (v->file[0] != '\0')
        ctl_complain("the backup is damaged: %s/log/%s, offset %" PRIu64 ": %s",
                     r->backup, v->file, v->offset, v->reason);
    else
        ctl_complain("the backup is damaged: %s", v->reason);
    return CTL_NOT_FINE;
}

static enum ctl_exit tell_end(const struct restore *r, const struct verify_report *v)
{
    ctl_complain("the backup is damaged: its log ends at byte %" PRIu64
                 " (%s/log/%s), and was longer or another: up to byte %" PRIu64,
                 v->end.mark.lsn, r->backup, v->end.file, r->end.lsn);
    return CTL_NOT_FINE;
}

static enum ctl_exit verify_backup(struct restore *r)
{
    struct verify_report report = {.reason = ""};
    char path[PATH_MAX + 8];
    struct disk *disk;
    enum err err;

    snprintf(path, sizeof path, "%s/log", r->backup);
    err = progress_open(path, "verifying", &disk);
    if (err == ERR_OK) {
        err = verify_log(disk, &crypto_real, NULL, UINT64_MAX, &report);
        progress_close(disk);
    }
    if (progress_interrupted()) {
        ctl_complain("interrupted: nothing was restored");
        return CTL_NOT_FINE;
    }
    if (err == ERR_CORRUPT)
        return tell_damage(r, &report);
    if (err != ERR_OK) {
        ctl_complain("the backup cannot be read: %s", err_name(err));
        return CTL_NOT_FINE;
    }
    if (report.end.mark.lsn != r->end.lsn || report.end.mark.check != r->end.check)
        return tell_end(r, &report);
    return CTL_FINE;
}

/* Whether more than one node, or one with peers, has written it. */
static enum err see_shared(struct restore *r)
{
    static const struct public_key nobody;
    char path[PATH_MAX + 8];
    struct disk *disk;
    struct look look;
    enum err err;

    snprintf(path, sizeof path, "%s/log", r->backup);
    err = look_disk_open(path, &disk);
    if (err != ERR_OK)
        return err;
    err = look_open(disk, &nobody, &look);
    look_disk_close(disk);
    if (err != ERR_OK)
        return err;
    r->shared = core_streams(look.core)->provisional;
    look_close(&look);
    return ERR_OK;
}

static enum ctl_exit open_backup(struct restore *r)
{
    enum ctl_exit code;

    if (manifest_read(r->backup, &r->manifest) != ERR_OK ||
        manifest_end(r->manifest, &r->end) != ERR_OK)
        return CTL_NOT_FINE;
    code = verify_backup(r);
    if (code == CTL_FINE && see_shared(r) != ERR_OK)
        code = CTL_NOT_FINE;
    return code;
}

/* ---- numbers said since ---- */

static const char why_skip[] =
    "Numbers that callers heard after the backup was made are not in it, and would be said again. How many may\n"
    "there be, of any one counter? Each counter goes on behind so many, by a correction that the log holds.\n";

static enum ctl_exit ask_skip(struct restore *r)
{
    char line[32] = "";

    if (r->skip_said || r->shared)
        return CTL_FINE;
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
        return ctl_usage(
            "numbers that were said after the backup would be said again: --skip N "
            "says how many there may be of any one counter, or 0");
    fprintf(stderr, "%sNumbers to skip [0]: ", why_skip);
    if (fgets(line, sizeof line, stdin) == NULL)
        return ctl_usage("no answer");
    line[strcspn(line, "\n")] = '\0';
    if (line[0] != '\0' && !read_skip(line, &r->skip))
        return ctl_usage("%s: expected a number from 0 to %d", line, INT32_MAX);
    return CTL_FINE;
}

/* ---- making it ---- */

/* Whose the files are to be: where root restores, the node's user. */
static enum ctl_exit choose_owner(struct restore *r)
{
    struct passwd *user;
    struct stat st;

    r->place.owner = (uid_t)-1;
    r->place.group = (gid_t)-1;
    if (geteuid() != 0)
        return CTL_FINE;
    if (r->where.user[0] != '\0') {
        user = getpwnam(r->where.user);
        if (user == NULL) {
            ctl_complain("there is no user %s, whom tally.conf names", r->where.user);
            return CTL_NOT_FINE;
        }
        r->place.owner = user->pw_uid;
        r->place.group = user->pw_gid;
    } else if (stat(r->where.state_dir, &st) == 0) {
        r->place.owner = st.st_uid;
        r->place.group = st.st_gid;
    }
    return CTL_FINE;
}

static enum err take_key(struct restore *r)
{
    char text[256];
    ssize_t len = -1;
    enum err err = ERR_OK;
    int fd;

    if (r->key_path[0] == '\0')
        return ERR_OK;
    fd = open(r->key_path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        len = read(fd, text, sizeof text);
    if (len < 0)
        err = err_errno("read", r->key_path);
    if (fd >= 0)
        close(fd);
    if (err == ERR_OK)
        err = place_put(&r->place, KEY_FILE, text, (size_t)len);
    sodium_memzero(text, sizeof text);
    return err;
}

/* In the new directory. A key that is not the node's own would make another node of it without a word. */
static enum err see_key(struct restore *r)
{
    const char *wanted = json_string_value(json_object_get(r->manifest, "key"));
    char hex[CONTROL_KEY_SIZE], fingerprint[CONTROL_FINGERPRINT_SIZE];
    enum err err = key_read(r->key_path[0] == '\0', &r->key);

    if (err != ERR_OK)
        return err;
    control_key_format(&r->key.public, hex, fingerprint);
    if (r->key_path[0] == '\0' || wanted == NULL || strcmp(hex, wanted) == 0)
        return chown(KEY_FILE, r->place.owner, r->place.group) == 0
                   ? ERR_OK
                   : err_errno("own", KEY_FILE);
    ctl_complain(
        "%s is not the key of the node that was backed up: its public half is %s, "
        "and that node's is %s",
        r->key_path, hex, wanted);
    return ERR_REFUSED;
}

static uint64_t segment_bytes(const struct restore *r)
{
    uint64_t bytes = WAL_SEGMENT_MIN;

    for (size_t i = 0; i < r->copy.count; i++)
        if (r->copy.list[i].base != UINT64_MAX)
            bytes = r->copy.list[i].size;
    return bytes;
}

static enum err skip(struct restore *r)
{
    const char *node = json_string_value(json_object_get(r->manifest, "node"));
    enum err err;

    if (r->where.node_name[0] != '\0')
        node = r->where.node_name;
    if (r->skip == 0)
        return ERR_OK;
    err = skip_numbers(&r->key, node != NULL ? node : "", segment_bytes(r), r->skip,
                       r->ctl->words->option[CTL_OPT_COUNTER], &r->skipped);
    if (err == ERR_RANGE)
        ctl_complain("--skip %" PRId32 ": a counter's total would pass 2^62", r->skip);
    if (err == ERR_OK && r->skipped == 0)
        ctl_complain("--skip: there is no counter%s, so none was corrected",
                     r->ctl->words->option[CTL_OPT_COUNTER] != NULL ? " like that" : "");
    return err;
}

static enum err fill(struct restore *r)
{
    char path[PATH_MAX + 8];
    enum err err = take_key(r);

    if (err == ERR_OK && fchdir(r->place.folder) != 0)
        err = err_errno("enter", r->where.state_dir);
    if (err == ERR_OK)
        err = see_key(r);
    snprintf(path, sizeof path, "%s/log", r->backup);
    if (err == ERR_OK)
        err = copy_open(&r->copy, path);
    if (err == ERR_OK)
        err = copy_to(&r->copy, r->end.lsn, r->place.log, "copying");
    if (err == ERR_OK)
        err = skip(r);
    if (err == ERR_OK)
        err = place_settle(&r->place);
    if (err == ERR_OK && progress_interrupted())
        err = ERR_REFUSED;
    if (err == ERR_OK)
        err = place_put(&r->place, STATE_RESTORED, "", 0);
    if (err == ERR_OK)
        err = place_put(&r->place, "FORMAT", PLACE_STATE, sizeof PLACE_STATE - 1);
    return err == ERR_OK ? place_sync_parent(r->where.state_dir) : err;
}

static enum ctl_exit make(struct restore *r)
{
    const char *dir = r->where.state_dir;
    enum err err = place_open(&r->place, dir, false);

    if (err == ERR_REFUSED) {
        ctl_complain(
            "to restore in its place: stop tallyd, mv %s %s.old, and again; the key is "
            "then %s.old/" KEY_FILE " for --key",
            dir, dir, dir);
        return CTL_NOT_FINE;
    }
    if (err == ERR_OK) {
        err = fill(r);
        if (err != ERR_OK)
            place_undo(&r->place);
        place_close(&r->place);
    }
    if (err == ERR_OK)
        return CTL_FINE;
    if (progress_interrupted())
        ctl_complain("interrupted: nothing was left in %s", dir);
    else if (err == ERR_FULL)
        ctl_complain("no space left for %s; nothing of it was left", dir);
    else
        ctl_complain("nothing was restored: %s", err_name(err));
    return CTL_NOT_FINE;
}

/* ---- the command ---- */

static void print_json(const struct restore *r)
{
    char hex[CONTROL_KEY_SIZE], fingerprint[CONTROL_FINGERPRINT_SIZE];
    json_t *json = json_object();

    control_key_format(&r->key.public, hex, fingerprint);
    json_object_set_new(json, "restored", json_string(r->where.state_dir));
    json_object_set_new(json, "key", json_string(hex));
    json_object_set_new(json, "new_key", json_boolean(r->key_path[0] == '\0'));
    json_object_set_new(json, "skip", json_integer(r->skip));
    json_object_set_new(json, "skipped", json_integer((json_int_t)r->skipped));
    json_object_set(json, "made_ms", json_object_get(r->manifest, "made_ms"));
    json_object_set(json, "position", json_object_get(r->manifest, "position"));
    json_object_set(json, "counts", json_object_get(r->manifest, "counts"));
    json_object_set(json, "blocks", json_object_get(r->manifest, "blocks"));
    ctl_print_json(json);
    json_decref(json);
}

static void print_key(const struct restore *r)
{
    if (r->key_path[0] != '\0')
        return;
    puts("key          new: it is another node than the one that was backed up");
    if (r->shared)
        puts("             the others' tally.conf has to name it: tallyctl key tells");
}

static void print_text(const struct restore *r)
{
    char when[CTL_TIME_SIZE];

    ctl_format_time((uint64_t)ctl_number(r->manifest, "made_ms"), when);
    printf("%sgood%s: every checksum, hash and signature of the backup fits\n",
           ctl_color(CTL_GOOD), ctl_color(CTL_PLAIN));
    fputs("restored     ", stdout);
    ctl_print_text(r->where.state_dir, strlen(r->where.state_dir));
    putchar('\n');
    printf("as of        %s: counts %" JSON_INTEGER_FORMAT
           ", blocks %" JSON_INTEGER_FORMAT "\n",
           when, ctl_number(r->manifest, "counts"), ctl_number(r->manifest, "blocks"));
    print_key(r);
    if (r->skip > 0)
        printf("skipped      %" PRId32 " numbers of each of %" PRIu64
               " counters: tallyctl log --tag '" SKIP_REASON "'\n",
               r->skip, r->skipped);
    puts(
        r->shared
            ? "next         start tallyd: it takes from the others what it lacks, and says no "
              "number before"
            : "next         start tallyd: it goes on where the backup ends, in a new stream");
}

static enum ctl_exit run(struct restore *r)
{
    enum ctl_exit code = read_words(r);

    if (code == CTL_FINE)
        code = open_backup(r);
    if (code == CTL_FINE)
        code = choose_key(r);
    if (code == CTL_FINE)
        code = ask_skip(r);
    if (code == CTL_FINE)
        code = choose_owner(r);
    return code == CTL_FINE ? make(r) : code;
}

enum ctl_exit ctl_restore(struct ctl *ctl)
{
    static struct restore r;
    enum ctl_exit code;

    r.ctl = ctl;
    progress_catch();
    code = run(&r);
    if (code == CTL_FINE && ctl->json)
        print_json(&r);
    else if (code == CTL_FINE)
        print_text(&r);
    copy_close(&r.copy);
    json_decref(r.manifest);
    sodium_memzero(&r.key, sizeof r.key);
    return code;
}
