/* tests/unit/test_key.c: the node's key: made once, for its owner's eyes, and never
 * replaced by another. */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/key.h"
#include "tests/lib/history.h"
#include "tests/lib/temp_dir.h"

/* Format 1, read for ever: the seed is 32 times 01. */
#define LINE_1 \
    "tally-key-1 0101010101010101010101010101010101010101010101010101010101010101\n"

static char folder[TEMP_DIR_MAX];

static void set_up(void)
{
    cr_assert_geq(sodium_init(), 0);
    temp_dir_enter(folder);
}

static void tear_down(void)
{
    temp_dir_remove(folder);
}

TestSuite(key, .init = set_up, .fini = tear_down);

static enum err read_line(const char *line, size_t len)
{
    struct key_pair key;

    temp_file_write(KEY_FILE, line, len, 0600);
    return key_read(true, &key);
}

Test(key, the_first_start_makes_one_that_only_its_owner_can_read_and_later_ones_read_it)
{
    struct key_pair made, read;
    struct stat st;

    cr_assert_eq(key_read(true, &made), ERR_OK);
    cr_assert_eq(stat(KEY_FILE, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0600);
    cr_expect_not(temp_file_exists(KEY_FILE ".new"));
    cr_assert_eq(key_read(false, &read), ERR_OK);
    cr_expect_arr_eq(&read, &made, sizeof made);
    cr_assert_eq(key_read(true, &read), ERR_OK);
    cr_expect_arr_eq(&read, &made, sizeof made);
}

Test(key, each_node_makes_another)
{
    struct key_pair a, b;

    cr_assert_eq(key_read(true, &a), ERR_OK);
    unlink(KEY_FILE);
    cr_assert_eq(key_read(true, &b), ERR_OK);
    cr_expect_arr_neq(a.public.byte, b.public.byte, PUBLIC_KEY_BYTES);
}

Test(key, none_is_made_where_none_was_asked_for)
{
    struct key_pair key;

    cr_expect_eq(key_read(false, &key), ERR_NOT_FOUND);
    cr_expect_not(temp_file_exists(KEY_FILE));
}

Test(key, a_file_of_format_1_is_read)
{
    const struct key_pair expected = history_key(1);
    struct key_pair key;

    temp_file_write(KEY_FILE, LINE_1, strlen(LINE_1), 0600);
    cr_assert_eq(key_read(false, &key), ERR_OK);
    cr_expect_arr_eq(&key, &expected, sizeof key);
}

Test(key, what_is_made_is_of_format_1)
{
    struct key_pair key;
    char line[128];
    ssize_t len;

    cr_assert_eq(key_read(true, &key), ERR_OK);
    len = temp_file_read(KEY_FILE, line, sizeof line);
    cr_assert_eq(len, strlen(LINE_1));
    cr_expect_arr_eq(line, "tally-key-1 ", 12);
    cr_expect_eq(strspn(line + 12, "0123456789abcdef"), 64);
    cr_expect_eq(line[len - 1], '\n');
}

Test(key, one_that_others_may_read_is_refused)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0644};
    struct key_pair key;

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        temp_file_write(KEY_FILE, LINE_1, strlen(LINE_1), modes[i]);
        cr_expect_eq(key_read(true, &key), ERR_REFUSED, "%o", (unsigned)modes[i]);
    }
    temp_file_write(KEY_FILE, LINE_1, strlen(LINE_1), 0400);
    cr_expect_eq(key_read(true, &key), ERR_OK);
}

Test(key, one_behind_a_link_is_not_followed)
{
    struct key_pair key;

    temp_file_write("elsewhere", LINE_1, strlen(LINE_1), 0600);
    cr_assert_eq(symlink("elsewhere", KEY_FILE), 0);
    cr_expect_eq(key_read(true, &key), ERR_IO);
}

Test(key, a_damaged_one_is_malformed_and_left_as_it_is)
{
    char line[128], now[128];
    struct key_pair key;

    for (size_t len = 0; len < strlen(LINE_1); len++)
        cr_expect_eq(read_line(LINE_1, len), ERR_MALFORMED, "cut at %zu", len);
    cr_expect_eq(read_line(LINE_1 "\n", strlen(LINE_1) + 1), ERR_MALFORMED, "longer");
    strcpy(line, LINE_1);
    line[20] = 'g';
    cr_expect_eq(read_line(line, strlen(line)), ERR_MALFORMED, "no digit");
    line[20] = '\0';
    cr_expect_eq(read_line(line, strlen(LINE_1)), ERR_MALFORMED, "NUL");
    cr_expect_eq(read_line("ssh-ed25519 AAAA\n", 17), ERR_MALFORMED);
    strcpy(line, "tally-key-1 damaged\n");
    temp_file_write(KEY_FILE, line, strlen(line), 0600);
    cr_expect_eq(key_read(true, &key), ERR_MALFORMED);
    cr_assert_eq(temp_file_read(KEY_FILE, now, sizeof now), (ssize_t)strlen(line));
    cr_expect_arr_eq(now, line, strlen(line));
}

Test(key, one_of_a_newer_format_is_told_as_such)
{
    cr_expect_eq(read_line("tally-key-2 whatever that will be\n", 34), ERR_VERSION);
    cr_expect_eq(read_line("tally-key-10 whatever\n", 22), ERR_VERSION);
}

Test(key, what_a_crash_left_half_made_is_no_key_and_in_nobody_s_way)
{
    struct key_pair key;

    temp_file_write(KEY_FILE ".new", "tally-key-1 01", 14, 0600);
    cr_expect_eq(key_read(false, &key), ERR_NOT_FOUND);
    cr_expect_eq(key_read(true, &key), ERR_OK);
    cr_expect_not(temp_file_exists(KEY_FILE ".new"));
    cr_expect_eq(key_read(false, &key), ERR_OK);
}
