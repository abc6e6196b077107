/* tests/simulation/trace.h: what happened in a history: hashed, so that two runs of one
 * seed can be compared; the last events kept, to be shown with a failure; and told as it
 * happens where --verbose asks for it. */
#ifndef SIMULATION_TRACE_H
#define SIMULATION_TRACE_H
#include <stddef.h>
#include <stdint.h>

/* name, what is told; %1 and %2 are the event's numbers. Where a text is told too it is a
 * name: its hash counts. */
#define TRACE_EVENTS(X)                                                               \
    X(START, "run %1 of the state process starts, at the %2. try")                    \
    X(RECOVERED, "recovered: log ends at LSN %1, %2 blocks")                          \
    X(NOT_RECOVERED, "the start failed with error %1")                                \
    X(REFUSED, "the state directory is refused, as it must be: error %1")             \
    X(CUT, "the rotten end of the log was cut at LSN %1: %2 blocks lost, as allowed") \
    X(ARMED, "the process is going to die in %1 actions")                             \
    X(KILLED, "the process is killed; the page cache lives on")                       \
    X(POWER, "power fails: %1 sectors were unsynced, %2 of them survive whole")       \
    X(FAILED, "the process stops by itself: error %1")                                \
    X(STOPPING, "the process is asked to stop")                                       \
    X(STOPPED, "the process stopped, its work done")                                  \
    X(ASK, "worker %1 asks: message of %2 bytes")                                     \
    X(TAKE, "the process takes a count of worker %1, by %2")                          \
    X(ANSWER, "answered: status %1, number %2")                                       \
    X(GET, "get: total %1")                                                           \
    X(HEARD, "a caller hears status %1, number %2")                                   \
    X(WORKER_DIED, "worker %1 died; %2 of its counts had no answer")                  \
    X(WORKER_STALLS, "worker %1 stands still for %2 ms")                              \
    X(LOST, "an answer to worker %1 is lost")                                         \
    X(BURST, "%1 calls at once")                                                      \
    X(CLOCK, "the wall clock jumps to %1, at %2 ppm")                                 \
    X(WRITE, "write: %1 bytes at %2 of")                                              \
    X(SYNC, "sync: %1 sectors of")                                                    \
    X(READ, "read: %2 bytes at %1 of")                                                \
    X(REMOVE, "remove")                                                               \
    X(ARCHIVE_REFUSES, "the archive does not take")                                   \
    X(MAKE, "make: %1 bytes, takes %2 ms:")                                           \
    X(MADE, "make ended with %1:")                                                    \
    X(HALF_MADE, "a make is cut off, renamed but its folder not synced:")             \
    X(READ_ERROR, "read fails:")                                                      \
    X(WRITE_ERROR, "write fails after %1 bytes:")                                     \
    X(SYNC_ERROR, "sync fails, and %1 sectors are not on the disk but look so:")      \
    X(FLIP, "a read gives a wrong bit at %1 of")                                      \
    X(EVICTED, "the page cache forgets %1 sectors that never reached the disk")       \
    X(FULL, "the disk is full: %1")                                                   \
    X(SLOW, "syncs take up to %1 ms, makes up to %2 ms")                              \
    X(ROT, "bit %2 rots at offset %1 of")                                             \
    X(MENDED, "the rotten bits are put right again")                                  \
    X(GHOST, "a frame that does not belong there stands at %1 of")                    \
    X(COPIED, "a copy of the directory is taken, of %1 blocks")                       \
    X(RESTORED, "an old copy of the directory is restored: %1 blocks instead of %2")  \
    X(WIPED, "the directory is wiped; %1 blocks are gone")                            \
    X(REPLAYED, "a replay of all %1 blocks gives the same state")                     \
    X(TWICE, "another recovery changes nothing")                                      \
    X(SENT, "sends node %1 %2 bytes")                                                 \
    X(RECEIVED, "gets %2 bytes of node %1")                                           \
    X(INJECTED, "somebody throws in a message of node %1 to node %2")                 \
    X(WAY_CUT, "the way from node %1 to node %2 is cut")                              \
    X(WAY_MENDED, "the way from node %1 to node %2 is mended")                        \
    X(THIN, "the way from node %1 to node %2 is slow")                                \
    X(PAUSED, "stands still for %1 ms")                                               \
    X(UNLISTED, "node %1 is taken out of its list of peers")                          \
    X(LISTED, "node %1 stands in its list of peers again")                            \
    X(CLONED, "node %1 has a clone; resumed: %2")                                     \
    X(CLONE_ENDS, "the clone of node %1 is no more")                                  \
    X(CLONE_STAYS, "the first machine of node %1 is no more, its clone stays")        \
    X(EQUAL, "all nodes are equal, %1 ms after the last fault")                       \
    X(CALM, "no more faults from here on")                                            \
    X(END, "the end: %1 blocks, %2 counts")

#define TRACE_KIND(name, text) TRACE_##name,
enum trace_kind { TRACE_EVENTS(TRACE_KIND) TRACE_KINDS };

void trace_begin(uint64_t seed, const uint64_t *now_ms, int verbose);
void trace(enum trace_kind kind, uint64_t first, uint64_t second);
void trace_name(enum trace_kind kind, const char *name, uint64_t first, uint64_t second);
/* Who does what follows: said before each event, and not copied. "": nobody in particular. */
void trace_actor(const char *name);
/* What log_write() of common/log.h is here: a line of a node's own log is told with --verbose, and not hashed. Alarms are
 * promises: alarm() gets each one; NULL: nobody. */
typedef void trace_alarm_fn(void *arg, const char *line);
void trace_on_alarm(trace_alarm_fn *alarm, void *arg);

uint64_t trace_hash(void);
uint64_t trace_now_ms(void);
/* The last events as text, oldest first; into `to`, which has `size` bytes. */
void trace_last(char *to, size_t size);

#endif
