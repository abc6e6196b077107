/* replica/ctl.c: tallyctl: what a node is and holds, asked of its state process, or read from its
 * files where none runs. It never writes to them; restore makes new ones. */
#include "replica/ctl.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"

const char ctl_default_conf[] = "/etc/tally/tally.conf";

/* ---- what commands share ---- */

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
    ctl_complain("%s", error);
    json_decref(*reply);
    *reply = NULL;
    return CTL_NOT_FINE;
}

json_int_t ctl_number(const json_t *json, const char *member)
{
    return json_integer_value(json_object_get(json, member));
}

enum ctl_exit ctl_usage(const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ctl_complain("%s; tallyctl --help tells the usage", text);
    return CTL_USAGE;
}

bool ctl_limit(const struct ctl *ctl, uint64_t *limit)
{
    const char *text = ctl->words->option[CTL_OPT_LIMIT];
    unsigned long long number;

    *limit = UINT64_MAX;
    if (text == NULL)
        return true;
    if (!ctl_words_number(text, &number)) {
        ctl_usage("--limit %.64s: expected a number from 1 on", text);
        return false;
    }
    *limit = number;
    return true;
}

/* ---- the command line ---- */

enum ctl_exit ctl_find(const struct ctl *ctl, struct ctl_where *where)
{
    const char *dir = ctl->words->option[CTL_OPT_DIR];
    const char *path = ctl->words->option[CTL_OPT_CONF];
    struct conf_error error;
    struct conf *conf;

    *where = (struct ctl_where){.user = ""};
    if (dir != NULL)
        return ctl_path(ctl, dir, where->state_dir) ? CTL_FINE : CTL_USAGE;
    if (conf_read(path != NULL ? path : ctl_default_conf, &conf, &error) != ERR_OK) {
        ctl_complain("%s%s", error.text,
                     path != NULL ? "" : "; -c FILE or -d DIR names another place");
        return CTL_USAGE;
    }
    snprintf(where->state_dir, sizeof where->state_dir, "%s", conf->state_dir);
    snprintf(where->node_name, sizeof where->node_name, "%s", conf->node_name);
    snprintf(where->user, sizeof where->user, "%s", conf->user);
    conf_free(conf);
    return CTL_FINE;
}

bool ctl_path(const struct ctl *ctl, const char *word, char path[PATH_MAX])
{
    bool absolute = word[0] == '/' || ctl->here[0] == '\0';
    size_t len = (size_t)snprintf(path, PATH_MAX, "%s%s%s", absolute ? "" : ctl->here,
                                  absolute ? "" : "/", word);

    if (len >= PATH_MAX || word[0] == '\0') {
        ctl_usage("%.64s: expected a path of 1 to %d bytes", word, PATH_MAX - 1);
        return false;
    }
    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
    return true;
}

static enum ctl_exit open_node(struct ctl *ctl)
{
    struct ctl_where where;
    enum ctl_exit code = ctl_find(ctl, &where);

    if (code != CTL_FINE)
        return code;
    return ctl_node_open(&ctl->node, where.state_dir, where.node_name) == ERR_OK
               ? CTL_FINE
               : CTL_NOT_FINE;
}

static enum ctl_exit run(const struct ctl_words *words, const struct ctl_command *command)
{
    static struct ctl ctl;
    enum ctl_exit code;

    ctl.words = words;
    ctl.json = words->option[CTL_OPT_JSON] != NULL;
    if (getcwd(ctl.here, sizeof ctl.here) == NULL)
        ctl.here[0] = '\0';
    code = command->subject == CTL_ON_NODE ? open_node(&ctl) : CTL_FINE;
    if (code != CTL_FINE)
        return code;
    code = command->run(&ctl);
    ctl_node_close(&ctl.node);
    return code;
}

static bool takes_option(const struct ctl_command *command, enum ctl_option option)
{
    if (ctl_option_is_general(option))
        return true;
    for (const enum ctl_option *o = command->option; *o != 0; o++)
        if (*o == option)
            return true;
    return false;
}

static enum ctl_exit run_command(const struct ctl_words *words)
{
    const struct ctl_command *command;

    if (words->command == NULL)
        return ctl_usage("a command is missing");
    command = ctl_command_find(words->command);
    if (command == NULL)
        return CTL_USAGE;
    for (int i = 0; i < CTL_OPTIONS; i++)
        if (words->option[i] != NULL && !takes_option(command, (enum ctl_option)i))
            return ctl_usage("%s does not take --%s", command->name,
                             ctl_option_rows[i].name);
    if (words->option[CTL_OPT_HELP] != NULL) {
        ctl_help_command(command);
        return CTL_FINE;
    }
    if (words->args < command->least)
        return ctl_usage("%s needs more: tallyctl %s %s", command->name, command->name,
                         command->args);
    if (words->args > command->most)
        return ctl_usage("%.64s is one word too many", words->arg[command->most]);
    return run(words, command);
}

enum ctl_exit ctl_help_run(struct ctl *ctl)
{
    const struct ctl_command *command;

    if (ctl->words->args == 0) {
        ctl_help();
        return CTL_FINE;
    }
    command = ctl_command_find(ctl->words->arg[0]);
    if (command == NULL)
        return CTL_USAGE;
    ctl_help_command(command);
    return CTL_FINE;
}

static enum ctl_exit run_words(const struct ctl_words *words)
{
    if (words->option[CTL_OPT_VERSION] != NULL) {
        puts("tallyctl " TALLY_VERSION);
        return CTL_FINE;
    }
    if (words->option[CTL_OPT_HELP] != NULL && words->command == NULL) {
        ctl_help();
        return CTL_FINE;
    }
    if (words->option[CTL_OPT_CONF] != NULL && words->option[CTL_OPT_DIR] != NULL)
        return ctl_usage("-c and -d are two ways to say the same: give one");
    if (sodium_init() < 0) {
        ctl_complain("cannot set up libsodium");
        return CTL_NOT_FINE;
    }
    return run_command(words);
}

int main(int argc, char **argv)
{
    struct ctl_words words;
    enum ctl_exit code;
    char error[256];

    ctl_out_open(NULL, false);
    log_init("tallyctl", LOG_LEVEL_WARN);
    if (!ctl_words_read(argc, argv, &words, error, sizeof error))
        return (int)ctl_usage("%s", error);
    ctl_out_open(words.option[CTL_OPT_COLOR], words.option[CTL_OPT_UTC] != NULL);
    code = run_words(&words);
    if (!ctl_out_close() && code == CTL_FINE)
        code = CTL_NOT_FINE;
    return (int)code;
}
