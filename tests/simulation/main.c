/* sim: one node, simulated from a seed, with all that a machine can do to it; and what is
 * promised of it checked after every step. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/simulation/pool.h"

enum { MUTANT_SEEDS = 300, SHOWN_MAX = 5, TASKS_MAX = 64, SAID_MAX = 100 };

static const char usage[] =
    "usage: sim --seed S [--hours H] [--verbose | --shrink]\n"
    "       sim --seeds A..B [--hours H] [--jobs N]\n"
    "       sim --kept FILE       the histories of a list: each line a seed, and hours\n"
    "       sim --mutants         break one rule after another: is each noticed?\n"
    "  --hours H       simulated time of one history (default 1)\n"
    "  --without F,..  leave out kinds of faults; --without list names them\n"
    "  --mutant NAME   break a rule; --mutant list names them\n"
    "  --verbose       tell the history\n"
    "  --shrink        look for a shorter history, with fewer faults, that fails\n"
    "  --jobs N        processes at once (default 2)\n"
    "Exit code: 0 all is well, 1 something broke or a mutant was not noticed, 2 usage.\n";

struct options {
    struct sim_options sim;
    uint64_t first, last;
    unsigned jobs;
    const char *kept;
    bool many, one, mutants, shrink;
};

static _Noreturn void usage_error(const char *what, const char *value)
{
    fprintf(stderr, "sim: %s: %s\n%s", what, value, usage);
    exit(2);
}

/* ---- what is printed ---- */

struct totals {
    struct sim_result sum;
    uint64_t histories, failed, wanted;
    uint64_t hash; /* over all hashes, in no order */
};

static void add(struct totals *t, const struct report *r)
{
    const uint64_t *from = (const uint64_t *)(const void *)&r->result;
    uint64_t *to = (uint64_t *)(void *)&t->sum;

    t->histories++;
    t->failed += r->failed;
    if (r->failed)
        return;
    t->hash += r->result.hash;
    for (size_t i = 0; i < sizeof t->sum / sizeof *to; i++)
        to[i] += from[i];
}

static void print_failed(const struct report *r)
{
    char command[512];

    replay_command(&r->options, command, sizeof command);
    printf("%sseed %" PRIu64 " BROKE after %.3f s: %s\nreplay: %s\n\n", r->last,
           r->options.seed, (double)r->failed_ms / 1000, r->what, command);
}

static double cpu_seconds(void)
{
    struct rusage children, self;

    getrusage(RUSAGE_CHILDREN, &children);
    getrusage(RUSAGE_SELF, &self);
    return (double)(children.ru_utime.tv_sec + children.ru_stime.tv_sec +
                    self.ru_utime.tv_sec + self.ru_stime.tv_sec) +
           (double)(children.ru_utime.tv_usec + children.ru_stime.tv_usec +
                    self.ru_utime.tv_usec + self.ru_stime.tv_usec) /
               1e6;
}

static void print_summary(const struct totals *t)
{
    const struct sim_result *r = &t->sum;
    double hours = (double)r->simulated_ms / 3600000, cpu = cpu_seconds(), load[3] = {0};

    getloadavg(load, 3);
    printf("histories    %" PRIu64 ", %" PRIu64 " broke\n", t->histories, t->failed);
    printf("simulated    %.1f hours\n", hours);
    printf("calls        %" PRIu64 "; counts asked %" PRIu64 ", answered FINAL %" PRIu64
           " (%" PRIu64 " of them repeats), UNKNOWN %" PRIu64 ", UNAVAILABLE %" PRIu64
           ", refused %" PRIu64 "\n",
           r->calls, r->asked, r->answered, r->repeats, r->unknown, r->unavailable,
           r->refused);
    printf("log          %" PRIu64 " blocks with %" PRIu64 " counts at the end; %" PRIu64
           " segments and checkpoints made, %" PRIu64 " segments released\n",
           r->blocks, r->counts, r->makes, r->removed);
    printf("starts       %" PRIu64 ": %" PRIu64 " recovered, %" PRIu64
           " rightly refused; %" PRIu64 " full replays\n",
           r->runs, r->recoveries, r->refusals, r->replays);
    printf("faults      ");
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        printf(" %s %" PRIu64 "%s", fault_names[i], r->faults[i],
               i + 1 < FAULT_COUNT ? "," : "\n");
    printf("disk         %" PRIu64 " operations; failed: reads %" PRIu64
           ", writes %" PRIu64 ", syncs %" PRIu64 ", removes %" PRIu64 ", makes %" PRIu64
           "; makes without room %" PRIu64 ", cut off %" PRIu64 ", cache lost %" PRIu64
           "\n",
           r->disk.operations, r->disk.read_errors + r->disk.list_errors,
           r->disk.write_errors, r->disk.sync_errors, r->disk.remove_errors,
           r->disk.make_errors, r->disk.made_full, r->disk.half_made, r->disk.evicted);
    printf(
        "speed        %.0f simulated hours per CPU minute (%.1f CPU seconds, load %.1f)\n",
        cpu > 0 ? hours * 60 / cpu : 0, cpu, load[0]);
    printf("hash         %016" PRIx64 "\n", t->hash);
}

