/* tests/lib/history.h: ids, keys and requests that are the same in every run, and a core
 * whose blocks are kept, so that another can read them. Without memory these end the
 * test. */
#ifndef TESTS_LIB_HISTORY_H
#define TESTS_LIB_HISTORY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"
#include "replica/core.h"

/* Different for different numbers; never zero. */
struct id history_id(uint64_t number);
struct key_pair history_key(uint8_t node);

/* A node's configuration: its key, its name "node-N", the cluster's id 1000 and the
 * stream's as given; 1000 names, memory for 64 requests. */
struct core_config history_config(uint8_t node, uint64_t stream);

/* A count that has heard nothing yet. */
struct msg_count_req history_req(uint64_t id, const char *name, int32_t amount);

/* Blocks in their order, to be freed by history_free(). Zero-initialised is empty. */
struct history {
    struct {
        uint8_t *bytes;
        size_t len;
    } * blocks;
    size_t count;
};
void history_add(struct history *h, const void *bytes, size_t len);
void history_free(struct history *h);
enum err history_replay(const struct history *h, struct core *core);

/* Seal what is gathered, keep the block in h, and apply it. */
void history_commit(struct history *h, struct core *core, uint64_t wall_ms,
                    core_reply_fn *reply, void *arg);

/* The history that the golden files hold: stream 1 with two blocks, then stream 2 with
 * one. It uses every field: two counters, tags, negative amounts, the largest ones.
 * *core, if not NULL, is the core that made the last block: the caller frees it. */
void history_golden(struct history *h, struct core **core);

#endif
