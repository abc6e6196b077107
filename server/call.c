#include "server/call.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/agi.h"

enum {
    PENDING_MIN = 1024, /* bytes of the first buffer for what is not complete yet */
    WHY_MAX = 160,      /* bytes of ${error}, with its NUL */
    WHY_NAME_MAX = 64,  /* bytes of a stranger's text in it */
};

enum state {
    GREETING,  /* the environment is not complete */
    ANSWERING, /* a command is under way */
    WAITING,   /* a wait step */
    COUNTING,
    GETTING,
    OVER,
};

/* A variable's bytes, behind the slots. */
struct slot {
    uint32_t at, len;
};

struct call {
    const struct script_table *scripts;
    const struct call_limits *limits;
    const struct script *script; /* NULL until the environment is complete */
    struct slot *slots; /* the script's variables and their bytes; NULL: it has none */
    char *pending;      /* what came and is not complete; NULL most of the time */
    size_t pending_len, pending_size;
    size_t scanned;  /* agi_env_parse()'s */
    char *long_line; /* a command that does not fit out.line, until it is answered */
    int64_t number, total; /* of the last count or get, where status has a number */
    struct agi_parser parser;
    enum status status; /* of the last count or get; 0 before the first */
    enum state state;
    uint16_t step; /* which one of steps or on_error */
    bool on_error; /* the on-error steps run */
    bool failed;   /* a step failed and on-error steps ran, or the call was refused */
    bool refused;
    bool forged;         /* an environment line came after the environment */
    uint8_t counter_len; /* 0: the URL names no counter */
    char counter[NAME_MAX_BYTES];
    /* What todo points to; never more than one of them at a time. */
    union {
        struct msg_count_req count;
        struct msg_get_req get;
        char line[sizeof(struct msg_count_req)];
    } out;
};
static_assert(sizeof(struct call) <= 512, "10,000 calls wait at once");

struct call *call_new(const struct script_table *scripts,
                      const struct call_limits *limits)
{
    struct call *call = calloc(1, sizeof *call);

    if (call == NULL)
        return NULL;
    call->scripts = scripts;
    call->limits = limits;
    return call;
}

void call_free(struct call *call)
{
    if (call == NULL)
        return;
    free(call->slots);
    free(call->pending);
    free(call->long_line);
    free(call);
}

int call_greeted(const struct call *call)
{
    return call->script != NULL;
}

static void close_call(struct call *call, enum call_end end, struct call_todo *todo)
{
    call->state = OVER;
    *todo = (struct call_todo){.what = CALL_CLOSE, .end = end};
}

/* ---- variables ---- */

static char *slot_bytes(const struct call *call)
{
    return (char *)(call->slots + call->script->slots);
}

/* The argument "name=...". false: it is there twice, and neither is to be trusted. */
static bool option_text(const struct agi_env *env, const char *name, struct agi_text *out)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < env->args; i++) {
        const struct agi_text *arg = &env->arg[i];
        if (arg->len <= len || memcmp(arg->at, name, len) != 0 || arg->at[len] != '=')
            continue;
        if (out->at != NULL)
            return false;
        *out = (struct agi_text){arg->at + len + 1, arg->len - len - 1};
    }
    return true;
}

/* What a slot holds when the script starts. env is NULL for a script that comes later. */
static bool slot_text(const struct script_slot *slot, const struct agi_env *env,
                      const char *why, struct agi_text *out)
{
    *out = (struct agi_text){0};
    if (slot->kind == SCRIPT_SLOT_ERROR)
        *out = (struct agi_text){why, strlen(why)};
    if (env == NULL)
        return true;
    if (slot->kind == SCRIPT_SLOT_ENV)
        *out = env->value[slot->index];
    if (slot->kind == SCRIPT_SLOT_ARG && slot->index < env->args)
        *out = env->arg[slot->index];
    if (slot->kind == SCRIPT_SLOT_OPTION)
        return option_text(env, slot->name, out);
    return true;
}

/* Copy what the script's steps use of the environment, into one allocation.
 * Errors: ERR_MALFORMED  an argument "NAME=" that the script uses is there twice
 *         ERR_MEMORY */
