/* tests/fuzz/fuzz_agi.c: any bytes as what Asterisk sends, and as data that a command has
 * to carry. However the bytes are cut, the environment comes out the same; and Asterisk's
 * own way to split a line finds the very words that were put into a command. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/agi.h"
#include "server/fake_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_within(const char *bytes, size_t len, struct agi_text text)
{
    if (text.at != NULL)
        assert(text.at >= bytes && text.len <= len && text.at + text.len <= bytes + len);
}

static void check_env(const char *bytes, size_t len)
{
    size_t scanned = 0, used = 0, slow_scanned = 0, slow_used = 0;
    struct agi_env env, slow_env;
    enum err err = agi_env_parse(bytes, len, &scanned, &env, &used), slow = ERR_AGAIN;

    for (size_t n = 1; n <= len && slow == ERR_AGAIN; n++)
        slow = agi_env_parse(bytes, n, &slow_scanned, &slow_env, &slow_used);
    assert(slow == err);
    if (err != ERR_OK)
        return;
    assert(used == slow_used && env.args == slow_env.args &&
           env.forged == slow_env.forged);
    for (size_t i = 0; i < AGI_NAME_COUNT; i++) {
        check_within(bytes, used, env.value[i]);
        assert(env.value[i].at == slow_env.value[i].at &&
               env.value[i].len == slow_env.value[i].len);
    }
    for (size_t i = 0; i < env.args; i++)
        check_within(bytes, used, env.arg[i]);
}

static void check_lines(const char *bytes, size_t len)
{
    struct agi_parser parser = {0};
    const char *at = bytes, *newline;

    while ((newline = memchr(at, '\n', len - (size_t)(at - bytes))) != NULL) {
        struct agi_response r;
        size_t line = (size_t)(newline - at);
        if (agi_parse_line(&parser, at, line, &r) == AGI_RESPONSE) {
            assert(r.code == 200 || r.code == 510 || r.code == 511 || r.code == 520);
            assert(r.endpos >= -1);
            check_within(at, line, r.digits);
            check_within(at, line, r.value);
        }
        at = newline + 1;
    }
}

static void check_word(const char *bytes, size_t len)
{
    char line[AGI_COMMAND_MAX + 1];
    struct agi_command c = agi_command_of(line, AGI_COMMAND_MAX);
    const char *words[FAKE_WORDS_MAX + 1];
    bool fit = memchr(bytes, '\n', len) == NULL && memchr(bytes, '\0', len) == NULL;

    agi_puts(&c, "VERBOSE ");
    agi_put_word(&c, bytes, len);
    agi_puts(&c, " 1");
    if (agi_command_end(&c) != ERR_OK) {
        assert(!fit || len > AGI_COMMAND_MAX / 2 - 16);
        return;
    }
    assert(fit && line[c.len - 1] == '\n' && memchr(line, '\n', c.len - 1) == NULL);
    assert(fake_words(line, c.len - 1, words) == 3);
    assert(strlen(words[1]) == len && memcmp(words[1], bytes, len) == 0);
    assert(strcmp(words[2], "1") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Exactly as long, so that the sanitizer sees a read behind the end. */
    char *bytes = malloc(size);

    if (size == 0 || bytes == NULL) {
        free(bytes);
        return 0;
    }
    memcpy(bytes, data, size);
    check_env(bytes, size);
    check_lines(bytes, size);
    check_word(bytes, size);
    free(bytes);
    return 0;
}
