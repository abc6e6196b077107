/* common/conf.h: tally.conf, parsed once by the master before it forks.
 * The file is INI: [section] headers and "name = value" lines; # or ; begins a comment at the
 * start of a line, " ;" one at its end. Sections: [node], [fastagi], [log], [metrics], one [peer NAME] per other
 * node of the cluster, and one [script NAME] per call script, whose lines are kept as they are for
 * server/script.h to compile.
 * Durations are "500ms", "3s", "10m", "2h"; sizes are bytes, or "64k", "16m", "1g" (powers of 1024).
 * What can be set, within which bounds and with which default is one table in conf.c. */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/err.h"
#include "common/log.h"

enum {
    CONF_LINE_MAX = 198,     /* bytes of a line, what inih takes */
    CONF_FILE_MAX = 1 << 20, /* bytes of the file */
    CONF_LISTEN_MAX = 8,
    CONF_ALLOW_MAX = 64,
    CONF_WORKERS_MAX = 64,
    CONF_SCRIPTS_MAX = 256,
    CONF_SCRIPT_LINES_MAX = 256, /* of one script */
    CONF_SCRIPT_NAME_MAX = 32,   /* bytes; letters, digits and ._- */
    CONF_SETTINGS_MAX = 32,      /* rows of conf.c's table */
    CONF_PEERS_MAX = 16,
    CONF_PEER_NAME_MAX = 32, /* bytes, as of a node's name */
    CONF_ADDRESS_MAX = 127,  /* bytes of "host:port" */
    CONF_KEY_BYTES = 32,     /* of an Ed25519 public key */
};

struct conf_listen {
    struct sockaddr_storage addr;
    socklen_t len;
    char text[64]; /* as it was written, for messages */
    /* In the file, from 1. 0: a default, which nobody asked for: where this host does not have the
     * address (::1 without IPv6) it is worth a warning, and no more. */
    unsigned line;
};

/* A network whose connections are taken. IPv4 stands as an IPv4-mapped IPv6 address, so one
 * comparison serves both. */
struct conf_network {
    sa_family_t family; /* AF_INET, AF_INET6, or AF_UNSPEC for "any" */
    struct in6_addr addr;
    unsigned bits; /* 0 to 128 */
    unsigned line; /* in the file, from 1; 0: a default */
};

/* Another node of the cluster, or this one: one list may serve all. */
struct conf_peer {
    char name[CONF_PEER_NAME_MAX + 1];
    char address[CONF_ADDRESS_MAX + 1]; /* as written: resolved whenever it is dialled */
    bool gone; /* address = none: it is no more, but what it has counted stays good */
    uint8_t key[CONF_KEY_BYTES];
    unsigned line;                   /* of its [peer NAME] */
    unsigned address_line, key_line; /* 0: not said */
};

/* One "name = value" of a script, as written. */
struct conf_line {
    char *name, *value;
    unsigned line; /* in the file, from 1 */
};

struct conf_script {
    char name[CONF_SCRIPT_NAME_MAX + 1];
    unsigned line; /* of its [script NAME] */
    struct conf_line *lines;
    size_t count; /* may be 0 */
};

/* Each field is named with its setting; bounds and defaults are in conf.c's table. */
struct conf {
    char path[4096]; /* of the file, absolute */

    /* [node] */
    char node_name[33];   /* name: 1 to 32 letters, digits and ._- */
    char state_dir[4096]; /* state: absolute, whatever the file has */
    char user[33];        /* user: whom to become when started as root; "": nobody else */
    /* peer-listen: where the other nodes reach this one, "host:port"; "": nowhere */
    char peer_listen[CONF_ADDRESS_MAX + 1];
    unsigned
        join_ms; /* join-wait: of a node without any block, to catch up with a peer */
    /* copies: nodes that hold a count before it is answered, this one included; at most it and its peers. A
     * peer under this node's own name is this node. */
    unsigned copies;
    /* copies-wait: how long an answer waits for them, then it is UNKNOWN; with copies above 1 it is shorter than
     * answer-time */
    unsigned copies_wait_ms;

