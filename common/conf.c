#include "common/conf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/name.h"
#include "common/nearest.h"
#include "common/value.h"

enum { TEXT_SIZE = 4096 }; /* of the longest value, a path, with its NUL */

struct parse {
    const char *path;     /* as messages show it */
    const char *at, *end; /* what is not read yet */
    bool keyless;         /* a peer's key may be anything */
    unsigned line;
    const char *section; /* a table's name, "peer", "script", or NULL before the first */
    struct conf *conf;
    struct conf_error *error;
    enum err err; /* the first mistake; nothing is read after it */
};

struct setting;

/* What values of one kind have in common. */
struct kind {
    const char *expected;
    const struct value_unit *units; /* of bounded numbers; NULL for everything else */
    size_t width;                   /* of a number's field, in bytes */
    bool repeats;
    enum err (*parse)(struct parse *p, const struct setting *s, const char *text);
    /* Value number i of the setting; false where there are no more. What repeats knows its lines. */
    bool (*print)(const struct conf *conf, const struct setting *s, size_t i,
                  char out[TEXT_SIZE], unsigned *line);
};

struct setting {
    const char *section, *name;
    const struct kind *kind;
    size_t offset;     /* in struct conf; lists know theirs */
    uint64_t min, max; /* of a number; of a text's length in bytes */
    const char *
        standard; /* the default as the file would say it, a list's with blanks; NULL: none */
};

static const struct kind kind_name, kind_path, kind_number, kind_workers, kind_duration,
    kind_size, kind_level, kind_listen, kind_allow, kind_endpoint, kind_address;

#define FIELD(member) offsetof(struct conf, member)
#define SECOND        UINT64_C(1000)
#define HOUR          (3600 * SECOND)
#define MIB           (UINT64_C(1) << 20)

/* Adding a setting is one line here and one field in struct conf, of the width that its kind has. */
static const struct setting settings[] = {
    {"node", "name", &kind_name, FIELD(node_name), 1, 32, NULL},
    {"node", "state", &kind_path, FIELD(state_dir), 1, TEXT_SIZE - 1, NULL},
    {"node", "user", &kind_name, FIELD(user), 0, 32, ""},
    {"node", "peer-listen", &kind_endpoint, FIELD(peer_listen), 0, CONF_ADDRESS_MAX, ""},
    {"node", "join-wait", &kind_duration, FIELD(join_ms), 0, HOUR, "30s"},
    {"node", "copies", &kind_number, FIELD(copies), 1, CONF_PEERS_MAX + 1, "1"},
    {"node", "copies-wait", &kind_duration, FIELD(copies_wait_ms), 1, HOUR, "2s"},
    {"fastagi", "listen", &kind_listen, 0, 0, 0, "127.0.0.1:4573 [::1]:4573"},
    {"fastagi", "allow", &kind_allow, 0, 0, 0, "127.0.0.0/8 ::1/128"},
    {"fastagi", "workers", &kind_workers, FIELD(workers), 0, CONF_WORKERS_MAX, "auto"},
    {"fastagi", "calls", &kind_number, FIELD(calls), 1, 100000, "10000"},
    {"fastagi", "backlog", &kind_number, FIELD(backlog), 1, 65535, "4096"},
    {"fastagi", "greeting-time", &kind_duration, FIELD(greeting_ms), 100, HOUR, "5s"},
    {"fastagi", "command-time", &kind_duration, FIELD(command_ms), 100, 24 * HOUR, "10m"},
    {"fastagi", "call-time", &kind_duration, FIELD(call_ms), SECOND, 168 * HOUR, "4h"},
    {"fastagi", "answer-time", &kind_duration, FIELD(answer_ms), 100, HOUR, "10s"},
    {"fastagi", "drain-time", &kind_duration, FIELD(drain_ms), 0, 24 * HOUR, "30s"},
    {"fastagi", "greeting-size", &kind_size, FIELD(greeting_bytes), 4096, MIB, "64k"},
    {"fastagi", "default-script", &kind_name, FIELD(default_script), 1,
     CONF_SCRIPT_NAME_MAX, "hits"},
    {"log", "segment-size", &kind_size, FIELD(segment_bytes), MIB, 1024 * MIB, "16m"},
    {"log", "checkpoint-size", &kind_size, FIELD(checkpoint_bytes), MIB,
     1024 * 1024 * MIB, "64m"},
    {"log", "checkpoint-time", &kind_duration, FIELD(checkpoint_ms), SECOND, 168 * HOUR,
     "1h"},
    {"log", "counters", &kind_number, FIELD(counters), 1, 100000000, "1000000"},
    {"log", "archive", &kind_path, FIELD(archive_dir), 0, TEXT_SIZE - 1, ""},
    {"log", "level", &kind_level, FIELD(level), 0, 0, "info"},
    {"metrics", "listen", &kind_address, FIELD(metrics), 0, 0, ""},
};
#define SETTINGS (sizeof settings / sizeof settings[0])
static_assert(SETTINGS <= CONF_SETTINGS_MAX, "struct conf keeps a line number for each");

/* ---- Errors ---- */

