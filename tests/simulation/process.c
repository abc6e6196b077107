/* tests/simulation/process.c: the state process: does what replica/state.c does, over the
 * simulated disk, and dies where it is told to. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulation/broken.h"
#include "tests/simulation/sim.h"
#include "tests/simulation/trace.h"

enum { TURN_MESSAGES = 64, WELCOME_MS = 3, REPLY_MS = 2, RESTART_TRIES_MAX = 200 };

struct question {
    struct expected expected;
    struct batch *batch;
    bool answered;
};

struct batch {
    struct sim *sim;
    struct batch *prev, *next;
    unsigned worker;
    uint64_t generation;
    unsigned count, left;
    struct writer replies;
    uint8_t *bytes;
    struct question items[];
};

struct node_time process_time(const struct sim *s)
{
    return (struct node_time){
        .mono_ms = s->now_ms - s->process.since_ms,
        .wall_ms = s->wall_ms + (s->now_ms - s->wall_since_ms) * s->wall_rate / 1000000,
    };
}

/* ---- batches ---- */

static void batch_free(struct sim *s, struct batch *b)
{
    if (b->prev != NULL)
        b->prev->next = b->next;
    else
        s->process.batches = b->next;
    if (b->next != NULL)
        b->next->prev = b->prev;
    free(b->bytes);
    free(b);
}

static struct batch *batch_new(struct sim *s, const struct message *m, unsigned items)
{
    size_t size = MSG_HEADER_SIZE + MSG_POSITION_SIZE + MSG_HEADER_SIZE +
                  (size_t)items * MSG_COUNT_REP_SIZE;
    struct batch *b = calloc(1, sizeof *b + items * sizeof *b->items);

    if (b == NULL || (b->bytes = malloc(size)) == NULL)
        abort();
    b->sim = s;
    b->worker = m->worker;
    b->generation = m->generation;
    b->count = b->left = items;
    b->replies = writer_of(b->bytes, size);
    msg_begin(&b->replies, MSG_COUNT_REP);
    b->next = s->process.batches;
    if (b->next != NULL)
        b->next->prev = b;
    s->process.batches = b;
    return b;
}

static struct message *message_new(struct sim *s, unsigned worker, uint64_t generation,
                                   size_t len)
{
    struct message *m = calloc(1, sizeof *m + len);

    if (m == NULL)
        abort();
    m->worker = worker;
    m->generation = generation;
    m->run = s->process.run;
    m->len = len;
    return m;
}

/* In a message of their own ahead of the replies, as replica/state.c sends it. */
static void batch_send(struct sim *s, struct batch *b)
{
    struct position position = node_position(s->process.node);
    size_t head = MSG_HEADER_SIZE + MSG_POSITION_SIZE;
    struct message *m = message_new(s, b->worker, b->generation, head + b->replies.len);
    struct writer w = writer_of(m->bytes, m->len);

    msg_begin(&w, MSG_POSITION);
    msg_put_position(&w, &position);
    msg_end(&w, 1);
    msg_end(&b->replies, b->count);
    write_bytes(&w, b->replies.start, b->replies.len);
    if (s->plan.has[FAULT_loss] && !s->calm && rng_chance(&s->fault, 1, 20)) {
        s->result->faults[FAULT_loss]++;
        trace(TRACE_LOST, b->worker, 0);
        free(m);
    } else {
        event_add(s, simdisk_took_ms(s->disk) + rng_between(&s->rng, 0, REPLY_MS),
                  EVENT_TO_WORKER, b->worker, m);
    }
    batch_free(s, b);
}

/* Has the log room for one more count? Looked up on the disk, by what FORMAT.md says. */
struct room {
    uint64_t end, left;
    bool next;
};

static void room_in(void *arg, struct simfile *file)
{
    uint8_t header[FORMAT_SEGMENT_HEADER];
    struct format_segment segment;
    struct room *room = arg;

    if (!is_log(file))
        return;
    simfile_read(file, 0, header, sizeof header);
    if (!format_segment(header, &segment))
        return;
    if (segment.base + FORMAT_SEGMENT_HEADER >= room->end)
        room->next = true;
    else if (segment.base + segment.size >= room->end)
        room->left = segment.base + segment.size - room->end;
}