static enum err keep_variables(struct call *call, const struct agi_env *env,
                               const char *why)
{
    struct agi_text text[SCRIPT_SLOTS_MAX];
    const struct script *script = call->script;
    size_t bytes = 0;
    uint32_t at = 0;

    for (size_t i = 0; i < script->slots; i++) {
        if (!slot_text(&script->slot[i], env, why, &text[i]))
            return ERR_MALFORMED;
        bytes += text[i].len + script->slot[i].max;
    }
    free(call->slots);
    call->slots = NULL;
    if (script->slots == 0)
        return ERR_OK;
    call->slots = malloc(script->slots * sizeof *call->slots + bytes);
    if (call->slots == NULL)
        return ERR_MEMORY;
    for (size_t i = 0; i < script->slots; i++) {
        call->slots[i] = (struct slot){at, (uint32_t)text[i].len};
        if (text[i].len > 0)
            memcpy(slot_bytes(call) + at, text[i].at, text[i].len);
        at += (uint32_t)text[i].len + script->slot[i].max;
    }
    return ERR_OK;
}

static void set_variable(struct call *call, uint16_t slot, const struct agi_text *keys)
{
    assert(keys->len <= call->script->slot[slot].max);
    call->slots[slot].len = (uint32_t)keys->len;
    if (keys->len > 0)
        memcpy(slot_bytes(call) + call->slots[slot].at, keys->at, keys->len);
}

enum { SCRATCH_SIZE = NAME_MAX_BYTES + 1 };

static bool expand(const struct call *call, const struct script_text *text,
                   int64_t unix_s, char *buf, size_t size, size_t *len, bool *gap);

static size_t local_time(char code, int64_t unix_s, char scratch[SCRATCH_SIZE])
{
    time_t seconds = (time_t)unix_s;
    struct tm local;

    if (localtime_r(&seconds, &local) == NULL)
        return 0;
    switch (code) {
    case 'Y':
        return strftime(scratch, SCRATCH_SIZE, "%Y", &local);
    case 'm':
        return strftime(scratch, SCRATCH_SIZE, "%m", &local);
    case 'd':
        return strftime(scratch, SCRATCH_SIZE, "%d", &local);
    case 'H':
        return strftime(scratch, SCRATCH_SIZE, "%H", &local);
    default:
        return strftime(scratch, SCRATCH_SIZE, "%M", &local);
    }
}

static size_t number_text(const struct call *call, int64_t number,
                          char scratch[SCRATCH_SIZE])
{
    if (!status_has_number(call->status))
        return 0;
    return (size_t)snprintf(scratch, SCRATCH_SIZE, "%" PRId64, number);
}

/* The counter of this call; empty where what it is put together from makes no name. */
static struct agi_text counter_text(const struct call *call, int64_t unix_s,
                                    char scratch[SCRATCH_SIZE])
{
    bool gap = false;
    size_t len;

    if (call->counter_len > 0)
        return (struct agi_text){call->counter, call->counter_len};
    if (!expand(call, &call->script->counter, unix_s, scratch, SCRATCH_SIZE, &len,
                &gap) ||
        gap)
        len = 0;
    return (struct agi_text){scratch, len};
}

static struct agi_text piece_text(const struct call *call,
                                  const struct script_piece *piece, int64_t unix_s,
                                  char scratch[SCRATCH_SIZE])
{
    const char *status;

    switch (piece->from) {
    case SCRIPT_TEXT:
        return (struct agi_text){piece->text, piece->len};
    case SCRIPT_TIME:
        return (struct agi_text){scratch, local_time(piece->code, unix_s, scratch)};
    case SCRIPT_SLOT:
        return (struct agi_text){slot_bytes(call) + call->slots[piece->slot].at,
                                 call->slots[piece->slot].len};
    case SCRIPT_COUNTER:
        return counter_text(call, unix_s, scratch);
    case SCRIPT_NUMBER:
        return (struct agi_text){scratch, number_text(call, call->number, scratch)};
    case SCRIPT_TOTAL:
        return (struct agi_text){scratch, number_text(call, call->total, scratch)};
    case SCRIPT_STATUS:
        status = call->status != 0 ? status_name(call->status) : "";
        return (struct agi_text){status, strlen(status)};
    case SCRIPT_NODE:
        break;
    }
    return (struct agi_text){call->limits->node_name, strlen(call->limits->node_name)};
}

/* Put the pieces together. false: they take more than size bytes. *gap is set where a
 * variable is empty. */
