#include "replica/ctl_skip.h"

#include <fnmatch.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replica/node.h"
#include "replica/node_time.h"

enum { TOGETHER = 1024 }; /* corrections between two commits */

struct name {
    uint8_t len;
    char text[NAME_MAX_BYTES + 1];
};

struct skip {
    struct disk *disk;
    struct node *node;
    sem_t made;
    struct name *names;
    size_t count;
    enum status refused; /* of a correction; STATUS_FINAL: none was */
};

static void on_made(void *arg)
{
    sem_post(arg);
}

static void on_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    struct skip *s = arg;

    (void)ticket;
    if (!status_has_number(rep->status))
        s->refused = rep->status;
}

static void random_bytes(void *to, size_t len)
{
    randombytes_buf(to, len);
}

/* ---- the node, without its process ---- */

static enum err open_node(struct skip *s, const struct key_pair *key, const char *name,
                          uint64_t segment_bytes)
{
    struct node_config config = {.disk = s->disk,
                                 .segment_bytes = segment_bytes,
                                 .checkpoint_bytes = UINT64_MAX,
                                 .checkpoint_ms = UINT64_MAX,
                                 .reply = on_reply,
                                 .reply_arg = s,
                                 .random = random_bytes};
    enum err err;

    config.core.crypto = &crypto_real;
    config.core.key = *key;
    config.core.items_max = SIZE_MAX;
    config.core.requests = CORE_REQUESTS;
    snprintf(config.core.node_name, sizeof config.core.node_name, "%s", name);
    randombytes_buf(&config.core.stream, sizeof config.core.stream);
    err = node_open(&config, node_time_now(), &s->node);
    sodium_memzero(&config.core.key, sizeof config.core.key);
    return err;
}

/* Until the log has room for a block, or, at the end, until no file is being made any more. */
static enum err maintain(struct skip *s, bool (*again)(const struct node *node))
{
    struct node_figures figures;
    uint64_t next_ms;
    enum err err;

    for (;;) {
        err = node_maintain(s->node, node_time_now(), &next_ms);
        if (err != ERR_OK)
            return err;
        node_figures(s->node, &figures);
        if (figures.full)
            return ERR_FULL;
        if (!again(s->node))
            return ERR_OK;
        while (next_ms > node_time_now().mono_ms && sem_wait(&s->made) != 0)
            ;
    }
}

/* ---- what is corrected ---- */

static enum err list_names(struct skip *s, const char *pattern)
{
    struct core *core = node_core(s->node);
    const struct item *item = core_item_from(core, &counter_component, "", 0, false);
    struct core_figures figures;

    core_figures(core, &figures);
    s->names = calloc(figures.items + 1, sizeof *s->names);
    if (s->names == NULL)
        return ERR_MEMORY;
    for (; item != NULL; item = counter_component.next(item)) {
        struct name *name = &s->names[s->count];

        name->len = item->key_len;
        memcpy(name->text, item->key, name->len);
        name->text[name->len] = '\0';
        if (pattern == NULL || fnmatch(pattern, name->text, 0) == 0)
            s->count++;
    }
    return ERR_OK;
}

static enum err correct(struct skip *s, const struct name *name, int32_t numbers)
{
    struct msg_count_req req = {.amount = numbers, .heard = node_position(s->node)};

    randombytes_buf(&req.id, sizeof req.id);
    req.name_len = name->len;
    memcpy(req.name, name->text, name->len);
    req.tag_len = sizeof SKIP_REASON - 1;
    memcpy(req.tag, SKIP_REASON, req.tag_len);
    return node_count(s->node, &req, 0, node_time_now());
}

static enum err correct_all(struct skip *s, int32_t numbers)
{
    enum err err = ERR_OK;

    for (size_t i = 0; i < s->count && err == ERR_OK; i++) {
        if (i % TOGETHER == 0)
            err = maintain(s, node_short);
        if (err == ERR_OK)
            err = correct(s, &s->names[i], numbers);
        if (err == ERR_OK && (i % TOGETHER == TOGETHER - 1 || i + 1 == s->count))
            err = node_commit(s->node, node_time_now());
        if (err == ERR_OK && s->refused != STATUS_FINAL)
            err = s->refused == STATUS_DENIED ? ERR_RANGE : ERR_REFUSED;
    }
    return err;
}

static enum err run(struct skip *s, const struct key_pair *key, const char *node,
                    uint64_t segment_bytes, int32_t numbers, const char *pattern)
{
    enum err err = open_node(s, key, node, segment_bytes);

    if (err != ERR_OK)
        return err;
    err = list_names(s, pattern);
    if (err == ERR_OK)
        err = correct_all(s, numbers);
    return err == ERR_OK ? maintain(s, node_busy) : err;
}

enum err skip_numbers(const struct key_pair *key, const char *node,
                      uint64_t segment_bytes, int32_t numbers, const char *pattern,
                      uint64_t *counters)
{
    struct skip s = {.refused = STATUS_FINAL};
    enum err err;

    *counters = 0;
    sem_init(&s.made, 0, 0);
    err = disk_posix_open("log", NULL, on_made, &s.made, &s.disk);
    if (err != ERR_OK)
        return err;
    err = run(&s, key, node, segment_bytes, numbers, pattern);
    /* Where it failed, a make may be under way, and reads the node's bytes. */
    while (s.disk->ops->made(s.disk) == ERR_AGAIN)
        sem_wait(&s.made);
    if (s.node != NULL)
        node_close(s.node);
    disk_posix_close(s.disk);
    sem_destroy(&s.made);
    free(s.names);
    *counters = s.count;
    return err;
}
