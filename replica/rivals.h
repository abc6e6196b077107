/* replica/rivals.h: whether more than one process with a peer's key is alive: a copied machine. No I/O, no clock.
 *
 * Each process of a node has a run of its own, and numbers its messages. A node that was started again is heard under
 * a new run, and under an earlier one only by what was still on its way. Copies are heard by turns, for as long as they
 * live. So what counts is a run that *returns*: heard with a number that is new, after another one was heard. A moment's
 * worth of late messages counts once; RIVALS_RETURNS, a second or more apart and none RIVALS_GAP_MS after the one
 * before, are no such moment. A run that proves itself again after another one did needs no more.
 *
 * Somebody who has recorded the greetings of an ended process can play them back, and it looks the same until he has
 * none left: their numbers end. Only proof tells the two apart. */
#ifndef REPLICA_RIVALS_H
#define REPLICA_RIVALS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/id.h"

enum {
    RIVALS_RUNS = 4, /* remembered, those heard last */
    RIVALS_RETURNS = 6,
    RIVALS_APART_MS = 1000, /* between two returns that count */
    RIVALS_GAP_MS = 10000,  /* between them at most: then they are counted from 1 again */
    RIVALS_SEEN_MS = 60000, /* so long after the last one they are taken for alive */
};

/* Zero-initialised: nobody was heard. */
struct rivals {
    struct rivals_run {
        struct id run;
        uint64_t number;   /* the greatest heard */
        uint64_t heard_ms; /* when */
        bool proven;       /* it was the present run */
    } run[RIVALS_RUNS];
    size_t count, last; /* the index of whom was heard last */
    unsigned returns;
    uint64_t returned_ms; /* the last that counted */
};

/* A message under this run and number was sealed with the peer's key. False: with that number, or a greater one, it was
 * heard before. */
bool rivals_heard(struct rivals *r, const struct id *run, uint64_t number,
                  uint64_t now_ms);
/* The run that was heard last has proven that it lives, and takes the place of the one that was present. */
void rivals_proven(struct rivals *r, uint64_t now_ms);
/* More than one is alive. */
bool rivals_alive(const struct rivals *r, uint64_t now_ms);

#endif