/* ---- many ---- */

static void progress(const struct totals *t)
{
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr,
            "\r%" PRIu64 " of %" PRIu64 " histories, %.0f hours, %" PRIu64 " broke ",
            t->histories, t->wanted, (double)t->sum.simulated_ms / 3600000, t->failed);
    if (t->histories == t->wanted)
        fputc('\n', stderr);
}

static void on_report(void *arg, size_t task, const struct report *r)
{
    struct totals *t = arg;

    (void)task;
    add(t, r);
    if (r->failed && t->failed <= SHOWN_MAX)
        print_failed(r);
    progress(t);
}

static int run_many(const struct options *o)
{
    struct totals t = {.wanted = o->last - o->first + 1};
    struct task tasks[TASKS_MAX];
    unsigned jobs = o->jobs < TASKS_MAX ? o->jobs : TASKS_MAX;

    for (unsigned i = 0; i < jobs; i++)
        tasks[i] = (struct task){
            .options = o->sim, .first = o->first + i, .step = jobs, .last = o->last};
    pool_run(tasks, t.wanted < jobs ? (size_t)t.wanted : jobs, jobs, on_report, &t);
    print_summary(&t);
    return t.failed > 0;
}

static int run_kept(const struct options *o)
{
    FILE *file = fopen(o->kept, "r");
    struct totals t = {0};
    struct report r;
    char line[512];
    unsigned number = 0;

    if (file == NULL) {
        fprintf(stderr, "sim: cannot open %s: %s\n", o->kept, strerror(errno));
        return 2;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        struct sim_options sim = o->sim;
        double hours;
        int n;

        number++;
        n = sscanf(line, "%" SCNu64 " %lf", &sim.seed, &hours);
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (n < 1) {
            fprintf(stderr, "sim: %s:%u: a seed was expected, and hours\n", o->kept,
                    number);
            fclose(file);
            return 2;
        }
        if (n == 2)
            sim.length_ms = (uint64_t)(hours * 3600000);
        pool_one(&sim, &r);
        on_report(&t, 0, &r);
    }
    fclose(file);
    print_summary(&t);
    return t.failed > 0;
}

/* ---- one ---- */

static int run_one(const struct options *o)
{
    static struct report r;
    struct totals t = {0};

    pool_here(&o->sim, &r);
    add(&t, &r);
    print_summary(&t);
    return 0;
}

/* Halve the time, and leave out what is not needed, as long as something breaks. */
static int run_shrink(const struct options *o)
{
    static struct report r, smaller;
    struct sim_options best = o->sim;

    pool_one(&best, &r);
    if (!r.failed) {
        printf("seed %" PRIu64 " does not fail\n", best.seed);
        return 0;
    }
    if (r.failed_ms < best.length_ms)
        best.length_ms = r.failed_ms + 1;
    for (unsigned i = 0; i < FAULT_COUNT; i++) {
        struct sim_options next = best;

        next.without |= 1U << i;
        pool_one(&next, &smaller);
        if (!smaller.failed)
            continue;
        best = next;
        if (smaller.failed_ms < best.length_ms)
            best.length_ms = smaller.failed_ms + 1;
    }
    for (uint64_t cut = best.length_ms / 2; cut >= 1000;) {
        struct sim_options next = best;

        next.length_ms -= cut;
        pool_one(&next, &smaller);
        if (smaller.failed)
            best = next;
        if (!smaller.failed || cut > best.length_ms / 2)
            cut /= 2;
    }
    pool_one(&best, &r);
    print_failed(&r);
    return 1;
}

/* ---- mutants ---- */

struct mutants {
    const struct task *tasks;
    uint64_t survived;
    size_t done;
};

static void on_mutant(void *arg, size_t task, const struct report *r)
{
    struct mutants *m = arg;
    const struct task *t = &m->tasks[task];

    if (!r->failed && r->options.seed < t->last)
        return;
    m->done++;
    m->survived += !r->failed;
    if (r->failed)
        printf("%-22s %5" PRIu64 "  %.*s\n", t->options.mutant,
               r->options.seed - t->first + 1, SAID_MAX, r->what);
    else
        printf("%-22s     -  NOT NOTICED in %" PRIu64 " seeds\n", t->options.mutant,
               t->last - t->first + 1);
    fflush(stdout);
}

