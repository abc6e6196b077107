#include "server/metrics.h"

#include <inttypes.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/times.h"
#include "server/sandbox.h"

enum {
    DATA_BYTES = 16 * 1024 * 1024
}; /* that serving takes beyond the start, generously */

/* ---- Prometheus' text format ---- */

static void family(FILE *to, const char *name, const char *type, const char *help)
{
    fprintf(to, "# HELP tally_%s %s\n# TYPE tally_%s %s\n", name, help, name, type);
}

static void one(FILE *to, const char *name, const char *type, const char *help,
                uint64_t value)
{
    family(to, name, type, help);
    fprintf(to, "tally_%s %" PRIu64 "\n", name, value);
}

static void histogram(FILE *to, const char *name, const char *help,
                      const struct times *times)
{
    uint64_t count = 0;

    family(to, name, "histogram", help);
    for (unsigned i = 0; i < TIMES_BUCKETS; i++) {
        count += figures_read(&times->bucket[i]);
        if (i < TIMES_BUCKETS - 1)
            fprintf(to, "tally_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                    (double)times_bounds_us[i] / 1e6, count);
        else
            fprintf(to, "tally_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    }
    fprintf(to, "tally_%s_sum %.6f\ntally_%s_count %" PRIu64 "\n", name,
            (double)figures_read(&times->sum_us) / 1e6, name, count);
}

static void put_calls(FILE *to, const struct figures *figures)
{
    static const char *const ends[CALL_ENDS] = {
        [CALL_END_DONE] = "done",        [CALL_END_HANGUP] = "hangup",
        [CALL_END_GONE] = "gone",        [CALL_END_EMPTY] = "empty",
        [CALL_END_NOT_AGI] = "not_agi",  [CALL_END_TOO_LONG] = "too_long",
        [CALL_END_TIME] = "out_of_time", [CALL_END_ERROR] = "error"};
    struct figures_worker sum;

    figures_sum(figures, &sum);
    one(to, "calls_accepted_total", "counter", "FastAGI connections taken.",
        figures_read(&sum.taken));
    one(to, "calls_refused_total", "counter",
        "Connections closed at once, for their address is not in allow.",
        figures_read(&sum.refused));
    one(to, "calls_open", "gauge", "Calls now.", figures_read(&sum.open));
    family(to, "calls_ended_total", "counter", "Calls that ended, by how.");
    for (size_t i = 0; i < CALL_ENDS; i++)
        fprintf(to, "tally_calls_ended_total{how=\"%s\"} %" PRIu64 "\n", ends[i],
                figures_read(&sum.ended[i]));
    one(to, "calls_cut_total", "counter",
        "Calls that a stop did not wait for any longer.", figures_read(&sum.cut));
    one(to, "counts_asked_total", "counter", "Counts that calls asked for.",
        figures_read(&sum.counts));
    one(to, "messages_repeated_total", "counter",
        "Messages to the state process sent again for want of an answer.",
        figures_read(&sum.resends));
    histogram(to, "count_seconds",
              "From a count's being asked by its call to its durable answer.",
              &sum.answers);
}

static void put_processes(FILE *to, const struct figures_master *master)
{
    family(to, "process_starts_total", "counter",
           "Processes that the master started, by what they are.");
    fprintf(to,
            "tally_process_starts_total{process=\"worker\"} %" PRIu64 "\n"
            "tally_process_starts_total{process=\"state\"} %" PRIu64 "\n"
            "tally_process_starts_total{process=\"metrics\"} %" PRIu64 "\n",
            figures_read(&master->workers_started), figures_read(&master->states_started),
            figures_read(&master->metrics_started));
    one(to, "reloads_total", "counter", "Configurations that SIGHUP brought into force.",
        figures_read(&master->reloads));
    one(to, "reloads_refused_total", "counter",
        "Configurations that were refused, with the old one left in force.",
        figures_read(&master->reloads_refused));
}

static void put_state(FILE *to, const struct gauges_view *v)
{
    one(to, "joining", "gauge",
        "1 while no number is said, because the node is to catch up with a peer first.",
        v->joining);
    one(to, "numbers_provisional", "gauge",
        "1 in a cluster, where another node may say the same number; 0: numbers are FINAL.",
        v->provisional);
    one(to, "disk_full", "gauge",
        "1 while a segment or checkpoint cannot be made, mostly for want of room.",
        v->full);
    if (v->disk > 0) {
        one(to, "disk_bytes", "gauge", "Size of the state directory's file system.",
            v->disk);
        one(to, "disk_free_bytes", "gauge", "What this node may still write there.",
            v->disk_free);
    }
    one(to, "forked_streams", "gauge",
        "Streams that fork and are taken no further: an alarm.", v->forks);
    one(to, "counters", "gauge", "Counters that there are.", v->counters);
    one(to, "streams", "gauge", "Streams of blocks that are held, ended ones included.",
        v->streams);
    one(to, "blocks_total", "counter",
        "Blocks applied since the state process began, its recovery's and the peers' included.",
        v->blocks);
    one(to, "counts_total", "counter", "Counts in those blocks.", v->counts);
    one(to, "commits_total", "counter", "Syncs of the log since the state process began.",
        v->commits);
    one(to, "log_bytes", "gauge", "Bytes of log that are kept.",
        v->log_end - v->log_first);
    one(to, "log_written_bytes_total", "counter", "Bytes ever written to the log.",
        v->log_end);
    one(to, "copies_wanted", "gauge",
        "Nodes that are to hold a count before it is answered.", v->copies);
    one(to, "copies_nodes", "gauge",
        "Nodes that are there to hold it, this one included.", v->nodes);
    one(to, "copies_waiting", "gauge", "Answers that wait for copies.", v->waiting);
    one(to, "copies_late_total", "counter",
        "Answers that were UNKNOWN because copies came too late.", v->late);
    one(to, "checkpoint_number", "gauge", "The last checkpoint's number; 0: none yet.",
        v->checkpoint);
    if (v->checkpoint_ms == 0)
        return;
    family(to, "checkpoint_timestamp_seconds", "gauge",
           "When the last checkpoint was made, if since the state process began.");
    fprintf(to, "tally_checkpoint_timestamp_seconds %.3f\n",
            (double)v->checkpoint_ms / 1000);
}

/* One line for each peer. */
static void each_peer(FILE *to, const struct gauges_view *v, const char *name,
                      const char *type, const char *help,
                      uint64_t (*value)(const struct peer_figures *peer))
{
    family(to, name, type, help);
    for (size_t i = 0; i < v->peers; i++)
        fprintf(to, "tally_%s{peer=\"%s\"} %" PRIu64 "\n", name, v->peer[i].name,
                value(&v->peer[i]));
}

#define PEER_FIGURES(X)                                                                  \
    X(connected, "gauge", "1 while there is a conversation with the peer.",              \
      peer->connected)                                                                   \
    X(behind_blocks, "gauge",                                                            \
      "Blocks that are here and not yet there, as far as the peer has said.",            \
      peer->lacks)                                                                       \
    X(too_far, "gauge",                                                                  \
      "1 while the peer lacks what the log no longer has, and is offered a checkpoint.", \
      peer->too_far)                                                                     \
    X(differs, "gauge",                                                                  \
      "1 where the peer held the same blocks and had another state: an alarm.",          \
      peer->differs)                                                                     \
    X(rivals, "gauge", "1 where two processes with the peer's key are alive: an alarm.", \
      peer->rivals)                                                                      \
    X(blocks_sent_total, "counter", "Blocks sent to the peer.", peer->sent)              \
    X(blocks_received_total, "counter", "New blocks that came from the peer.",           \
      peer->received)                                                                    \
    X(blocks_refused_total, "counter", "Blocks from the peer that were refused.",        \
      peer->refused)                                                                     \
    X(messages_forged_total, "counter",                                                  \
      "Messages under the peer's name that it has not sealed for this node.",            \
      peer->forged)                                                                      \
    X(messages_stale_total, "counter",                                                   \
      "Messages of the peer that were repeated, overtaken or of another run.",           \
      peer->stale)
#define PEER_VALUE(name, type, help, expression)                 \
    static uint64_t peer_##name(const struct peer_figures *peer) \
    {                                                            \
        return expression;                                       \
    }
PEER_FIGURES(PEER_VALUE)

static void put_peers(FILE *to, const struct gauges_view *v)
{
    one(to, "peers", "gauge", "Other nodes that the configuration names.", v->peers);
    one(to, "peer_strangers_total", "counter",
        "Messages on peer-listen that no peer has sealed.", v->network.strangers);
    one(to, "peer_cut_off_total", "counter", "Connections closed for sending such.",
        v->network.cut_off);
    if (v->peers == 0)
        return;
#define PEER_PUT(name, type, help, expression) \
    each_peer(to, v, "peer_" #name, type, help, peer_##name);
    PEER_FIGURES(PEER_PUT)
}

char *metrics_text(const struct metrics_start *start)
{
    struct times commits = {0};
    struct gauges_view view;
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    bool up;

    if (to == NULL)
        return NULL;
    up = gauges_look(start->gauges, &view, &commits);
    family(to, "info", "gauge", "1; what runs here.");
    fprintf(to, "tally_info{version=\"%s\",node=\"%s\"} 1\n", TALLY_VERSION,
            start->conf->node_name);
    one(to, "state_up", "gauge",
        "1 while the state process runs and has recovered; its figures are left out else.",
        up);
    put_calls(to, start->figures);
    put_processes(to, figures_of_master(start->figures));
    if (up) {
        put_state(to, &view);
        put_peers(to, &view);
        histogram(to, "commit_seconds", "Writing and syncing one block or more.",
                  &commits);
    }
    if (fclose(to) == 0)
        return text;
    free(text);
    return NULL;
}

char *metrics_health(const struct metrics_start *start, bool *good)
{
    struct times commits = {0};
    struct gauges_view view;
    bool up = gauges_look(start->gauges, &view, &commits);
    const char *what = "ok\n";

    if (!up)
        what = "the state process does not run, or is recovering\n";
    else if (view.joining)
        what = "joining: no number is said before this node has caught up with a peer\n";
    else if (view.full)
        what = "the disk is full: new counts are refused, or will be soon\n";
    *good = what[0] == 'o';
    return strdup(what);
}

/* ---- HTTP ---- */

/* text is taken over. */
static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code,
                              const char *type, char *text)
{
    struct MHD_Response *response;
    enum MHD_Result queued;

    if (text == NULL)
        return MHD_NO; /* The connection is closed. */
    response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    queued = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return queued;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
                                  const char *url, const char *method,
                                  const char *version, const char *upload, size_t *len,
                                  void **seen)
{
    static const char plain[] = "text/plain; charset=utf-8";
    const struct metrics_start *start = arg;
    bool good;
    char *text;

    (void)version;
    (void)upload;
    (void)len;
    (void)seen;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 &&
        strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, plain,
                      strdup("only GET and HEAD\n"));
    if (strcmp(url, "/metrics") == 0)
        return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                      metrics_text(start));
    if (strcmp(url, "/healthz") == 0) {
        text = metrics_health(start, &good);
        return answer(connection, good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                      plain, text);
    }
    return answer(connection, MHD_HTTP_NOT_FOUND, plain,
                  strdup("there are /metrics and /healthz\n"));
}

/* What clients do wrong is theirs to know. */
__attribute__((format(printf, 2, 0))) static void on_error(void *arg, const char *format,
                                                           va_list args)
{
    char line[200];

    (void)arg;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    log_debug("%s", line);
}

int metrics_main(const struct metrics_start *start)
{
    struct MHD_Daemon *daemon;
    sigset_t term;
    int number;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    if (sandbox_drop_rights() != ERR_OK)
        return 1;
    daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request,
        (void *)(uintptr_t)start, MHD_OPTION_EXTERNAL_LOGGER, on_error, NULL,
        MHD_OPTION_LISTEN_SOCKET, start->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)METRICS_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)METRICS_IDLE_S, MHD_OPTION_END);
    if (daemon == NULL) {
        log_error("cannot serve figures on %s", start->conf->metrics.text);
        return 1;
    }
    if (sandbox_enter(DATA_BYTES) != ERR_OK)
        return 1;
    log_info("figures on http://%s/metrics", start->conf->metrics.text);
    sigwait(&term, &number);
    MHD_stop_daemon(daemon);
    return 0;
}
