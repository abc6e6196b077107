/* server/agicall.c: plays Asterisk's side of FastAGI calls: one call shown on the
 * terminal, or, with --load, thousands that are measured. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "server/agicall_options.h"
#include "server/dialogue.h"
#include "server/load.h"

enum {
    /* Descriptors that are not a call's: the standard ones, the loop's, the file of
     * numbers. */
    OTHER_DESCRIPTORS = 32,
    VARIABLES_MAX = OPTIONS_REPEATS_MAX + 16,
};

/* What the environment says stands in channel variables too. */
struct names {
    char unique_id[64], channel[64];
    char *known[8]; /* "UNIQUEID=..." and so on, allocated */
    const char *variables[VARIABLES_MAX];
};

static void raise_descriptors(unsigned calls)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max != RLIM_INFINITY &&
        calls + OTHER_DESCRIPTORS > limit.rlim_max)
        fprintf(
            stderr,
            "agicall: %u calls at once need more descriptors than the %llu allowed here "
            "(ulimit -Hn)\n",
            calls, (unsigned long long)limit.rlim_max);
}

static void resolve(const struct fake_url *url, struct caller_plan *plan)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    int error;

    snprintf(port, sizeof port, "%u", url->port);
    error = getaddrinfo(url->host, port, &hints, &found);
    if (error != 0) {
        fprintf(stderr, "agicall: cannot find %s: %s\n", url->host, gai_strerror(error));
        exit(EXIT_NO_CONNECTION);
    }
    for (struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        struct caller_address *to = &plan->address[plan->address_count];

        if (plan->address_count == CALLER_ADDRESSES_MAX)
            break;
        memcpy(&to->addr, a->ai_addr, a->ai_addrlen);
        to->len = a->ai_addrlen;
        plan->address_count++;
    }
    freeaddrinfo(found);
}

/* Two load generators must not make calls of the same unique ids. */
static uint32_t random_serial(void)
{
    uint32_t serial;

    if (getrandom(&serial, sizeof serial, 0) != (ssize_t)sizeof serial)
        serial = (uint32_t)getpid() << 16;
    return serial;
}

static void add_known(struct names *n, size_t *known, size_t *count, const char *name,
                      const char *value)
{
    if (value == NULL)
        return;
    if (asprintf(&n->known[*known], "%s=%s", name, value) < 0) {
        fputs("agicall: out of memory\n", stderr);
        exit(EXIT_CALL_FAILED);
    }
    n->variables[(*count)++] = n->known[(*known)++];
}

static void know_variables(struct options *o, struct names *n, bool own_id,
                           bool own_channel)
{
    size_t known = 0, count = 0;
    const struct fake_env *env = &o->env;

    add_known(n, &known, &count, "UNIQUEID", own_id ? NULL : env->unique_id);
    add_known(n, &known, &count, "CHANNEL", own_channel ? NULL : env->channel);
    add_known(n, &known, &count, "EXTEN", env->extension);
    add_known(n, &known, &count, "CALLERID(num)", env->caller_id);
    add_known(n, &known, &count, "CALLERID(name)", env->caller_name);
    n->variables[count++] = "CONTEXT=default";
    n->variables[count++] = "PRIORITY=1";
    for (size_t i = 0; i < o->variable_count; i++)
        n->variables[count++] = o->variables[i];
    o->fake.variables = n->variables;
    o->fake.variable_count = count;
}

/* The place in the environment where a name that ends in `len` zeros has them. */
static char *find_serial(char *env, const char *line, size_t len)
{
    char *at = strstr(env, line);

    return at == NULL ? NULL : at + strcspn(at + 1, "\n") + 1 - len;
}

/* Names that were not given: those of one call are known here; many calls get theirs, in
 * place of the zeros, as they start. */
static void fill_names(struct options *o, struct names *n, bool *own_id,
                       bool *own_channel)
{
    uint32_t serial = o->load ? 0 : random_serial();

    *own_id = o->load && o->env.unique_id == NULL;
    *own_channel = o->load && o->env.channel == NULL;
    snprintf(n->unique_id, sizeof n->unique_id, "%lld.%010u", (long long)time(NULL),
             serial);
    snprintf(n->channel, sizeof n->channel, "PJSIP/agicall-%08x", serial);
    if (o->env.unique_id == NULL)
        o->env.unique_id = n->unique_id;
    if (o->env.channel == NULL)
        o->env.channel = n->channel;
    if (o->env.extension == NULL)
        o->env.extension = o->fake.dead ? "h" : "s";
}

