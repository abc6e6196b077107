/* tests/lib/cluster.h: several nodes in one process, each on a disk in memory, with a network between them that
 * loses, repeats and delays messages as it is told. Time is the test's. Without memory these end the test. */
#ifndef TESTS_LIB_CLUSTER_H
#define TESTS_LIB_CLUSTER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replica/node.h"
#include "replica/peers.h"

enum { CLUSTER_MAX = 5 };

struct cluster;

/* count nodes, all of them knowing each other, running. seed: of all chance. Freed by cluster_free(). */
struct cluster *cluster_new(size_t count, uint64_t seed);
void cluster_free(struct cluster *c);

/* Of 100 messages so many are lost; so many arrive twice. */
void cluster_set_loss(struct cluster *c, unsigned lost, unsigned repeated);
/* Cut, or mend, the way from one node to another. */
void cluster_cut(struct cluster *c, size_t from, size_t to, bool cut);

/* Take a peer out of a node's list, or put it back: at once, or when the node starts. */
void cluster_list(struct cluster *c, size_t node, size_t peer, bool listed);

/* Let so many milliseconds pass. */
void cluster_run(struct cluster *c, uint64_t ms);

/* Count at one node, and commit; the number that was said. */
struct msg_count_rep cluster_count(struct cluster *c, size_t node, const char *name);
/* Ask once more for a count, with the id of its answer, as who had heard nothing before it. */
struct msg_count_rep cluster_repeat(struct cluster *c, size_t node, const char *name,
                                    const struct id *id);
/* Of how many nodes a node wants to hold a count before it answers, and how long it waits for that: at once, and when it
 * starts. */
void cluster_set_copies(struct cluster *c, size_t node, unsigned copies,
                        uint64_t wait_ms);
/* Ask for a count, and commit, but wait for no answer. Gives a number by which to look for that, and the request's id. */
uint64_t cluster_ask(struct cluster *c, size_t node, const char *name, struct id *id);
/* Likewise with the id of another request, as who had heard nothing before it. */
uint64_t cluster_ask_again(struct cluster *c, size_t node, const char *name,
                           const struct id *id);
/* How many answers came for what was asked; the last one. */
unsigned cluster_answers(struct cluster *c, size_t node, uint64_t ticket,
                         struct msg_count_rep *rep);
/* Count so many blocks of CLUSTER_BLOCK counts, each 64 KiB of log or more, with some time between them. spread: on as many
 * counters, whose names begin with this one. */
enum { CLUSTER_BLOCK = 700 };
void cluster_fill(struct cluster *c, size_t node, const char *name, bool spread,
                  unsigned blocks);
int64_t cluster_total(struct cluster *c, size_t node, const char *name);

/* The process dies, unsynced bytes are lost; and starts again on what its disk holds, or on an empty one. */
void cluster_crash(struct cluster *c, size_t node);
void cluster_start(struct cluster *c, size_t node);
void cluster_wipe(struct cluster *c, size_t node);
/* Keep the disk as it is now, and put it back later: an old backup. The node must not run when it is put back. */
void cluster_backup(struct cluster *c, size_t node);
void cluster_restore(struct cluster *c, size_t node);

/* Copy a node's machine, which runs, and start the copy: same key, disk and peers. Returns the copy's index; it is no
 * peer of anybody's, since all dial the node's address. resumed: from a snapshot of its memory, so that it goes on
 * with the same stream, in which nothing was counted yet. */
size_t cluster_clone(struct cluster *c, size_t node, bool resumed);
/* Who sends to this node's address reaches that one from now on. */
void cluster_move(struct cluster *c, size_t node, size_t to);

/* What the node's log and checkpoints are in. */
struct disk *cluster_disk(struct cluster *c, size_t node);
struct node *cluster_node(struct cluster *c, size_t node);
struct peers *cluster_peers(struct cluster *c, size_t node);
/* All running nodes hold the same blocks and have the same bytes of state. */
bool cluster_equal(struct cluster *c);
/* Messages under way, and all that were ever sent, as they were on the wire, for those who listen in. */
void cluster_listen(struct cluster *c,
                    void (*tap)(void *arg, const uint8_t *bytes, size_t len), void *arg);
/* Give a node a message as if it had come from the network. */
void cluster_inject(struct cluster *c, size_t node, const uint8_t *bytes, size_t len);

#endif