static bool log_has_room(struct sim *s)
{
    struct room room = {.end = history_end(s->history)};

    simdisk_each(s->disk, room_in, &room);
    /* It hears of a segment that stands once the make has ended. */
    return room.left >
               FORMAT_FRAME_HEADER + BLOCK_FIXED_MAX + BLOCK_GROUP_MAX + BLOCK_OP_MAX ||
           (room.next && !node_busy(s->process.node));
}

static void count_answer(struct sim *s, const struct question *item,
                         const struct msg_count_rep *rep)
{
    bool unavailable = rep->status == STATUS_UNAVAILABLE;

    history_answered(s->history, &item->expected, rep, unavailable && log_has_room(s));
    trace(TRACE_ANSWER, rep->status, (uint64_t)rep->number);
    s->result->answered += rep->status == STATUS_FINAL;
    s->result->unknown += rep->status == STATUS_UNKNOWN;
    s->result->unavailable += unavailable;
    s->result->refused += rep->status == STATUS_ERROR || rep->status == STATUS_DENIED;
    s->result->repeats += rep->status == STATUS_FINAL && !item->expected.may_count;
}

static void on_reply(void *arg, uint64_t ticket, const struct msg_count_rep *rep)
{
    struct question *item = (struct question *)(uintptr_t)ticket;
    struct batch *b = item->batch;
    struct sim *s = arg;

    if (item->answered)
        broken("a count is answered twice");
    item->answered = true;
    if (simdisk_must_stop(s->disk))
        broken("a count is answered after a write or a sync failed");
    if (!simdisk_act(s->disk))
        return; /* It died before it could say so. */
    count_answer(s, item, rep);
    msg_put_count_rep(&b->replies, rep);
    if (--b->left == 0)
        batch_send(s, b);
}

/* ---- start ---- */

static void configure(struct sim *s, struct node_config *config)
{
    *config = (struct node_config){.disk = simdisk_interface(s->disk),
                                   .segment_bytes = s->plan.segment_bytes,
                                   .checkpoint_bytes = s->plan.checkpoint_bytes,
                                   .checkpoint_ms = s->plan.checkpoint_ms,
                                   .slice = s->plan.slice,
                                   .reply = on_reply,
                                   .reply_arg = s};
    config->core.crypto = s->crypto;
    config->core.key = s->key;
    memcpy(config->core.node_name, "sim", 4);
    config->core.items_max = s->plan.items_max;
    config->core.requests = s->plan.requests;
    rng_bytes(&s->rng, &config->core.cluster, sizeof config->core.cluster);
    rng_bytes(&s->rng, &config->core.stream, sizeof config->core.stream);
    s->process.stream = config->core.stream;
}

static void start_later(struct sim *s)
{
    if (++s->starts > RESTART_TRIES_MAX)
        broken("it does not start in %u tries", s->starts);
    event_add(s, rng_wide(&s->rng, 10, 5000), EVENT_START, 0, NULL);
}

/* The alarm must say where: a file and an offset. */
static void check_alarm(const struct sim *s, const struct verdict *v)
{
    char offset[32];

    snprintf(offset, sizeof offset, "offset %" PRIu64 ":", v->offset);
    if (strstr(s->alarms, v->file) == NULL ||
        (v->offset > 0 && strstr(s->alarms, offset) == NULL))
        broken("the alarm does not name %s and %s: %s", v->file, offset, s->alarms);
}

