#include "replica/key.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "replica/file.h"

static const char prefix[] = "tally-key-1 ", any_prefix[] = "tally-key-";

enum {
    SEED_HEX = 2 * crypto_sign_SEEDBYTES,
    LINE = sizeof prefix - 1 + SEED_HEX + 1,
};

static enum err check_owner(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_errno("stat", KEY_FILE);
    if ((st.st_mode & 077) != 0 || (st.st_uid != geteuid() && geteuid() != 0)) {
        log_error(
            "%s may be read by others: make it 0600 and this user's own (chmod 600), or, "
            "if it may have been read already, set the state directory aside",
            KEY_FILE);
        return ERR_REFUSED;
    }
    return ERR_OK;
}

static enum err parse(const char *line, ssize_t len, struct key_pair *key)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    size_t bytes;
    int bad;

    if (len < (ssize_t)(sizeof prefix - 1) ||
        memcmp(line, prefix, sizeof prefix - 1) != 0) {
        if (len > (ssize_t)sizeof any_prefix &&
            memcmp(line, any_prefix, sizeof any_prefix - 1) == 0) {
            log_error("%s is of a newer version: run that version", KEY_FILE);
            return ERR_VERSION;
        }
        log_error("%s holds no key: restore it from a backup", KEY_FILE);
        return ERR_MALFORMED;
    }
    bad = len != LINE || line[LINE - 1] != '\n' ||
          sodium_hex2bin(seed, sizeof seed, line + sizeof prefix - 1, SEED_HEX, NULL,
                         &bytes, NULL) != 0 ||
          bytes != sizeof seed;
    if (!bad)
        crypto_sign_seed_keypair(key->public.byte, key->secret, seed);
    sodium_memzero(seed, sizeof seed);
    if (!bad)
        return ERR_OK;
    log_error("%s is damaged: restore it from a backup", KEY_FILE);
    return ERR_MALFORMED;
}

static enum err make_key(struct key_pair *key)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    char line[LINE + 1];
    enum err err;

    randombytes_buf(seed, sizeof seed);
    memcpy(line, prefix, sizeof prefix - 1);
    sodium_bin2hex(line + sizeof prefix - 1, SEED_HEX + 1, seed, sizeof seed);
    line[LINE - 1] = '\n';
    err = file_make(KEY_FILE, line, LINE);
    if (err == ERR_OK)
        crypto_sign_seed_keypair(key->public.byte, key->secret, seed);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(line, sizeof line);
    return err;
}

enum err key_read(bool make, struct key_pair *key)
{
    char line[LINE + 1];
    ssize_t len;
    enum err err;
    int fd = open(KEY_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT)
        return make ? make_key(key) : ERR_NOT_FOUND;
    if (fd < 0)
        return err_errno("open", KEY_FILE);
    err = check_owner(fd);
    if (err == ERR_OK) {
        len = read(fd, line, sizeof line);
        err = len < 0 ? err_errno("read", KEY_FILE) : parse(line, len, key);
    }
    close(fd);
    sodium_memzero(line, sizeof line);
    return err;
}