static bool expand(const struct call *call, const struct script_text *text,
                   int64_t unix_s, char *buf, size_t size, size_t *len, bool *gap)
{
    *len = 0;
    for (size_t i = 0; i < text->count; i++) {
        char scratch[SCRATCH_SIZE];
        struct agi_text t = piece_text(call, &text->piece[i], unix_s, scratch);
        if (t.len > size - *len)
            return false;
        *gap |= t.len == 0;
        if (t.len > 0)
            memcpy(buf + *len, t.at, t.len);
        *len += t.len;
    }
    return true;
}

/* ---- counting ---- */

/* A variable that is empty makes no name: "vote-" is not what "vote-${digit}" was meant
 * to count. */
static bool expand_name(const struct call *call, const struct script_text *text,
                        int64_t unix_s, char name[NAME_MAX_BYTES], uint8_t *len)
{
    bool gap = false;
    size_t n;

    if (!expand(call, text, unix_s, name, NAME_MAX_BYTES, &n, &gap) || gap ||
        !name_valid(name, n))
        return false;
    *len = (uint8_t)n;
    return true;
}

static bool expand_amount(const struct call *call, const struct script_text *text,
                          int64_t unix_s, int32_t *amount)
{
    char digits[16];
    bool gap = false;
    int64_t number = 1;
    size_t len;

    if (!expand(call, text, unix_s, digits, sizeof digits, &len, &gap))
        return false;
    if (len > 0 &&
        (!agi_number(digits, len, &number) || number < 1 || number > INT32_MAX))
        return false;
    *amount = (int32_t)number;
    return true;
}

static bool expand_tag(const struct call *call, const struct script_text *text,
                       int64_t unix_s, struct msg_count_req *req)
{
    bool gap = false;
    size_t len;

    if (!expand(call, text, unix_s, req->tag, sizeof req->tag, &len, &gap) ||
        !tag_valid(req->tag, len))
        return false;
    req->tag_len = (uint8_t)len;
    return true;
}

/* BLAKE2b-128 of the name's length in one byte, the name, and the id's text: the length
 * keeps "ab" with id "c" apart from "a" with "bc". Zero where the script gives none, for
 * the worker to draw. */
static bool expand_id(const struct call *call, const struct script_text *text,
                      int64_t unix_s, struct msg_count_req *req)
{
    crypto_generichash_state hash;
    char id[AGI_COMMAND_MAX];
    bool gap = false;
    size_t len;

    if (text->count == 0)
        return true;
    if (!expand(call, text, unix_s, id, sizeof id, &len, &gap))
        return false;
    if (len == 0)
        return true;
    crypto_generichash_init(&hash, NULL, 0, sizeof req->id);
    crypto_generichash_update(&hash, &req->name_len, sizeof req->name_len);
    crypto_generichash_update(&hash, (const unsigned char *)req->name, req->name_len);
    crypto_generichash_update(&hash, (const unsigned char *)id, len);
    crypto_generichash_final(&hash, req->id.byte, sizeof req->id.byte);
    return true;
}

/* ---- steps ---- */

enum begun {
    BEGUN, /* todo says what to do; an event ends it */
    DONE,  /* there was nothing to wait for */
    FAILED,
};

static enum begun begin_count(struct call *call, const struct script_step *step,
                              int64_t unix_s, struct call_todo *todo)
{
    struct msg_count_req *req = &call->out.count;

    memset(req, 0, sizeof *req);
    if (!expand_name(call, &step->text, unix_s, req->name, &req->name_len) ||
        !expand_amount(call, &step->by, unix_s, &req->amount) ||
        !expand_tag(call, &step->tag, unix_s, req) ||
        !expand_id(call, &step->id, unix_s, req)) {
        call->status = STATUS_ERROR;
        return FAILED;
    }
    call->state = COUNTING;
    *todo = (struct call_todo){
        .what = CALL_COUNT, .ms = call->limits->answer_ms, .count = req};
    return BEGUN;
}

static enum begun begin_get(struct call *call, const struct script_step *step,
                            int64_t unix_s, struct call_todo *todo)
{
    struct msg_get_req *req = &call->out.get;

    memset(req, 0, sizeof *req);
    if (!expand_name(call, &step->text, unix_s, req->name, &req->name_len)) {
        call->status = STATUS_ERROR;
        return FAILED;
    }
    call->state = GETTING;
    *todo =
        (struct call_todo){.what = CALL_GET, .ms = call->limits->answer_ms, .get = req};
    return BEGUN;
}

