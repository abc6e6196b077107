#include "server/stats.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"

static const struct {
    const char *key, *text;
    int exit_code;
} verdicts[VERDICTS] = {
    [VERDICT_OK] = {"ok", "went well", EXIT_OK},
    [VERDICT_HUNG_UP] = {"hung_up", "hung up by the caller", EXIT_OK},
    [VERDICT_NO_CONNECTION] = {"no_connection", "cannot connect", EXIT_NO_CONNECTION},
    [VERDICT_NO_MEANS] = {"no_means", "no descriptor, port or memory left here",
                          EXIT_NO_CONNECTION},
    [VERDICT_EMPTY] = {"empty", "the server closed before it sent a command",
                       EXIT_BROKEN},
    [VERDICT_CUT] = {"cut", "the server broke off in the middle", EXIT_BROKEN},
    [VERDICT_SILENT] = {"timeout", "the server said nothing for too long", EXIT_BROKEN},
    [VERDICT_BREACH] = {"protocol", "the server broke the protocol", EXIT_BROKEN},
    [VERDICT_COMMAND] = {"command", "Asterisk refuses a command of the server",
                         EXIT_CALL_FAILED},
    [VERDICT_STATUS] = {"status", "the script reports an error in TALLY_STATUS",
                        EXIT_CALL_FAILED},
    [VERDICT_FAILURE] = {"failure", "AGISTATUS is FAILURE", EXIT_CALL_FAILED},
    [VERDICT_NO_NUMBER] = {"no_number", "no number was said", EXIT_CALL_FAILED},
};

const char *verdict_key(enum verdict verdict)
{
    return verdicts[verdict].key;
}

const char *verdict_text(enum verdict verdict)
{
    return verdicts[verdict].text;
}

static bool status_good(const char *status)
{
    return status == NULL || strcmp(status, "FINAL") == 0 ||
           strcmp(status, "PROVISIONAL") == 0;
}

/* Of a call whose server closed in order. */
static enum verdict verdict_of_result(const struct fake_result *r, bool number_expected)
{
    if (r->refused > 0)
        return VERDICT_COMMAND;
    if (r->caller_left)
        return VERDICT_HUNG_UP;
    if (!status_good(r->tally_status))
        return VERDICT_STATUS;
    if (r->status == FAKE_FAILURE)
        return VERDICT_FAILURE;
    if (number_expected && r->number[0] == '\0')
        return VERDICT_NO_NUMBER;
    return VERDICT_OK;
}

enum verdict verdict_of(const struct caller_outcome *outcome, bool number_expected)
{
    switch (outcome->end) {
    case CALLER_CLOSED:
        break;
    case CALLER_EMPTY:
        return VERDICT_EMPTY;
    case CALLER_CUT:
        return VERDICT_CUT;
    case CALLER_SILENT:
        return VERDICT_SILENT;
    case CALLER_BREACH:
        return VERDICT_BREACH;
    case CALLER_NO_CONNECTION:
        return VERDICT_NO_CONNECTION;
    case CALLER_NO_MEANS:
        return VERDICT_NO_MEANS;
    }
    return verdict_of_result(&outcome->result, number_expected);
}

enum err stats_open(struct stats *stats, const char *numbers_path, bool number_expected)
{
    memset(stats, 0, sizeof *stats);
    stats->number_expected = number_expected;
    stats->numbers_fd = -1;
    if (numbers_path == NULL)
        return ERR_OK;
    stats->numbers_fd =
        open(numbers_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return stats->numbers_fd < 0 ? err_errno("open", numbers_path) : ERR_OK;
}

void stats_close(struct stats *stats)
{
    if (stats->numbers_fd >= 0)
        close(stats->numbers_fd);
}

void stats_command(struct stats *stats, uint64_t us, bool first)
{
    histogram_add(first ? &stats->first : &stats->gap, us);
}

void stats_number(struct stats *stats, const char *number)
{
    char line[FAKE_NUMBER_MAX + 2];
    int len = snprintf(line, sizeof line, "%s\n", number);

    stats->numbers++;
    if (stats->numbers_fd < 0 || write(stats->numbers_fd, line, (size_t)len) == len)
        return;
    err_errno("write", "the file of numbers");
    exit(EXIT_CALL_FAILED);
}

enum verdict stats_ended(struct stats *stats, const struct caller_outcome *outcome)
{
    enum verdict verdict = verdict_of(outcome, stats->number_expected);