__attribute__((format(printf, 4, 0))) static void
conf_error_vset(struct conf_error *error, const char *path, unsigned line,
                const char *format, va_list args)
{
    enum {
        PATH_SHOWN = 200
    }; /* of a longer path its end, so that the reason still fits */
    size_t len = strlen(path);
    bool cut = len > PATH_SHOWN;
    char place[16] = "";
    int prefix;

    if (line > 0)
        snprintf(place, sizeof place, ":%u", line);
    prefix = snprintf(error->text, sizeof error->text, "%s%s%s: ", cut ? "..." : "",
                      cut ? path + len - PATH_SHOWN : path, place);
    vsnprintf(error->text + prefix, sizeof error->text - (size_t)prefix, format, args);
}

void conf_error_set(struct conf_error *error, const char *path, unsigned line,
                    const char *format, ...)
{
    va_list args;

    va_start(args, format);
    conf_error_vset(error, path, line, format, args);
    va_end(args);
}

/* Note the first mistake, and where. Gives err back. */
__attribute__((format(printf, 4, 5))) static enum err
refuse(struct parse *p, unsigned line, enum err err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    conf_error_vset(p->error, p->path, line, format, args);
    va_end(args);
    p->err = err;
    return err;
}

static enum err refuse_memory(struct parse *p)
{
    return refuse(p, p->line, ERR_MEMORY, "out of memory");
}

/* ---- Kinds of values ---- */

static void *field_of(struct conf *conf, const struct setting *s)
{
    return (char *)conf + s->offset;
}

static const void *field_in(const struct conf *conf, const struct setting *s)
{
    return (const char *)conf + s->offset;
}

static bool text_print(const struct conf *conf, const struct setting *s, size_t i,
                       char out[TEXT_SIZE], unsigned *line)
{
    (void)line;
    if (i > 0)
        return false;
    memccpy(out, field_in(conf, s), '\0', TEXT_SIZE);
    return true;
}

static enum err name_parse(struct parse *p, const struct setting *s, const char *text)
{
    size_t len = strlen(text);

    if (len < s->min || len > s->max)
        return ERR_RANGE;
    if (len > 0 && !name_valid(text, len))
        return ERR_MALFORMED;
    memcpy(field_of(p->conf, s), text, len + 1);
    return ERR_OK;
}

static const struct kind kind_name = {
    .expected = "letters, digits and ._-",
    .parse = name_parse,
    .print = text_print,
};

/* Relative paths begin at the file's folder, so that a tree can be moved as a whole. */
static enum err path_parse(struct parse *p, const struct setting *s, const char *text)
{
    char *field = field_of(p->conf, s);
    const char *file = p->conf->path;
    size_t folder = 0, len = strlen(text);

    if (len < s->min)
        return ERR_RANGE;
    if (len > 0 && *text != '/')
        folder = (size_t)(strrchr(file, '/') + 1 - file);
    if (folder + len > s->max)
        return ERR_RANGE;
    memcpy(field, file, folder);
    memcpy(field + folder, text, len + 1);
    return ERR_OK;
}

static const struct kind kind_path = {
    .expected = "a path",
    .parse = path_parse,
    .print = text_print,
};

static enum err number_parse(struct parse *p, const struct setting *s, const char *text)
{
    uint64_t v;
    enum err err = value_number_parse(text, s->kind->units, &v);

    if (err != ERR_OK)
        return err;
    if (v < s->min || v > s->max)
        return ERR_RANGE;
    if (s->kind->width == sizeof(size_t))
        *(size_t *)field_of(p->conf, s) = (size_t)v;
    else
        *(unsigned *)field_of(p->conf, s) = (unsigned)v;
    return ERR_OK;
}

static bool number_print(const struct conf *conf, const struct setting *s, size_t i,
                         char out[TEXT_SIZE], unsigned *line)
{
    (void)line;
    if (i > 0)
        return false;
    value_number_format(s->kind->width == sizeof(size_t)
                            ? *(const size_t *)field_in(conf, s)
                            : *(const unsigned *)field_in(conf, s),
                        s->kind->units, out);
    return true;
}

static const struct kind kind_number = {
    .expected = "a number",
    .units = value_plain,
    .width = sizeof(unsigned),
    .parse = number_parse,
    .print = number_print,
};

static const struct kind kind_duration = {
    .expected = "a duration such as 500ms, 3s, 10m or 2h,",
    .units = value_duration,
    .width = sizeof(unsigned),
    .parse = number_parse,
    .print = number_print,
};

static const struct kind kind_size = {
    .expected = "a size such as 4096, 64k, 16m or 1g,",
    .units = value_size,
    .width = sizeof(size_t),
    .parse = number_parse,
    .print = number_print,
};

static enum err workers_parse(struct parse *p, const struct setting *s, const char *text)
{
    long cpus;

    if (strcmp(text, "auto") != 0)
        return number_parse(p, s, text);
    cpus = sysconf(_SC_NPROCESSORS_ONLN);
    p->conf->workers = cpus < 1                  ? 1
                       : cpus > CONF_WORKERS_MAX ? CONF_WORKERS_MAX
                                                 : (unsigned)cpus;
    return ERR_OK;
}