/* What must come of this start, by what was done to the directory. */
static void judge(struct sim *s, enum err err, const struct verdict *v, uint64_t before)
{
    bool refused = err == ERR_CORRUPT || err == ERR_VERSION;

    if (simdisk_dead(s->disk) ||
        (err == ERR_IO && (simdisk_failed(s->disk) || simdisk_flipped(s->disk))))
        return;
    if (err == ERR_OK && v->must_refuse && !simdisk_flipped(s->disk))
        broken("rot is taken for good: %s at %" PRIu64, v->file, v->offset);
    if (err == ERR_OK)
        return;
    if (!refused)
        broken("the start fails with error %s, and nothing went wrong", err_name(err));
    if (err == ERR_VERSION && !v->may_be_version && !simdisk_flipped(s->disk))
        broken("it takes its own directory for a newer version's");
    if (!v->must_refuse && !v->may_refuse && !simdisk_flipped(s->disk))
        broken(
            "the start is refused, and there is nothing that recovery could not mend: %s",
            s->alarms);
    if (err == ERR_CORRUPT && !s->alarmed)
        broken("the directory is refused without an alarm");
    if (err == ERR_CORRUPT && v->must_refuse && v->file[0] != '\0' &&
        !simdisk_flipped(s->disk))
        check_alarm(s, v);
    if (simdisk_hash(s->disk) != before)
        broken("the directory is refused, and was changed");
    trace(TRACE_REFUSED, err, 0);
    s->result->refusals++;
    damage_mend(s);
}

/* The end of a lone node's log may have rotted away, where nothing behind it says that it
 * was durable. */
static void take_cut(struct sim *s, const struct verdict *v, uint64_t end)
{
    size_t frames = history_frames(s->history), cut = frames;
    int64_t allowed = v->cut_frame;

    if (end >= history_end(s->history))
        return;
    while (cut > 0 && history_frame(s->history, cut - 1)->end > end)
        cut--;
    if (simdisk_flipped(s->disk) > 0 && s->rotten_frame >= 0)
        allowed = s->rotten_frame;
    else if (simdisk_flipped(s->disk) > 1)
        allowed = (int64_t)frames - 1;
    if (allowed < 0 || (int64_t)cut < allowed)
        return; /* history_recovered() says so. */
    trace(TRACE_CUT, end, frames - cut);
    history_cut(s->history, cut);
}

static void recovered(struct sim *s, const struct verdict *v)
{
    struct node_figures figures;

    node_figures(s->process.node, &figures);
    take_cut(s, v, figures.end.lsn);
    history_recovered(s->history, figures.end.lsn);
    trace(TRACE_RECOVERED, figures.end.lsn, figures.recovered_blocks);
    s->result->recoveries++;
    s->starts = 0;
    s->haunted = false;
    s->process.busy_until_ms = s->now_ms + simdisk_took_ms(s->disk);
    check_recovered(s);
    for (unsigned i = 0; i < s->plan.workers; i++)
        clients_welcome(s, i);
    process_maintain(s);
}

static void process_bury(struct sim *s);

void process_start(struct sim *s)
{
    struct node_config config;
    struct verdict verdict;
    uint64_t before;
    enum err err;

    s->process.run++;
    s->process.since_ms = s->now_ms - rng_below(&s->rng, s->now_ms + 1);
    s->process.maintain_ms = UINT64_MAX;
    s->process.failed = ERR_OK;
    s->process.stopping = s->process.turn_due = false;
    s->process.gathered = 0;
    s->alarmed = false;
    s->alarms[0] = '\0';
    s->result->runs++;
    trace(TRACE_START, s->process.run, s->starts + 1);
    simdisk_open(s->disk);
    simdisk_took_none(s->disk);
    damage_verdict(s, &verdict);
    before = simdisk_hash(s->disk);
    configure(s, &config);
    history_run(s->history, &s->key.public, &config.core.stream, config.core.requests,
                config.core.items_max);
    if (verdict.cut_frame >= 0)
        history_may_cut(s->history,
                        history_frame(s->history, (size_t)verdict.cut_frame)->lsn);
    if (s->plan.has[FAULT_recovery] && !s->calm && rng_chance(&s->fault, 1, 4)) {
        uint64_t actions = rng_wide(&s->fault, 1, 60);

        s->result->faults[FAULT_recovery]++;
        trace(TRACE_ARMED, actions, 0);
        simdisk_arm(s->disk, actions);
    }
    err = node_open(&config, process_time(s), &s->process.node);
    judge(s, err, &verdict, before);
    if (err == ERR_OK && simdisk_dead(s->disk))
        broken("the start succeeds on a disk that is dead");
    if (err == ERR_OK) {
        recovered(s, &verdict);
        return;
    }
    s->process.node = NULL;
    s->process.failed = err;
    process_bury(s);
}

/* ---- end ---- */

