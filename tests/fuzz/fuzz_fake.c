/* tests/fuzz/fuzz_fake.c: any bytes as what a FastAGI server sends. The first byte
 * chooses the caller and how the rest is cut into reads. Whatever comes: Asterisk's side
 * ends its turn, sends whole lines only, answers no command twice, and finds words that
 * another parser of the same rules finds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/fake.h"
#include "server/fake_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    DEAD = 0x01,
    TAKES_TIME = 0x02,
    SMALL_READS = 0x04,
    HANGS_UP = 0x08, /* in the middle, by itself */
    LEAVE_SHIFT = 4, /* two bits: enum fake_leave */
};

static void check(int holds)
{
    if (!holds)
        abort();
}

/* Blanks are escaped and quotes doubled into escapes: what was one word must come back as
 * it was. */
static void check_one_word(const char *line, size_t len)
{
    char *quoted = malloc(2 * len + 3);
    const char *words[FAKE_WORDS_MAX + 1];
    size_t to = 0;

    check(quoted != NULL);
    quoted[to++] = '"';
    for (size_t i = 0; i < len; i++) {
        if (line[i] == '"' || line[i] == '\\')
            quoted[to++] = '\\';
        quoted[to++] = line[i];
    }
    quoted[to++] = '"';
    check(fake_words(quoted, to, words) == 1);
    check(strlen(words[0]) == len && memcmp(words[0], line, len) == 0);
    free(quoted);
}

static void check_words(const char *line, size_t len)
{
    char *copy = malloc(len + 1);
    const char *words[FAKE_WORDS_MAX + 1];
    size_t count;

    check(copy != NULL);
    memcpy(copy, line, len);
    count = fake_words(copy, len, words);
    check(count <= FAKE_WORDS_MAX && words[count] == NULL);
    for (size_t i = 0; i < count; i++)
        check(words[i] >= copy && words[i] + strlen(words[i]) <= copy + len);
    free(copy);
}

/* True while the call goes on. */
static int pump(struct fake *f, unsigned *commands, unsigned *responses)
{
    struct fake_todo todo;
    int time_runs = 0;

    for (;;) {
        fake_next(f, &todo);
        switch (todo.what) {
        case FAKE_READ:
            if (!time_runs)
                return 1;
            time_runs = 0;
            fake_elapsed(f);
            break;
        case FAKE_COMMAND:
            ++*commands;
            check(todo.line[todo.line_len] == '\0' && strlen(todo.line) == todo.line_len);
            check_one_word(todo.line, todo.line_len);
            check_words(todo.line, todo.line_len);
            break;
        case FAKE_SEND:
            check(todo.len > 0 && todo.bytes[todo.len - 1] == '\n');
            if (todo.bytes[0] != 'H' || memchr(todo.bytes, '\n', todo.len - 1) != NULL)
                ++*responses;
            check(*responses <= *commands);
            break;
        case FAKE_WAIT:
            check(!time_runs);
            time_runs = 1;
            break;
        case FAKE_CLOSE:
        case FAKE_BREACH:
            check((todo.what == FAKE_BREACH) == (todo.reason != NULL));
            return 0;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const missing[] = {"nosuchfile"};
    static const char *const variables[] = {"EXTEN=s", "A=${A}"};
    struct fake_caller caller = {.keys = "12#5",
                                 .missing = missing,
                                 .missing_count = 1,
                                 .patience_ms = 1000,
                                 .variables = variables,
                                 .variable_count = 2};
    unsigned commands = 0, responses = 0, how;
    struct fake *f;
    size_t at = 1;

    if (size == 0)
        return 0;
    how = data[0];
    caller.dead = (how & DEAD) != 0;
    caller.think_ms = caller.answer_ms = how & TAKES_TIME ? 100 : 0;
    f = fake_new(&caller, (enum fake_leave)(how >> LEAVE_SHIFT & 3), 2);
    check(f != NULL && pump(f, &commands, &responses));
    while (at < size) {
        size_t len = how & SMALL_READS ? 1 + data[at] % 7 : size - at;

        if (len > size - at)
            len = size - at;
        fake_received(f, (const char *)data + at, len);
        at += len;
        if (how & HANGS_UP && at > size / 2)
            fake_hangup(f);
        if (!pump(f, &commands, &responses))
            break;
    }
    fake_eof(f);
    check(!pump(f, &commands, &responses));
    fake_free(f);
    return 0;
}