static const struct kind kind_workers = {
    .expected = "auto (one per CPU) or a number",
    .units = value_plain,
    .width = sizeof(unsigned),
    .parse = workers_parse,
    .print = number_print,
};

static enum err level_parse(struct parse *p, const struct setting *s, const char *text)
{
    (void)s;
    return log_level_parse(text, &p->conf->level) == 0 ? ERR_OK : ERR_MALFORMED;
}

static bool level_print(const struct conf *conf, const struct setting *s, size_t i,
                        char out[TEXT_SIZE], unsigned *line)
{
    (void)s, (void)line;
    if (i > 0)
        return false;
    snprintf(out, TEXT_SIZE, "%s", log_level_name(conf->level));
    return true;
}

static const struct kind kind_level = {
    .expected = "error, warn, info or debug",
    .parse = level_parse,
    .print = level_print,
};

static enum err listen_parse(struct parse *p, const struct setting *s, const char *text)
{
    struct conf *conf = p->conf;
    struct conf_listen *listen = &conf->listen[conf->listen_count];
    enum err err;

    (void)s;
    if (conf->listen_count == CONF_LISTEN_MAX)
        return refuse(p, p->line, ERR_TOO_LONG, "more than %d listen lines",
                      CONF_LISTEN_MAX);
    err = value_listen_parse(text, listen);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < conf->listen_count; i++)
        if (listen->len == conf->listen[i].len &&
            memcmp(&listen->addr, &conf->listen[i].addr, listen->len) == 0)
            return refuse(p, p->line, ERR_EXISTS, "listen = %s: line %u has it already",
                          text, conf->listen[i].line);
    listen->line = p->line;
    conf->listen_count++;
    return ERR_OK;
}

static bool listen_print(const struct conf *conf, const struct setting *s, size_t i,
                         char out[TEXT_SIZE], unsigned *line)
{
    (void)s;
    if (i >= conf->listen_count)
        return false;
    snprintf(out, TEXT_SIZE, "%s", conf->listen[i].text);
    *line = conf->listen[i].line;
    return true;
}

static const struct kind kind_listen = {
    .expected =
        "an address and a port from 1 to 65535, such as 127.0.0.1:4573 or [::1]:4573",
    .repeats = true,
    .parse = listen_parse,
    .print = listen_print,
};

static enum err allow_parse(struct parse *p, const struct setting *s, const char *text)
{
    struct conf *conf = p->conf;
    struct conf_network *network = &conf->allow[conf->allow_count];
    enum err err;

    (void)s;
    if (conf->allow_count == CONF_ALLOW_MAX)
        return refuse(p, p->line, ERR_TOO_LONG, "more than %d allow lines",
                      CONF_ALLOW_MAX);
    err = value_network_parse(text, network);
    if (err != ERR_OK)
        return err;
    network->line = p->line;
    conf->allow_count++;
    return ERR_OK;
}

static bool allow_print(const struct conf *conf, const struct setting *s, size_t i,
                        char out[TEXT_SIZE], unsigned *line)
{
    (void)s;
    if (i >= conf->allow_count)
        return false;
    value_network_format(&conf->allow[i], out);
    *line = conf->allow[i].line;
    return true;
}

static const struct kind kind_allow = {
    .expected =
        "a network such as 10.0.0.0/8 or 2001:db8::/32 with no bits beyond its prefix, "
        "an address, or any",
    .repeats = true,
    .parse = allow_parse,
    .print = allow_print,
};

/* An address that others dial, or that is bound: nobody has resolved it yet. */
static enum err endpoint_take(const char *text, char field[CONF_ADDRESS_MAX + 1])
{
    enum err err = value_endpoint_check(text);

    if (err == ERR_OK)
        memcpy(field, text, strlen(text) + 1);
    return err;
}

static enum err endpoint_parse(struct parse *p, const struct setting *s, const char *text)
{
    if (*text != '\0')
        return endpoint_take(text, field_of(p->conf, s));
    *(char *)field_of(p->conf, s) = '\0';
    return ERR_OK;
}

static const char endpoint_expected[] =
    "a host and a port from 1 to 65535, such as 192.0.2.7:4574, [2001:db8::7]:4574 or "
    "node-b.example.net:4574";

static const struct kind kind_endpoint = {
    .expected = endpoint_expected,
    .parse = endpoint_parse,
    .print = text_print,
};

/* One address, which this process binds. */
static enum err address_parse(struct parse *p, const struct setting *s, const char *text)
{
    struct conf_listen *address = field_of(p->conf, s);
    enum err err = ERR_OK;

    *address = (struct conf_listen){.len = 0};
    if (*text != '\0')
        err = value_listen_parse(text, address);
    address->line = p->line;
    return err;
}

static bool address_print(const struct conf *conf, const struct setting *s, size_t i,
                          char out[TEXT_SIZE], unsigned *line)
{
    const struct conf_listen *address = field_in(conf, s);

    (void)line;
    snprintf(out, TEXT_SIZE, "%s", address->text);
    return i == 0;
}