static enum begun begin_wait(struct call *call, const struct script_step *step,
                             struct call_todo *todo)
{
    if (step->ms == 0)
        return DONE;
    call->state = WAITING;
    *todo = (struct call_todo){.what = CALL_WAIT, .ms = step->ms};
    return BEGUN;
}

static enum err build_say(const struct call *call, const struct script_step *step,
                          int64_t unix_s, struct agi_command *c)
{
    char text[AGI_COMMAND_MAX];
    bool gap = false;
    int64_t number;
    size_t len;

    if (!expand(call, &step->text, unix_s, text, sizeof text, &len, &gap))
        return ERR_TOO_LONG;
    if (step->verb == SCRIPT_SAY_NUMBER) {
        if (!agi_number(text, len, &number))
            return ERR_MALFORMED;
        agi_say_number(c, number, step->gender);
        return agi_command_end(c);
    }
    if (!agi_digits_sayable(text, len))
        return ERR_MALFORMED;
    agi_puts(c, "SAY DIGITS ");
    agi_put(c, text, len);
    agi_puts(c, " \"\"");
    return agi_command_end(c);
}

static enum err build_command(const struct call *call, const struct script_step *step,
                              int64_t unix_s, struct agi_command *c)
{
    if (step->command.count == 0)
        return build_say(call, step, unix_s, c);
    for (size_t i = 0; i < step->command.count; i++) {
        const struct script_piece *piece = &step->command.piece[i];
        char scratch[SCRATCH_SIZE];
        struct agi_text t = piece_text(call, piece, unix_s, scratch);
        if (piece->from == SCRIPT_TEXT)
            agi_put(c, t.at, t.len);
        else
            agi_put_escaped(c, t.at, t.len);
    }
    return c->err; /* The newline is in the last piece. */
}

static void free_long_line(struct call *call)
{
    free(call->long_line);
    call->long_line = NULL;
}

/* Most commands hold no variable, and are sent from where the script has them; of the
 * others nearly all fit into the call itself. */
static enum err command_text(struct call *call, const struct script_step *step,
                             int64_t unix_s, struct agi_text *out)
{
    struct agi_command c = agi_command_of(call->out.line, sizeof call->out.line);
    enum err err;

    if (step->command.count == 1) {
        *out = (struct agi_text){step->command.piece[0].text, step->command.piece[0].len};
        return ERR_OK;
    }
    err = build_command(call, step, unix_s, &c);
    if (err == ERR_TOO_LONG) {
        call->long_line = malloc(AGI_COMMAND_MAX);
        if (call->long_line == NULL)
            return ERR_MEMORY;
        c = agi_command_of(call->long_line, AGI_COMMAND_MAX);
        err = build_command(call, step, unix_s, &c);
    }
    *out = (struct agi_text){c.buf, c.len};
    return err;
}

static enum begun begin_command(struct call *call, const struct script_step *step,
                                int64_t unix_s, struct call_todo *todo)
{
    unsigned ms = call->limits->command_ms;
    struct agi_text line;

    if (command_text(call, step, unix_s, &line) != ERR_OK) {
        free_long_line(call);
        return FAILED;
    }
    ms = step->ms > UINT_MAX - ms ? UINT_MAX : ms + step->ms;
    call->state = ANSWERING;
    *todo = (struct call_todo){
        .what = CALL_SEND, .ms = ms, .bytes = line.at, .len = line.len};
    return BEGUN;
}

static enum begun begin_step(struct call *call, const struct script_step *step,
                             int64_t unix_s, struct call_todo *todo)
{
    switch (step->verb) {
    case SCRIPT_WAIT:
        return begin_wait(call, step, todo);
    case SCRIPT_COUNT:
        return begin_count(call, step, unix_s, todo);
    case SCRIPT_GET:
        return begin_get(call, step, unix_s, todo);
    default:
        return begin_command(call, step, unix_s, todo);
    }
}

/* ---- the script's course ---- */

static const struct script_steps *steps_of(const struct call *call)
{
    return call->on_error ? &call->script->on_error : &call->script->steps;
}

/* On-error steps run once; where there are none, and among them, the next step runs. */
static void step_failed(struct call *call)
{
    if (call->on_error || call->script->on_error.count == 0) {
        call->step++;
        return;
    }
    call->on_error = call->failed = true;
    call->step = 0;
}