    stats->calls++;
    stats->verdicts[verdict]++;
    if (verdict == VERDICT_OK || verdict == VERDICT_HUNG_UP)
        histogram_add(&stats->whole, outcome->whole_us);
    return verdict;
}

uint64_t stats_failed(const struct stats *stats)
{
    return stats->calls - stats->verdicts[VERDICT_OK] - stats->verdicts[VERDICT_HUNG_UP];
}

double stats_seconds(const struct stats *stats)
{
    return (double)(stats->ended_ns - stats->begun_ns) / 1e9;
}

static double stats_rate(const struct stats *stats)
{
    double seconds = stats_seconds(stats);

    return seconds > 0 ? (double)stats->calls / seconds : 0;
}

int stats_exit_code(const struct stats *stats)
{
    int code = EXIT_OK;

    for (int v = 0; v < VERDICTS; v++)
        if (stats->verdicts[v] > 0 && verdicts[v].exit_code > code)
            code = verdicts[v].exit_code;
    return code;
}

static void print_latency(FILE *out, const char *name, const struct histogram *h)
{
    fprintf(out, "  %-14s %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n", name,
            histogram_at(h, 0.5), histogram_at(h, 0.9), histogram_at(h, 0.99), h->max);
}

void stats_print(const struct stats *stats, FILE *out)
{
    fprintf(out,
            "%" PRIu64 " calls in %.2f s, %.0f a second: %" PRIu64 " went well, %" PRIu64
            " hung up, %" PRIu64 " failed, %" PRIu64 " numbers\n",
            stats->calls, stats_seconds(stats), stats_rate(stats),
            stats->verdicts[VERDICT_OK], stats->verdicts[VERDICT_HUNG_UP],
            stats_failed(stats), stats->numbers);
    for (int v = VERDICT_NO_CONNECTION; v < VERDICTS; v++)
        if (stats->verdicts[v] > 0)
            fprintf(out, "  failed: %" PRIu64 " x %s\n", stats->verdicts[v],
                    verdicts[v].text);
    fprintf(out, "  %-14s %9s %9s %9s %9s\n", "microseconds", "p50", "p90", "p99", "max");
    print_latency(out, "first command", &stats->first);
    print_latency(out, "next command", &stats->gap);
    print_latency(out, "whole call", &stats->whole);
}

static json_t *json_latency(const struct histogram *h)
{
    return json_pack("{s:I,s:I,s:I,s:I}", "p50", (json_int_t)histogram_at(h, 0.5), "p90",
                     (json_int_t)histogram_at(h, 0.9), "p99",
                     (json_int_t)histogram_at(h, 0.99), "max", (json_int_t)h->max);
}

static json_t *json_failed(const struct stats *stats)
{
    json_t *failed = json_object();

    for (int v = VERDICT_NO_CONNECTION; v < VERDICTS; v++)
        if (stats->verdicts[v] > 0)
            json_object_set_new(failed, verdicts[v].key,
                                json_integer((json_int_t)stats->verdicts[v]));
    return failed;
}

json_t *stats_json(const struct stats *stats)
{
    return json_pack(
        "{s:I,s:I,s:I,s:I,s:o,s:I,s:f,s:f,s:{s:o,s:o,s:o}}", "calls",
        (json_int_t)stats->calls, "ok", (json_int_t)stats->verdicts[VERDICT_OK],
        "hung_up", (json_int_t)stats->verdicts[VERDICT_HUNG_UP], "failed",
        (json_int_t)stats_failed(stats), "failures", json_failed(stats), "numbers",
        (json_int_t)stats->numbers, "seconds", stats_seconds(stats), "rate",
        stats_rate(stats), "latency_us", "first_command", json_latency(&stats->first),
        "command_gap", json_latency(&stats->gap), "whole_call",
        json_latency(&stats->whole));
}
