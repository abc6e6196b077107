/* tests/simulation/cluster.h: one simulated history of a cluster: its parts, and how they call each other. Each node
 * is the real replica/node.c and replica/peers.c on a disk of its own; what the state process's loop and the sockets
 * do is played. Everything happens in the order of simulated time, and all that is drawn comes from the seed. */
#ifndef SIMULATION_CLUSTER_H
#define SIMULATION_CLUSTER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"
#include "replica/node.h"
#include "replica/peers.h"
#include "replica/streams.h"
#include "tests/simulation/archive.h"
#include "tests/simulation/idmap.h"
#include "tests/simulation/kind.h"
#include "tests/simulation/ledger.h"
#include "tests/simulation/rng.h"
#include "tests/simulation/schedule.h"
#include "tests/simulation/simdisk.h"

/* A member is a machine that plays a node: beside the nodes' own there may be one more, a clone of one of them. */
enum { NODES_MAX = 7, MEMBERS_MAX = NODES_MAX + 1 };

/* What may go wrong; a history has some of these, and --without takes one away. */
#define CLUSTER_FAULTS(X)                                                          \
    X(loss, "messages are lost")                                                   \
    X(twice, "messages come twice")                                                \
    X(reorder, "messages take long, and overtake each other")                      \
    X(split, "the network splits in two")                                          \
    X(oneway, "the way from one node to another is cut")                           \
    X(partial, "some pairs of nodes do not reach each other")                      \
    X(thin, "slow ways with short queues")                                         \
    X(inject, "garbage, and messages of before, to whomever")                      \
    X(pause, "a process stands still")                                             \
    X(clock, "wall clocks jump and drift, monotonic clocks go at different rates") \
    X(kill, "a process is killed, its machine lives on")                           \
    X(power, "power failures")                                                     \
    X(recovery, "crashes soon after a start")                                      \
    X(error, "reads, writes, syncs and makes that fail")                           \
    X(full, "a full disk, for a while")                                            \
    X(slow, "a slow disk, for a while")                                            \
    X(stop, "a process is asked to stop")                                          \
    X(wipe, "a directory is wiped")                                                \
    X(restore, "an old copy of a directory is restored")                           \
    X(clone, "a second process with the same key, on a copy of the directory")     \
    X(resume,                                                                      \
      "an old snapshot of a machine is resumed, and goes on with the same stream") \
    X(reload, "lists of peers that differ, and change")                            \
    X(late, "nodes that join late, with an empty directory")                       \
    X(lost, "answers to callers are lost")                                         \
    X(burst, "many calls at once")
#define CLUSTER_FAULT_NUMBER(name, text) CLUSTER_##name,
enum cluster_fault { CLUSTER_FAULTS(CLUSTER_FAULT_NUMBER) CLUSTER_FAULT_COUNT };

/* All of them numbers of 64 bits. */
struct cluster_figures {
    uint64_t nodes, calls, asked, answered, unknown, unavailable, refused, repeats, gets,
        retired;
    uint64_t starts, recoveries, blocks, counts, streams, forked, adopted;
    uint64_t stuck[NODE_STUCK_LOG + 1]; /* nodes that wait for people at the end */
    uint64_t messages, bytes, dropped, checks, replays;
    uint64_t equal_ms,
        equal_most_ms; /* until all were equal again: in all; of one history */
    uint64_t faults[CLUSTER_FAULT_COUNT];
};

/* ---- what a history draws for itself ---- */

struct cluster_plan {
    bool has[CLUSTER_FAULT_COUNT];
    bool real_crypto;
    unsigned nodes,
        witness;      /* witness: a node that is asked for nothing; >= nodes: none */
    uint64_t call_ms; /* mean time between calls, over all nodes */
    uint64_t burst_ms, burst_calls;
    uint64_t crash_ms, fault_ms;
    unsigned counters, tag_max, requests;
    uint64_t checkpoint_bytes, checkpoint_ms, join_wait_ms;
    size_t
        slice; /* of a checkpoint that is encoded: a few items, so that much happens between two */
    uint32_t error_rate;
    unsigned loss, twice; /* of 1000 messages */
    uint64_t delay_ms;    /* the longest way */
    bool retires;         /* counters are retired now and then */
    unsigned copies;      /* that an answer waits for */
    uint64_t copies_wait_ms;
    bool late[NODES_MAX];
    bool unlisted; /* those who are late stand in nobody's list before */
};