static const struct kind kind_address = {
    .expected = "an address and a port, such as 127.0.0.1:9464 or [::1]:9464",
    .parse = address_parse,
    .print = address_print,
};

/* ---- Settings ---- */

static void expected_of(const struct setting *s, char *out, size_t size)
{
    char min[VALUE_NUMBER_SIZE], max[VALUE_NUMBER_SIZE];

    if (s->kind->units != NULL) {
        value_number_format(s->min, s->kind->units, min);
        value_number_format(s->max, s->kind->units, max);
        snprintf(out, size, "%s from %s to %s", s->kind->expected, min, max);
    } else if (s->kind == &kind_name) {
        snprintf(out, size, "%u to %u %s", (unsigned)s->min, (unsigned)s->max,
                 s->kind->expected);
    } else {
        snprintf(out, size, "%s", s->kind->expected);
    }
}

static enum err setting_parse(struct parse *p, const struct setting *s, const char *text)
{
    enum err err = s->kind->parse(p, s, text);
    char expected[128];

    if (err == ERR_OK || p->err != ERR_OK)
        return err;
    expected_of(s, expected, sizeof expected);
    return refuse(p, p->line, err, "%s = %s: expected %s", s->name, text, expected);
}

static enum err refuse_name(struct parse *p, const char *name)
{
    struct nearest near = nearest_to(name);

    for (size_t i = 0; i < SETTINGS; i++) {
        if (strcmp(settings[i].section, p->section) == 0)
            nearest_try(&near, settings[i].name);
        else if (strcmp(settings[i].name, name) == 0)
            return refuse(p, p->line, ERR_MALFORMED,
                          "%s belongs into [%s], not into [%s]", name,
                          settings[i].section, p->section);
    }
    return refuse(p, p->line, ERR_MALFORMED, "[%s] has no setting named '%s'%s%s%s",
                  p->section, name, near.best != NULL ? ": did you mean " : "",
                  near.best != NULL ? near.best : "", near.best != NULL ? "?" : "");
}

static enum err setting_line(struct parse *p, const char *name, const char *value)
{
    size_t i = 0;
    unsigned *line;

    while (i < SETTINGS && (strcmp(settings[i].section, p->section) != 0 ||
                            strcmp(settings[i].name, name) != 0))
        i++;
    if (i == SETTINGS)
        return refuse_name(p, name);
    line = &p->conf->setting_line[i];
    if (*line != 0 && !settings[i].kind->repeats)
        return refuse(p, p->line, ERR_EXISTS,
                      "%s is set a second time: line %u has it already", name, *line);
    if (*line == 0)
        *line = p->line;
    return setting_parse(p, &settings[i], value);
}

/* ---- Peers ---- */

static struct conf_peer *peer_last(struct parse *p)
{
    return &p->conf->peers[p->conf->peer_count - 1];
}

static enum err peer_begin(struct parse *p, const char *name, size_t len)
{
    struct conf *conf = p->conf;
    struct conf_peer *peer;

    if (len > CONF_PEER_NAME_MAX || !name_valid(name, len))
        return refuse(p, p->line, ERR_MALFORMED,
                      "[peer %.*s]: expected a name of 1 to %d letters, digits and ._-",
                      (int)len, name, CONF_PEER_NAME_MAX);
    for (size_t i = 0; i < conf->peer_count; i++)
        if (strlen(conf->peers[i].name) == len &&
            memcmp(conf->peers[i].name, name, len) == 0)
            return refuse(p, p->line, ERR_EXISTS,
                          "a second [peer %s]: line %u has it already",
                          conf->peers[i].name, conf->peers[i].line);
    if (conf->peer_count == CONF_PEERS_MAX)
        return refuse(p, p->line, ERR_TOO_LONG, "more than %d peers", CONF_PEERS_MAX);
    peer = &conf->peers[conf->peer_count++];
    peer->line = p->line;
    memcpy(peer->name, name, len);
    return ERR_OK;
}

static enum err peer_key(struct parse *p, struct conf_peer *peer, const char *text)
{
    size_t bytes;

    if (p->keyless)
        return ERR_OK;
    if (strlen(text) != (size_t)2 * CONF_KEY_BYTES ||
        sodium_hex2bin(peer->key, sizeof peer->key, text, (size_t)2 * CONF_KEY_BYTES,
                       NULL, &bytes, NULL) != 0 ||
        bytes != CONF_KEY_BYTES)
        return refuse(p, p->line, ERR_MALFORMED,
                      "key = %s: expected the 64 hexadecimal digits that tallyd -k tells "
                      "on that node",
                      text);
    if (crypto_core_ed25519_is_valid_point(peer->key) == 0)
        return refuse(p, p->line, ERR_MALFORMED,
                      "key = %s: this is nobody's key: a digit is wrong", text);
    for (const struct conf_peer *other = p->conf->peers; other < peer; other++)
        if (memcmp(other->key, peer->key, sizeof peer->key) == 0)
            return refuse(p, p->line, ERR_EXISTS,
                          "key = %s: peer %s has it already, on line %u", text,
                          other->name, other->key_line);
    return ERR_OK;
}

