/* replica/ctl.c: tallyctl: what a node is and holds, asked of its state process, or read from its
 * files where none runs. It never writes to them. */
#include "replica/ctl.h"

#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/conf.h"
#include "common/log.h"
#include "common/nearest.h"

static const char default_conf[] = "/etc/tally/tally.conf";

/* What the command line says. */
struct words {
    const char *conf_path, *state_dir; /* NULL: not given */
    bool json;
};

static enum ctl_exit exit_of(enum err err)
{
    return err == ERR_AGAIN ? CTL_UNREACHABLE : CTL_NOT_FINE;
}

enum ctl_exit ctl_request(struct ctl *ctl, json_t *request, json_t **reply)
{
    enum err err = ctl_ask(&ctl->node, request, reply);
    const char *error;

    if (err != ERR_OK)
        return exit_of(err);
    error = json_string_value(json_object_get(*reply, "error"));
    if (error == NULL)
        return CTL_FINE;
    fprintf(stderr, "tallyctl: %s\n", error);
    json_decref(*reply);
    *reply = NULL;
    return CTL_NOT_FINE;
}

void ctl_print_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
}

json_int_t ctl_number(const json_t *json, const char *member)
{
    return json_integer_value(json_object_get(json, member));
}

void ctl_format_time(uint64_t ms, char out[CTL_TIME_SIZE])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char text[CTL_TIME_SIZE - 6] = "?";

    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, CTL_TIME_SIZE, "%s.%03uZ", text, (unsigned)(ms % 1000));
}

/* ---- the command line ---- */

static const struct command {
    const char *name, *arg; /* arg: in brackets where it may be left out; NULL: none */
    const char *help;
    ctl_command *run;
} commands[] = {
    {"status", NULL, "what the node is, and how far", ctl_status},
    {"peers", NULL, "the other nodes of the cluster, and how far they are", ctl_peers},
    {"get", "NAME", "a counter's total", ctl_get},
    {"counters", "[PATTERN]", "all counters, or those like 'vote-*'", ctl_counters},
    {"checkpoint", NULL, "make a checkpoint now", ctl_checkpoint},
    {"key", NULL, "the node's public key, for the others' tally.conf", ctl_key},
    {"log", NULL, "every count that the log holds", ctl_log},
    {"verify", NULL, "check every checksum, hash and signature of the log", ctl_verify},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void usage(FILE *to)
{
    fputs(
        "usage: tallyctl [-c FILE | -d DIR] [--json] COMMAND\n"
        "Ask a node, or read its files where it does not run; they are never written to.\n",
        to);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-10s %-10s %s\n", commands[i].name,
                commands[i].arg != NULL ? commands[i].arg : "", commands[i].help);
    fprintf(
        to,
        "  -c FILE    the node's configuration (%s)\n"
        "  -d DIR     its state directory\n"
        "  --json     one JSON object a line\n"
        "  -V, -h     print the version, or this, and exit\n"
        "Exit codes: 0 fine, 1 not fine, 2 usage, 3 the node does not run or answer\n",
        default_conf);
}

/* The sentence is about word. */
static enum ctl_exit bad_usage(const char *word, const char *sentence)
{
    fprintf(stderr, "tallyctl: %s%s; tallyctl -h tells the usage\n", word, sentence);
    return CTL_USAGE;
}

static enum ctl_exit unknown_command(const char *name)
{
    struct nearest near = nearest_to(name);

    for (size_t i = 0; i < COMMANDS; i++)
        nearest_try(&near, commands[i].name);
    if (near.best == NULL)
        return bad_usage(name, " is no command");
    fprintf(stderr, "tallyctl: %s is no command: did you mean %s?\n", name, near.best);
    return CTL_USAGE;
}

/* Where the node's state is: as told, or as its configuration tells. */
static enum ctl_exit open_node(struct ctl_node *node, const struct words *words)
{
    const char *path = words->conf_path != NULL ? words->conf_path : default_conf;
    struct conf_error error;
    struct conf *conf;
    enum err err;

    if (words->state_dir != NULL) {
        err = ctl_node_open(node, words->state_dir, "");
        return err == ERR_OK ? CTL_FINE : CTL_NOT_FINE;
    }
    if (conf_read(path, &conf, &error) != ERR_OK) {
        fprintf(stderr, "%s\n", error.text);
        return CTL_USAGE;
    }
    err = ctl_node_open(node, conf->state_dir, conf->node_name);
    conf_free(conf);
    return err == ERR_OK ? CTL_FINE : CTL_NOT_FINE;
}

static enum ctl_exit run(const struct words *words, const struct command *command,
                         const char *arg)
{
    static struct ctl ctl;
    enum ctl_exit code = open_node(&ctl.node, words);

    if (code != CTL_FINE)
        return code;
    ctl.json = words->json;
    code = command->run(&ctl, arg);
    ctl_node_close(&ctl.node);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    perror("tallyctl: cannot write");
    return CTL_NOT_FINE;
}

/* word: the command and its argument. */
static enum ctl_exit run_command(const struct words *words, char **word, int count)
{
    const char *arg;
    int most;
    size_t i = 0;

    if (count == 0)
        return bad_usage("a command", " is missing");
    while (i < COMMANDS && strcmp(commands[i].name, word[0]) != 0)
        i++;
    if (i == COMMANDS)
        return unknown_command(word[0]);
    arg = commands[i].arg;
    most = arg != NULL ? 2 : 1;
    if (count < most && arg != NULL && arg[0] != '[')
        return bad_usage(word[0], " needs a name");
    if (count > most)
        return bad_usage(word[most], " is one word too many");
    return run(words, &commands[i], count > 1 ? word[1] : NULL);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    struct words words = {.conf_path = NULL};
    int option;

    log_init("tallyctl", LOG_LEVEL_WARN);
    while ((option = getopt_long(argc, argv, "c:d:Vh", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            words.conf_path = optarg;
            break;
        case 'd':
            words.state_dir = optarg;
            break;
        case 'j':
            words.json = true;
            break;
        case 'V':
            puts("tallyctl " TALLY_VERSION);
            return CTL_FINE;
        case 'h':
            usage(stdout);
            return CTL_FINE;
        default:
            usage(stderr);
            return CTL_USAGE;
        }
    }
    if (words.conf_path != NULL && words.state_dir != NULL)
        return (int)bad_usage("-c and -d", " are two ways to say the same: give one");
    if (sodium_init() < 0) {
        fputs("tallyctl: cannot set up libsodium\n", stderr);
        return CTL_NOT_FINE;
    }
    return (int)run_command(&words, argv + optind, argc - optind);
}
