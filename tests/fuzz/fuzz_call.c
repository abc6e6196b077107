/* tests/fuzz/fuzz_call.c: any events, in any order, to a call. Whatever a stranger or a
 * broken Asterisk sends, what leaves for Asterisk is one whole line with exactly the
 * words that the step has, never a second one before something was answered; and what is
 * counted has a valid name, amount and tag. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/name.h"
#include "server/agi.h"
#include "server/call.h"
#include "server/fake_words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All steps, with a stranger's text wherever one can stand. */
static const char scripts[] =
    "[node]\nstate = x\n"
    "[script all]\n"
    "counter = c-${arg1}-%Y%m%d\n"
    "step = answer\n"
    "step = stream-file ${arg1} 1-9\n"
    "step = get-data \"${callerid} ${arg2}\" 1s 3 into=d digits=0-9*\n"
    "step = wait-for-digit 2s into=k\n"
    "step = count by=${arg.by} id=${arg.id} tag=${arg.tag}\n"
    "step = say-number\n"
    "step = say-number ${arg2} gender=f\n"
    "step = say-digits ${d}\n"
    "step = get g-${k}\n"
    "step = set-variable A(b) ${calleridname}\n"
    "step = verbose \"${arg1}\\\\${uniqueid} ${number} ${total} ${status} ${node} ${counter}\" 2\n"
    "step = exec App ${arg1}\n"
    "step = wait 1s\n"
    "step = hangup\n"
    "on-error = verbose ${status}${d}${k}\n"
    "on-error = stream-file ${calleridname}\n"
    "on-error = hangup\n"
    "[script say]\n"
    "step = say-number ${arg1}\n"
    "step = say-digits ${arg2}\n"
    "step = verbose ${arg3}\n";

static const char *const canned[] = {
    "agi_network: yes\nagi_network_script: all\n",
    "agi_network: yes\nagi_network_script: say\n",
    "agi_network: yes\nagi_network_script: hits/radio\n\n",
    "agi_network: yes\nagi_network_script: count\n",
    "agi_network: yes\nagi_network_script: vote\n\n",
    "agi_uniqueid: 1.2\nagi_callerid: 12\nagi_calleridname: A \"B\"\n",
    "agi_arg_1: ",
    "agi_arg_2: by=2\nagi_arg_3: id=x\nagi_arg_4: tag=y\n",
    "\n",
    "200 result=0\n",
    "200 result=-1\n",
    "200 result=-1 endpos=0\n",
    "200 result=5\n",
    "200 result=53\n",
    "200 result= (timeout)\n",
    "520-Invalid\n",
    "520 End\n",
    "510 Invalid\n",
    "511 Command Not Permitted\n",
    "HANGUP\n",
};

struct run {
    struct call *call;
    struct call_todo todo;
    bool outstanding; /* a command was sent, and no whole line came since */
};

static const struct {
    const char *first, *second;
    size_t least, most;
} commands[] = {
    {"ANSWER", NULL, 1, 1},  {"HANGUP", NULL, 1, 1},    {"VERBOSE", NULL, 3, 3},
    {"EXEC", NULL, 2, 3},    {"STREAM", "FILE", 4, 4},  {"SAY", "NUMBER", 4, 5},
    {"SAY", "DIGITS", 4, 4}, {"SET", "VARIABLE", 4, 4}, {"GET", "DATA", 5, 5},
    {"WAIT", "FOR", 4, 4},
};

static void check_sent(const struct call_todo *todo)
{
    char line[AGI_COMMAND_MAX + 1];
    const char *words[FAKE_WORDS_MAX + 1];
    size_t count, i = 0;

    assert(todo->len > 0 && todo->len <= AGI_COMMAND_MAX && todo->ms > 0);
    assert(memchr(todo->bytes, '\n', todo->len) == todo->bytes + todo->len - 1);
    assert(memchr(todo->bytes, '\0', todo->len) == NULL);
    memcpy(line, todo->bytes, todo->len);
    count = fake_words(line, todo->len - 1, words);
    while (i < sizeof commands / sizeof *commands &&
           (strcmp(words[0], commands[i].first) != 0 ||
            (commands[i].second != NULL && strcmp(words[1], commands[i].second) != 0)))
        i++;
    assert(i < sizeof commands / sizeof *commands);
    assert(count >= commands[i].least && count <= commands[i].most);
}

