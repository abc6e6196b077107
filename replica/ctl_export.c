/* replica/ctl_export.c: tallyctl export: the audit trail for other programs. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "replica/ctl_history.h"

struct exporting {
    bool json, terminal;
};

/* As RFC 4180 has it: in quotes, and quotes twice. On a terminal a tag must not speak to it. */
static void print_quoted(const char *text, size_t len, bool terminal)
{
    putchar('"');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"')
            putchar('"');
        if (terminal)
            ctl_print_text(text + i, 1);
        else
            putchar(text[i]);
    }
    putchar('"');
}

static void print_csv(const struct exporting *e, const struct history_count *count)
{
    const struct block *block = count->block;
    const struct op *op = count->op;
    char stream[ID_HEX + 1], id[ID_HEX + 1], node[NODE_NAME_MAX + 1], time[CTL_TIME_SIZE];

    id_format(&block->stream, stream);
    id_format(&op->id, id);
    ctl_format_time(block->stamp_ms, time);
    printf("%s,%s,%" PRIu64 ",%s,%.*s,%" PRId64 ",%" PRId64 ",%s,%s,", stream,
           history_node(count, node), block->number, time, op->key_len, op->key,
           op->value, op->before + op->value, history_numbers(count), id);
    print_quoted(op->text, op->text_len, e->terminal);
    putchar('\n');
}

static bool print_count(void *arg, const struct history_count *count)
{
    const struct exporting *e = arg;

    if (!e->json && history_op(count->op) != NULL)
        return !ctl_out_broken(); /* No count: it would be a row with nothing to add. */

    if (e->json) {
        json_t *json = history_json(count);

        ctl_print_json(json);
        json_decref(json);
    } else {
        print_csv(e, count);
    }
    return !ctl_out_broken();
}

enum ctl_exit ctl_export(struct ctl *ctl)
{
    const char *format = ctl->words->option[CTL_OPT_FORMAT];
    struct exporting e = {.json = ctl->json ||
                                  (format != NULL && strcmp(format, "json") == 0),
                          .terminal = isatty(STDOUT_FILENO) == 1};
    struct history history = {.ctl = ctl};
    enum ctl_exit code;

    if (!history_filter_read(ctl, &history.filter))
        return CTL_USAGE;
    if (ctl->json && format != NULL && strcmp(format, "csv") == 0)
        return ctl_usage("--json and --format csv contradict each other");
    code = history_open(&history);
    if (code == CTL_FINE) {
        if (!e.json)
            puts("stream,node,block,time,counter,amount,number,numbers,id,tag");
        code = history_read(&history, print_count, &e);
    }
    history_close(&history);
    return code;
}
