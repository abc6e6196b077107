/* sim: one node, or a cluster of them, simulated from a seed, with all that machines and networks can do to them; and
 * what is promised checked after every step. */
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

enum { MUTANT_SEEDS = 300, SHOWN_MAX = 12, TASKS_MAX = 64, SAID_MAX = 100 };

static const char usage[] =
    "usage: sim [--cluster] --seed S [--minutes M] [--verbose | --shrink]\n"
    "       sim [--cluster] --seeds A..B [--minutes M] [--jobs N]\n"
    "       sim [--cluster] --mutants   break one rule after another: is each noticed?\n"
    "       sim --kept FILE             the histories of a list: each line a seed, and minutes;\n"
    "                                   before them the word cluster where it is of one\n"
    "  --cluster       one to seven nodes and the network between them, instead of one node\n"
    "  --minutes M     simulated time of one history, before faults cease (default: 60 for a\n"
    "                  node, 6 for a cluster); --hours H: likewise\n"
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
    const char *kept, *mutant;
    char *without;
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
    t->histories++;
    t->failed += r->failed;
    if (r->failed)
        return;
    t->hash += r->result.hash;
    t->sum.simulated_ms += r->result.simulated_ms;
    for (size_t i = 0; i < FIGURES_MAX; i++)
        t->sum.figure[i] += r->result.figure[i];
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

static void print_summary(const struct options *o, const struct totals *t)
{
    const struct sim_result *r = &t->sum;
    double hours = (double)r->simulated_ms / 3600000, cpu = cpu_seconds(), load[3] = {0};

    getloadavg(load, 3);
    printf("histories    %" PRIu64 ", %" PRIu64 " broke\n", t->histories, t->failed);
    printf("simulated    %.1f hours\n", hours);
    o->sim.kind->print(r);
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
    print_summary(o, &t);
    return t.failed > 0;
}

/* One line: [cluster] SEED [MINUTES] and then what is said of it. False where it is none. */
static bool parse_kept(const char *line, struct sim_options *sim)
{
    const char *cluster = "cluster ";
    double minutes;
    int n;

    sim->kind = &kind_node;
    if (strncmp(line, cluster, strlen(cluster)) == 0) {
        sim->kind = &kind_cluster;
        line += strlen(cluster);
    }
    n = sscanf(line, "%" SCNu64 " %lf", &sim->seed, &minutes);
    sim->length_ms = n == 2 ? (uint64_t)(minutes * 60000) : sim->kind->length_ms;
    return n >= 1;
}

/* The histories of one kind that stand in the file. */
static int run_kept_of(struct options *o, FILE *file)
{
    struct totals t = {0};
    struct report r;
    char line[512];
    unsigned number = 0;

    while (fgets(line, sizeof line, file) != NULL) {
        struct sim_options sim = o->sim;

        number++;
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (!parse_kept(line, &sim)) {
            fprintf(stderr, "sim: %s:%u: a seed was expected, and minutes\n", o->kept,
                    number);
            return 2;
        }
        if (sim.kind != o->sim.kind)
            continue;
        pool_one(&sim, &r);
        on_report(&t, 0, &r);
    }
    print_summary(o, &t);
    return t.failed > 0;
}

static int run_kept(struct options *o)
{
    static const struct kind *const kinds[] = {&kind_node, &kind_cluster};
    FILE *file = fopen(o->kept, "r");
    int worst = 0;

    if (file == NULL) {
        fprintf(stderr, "sim: cannot open %s: %s\n", o->kept, strerror(errno));
        return 2;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int code;

        o->sim.kind = kinds[i];
        rewind(file);
        code = run_kept_of(o, file);
        worst = code > worst ? code : worst;
    }
    fclose(file);
    return worst;
}

/* ---- one ---- */

static int run_one(const struct options *o)
{
    static struct report r;
    struct totals t = {0};

    pool_here(&o->sim, &r);
    add(&t, &r);
    print_summary(o, &t);
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
    for (unsigned i = 0; i < best.kind->fault_count; i++) {
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
    const struct mutant_names *mutants = o->sim.kind->mutants;
    size_t count = mutants->count;

    for (size_t i = 0; i < count; i++) {
        tasks[i] = (struct task){.options = o->sim,
                                 .first = o->many ? o->first : 1,
                                 .step = 1,
                                 .last = o->many ? o->last : MUTANT_SEEDS,
                                 .until_failed = true};
        tasks[i].options.mutant = mutants->names[i];
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

static void parse_length(struct options *o, const char *text, double unit_ms)
{
    char *end;
    double length = strtod(text, &end);

    if (end == text || *end != '\0' || !(length > 0 && length < 1e6))
        usage_error("a length takes a number", text);
    o->sim.length_ms = (uint64_t)(length * unit_ms + 0.5);
}

static void set_without(struct sim_options *sim, char *text)
{
    const struct kind *kind = sim->kind;

    for (char *name = strtok(text, ","); name != NULL; name = strtok(NULL, ",")) {
        unsigned i = 0;

        while (i < kind->fault_count && strcmp(kind->faults[i].name, name) != 0)
            i++;
        if (i == kind->fault_count) {
            for (i = 0; i < kind->fault_count; i++)
                fprintf(stderr, "  %s: %s\n", kind->faults[i].name, kind->faults[i].text);
            exit(2);
        }
        sim->without |= 1U << i;
    }
}

static void set_mutant(struct sim_options *sim, const char *name)
{
    const struct mutant_names *mutants = sim->kind->mutants;

    for (size_t i = 0; i < mutants->count; i++)
        if (strcmp(mutants->names[i], name) == 0)
            sim->mutant = mutants->names[i];
    if (sim->mutant != NULL)
        return;
    for (size_t i = 0; i < mutants->count; i++)
        fprintf(stderr, "%s\n", mutants->names[i]);
    exit(2);
}

/* What depends on the kind of history, wherever that stood. */
static void settle(struct options *o)
{
    if (o->sim.length_ms == 0)
        o->sim.length_ms = o->sim.kind->length_ms;
    if (o->without != NULL)
        set_without(&o->sim, o->without);
    if (o->mutant != NULL)
        set_mutant(&o->sim, o->mutant);
}

static void parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"seed", required_argument, NULL, 's'},
                                          {"seeds", required_argument, NULL, 'S'},
                                          {"cluster", no_argument, NULL, 'c'},
                                          {"hours", required_argument, NULL, 'h'},
                                          {"minutes", required_argument, NULL, 'n'},
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
            parse_length(o, optarg, 3600000);
            break;
        case 'n':
            parse_length(o, optarg, 60000);
            break;
        case 'c':
            o->sim.kind = &kind_cluster;
            break;
        case 'w':
            o->without = optarg;
            break;
        case 'm':
            o->mutant = optarg;
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
    settle(o);
}

int main(int argc, char **argv)
{
    struct options o = {.jobs = 2, .sim = {.kind = &kind_node}};

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