static void check(struct run *run)
{
    const struct call_todo *todo = &run->todo;

    switch (todo->what) {
    case CALL_SEND:
        assert(!run->outstanding);
        check_sent(todo);
        run->outstanding = true;
        break;
    case CALL_WAIT:
        assert(todo->ms > 0);
        break;
    case CALL_COUNT:
        assert(name_valid(todo->count->name, todo->count->name_len));
        assert(tag_valid(todo->count->tag, todo->count->tag_len) &&
               todo->count->amount >= 1);
        break;
    case CALL_GET:
        assert(name_valid(todo->get->name, todo->get->name_len) &&
               id_is_zero(&todo->get->id));
        break;
    case CALL_CLOSE:
        assert(todo->end >= 0 && todo->end < CALL_ENDS);
        break;
    case CALL_READ:
        break;
    }
}

static void receive(struct run *run, const char *bytes, size_t len)
{
    char *copy = malloc(len + 1);

    if (copy == NULL)
        abort();
    memcpy(copy, bytes, len);
    if (memchr(bytes, '\n', len) != NULL)
        run->outstanding = false;
    call_received(run->call, copy, len, 1795407734, &run->todo);
    free(copy);
}

static void answer(struct run *run, uint8_t how)
{
    struct msg_count_rep counted = {.status = how % 7, .number = how, .total = INT64_MAX};
    struct msg_get_rep got = {.status = how % 7, .total = -(int64_t)how};

    if (how & 0x80)
        call_counted(run->call, &counted, 0, &run->todo);
    else
        call_got(run->call, &got, 0, &run->todo);
}

/* One event: a byte that says which, and what it needs. Returns the bytes used. */
static size_t event(struct run *run, const uint8_t *data, size_t size)
{
    size_t len = size > 1 ? data[1] : 0;

    switch (data[0] % 8) {
    case 0:
    case 1:
        if (len > size - 2)
            len = size > 2 ? size - 2 : 0;
        if (size <= 2)
            break;
        receive(run, (const char *)data + 2, len);
        return 2 + len;
    case 2:
        call_timeout(run->call, 0, 0, &run->todo);
        break;
    case 3:
        call_timeout(run->call, 1, 0, &run->todo);
        break;
    case 4:
        answer(run, (uint8_t)len);
        return 2;
    case 5:
        call_eof(run->call, &run->todo);
        break;
    default:
        len %= sizeof canned / sizeof *canned;
        receive(run, canned[len], strlen(canned[len]));
        return 2;
    }
    return 1;
}

static struct script_table *compile(void)
{
    struct script_table *table = NULL;
    struct conf_error error;
    struct conf *conf;

    if (conf_parse(scripts, strlen(scripts), "f", &conf, &error) != ERR_OK ||
        script_compile(conf, &table, &error) != ERR_OK)
        abort();
    conf_free(conf);
    return table;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct call_limits limits = {.command_ms = 1000,
                                              .answer_ms = 1000,
                                              .greeting_bytes = 4096,
                                              .node_name = "n",
                                              .default_script = "hits"};
    static struct script_table *table;
    struct run run = {0};

    if (table == NULL)
        table = compile();
    run.call = call_new(table, &limits);
    for (size_t at = 0; at < size && run.todo.what != CALL_CLOSE;) {
        run.todo = (struct call_todo){.what = CALL_READ};
        at += event(&run, data + at, size - at);
        check(&run);
    }
    call_free(run.call);
    return 0;
}