static bool overridden(const struct fake_env *env, const char *name)
{
    for (size_t i = 0; i < env->line_count; i++)
        if (strncmp(env->lines[i], name, strlen(name)) == 0)
            return true;
    return false;
}

static void make_plan(struct options *o, struct names *n, struct caller_plan *plan)
{
    struct fake_url url;
    const char *reason;
    bool own_id, own_channel;

    if (fake_url_parse(o->url, &url, &reason) != ERR_OK) {
        fprintf(stderr, "agicall: '%s': %s\nTry 'agicall --help'.\n", o->url, reason);
        exit(EXIT_USAGE);
    }
    fill_names(o, n, &own_id, &own_channel);
    o->env.request = o->url;
    o->env.script = url.path;
    o->env.args = o->args;
    o->env.arg_count = o->arg_count;
    know_variables(o, n, own_id, own_channel);
    o->fake.missing = o->missing;
    o->fake.missing_count = o->missing_count;
    o->fake.patience_ms = o->timeout_ms;
    plan->fake = o->fake;
    plan->timeout_ms = o->timeout_ms;
    plan->retry_ms = o->retry_ms;
    plan->hangup_after_ms = o->hangup_after_ms;
    if (fake_env_format(&o->env, &plan->env, &plan->env_len) != ERR_OK) {
        fputs("agicall: out of memory\n", stderr);
        exit(EXIT_CALL_FAILED);
    }
    if (own_id && !overridden(&o->env, "uniqueid="))
        plan->id_serial =
            find_serial(plan->env, "\nagi_uniqueid: ", CALLER_SERIAL_DIGITS);
    if (own_channel && !overridden(&o->env, "channel="))
        plan->channel_serial =
            find_serial(plan->env, "\nagi_channel: ", CALLER_SERIAL_HEX);
    resolve(&url, plan);
}

static bool use_colour(const struct options *o)
{
    const char *no_color = getenv("NO_COLOR");

    if (o->colour != COLOUR_AUTO)
        return o->colour == COLOUR_ALWAYS;
    return isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0');
}

static enum err run_dialogue(const struct options *o, struct caller_plan *plan,
                             struct stats *stats)
{
    struct dialogue_plan dialogue = {
        .url = o->url, .json = o->json, .verbose = o->verbose, .colour = use_colour(o)};

    dialogue.choice.due_ns = uv_hrtime();
    if (o->hangup_at > 0) {
        dialogue.choice.leave = FAKE_LEAVES_DURING;
        dialogue.choice.leave_at = o->hangup_at;
    }
    return dialogue_run(&dialogue, plan, stats);
}

static enum err run_load(struct options *o, struct caller_plan *plan, struct stats *stats)
{
    json_t *json;
    enum err err;

    raise_descriptors(o->load_plan.rate > 0 ? 0 : o->load_plan.concurrency);
    o->load_plan.first_serial = random_serial();
    o->load_plan.progress = isatty(STDERR_FILENO);
    err = load_run(&o->load_plan, plan, stats);
    if (err != ERR_OK || !o->json) {
        stats_print(stats, stdout);
        return err;
    }
    json = stats_json(stats);
    if (json == NULL || json_dumpf(json, stdout, JSON_COMPACT) != 0)
        err = ERR_MEMORY;
    putchar('\n');
    json_decref(json);
    return err;
}

int main(int argc, char **argv)
{
    struct options options;
    struct names names = {0};
    struct caller_plan plan = {0};
    struct stats stats;
    enum err err;

    log_init("agicall", LOG_LEVEL_INFO);
    options_parse(argc, argv, &options);
    make_plan(&options, &names, &plan);
    err = stats_open(&stats, options.numbers_path, options.number_expected);
    if (err != ERR_OK)
        return EXIT_USAGE;
    err = options.load ? run_load(&options, &plan, &stats)
                       : run_dialogue(&options, &plan, &stats);
    stats_close(&stats);
    free(plan.env);
    for (size_t i = 0; i < sizeof names.known / sizeof *names.known; i++)
        free(names.known[i]);
    if (fflush(stdout) != 0 || err != ERR_OK)
        return EXIT_CALL_FAILED;
    return stats_exit_code(&stats);
}
