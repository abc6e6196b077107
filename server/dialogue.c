#include "server/dialogue.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

#define DIM    "\033[2m"
#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define CYAN   "\033[36m"
#define NORMAL "\033[0m"

struct dialogue {
    const struct dialogue_plan *plan;
    struct stats *stats;
    struct callers *callers;
    uv_signal_t interrupt;
    bool greeted;
    json_t *commands, *variables, *number;
    const char *agistatus;
};

static void colour(const struct dialogue *d, const char *code)
{
    if (d->plan->colour)
        fputs(code, stdout);
}

/* What a server sends must not reach into the terminal. */
static void put_safely(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7f)
            printf("\\x%02x", c);
        else
            putchar(c);
    }
}

static void put_line(const struct dialogue *d, const char *code, char direction,
                     const char *line, size_t len)
{
    colour(d, code);
    printf("%c ", direction);
    put_safely(line, len);
    colour(d, NORMAL);
    putchar('\n');
}

/* What tells one call from another; -v shows the rest. */
static bool worth_a_line(const char *line)
{
    static const char *const names[] = {
        "agi_network_script:", "agi_uniqueid:", "agi_callerid:", "agi_arg_"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(line, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void show_environment(const struct dialogue *d, const char *text, size_t len)
{
    const char *end = text + len;
    unsigned hidden = 0;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *line_end = newline != NULL ? newline : end;

        if (d->plan->verbose || worth_a_line(text))
            put_line(d, DIM, '>', text, (size_t)(line_end - text));
        else
            hidden++;
        text = line_end + 1;
    }
    if (hidden > 0) {
        colour(d, DIM);
        printf("  (and %u lines more of the environment: -v shows them)\n", hidden);
        colour(d, NORMAL);
    }
}

static const char *colour_of_answer(const char *line, size_t len)
{
    bool good = len >= 11 && strncmp(line, "200 result=", 11) == 0 &&
                (len == 11 || line[11] != '-');

    return good ? GREEN : RED;
}

static void on_connected(void *context, const struct caller_address *address)
{
    const struct dialogue *d = context;
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (d->plan->json || !d->plan->verbose ||
        getnameinfo((const struct sockaddr *)&address->addr, address->len, host,
                    sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    colour(d, DIM);
    printf("* connected to %s port %s\n", host, port);
    colour(d, NORMAL);
}

static void on_sent(void *context, const char *bytes, size_t len)
{
    struct dialogue *d = context;
    const char *end = bytes + len;
    bool first = !d->greeted;

    d->greeted = true;
    if (d->plan->json)
        return;
    if (first)
        show_environment(d, bytes, len);
    while (!first && bytes < end) {
        size_t line =
            (size_t)((const char *)memchr(bytes, '\n', (size_t)(end - bytes)) - bytes);

        put_line(d, colour_of_answer(bytes, line), '>', bytes, line);
        bytes += line + 1;
    }
    fflush(stdout);
}

static void on_command(void *context, const char *line, size_t len, uint64_t us,
                       bool first, const char *number)
{
    struct dialogue *d = context;

    stats_command(d->stats, us, first);
    if (d->plan->json) {
        /* Bytes that are no UTF-8 make a null of it. */
        json_t *text = json_stringn(line, len);

        json_array_append_new(d->commands, text != NULL ? text : json_null());
    } else {
        put_line(d, CYAN, '<', line, len);
        fflush(stdout);
    }
    if (number == NULL)
        return;
    stats_number(d->stats, number);
    d->number = json_loads(number, JSON_DECODE_ANY, NULL);
    if (d->number == NULL)
        d->number = json_string(number);
}

static void tell_failure(const struct dialogue *d, const struct caller_outcome *outcome,
                         enum verdict verdict)
{
    if (verdict == VERDICT_OK || verdict == VERDICT_HUNG_UP)
        return;
    fprintf(stderr, "agicall: %s: %s%s%s\n", d->plan->url, verdict_text(verdict),
            outcome->reason != NULL || outcome->error != 0 ? ": " : "",
            outcome->reason != NULL ? outcome->reason
            : outcome->error != 0   ? strerror(outcome->error)
                                    : "");
}

static void show_end(const struct dialogue *d, const struct caller_outcome *outcome)
{
    const char *name, *value;

    colour(d, DIM);
    printf("AGISTATUS=%s", d->agistatus);
    for (size_t i = 0;
         outcome->fake != NULL && fake_variable(outcome->fake, i, &name, &value); i++) {
        printf("  ");
        put_safely(name, strlen(name));
        putchar('=');
        put_safely(value, strlen(value));
    }
    colour(d, NORMAL);
    putchar('\n');
    fflush(stdout);
}

static void keep_variables(const struct dialogue *d, const struct fake *fake)
{
    const char *name, *value;

    for (size_t i = 0; fake != NULL && fake_variable(fake, i, &name, &value); i++) {
        json_t *text = json_string(value);

        json_object_set_new(d->variables, name, text != NULL ? text : json_null());
    }
}

static void on_closed(uv_handle_t *handle)
{
    (void)handle;
}

static void end_dialogue(struct dialogue *d)
{
    if (uv_is_closing((uv_handle_t *)&d->interrupt))
        return;
    d->stats->ended_ns = uv_hrtime();
    uv_close((uv_handle_t *)&d->interrupt, on_closed);
}

/* A server that does not come to an end holds the step until the caller leaves. */
static enum fake_status status_of(const struct caller_outcome *outcome)
{
    if (outcome->fake == NULL)
        return FAKE_FAILURE;
    if (outcome->result.status == FAKE_SUCCESS &&
        (outcome->end == CALLER_SILENT || outcome->end == CALLER_BREACH))
        return FAKE_HANGUP;
    return outcome->result.status;
}

static void on_ended(void *context, const struct caller_outcome *outcome)
{
    struct dialogue *d = context;
    enum verdict verdict = stats_ended(d->stats, outcome);

    d->agistatus = fake_status_name(status_of(outcome));
    if (d->plan->json)
        keep_variables(d, outcome->fake);
    else
        show_end(d, outcome);
    tell_failure(d, outcome, verdict);
    end_dialogue(d);
}

static void on_interrupt(uv_signal_t *signal, int number)
{
    (void)number;
    fputs("agicall: interrupted\n", stderr);
    end_dialogue(signal->data);
}

static enum err print_json(struct dialogue *d)
{
    json_t *all = stats_json(d->stats);
    int failed;

    if (all == NULL)
        return ERR_MEMORY;
    failed = json_object_set_new(all, "url", json_string(d->plan->url));
    failed |= json_object_set(all, "commands", d->commands);
    failed |= json_object_set(all, "variables", d->variables);
    failed |= json_object_set_new(
        all, "agistatus", json_string(d->agistatus != NULL ? d->agistatus : "HANGUP"));
    if (d->number != NULL)
        failed |= json_object_set(all, "number", d->number);
    failed |= json_dumpf(all, stdout, JSON_COMPACT) | (putchar('\n') == EOF);
    json_decref(all);
    return failed == 0 ? ERR_OK : ERR_MEMORY;
}

static enum err run(struct dialogue *d, uv_loop_t *loop, struct caller_plan *call)
{
    const struct caller_watch watch = {.context = d,
                                       .connected = on_connected,
                                       .sent = on_sent,
                                       .command = on_command,
                                       .ended = on_ended};
    enum err err = callers_new(loop, call, &watch, &d->callers);

    if (err != ERR_OK)
        return err;
    uv_signal_init(loop, &d->interrupt);
    d->interrupt.data = d;
    uv_signal_start(&d->interrupt, on_interrupt, SIGINT);
    d->stats->begun_ns = uv_hrtime();
    err = callers_start(d->callers, &d->plan->choice);
    while (err == ERR_OK && !uv_is_closing((uv_handle_t *)&d->interrupt))
        uv_run(loop, UV_RUN_ONCE);
    end_dialogue(d);
    callers_free(d->callers);
    uv_run(loop, UV_RUN_DEFAULT);
    return err;
}

enum err dialogue_run(const struct dialogue_plan *plan, struct caller_plan *call,
                      struct stats *stats)
{
    struct dialogue d = {.plan = plan, .stats = stats};
    uv_loop_t loop;
    enum err err;

    if (uv_loop_init(&loop) != 0)
        return ERR_MEMORY;
    d.commands = json_array();
    d.variables = json_object();
    err = run(&d, &loop, call);
    uv_loop_close(&loop);
    if (err == ERR_OK && plan->json)
        err = print_json(&d);
    json_decref(d.commands);
    json_decref(d.variables);
    json_decref(d.number);
    return err;
}
