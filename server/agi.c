#include "server/agi.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define AGI_NAME_TEXT(name, text) text,
static const char *const names[] = {AGI_NAMES(AGI_NAME_TEXT)};

const char *agi_name(enum agi_name name)
{
    return names[name];
}

static bool is_named(enum agi_name name, const char *text, size_t len)
{
    return strlen(names[name]) == len && memcmp(names[name], text, len) == 0;
}

enum agi_name agi_name_find(const char *text, size_t len)
{
    enum agi_name name = 0;

    while (name < AGI_NAME_COUNT && !is_named(name, text, len))
        name++;
    return name;
}

static bool starts(const char *text, size_t len, const char *with)
{
    size_t n = strlen(with);

    return len >= n && memcmp(text, with, n) == 0;
}

bool agi_number(const char *text, size_t len, int64_t *number)
{
    bool minus = len > 0 && text[0] == '-';
    uint64_t limit = (uint64_t)INT64_MAX + minus, v = 0;
    size_t i = minus;

    if (i == len)
        return false;
    for (; i < len; i++) {
        uint64_t digit = (uint64_t)(unsigned char)text[i] - '0';
        if (digit > 9 || v > (limit - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *number = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* ---- the environment ---- */

#define FIRST_LINE "agi_network: yes\n"
#define PREFIX     "agi_"
#define ARG_PREFIX "arg_"

/* How far the environment has come in Asterisk's order. */
struct env_order {
    enum agi_name
        next; /* the earliest name that may come; AGI_NAME_COUNT once arguments began */
};

static void env_argument(struct agi_env *env, struct env_order *order,
                         struct agi_text number, struct agi_text value)
{
    int64_t n;

    if (!agi_number(number.at, number.len, &n))
        return;
    if (n != (int64_t)env->args + 1 || env->args == AGI_ARGS_MAX) {
        env->forged = true;
        return;
    }
    order->next = AGI_NAME_COUNT;
    env->arg[env->args++] = value;
}

static void env_name(struct agi_env *env, struct env_order *order, struct agi_text text,
                     struct agi_text value)
{
    enum agi_name name = order->next;

    /* In order, so the first comparison nearly always hits. */
    while (name < AGI_NAME_COUNT && !is_named(name, text.at, text.len))
        name++;
    if (name == AGI_NAME_COUNT) {
        env->forged |= agi_name_find(text.at, text.len) != AGI_NAME_COUNT;
        return;
    }
    order->next = name + 1;
    env->value[name] = value;
}

static void env_line(struct agi_env *env, struct env_order *order, const char *line,
                     size_t len)
{
    const char *colon = memmem(line, len, ": ", 2);
    struct agi_text name, value;

    if (colon == NULL || !starts(line, len, PREFIX))
        return;
    name =
        (struct agi_text){line + strlen(PREFIX), (size_t)(colon - line) - strlen(PREFIX)};
    value = (struct agi_text){colon + 2, len - (size_t)(colon + 2 - line)};
    if (starts(name.at, name.len, ARG_PREFIX))
        env_argument(env, order,
                     (struct agi_text){name.at + strlen(ARG_PREFIX),
                                       name.len - strlen(ARG_PREFIX)},
                     value);
    else
        env_name(env, order, name, value);
}

/* Where the empty line ends, or NULL. *scanned bytes are known to hold no end. */
static const char *env_end(const char *buf, size_t len, size_t *scanned)
{
    const char *end = memmem(buf + *scanned, len - *scanned, "\n\n", 2);

    if (end != NULL)
        return end + 2;
    *scanned =
        len > 0 ? len - 1 : 0; /* The last byte may be the first newline of the two. */
    return NULL;
}

enum err agi_env_parse(const char *buf, size_t len, size_t *scanned, struct agi_env *env,
                       size_t *used)
{
    size_t first = strlen(FIRST_LINE), seen = *scanned, lines = 0;
    struct env_order order = {0};
    const char *end;

    if (memcmp(buf, FIRST_LINE, len < first ? len : first) != 0)
        return ERR_MALFORMED;
    end = env_end(buf, len, scanned);
    if (memchr(buf + seen, '\0', (end != NULL ? (size_t)(end - buf) : len) - seen) !=
        NULL)
        return ERR_MALFORMED;
    if (end == NULL)
        return ERR_AGAIN;
    memset(env->value, 0, sizeof env->value);
    env->args = 0;
    env->forged = false;
    *used = (size_t)(end - buf);
    for (const char *line = buf; line < end - 1;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if (++lines > AGI_ENV_LINES_MAX)
            return ERR_TOO_LONG;
        env_line(env, &order, line, (size_t)(newline - line));
        line = newline + 1;
    }
    return ERR_OK;
}

/* ---- responses ---- */

/* The value ends at the line's last ")": it is not escaped and may hold ")" itself. Where
 * it holds a newline, there may be none: then it ends with the line. */
static struct agi_text response_value(const char *text, size_t len)
{
    const char *open = memchr(text, '(', len), *close = memrchr(text, ')', len);

    if (open == NULL)
        return (struct agi_text){0};
    if (close == NULL || close < open)
        close = text + len;
    return (struct agi_text){open + 1, (size_t)(close - open - 1)};
}

static int64_t response_endpos(const char *text, size_t len)
{
    const char *found = memmem(text, len, "endpos=", 7), *end = text + len, *stop;
    int64_t endpos;

    if (found == NULL)
        return -1;
    found += 7;
    stop = memchr(found, ' ', (size_t)(end - found));
    if (stop == NULL)
        stop = end;
    return agi_number(found, (size_t)(stop - found), &endpos) && endpos >= 0 ? endpos
                                                                             : -1;
}

/* text is what stands behind "200 result=". */
static void response_parse(const char *text, size_t len, struct agi_response *response)
{
    const char *blank = memchr(text, ' ', len);
    size_t word = blank != NULL ? (size_t)(blank - text) : len;

    *response = (struct agi_response){.code = 200, .digits = {text, word}, .endpos = -1};
    response->has_result = agi_number(text, word, &response->result);
    if (word == len)
        return;
    response->value = response_value(text + word, len - word);
    response->timeout =
        response->value.len == 7 && memcmp(response->value.at, "timeout", 7) == 0;
    if (response->value.at == NULL)
        response->endpos = response_endpos(text + word, len - word);
}

static bool response_refusal(const char *line, size_t len, struct agi_response *response)
{
    static const unsigned codes[] = {510, 511, 520};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char code[4];
        snprintf(code, sizeof code, "%u", codes[i]);
        if (starts(line, len, code) && (len == 3 || line[3] == ' ')) {
            *response = (struct agi_response){.code = codes[i], .endpos = -1};
            return true;
        }
    }
    return false;
}

enum agi_line agi_parse_line(struct agi_parser *parser, const char *line, size_t len,
                             struct agi_response *response)
{
    static const char result[] = "200 result=";

    if (len == 6 && memcmp(line, "HANGUP", 6) == 0)
        return AGI_HANGUP;
    if (parser->usage) {
        if (!starts(line, len, "520 "))
            return AGI_PART;
        parser->usage = false;
    }
    if (starts(line, len, result)) {
        response_parse(line + strlen(result), len - strlen(result), response);
        return AGI_RESPONSE;
    }
    if (response_refusal(line, len, response))
        return AGI_RESPONSE;
    if (starts(line, len, "520-")) {
        parser->usage = true;
        return AGI_PART;
    }
    return starts(line, len, PREFIX) ? AGI_STRAY : AGI_JUNK;
}

/* ---- commands ---- */

struct agi_command agi_command_of(char *buf, size_t size)
{
    return (struct agi_command){.buf = buf,
                                .size = size < AGI_COMMAND_MAX ? size : AGI_COMMAND_MAX};
}

void agi_put(struct agi_command *c, const char *text, size_t len)
{
    if (c->err != ERR_OK)
        return;
    if (len > c->size - c->len) {
        c->err = ERR_TOO_LONG;
        return;
    }
    memcpy(c->buf + c->len, text, len);
    c->len += len;
}

void agi_puts(struct agi_command *c, const char *text)
{
    agi_put(c, text, strlen(text));
}

void agi_put_escaped(struct agi_command *c, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n' || text[i] == '\0') {
            if (c->err == ERR_OK)
                c->err = ERR_MALFORMED;
            return;
        }
        if (text[i] == '"' || text[i] == '\\')
            agi_put(c, "\\", 1);
        agi_put(c, &text[i], 1);
    }
}

static bool plain_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_-./:,=()@#*+", c) != NULL);
}

