#include "replica/ctl_node.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/ipc.h"
#include "replica/ctl_place.h"
#include "replica/key.h"
#include "replica/streams.h"

static enum err complain(const char *what, const char *path)
{
    fprintf(stderr, "tallyctl: cannot %s %s: %s\n", what, path, strerror(errno));
    return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
}

/* Whether the process that signed the lock lives. */
static bool signer_lives(int fd)
{
    char text[32] = "";
    long pid = pread(fd, text, sizeof text - 1, 0) > 0 ? strtol(text, NULL, 10) : 0;

    return pid <= 0 || kill((pid_t)pid, 0) == 0 || errno == EPERM;
}

/* A tallyd holds the lock as long as any of its processes lives. To try it takes a moment only, and
 * a tallyd that starts in just that moment tries again. What is left of one that was killed needs a moment to
 * let go of it. */
static enum err see_lock(bool *held)
{
    enum { TRIES = 100, TRY_MS = 10 };
    int fd = open("lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    *held = false;
    if (fd < 0)
        return errno == ENOENT ? ERR_OK : complain("open", "lock");
    for (int i = 0; i < TRIES; i++) {
        *held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (!*held || signer_lives(fd))
            break;
        poll(NULL, 0, TRY_MS);
    }
    close(fd);
    return ERR_OK;
}

/* Whether the file FORMAT begins so. */
static bool format_is(const char *wanted)
{
    char text[64] = "";
    int fd = open("FORMAT", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;

    if (fd >= 0)
        close(fd);
    return len > 0 && strncmp(text, wanted, strlen(wanted)) == 0;
}

enum err ctl_node_open(struct ctl_node *node, const char *state_dir, const char *name)
{
    *node = (struct ctl_node){.running = false};
    snprintf(node->name, sizeof node->name, "%s", name);
    if (chdir(state_dir) != 0)
        return complain("enter", state_dir);
    if (access("FORMAT", F_OK) != 0 && errno == ENOENT) {
        fprintf(stderr, "tallyctl: %s is no state directory: it has no file FORMAT\n",
                state_dir);
        return ERR_NOT_FOUND;
    }
    if (format_is(PLACE_UNFINISHED)) {
        fprintf(stderr,
                "tallyctl: %s is of a restore or a backup that was not finished: do that "
                "again\n",
                state_dir);
        return ERR_NOT_FOUND;
    }
    node->backup = format_is(PLACE_BACKUP);
    return see_lock(&node->running);
}

enum err ctl_node_look(struct ctl_node *node)
{
    node->backup = format_is(PLACE_BACKUP);
    return see_lock(&node->running);
}

void ctl_node_close(struct ctl_node *node)
{
    if (node->dialled)
        dial_free(&node->dial);
    node->dialled = false;
    if (node->looked)
        look_close(&node->look);
}

/* ---- from the state process ---- */

/* A process that is stopped, or just ending, still takes connections. So what bounds the wait is the reply's limit;
 * where the connection is lost in the middle, the next process is asked: every request may be made twice. */
static enum err exchange(struct dial *dial, const char *text, uint64_t end_ms,
                         const uint8_t **bytes, size_t *len)
{
    enum err err;

    do {
        err = dial_connect(dial, end_ms);
        if (err == ERR_OK)
            err = dial_send(dial, text, strlen(text), end_ms);
        if (err == ERR_OK)
            err = dial_receive(dial, bytes, len, end_ms);
    } while (err == ERR_NOT_FOUND);
    /* A reply that comes later would be taken for that to the next request. */
    if (err != ERR_OK)
        dial_close(dial);
    return err;
}

static enum err ready_dial(struct ctl_node *node)
{
    if (!node->dialled)
        node->dialled = dial_init(&node->dial, IPC_CONTROL_PATH, CONTROL_REQUEST_MAX,
                                  CONTROL_REPLY_MAX) == ERR_OK;
    return node->dialled ? ERR_OK : ERR_MEMORY;
}

/* Errors: as of dial.h; ERR_MALFORMED. */
static enum err ask_within(struct ctl_node *node, const json_t *request, unsigned wait_ms,
                           json_t **reply)
{
    char *text = json_dumps(request, JSON_COMPACT);
    const uint8_t *bytes;
    size_t len;
    enum err err = text == NULL ? ERR_MEMORY : ready_dial(node);

    if (err == ERR_OK)
        err = exchange(&node->dial, text, clock_mono_ms() + wait_ms, &bytes, &len);
    free(text);
    if (err != ERR_OK)
        return err;
    *reply = json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES, NULL);
    return json_is_object(*reply) ? ERR_OK : ERR_MALFORMED;
}

enum err ctl_try(struct ctl_node *node, json_t *request, unsigned wait_ms, json_t **reply)
{
    enum err err;

