#include "server/fake_command.h"

#include <string.h>
#include <strings.h>

enum { ANY = 127 };

#define C(name, words, min, max, verb, usage, ...)             \
    {                                                          \
        name, usage, VERB_##verb, words, min, max, __VA_ARGS__ \
    }

static const struct fake_command commands[] = {
    C("ANSWER", 1, 1, ANY, ANSWER, "", .cut = CUT_MINUS_ONE),
    C("ASYNCAGI BREAK", 2, 2, ANY, ZERO, "", .on_dead = true),
    C("CHANNEL STATUS", 2, 2, 3, CHANNEL_STATUS, "[CHANNEL]", .cut = CUT_NOT),
    C("CONTROL STREAM FILE", 3, 5, 10, STREAM_FILE, "FILE DIGITS [SKIP_MS ...]",
      .cut = CUT_ENDPOS, .stops = true),
    C("DATABASE DEL", 2, 4, 4, ONE, "FAMILY KEY", .on_dead = true),
    C("DATABASE DELTREE", 2, 3, 4, ZERO, "FAMILY [TREE]", .on_dead = true),
    C("DATABASE GET", 2, 4, 4, DATABASE_GET, "FAMILY KEY", .on_dead = true),
    C("DATABASE PUT", 2, 5, 5, ONE, "FAMILY KEY VALUE", .on_dead = true),
    C("EXEC", 1, 2, ANY, EXEC, "APPLICATION [OPTIONS]", .on_dead = true,
      .cut = CUT_MINUS_ONE),
    C("GET DATA", 2, 3, ANY, GET_DATA, "FILE [TIMEOUT_MS [DIGITS_MAX]]",
      .cut = CUT_MINUS_ONE, .stops = true),
    C("GET FULL VARIABLE", 3, 4, 5, GET_FULL_VARIABLE, "EXPRESSION [CHANNEL]",
      .on_dead = true),
    C("GET OPTION", 2, 4, 5, GET_OPTION, "FILE DIGITS [TIMEOUT_MS]", .cut = CUT_ENDPOS,
      .stops = true),
    C("GET VARIABLE", 2, 3, 3, GET_VARIABLE, "NAME", .on_dead = true),
    C("GOSUB", 1, 4, 5, ZERO, "CONTEXT EXTENSION PRIORITY [ARGUMENT]",
      .cut = CUT_MINUS_ONE),
    C("HANGUP", 1, 1, 2, HANGUP, "[CHANNEL]", .cut = CUT_NOT),
    C("NOOP", 1, 1, ANY, ZERO, "", .on_dead = true),
    C("RECEIVE CHAR", 2, 3, 3, ZERO, "TIMEOUT_MS", .cut = CUT_MINUS_ONE),
    C("RECEIVE TEXT", 2, 3, 3, ZERO, "TIMEOUT_MS", .cut = CUT_MINUS_ONE),
    C("RECORD FILE", 2, 6, ANY, SAY, "FILE FORMAT DIGITS TIMEOUT_MS [...]",
      .cut = CUT_MINUS_ONE),
    C("SAY ALPHA", 2, 4, 4, SAY, "TEXT DIGITS", .cut = CUT_MINUS_ONE),
    C("SAY DATE", 2, 4, 4, SAY_TIME, "SECONDS DIGITS", .cut = CUT_MINUS_ONE),
    C("SAY DATETIME", 2, 4, ANY, SAY_TIME, "SECONDS DIGITS [FORMAT [ZONE]]",
      .cut = CUT_MINUS_ONE),
    C("SAY DIGITS", 2, 4, 4, SAY_DIGITS, "NUMBER DIGITS", .cut = CUT_MINUS_ONE),
    C("SAY NUMBER", 2, 4, 5, SAY_NUMBER, "NUMBER DIGITS [GENDER]", .cut = CUT_MINUS_ONE),
    C("SAY PHONETIC", 2, 4, 4, SAY, "TEXT DIGITS", .cut = CUT_MINUS_ONE),
    C("SAY TIME", 2, 4, 4, SAY_TIME, "SECONDS DIGITS", .cut = CUT_MINUS_ONE),
    C("SEND IMAGE", 2, 3, 3, ZERO, "IMAGE", .cut = CUT_MINUS_ONE),
    C("SEND TEXT", 2, 3, 3, ZERO, "TEXT", .cut = CUT_MINUS_ONE),
    C("SET AUTOHANGUP", 2, 3, 3, ZERO, "SECONDS", .cut = CUT_NOT),
    C("SET CALLERID", 2, 2, ANY, ONE, "[NUMBER]", .cut = CUT_NOT),
    C("SET CONTEXT", 2, 3, 3, ZERO, "CONTEXT", .cut = CUT_NOT),
    C("SET EXTENSION", 2, 3, 3, ZERO, "EXTENSION", .cut = CUT_NOT),
    C("SET MUSIC", 2, 3, ANY, ZERO, "on|off [CLASS]", .cut = CUT_NOT),
    C("SET PRIORITY", 2, 3, 3, ZERO, "PRIORITY", .cut = CUT_NOT),
    C("SET VARIABLE", 2, 4, 4, SET_VARIABLE, "NAME VALUE", .on_dead = true),
    C("STREAM FILE", 2, 4, 5, STREAM_FILE, "FILE DIGITS [OFFSET]", .cut = CUT_ENDPOS,
      .stops = true),
    C("TDD MODE", 2, 3, 3, ZERO, "on|off", .cut = CUT_MINUS_ONE),
    C("VERBOSE", 1, 2, ANY, ONE, "MESSAGE [LEVEL]", .on_dead = true),
    C("WAIT FOR DIGIT", 3, 4, 4, WAIT_FOR_DIGIT, "TIMEOUT_MS", .cut = CUT_MINUS_ONE),
};

static bool named(const struct fake_command *c, const char *const *words, size_t count)
{
    const char *name = c->name;

    if (count < c->words)
        return false;
    for (unsigned i = 0; i < c->words; i++) {
        size_t len = strcspn(name, " ");

        if (strlen(words[i]) != len || strncasecmp(words[i], name, len) != 0)
            return false;
        name += len + 1;
    }
    return true;
}

const struct fake_command *fake_command_find(const char *const *words, size_t count)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (named(&commands[i], words, count))
            return &commands[i];
    return NULL;
}
