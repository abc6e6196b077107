/* replica/ctl_retire.c: tallyctl retire. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/name.h"
#include "replica/ctl.h"

static void tell(const struct ctl *ctl, const json_t *reply, const char *name)
{
    bool retired = json_is_true(json_object_get(reply, "retired"));
    bool changed = json_is_true(json_object_get(reply, "changed"));

    if (ctl->json) {
        ctl_print_json(reply);
        return;
    }
    printf("%s %s%s at %" JSON_INTEGER_FORMAT "%s\n", name,
           changed   ? "is now "
           : retired ? "was already "
                     : "is ",
           retired ? "retired" : "shown", ctl_number(reply, "total"),
           retired ? ": counted again, it shows again" : "");
}

static enum ctl_exit retire(struct ctl *ctl, const char *name)
{
    const char *reason = ctl->words->option[CTL_OPT_REASON];
    json_t *reply;
    enum ctl_exit code =
        ctl_request(ctl,
                    json_pack("{s:s, s:s, s:b, s:s}", "do", "retire", "name", name,
                              "undo", ctl->words->option[CTL_OPT_UNDO] != NULL, "reason",
                              reason != NULL ? reason : ""),
                    &reply);

    if (code != CTL_FINE)
        return code;
    tell(ctl, reply, name);
    json_decref(reply);
    return CTL_FINE;
}

static enum ctl_exit check_words(const struct ctl_words *words)
{
    const char *reason = words->option[CTL_OPT_REASON];

    for (int i = 0; i < words->args; i++)
        if (!name_valid(words->arg[i], strlen(words->arg[i])))
            return ctl_usage("%.80s: expected a counter's name: 1 to 64 letters, digits "
                             "and ._-",
                             words->arg[i]);
    if (reason != NULL && !tag_valid(reason, strlen(reason)))
        return ctl_usage("--reason: expected at most %d bytes without control characters",
                         TAG_MAX_BYTES);
    return CTL_FINE;
}

enum ctl_exit ctl_retire(struct ctl *ctl)
{
    enum ctl_exit code = check_words(ctl->words);

    if (code != CTL_FINE)
        return code;
    if (!ctl->node.running) {
        ctl_complain("the node does not run: only a running node writes its log");
        return CTL_UNREACHABLE;
    }
    for (int i = 0; i < ctl->words->args && !ctl_out_broken(); i++) {
        enum ctl_exit one = retire(ctl, ctl->words->arg[i]);

        if (one == CTL_UNREACHABLE)
            return one;
        if (one != CTL_FINE)
            code = one; /* The others may be there. */
    }
    return code;
}