static enum err peer_address(struct parse *p, struct conf_peer *peer, const char *text)
{
    enum err err;

    peer->gone = strcmp(text, "none") == 0;
    if (peer->gone) {
        strcpy(peer->address, text);
        return ERR_OK;
    }
    err = endpoint_take(text, peer->address);
    return err == ERR_OK ? err
                         : refuse(p, p->line, err,
                                  "address = %s: expected %s, or none for a node that is "
                                  "no more",
                                  text, endpoint_expected);
}

static enum err peer_line(struct parse *p, const char *name, const char *value)
{
    struct conf_peer *peer = peer_last(p);
    bool is_key = strcmp(name, "key") == 0;
    unsigned *line = is_key ? &peer->key_line : &peer->address_line;

    if (!is_key && strcmp(name, "address") != 0)
        return refuse(p, p->line, ERR_MALFORMED,
                      "[peer %s] has no setting named '%s': expected address and key",
                      peer->name, name);
    if (*line != 0)
        return refuse(p, p->line, ERR_EXISTS,
                      "%s is set a second time: line %u has it already", name, *line);
    *line = p->line;
    return is_key ? peer_key(p, peer, value) : peer_address(p, peer, value);
}

static enum err peers_check(struct parse *p)
{
    const struct conf *conf = p->conf;

    for (size_t i = 0; i < conf->peer_count; i++) {
        const struct conf_peer *peer = &conf->peers[i];

        if (peer->address_line == 0)
            return refuse(p, peer->line, ERR_MALFORMED,
                          "[peer %s] has no address = HOST:PORT", peer->name);
        if (peer->key_line == 0 && !p->keyless)
            return refuse(p, peer->line, ERR_MALFORMED,
                          "[peer %s] has no key: tallyd -k tells it on that node",
                          peer->name);
    }
    if (conf->peer_count > 0 && conf->peer_listen[0] == '\0')
        return refuse(p, conf->peers[0].line, ERR_MALFORMED,
                      "[peer %s]: a node with peers needs peer-listen = HOST:PORT in "
                      "[node], where they reach it",
                      conf->peers[0].name);
    return ERR_OK;
}

/* Where a setting stands in the file; 0: it has its default. */
static unsigned line_of(const struct conf *conf, const char *section, const char *name)
{
    size_t i = 0;

    while (strcmp(settings[i].section, section) != 0 ||
           strcmp(settings[i].name, name) != 0)
        i++;
    return conf->setting_line[i];
}

/* Could so many nodes ever hold a count, and would its caller still be there? */
static enum err copies_check(struct parse *p)
{
    const struct conf *conf = p->conf;
    unsigned line = line_of(conf, "node", "copies"), nodes = 1;
    unsigned wait_line = line_of(conf, "node", "copies-wait");
    char wait[VALUE_NUMBER_SIZE], answer[VALUE_NUMBER_SIZE];

    if (conf->copies == 1)
        return ERR_OK;
    for (size_t i = 0; i < conf->peer_count; i++)
        nodes +=
            !conf->peers[i].gone && strcmp(conf->peers[i].name, conf->node_name) != 0;
    if (conf->copies > nodes)
        return refuse(p, line, ERR_RANGE,
                      "copies = %u: expected at most %u, this node and every [peer NAME] "
                      "that is another and has an address",
                      conf->copies, nodes);
    if (conf->copies_wait_ms < conf->answer_ms)
        return ERR_OK;
    value_number_format(conf->copies_wait_ms, value_duration, wait);
    value_number_format(conf->answer_ms, value_duration, answer);
    return refuse(
        p, wait_line != 0 ? wait_line : line, ERR_RANGE,
        "copies-wait = %s: expected less than answer-time, which is %s: callers "
        "wait no longer",
        wait, answer);
}

/* ---- Scripts ---- */

static struct conf_script *script_last(struct parse *p)
{
    return &p->conf->scripts[p->conf->script_count - 1];
}

static enum err script_begin(struct parse *p, const char *name, size_t len)
{
    struct conf *conf = p->conf;
    struct conf_script *script;

    if (len > CONF_SCRIPT_NAME_MAX || !name_valid(name, len))
        return refuse(p, p->line, ERR_MALFORMED,
                      "[script %.*s]: expected a name of 1 to %d letters, digits and ._-",
                      (int)len, name, CONF_SCRIPT_NAME_MAX);
    for (size_t i = 0; i < conf->script_count; i++)
        if (strlen(conf->scripts[i].name) == len &&
            memcmp(conf->scripts[i].name, name, len) == 0)
            return refuse(p, p->line, ERR_EXISTS,
                          "a second [script %s]: line %u has it already",
                          conf->scripts[i].name, conf->scripts[i].line);
    if (conf->script_count == CONF_SCRIPTS_MAX)
        return refuse(p, p->line, ERR_TOO_LONG, "more than %d scripts", CONF_SCRIPTS_MAX);
    script = reallocarray(conf->scripts, conf->script_count + 1, sizeof *conf->scripts);
    if (script == NULL)
        return refuse_memory(p);
    conf->scripts = script;
    script += conf->script_count++;
    *script = (struct conf_script){.line = p->line};
    memcpy(script->name, name, len);
    return ERR_OK;
}