/* From here on the script "refused" runs. */
static enum err refuse(struct call *call, const char *why)
{
    call->script = script_refused(call->scripts);
    call->step = 0;
    call->on_error = false;
    call->refused = call->failed = true;
    call->status = STATUS_ERROR;
    return keep_variables(call, NULL, why);
}

/* Run steps until one has to wait for something, or the script ends. Where the
 * environment turns out to have ended early, nothing more of the script runs; what it
 * counted before the true end arrived (the two come together, unless TCP cuts just there)
 * stays counted. */
static void advance(struct call *call, int64_t unix_s, struct call_todo *todo)
{
    if (call->forged && !call->refused &&
        refuse(call, "its AGI environment ended early: a newline in one of its values") !=
            ERR_OK) {
        close_call(call, CALL_END_ERROR, todo);
        return;
    }
    while (call->step < steps_of(call)->count) {
        switch (begin_step(call, &steps_of(call)->step[call->step], unix_s, todo)) {
        case BEGUN:
            return;
        case DONE:
            call->step++;
            break;
        case FAILED:
            step_failed(call);
            break;
        }
    }
    close_call(call, call->failed ? CALL_END_ERROR : CALL_END_DONE, todo);
}

/* ---- the start ---- */

/* A stranger's text for ${error}: cut, and without control bytes, since it goes to a
 * console. */
static const char *harmless(const struct agi_text *text, char out[WHY_NAME_MAX + 1])
{
    size_t len = text->len < WHY_NAME_MAX ? text->len : WHY_NAME_MAX;

    for (size_t i = 0; i < len; i++)
        out[i] =
            (unsigned char)text->at[i] < 0x20 || text->at[i] == 0x7f ? '?' : text->at[i];
    out[len] = '\0';
    return out;
}

/* Find the script, and the counter behind its name; why[0] is '\0' where all is well. */
static void read_path(struct call *call, const struct agi_text *path, char why[WHY_MAX])
{
    const char *slash = path->len > 0 ? memchr(path->at, '/', path->len) : NULL;
    struct agi_text name = *path, counter = {0};
    char quoted[WHY_NAME_MAX + 1];

    if (path->len == 0)
        name = (struct agi_text){call->limits->default_script,
                                 strlen(call->limits->default_script)};
    if (slash != NULL) {
        name.len = (size_t)(slash - path->at);
        counter = (struct agi_text){slash + 1, path->len - name.len - 1};
    }
    call->script = script_find(call->scripts, name.at, name.len);
    if (call->script == NULL) {
        snprintf(why, WHY_MAX, "there is no script \"%s\"", harmless(&name, quoted));
    } else if (counter.len > 0 && !name_valid(counter.at, counter.len)) {
        snprintf(why, WHY_MAX, "\"%s\" is no counter's name", harmless(&counter, quoted));
    } else if (counter.len > 0) {
        call->counter_len = (uint8_t)counter.len;
        memcpy(call->counter, counter.at, counter.len);
    }
}

static enum err start(struct call *call, const struct agi_env *env)
{
    char why[WHY_MAX] = "";
    enum err err;

    if (env->forged)
        snprintf(why, sizeof why,
                 "its AGI environment is out of order: a newline in one of "
                 "its values");
    else
        read_path(call, &env->value[AGI_NETWORK_SCRIPT], why);
    if (why[0] != '\0')
        return refuse(call, why);
    err = keep_variables(call, env, "");
    if (err == ERR_MALFORMED)
        return refuse(call, "an argument NAME=... is there twice");
    return err;
}

/* ---- responses ---- */

static bool keys_allowed(const struct script_step *step, const struct agi_text *keys)
{
    if (step->digits[0] == '\0')
        return true;
    for (size_t i = 0; i < keys->len; i++)
        if (keys->at[i] == '\0' || strchr(step->digits, keys->at[i]) == NULL)
            return false;
    return keys->len > 0;
}

/* Put the keys into the step's variable, which is empty where they are not allowed. */
static bool take_keys(struct call *call, const struct script_step *step,
                      const struct agi_text *keys)
{
    static const struct agi_text none = {0};
    bool good =
        keys->len <= call->script->slot[step->into].max && keys_allowed(step, keys);

    set_variable(call, step->into, good ? keys : &none);
    return good;
}

static bool take_key(struct call *call, const struct script_step *step, int64_t code)
{
    char key = (char)code;
    bool pressed = code > 0 && code <= CHAR_MAX;

    return take_keys(call, step, &(struct agi_text){&key, pressed});
}

