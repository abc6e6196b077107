#include "replica/ctl_manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "replica/crypto.h"
#include "replica/ctl_history.h"
#include "replica/ctl_out.h"

enum { MANIFEST_MAX = 64 * 1024 };

static const char format[] = PLACE_BACKUP, any_format[] = "tally backup ";

static void hash_hex(const char *text, size_t len, char hex[2 * HASH_BYTES + 1])
{
    struct hash hash;

    crypto_real.hash(&hash, text, len);
    sodium_bin2hex(hex, 2 * HASH_BYTES + 1, hash.byte, sizeof hash.byte);
}

enum err manifest_put(const struct place *place, const json_t *manifest)
{
    char *line = json_dumps(manifest, JSON_COMPACT | JSON_ENSURE_ASCII), *text = NULL;
    char hex[2 * HASH_BYTES + 1];
    enum err err = ERR_MEMORY;
    int len = -1;

    if (line != NULL) {
        hash_hex(line, strlen(line), hex);
        len = asprintf(&text, "%s%s\n%s\n", format, line, hex);
    }
    if (len >= 0) {
        err = place_put(place, "FORMAT", text, (size_t)len);
        free(text);
    }
    free(line);
    return err;
}

static enum err damaged(const char *path, const char *why)
{
    ctl_complain("%s/FORMAT is damaged: %s", path, why);
    return ERR_CORRUPT;
}

static enum err parse(const char *path, char *text, json_t **manifest)
{
    char hex[2 * HASH_BYTES + 1], *line = text + sizeof format - 1, *end;

    if (strncmp(text, format, sizeof format - 1) != 0) {
        if (strncmp(text, any_format, sizeof any_format - 1) == 0) {
            ctl_complain("%s was made by a newer version: restore it with that", path);
            return ERR_VERSION;
        }
        ctl_complain("%s is not a backup: its file FORMAT says something else", path);
        return ERR_NOT_FOUND;
    }
    end = strchr(line, '\n');
    if (end == NULL)
        return damaged(path, "it is cut off");
    *end = '\0';
    hash_hex(line, (size_t)(end - line), hex);
    if (strncmp(end + 1, hex, sizeof hex - 1) != 0 || strcmp(end + sizeof hex, "\n") != 0)
        return damaged(path, "its hash does not fit");
    *manifest = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    return json_is_object(*manifest) ? ERR_OK : damaged(path, "it is not JSON");
}

enum err manifest_read(const char *path, json_t **manifest)
{
    static char text[MANIFEST_MAX + 1];
    char name[PATH_MAX + 8];
    ssize_t len;
    int fd;

    *manifest = NULL;
    snprintf(name, sizeof name, "%s/FORMAT", path);
    fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        ctl_complain("%s is not a backup: cannot open its file FORMAT: %s", path,
                     strerror(errno));
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    }
    len = read(fd, text, MANIFEST_MAX);
    close(fd);
    if (len < 0)
        return err_errno("read", name);
    text[len] = '\0';
    if (memchr(text, '\0', (size_t)len) != NULL)
        return damaged(path, "it is not text");
    return parse(path, text, manifest);
}

enum err manifest_end(const json_t *manifest, struct wal_mark *end)
{
    const char *text = json_string_value(json_object_get(manifest, "end"));

    if (text != NULL && history_place_read(text, end))
        return ERR_OK;
    ctl_complain("the backup's file FORMAT does not say where its log ends");
    return ERR_CORRUPT;
}
