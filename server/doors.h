/* server/doors.h: whether the state process takes new connections, as whoever connects sees it. A listener of nng 1.5.2
 * that is to greet somebody who has gone, as tallyctl after its wait or a worker that was killed, takes no connection any more and tells
 * nobody (its bug 1518): workers that are started later would never be answered. So the
 * master knocks now and then; where one door stays shut while the process runs, a new process is the cure.
 * Never blocks, has no thread and no descriptor to wait for: an answer is looked for at the next knock. */
#ifndef SERVER_DOORS_H
#define SERVER_DOORS_H
#include <stdbool.h>
#include <stdint.h>

enum { DOORS = 2 }; /* of workers, of tallyctl */

struct door {
    int fd; /* -1: nobody knocks */
    uint64_t since_ms;
};

struct doors {
    struct door door[DOORS];
};

void doors_init(struct doors *doors);

/* Take the answers that have come, and knock where one has, or nobody does: in the state directory. Returns for how
 * long, in milliseconds, the door that has been silent longest has not answered; 0: all answer. */
uint64_t doors_knock(struct doors *doors, uint64_t now_ms);

/* Another process is behind them, or none: forget what was asked. */
void doors_leave(struct doors *doors);

#endif
