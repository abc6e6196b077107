/* tests/unit/test_disk.c: the disk of a real machine: files are made whole, or not. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "replica/disk.h"
#include "tests/lib/temp_dir.h"

static char folder[TEMP_DIR_MAX];
static struct disk *disk;
static atomic_uint notified;

static void notify(void *arg)
{
    cr_assert_eq(arg, &notified);
    atomic_fetch_add(&notified, 1);
}

static void open_disk(const char *archive)
{
    cr_assert_eq(disk_posix_open("log", archive, notify, &notified, &disk), ERR_OK);
}

static void set_up(void)
{
    temp_dir_enter(folder);
    cr_assert_eq(mkdir("log", 0700), 0);
    cr_assert_eq(mkdir("archive", 0700), 0);
    open_disk(NULL);
}

static void tear_down(void)
{
    disk_posix_close(disk);
    temp_dir_remove(folder);
}

TestSuite(disk, .init = set_up, .fini = tear_down, .timeout = 60);

static enum err make(const char *name, const void *bytes, size_t len, uint64_t size)
{
    struct disk_make m = {.bytes = bytes, .len = len, .size = size};
    enum err err;

    strcpy(m.name, name);
    cr_assert_eq(disk->ops->make(disk, &m), ERR_OK);
    while ((err = disk->ops->made(disk)) == ERR_AGAIN)
        poll(NULL, 0, 1);
    return err;
}

static void expect_bytes(const char *name, const void *bytes, size_t len, uint64_t size)
{
    static uint8_t now[1024 * 1024];
    struct disk_file *file;
    uint64_t is;
    size_t got;

    cr_assert_eq(disk->ops->open(disk, name, &file), ERR_OK);
    cr_assert_eq(disk->ops->size(file, &is), ERR_OK);
    cr_assert_eq(is, size);
    cr_assert_eq(disk->ops->read(file, 0, now, sizeof now, &got), ERR_OK);
    cr_assert_eq(got, size);
    cr_expect_arr_eq(now, bytes, len);
    for (size_t i = len; i < size; i++)
        cr_assert_eq(now[i], 0);
    disk->ops->close(file);
}

static size_t listed;

static void list_one(void *arg, const char *name)
{
    cr_assert_eq(arg, &listed);
    cr_expect_eq(strlen(name), 1, "%s", name);
    listed++;
}

Test(disk, a_file_is_made_with_its_bytes_and_then_zeros_and_whoever_waits_is_told)
{
    static uint8_t bytes[600 * 1000];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 1000);
    cr_assert_eq(make("a", bytes, 64, 700 * 1000), ERR_OK);
    expect_bytes("a", bytes, 64, 700 * 1000);
    cr_assert_eq(make("b", bytes, sizeof bytes, sizeof bytes), ERR_OK);
    expect_bytes("b", bytes, sizeof bytes, sizeof bytes);
    cr_expect_eq(atomic_load(&notified), 2);
    cr_expect_not(temp_file_exists("log/a.new"));
}

Test(disk, a_file_that_is_there_is_replaced_at_once)
{
    cr_assert_eq(make("a", "old", 3, 3), ERR_OK);
    cr_assert_eq(make("a", "newer", 5, 5), ERR_OK);
    expect_bytes("a", "newer", 5, 5);
}

Test(disk, a_make_that_fails_leaves_nothing_behind)
{
    cr_assert_eq(mkdir("log/a.new", 0700), 0);
    cr_expect_eq(make("a", "x", 1, 1), ERR_IO);
    cr_expect_not(temp_file_exists("log/a"));
    cr_assert_eq(rmdir("log/a.new"), 0);
    cr_assert_eq(mkdir("log/a", 0700), 0);
    cr_expect_eq(make("a", "x", 1, 1), ERR_IO, "what is in its way cannot be replaced");
    cr_expect_not(temp_file_exists("log/a.new"));
    cr_assert_eq(rmdir("log/a"), 0);
    cr_expect_eq(make("a", "x", 1, 1), ERR_OK);
}

Test(disk, what_a_crash_left_half_made_is_removed_at_the_next_start)
{
    temp_file_write("log/b.new", "half", 4, 0600);
    cr_assert_eq(make("a", "x", 1, 1), ERR_OK);
    disk_posix_close(disk);
    open_disk(NULL);
    cr_expect_not(temp_file_exists("log/b.new"));
    cr_expect(temp_file_exists("log/a"));
}

Test(disk, what_was_written_and_synced_is_read)
{
    struct disk_file *file;
    char bytes[16];
    size_t got;

    cr_assert_eq(make("a", "", 0, 10), ERR_OK);
    cr_assert_eq(disk->ops->open(disk, "a", &file), ERR_OK);
    cr_assert_eq(disk->ops->write(file, 3, "abc", 3), ERR_OK);
    cr_assert_eq(disk->ops->sync(file), ERR_OK);
    cr_assert_eq(disk->ops->read(file, 2, bytes, 5, &got), ERR_OK);
    cr_expect_eq(got, 5);
    cr_expect_arr_eq(bytes, "\0abc", 5);
    cr_assert_eq(disk->ops->read(file, 8, bytes, 5, &got), ERR_OK);
    cr_expect_eq(got, 2, "up to the file's end");
    cr_assert_eq(disk->ops->read(file, 100, bytes, 5, &got), ERR_OK);
    cr_expect_eq(got, 0);
    disk->ops->close(file);
}

Test(disk, a_file_that_is_missing_or_is_a_link_is_not_opened)
{
    struct disk_file *file;

    cr_expect_eq(disk->ops->open(disk, "a", &file), ERR_NOT_FOUND);
    temp_file_write("elsewhere", "x", 1, 0600);
    cr_assert_eq(symlink("../elsewhere", "log/a"), 0);
    cr_expect_eq(disk->ops->open(disk, "a", &file), ERR_IO);
}

Test(disk, each_file_is_listed_once)
{
    for (const char *name = "abc"; *name != '\0'; name++) {
        char one[2] = {*name, '\0'};

        cr_assert_eq(make(one, "x", 1, 1), ERR_OK);
    }
    cr_assert_eq(disk->ops->list(disk, list_one, &listed), ERR_OK);
    cr_expect_eq(listed, 3);
}

Test(disk, what_is_removed_is_gone_or_in_the_archive)
{
    cr_assert_eq(make("a", "x", 1, 1), ERR_OK);
    cr_expect_eq(disk->ops->remove(disk, "a", true), ERR_OK);
    cr_expect_not(temp_file_exists("log/a"), "there is no archive");
    cr_expect_eq(disk->ops->remove(disk, "a", false), ERR_NOT_FOUND);
    disk_posix_close(disk);
    open_disk("archive");
    cr_assert_eq(make("a", "x", 1, 1), ERR_OK);
    cr_assert_eq(make("b", "x", 1, 1), ERR_OK);
    cr_expect_eq(disk->ops->remove(disk, "a", true), ERR_OK);
    cr_expect_eq(disk->ops->remove(disk, "b", false), ERR_OK);
    cr_expect(temp_file_exists("archive/a"));
    cr_expect_not(temp_file_exists("archive/b"));
    cr_expect_not(temp_file_exists("log/a"));
    cr_expect_not(temp_file_exists("log/b"));
}

/* Counting must not end because the archive is full, or its disk is gone. */
Test(disk, what_the_archive_does_not_take_stays_where_it_is)
{
    disk_posix_close(disk);
    open_disk("archive");
    cr_assert_eq(make("a", "x", 1, 1), ERR_OK);
    cr_assert_eq(mkdir("archive/a", 0700), 0);
    cr_expect_eq(disk->ops->remove(disk, "a", true), ERR_REFUSED);
    cr_expect(temp_file_exists("log/a"));
    cr_assert_eq(rmdir("archive/a"), 0);
    cr_expect_eq(disk->ops->remove(disk, "a", true), ERR_OK);
    cr_expect(temp_file_exists("archive/a"));
}

Test(disk, a_folder_that_is_missing_is_an_error)
{
    struct disk *other;

    cr_expect_eq(disk_posix_open("missing", NULL, notify, NULL, &other), ERR_NOT_FOUND);
    cr_expect_eq(disk_posix_open("log", "missing", notify, NULL, &other), ERR_NOT_FOUND);
}
