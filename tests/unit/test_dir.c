/* tests/unit/test_dir.c: the state directory: made, locked, and refused where it is not
 * Tally's own. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "replica/state.h"
#include "tests/lib/temp_dir.h"

static char folder[TEMP_DIR_MAX];
static struct conf conf;

static void set_up(void)
{
    temp_dir_enter(folder);
    snprintf(conf.state_dir, sizeof conf.state_dir, "%s/state", folder);
}

static void tear_down(void)
{
    temp_dir_remove(folder);
}

TestSuite(dir, .init = set_up, .fini = tear_down, .timeout = 60);

static enum err enter(int *fd)
{
    return state_dir_enter(&conf, fd);
}

/* Into the folder that is to become a state directory, before it is one. */
static void prepare(mode_t mode)
{
    cr_assert_eq(mkdir(conf.state_dir, mode), 0);
    cr_assert_eq(chmod(conf.state_dir, mode), 0);
    cr_assert_eq(chdir(conf.state_dir), 0);
}

static void expect_format(const char *text)
{
    char format[64] = "";

    cr_expect_eq(temp_file_read("FORMAT", format, sizeof format - 1),
                 (ssize_t)strlen(text));
    cr_expect_str_eq(format, text);
}

static mode_t mode_of(const char *name)
{
    struct stat st;

    cr_assert_eq(stat(name, &st), 0, "%s", name);
    return st.st_mode & 07777;
}

Test(dir, a_missing_one_is_made_for_its_owner_alone_and_entered)
{
    int fd = -1;

    cr_assert_eq(enter(&fd), ERR_OK);
    cr_expect_geq(fd, 0);
    cr_expect_eq(mode_of(conf.state_dir), 0700);
    cr_expect_eq(mode_of("log"), 0700);
    cr_expect_eq(mode_of("ipc"), 0700);
    expect_format("tally state 1\n");
    cr_expect_not(temp_file_exists("FORMAT.new"));
    cr_expect_not(temp_file_exists("node.key"), "the state process makes it");
}

Test(dir, one_of_format_1_is_entered_again_and_not_changed)
{
    struct stat before, after;
    int fd;

    cr_assert_eq(enter(&fd), ERR_OK);
    cr_assert_eq(stat("FORMAT", &before), 0);
    temp_file_write("node.key", "a key", 5, 0600);
    close(fd);
    cr_assert_eq(enter(&fd), ERR_OK);
    cr_assert_eq(stat("FORMAT", &after), 0);
    cr_expect_eq(before.st_ino, after.st_ino, "FORMAT was written again");
    cr_expect(temp_file_exists("node.key"));
}

Test(dir, a_second_tallyd_is_refused_at_once_while_the_first_lives)
{
    int first, second;
    char text[64] = "";

    cr_assert_eq(enter(&first), ERR_OK);
    cr_expect_gt(temp_file_read("lock", text, sizeof text - 1), 0);
    cr_expect_eq(atol(text), getpid(), "the lock file says who has it");
    cr_expect_eq(enter(&second), ERR_REFUSED);
    close(first);
    cr_expect_eq(enter(&second), ERR_OK);
}

/* A child that enters, tells by closing the pipe's end that it has, and then does as
 * `hold` says. */
static pid_t enter_in_child(void (*hold)(int fd))
{
    int ready[2], fd;
    pid_t pid;
    char byte;

    cr_assert_eq(pipe(ready), 0);
    pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        close(ready[0]);
        if (enter(&fd) != ERR_OK)
            _exit(1);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        close(ready[1]);
        hold(fd);
        _exit(0);
    }
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1, "the child could not enter");
    close(ready[0]);
    return pid;
}

static void hold_for_ever(int fd)
{
    (void)fd;
    pause();
}

Test(dir, after_a_kill_of_its_holder_no_hand_is_needed)
{
    pid_t pid = enter_in_child(hold_for_ever);
    int fd;

    cr_expect_eq(enter(&fd), ERR_REFUSED);
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_expect_eq(enter(&fd), ERR_OK);
}

enum { CHILD_ENDS_MS = 300 };

/* The holder is gone, but a child of it has the lock's descriptor and takes a moment to
 * end. */
static void leave_a_child_behind(int fd)
{
    (void)fd;
    if (fork() == 0)
        poll(NULL, 0, CHILD_ENDS_MS);
}

Test(dir, children_of_a_dead_tallyd_are_waited_for)
{
    pid_t pid = enter_in_child(leave_a_child_behind);
    int fd;

    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_expect_eq(enter(&fd), ERR_OK);
}

Test(dir, a_folder_of_somebody_else_s_files_is_refused_and_not_touched)
{
    int fd;

    prepare(0700);
    temp_file_write("letter.txt", "dear", 4, 0600);
    cr_expect_eq(enter(&fd), ERR_REFUSED);
    cr_expect_not(temp_file_exists("FORMAT"));
    cr_expect_not(temp_file_exists("lock"));
    cr_expect_not(temp_file_exists("log"));
}

Test(dir, a_log_without_the_file_FORMAT_is_refused)
{
    int fd;

    cr_assert_eq(enter(&fd), ERR_OK);
    close(fd);
    unlink("FORMAT");
    cr_expect_eq(enter(&fd), ERR_REFUSED);
    cr_expect_not(temp_file_exists("FORMAT"));
}

Test(dir, what_a_first_start_that_crashed_or_mkfs_left_does_not_matter)
{
    int fd;

    prepare(0700);
    temp_file_write("FORMAT.new", "tally st", 8, 0600);
    cr_assert_eq(mkdir("lost+found", 0700), 0);
    cr_expect_eq(enter(&fd), ERR_OK);
    expect_format("tally state 1\n");
    cr_expect_not(temp_file_exists("FORMAT.new"));
}

Test(dir, a_newer_or_another_format_is_refused_and_not_touched)
{
    static const char *const formats[] = {
        "tally state 2\n",  "tally state 10\n",         "tally state 1", "",
        "something else\n", "tally state 1\nand more\n"};
    int fd;

    prepare(0700);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        temp_file_write("FORMAT", formats[i], strlen(formats[i]), 0600);
        cr_expect_eq(enter(&fd), ERR_REFUSED, "\"%s\"", formats[i]);
        expect_format(formats[i]);
        cr_expect_not(temp_file_exists("lock"));
    }
}

Test(dir, one_that_others_may_write_to_is_refused)
{
    static const mode_t modes[] = {0770, 0702, 0720, 0777, 01777};
    int fd;

    prepare(0700);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        cr_assert_eq(chmod(conf.state_dir, modes[i]), 0);
        cr_expect_eq(enter(&fd), ERR_REFUSED, "%o", (unsigned)modes[i]);
        cr_expect_not(temp_file_exists("FORMAT"));
    }
    cr_assert_eq(chmod(conf.state_dir, 0755), 0);
    cr_expect_eq(enter(&fd), ERR_OK);
}

Test(dir, a_path_that_is_a_file_or_has_no_parent_is_an_error)
{
    int fd;

    temp_file_write("state", "x", 1, 0600);
    cr_expect_eq(enter(&fd), ERR_IO);
    snprintf(conf.state_dir, sizeof conf.state_dir, "%s/missing/state", folder);
    cr_expect_eq(enter(&fd), ERR_NOT_FOUND);
}
