/* replica/ctl_config.c: tallyctl config: whether a tally.conf is good, and what is in force by it. */
#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "replica/ctl.h"
#include "server/script.h"

/* As tallyd reads it. NULL: told, with file and line. */
static struct conf *read_conf(const char *path)
{
    struct script_table *scripts;
    struct conf_error error;
    struct conf *conf;
    enum err err = conf_read(path, &conf, &error);

    if (err == ERR_OK) {
        err = script_compile(conf, &scripts, &error);
        if (err == ERR_OK) {
            script_table_free(scripts);
            return conf;
        }
        conf_free(conf);
    }
    ctl_complain("%s", error.text);
    return NULL;
}

/* ---- show ---- */

struct showing {
    const struct ctl *ctl;
    const struct conf *conf;
    char section[64]; /* the last one printed */
};

static void show_json(const struct showing *s, const struct conf_value *value)
{
    json_t *json = json_pack("{s:s, s:s, s:s}", "section", value->section, "name",
                             value->name, "value", value->value);

    if (json != NULL && value->line > 0) {
        json_object_set_new(json, "file", json_string(s->conf->path));
        json_object_set_new(json, "line", json_integer(value->line));
    }
    ctl_print_json(json);
    json_decref(json);
}

static void show_text(struct showing *s, const struct conf_value *value)
{
    int width;

    if (strcmp(s->section, value->section) != 0) {
        printf("%s%s[%s]%s\n", s->section[0] != '\0' ? "\n" : "", ctl_color(CTL_BOLD),
               value->section, ctl_color(CTL_PLAIN));
        snprintf(s->section, sizeof s->section, "%s", value->section);
    }
    width = printf("%s = ", value->name);
    width += ctl_print_text(value->value, strlen(value->value));
    printf("%*s; ", width < 44 ? 44 - width : 1, "");
    if (value->line > 0)
        printf("line %u\n", value->line);
    else
        puts("default");
}

static void show_value(void *user, const struct conf_value *value)
{
    struct showing *s = user;

    if (s->ctl->json)
        show_json(s, value);
    else if (!ctl_out_broken())
        show_text(s, value);
}

static enum ctl_exit show(struct ctl *ctl, const char *path)
{
    struct conf *conf = read_conf(path);
    struct showing s = {.ctl = ctl, .conf = conf};

    if (conf == NULL)
        return CTL_NOT_FINE;
    if (!ctl->json)
        printf("# %s; a value without a line is the default\n", conf->path);
    conf_each(conf, show_value, &s);
    conf_free(conf);
    return CTL_FINE;
}

/* ---- check ---- */

static enum ctl_exit check(const struct ctl *ctl, const char *path)
{
    struct conf *conf = read_conf(path);
    enum ctl_exit code = conf != NULL ? CTL_FINE : CTL_NOT_FINE;

    if (ctl->json)
        printf("{\"good\":%s}\n", conf != NULL ? "true" : "false");
    else if (conf != NULL)
        printf("%s: good\n", conf->path);
    conf_free(conf);
    return code;
}

enum ctl_exit ctl_config(struct ctl *ctl)
{
    const struct ctl_words *words = ctl->words;
    const char *path = words->option[CTL_OPT_CONF];

    if (words->option[CTL_OPT_DIR] != NULL)
        return ctl_usage("config is about a file: give it with -c, or behind check");
    if (words->args > 1 && path != NULL)
        return ctl_usage("-c and %.64s are two files: give one", words->arg[1]);
    if (words->args > 1)
        path = words->arg[1];
    if (path == NULL)
        path = ctl_default_conf;
    if (strcmp(words->arg[0], "check") == 0)
        return check(ctl, path);
    if (strcmp(words->arg[0], "show") == 0)
        return show(ctl, path);
    return ctl_usage("config %.64s: expected check or show", words->arg[0]);
}
