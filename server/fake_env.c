#include "server/fake_env.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct field {
    const char *name, *value;
};

/* The usual lines, in Asterisk's order. */
enum { FIELDS = 22 };
typedef struct field fields[FIELDS];

static const char *either(const char *given, const char *standard)
{
    return given != NULL ? given : standard;
}

static void fill_fields(const struct fake_env *env, fields f)
{
    memcpy(f,
           (fields){
               {"network", "yes"},
               {"network_script", either(env->script, "")},
               {"request", either(env->request, "")},
               {"channel", either(env->channel, "PJSIP/agicall-00000000")},
               {"language", either(env->language, "en")},
               {"type", "PJSIP"},
               {"uniqueid", either(env->unique_id, "0.0")},
               {"version", "22.10.1"},
               {"callerid", either(env->caller_id, "unknown")},
               {"calleridname", either(env->caller_name, "unknown")},
               {"callingpres", env->caller_id != NULL ? "0" : "67"},
               {"callingani2", "0"},
               {"callington", "0"},
               {"callingtns", "0"},
               {"dnid", "unknown"},
               {"rdnis", "unknown"},
               {"context", "default"},
               {"extension", either(env->extension, "s")},
               {"priority", "1"},
               {"enhanced", "0.0"},
               {"accountcode", ""},
               {"threadid", "140085793662656"},
           },
           sizeof(fields));
}

static struct field *find_field(fields f, const char *line)
{
    size_t len = strcspn(line, "=");

    for (size_t i = 0; i < FIELDS; i++)
        if (strncmp(f[i].name, line, len) == 0 && f[i].name[len] == '\0')
            return &f[i];
    return NULL;
}

static void put_fields(FILE *out, fields f)
{
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(f[i].name, "network_script") != 0 || f[i].value[0] != '\0')
            fprintf(out, "agi_%s: %s\n", f[i].name, f[i].value);
}

enum err fake_env_format(const struct fake_env *env, char **text, size_t *len)
{
    const char *further[FAKE_ENV_LINES_MAX];
    size_t further_count = 0;
    fields f;
    FILE *out = open_memstream(text, len);
    bool whole;

    if (out == NULL)
        return ERR_MEMORY;
    fill_fields(env, f);
    for (size_t i = 0; i < env->line_count; i++) {
        struct field *field = find_field(f, env->lines[i]);

        if (field != NULL)
            field->value = strchr(env->lines[i], '=') + 1;
        else
            further[further_count++] = env->lines[i];
    }
    put_fields(out, f);
    for (size_t i = 0; i < further_count; i++)
        fprintf(out, "agi_%.*s: %s\n", (int)strcspn(further[i], "="), further[i],
                strchr(further[i], '=') + 1);
    for (size_t i = 0; i < env->arg_count; i++)
        fprintf(out, "agi_arg_%zu: %s\n", i + 1, env->args[i]);
    fputc('\n', out);
    whole = ferror(out) == 0;
    if (fclose(out) == 0 && whole)
        return ERR_OK;
    free(*text);
    return ERR_MEMORY;
}