static enum err script_line(struct parse *p, const char *name, const char *value)
{
    struct conf_script *script = script_last(p);
    struct conf_line *line;

    if (script->count == CONF_SCRIPT_LINES_MAX)
        return refuse(p, p->line, ERR_TOO_LONG, "more than %d lines in one script",
                      CONF_SCRIPT_LINES_MAX);
    line = reallocarray(script->lines, script->count + 1, sizeof *line);
    if (line == NULL)
        return refuse_memory(p);
    script->lines = line;
    line += script->count++;
    *line =
        (struct conf_line){.name = strdup(name), .value = strdup(value), .line = p->line};
    return line->name != NULL && line->value != NULL ? ERR_OK : refuse_memory(p);
}

/* ---- The file, line by line ---- */

static enum err refuse_section(struct parse *p, const char *name, size_t len)
{
    char word[CONF_LINE_MAX + 1];
    struct nearest near;

    memcpy(word, name, len);
    word[len] = '\0';
    near = nearest_to(word);
    for (size_t i = 0; i < SETTINGS; i++)
        nearest_try(&near, settings[i].section);
    if (near.best != NULL)
        return refuse(p, p->line, ERR_MALFORMED,
                      "there is no section [%s]: did you mean [%s]?", word, near.best);
    return refuse(p, p->line, ERR_MALFORMED,
                  "there is no section [%s]: expected [node], [fastagi], [log], "
                  "[metrics], [peer NAME] or [script NAME]",
                  word);
}

/* "NAME" of "[kind NAME]", or NULL. */
static const char *named_section(const char *kind, const char *section, size_t *len)
{
    size_t kind_len = strlen(kind);

    if (*len <= kind_len || memcmp(section, kind, kind_len) != 0 ||
        section[kind_len] != ' ')
        return NULL;
    *len -= kind_len + 1;
    return section + kind_len + 1;
}

/* [peer NAME] and [script NAME] */
static enum err named_begin(struct parse *p, const char *section, size_t len)
{
    static const char peer[] = "peer", script[] = "script";
    size_t name_len = len;
    const char *name = named_section(peer, section, &name_len);

    if (name != NULL) {
        p->section = peer;
        return peer_begin(p, name, name_len);
    }
    name = named_section(script, section, &name_len);
    if (name == NULL)
        return refuse_section(p, section, len);
    p->section = script;
    return script_begin(p, name, name_len);
}

/* A line that begins with '['. inih would cut a long name, take anything behind the ']', and say
 * nothing of a section that has no lines. */
static enum err section_begin(struct parse *p, const char *line, size_t len)
{
    const char *name = line + 1;
    const char *close = memchr(name, ']', len - 1);
    const char *rest;
    size_t name_len;

    if (close == NULL)
        return refuse(p, p->line, ERR_MALFORMED, "a section without its ']'");
    rest = close + 1;
    while (rest < line + len && (*rest == ' ' || *rest == '\t'))
        rest++;
    if (rest < line + len && *rest != ';' && *rest != '#')
        return refuse(p, p->line, ERR_MALFORMED,
                      "something stands behind the section's ']'");
    name_len = (size_t)(close - name);
    for (size_t i = 0; i < SETTINGS; i++) {
        if (strlen(settings[i].section) == name_len &&
            memcmp(settings[i].section, name, name_len) == 0) {
            p->section = settings[i].section;
            return ERR_OK;
        }
    }
    return named_begin(p, name, name_len);
}

/* Cut blanks at both ends, and the '\r' of a file from elsewhere. */
static void trim(const char **line, size_t *len)
{
    while (*len > 0 && (**line == ' ' || **line == '\t')) {
        ++*line;
        --*len;
    }
    while (*len > 0 && strchr(" \t\r", (*line)[*len - 1]) != NULL &&
           (*line)[*len - 1] != '\0')
        --*len;
}

static enum err line_check(struct parse *p, const char *line, size_t len, size_t most)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)line[i];

        if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
            return refuse(p, p->line, ERR_MALFORMED, "a control byte, 0x%02x", byte);
    }
    if (len > most)
        return refuse(p, p->line, ERR_TOO_LONG,
                      "a line of %zu bytes: expected at most %zu", len, most);
    return len > 0 && line[0] == '[' ? section_begin(p, line, len) : ERR_OK;
}

/* inih's fgets(). A line comes whole, and without blanks before it, because inih takes a line that
 * begins with one for more of the value above it. */
static char *next_line(char *out, int size, void *user)
{
    static const char mark[] = "\xef\xbb\xbf"; /* UTF-8's byte order mark */
    struct parse *p = user;
    const char *line = p->at, *newline;
    size_t len, most = CONF_LINE_MAX;

    if (p->err != ERR_OK || p->at == p->end)
        return NULL;
    p->line++;
    newline = memchr(line, '\n', (size_t)(p->end - line));
    len = (size_t)((newline != NULL ? newline : p->end) - line);
    p->at = newline != NULL ? newline + 1 : p->end;
    if (p->line == 1 && len >= 3 && memcmp(line, mark, 3) == 0) {
        line += 3;
        len -= 3;
    }
    trim(&line, &len);
    if (most > (size_t)size - 2)
        most = (size_t)size - 2;
    if (line_check(p, line, len, most) != ERR_OK)
        return NULL;
    memcpy(out, line, len);
    memcpy(out + len, "\n", 2);
    return out;
}