/* The process is no more, and what it had under way. A make is cut off while its bytes
 * are still there. */
static void vanish(struct sim *s, bool power)
{
    simdisk_kill(s->disk);
    simdisk_crash(s->disk, power);
    if (s->process.node != NULL)
        node_close(s->process.node);
    s->process.node = NULL;
    while (s->process.batches != NULL)
        batch_free(s, s->process.batches);
    for (size_t i = 0; i < s->process.queue_count; i++)
        free(s->process.queue[i]);
    s->process.queue_count = 0;
    clients_disconnect(s);
}

/* It died, or has to stop: a start follows. */
static void process_bury(struct sim *s)
{
    bool dead = simdisk_dead(s->disk), power;

    trace(dead ? TRACE_KILLED : TRACE_FAILED, s->process.failed, 0);
    s->process.failed = ERR_OK;
    power = s->plan.has[FAULT_power] && !s->calm &&
            (!s->plan.has[FAULT_kill] || rng_chance(&s->fault, 1, 2));
    s->result->faults[power ? FAULT_power : FAULT_kill]++;
    vanish(s, power);
    if (!power && rng_chance(&s->fault, 1, 4))
        simdisk_evict(s->disk);
    damage_between(s);
    start_later(s);
}

void process_restart(struct sim *s)
{
    vanish(s, true);
    process_start(s);
    if (s->process.node == NULL)
        broken("it does not start, and nothing went wrong");
}

static bool alive(struct sim *s, enum err err)
{
    if (err == ERR_OK && !simdisk_dead(s->disk)) {
        if (simdisk_must_stop(s->disk))
            broken("an error of the disk is passed over");
        return true;
    }
    if (err != ERR_OK && !simdisk_dead(s->disk) && !simdisk_failed(s->disk))
        broken("the process stops with error %s, and nothing went wrong", err_name(err));
    s->process.failed = err;
    return false;
}

void process_stop(struct sim *s)
{
    if (s->process.node == NULL || s->process.stopping)
        return;
    trace(TRACE_STOPPING, 0, 0);
    s->process.stopping = true;
    node_want_checkpoint(s->process.node);
    process_maintain(s);
}

static void stopped(struct sim *s)
{
    trace(TRACE_STOPPED, 0, 0);
    vanish(s, s->plan.has[FAULT_power] && !s->calm);
    damage_between(s);
    start_later(s);
}

void process_maintain(struct sim *s)
{
    uint64_t next_ms;
    enum err err;

    if (s->process.node == NULL)
        return;
    err = node_maintain(s->process.node, process_time(s), &next_ms);
    if (!alive(s, err)) {
        process_bury(s);
        return;
    }
    if (s->process.stopping && !node_busy(s->process.node)) {
        stopped(s);
        return;
    }
    if (next_ms == UINT64_MAX) {
        s->process.maintain_ms = UINT64_MAX;
        return;
    }
    next_ms += s->process.since_ms;
    if (next_ms <= s->now_ms)
        next_ms = s->now_ms + 1;
    if (next_ms == s->process.maintain_ms)
        return;
    s->process.maintain_ms = next_ms;
    event_add(s, next_ms - s->now_ms, EVENT_MAINTAIN, s->process.run, NULL);
}

/* ---- work ---- */

/* As soon as it is done with its last sync. */
static void turn_soon(struct sim *s)
{
    uint64_t busy_until = s->process.busy_until_ms;

    if (s->process.turn_due)
        return;
    s->process.turn_due = true;
    event_add(s, busy_until > s->now_ms ? busy_until - s->now_ms : 0, EVENT_TURN,
              s->process.run, NULL);
}

void process_receive(struct sim *s, struct message *m)
{
    if (s->process.node == NULL || m->run != s->process.run) {
        free(m);
        return;
    }
    if (s->process.queue_count == s->process.queue_size) {
        s->process.queue_size =
            s->process.queue_size == 0 ? 16 : 2 * s->process.queue_size;
        s->process.queue =
            realloc(s->process.queue, s->process.queue_size * sizeof(void *));
        if (s->process.queue == NULL)
            abort();
    }
    s->process.queue[s->process.queue_count++] = m;
    turn_soon(s);
}

