/* tests/fuzz/fuzz_conf.c: any bytes as tally.conf. What is taken is bounded and says the same when
 * it is written out and read again; what is refused is refused with a reason. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct writing {
    FILE *file;
    char section[64];
    bool too_long; /* a path made absolute may not fit into a line any more */
};

static void write_value(void *user, const struct conf_value *value)
{
    struct writing *w = user;

    if (strcmp(w->section, value->section) != 0) {
        snprintf(w->section, sizeof w->section, "%s", value->section);
        fprintf(w->file, "[%s]\n", value->section);
    }
    /* No blank behind the '=': it would make a comment of a value that begins with ';'. */
    if (fprintf(w->file, "%s=%s\n", value->name, value->value) > CONF_LINE_MAX + 1)
        w->too_long = true;
}

/* As a file; NULL where it could not be read again. */
static char *written(const struct conf *conf, size_t *len)
{
    struct writing w = {.too_long = false};
    char *text = NULL;

    w.file = open_memstream(&text, len);
    if (w.file == NULL)
        abort();
    conf_each(conf, write_value, &w);
    fclose(w.file);
    if (!w.too_long)
        return text;
    free(text);
    return NULL;
}

static void check_again(const struct conf *conf)
{
    struct conf_error error;
    struct conf *again;
    size_t len, again_len;
    char *text = written(conf, &len), *again_text;

    if (text == NULL)
        return;
    if (conf_parse(text, len, "/etc/tally.conf", &again, &error) != ERR_OK) {
        fprintf(stderr, "%s\n%s\n", error.text, text);
        abort();
    }
    again_text = written(again, &again_len);
    if (again_text == NULL || strcmp(text, again_text) != 0)
        abort();
    free(text);
    free(again_text);
    conf_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct conf_error error = {.text = ""};
    struct conf *conf;

    if (text == NULL)
        abort();
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (conf_parse(text, size, "/etc/tally.conf", &conf, &error) == ERR_OK) {
        check_again(conf);
        conf_free(conf);
    } else if (strncmp(error.text, "/etc/tally.conf:", 16) != 0) {
        abort();
    }
    free(text);
    return 0;
}
