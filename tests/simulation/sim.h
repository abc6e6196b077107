/* tests/simulation/sim.h: one simulated history of one node: its parts, and how they call
 * each other. Everything happens in the order of simulated time, and all that is drawn
 * comes from the seed. */
#ifndef SIMULATION_SIM_H
#define SIMULATION_SIM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"
#include "replica/node.h"
#include "server/asks.h"
#include "tests/simulation/history.h"
#include "tests/simulation/kind.h"
#include "tests/simulation/rng.h"
#include "tests/simulation/schedule.h"
#include "tests/simulation/simdisk.h"

/* What may go wrong; a history has some of these, and --without takes one away. */
#define FAULTS(X)                                          \
    X(kill, "the process is killed, the machine lives on") \
    X(power, "power failures")                             \
    X(recovery, "crashes soon after a start")              \
    X(error, "reads, writes, syncs and makes that fail")   \
    X(full, "a full disk, for a while")                    \
    X(slow, "a slow disk, for a while")                    \
    X(rot, "bits that rot at rest")                        \
    X(ghost, "frames that do not belong where they stand") \
    X(flip, "wrong bits when reading")                     \
    X(restore, "an old copy of the directory is restored") \
    X(wipe, "the directory is wiped")                      \
    X(stop, "the process is asked to stop")                \
    X(clock, "the wall clock jumps, stops or drifts")      \
    X(worker, "workers die and stand still")               \
    X(loss, "answers to workers are lost")                 \
    X(burst, "many calls at once")
#define FAULT_NUMBER(name, text) FAULT_##name,
enum fault { FAULTS(FAULT_NUMBER) FAULT_COUNT };

/* All of them numbers of 64 bits. */
struct sim_figures {
    uint64_t calls, asked, answered, unknown, unavailable, refused, repeats;
    uint64_t runs, recoveries, refusals, blocks, counts, makes, removed, replays;
    uint64_t faults[FAULT_COUNT];
    struct simdisk_counts disk;
};

/* ---- what a history draws for itself ---- */

struct plan {
    bool has[FAULT_COUNT];
    bool real_crypto;
    uint64_t crash_ms; /* mean time between crashes */
    uint64_t call_ms;  /* mean time between calls */
    uint64_t burst_ms, burst_calls;
    uint64_t fault_ms; /* mean time between other faults */
    uint32_t error_rate;
    unsigned workers, counters, tag_max;
    unsigned answer_ms;
    unsigned retry_percent;
    bool big_amounts;
    uint64_t segment_bytes, checkpoint_bytes, checkpoint_ms;
    size_t
        slice; /* of a checkpoint that is encoded: a few items, so that much happens between two */
    size_t requests, items_max;
};

/* ---- events ---- */

enum event_kind {
    EVENT_CALL,
    EVENT_BURST,
    EVENT_RETRY,
    EVENT_TO_STATE,
    EVENT_TURN,
    EVENT_TO_WORKER,
    EVENT_WORKER,
    EVENT_MAINTAIN,
    EVENT_MADE,
    EVENT_START,
    EVENT_CRASH,
    EVENT_FAULT,
    EVENT_FAULT_ENDS,
    EVENT_CALM,
    EVENT_END,
};

struct call;

struct worker {
    struct asks *asks;
    uint64_t generation;
    uint64_t run; /* of the state process that it is connected to; 0: none */
    uint64_t due_ms;
    uint64_t stalls_until_ms;
    struct call *calls; /* that wait for an answer */
    size_t call_count;
};

struct call {
    struct sim *sim;
    struct msg_count_req req;
    unsigned worker, tries;
    bool get;
    struct ask *ask;
    struct call *prev, *next; /* of those that wait at the worker */
};

struct message {
    unsigned worker;
    uint64_t run, generation;
    bool welcome;
    size_t len;
    uint8_t bytes[];
};

/* The counts of one message, as replica/state.c keeps them. */
struct batch;

struct sim {
    const struct sim_options *options;
    struct sim_figures *result;
    struct plan plan;
    uint64_t now_ms, end_ms;
    /* The wall clock: what it said at a moment of now_ms, and how fast it goes since, in millionths. */
    uint64_t wall_ms, wall_since_ms, wall_rate;
    struct rng rng, clients, fault;
    bool calm; /* faults are over */

    struct schedule schedule;

    struct simdisk *disk;
    struct history *history;
    const struct crypto *crypto;
    struct key_pair key;

    struct {
        struct node *node; /* NULL: not running */
        uint64_t run;      /* from 1 */
        uint64_t since_ms; /* boot: the monotonic clock's zero */
        uint64_t maintain_ms;
        uint64_t busy_until_ms; /* with its last sync */
        struct id stream;
        struct message **queue;
        size_t queue_count, queue_size;
        size_t gathered;
        bool turn_due, stopping;
        enum err failed;
        struct batch *batches;
    } process;
    unsigned starts; /* tries since it last ran */

    struct worker *workers;
    size_t open_calls;

    bool rotten;          /* bits rotted, and may not all have been put right */
    int64_t rotten_frame; /* the first that is, of those to be read; -1: none */
    bool haunted;         /* a frame of elsewhere stands behind the log's end */
    bool alarmed;         /* the node logged an alarm in this start */
    char alarms[2048];

    struct {
        struct simcopy *files; /* NULL: none yet */
        struct history_copy *history;
        struct key_pair key;
        bool rotten;
    } copy;
};

void event_add(struct sim *s, uint64_t in_ms, enum event_kind kind, uint64_t number,
               void *of);

/* process.c: the state process */
void process_start(struct sim *s);
void process_receive(struct sim *s, struct message *m); /* takes m */
void process_turn(struct sim *s);
void process_maintain(struct sim *s);
void process_stop(struct sim *s);
/* Power fails, and it starts again at once, which must succeed. */
void process_restart(struct sim *s);
struct node_time process_time(const struct sim *s);

/* clients.c: workers and callers */
void clients_begin(struct sim *s);
void clients_end(struct sim *s);
void clients_call(struct sim *s);
void clients_retry(struct sim *s, struct call *call);     /* takes call */
void clients_to_worker(struct sim *s, struct message *m); /* takes m */
void clients_worker_due(struct sim *s, unsigned worker);
void clients_welcome(struct sim *s, unsigned worker);
void clients_disconnect(struct sim *s);
void clients_worker_fault(struct sim *s);

/* damage.c: what happens to the directory while no process runs, and what must come of it
 */
struct verdict {
    bool must_refuse, may_refuse, may_be_version;
    int64_t cut_frame; /* from here on the log may be cut; -1: nothing may */
    char file[DISK_NAME_MAX +
              1]; /* where must_refuse: what the alarm must name; "": anything */
    uint64_t offset;
};
void damage_between(struct sim *s);
void damage_verdict(struct sim *s, struct verdict *verdict);
void damage_mend(struct sim *s);
void damage_copy(struct sim *s);
/* Whether the frame stands on the disk as it was written. */
bool damage_frame_whole(struct sim *s, const struct kept_frame *frame);
bool damage_file_whole(const struct simfile *file);
bool is_log(const struct simfile *file);

/* check.c */
void check_recovered(struct sim *s);
void check_replay(struct sim *s);
void check_removed(struct sim *s, const struct simfile *file);

#endif