static int run_mutants(const struct options *o)
{
    struct task tasks[TASKS_MAX];
    struct mutants m = {.tasks = tasks};
    size_t count = sim_mutant_count();

    for (size_t i = 0; i < count; i++) {
        tasks[i] = (struct task){.options = o->sim,
                                 .first = o->many ? o->first : 1,
                                 .step = 1,
                                 .last = o->many ? o->last : MUTANT_SEEDS,
                                 .until_failed = true};
        tasks[i].options.mutant = sim_mutant_name(i);
    }
    printf("%-22s seeds  what was said\n", "mutant");
    fflush(stdout);
    pool_run(tasks, count, o->jobs, on_mutant, &m);
    printf("%zu mutants, %" PRIu64 " not noticed\n", count, m.survived);
    return m.survived > 0;
}

/* ---- options ---- */

static uint64_t number(const char *text, const char *option)
{
    char *end;
    uint64_t n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        usage_error(option, text);
    return n;
}

static void parse_range(struct options *o, char *text)
{
    char *dots = strstr(text, "..");

    if (dots == NULL)
        usage_error("--seeds takes A..B", text);
    *dots = '\0';
    o->first = number(text, "--seeds");
    o->last = number(dots + 2, "--seeds");
    if (o->last < o->first)
        usage_error("--seeds takes A..B", dots + 2);
    o->many = true;
}

static void parse_hours(struct options *o, const char *text)
{
    char *end;
    double hours = strtod(text, &end);

    if (end == text || *end != '\0' || !(hours > 0 && hours < 1e6))
        usage_error("--hours takes a number", text);
    o->sim.length_ms = (uint64_t)(hours * 3600000 + 0.5);
}

static void parse_without(struct options *o, char *text)
{
    for (char *name = strtok(text, ","); name != NULL; name = strtok(NULL, ",")) {
        unsigned i = 0;

        while (i < FAULT_COUNT && strcmp(fault_names[i], name) != 0)
            i++;
        if (i == FAULT_COUNT) {
#define FAULT_LINE(id, text) "  " #id ": " text "\n"
            fputs("faults:\n" FAULTS(FAULT_LINE), stderr);
            exit(2);
        }
        o->sim.without |= 1U << i;
    }
}

static void parse_mutant(struct options *o, const char *name)
{
    if (!sim_mutant_known(name)) {
        for (size_t i = 0; i < sim_mutant_count(); i++)
            fprintf(stderr, "%s\n", sim_mutant_name(i));
        exit(2);
    }
    o->sim.mutant = name;
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"seed", required_argument, NULL, 's'},
                                          {"seeds", required_argument, NULL, 'S'},
                                          {"hours", required_argument, NULL, 'h'},
                                          {"without", required_argument, NULL, 'w'},
                                          {"mutant", required_argument, NULL, 'm'},
                                          {"mutants", no_argument, NULL, 'M'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"shrink", no_argument, NULL, 'x'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"kept", required_argument, NULL, 'k'},
                                          {"help", no_argument, NULL, '?'},
                                          {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 's':
            o->sim.seed = number(optarg, "--seed");
            o->one = true;
            break;
        case 'S':
            parse_range(o, optarg);
            break;
        case 'h':
            parse_hours(o, optarg);
            break;
        case 'w':
            parse_without(o, optarg);
            break;
        case 'm':
            parse_mutant(o, optarg);
            break;
        case 'M':
            o->mutants = true;
            break;
        case 'v':
            o->sim.verbose = 1;
            break;
        case 'x':
            o->shrink = true;
            break;
        case 'j':
            o->jobs = (unsigned)number(optarg, "--jobs");
            break;
        case 'k':
            o->kept = optarg;
            break;
        default:
            fputs(usage, optopt == 0 ? stdout : stderr);
            exit(optopt == 0 ? 0 : 2);
        }
    }
    if (optind < argc)
        usage_error("unexpected", argv[optind]);
    if (!o->one && !o->many && !o->mutants && o->kept == NULL)
        usage_error("nothing to do", "name a seed");
    if (o->jobs == 0)
        usage_error("--jobs", "0");
}

int main(int argc, char **argv)
{
    struct options o = {.jobs = 2, .sim = {.length_ms = 60 * 60 * 1000}};

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (sodium_init() < 0) {
        fputs("sim: cannot set up libsodium\n", stderr);
        return 2;
    }
    parse(&o, argc, argv);
    if (o.mutants)
        return run_mutants(&o);
    if (o.kept != NULL)
        return run_kept(&o);
    if (o.many)
        return run_many(&o);
    return o.shrink ? run_shrink(&o) : run_one(&o);
}
