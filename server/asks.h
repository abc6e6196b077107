/* server/asks.h: what a worker has asked the state process and has no answer to yet.
 * Decides what is sent when, and whose answer came; no I/O, no clock, no random numbers
 * (client.c has those).
 *
 * One message is under way at a time: what gathers meanwhile makes the next one, so that
 * under load one message, and one sync behind it, serves many calls. A message is done
 * when all its items are answered. One that stays without any answer for ASKS_RESEND_MS
 * is sent again as it is, and so is the one that was under way when the connection broke:
 * the same ids, the same heard positions, so the state process counts each once
 * (common/msg.h, MSG_COUNT_REQ). */
#ifndef SERVER_ASKS_H
#define SERVER_ASKS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/msg.h"

/* The state process answers within a sync of the disk; this is far above one, and far
 * below answer-time. */
enum { ASKS_RESEND_MS = 1000 };

/* A message costs both processes some system calls and a switch, and the disk a sync,
 * whatever it holds. So where the last one held more than one question, the next one goes
 * out this long after it, at the soonest; but at once when half of the worker's calls wait
 * for it, because then few are left who could still ask. A lone call never waits. */
enum { ASKS_GATHER_MS = 2 };

struct asks;
struct ask; /* one question: asks owns it, until it is answered or given up */

/* Answers, given from within asks_answer() and asks_expire(); the ask is no more. They
 * may ask again. A count that is given up is STATUS_UNKNOWN when it was ever sent,
 * because it may have been counted, and STATUS_UNAVAILABLE when it never was; a get is
 * STATUS_UNAVAILABLE. */
struct asks_owner {
    void (*counted)(void *owner, const struct msg_count_rep *rep);
    void (*got)(void *owner, const struct msg_get_rep *rep);
};

/* Times are milliseconds of any clock that only grows. answer_ms: when an ask is given
 * up. to must outlive it. NULL without memory. */
struct asks *asks_new(unsigned answer_ms, const struct asks_owner *to);
/* No owner is told. */
void asks_free(struct asks *asks);

/* req->heard is filled in here, when it is first sent. Ids need not be unique: a dialplan
 * may repeat one on purpose; only one of an id is under way at a time. NULL without
 * memory. */
struct ask *asks_count(struct asks *asks, const struct msg_count_req *req, void *owner,
                       uint64_t now_ms);
struct ask *asks_get(struct asks *asks, const struct msg_get_req *req, void *owner,
                     uint64_t now_ms);
/* The owner is no more. A count goes on being asked until it is answered or given up,
 * because its call was told nothing and the caller did call; a get is dropped. */
void asks_forget(struct asks *asks, struct ask *ask);

/* The connection broke: nothing is sent until the next WELCOME. */
void asks_disconnected(struct asks *asks);
/* Whether one has come since. Nothing is ever sent before the first, since a count must
 * say what position it heard. */
bool asks_connected(const struct asks *asks);

/* Write the message to send now into w, which has room for MSG_MAX bytes; calls is how
 * many the worker has. false: none now. */
bool asks_next(struct asks *asks, struct writer *w, size_t calls, uint64_t now_ms);

/* What the state process sent: one message or several, one behind the other (a POSITION
 * and the COUNT_REPs that it covers). A WELCOME has what was under way sent again.
 * Answers to what is not under way are left alone: it was given up, or answered before.
 * Errors: ERR_MALFORMED  it does not follow common/msg.h: nothing behind that was used
 *         ERR_VERSION    the state process is another version's: no waiting cures it */
enum err asks_answer(struct asks *asks, const void *bytes, size_t len, uint64_t now_ms);

/* Give up what was asked answer_ms ago. */
void asks_expire(struct asks *asks, uint64_t now_ms);

/* When asks_expire() or asks_next() has something to do though nothing arrives;
 * UINT64_MAX for never. */
uint64_t asks_due_ms(const struct asks *asks);

/* How many have no answer yet, forgotten ones included. */
size_t asks_open(const struct asks *asks);
/* How many messages were sent again for want of an answer. */
uint64_t asks_resends(const struct asks *asks);

#endif