static int take_line(void *user, const char *section, const char *name, const char *value)
{
    struct parse *p = user;

    (void)section; /* section_begin() knows better */
    if (p->err != ERR_OK)
        return 0;
    if (p->section == NULL)
        refuse(p, p->line, ERR_MALFORMED, "%s stands before the first [section]", name);
    else if (strcmp(p->section, "script") == 0)
        script_line(p, name, value);
    else if (strcmp(p->section, "peer") == 0)
        peer_line(p, name, value);
    else
        setting_line(p, name, value);
    return p->err == ERR_OK;
}

static enum err parse_lines(struct parse *p)
{
    int line = ini_parse_stream(next_line, p, take_line, p);

    if (line < 0)
        return refuse_memory(p);
    /* inih goes on after a line that it does not understand, so a later mistake may be noted. */
    if (line > 0 && (p->err == ERR_OK || (unsigned)line < p->line))
        return refuse(p, (unsigned)line, ERR_MALFORMED,
                      "expected [section], name = value, or # and a comment");
    return p->err;
}

/* ---- What the file does not say ---- */

/* A default of our own that its own parser does not take would be a bug of the table. */
static void set_default(struct parse *p, const struct setting *s)
{
    char text[64];
    char *rest = text, *word;
    enum err err;

    assert(strlen(s->standard) < sizeof text);
    strcpy(text, s->standard);
    if (!s->kind->repeats) {
        err = s->kind->parse(p, s, text);
        assert(err == ERR_OK);
        return;
    }
    while ((word = strsep(&rest, " ")) != NULL) {
        err = s->kind->parse(p, s, word);
        assert(err == ERR_OK);
    }
}

static enum err set_node_name(struct parse *p)
{
    struct conf *conf = p->conf;
    char host[65] = ""; /* HOST_NAME_MAX and a NUL */
    size_t len;

    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    len = strcspn(host, ".");
    host[len] = '\0';
    if (len >= sizeof conf->node_name || !name_valid(host, len))
        return refuse(
            p, 0, ERR_RANGE,
            "the host's name, '%s', cannot be the node's: write name = NAME into "
            "[node], 1 to 32 letters, digits and ._-",
            host);
    memcpy(conf->node_name, host, len + 1);
    return ERR_OK;
}

static enum err set_rest(struct parse *p)
{
    struct conf *conf = p->conf;

    p->line = 0;
    for (size_t i = 0; i < SETTINGS; i++)
        if (conf->setting_line[i] == 0 && settings[i].standard != NULL)
            set_default(p, &settings[i]);
    if (conf->state_dir[0] == '\0')
        return refuse(p, 0, ERR_MALFORMED,
                      "expected state = FOLDER in [node]: where the counters are kept");
    if (peers_check(p) != ERR_OK)
        return p->err;
    if (conf->node_name[0] == '\0' && set_node_name(p) != ERR_OK)
        return p->err;
    return copies_check(p);
}

/* ---- The interface ---- */

static enum err set_path(struct parse *p)
{
    char *path = p->conf->path;
    size_t len = 0;

    if (p->path[0] != '/') {
        if (getcwd(path, TEXT_SIZE - 1) == NULL)
            return refuse(p, 0, ERR_IO, "cannot tell the working directory: %s",
                          strerror(errno));
        len = strlen(path);
        path[len++] = '/';
    }
    if (strlen(p->path) >= TEXT_SIZE - len)
        return refuse(p, 0, ERR_TOO_LONG, "expected a path of less than %d bytes",
                      TEXT_SIZE);
    strcpy(path + len, p->path);
    return ERR_OK;
}

static enum err parse_all(struct parse *p, size_t len)
{
    enum err err;

    if (len > CONF_FILE_MAX)
        return refuse(p, 0, ERR_TOO_LONG, "expected a file of at most %d bytes",
                      CONF_FILE_MAX);
    err = set_path(p);
    if (err == ERR_OK)
        err = parse_lines(p);
    return err == ERR_OK ? set_rest(p) : err;
}

static enum err parse_into(struct parse *p, size_t len, struct conf **conf)
{
    enum err err;

    p->conf = calloc(1, sizeof *p->conf);
    if (p->conf == NULL)
        return refuse_memory(p);
    err = parse_all(p, len);
    if (err != ERR_OK)
        conf_free(p->conf);
    else
        *conf = p->conf;
    return err;
}

enum err conf_parse(const char *text, size_t len, const char *path, struct conf **conf,
                    struct conf_error *error)
{
    struct parse p = {.path = path, .at = text, .end = text + len, .error = error};

    return parse_into(&p, len, conf);
}

