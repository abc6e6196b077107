/* server/call.h: one call as a state machine over a compiled script. No I/O, no clock, no
 * random numbers: the worker (or a test) brings events in and does what comes out.
 *
 * Each event function fills *todo with exactly one thing to do. Asterisk's rules that
 * hold here (each is recorded from a real Asterisk 22, see tests/transcripts): one
 * command at a time, never a second before the first is answered; HANGUP may come at any
 * time, glued to a response or between a command and its response; after a hangup the
 * server must close. */
#ifndef SERVER_CALL_H
#define SERVER_CALL_H
#include <stddef.h>
#include <stdint.h>

#include "common/msg.h"
#include "server/agi.h"
#include "server/script.h"

enum call_do {
    CALL_READ, /* nothing: wait for bytes, within the limit already running */
    CALL_SEND, /* write todo->bytes in one write, then wait for bytes, at most todo->ms */
    CALL_WAIT, /* wait todo->ms, then call_timeout(); bytes may come meanwhile */
    CALL_COUNT, /* ask the state process for todo->count, call_counted() within todo->ms */
    CALL_GET,   /* ask it for todo->get, then call_got() within todo->ms */
    CALL_CLOSE, /* close the connection; the call is over, todo->end says how */
};

/* How a call ended, for the figures and the log. */
enum call_end {
    CALL_END_DONE,   /* the script came to its end */
    CALL_END_HANGUP, /* the caller, or the script's own HANGUP step, ended it */
    CALL_END_GONE,   /* the connection closed in the middle */
    CALL_END_EMPTY, /* it closed before it sent anything: a health probe; not worth a line */
    CALL_END_NOT_AGI,  /* what came is no FastAGI environment */
    CALL_END_TOO_LONG, /* an environment or a line above its limit */
    CALL_END_TIME,     /* no environment, or no answer to a command, in time */
    CALL_END_ERROR,    /* on-error steps ran, or the script "refused" did; or no memory */
    CALL_ENDS,
};

/* Limits, from the configuration; shared by all calls, must outlive them. */
struct call_limits {
    unsigned command_ms, answer_ms;
    size_t greeting_bytes;
    const char *node_name; /* for TALLY_NODE */
    const char *default_script;
};

struct call_todo {
    enum call_do what;
    unsigned ms;
    const char *bytes; /* CALL_SEND: good until the next event of this call */
    size_t len;
    /* CALL_COUNT: id is set where the script has id=, else zero for the worker to draw;
     * heard is the worker's to fill. CALL_GET: the name. Good until the next event of
     * this call. */
    const struct msg_count_req *count;
    const struct msg_get_req *get; /* its id is zero, for the worker to draw */
    enum call_end end;
};

/* A waiting call must be small: 10,000 of them wait at once. What it needs beyond
 * sizeof(struct call) is one allocation that holds what its script's later steps use of
 * the environment. */
struct call;

/* NULL without memory. scripts and limits must outlive the call. */
struct call *call_new(const struct script_table *scripts,
                      const struct call_limits *limits);
void call_free(struct call *call);

/* Bytes arrived from Asterisk. unix_s is the wall clock, for counter names with %Y %m %d
 * (local time: a process that may open no file calls tzset() before). `bytes` need not
 * live on. */
void call_received(struct call *call, const char *bytes, size_t len, int64_t unix_s,
                   struct call_todo *todo);
/* The time of the last CALL_SEND, CALL_WAIT, CALL_COUNT or CALL_GET is over, or that of
 * the environment or of the whole call, which are the worker's: then `whole` is set. */
void call_timeout(struct call *call, int whole, int64_t unix_s, struct call_todo *todo);
/* The answers. One that comes after its time was over is left alone. After CALL_CLOSE
 * nothing but call_free() may follow. */
void call_counted(struct call *call, const struct msg_count_rep *rep, int64_t unix_s,
                  struct call_todo *todo);
void call_got(struct call *call, const struct msg_get_rep *rep, int64_t unix_s,
              struct call_todo *todo);
/* Asterisk closed or reset the connection. Always CALL_CLOSE. */
void call_eof(struct call *call, struct call_todo *todo);

/* Whether the environment is complete: until then the worker's greeting-time runs. */
int call_greeted(const struct call *call);

#endif
