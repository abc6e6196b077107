#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/name.h"
#include "replica/ctl_doctor.h"
#include "server/script.h"

enum { NAME_SIZE = 128 };

struct sounds {
    struct doctor *doctor;
    const char *folder;
    unsigned found, missing;
    char missing_names[400];
};

/* In any language and format. */
static bool is_there(const char *folder, const char *name)
{
    char pattern[2 * NAME_SIZE + 64];
    glob_t found;
    bool any;

    snprintf(pattern, sizeof pattern, "%s/{%s,*/%s}.*", folder, name, name);
    any = glob(pattern, GLOB_BRACE | GLOB_NOSORT, NULL, &found) == 0;
    globfree(&found);
    return any;
}

static void see_sound(struct sounds *s, const char *name)
{
    size_t len = strlen(s->missing_names);

    /* What is made up when the script runs cannot be told, nor what is no plain name. */
    if (name[strcspn(name, "${\"\\*?[]{},")] != '\0' || *name == '\0' ||
        strstr(s->missing_names, name) != NULL)
        return;
    if (is_there(s->folder, name)) {
        s->found++;
        return;
    }
    s->missing++;
    snprintf(s->missing_names + len, sizeof s->missing_names - len, " %s", name);
}

/* "stream-file NAME ..." in a step. */
static void see_step(struct sounds *s, const char *value)
{
    char name[NAME_SIZE];

    if (sscanf(value, "stream-file %127s", name) == 1)
        see_sound(s, name);
}

static void see_ready_made(struct sounds *s)
{
    for (const char *at = script_ready_made(); at != NULL && *at != '\0';
         at = strchr(at, '\n') != NULL ? strchr(at, '\n') + 1 : NULL) {
        const char *value = strstr(at, " = ");

        if (value != NULL && value < at + strcspn(at, "\n"))
            see_step(s, value + 3);
    }
}

static void see_scripts(struct sounds *s, const struct conf *conf)
{
    for (size_t i = 0; i < conf->script_count; i++)
        for (size_t j = 0; j < conf->scripts[i].count; j++)
            see_step(s, conf->scripts[i].lines[j].value);
}

void doctor_sounds(struct doctor *d)
{
    static const char *const folders[] = {"/var/lib/asterisk/sounds",
                                          "/usr/share/asterisk/sounds"};
    struct sounds s = {.doctor = d};

    for (size_t i = 0; i < sizeof folders / sizeof folders[0] && s.folder == NULL; i++)
        if (access(folders[i], R_OK | X_OK) == 0)
            s.folder = folders[i];
    if (s.folder == NULL || d->conf == NULL)
        return;
    see_ready_made(&s);
    see_scripts(&s, d->conf);
    if (s.missing > 0)
        doctor_say(d, "sounds",
                   "install them (core and extra sounds of Asterisk), or "
                   "change the scripts",
                   "not in %s:%s", s.folder, s.missing_names);
    else
        doctor_say(d, "sounds", NULL, "all %u that scripts play are in %s", s.found,
                   s.folder);
}
