/* replica/ctl_counters.c: tallyctl get, counters. */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/name.h"
#include "replica/ctl.h"

static const char *name_of(const json_t *counter)
{
    return json_string_value(json_object_get(counter, "name"));
}

static void print_counter(const struct ctl *ctl, const char *name, int64_t total,
                          bool retired)
{
    if (ctl->json)
        printf("{\"name\":\"%s\",\"total\":%" PRId64 "%s}\n", name, total,
               retired ? ",\"retired\":true" : "");
    else
        printf("%-40s %20" PRId64 "%s\n", name, total, retired ? " retired" : "");
}

static bool is_retired(const json_t *counter)
{
    return json_is_true(json_object_get(counter, "retired"));
}

/* ---- get ---- */

enum ctl_exit ctl_get(struct ctl *ctl)
{
    enum ctl_exit code = CTL_FINE;
    const struct ctl_words *words = ctl->words;

    for (int i = 0; i < words->args; i++)
        if (!name_valid(words->arg[i], strlen(words->arg[i])))
            return ctl_usage("%.80s: expected a counter's name: 1 to 64 letters, digits "
                             "and ._-",
                             words->arg[i]);
    for (int i = 0; i < words->args && !ctl_out_broken(); i++) {
        json_t *counter;
        enum ctl_exit one = ctl_request(
            ctl, json_pack("{s:s, s:s}", "do", "get", "name", words->arg[i]), &counter);

        if (one == CTL_UNREACHABLE)
            return one;
        if (one != CTL_FINE) {
            code = one; /* The others may be there. */
            continue;
        }
        if (words->args == 1 && !ctl->json)
            printf("%" JSON_INTEGER_FORMAT "\n", ctl_number(counter, "total"));
        else
            print_counter(ctl, words->arg[i], ctl_number(counter, "total"),
                          is_retired(counter));
        json_decref(counter);
    }
    return code;
}

/* ---- counters ---- */

struct counter {
    char name[NAME_MAX_BYTES + 1];
    int64_t total;
    bool retired;
};

/* Those that match; in the order of their names unless sorted. */
struct found {
    struct counter *list;
    size_t count, size;
};

static bool found_add(struct found *found, const char *name, int64_t total, bool retired)
{
    if (found->count == found->size) {
        size_t size = found->size == 0 ? 256 : 2 * found->size;
        struct counter *list = reallocarray(found->list, size, sizeof *list);

        if (list == NULL) {
            ctl_complain("out of memory");
            return false;
        }
        found->list = list;
        found->size = size;
    }
    snprintf(found->list[found->count].name, sizeof found->list->name, "%s", name);
    found->list[found->count].retired = retired;
    found->list[found->count++].total = total;
    return true;
}

static int by_total(const void *a, const void *b)
{
    const struct counter *x = a, *y = b;

    if (x->total != y->total)
        return x->total < y->total ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* What is asked, and how far it is. */
struct listing {
    const char *pattern; /* NULL: all */
    bool all;            /* those that are retired, too */
    bool collect;        /* the order is not that in which they come */
    uint64_t limit, printed;
    struct found found;
    char after[NAME_MAX_BYTES + 1]; /* the last name looked at, matching or not */
};

static bool take_page(const struct ctl *ctl, struct listing *l, const json_t *counters)
{
    const json_t *counter;
    size_t i;

    json_array_foreach(counters, i, counter)
    {
        const char *name = name_of(counter);

        snprintf(l->after, sizeof l->after, "%s", name);
        if (l->pattern != NULL && fnmatch(l->pattern, name, 0) != 0)
            continue;
        if (l->collect) {
            if (!found_add(&l->found, name, ctl_number(counter, "total"),
                           is_retired(counter)))
                return false;
        } else if (l->printed < l->limit) {
            print_counter(ctl, name, ctl_number(counter, "total"), is_retired(counter));
            l->printed++;
        }
    }
    return true;
}

static bool satisfied(const struct listing *l)
{
    return ctl_out_broken() || (!l->collect && l->printed >= l->limit);
}

/* Matching is done here, and not by the state process, whom callers wait for; all that it is told is
 * with which bytes the names begin. */
static enum ctl_exit take_pages(struct ctl *ctl, struct listing *l)
{
    size_t prefix = l->pattern != NULL ? strcspn(l->pattern, "*?[\\") : 0;
    bool more = prefix == 0 || name_valid(l->pattern, prefix); /* else none is like it */

    while (more && !satisfied(l)) {
        json_t *page;
        enum ctl_exit code =
            ctl_request(ctl,
                        json_pack("{s:s, s:s%, s:s, s:b}", "do", "counters", "prefix",
                                  l->pattern != NULL ? l->pattern : "", prefix, "after",
                                  l->after, "all", l->all),
                        &page);
        bool taken;

        if (code != CTL_FINE)
            return code;
        taken = take_page(ctl, l, json_object_get(page, "counters"));
        more = json_is_true(json_object_get(page, "more"));
        if (more)
            snprintf(l->after, sizeof l->after, "%s",
                     json_string_value(json_object_get(page, "last")));
        json_decref(page);
        if (!taken)
            return CTL_NOT_FINE;
    }
    return CTL_FINE;
}

static void print_found(const struct ctl *ctl, struct listing *l, bool reverse)
{
    const struct found *f = &l->found;

    for (size_t i = 0; i < f->count && l->printed < l->limit && !ctl_out_broken(); i++) {
        const struct counter *c = &f->list[reverse ? f->count - 1 - i : i];

        print_counter(ctl, c->name, c->total, c->retired);
        l->printed++;
    }
}

enum ctl_exit ctl_counters(struct ctl *ctl)
{
    const struct ctl_words *words = ctl->words;
    const char *sort = words->option[CTL_OPT_SORT];
    bool by = sort != NULL && strcmp(sort, "total") == 0;
    bool reverse = words->option[CTL_OPT_REVERSE] != NULL;
    struct listing l = {.pattern = words->args > 0 ? words->arg[0] : NULL,
                        .all = words->option[CTL_OPT_ALL] != NULL,
                        .collect = by || reverse};
    enum ctl_exit code;

    if (!ctl_limit(ctl, &l.limit))
        return CTL_USAGE;
    code = take_pages(ctl, &l);
    if (code == CTL_FINE) {
        if (by && l.found.count > 1)
            qsort(l.found.list, l.found.count, sizeof *l.found.list, by_total);
        print_found(ctl, &l, reverse);
    }
    free(l.found.list);
    if (code != CTL_FINE || l.printed > 0 || l.pattern == NULL)
        return code;
    ctl_complain("no counter's name is like %.100s", l.pattern);
    return CTL_NOT_FINE;
}
