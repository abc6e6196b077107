#include "server/agicall_options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "server/stats.h"

enum {
    CALLS_MAX = 1000000000,
    CONCURRENCY_MAX = 60000,
    RATE_MAX = 1000000,
    DEFAULT_CONCURRENCY = 64,
    DEFAULT_DURATION_MS = 10 * 1000,
    DEFAULT_TIMEOUT_MS = 60 * 1000,
};

static const char help[] =
    "usage: agicall [options] agi://HOST[:PORT][/PATH] [ARGUMENT...]\n"
    "Plays Asterisk's side of a FastAGI call and shows the dialogue: > is what\n"
    "Asterisk sends, < what the server sends. With --load it makes thousands.\n"
    "\n"
    "  agicall agi://127.0.0.1/hits\n"
    "  agicall agi://[::1]:4573/count tickets by=1\n"
    "  agicall --hangup-at 2 agi://127.0.0.1/hits\n"
    "  agicall --load --concurrency 64 --duration 10s agi://127.0.0.1/hits\n"
    "\n"
    "The call (D is a duration: 500ms, 3s, 10m, 2h)\n"
    "  --callerid NUM, --calleridname NAME, --uniqueid ID, --channel NAME,\n"
    "  --extension EXT, --language L\n"
    "                         what the environment says\n"
    "  --env NAME=VALUE       any line of it, NAME without its agi_\n"
    "  --var NAME=VALUE       a channel variable that the dialplan had set\n"
    "  --keys DIGITS          keys the caller presses, as commands take them\n"
    "  --missing FILE         a sound that does not exist; may be repeated\n"
    "  --exec-fail            EXEC finds no application\n"
    "  --hangup-at N          the caller hangs up while the N-th command runs\n"
    "  --hangup-after D       the caller hangs up so long after the connect\n"
    "  --no-sighup            no HANGUP line, as with AGISIGHUP=no\n"
    "  --dead                 a channel that is hung up already, as in extension h\n"
    "  --think D              how long each sound takes (0)\n"
    "  --answer-time D        how long ANSWER takes (0)\n"
    "  --timeout D            give up when the server says nothing for so long (60s)\n"
    "  --retry-connect D      try again for so long when there is no connection (0)\n"
    "  --expect number|close  a call went well when a number was said, or when the\n"
    "                         server just closed in order (number with --load)\n"
    "  --numbers FILE         append each call's number, before the server hears back\n"
    "  --json                 one JSON object instead of text\n"
    "  --color WHEN           auto, always or never\n"
    "  -v, --verbose          show the whole environment\n"
    "\n"
    "Many calls: --load\n"
    "  --calls N              how many; and, or,\n"
    "  --duration D           for how long (10s)\n"
    "  --concurrency C        closed loop: so many at a time (64)\n"
    "  --rate R               open loop: so many a second\n"
    "  --max-open M           with --rate: at most so many at a time\n"
    "  --hangup-percent P     so many callers leave within the first commands\n"
    "  --seed S               of who leaves, and when (0)\n"
    "\n"
    "Exit code: 0 all went well; 1 a call failed or its script reported an error;\n"
    "2 usage; 3 cannot connect; 4 the server broke the protocol, broke off, timed out\n";

enum option_number {
    OPT_CALLERID = 256,
    OPT_CALLERIDNAME,
    OPT_UNIQUEID,
    OPT_CHANNEL,
    OPT_EXTENSION,
    OPT_LANGUAGE,
    OPT_ENV,
    OPT_VAR,
    OPT_KEYS,
    OPT_MISSING,
    OPT_EXEC_FAIL,
    OPT_HANGUP_AT,
    OPT_HANGUP_AFTER,
    OPT_NO_SIGHUP,
    OPT_DEAD,
    OPT_THINK,
    OPT_ANSWER_TIME,
    OPT_TIMEOUT,
    OPT_RETRY_CONNECT,
    OPT_EXPECT,
    OPT_NUMBERS,
    OPT_JSON,
    OPT_COLOR,
    OPT_LOAD,
    OPT_CALLS,
    OPT_DURATION,
    OPT_CONCURRENCY,
    OPT_RATE,
    OPT_MAX_OPEN,
    OPT_HANGUP_PERCENT,
    OPT_SEED,
};