/* ---- events ---- */

enum cluster_event {
    EVENT_START, /* these four: of the run `number`, which for the first is over */
    EVENT_TURN,
    EVENT_DUE,
    EVENT_MADE,
    EVENT_PACKET,
    EVENT_CALL,
    EVENT_BURST,
    EVENT_AGAIN, /* the worker of the member of serial `number` asks again */
    EVENT_CRASH,
    EVENT_FAULT,
    EVENT_ENDS, /* of an episode */
    EVENT_INJECT,
    EVENT_CALM,
    EVENT_LOOK,
};

/* ---- one machine ---- */

struct packet {
    unsigned from, to; /* nodes */
    size_t len;
    uint8_t bytes[];
};

/* A count that somebody waits for. */
struct ask {
    struct msg_count_req req;
    unsigned tries;
    struct ask *prev, *next;
};
struct asks {
    struct ask *first, *last;
    size_t count;
};

/* What a machine's backup or snapshot holds. */
struct snapshot {
    struct simcopy *files;
    struct held held, unread;
    bool fresh;
    struct position
        known; /* what the process knew that a peer holds just so; not in the directory */
};

struct clock {
    uint64_t mono_ms, mono_since_ms,
        mono_rate; /* at a moment, since then, in millionths */
    uint64_t wall_ms, wall_since_ms, wall_rate;
};

struct member {
    struct cluster *cluster;
    unsigned index, node; /* its place, and whom it plays */
    uint64_t serial;      /* no two have the same */
    char name[8];
    struct simdisk *disk;
    struct ledger ledger;
    bool
        stuck; /* it holds another content of a stream than the others, and cannot take over a checkpoint of theirs */
    bool
        amnesia; /* its directory forgot something: wiped, restored, or copied from another machine */
    struct clock clock;
    bool listed[NODES_MAX]; /* in tally.conf */

    struct node *process; /* NULL: it does not run */
    struct peers *peers;
    unsigned peer[NODES_MAX]; /* of peers' list: whose index is whose */
    uint64_t run;             /* unique over all processes of the history */
    struct id stream;
    unsigned starts; /* in vain */
    enum err failed;
    bool stopping, resume;
    struct position knew; /* if it is resumed: of its snapshot */
    uint64_t busy_until_ms, paused_until_ms, due_ms;
    bool turn_due;

    bool
        fresh; /* its directory began without a block, and it has not caught up with anybody since */
    bool heard[NODES_MAX];       /* who has said to it what he holds */
    struct held said[NODES_MAX]; /* and what that was */
    bool joins[NODES_MAX];       /* and that he has not caught up himself */
    bool saying_joins;
    struct held saying; /* what the message that is being taken says, if it is that */
    uint64_t join_ms;   /* its own clock's, when it need not wait any longer */

    /* Its worker: counts that the process has not taken yet, that it has taken, and that got no answer. */
    struct asks queue, taken, lost;
    struct position position;     /* what it heard last */
    struct msg_count_req old[16]; /* answered; some are asked again */
    size_t old_count;

    struct packet **packets;
    size_t packet_count, packet_size, packet_bytes;

    struct snapshot snapshot;
    bool has_snapshot;
};

/* The way from one node to another. */
struct way {
    unsigned cut;     /* by so many */
    uint64_t thin;    /* bytes in a millisecond; 0: any number */
    uint64_t free_ms; /* when the last message has left */
    uint64_t last_ms; /* when the last one arrives */
    /* What spy.c notes. */
    uint64_t sent, blocks, checkpoints; /* messages */
    uint64_t window;  /* bytes of blocks, since something was heard, or it began anew */
    struct held ever; /* the blocks that were sent */
};

struct episode;

struct cluster {
    const struct sim_options *options;
    struct cluster_figures *figures;
    struct cluster_plan plan;
    uint64_t now_ms, end_ms, calm_ms, equal_ms;
    struct rng rng, load, fault, net, retire;
    bool calm;
    struct schedule schedule;

    const struct crypto *crypto;
    struct key_pair keys[NODES_MAX];
    uint8_t box_keys[NODES_MAX][NODES_MAX][BOX_KEY_BYTES];
    struct archive *archive;
    struct member *member[MEMBERS_MAX];
    uint64_t runs;