    *reply = NULL;
    if (request == NULL)
        return ERR_MEMORY;
    err = ask_within(node, request, wait_ms, reply);
    json_decref(request);
    if (err == ERR_OK)
        return ERR_OK;
    json_decref(*reply);
    *reply = NULL;
    return ERR_AGAIN;
}

const char *ctl_node_why(enum err err)
{
    switch (err) {
    case ERR_AGAIN:
        return "Timed out";
    case ERR_REFUSED:
        return "Permission denied";
    case ERR_MEMORY:
        return "Out of memory";
    default:
        return err_name(err);
    }
}

static enum err ask_process(struct ctl_node *node, const json_t *request, json_t **reply)
{
    enum err err = ask_within(node, request, CTL_REPLY_MS, reply);

    if (err == ERR_OK)
        return ERR_OK;
    fprintf(stderr,
            "tallyctl: tallyd runs, but its state process does not answer: %s; "
            "tallyd's log says more\n",
            ctl_node_why(err));
    return ERR_AGAIN;
}

/* ---- from the files ---- */

static void take_name(struct ctl_node *node)
{
    const struct stream *own = streams_last_own(core_streams(node->look.core));

    if (node->name[0] == '\0' && own != NULL) {
        memcpy(node->name, own->name, own->name_len);
        node->name[own->name_len] = '\0';
    }
}

static enum err read_files(struct ctl_node *node)
{
    struct key_pair key = {0};
    struct disk *disk;
    enum err err = key_read(false, &key);

    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return err;
    node->view.about.key = key.public;
    node->view.about.key_known = err == ERR_OK;
    sodium_memzero(&key, sizeof key);
    err = look_disk_open("log", &disk);
    if (err != ERR_OK)
        return err;
    err = look_open(disk, &node->view.about.key, &node->look);
    look_disk_close(disk);
    if (err != ERR_OK)
        return err;
    node->looked = true;
    take_name(node);
    node->view.about.node_name = node->name;
    node->view.core = node->look.core;
    node->view.figures = node->look.figures;
    return ERR_OK;
}

static enum err ask_files(struct ctl_node *node, const json_t *request, json_t **reply)
{
    enum err err = node->looked ? ERR_OK : read_files(node);

    if (err != ERR_OK) {
        fprintf(stderr,
                "tallyctl: the state directory cannot be read: %s; tallyctl fsck tells "
                "what that means, and what to do\n",
                err_name(err));
        return err;
    }
    *reply = control_do(&node->view, request);
    return *reply != NULL ? ERR_OK : ERR_MEMORY;
}

enum err ctl_ask(struct ctl_node *node, json_t *request, json_t **reply)
{
    enum err err;

    *reply = NULL;
    if (request == NULL)
        return ERR_MEMORY;
    err = node->running ? ask_process(node, request, reply)
                        : ask_files(node, request, reply);
    json_decref(request);
    if (err != ERR_OK) {
        json_decref(*reply);
        *reply = NULL;
    }
    return err;
}
