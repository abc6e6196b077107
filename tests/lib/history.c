#include "tests/lib/history.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct id history_id(uint64_t number)
{
    struct id id;

    for (size_t i = 0; i < ID_BYTES; i++)
        id.byte[i] = (uint8_t)(i < 8 ? number >> (8 * i) : 0xa0 + i);
    return id;
}

struct key_pair history_key(uint8_t node)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    struct key_pair key;

    memset(seed, node, sizeof seed);
    crypto_sign_seed_keypair(key.public.byte, key.secret, seed);
    return key;
}

struct core_config history_config(uint8_t node, uint64_t stream)
{
    struct core_config config = {.crypto = &crypto_real,
                                 .key = history_key(node),
                                 .cluster = history_id(1000),
                                 .stream = history_id(stream),
                                 .items_max = 1000,
                                 .requests = 64};

    snprintf(config.node_name, sizeof config.node_name, "node-%u", (unsigned)node);
    return config;
}

struct msg_count_req history_req(uint64_t id, const char *name, int32_t amount)
{
    struct msg_count_req req = {.id = history_id(id), .amount = amount};

    assert(strlen(name) <= NAME_MAX_BYTES);
    req.name_len = (uint8_t)strlen(name);
    memcpy(req.name, name, req.name_len);
    return req;
}

void history_add(struct history *h, const void *bytes, size_t len)
{
    h->blocks = realloc(h->blocks, (h->count + 1) * sizeof *h->blocks);
    assert(h->blocks != NULL);
    h->blocks[h->count].bytes = malloc(len);
    assert(h->blocks[h->count].bytes != NULL);
    memcpy(h->blocks[h->count].bytes, bytes, len);
    h->blocks[h->count++].len = len;
}

void history_free(struct history *h)
{
    for (size_t i = 0; i < h->count; i++)
        free(h->blocks[i].bytes);
    free(h->blocks);
    *h = (struct history){0};
}

enum err history_replay(const struct history *h, struct core *core)
{
    enum err err = ERR_OK;

    for (size_t i = 0; i < h->count && err == ERR_OK; i++)
        err = core_replay(core, h->blocks[i].bytes, h->blocks[i].len);
    return err;
}

void history_commit(struct history *h, struct core *core, uint64_t wall_ms,
                    core_reply_fn *reply, void *arg)
{
    const uint8_t *bytes;
    size_t len;
    enum err err = core_seal(core, wall_ms, &bytes, &len);

    assert(err == ERR_OK);
    history_add(h, bytes, len);
    err = core_written(core, reply, arg);
    assert(err == ERR_OK);
}

static void no_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    (void)arg;
    (void)ticket;
    (void)rep;
}

static void golden_count(struct core *core, uint64_t id, const char *name, int32_t amount,
                         const char *tag)
{
    struct msg_count_req req = history_req(id, name, amount);
    struct msg_count_rep rep;
    enum core_verdict verdict;

    req.heard = core_position(core);
    req.tag_len = (uint8_t)strlen(tag);
    memcpy(req.tag, tag, req.tag_len);
    verdict = core_count(core, &req, id, BLOCK_MAX, &rep);
    assert(verdict == CORE_WAITS);
}

void history_golden(struct history *h, struct core **core)
{
    struct core_config config = history_config(1, 1);
    struct core *c = core_new(&config);
    enum err err;

    assert(c != NULL);
    golden_count(c, 0x11, "hits", 1, "");
    golden_count(c, 0x12, "votes-7.a_b", 5, "J\xc3\xb6rg \"x\"");
    golden_count(c, 0x13, "hits", 1, "vip");
    history_commit(h, c, 1700000000123, no_reply, NULL);
    golden_count(c, 0x14, "votes-7.a_b", INT32_MIN, "");
    golden_count(c, 0x15, "hits", INT32_MAX, "");
    history_commit(h, c, 1700000001000, no_reply, NULL);
    core_free(c);
    config = history_config(1, 2);
    c = core_new(&config);
    assert(c != NULL);
    err = history_replay(h, c);
    assert(err == ERR_OK);
    golden_count(c, 0x16, "hits", -300, "a correction");
    history_commit(h, c, 1700000002000, no_reply, NULL);
    if (core != NULL)
        *core = c;
    else
        core_free(c);
}