    struct way way[NODES_MAX][NODES_MAX];
    struct idmap
        taken; /* nonces of messages that were taken, folded with their receiver */
    struct packet *recorded[32];
    size_t recorded_count;
    unsigned
        clone_share; /* of 100 messages to a node that has a clone, so many go there */

    bool copied[NODES_MAX];  /* this node had a clone, or a resumed snapshot */
    bool resumed[NODES_MAX]; /* and this one the latter */
    struct held reference;   /* what the disks held when faults ceased */
    uint64_t rest_from_ms;
    unsigned tidy;
    struct member *acting; /* whose code runs; NULL: nobody's */
};

/* cluster.c */
void cluster_event(struct cluster *c, uint64_t in_ms, enum cluster_event kind,
                   uint64_t number, void *of);
bool cluster_has(const struct cluster *c, enum cluster_fault fault);

/* member.c: the state process of one machine */
struct member *member_new(struct cluster *c, unsigned index, unsigned node);
void member_free(struct member *m);
struct node_time member_time(const struct member *m);
void member_start(struct member *m);
/* The process dies, here and now. What follows is the caller's affair. */
void member_kill(struct member *m, bool power);
/* It died: with what happens to directories then, a start follows. */
void member_bury(struct member *m, bool power);
void member_turn_soon(struct member *m);
void member_turn(struct member *m);
void member_due(struct member *m);
void member_made(struct member *m);
void member_stop(struct member *m);
/* It has another list of peers. */
void member_reload(struct member *m);
void member_packet(struct member *m, struct packet *p); /* takes p */
struct member *member_of_run(struct cluster *c, uint64_t run);
struct member *member_of_serial(struct cluster *c, uint64_t serial);
bool member_runs(const struct member *m);

/* load.c: callers, and the workers between them and the process */
void load_call(struct cluster *c);
void load_burst(struct cluster *c);
/* One count at this member. */
void load_count(struct member *m);
/* The process takes up to `most` of the counts that wait for it, and answers. */
enum err load_take(struct member *m, size_t most);
/* Now and then retire a counter, or show it again. Nothing may be gathered. */
enum err load_retire(struct member *m);
void load_answered(struct member *m, struct ask *ask, const struct msg_count_rep *rep);
/* The process is there, or is gone. */
void load_connected(struct member *m);
void load_gone(struct member *m);
void load_again(struct member *m);
/* All that wait are given up. */
void load_end(struct member *m);

/* net.c */
void net_begin(struct cluster *c);
void net_send(struct member *m, unsigned to, const uint8_t *bytes, size_t len);
void net_arrive(struct cluster *c, struct packet *p); /* takes p */
void net_inject(struct cluster *c);
void net_end(struct cluster *c);

/* faults.c */
void faults_begin(struct cluster *c);
void faults_end(struct cluster *c, struct episode *e); /* takes e */
void faults_crash(struct cluster *c);
/* What may happen to a directory while no process runs. */
void faults_between(struct member *m);
void faults_cease(struct cluster *c);
void faults_set_rates(struct member *m);

/* spy.c: who reads every message, and now and then changes one */
void spy_end(struct cluster *c);
/* A wrong bit in a block of the message, which is sealed anew: its sender cannot be trusted. */
void spy_spoil(struct cluster *c, struct packet *p);
/* The peers have taken the message for what somebody says. */
void spy_taken(struct member *m, unsigned from, const uint8_t nonce[LINK_NONCE_BYTES],
               uint8_t type);
void spy_sent(struct member *m, unsigned to, const uint8_t *bytes, size_t len);
/* Its type; 0: nobody has sealed it. */
uint8_t spy_arrives(struct member *m, const struct packet *p);

/* cluster_check.c */
void check_joins(struct member *m); /* after each commit */
enum node_stuck check_stuck(const struct member *m);
void check_number(struct member *m, const struct ask *ask,
                  const struct msg_count_rep *rep);
void check_got(struct member *m, const struct msg_get_req *req,
               const struct msg_get_rep *rep);
void check_member(struct member *m);
/* It goes over to another's checkpoint; before: what its disk held. */
void check_adopted(const struct member *m, const struct held *before);
void check_alarm(struct cluster *c, const char *line);
void check_removed_log(struct member *m, const struct simfile *file);
bool check_equal(struct cluster *c);
void check_rest(struct cluster *c, uint64_t ms);
void check_end(struct cluster *c);

#endif