static const struct option long_options[] = {
    {"callerid", required_argument, NULL, OPT_CALLERID},
    {"calleridname", required_argument, NULL, OPT_CALLERIDNAME},
    {"uniqueid", required_argument, NULL, OPT_UNIQUEID},
    {"channel", required_argument, NULL, OPT_CHANNEL},
    {"extension", required_argument, NULL, OPT_EXTENSION},
    {"language", required_argument, NULL, OPT_LANGUAGE},
    {"env", required_argument, NULL, OPT_ENV},
    {"var", required_argument, NULL, OPT_VAR},
    {"keys", required_argument, NULL, OPT_KEYS},
    {"missing", required_argument, NULL, OPT_MISSING},
    {"exec-fail", no_argument, NULL, OPT_EXEC_FAIL},
    {"hangup-at", required_argument, NULL, OPT_HANGUP_AT},
    {"hangup-after", required_argument, NULL, OPT_HANGUP_AFTER},
    {"no-sighup", no_argument, NULL, OPT_NO_SIGHUP},
    {"dead", no_argument, NULL, OPT_DEAD},
    {"think", required_argument, NULL, OPT_THINK},
    {"answer-time", required_argument, NULL, OPT_ANSWER_TIME},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"retry-connect", required_argument, NULL, OPT_RETRY_CONNECT},
    {"expect", required_argument, NULL, OPT_EXPECT},
    {"numbers", required_argument, NULL, OPT_NUMBERS},
    {"json", no_argument, NULL, OPT_JSON},
    {"color", required_argument, NULL, OPT_COLOR},
    {"verbose", no_argument, NULL, 'v'},
    {"load", no_argument, NULL, OPT_LOAD},
    {"calls", required_argument, NULL, OPT_CALLS},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"concurrency", required_argument, NULL, OPT_CONCURRENCY},
    {"rate", required_argument, NULL, OPT_RATE},
    {"max-open", required_argument, NULL, OPT_MAX_OPEN},
    {"hangup-percent", required_argument, NULL, OPT_HANGUP_PERCENT},
    {"seed", required_argument, NULL, OPT_SEED},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* Which of the options belong to --load alone. */
static bool only_for_load(int option)
{
    return option >= OPT_CALLS && option <= OPT_SEED;
}

static const char *option_name(int option)
{
    for (const struct option *o = long_options; o->name != NULL; o++)
        if (o->val == option)
            return o->name;
    return "?";
}

__attribute__((format(printf, 1, 2), noreturn)) static void refuse(const char *format,
                                                                   ...)
{
    va_list args;

    fputs("agicall: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry 'agicall --help'.\n", stderr);
    exit(EXIT_USAGE);
}

static uint64_t number_of(int option, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(optarg, &end, 10);
    if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || errno != 0 ||
        value < least || value > most)
        refuse("--%s takes a number of %llu to %llu, not '%s'", option_name(option),
               (unsigned long long)least, (unsigned long long)most, optarg);
    return value;
}

static double rate_of(int option)
{
    char *end;
    double value = strtod(optarg, &end);

    if (optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || !(value > 0) ||
        value > RATE_MAX)
        refuse("--%s takes calls a second, above 0 and up to %d, not '%s'",
               option_name(option), RATE_MAX, optarg);
    return value;
}

static unsigned duration_of(int option)
{
    unsigned ms;

    if (strcmp(optarg, "0") == 0)
        return 0;
    if (conf_duration(optarg, &ms) != ERR_OK)
        refuse("--%s takes a duration such as 500ms, 3s, 10m or 2h, not '%s'",
               option_name(option), optarg);
    return ms;
}

static const char *line_of(int option)
{
    if (strpbrk(optarg, "\r\n") != NULL)
        refuse("--%s takes no line break", option_name(option));
    return optarg;
}

static const char *assignment_of(int option)
{
    if (strchr(optarg, '=') == NULL || optarg[0] == '=')
        refuse("--%s takes NAME=VALUE, not '%s'", option_name(option), optarg);
    return line_of(option);
}

static void append(int option, const char **list, size_t *count, size_t most,
                   const char *value)
{
    if (*count == most)
        refuse("--%s may be given %zu times", option_name(option), most);
    list[(*count)++] = value;
}

static const char *keys_of(int option)
{
    if (optarg[strspn(optarg, "0123456789*#ABCD")] != '\0')
        refuse("--%s takes keys of a telephone, 0 to 9, * # A B C D, not '%s'",
               option_name(option), optarg);
    return optarg;
}

/* The index of optarg among count names. */
static int choice_of(int option, const char *const *names, int count, const char *said)
{
    for (int i = 0; i < count; i++)
        if (strcmp(optarg, names[i]) == 0)
            return i;
    refuse("--%s takes %s, not '%s'", option_name(option), said, optarg);
}

static void take_load_option(int option, struct load_plan *load)
{
    switch (option) {
    case OPT_CALLS:
        load->calls = number_of(option, 1, CALLS_MAX);
        break;
    case OPT_DURATION:
        load->duration_ms = duration_of(option);
        break;
    case OPT_CONCURRENCY:
        load->concurrency = (unsigned)number_of(option, 1, CONCURRENCY_MAX);
        break;
    case OPT_RATE:
        load->rate = rate_of(option);
        break;
    case OPT_MAX_OPEN:
        load->max_open = (unsigned)number_of(option, 1, CONCURRENCY_MAX);
        break;
    case OPT_HANGUP_PERCENT:
        load->hangup_percent = (unsigned)number_of(option, 0, 100);
        break;
    default:
        load->seed = (uint32_t)number_of(option, 0, UINT32_MAX);
        break;
    }
}

