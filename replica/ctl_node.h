/* replica/ctl_node.h: the node that tallyctl talks to: its state process where one runs, else its
 * files, which are only read. The process's working directory is then the state directory. */
#ifndef REPLICA_CTL_NODE_H
#define REPLICA_CTL_NODE_H
#include <jansson.h>
#include <stdbool.h>

#include "common/dial.h"
#include "common/err.h"
#include "replica/control.h"
#include "replica/look.h"

/* Until the reply: a state process that is being restarted is waited for. */
enum { CTL_REPLY_MS = 10000 };

struct ctl_node {
    bool running;
    bool backup;  /* it is none, but what tallyctl backup has made */
    bool dialled; /* dial is one */
    struct dial dial;
    bool looked; /* look and view are filled in */
    struct look look;
    struct control_view view;
    char name[NODE_NAME_MAX + 1];
};

/* Enter the state directory, and see whether a tallyd uses it. name: the node's, "" where it is not
 * known. What is wrong is written to standard error.
 * Errors: ERR_NOT_FOUND  there is no such folder, or it is no state directory
 *         ERR_IO */
enum err ctl_node_open(struct ctl_node *node, const char *state_dir, const char *name);
void ctl_node_close(struct ctl_node *node);

/* Look again whether a tallyd uses the directory: for whoever waits for one. Errors: ERR_IO. */
enum err ctl_node_look(struct ctl_node *node);

/* As ctl_ask() of a node that runs, but without a word, and with another limit for the reply: for whoever asks
 * again. */
enum err ctl_try(struct ctl_node *node, json_t *request, unsigned wait_ms,
                 json_t **reply);

/* One request as in replica/control.h, which is freed; *reply is the caller's. An "error" in it is the
 * caller's, too. What goes wrong on the way is written to standard error.
 * Errors: ERR_AGAIN  the node runs, and does not answer
 *         others     its files cannot be read, or are damaged */
enum err ctl_ask(struct ctl_node *node, json_t *request, json_t **reply);

/* For people: why a dial failed. Static. */
const char *ctl_node_why(enum err err);

#endif
