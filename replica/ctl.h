/* replica/ctl.h: tallyctl's commands. What is wrong they write to standard error. */
#ifndef REPLICA_CTL_H
#define REPLICA_CTL_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "replica/ctl_node.h"

enum ctl_exit {
    CTL_FINE = 0,
    CTL_NOT_FINE = 1,
    CTL_USAGE = 2,
    CTL_UNREACHABLE = 3,
};

struct ctl {
    bool json; /* print one JSON object a line */
    struct ctl_node node;
};

/* arg: the word behind the command, or NULL. */
typedef enum ctl_exit ctl_command(struct ctl *ctl, const char *arg);

/* ctl_state.c: from the state, as the process or the files have it. */
ctl_command ctl_status, ctl_peers, ctl_key, ctl_get, ctl_counters, ctl_checkpoint;
/* ctl_log.c: from the log's files, also of a node that runs. */
ctl_command ctl_log, ctl_verify;

/* CTL_FINE and a reply that is the caller's, or another code after telling why. request is freed. */
enum ctl_exit ctl_request(struct ctl *ctl, json_t *request, json_t **reply);
void ctl_print_json(const json_t *json);
/* A member's integer; 0 where it is none. */
json_int_t ctl_number(const json_t *json, const char *member);

/* "2026-11-23T15:04:05.678Z" */
enum { CTL_TIME_SIZE = 32 };
void ctl_format_time(uint64_t ms, char out[CTL_TIME_SIZE]);

#endif
