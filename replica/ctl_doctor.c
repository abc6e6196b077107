/* replica/ctl_doctor.c: tallyctl doctor: the machine and the directory that a node stands on, and what to change. */
#include "replica/ctl_doctor.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void doctor_say(struct doctor *d, const char *check, const char *remedy,
                const char *format, ...)
{
    char what[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    json_array_append_new(d->lines, json_pack("{s:s, s:b, s:s, s:s}", "check", check,
                                              "ok", remedy == NULL, "what", what, "do",
                                              remedy != NULL ? remedy : ""));
    d->ill = d->ill || remedy != NULL;
}

static void print_line(const json_t *line)
{
    bool ok = json_is_true(json_object_get(line, "ok"));
    const char *remedy = json_string_value(json_object_get(line, "do"));

    printf("%s%-7s%s %-11s ", ctl_color(ok ? CTL_GOOD : CTL_WARN), ok ? "ok" : "CHANGE",
           ctl_color(CTL_PLAIN), json_string_value(json_object_get(line, "check")));
    ctl_print_wrapped(json_string_value(json_object_get(line, "what")), 20, 20);
    if (ok)
        return;
    printf("%*s-> ", 20, "");
    ctl_print_wrapped(remedy, 23, 23);
}

/* The configuration to go by: that of -c, or the one in its usual place if it is about this directory. */
static bool read_conf(struct ctl *ctl, const char *cwd, struct conf **conf)
{
    const char *path = ctl->words->option[CTL_OPT_CONF];
    struct conf_error error;
    char given[PATH_MAX];

    *conf = NULL;
    /* The state directory is the working directory by now. */
    if (path != NULL && !ctl_path(ctl, path, given))
        return false;
    if (path == NULL && access(ctl_default_conf, R_OK) != 0)
        return true;
    if (conf_read(path != NULL ? given : ctl_default_conf, conf, &error) != ERR_OK) {
        *conf = NULL;
        if (path == NULL)
            return true;
        ctl_complain("%s", error.text);
        return false;
    }
    if (path == NULL) {
        char real[PATH_MAX];
        bool same = realpath((*conf)->state_dir, real) != NULL && strcmp(real, cwd) == 0;

        if (!same) {
            conf_free(*conf);
            *conf = NULL;
        }
    }
    return true;
}

static void examine(struct doctor *d)
{
    static void (*const checks[])(struct doctor * d) = {
        doctor_directory, doctor_key,         doctor_room,  doctor_sync,
        doctor_clock,     doctor_descriptors, doctor_ports, doctor_sounds};

    processes_look(&d->processes);
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        checks[i](d);
}

enum ctl_exit ctl_doctor(struct ctl *ctl)
{
    struct doctor d = {.ctl = ctl};
    char cwd[PATH_MAX] = "";
    struct conf *conf;
    const json_t *line;
    size_t i;

    if (getcwd(cwd, sizeof cwd) == NULL)
        cwd[0] = '\0';
    if (!read_conf(ctl, cwd, &conf))
        return CTL_USAGE;
    d.conf = conf;
    d.lines = json_array();
    examine(&d);
    json_array_foreach(d.lines, i, line)
    {
        if (ctl->json)
            ctl_print_json(line);
        else
            print_line(line);
    }
    if (conf == NULL && !ctl->json)
        puts(
            "Ports, descriptors and sounds: -c FILE, the node's configuration, says which.");
    json_decref(d.lines);
    conf_free(conf);
    return d.ill ? CTL_NOT_FINE : CTL_FINE;
}