enum outcome { STEP_OK, STEP_FAILED, STEP_HANGUP };

/* STREAM FILE's -1 is a missing file when it comes at position 0: that call goes on, and
 * if the caller has gone after all, the next command is told so. Later in the file it is
 * a hangup. */
static enum outcome stream_outcome(const struct agi_response *r)
{
    if (r->result >= 0)
        return STEP_OK;
    return r->endpos > 0 ? STEP_HANGUP : STEP_OK;
}

static enum outcome response_outcome(struct call *call, const struct script_step *step,
                                     const struct agi_response *r)
{
    static const struct agi_text none = {0};
    bool asks = step->verb == SCRIPT_GET_DATA || step->verb == SCRIPT_WAIT_FOR_DIGIT;

    if (r->code == 511)
        return STEP_HANGUP; /* The channel is dead: the only sign where AGISIGHUP is "no". */
    if (r->code != 200 ||
        (r->has_result && r->result < 0 && step->verb != SCRIPT_STREAM_FILE)) {
        if (asks)
            set_variable(call, step->into, &none);
        return STEP_FAILED;
    }
    if (step->verb == SCRIPT_STREAM_FILE)
        return stream_outcome(r);
    if (step->verb == SCRIPT_GET_DATA)
        return take_keys(call, step, &r->digits) ? STEP_OK : STEP_FAILED;
    if (step->verb == SCRIPT_WAIT_FOR_DIGIT)
        return take_key(call, step, r->has_result ? r->result : 0) ? STEP_OK
                                                                   : STEP_FAILED;
    return STEP_OK;
}

static void answered(struct call *call, const struct agi_response *r, int64_t unix_s,
                     struct call_todo *todo)
{
    const struct script_step *step = &steps_of(call)->step[call->step];
    enum outcome outcome = response_outcome(call, step, r);

    free_long_line(call);
    if (outcome == STEP_HANGUP || step->verb == SCRIPT_HANGUP) {
        close_call(call,
                   outcome != STEP_HANGUP && call->failed ? CALL_END_ERROR
                                                          : CALL_END_HANGUP,
                   todo);
        return;
    }
    if (outcome == STEP_FAILED)
        step_failed(call);
    else
        call->step++;
    advance(call, unix_s, todo);
}

/* ---- bytes ---- */

/* What the complete lines of one event add up to. */
struct lines {
    struct agi_response response;
    bool answered; /* response is the first one that came while a command was under way */
    bool hangup;
};

/* All complete lines, before anything is done about them: a HANGUP glued behind a
 * response must stop the command that the response would let go. Returns the bytes
 * used. */
static size_t take_lines(struct call *call, const char *bytes, size_t len,
                         struct lines *lines)
{
    const char *at = bytes, *end = bytes + len, *newline;

    while (at < end && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        struct agi_response response;
        switch (agi_parse_line(&call->parser, at, (size_t)(newline - at), &response)) {
        case AGI_RESPONSE:
            if (call->state == ANSWERING && !lines->answered) {
                lines->answered = true;
                lines->response = response;
            }
            break;
        case AGI_HANGUP:
            lines->hangup = true;
            break;
        case AGI_STRAY:
            call->forged = true;
            break;
        case AGI_PART:
        case AGI_JUNK:
            break;
        }
        at = newline + 1;
    }
    return (size_t)(at - bytes);
}

static bool append_pending(struct call *call, const char *bytes, size_t len)
{
    size_t size = call->pending_size > 0 ? call->pending_size : PENDING_MIN;
    char *grown;

    while (size - call->pending_len < len)
        size *= 2;
    if (size > call->pending_size) {
        grown = realloc(call->pending, size);
        if (grown == NULL)
            return false;
        call->pending = grown;
        call->pending_size = size;
    }
    memcpy(call->pending + call->pending_len, bytes, len);
    call->pending_len += len;
    return true;
}

/* Keep what is not complete; a call that waits for nothing but a line's beginning keeps
 * no buffer. */
static bool keep_rest(struct call *call, const char *rest, size_t len)
{
    if (len == 0) {
        free(call->pending);
        call->pending = NULL;
        call->pending_len = call->pending_size = 0;
        return true;
    }
    if (call->pending_len == 0)
        return append_pending(call, rest, len);
    memmove(call->pending, rest, len);
    call->pending_len = len;
    return true;
}

/* Parse the environment, and start the script where it is complete. *used is 0 until
 * then. */
