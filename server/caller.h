/* server/caller.h: calls over TCP, each played by a fake, thousands of them in one libuv
 * loop. Sockets stand in an epoll descriptor of their own, which the loop watches:
 * uv_poll_t costs four system calls a connection more, and the load generator shares its
 * CPUs with the server. */
#ifndef SERVER_CALLER_H
#define SERVER_CALLER_H
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "common/err.h"
#include "server/fake.h"

enum {
    CALLER_ADDRESSES_MAX = 8, /* of one name, tried in order, as Asterisk does */
    CALLER_CONNECT_MS = 2000, /* per address, as Asterisk does */
    CALLER_SERIAL_HEX = 8,    /* bytes of a call's number in its channel's name */
    CALLER_SERIAL_DIGITS = 10 /* and in its unique id */
};

struct caller_address {
    struct sockaddr_storage addr;
    socklen_t len;
};

/* What all calls have in common. Must outlive them; env is written to while they run. */
struct caller_plan {
    struct caller_address address[CALLER_ADDRESSES_MAX];
    size_t address_count;
    struct fake_caller fake;
    char *env; /* the environment, and where in it a call's number goes, if not NULL */
    size_t env_len;
    char *channel_serial, *id_serial;
    unsigned timeout_ms; /* of silence from the server while no command runs */
    unsigned retry_ms;   /* for so long a connect that failed is tried again */
    /* the caller hangs up so long after the connect; 0 for never */
    unsigned hangup_after_ms;
};

/* How the connection ended. */
enum caller_end {
    CALLER_CLOSED, /* by the server, between commands or after a hangup */
    CALLER_EMPTY,  /* by the server, before it sent any command */
    CALLER_CUT,    /* closed while a command ran, or reset */
    CALLER_SILENT, /* nothing came for timeout_ms */
    CALLER_BREACH, /* the server broke the protocol: outcome->reason says how */
    /* refused, unreachable, or timed out: outcome->error is the errno */
    CALLER_NO_CONNECTION,
    CALLER_NO_MEANS, /* no descriptor, port or memory here: the same */
};

struct caller_outcome {
    enum caller_end end;
    const char *reason;
    int error;
    struct fake_result result; /* all zero where there was no connection */
    const struct fake *fake;   /* for its variables; NULL where there was no connection */
    /* from when the call was due, so that a late start counts, to the close */
    uint64_t whole_us;
};

/* What a call tells while it runs. Any may be NULL but ended. */
struct caller_watch {
    void *context;
    void (*connected)(void *context, const struct caller_address *address);
    void (*sent)(void *context, const char *bytes, size_t len);
    /* first: since the connection was asked for, else since the response before. number:
     * the first number that the server gave, where it came with this command, else NULL.
     * No response to the command has been sent yet. */
    void (*command)(void *context, const char *line, size_t len, uint64_t us, bool first,
                    const char *number);
    /* A call may be started from here, but callers_free() not called. */
    void (*ended)(void *context, const struct caller_outcome *outcome);
};

/* One call's own part. */
struct caller_choice {
    enum fake_leave leave;
    unsigned leave_at;
    uint32_t serial;
    uint64_t due_ns; /* uv_hrtime() */
};

struct callers;

/* On ERR_OK *callers is the caller's, to be freed by callers_free(). plan and watch must
 * outlive it.
 * Errors: ERR_IO (logged), ERR_MEMORY. */
enum err callers_new(uv_loop_t *loop, struct caller_plan *plan,
                     const struct caller_watch *watch, struct callers **callers);

/* Start a call. `ended` is told in any case, later, but where ERR_MEMORY is returned. */
enum err callers_start(struct callers *callers, const struct caller_choice *choice);

size_t callers_open(const struct callers *callers);
/* Of these, the calls that no command of the server has come for yet. */
size_t callers_unserved(const struct callers *callers);

/* Drop all calls, without a word, and free everything; the loop has to run once more to
 * its end. */
void callers_free(struct callers *callers);

#endif