/* The memory of the ids must be larger than what is gathered (replica/core.h); the real
 * one is. */
static enum err commit_early(struct sim *s)
{
    if (++s->process.gathered < s->plan.requests / 2)
        return ERR_OK;
    s->process.gathered = 0;
    return node_commit(s->process.node, process_time(s));
}

static enum err take_counts(struct sim *s, const struct message *m, struct reader *r,
                            unsigned items)
{
    struct batch *b = batch_new(s, m, items);
    enum err err = ERR_OK;

    for (unsigned i = 0; i < items && err == ERR_OK; i++) {
        struct question *item = &b->items[i];
        struct msg_count_req req;
        bool last = i + 1 == items;

        if (msg_read_count_req(r, &req) != ERR_OK)
            broken("a worker's message cannot be read");
        item->batch = b;
        history_expect(s->history, &req, &item->expected);
        trace(TRACE_TAKE, m->worker, (uint64_t)(int64_t)req.amount);
        s->result->asked++;
        err =
            node_count(s->process.node, &req, (uint64_t)(uintptr_t)item, process_time(s));
        if (simdisk_dead(s->disk))
            return err;
        /* The batch is freed with its last answer. */
        if (err == ERR_OK && (!last || s->process.batches == b) && !item->answered)
            history_gathers(s->history, &item->expected);
        if (err == ERR_OK)
            err = commit_early(s);
        if (simdisk_dead(s->disk))
            return err;
    }
    return err;
}

static void answer_gets(struct sim *s, const struct message *m, struct reader *r,
                        unsigned items)
{
    size_t size = MSG_HEADER_SIZE + (size_t)items * MSG_GET_REP_SIZE;
    struct message *out = message_new(s, m->worker, m->generation, size);
    struct writer w = writer_of(out->bytes, size);
    struct msg_get_req req;
    struct msg_get_rep rep;

    msg_begin(&w, MSG_GET_REP);
    for (unsigned i = 0; i < items; i++) {
        if (msg_read_get_req(r, &req) != ERR_OK)
            broken("a worker's message cannot be read");
        node_get(s->process.node, &req, &rep);
        history_got(s->history, &req, &rep);
        trace(TRACE_GET, (uint64_t)rep.total, 0);
        msg_put_get_rep(&w, &rep);
    }
    msg_end(&w, items);
    event_add(s, simdisk_took_ms(s->disk) + rng_between(&s->rng, 0, REPLY_MS),
              EVENT_TO_WORKER, m->worker, out);
}

static enum err take_message(struct sim *s, const struct message *m)
{
    struct reader r = reader_of(m->bytes, m->len);
    enum msg_type type;
    unsigned items;

    if (!simdisk_act(s->disk))
        return ERR_OK;
    if (msg_read_header(&r, &type, &items) != ERR_OK)
        broken("a worker's message cannot be read");
    if (type == MSG_COUNT_REQ)
        return take_counts(s, m, &r, items);
    if (type != MSG_GET_REQ)
        broken("a worker sends a message of type %d", (int)type);
    answer_gets(s, m, &r, items);
    return ERR_OK;
}

/* What a turn of the loop in replica/state.c does. */
void process_turn(struct sim *s)
{
    size_t taken = 0;
    enum err err = ERR_OK;

    s->process.turn_due = false;
    simdisk_took_none(s->disk);
    while (taken < s->process.queue_count && taken < TURN_MESSAGES && err == ERR_OK &&
           !simdisk_dead(s->disk)) {
        err = take_message(s, s->process.queue[taken]);
        free(s->process.queue[taken++]);
    }
    s->process.queue_count -= taken;
    memmove(s->process.queue, s->process.queue + taken,
            s->process.queue_count * sizeof(void *));
    if (err == ERR_OK && !simdisk_dead(s->disk))
        err = node_commit(s->process.node, process_time(s));
    s->process.gathered = 0;
    if (!alive(s, err)) {
        process_bury(s);
        return;
    }
    s->process.busy_until_ms = s->now_ms + simdisk_took_ms(s->disk);
    if (s->process.queue_count > 0)
        turn_soon(s);
    process_maintain(s);
}
