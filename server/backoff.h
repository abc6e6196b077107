/* server/backoff.h: when to start a process again that ended unasked. Pure. At once the
 * first time, because callers wait; then later and later, because whatever ends a process
 * again and again is not cured by starting it more often. */
#ifndef SERVER_BACKOFF_H
#define SERVER_BACKOFF_H
#include <stdint.h>

/* Milliseconds. A caller waits answer-time (10 s) for his number: several starts of the
 * state process must fit into that, so that a call outlives one which ends again before
 * it has answered. */
enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 1000, BACKOFF_FORGOTTEN_MS = 10000 };

/* Zero-initialised; one per process to keep alive. */
struct backoff {
    unsigned ends; /* in a row, each after less than BACKOFF_FORGOTTEN_MS of life */
};

/* It ended after lived_ms: how long to wait before the next start. */
unsigned backoff_ended(struct backoff *backoff, uint64_t lived_ms);

#endif
