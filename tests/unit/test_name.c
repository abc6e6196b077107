/* tests/unit/test_name.c: which names and tags may go into the log; and hints at misspelt words. */
#include <criterion/criterion.h>
#include <locale.h>
#include <string.h>

#include "common/name.h"
#include "common/nearest.h"

Test(name, a_name_is_letters_digits_dots_underscores_and_dashes)
{
    for (unsigned c = 0; c < 256; c++) {
        char name[3] = {'a', (char)c, 'b'};
        bool good = c != 0 && strchr("abcdefghijklmnopqrstuvwxyz"
                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-",
                                     (int)c) != NULL;

        cr_expect_eq(name_valid(name, sizeof name), good, "byte 0x%02x", c);
    }
}

Test(name, a_name_has_1_to_64_bytes)
{
    char name[NAME_MAX_BYTES + 1];

    memset(name, 'n', sizeof name);
    cr_expect_not(name_valid(name, 0));
    cr_expect(name_valid(name, 1));
    cr_expect(name_valid(name, NAME_MAX_BYTES));
    cr_expect_not(name_valid(name, NAME_MAX_BYTES + 1));
}

Test(name, a_tag_is_any_bytes_but_control_bytes)
{
    for (unsigned c = 0; c < 256; c++) {
        char tag[3] = {'a', (char)c, 'b'};

        cr_expect_eq(tag_valid(tag, sizeof tag), c >= 0x20 && c != 0x7f, "byte 0x%02x",
                     c);
    }
}

Test(name, a_tag_has_0_to_64_bytes)
{
    char tag[TAG_MAX_BYTES + 1];

    memset(tag, ' ', sizeof tag);
    cr_expect(tag_valid(tag, 0));
    cr_expect(tag_valid(tag, TAG_MAX_BYTES));
    cr_expect_not(tag_valid(tag, TAG_MAX_BYTES + 1));
}

static const char *hint(const char *word)
{
    static const char *const known[] = {"status", "get", "counters", "checkpoint", "log"};
    struct nearest near = nearest_to(word);

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        nearest_try(&near, known[i]);
    return near.best != NULL ? near.best : "";
}

Test(nearest, a_slip_of_the_keyboard_finds_the_word)
{
    cr_expect_str_eq(hint("sttaus"), "status", "two letters swapped");
    cr_expect_str_eq(hint("statuss"), "status", "one too many");
    cr_expect_str_eq(hint("stats"), "status", "one too few");
    cr_expect_str_eq(hint("ststus"), "status", "one changed");
    cr_expect_str_eq(hint("chekpiont"), "checkpoint");
    cr_expect_str_eq(hint("lgo"), "log");
    cr_expect_str_eq(hint("log"), "log");
}

Test(nearest, a_word_like_none_gets_no_hint)
{
    char longer[NEAREST_WORD_MAX + 2];

    cr_expect_str_eq(hint("frobnicate"), "");
    cr_expect_str_eq(hint("x"), "");
    cr_expect_str_eq(hint(""), "");
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    cr_expect_str_eq(hint(longer), "");
}
