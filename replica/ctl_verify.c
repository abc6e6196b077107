/* replica/ctl_verify.c: tallyctl verify. */
#include "replica/verify.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#include "common/clock.h"
#include "replica/ctl_history.h"
#include "replica/ctl_progress.h"
#include "replica/key.h"

static void print_json(enum err err, const struct verify_report *r)
{
    json_t *json =
        json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:b}", "good", err == ERR_OK, "blocks",
                  (json_int_t)r->blocks, "counts", (json_int_t)r->counts, "streams",
                  (json_int_t)r->streams, "checkpoints", (json_int_t)r->checkpoints,
                  "forks", (json_int_t)r->forks, "torn", r->end.torn);

    if (err != ERR_OK && json != NULL) {
        json_object_set_new(json, "reason", json_string(r->reason));
        json_object_set_new(json, "file", json_string(r->file));
        json_object_set_new(json, "offset", json_integer((json_int_t)r->offset));
    }
    ctl_print_json(json);
    json_decref(json);
}

static void print_verdict(enum err err, const struct verify_report *r)
{
    const char *plain = ctl_color(CTL_PLAIN);

    if (err == ERR_OK) {
        printf("%sgood%s: every checksum, hash and signature fits\n", ctl_color(CTL_GOOD),
               plain);
        return;
    }
    printf("%sBAD%s: ", ctl_color(CTL_BAD), plain);
    if (r->file[0] != '\0')
        printf("log/%s, offset %" PRIu64 ": ", r->file, r->offset);
    printf("%s\n", r->reason);
}

static void print_report(enum err err, const struct verify_report *r, double seconds)
{
    print_verdict(err, r);
    printf("read: counts %" PRIu64 ", blocks %" PRIu64 ", streams %" PRIu64
           ", checkpoints %" PRIu64 ", in %.1f s\n",
           r->counts, r->blocks, r->streams, r->checkpoints, seconds);
    if (r->forks > 0)
        printf("forks: %" PRIu64 " blocks are kept as proof that another process signed "
               "with the same key\n",
               r->forks);
    if (err == ERR_OK && r->end.torn)
        puts("the last write was cut off by a crash; the next start clears it away");
    if (err != ERR_OK)
        puts("tallyctl fsck tells what that means, and what to do");
}

/* Once through all that is durable now. ERR_NOT_FOUND: a running node removed a file that was about to be read. */
static enum ctl_exit verify_once(struct ctl *ctl, struct verify_report *report,
                                 enum err *err)
{
    struct key_pair key;
    struct disk *disk;
    uint64_t first, limit;
    enum ctl_exit code = history_limit(ctl, &first, &limit);
    bool known = key_read(false, &key) == ERR_OK;
    struct public_key own = key.public;

    sodium_memzero(&key, sizeof key);
    if (code != CTL_FINE)
        return code;
    *err = ERR_OK;
    if (limit == 0)
        return CTL_FINE;
    *err = progress_open("log", "verify", &disk);
    if (*err != ERR_OK)
        return CTL_NOT_FINE;
    *err = verify_log(disk, &crypto_real, known ? &own : NULL, limit, report);
    progress_close(disk);
    return CTL_FINE;
}

enum ctl_exit ctl_verify(struct ctl *ctl)
{
    enum { TRIES = 3 };
    struct verify_report report = {.reason = ""};
    enum err err = ERR_NOT_FOUND;
    uint64_t begun_us = clock_mono_us();

    for (int i = 0; i < TRIES && err == ERR_NOT_FOUND; i++) {
        enum ctl_exit code = verify_once(ctl, &report, &err);

        if (code != CTL_FINE)
            return code;
    }
    if (err != ERR_OK && err != ERR_CORRUPT) {
        ctl_complain("the log cannot be read: %s", err_name(err));
        return CTL_NOT_FINE;
    }
    if (ctl->json)
        print_json(err, &report);
    else
        print_report(err, &report, (double)(clock_mono_us() - begun_us) / 1e6);
    return err == ERR_OK ? CTL_FINE : CTL_NOT_FINE;
}
