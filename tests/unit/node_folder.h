/* tests/unit/node_folder.h: a node on a folder of its own, for tests that need real files. */
#ifndef TESTS_NODE_FOLDER_H
#define TESTS_NODE_FOLDER_H
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "replica/node.h"

struct node_folder {
    char path[64];
    int made; /* an eventfd: the disk has made a file */
    uint64_t now_ms;
    struct disk *disk;
    struct node *node;
    struct node_config config;
    struct msg_count_rep rep; /* the last answer */
};

static inline void node_folder_notify(void *arg)
{
    const struct node_folder *f = arg;

    cr_assert_eq(eventfd_write(f->made, 1), 0);
}

static inline void node_folder_reply(void *arg, uint64_t ticket,
                                     const struct msg_count_rep *rep)
{
    struct node_folder *f = arg;

    (void)ticket;
    f->rep = *rep;
}

/* Make what is wanted, and wait for it. */
static inline void node_folder_settle(struct node_folder *f)
{
    struct node_time now = {f->now_ms, f->now_ms};
    struct pollfd made = {.fd = f->made, .events = POLLIN};
    eventfd_t value;
    uint64_t next;

    cr_assert_eq(node_maintain(f->node, now, &next), ERR_OK);
    while (node_busy(f->node)) {
        if (next > now.mono_ms) {
            cr_assert_eq(poll(&made, 1, 20000), 1, "a file is made within 20 s");
            eventfd_read(f->made, &value);
        }
        cr_assert_eq(node_maintain(f->node, now, &next), ERR_OK);
    }
}

/* Begin, or begin again: with a stream of its own each time. */
static inline void node_folder_start(struct node_folder *f)
{
    randombytes_buf(&f->config.core.stream, sizeof f->config.core.stream);
    cr_assert_eq(disk_posix_open(f->path, NULL, node_folder_notify, f, &f->disk), ERR_OK);
    f->config.disk = f->disk;
    cr_assert_eq(
        node_open(&f->config, (struct node_time){f->now_ms, f->now_ms}, &f->node),
        ERR_OK);
    node_folder_settle(f);
}

static inline void node_folder_stop(struct node_folder *f)
{
    node_close(f->node);
    disk_posix_close(f->disk);
}

/* *f is the caller's, and stays where it is. */
static inline void node_folder_open(struct node_folder *f)
{
    *f = (struct node_folder){.path = "/tmp/tally_node_XXXXXX", .now_ms = 1000000};
    cr_assert_geq(sodium_init(), 0);
    cr_assert_not_null(mkdtemp(f->path));
    f->made = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cr_assert_geq(f->made, 0);
    f->config = (struct node_config){.segment_bytes = 1 << 20,
                                     .checkpoint_bytes = UINT64_C(1) << 40,
                                     .checkpoint_ms = UINT64_C(1) << 40,
                                     .reply = node_folder_reply,
                                     .reply_arg = f};
    f->config.core = (struct core_config){.crypto = &crypto_real,
                                          .node_name = "one",
                                          .items_max = 100000,
                                          .requests = 1 << 16};
    crypto_sign_keypair(f->config.core.key.public.byte, f->config.core.key.secret);
    randombytes_buf(&f->config.core.cluster, sizeof f->config.core.cluster);
    node_folder_start(f);
}

/* Remove it all. The node is stopped already. */
static inline void node_folder_remove(struct node_folder *f)
{
    DIR *folder = opendir(f->path);
    const struct dirent *entry;

    cr_assert_not_null(folder);
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    rmdir(f->path);
    close(f->made);
}

/* Count by amount under name, in a block of its own; the number just after it. */
static inline int64_t node_folder_count(struct node_folder *f, const char *name,
                                        int32_t amount, const char *tag)
{
    struct msg_count_req req = {.amount = amount,
                                .name_len = (uint8_t)strlen(name),
                                .tag_len = (uint8_t)strlen(tag)};
    struct node_time now = {f->now_ms, f->now_ms};

    randombytes_buf(&req.id, sizeof req.id);
    memcpy(req.name, name, req.name_len);
    memcpy(req.tag, tag, req.tag_len);
    cr_assert_eq(node_count(f->node, &req, 1, now), ERR_OK);
    cr_assert_eq(node_commit(f->node, now), ERR_OK);
    cr_assert_eq(f->rep.status, STATUS_FINAL);
    node_folder_settle(f);
    return f->rep.number;
}

static inline void node_folder_checkpoint(struct node_folder *f)
{
    node_want_checkpoint(f->node);
    node_folder_settle(f);
}

#endif