/* Up to size bytes; -1 and errno where the file cannot be read. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got = 1;

    if (fd < 0)
        return -1;
    while (got > 0 && len < size) {
        got = read(fd, text + len, size - len);
        if (got > 0)
            len += (size_t)got;
        else if (got < 0 && errno == EINTR)
            got = 1;
    }
    if (got < 0) {
        int number = errno;

        close(fd);
        errno = number;
        return -1;
    }
    close(fd);
    return (ssize_t)len;
}

static enum err read_and_parse(const char *path, bool keyless, struct conf **conf,
                               struct conf_error *error)
{
    enum { SIZE = CONF_FILE_MAX + 1 }; /* one more, to see that there is more */
    char *text = malloc(SIZE);
    ssize_t len;
    enum err err;

    if (text == NULL) {
        conf_error_set(error, path, 0, "out of memory");
        return ERR_MEMORY;
    }
    len = read_file(path, text, SIZE);
    if (len < 0) {
        conf_error_set(error, path, 0, "cannot be read: %s", strerror(errno));
        err = ERR_IO;
    } else {
        struct parse p = {.path = path,
                          .at = text,
                          .end = text + len,
                          .error = error,
                          .keyless = keyless};

        err = parse_into(&p, (size_t)len, conf);
    }
    free(text);
    return err;
}

enum err conf_read(const char *path, struct conf **conf, struct conf_error *error)
{
    return read_and_parse(path, false, conf, error);
}

enum err conf_read_keyless(const char *path, struct conf **conf, struct conf_error *error)
{
    return read_and_parse(path, true, conf, error);
}

void conf_free(struct conf *conf)
{
    if (conf == NULL)
        return;
    for (size_t i = 0; i < conf->script_count; i++) {
        struct conf_script *script = &conf->scripts[i];

        for (size_t j = 0; j < script->count; j++) {
            free(script->lines[j].name);
            free(script->lines[j].value);
        }
        free(script->lines);
    }
    free(conf->scripts);
    free(conf);
}

static void each_peer(const struct conf_peer *peer,
                      void (*found)(void *user, const struct conf_value *value),
                      void *user)
{
    char section[sizeof "peer " + CONF_PEER_NAME_MAX], key[2 * CONF_KEY_BYTES + 1];

    snprintf(section, sizeof section, "peer %s", peer->name);
    sodium_bin2hex(key, sizeof key, peer->key, sizeof peer->key);
    found(user,
          &(struct conf_value){section, "address", peer->address, peer->address_line});
    found(user, &(struct conf_value){section, "key", key, peer->key_line});
}

static void each_script(const struct conf_script *script,
                        void (*found)(void *user, const struct conf_value *value),
                        void *user)
{
    char section[sizeof "script " + CONF_SCRIPT_NAME_MAX];

    snprintf(section, sizeof section, "script %s", script->name);
    for (size_t i = 0; i < script->count; i++) {
        const struct conf_line *line = &script->lines[i];

        found(user, &(struct conf_value){section, line->name, line->value, line->line});
    }
}

void conf_each(const struct conf *conf,
               void (*found)(void *user, const struct conf_value *value), void *user)
{
    char text[TEXT_SIZE];

    for (size_t i = 0; i < SETTINGS; i++) {
        const struct setting *s = &settings[i];
        struct conf_value value = {s->section, s->name, text, conf->setting_line[i]};

        for (size_t j = 0; s->kind->print(conf, s, j, text, &value.line); j++)
            found(user, &value);
    }
    for (size_t i = 0; i < conf->peer_count; i++)
        each_peer(&conf->peers[i], found, user);
    for (size_t i = 0; i < conf->script_count; i++)
        each_script(&conf->scripts[i], found, user);
}

static bool prefix_equal(const struct in6_addr *a, const struct in6_addr *b,
                         unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a->s6_addr, b->s6_addr, whole) != 0)
        return false;
    return rest == 0 || ((a->s6_addr[whole] ^ b->s6_addr[whole]) >> (8 - rest)) == 0;
}

bool conf_allows(const struct conf *conf, const struct sockaddr_storage *addr)
{
    struct in6_addr client = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    sa_family_t family = AF_INET;

    if (addr->ss_family == AF_INET) {
        memcpy(client.s6_addr + 12, &((const struct sockaddr_in *)addr)->sin_addr, 4);
    } else if (addr->ss_family == AF_INET6) {
        client = ((const struct sockaddr_in6 *)addr)->sin6_addr;
        if (!IN6_IS_ADDR_V4MAPPED(&client))
            family = AF_INET6;
    } else {
        return false;
    }
    for (size_t i = 0; i < conf->allow_count; i++) {
        const struct conf_network *network = &conf->allow[i];

        if (network->family == AF_UNSPEC ||
            (network->family == family &&
             prefix_equal(&client, &network->addr, network->bits)))
            return true;
    }
    return false;
}

enum err conf_duration(const char *text, unsigned *ms)
{
    uint64_t v;
    enum err err = value_number_parse(text, value_duration, &v);

    if (err != ERR_OK)
        return err;
    if (v > UINT32_MAX)
        return ERR_RANGE;
    *ms = (unsigned)v;
    return ERR_OK;
}
