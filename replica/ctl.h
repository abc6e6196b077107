/* replica/ctl.h: tallyctl's commands: one table of them in ctl_commands.c. What is wrong they write to
 * standard error. */
#ifndef REPLICA_CTL_H
#define REPLICA_CTL_H
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "replica/ctl_node.h"
#include "replica/ctl_out.h"
#include "replica/ctl_words.h"

enum ctl_exit {
    CTL_FINE = 0,
    CTL_NOT_FINE = 1,
    CTL_USAGE = 2,
    CTL_UNREACHABLE = 3,
};

struct ctl {
    const struct ctl_words *words;
    bool json; /* print one JSON object a line */
    char here
        [PATH_MAX]; /* where it was called: the state directory is entered later; "": not known */
    struct ctl_node node;
};

/* How many words stand behind it was looked at before, and that it takes the options given. */
typedef enum ctl_exit ctl_run_fn(struct ctl *ctl);

/* What it works on, and is there when it runs. */
enum ctl_subject {
    CTL_ON_NODE,    /* the state directory is entered */
    CTL_ON_NOTHING, /* it looks for itself */
};

struct ctl_command {
    const char *name, *args;    /* args: as the usage shows them; NULL: none */
    int least, most;            /* words behind it */
    const char *line;           /* one line of help */
    const char *text;           /* the rest of the help, with an example */
    enum ctl_option option[12]; /* beside the general ones; ends with a 0 */
    enum ctl_subject subject;
    ctl_run_fn *run;
};
extern const struct ctl_command ctl_commands[];
extern const size_t ctl_command_count;

extern const char ctl_default_conf[];

/* NULL, and a hint on standard error: there is none of that name. */
const struct ctl_command *ctl_command_find(const char *name);
/* To standard output. */
void ctl_help(void);
void ctl_help_command(const struct ctl_command *command);

/* The state directory that is meant, as told or as the configuration tells, and who the node is by it; "" where it does
 * not say. What is wrong is told. */
struct ctl_where {
    char state_dir[PATH_MAX];
    char node_name[NODE_NAME_MAX + 1];
    char user[33];
};
enum ctl_exit ctl_find(const struct ctl *ctl, struct ctl_where *where);
/* A path of the command line, from where tallyctl was called. False: it is too long; told. */
bool ctl_path(const struct ctl *ctl, const char *word, char path[PATH_MAX]);

/* Complain that the command line is wrong. Returns CTL_USAGE. */
enum ctl_exit ctl_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Of --limit: UINT64_MAX where it is not given. False: told. */
bool ctl_limit(const struct ctl *ctl, uint64_t *limit);

/* ctl_state.c: from the state, as the process or the files have it. */
ctl_run_fn ctl_status, ctl_peers, ctl_key, ctl_checkpoint;
/* ctl_add.c, ctl_retire.c */
ctl_run_fn ctl_add, ctl_retire;
/* ctl_counters.c */
ctl_run_fn ctl_get, ctl_counters;
/* From the log's files, also of a node that runs: ctl_log.c, ctl_verify.c. */
ctl_run_fn ctl_log, ctl_verify;
ctl_run_fn ctl_export, ctl_fsck;
/* Live: ctl_watch.c, ctl_top.c. */
ctl_run_fn ctl_watch, ctl_top;
ctl_run_fn ctl_backup;  /* ctl_backup.c */
ctl_run_fn ctl_restore; /* ctl_restore.c: makes a state directory */
/* Of the machine: ctl_doctor.c. */
ctl_run_fn ctl_doctor;
/* Of tally.conf: ctl_config.c. */
ctl_run_fn ctl_config;
/* ctl.c */
ctl_run_fn ctl_help_run;

/* CTL_FINE and a reply that is the caller's, or another code after telling why. request is freed. */
enum ctl_exit ctl_request(struct ctl *ctl, json_t *request, json_t **reply);
/* A member's integer; 0 where it is none. */
json_int_t ctl_number(const json_t *json, const char *member);

#endif
