/* replica/control.h: what tallyctl asks the state process: one request, one reply, both JSON objects. */
#ifndef REPLICA_CONTROL_H
#define REPLICA_CONTROL_H
#include <stddef.h>

#include "replica/node.h"

enum {
    CONTROL_REQUEST_MAX = 64 * 1024, /* bytes of a request */
    CONTROL_REPLY_MAX = 16 * 1024 * 1024,
};

/* Answer one request; never fails but for memory (NULL): a request that makes no sense gets a reply that
 * says so. The reply is a NUL-terminated text, to be freed with free(). Nothing may be gathered. */
char *control_answer(struct node *node, const char *request, size_t len);

#endif