static void take_env_option(int option, struct fake_env *env)
{
    switch (option) {
    case OPT_CALLERID:
        env->caller_id = line_of(option);
        break;
    case OPT_CALLERIDNAME:
        env->caller_name = line_of(option);
        break;
    case OPT_UNIQUEID:
        env->unique_id = line_of(option);
        break;
    case OPT_CHANNEL:
        env->channel = line_of(option);
        break;
    case OPT_EXTENSION:
        env->extension = line_of(option);
        break;
    case OPT_LANGUAGE:
        env->language = line_of(option);
        break;
    default:
        append(option, env->lines, &env->line_count, FAKE_ENV_LINES_MAX,
               assignment_of(option));
        break;
    }
}

static void take_call_option(int option, struct options *o)
{
    static const char *const expectations[] = {"close", "number"};
    static const char *const colours[] = {"auto", "always", "never"};

    switch (option) {
    case OPT_VAR:
        append(option, o->variables, &o->variable_count, OPTIONS_REPEATS_MAX,
               assignment_of(option));
        break;
    case OPT_KEYS:
        o->fake.keys = keys_of(option);
        break;
    case OPT_MISSING:
        append(option, o->missing, &o->missing_count, OPTIONS_REPEATS_MAX, optarg);
        break;
    case OPT_EXEC_FAIL:
        o->fake.exec_fails = true;
        break;
    case OPT_HANGUP_AT:
        o->hangup_at = (unsigned)number_of(option, 1, INT_MAX);
        break;
    case OPT_HANGUP_AFTER:
        o->hangup_after_ms = duration_of(option);
        break;
    case OPT_DEAD:
        o->fake.dead = true;
        break;
    case OPT_THINK:
        o->fake.think_ms = duration_of(option);
        break;
    case OPT_ANSWER_TIME:
        o->fake.answer_ms = duration_of(option);
        break;
    case OPT_TIMEOUT:
        o->timeout_ms = duration_of(option);
        if (o->timeout_ms == 0)
            refuse("--timeout takes a duration above 0");
        break;
    case OPT_RETRY_CONNECT:
        o->retry_ms = duration_of(option);
        break;
    case OPT_EXPECT:
        o->number_expected = choice_of(option, expectations, 2, "number or close");
        break;
    case OPT_NUMBERS:
        o->numbers_path = optarg;
        break;
    case OPT_JSON:
        o->json = true;
        break;
    case OPT_COLOR:
        o->colour =
            (enum options_colour)choice_of(option, colours, 3, "auto, always or never");
        break;
    case 'v':
        o->verbose = true;
        break;
    default:
        o->load = true;
        break;
    }
}

static void finish_load(const char *load_option, struct options *o)
{
    struct load_plan *load = &o->load_plan;

    if (load_option != NULL && !o->load)
        refuse("--%s goes with --load", load_option);
    if (load->rate > 0 && load->concurrency > 0)
        refuse("--rate (open loop) and --concurrency (closed loop) exclude each other");
    if (load->rate == 0 && load->max_open > 0)
        refuse("--max-open goes with --rate");
    if (load->concurrency == 0)
        load->concurrency = DEFAULT_CONCURRENCY;
    if (load->max_open == 0)
        load->max_open = CONCURRENCY_MAX;
    if (load->calls == 0 && load->duration_ms == 0)
        load->duration_ms = DEFAULT_DURATION_MS;
    load->hangup_at = o->hangup_at;
    if (o->number_expected < 0)
        o->number_expected = o->load;
}

static void finish_arguments(int count, char **words, struct options *o)
{
    if (count == 0)
        refuse("which server? A URL is missing, such as agi://127.0.0.1/hits");
    if (count - 1 > FAKE_ENV_ARGS_MAX)
        refuse("AGI() takes %d arguments at most", FAKE_ENV_ARGS_MAX);
    for (int i = 1; i < count; i++)
        if (strpbrk(words[i], "\r\n") != NULL)
            refuse("argument %d has a line break", i);
    o->url = words[0];
    o->args = (const char *const *)words + 1;
    o->arg_count = (size_t)count - 1;
}

void options_parse(int argc, char **argv, struct options *o)
{
    const char *load_option = NULL;
    bool no_sighup = false;
    int option;

    *o = (struct options){.timeout_ms = DEFAULT_TIMEOUT_MS, .number_expected = -1};
    o->fake.keys = "";
    while ((option = getopt_long(argc, argv, "hVv", long_options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            exit(EXIT_OK);
        } else if (option == 'V') {
            puts("agicall " TALLY_VERSION);
            exit(EXIT_OK);
        } else if (option == '?') { /* getopt_long() has said which. */
            fputs("Try 'agicall --help'.\n", stderr);
            exit(EXIT_USAGE);
        } else if (option == OPT_NO_SIGHUP) {
            no_sighup = true;
        } else if (only_for_load(option)) {
            load_option = option_name(option);
            take_load_option(option, &o->load_plan);
        } else if (option >= OPT_CALLERID && option <= OPT_ENV) {
            take_env_option(option, &o->env);
        } else {
            take_call_option(option, o);
        }
    }
    if (no_sighup)
        o->variables[o->variable_count++] = "AGISIGHUP=no";
    finish_load(load_option, o);
    finish_arguments(argc - optind, argv + optind, o);
}