static enum err greet(struct call *call, const char *bytes, size_t len, size_t *used)
{
    struct agi_env env;
    enum err err = agi_env_parse(bytes, len, &call->scanned, &env, used);

    if (err == ERR_AGAIN)
        return len < call->limits->greeting_bytes ? ERR_AGAIN : ERR_TOO_LONG;
    if (err != ERR_OK)
        return err;
    if (*used > call->limits->greeting_bytes)
        return ERR_TOO_LONG;
    return start(call, &env) == ERR_OK ? ERR_OK : ERR_MEMORY;
}

static enum call_end end_of_err(enum err err)
{
    switch (err) {
    case ERR_MALFORMED:
        return CALL_END_NOT_AGI;
    case ERR_TOO_LONG:
        return CALL_END_TOO_LONG;
    default:
        return CALL_END_ERROR;
    }
}

/* All that came and was not used yet. */
static enum err take_bytes(struct call *call, const char *bytes, size_t len,
                           int64_t unix_s, size_t *used, struct call_todo *todo)
{
    struct lines lines = {0};
    bool starting = call->state == GREETING;

    *used = 0;
    if (starting) {
        enum err err = greet(call, bytes, len, used);
        if (err != ERR_OK)
            return err;
    }
    *used += take_lines(call, bytes + *used, len - *used, &lines);
    if (len - *used > AGI_LINE_MAX)
        return ERR_TOO_LONG;
    if (lines.hangup)
        close_call(call, CALL_END_HANGUP, todo);
    else if (starting)
        advance(call, unix_s, todo);
    else if (lines.answered)
        answered(call, &lines.response, unix_s, todo);
    return ERR_OK;
}

void call_received(struct call *call, const char *bytes, size_t len, int64_t unix_s,
                   struct call_todo *todo)
{
    size_t used;
    enum err err;

    assert(call->state != OVER);
    *todo = (struct call_todo){.what = CALL_READ};
    if (len == 0)
        return;
    if (call->pending_len > 0) {
        if (!append_pending(call, bytes, len)) {
            close_call(call, CALL_END_ERROR, todo);
            return;
        }
        bytes = call->pending;
        len = call->pending_len;
    }
    err = take_bytes(call, bytes, len, unix_s, &used, todo);
    if (err == ERR_OK || err == ERR_AGAIN)
        err = keep_rest(call, bytes + used, len - used) ? ERR_OK : ERR_MEMORY;
    if (err != ERR_OK)
        close_call(call, end_of_err(err), todo);
}

/* ---- the other events ---- */

/* The state process's answer, or that there is none. */
static void numbered(struct call *call, enum status status, int64_t number, int64_t total,
                     int64_t unix_s, struct call_todo *todo)
{
    call->status = status;
    call->number = number;
    call->total = total;
    if (status_has_number(status))
        call->step++;
    else
        step_failed(call);
    advance(call, unix_s, todo);
}

void call_counted(struct call *call, const struct msg_count_rep *rep, int64_t unix_s,
                  struct call_todo *todo)
{
    *todo = (struct call_todo){.what = CALL_READ};
    if (call->state == COUNTING)
        numbered(call, rep->status, rep->number, rep->total, unix_s, todo);
}

void call_got(struct call *call, const struct msg_get_rep *rep, int64_t unix_s,
              struct call_todo *todo)
{
    *todo = (struct call_todo){.what = CALL_READ};
    if (call->state == GETTING)
        numbered(call, rep->status, rep->total, rep->total, unix_s, todo);
}

void call_timeout(struct call *call, int whole, int64_t unix_s, struct call_todo *todo)
{
    assert(call->state != OVER);
    *todo = (struct call_todo){.what = CALL_READ};
    if (whole || call->state == GREETING || call->state == ANSWERING) {
        close_call(call, CALL_END_TIME, todo);
    } else if (call->state == WAITING) {
        call->step++;
        advance(call, unix_s, todo);
    } else {
        /* A count that nobody answered may have been made; a get has done nothing. */
        numbered(call, call->state == COUNTING ? STATUS_UNKNOWN : STATUS_UNAVAILABLE, 0,
                 0, unix_s, todo);
    }
}

void call_eof(struct call *call, struct call_todo *todo)
{
    bool silent = call->state == GREETING && call->pending_len == 0;

    assert(call->state != OVER);
    close_call(call, silent ? CALL_END_EMPTY : CALL_END_GONE, todo);
}
