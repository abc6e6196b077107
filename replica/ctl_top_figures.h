/* replica/ctl_top_figures.h: what top knows of a node: its answers of one second after another, made into rates, times
 * and their histories. Pure: no I/O, no clock. */
#ifndef REPLICA_CTL_TOP_FIGURES_H
#define REPLICA_CTL_TOP_FIGURES_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/times.h"

enum {
    TOP_HISTORY = 600,   /* samples of what there is one of */
    TOP_TREND = 120,     /* of each counter */
    TOP_COUNTERS = 1000, /* kept; of more, those that changed last */
    TOP_PEERS = 64,      /* shown; more than tally.conf takes */
    TOP_NAME = 64,       /* bytes of a name, at most: a longer one is cut */
    TOP_TEXT = 400,      /* of a sentence */
    TOP_WINDOW = 5,      /* samples that a rate of now is the mean of */
};

/* A ring; a sample that is not known is NAN. Zero-initialised. */
struct top_series {
    float value[TOP_HISTORY];
    unsigned next, count;
};
void top_series_add(struct top_series *series, double value);
/* age 0: the newest. NAN where there is none. */
double top_series_at(const struct top_series *series, unsigned age);
/* Of the newest `count`, those known; 0 where none is. */
double top_series_max(const struct top_series *series, unsigned count);
/* Of the newest TOP_WINDOW; NAN where none is known. */
double top_series_now(const struct top_series *series);

struct top_peer {
    char name[TOP_NAME + 1], state[TOP_NAME + 1];
    bool well;
    int64_t heard_ms; /* ago; -1: never */
    int64_t behind;   /* blocks; -1: not known */
    struct top_series lag;
};

struct top_counter {
    char name[TOP_NAME + 1];
    int64_t total;
    bool known;             /* the total is */
    uint64_t counts;        /* since the last sample */
    uint64_t changed;       /* number of the sample in which it changed last; 0: never */
    float rate;             /* counts a second, the mean of TOP_WINDOW */
    float trend[TOP_TREND]; /* counts a second, the newest first; NAN: not known */
};

/* In the order of its values. */
enum top_verdict { TOP_OK, TOP_ATTENTION, TOP_NOT_OK };
enum top_sort { TOP_BY_RATE, TOP_BY_TOTAL, TOP_BY_NAME, TOP_SORTS };

struct top_figures {
    /* the node */
    char node[TOP_NAME + 1], numbers[16], version[16];
    bool heard;         /* at least once */
    uint64_t heard_ms;  /* when it answered last; monotonic */
    bool lost;          /* the last time it did not */
    char why[TOP_TEXT]; /* it is lost */
    uint64_t up_ms;     /* the state process */
    enum top_verdict verdict;
    char what[TOP_TEXT], todo[TOP_TEXT]; /* of the worst problem */
    size_t problems;
    /* what goes on */
    struct top_series calls, counts, all_counts, p50_us, p99_us, commit_p99_us, log_bytes;
    double p50_now_us, p99_now_us, commit_now_us; /* of the last TOP_WINDOW; NAN */
    uint64_t open, taken, failed, refused;
    double failed_rate, refused_rate; /* a second, in the last sample */
    uint64_t log_kept, checkpoint;    /* bytes; number, 0: none */
    int64_t checkpoint_ms;            /* since its making; -1: not known */
    uint64_t disk_free, disk_size;    /* bytes; size 0: not known */
    uint64_t counters_all;            /* that the node has */
    /* others */
    size_t peers, peers_connected, peers_all;
    struct top_peer peer[TOP_PEERS];
    size_t counters;
    struct top_counter *counter[TOP_COUNTERS]; /* in the order of the last top_sort() */
    uint64_t samples;
    /* for the differences */
    struct top_seen {
        bool any;
        uint64_t at_ms;
        json_int_t pid;
        uint64_t taken, failed, refused, counts, all_counts, log_end;
    } seen;
    struct top_times {
        uint64_t bucket[TOP_WINDOW + 1][TIMES_BUCKETS]; /* a ring of sums */
        unsigned next, count;
    } answers, commits;
};

/* What is not in the answers. */
struct top_moment {
    uint64_t mono_ms, wall_ms;
    uint64_t disk_free, disk_size;
    const json_t *problems; /* as verdict_of() gives them; NULL: none */
    enum top_verdict verdict;
};

/* One sample. peers NULL: it has none. */
void top_take(struct top_figures *f, const json_t *status, const json_t *peers,
              const struct top_moment *moment);
/* One, too, but the node did not answer. */
void top_miss(struct top_figures *f, const char *why);

/* A counter's total. It is there from now on; false: no memory. known false: the total is not known. */
bool top_counter_set(struct top_figures *f, const char *name, int64_t total, bool known);
/* So many counts more. Before the sample that they belong to. */
bool top_counter_add(struct top_figures *f, const char *name, uint64_t counts);
void top_sort(struct top_figures *f, enum top_sort by);
void top_free(struct top_figures *f);

/* The time in microseconds that `share` of the times in these buckets are not above, guessed within its bucket; NAN:
 * there are none. What is above all bounds counts as the last one. */
double top_quantile(const uint64_t bucket[TIMES_BUCKETS], double share);

#endif
