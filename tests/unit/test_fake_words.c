#include <criterion/criterion.h>
#include <string.h>

#include "server/fake_words.h"

/* The words of a line, with '|' between them. */
static const char *joined(const char *line)
{
    static char out[512];
    char copy[256];
    const char *words[FAKE_WORDS_MAX + 1];
    size_t count;

    strcpy(copy, line);
    count = fake_words(copy, strlen(line), words);
    cr_assert_null(words[count]);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        strcat(out, i > 0 ? "|" : "");
        strcat(out, words[i]);
    }
    return out;
}

Test(words, blanks_and_tabs_separate_however_many)
{
    cr_assert_str_eq(joined("  SAY \t NUMBER 5  "), "SAY|NUMBER|5");
    cr_assert_str_eq(joined(""), "");
    cr_assert_str_eq(joined(" \t"), "");
}

Test(words, quotes_keep_blanks_and_an_empty_pair_is_a_word)
{
    cr_assert_str_eq(joined("A \"two words\" \"\""), "A|two words|");
    cr_assert_str_eq(joined("A \"\" B"), "A||B");
}

Test(words, quotes_work_in_mid_word_and_an_open_one_ends_with_the_line)
{
    cr_assert_str_eq(joined("mid\"dle quo\"te"), "middle quote");
    cr_assert_str_eq(joined("A \"open quote "), "A|open quote ");
}

Test(words, a_backslash_takes_the_next_byte_as_it_is)
{
    cr_assert_str_eq(joined("one\\ word"), "one word");
    cr_assert_str_eq(joined("\"a \\\"b\\\" \\\\ c\""), "a \"b\" \\ c");
    cr_assert_str_eq(joined("A \\\" B"), "A|\"|B");
    cr_assert_str_eq(joined("A\\"), "A");
}

Test(words, words_above_the_limit_are_dropped_quoted_or_not)
{
    char line[2 * 300 + 1];
    const char *words[FAKE_WORDS_MAX + 1];

    for (int i = 0; i < 300; i++)
        memcpy(line + 2 * i, "w ", 2);
    cr_assert_eq(fake_words(line, 2 * 300, words), FAKE_WORDS_MAX);
    memset(line, 0, sizeof line);
    for (int i = 0; i < 200; i++)
        memcpy(line + 3 * i, "\"\" ", 3);
    cr_assert_eq(fake_words(line, 3 * 200, words), FAKE_WORDS_MAX);
}