void agi_put_word(struct agi_command *c, const char *text, size_t len)
{
    size_t plain = 0;

    while (plain < len && plain_byte(text[plain]))
        plain++;
    if (len > 0 && plain == len) {
        agi_put(c, text, len);
        return;
    }
    agi_put(c, "\"", 1);
    agi_put_escaped(c, text, len);
    agi_put(c, "\"", 1);
}

enum err agi_command_end(struct agi_command *c)
{
    agi_put(c, "\n", 1);
    return c->err;
}

void agi_say_number(struct agi_command *c, int64_t number, const char *gender)
{
    bool say = number >= -(int64_t)AGI_SAY_MAX && number <= AGI_SAY_MAX;
    char text[64];

    snprintf(text, sizeof text, "SAY %s %" PRId64 " \"\"", say ? "NUMBER" : "DIGITS",
             number);
    agi_puts(c, text);
    if (say && gender[0] != '\0') {
        agi_puts(c, " ");
        agi_puts(c, gender);
    }
}

bool agi_digits_sayable(const char *text, size_t len)
{
    size_t i = len > 0 && text[0] == '-';

    if (i == len || text[i] < '0' || text[i] > '9')
        return false;
    for (; i < len; i++)
        if ((text[i] < '0' || text[i] > '9') && text[i] != '*' && text[i] != '#')
            return false;
    return true;
}