    /* [fastagi] */
    struct conf_listen listen[CONF_LISTEN_MAX];
    size_t listen_count;
    struct conf_network allow[CONF_ALLOW_MAX];
    size_t allow_count;
    unsigned workers;     /* workers: processes; 0: a witness, which takes no calls */
    unsigned calls;       /* calls: per worker, at once */
    unsigned backlog;     /* backlog: of each listening socket */
    unsigned greeting_ms; /* greeting-time: until the environment is complete */
    unsigned command_ms;  /* command-time: until a command's answer */
    unsigned call_ms;     /* call-time: of a whole call */
    unsigned answer_ms;   /* answer-time: until a count's answer, then it is UNKNOWN */
    unsigned drain_ms; /* drain-time: for calls to end at SIGTERM, or in an old worker */
    size_t greeting_bytes; /* greeting-size: of an environment; real ones exceed 16 KiB */
    /* default-script: for a URL without a path */
    char default_script[CONF_SCRIPT_NAME_MAX + 1];

    /* [log]: the write-ahead log and its checkpoints */
    size_t segment_bytes;    /* segment-size */
    size_t checkpoint_bytes; /* checkpoint-size: of log between two checkpoints */
    unsigned checkpoint_ms;  /* checkpoint-time: between two, where anything changed */
    unsigned counters;       /* counters: names that this node may bring into being */
    char archive_dir[4096];  /* archive: for old segments, absolute; "": delete them */
    enum log_level level;    /* level: of this process's messages, not of the counts */

    /* [metrics] */
    struct conf_listen
        metrics; /* listen: where figures are served over HTTP; len 0: nowhere */

    struct conf_peer peers[CONF_PEERS_MAX];
    size_t peer_count;

    struct conf_script *scripts;
    size_t script_count;

    /* Where each setting of conf.c's table stands in the file; 0 where it has its default. */
    unsigned setting_line[CONF_SETTINGS_MAX];
};

/* Where and why a configuration was refused: "tally.conf:12: ...", what was expected included. */
struct conf_error {
    char text[512];
};

/* Read the file at path. On ERR_OK *conf is the caller's, to be freed by conf_free(); on any other
 * nothing is left to free and error->text says file, line and what was expected.
 * Errors: ERR_MALFORMED  a line that cannot be parsed, or a section or name that does not exist
 *         ERR_RANGE      a value that is out of its bounds
 *         ERR_EXISTS     what may be said once is said twice
 *         ERR_TOO_LONG   a line above CONF_LINE_MAX or a file above CONF_FILE_MAX; too many listen,
 *                        allow or script lines, or peers
 *         ERR_IO         the file cannot be read
 *         ERR_MEMORY */
enum err conf_read(const char *path, struct conf **conf, struct conf_error *error);

/* As conf_read(), but a peer's key may be anything, or missing, and is not taken: for who makes the keys that
 * this very file waits for. */
enum err conf_read_keyless(const char *path, struct conf **conf,
                           struct conf_error *error);

/* conf_read() from memory, for tests; path is what messages name. text needs a NUL at text[len]. */
enum err conf_parse(const char *text, size_t len, const char *path, struct conf **conf,
                    struct conf_error *error);

void conf_free(struct conf *conf);

/* Write "PATH:LINE: ..." into error; line 0 leaves the line out. For script.c, which refuses too. */
void conf_error_set(struct conf_error *error, const char *path, unsigned line,
                    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Whether a client at addr may connect. */
bool conf_allows(const struct conf *conf, const struct sockaddr_storage *addr);

/* One value that is in force. Texts are good during the call only. */
struct conf_value {
    const char *section; /* "fastagi", "peer b", "script hits" */
    const char *name;
    const char
        *value;    /* paths absolute, numbers in their largest whole unit; may be "" */
    unsigned line; /* in the file; 0: the default */
};

/* Give every value in force to `found`, in the table's order, then the peers' and the scripts' lines; what
 * repeats comes once for each. */
void conf_each(const struct conf *conf,
               void (*found)(void *user, const struct conf_value *value), void *user);

/* "500ms", "3s", "10m", "2h" in milliseconds. ERR_MALFORMED, ERR_RANGE (above UINT32_MAX ms). */
enum err conf_duration(const char *text, unsigned *ms);

#endif
