#include "tests/lib/golden.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOLDEN_MAX = 16 * 1024 * 1024, LINE = 32, ZEROS_MIN = 64 };

static void golden_path(const char *dir, const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/golden/%s.hex", dir, name);
}

static uint8_t digit(int c)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = strchr(digits, c);

    assert(c != '\0' && found != NULL);
    return (uint8_t)(found - digits);
}

/* What the next thing in the file says is added to bytes: false at the file's end. */
static int read_one(FILE *file, uint8_t *bytes, size_t *len)
{
    int c = fgetc(file);
    unsigned long zeros;

    if (c == EOF)
        return 0;
    if (isspace(c))
        return 1;
    if (c == '#') {
        while (c != '\n' && c != EOF)
            c = fgetc(file);
        return 1;
    }
    if (c == 'z') {
        int read = fscanf(file, "eros %lu", &zeros);

        assert(read == 1 && zeros <= GOLDEN_MAX - *len);
        memset(bytes + *len, 0, zeros);
        *len += zeros;
        return 1;
    }
    assert(*len < GOLDEN_MAX);
    bytes[*len] = (uint8_t)(digit(c) << 4);
    bytes[*len] |= digit(fgetc(file));
    ++*len;
    return 1;
}

uint8_t *golden_read(const char *dir, const char *name, size_t *len)
{
    char path[4096];
    uint8_t *bytes = malloc(GOLDEN_MAX);
    FILE *file;

    golden_path(dir, name, path);
    file = fopen(path, "r");
    assert(bytes != NULL && file != NULL);
    *len = 0;
    while (read_one(file, bytes, len))
        ;
    fclose(file);
    return bytes;
}

static size_t zeros_at(const uint8_t *bytes, size_t len)
{
    size_t zeros = 0;

    while (zeros < len && bytes[zeros] == 0)
        zeros++;
    return zeros;
}

static void golden_write(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *file = fopen(path, "wx");
    size_t column = 0;

    if (file == NULL)
        return; /* It is there. */
    for (size_t i = 0; i < len; i++) {
        size_t zeros = zeros_at(bytes + i, len - i);

        if (zeros >= ZEROS_MIN) {
            fprintf(file, "%szeros %zu\n", column % LINE != 0 ? "\n" : "", zeros);
            i += zeros - 1;
            column = 0;
            continue;
        }
        fprintf(file, "%02x%s", bytes[i], ++column % LINE == 0 ? "\n" : "");
    }
    fputs(column % LINE != 0 ? "\n" : "", file);
    fclose(file);
}

long golden_differs(const char *dir, const char *name, const void *bytes, size_t len)
{
    char path[4096];
    uint8_t *golden;
    size_t golden_len, i = 0;
    long differs;

    golden_path(dir, name, path);
    if (getenv("TALLY_GOLDEN_WRITE") != NULL)
        golden_write(path, bytes, len);
    golden = golden_read(dir, name, &golden_len);
    while (i < len && i < golden_len && golden[i] == ((const uint8_t *)bytes)[i])
        i++;
    differs = i == len && i == golden_len ? -1 : (long)i;
    free(golden);
    return differs;
}
