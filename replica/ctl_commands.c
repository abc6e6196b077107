/* replica/ctl_commands.c: the table of tallyctl's commands, and what help says of them. */
#include <stdio.h>
#include <string.h>

#include "common/nearest.h"
#include "replica/ctl.h"

enum { MANY = 1000 }; /* words behind a command that takes as many as there are */

const struct ctl_command ctl_commands[] = {
    {.name = "status",
     .line = "what the node is, how far, and what is wrong",
     .text = "Of a node that does not run it says what its files hold, and ends with 3.\n"
             "\n"
             "Example: is all well?\n"
             "  tallyctl status\n",
     .run = ctl_status},
    {.name = "peers",
     .line = "the other nodes of the cluster, and how far they are",
     .text = "Only a running node knows.\n"
             "\n"
             "Example: who is behind?\n"
             "  tallyctl peers\n",
     .run = ctl_peers},
    {.name = "get",
     .args = "NAME...",
     .least = 1,
     .most = MANY,
     .line = "totals of counters",
     .text = "Of one name the total alone, of several one line each.\n"
             "\n"
             "Example:\n"
             "  tallyctl get tickets\n",
     .run = ctl_get},
    {.name = "counters",
     .args = "[PATTERN]",
     .most = 1,
     .line = "counters and totals, all or those like a pattern",
     .text =
         "PATTERN is as in a shell: * ? [a-z]. Quote it. Those that are retired are left\n"
         "out but for --all.\n"
         "\n"
         "Example: the ten that were voted for most\n"
         "  tallyctl counters 'vote-*' --sort total --reverse --limit 10\n",
     .option = {CTL_OPT_SORT, CTL_OPT_REVERSE, CTL_OPT_LIMIT, CTL_OPT_ALL},
     .run = ctl_counters},
    {.name = "add",
     .args = "NAME N",
     .least = 2,
     .most = 2,
     .line = "correct a counter: add N, which may be negative",
     .text =
         "A correction is a count: it is signed, stands in the log with its reason, and\n"
         "reaches all nodes. N is at most 2^31. With the --id that was printed, the same\n"
         "correction counts once, however often it is asked for. Only a running node\n"
         "counts.\n"
         "\n"
         "Example: three calls of a test are to be taken back\n"
         "  tallyctl add tickets -3 --reason 'test calls of Monday'\n",
     .option = {CTL_OPT_REASON, CTL_OPT_ID},
     .run = ctl_add},
    {.name = "retire",
     .args = "NAME...",
     .least = 1,
     .most = MANY,
     .line = "hide counters until they are counted again",
     .text =
         "Such as the dated ones of last month. The total stays, get tells it, and the\n"
         "log keeps it; whoever counts it again is answered as ever, and it shows again.\n"
         "It is signed, logged and reaches all nodes. Only a running node can.\n"
         "\n"
         "Example:\n"
         "  tallyctl retire tickets-20261101 tickets-20261102\n",
     .option = {CTL_OPT_UNDO, CTL_OPT_REASON},
     .run = ctl_retire},
    {.name = "log",
     .line = "every count: when, where, and which number was said",
     .text =
         "The numbers are FINAL or PROV., which is PROVISIONAL: other nodes may have said\n"
         "the same. TIME is 2026-11-23T15:04:05Z, '2026-11-23 15:04', 15:04, or 10m for\n"
         "ten minutes ago. --limit gives the last N. --follow ends with the POSITION to\n"
         "go on from; with --json each block's last count has it, too.\n"
         "\n"
         "Example: the last 20 votes, and those to come\n"
         "  tallyctl log --counter 'vote-*' --limit 20 --follow\n",
     .option = {CTL_OPT_COUNTER, CTL_OPT_NODE, CTL_OPT_TAG, CTL_OPT_SINCE, CTL_OPT_UNTIL,
                CTL_OPT_LIMIT, CTL_OPT_FOLLOW, CTL_OPT_FROM},
     .run = ctl_log},
    {.name = "watch",
     .args = "[PATTERN]...",
     .most = MANY,
     .line = "counters, or --events of the node, as they change",
     .text =
         "A line for each counter that changed, five a second at most: what was added, and\n"
         "the total. PATTERN is as in a shell; quote it. Restarts of the node are waited\n"
         "for. Ctrl-C ends it with the POSITION to go on from; with --json each line has\n"
         "it. --events tells of peers, disk, checkpoints and alarms instead.\n"
         "\n"
         "Example: what the voters do\n"
         "  tallyctl watch 'vote-*'\n",
     .option = {CTL_OPT_FROM, CTL_OPT_LIMIT, CTL_OPT_EVENTS},
     .run = ctl_watch},
    {.name = "top",
     .line = "calls, counts, peers and counters, on a live screen",
     .text =
         "Every second: the verdict of status; calls and counts a second, how long answers\n"
         "take, how far each peer is behind, and which counters are counted, as graphs.\n"
         "Keys: q quits, s sorts, / filters, p holds the picture, ? explains all.\n"
         "\n"
         "Example: what goes on?\n"
         "  tallyctl top\n",
     .run = ctl_top},
    {.name = "verify",
     .line = "check every checksum, hash and signature of the log",
     .text =
         "All that the log and its checkpoints hold is looked at, also while the node\n"
         "runs; the first thing that does not fit is named with file and offset. On a\n"
         "terminal it says how far it is.\n"
         "\n"
         "Example:\n"
         "  tallyctl verify && echo untouched\n",
     .run = ctl_verify},
    {.name = "fsck",
     .line = "what is damaged, what is safe, and what to do",
     .text =
         "For a node that does not start. It changes nothing: it reads all that verify\n"
         "does, tries what a start would do, and says what the next one will.\n"
         "\n"
         "Example:\n"
         "  tallyctl fsck\n",
     .run = ctl_fsck},
    {.name = "export",
     .line = "the audit trail as CSV or JSON lines",
     .text =
         "Every count that the log holds, in the order in which it came to be known\n"
         "here: stream, node, block, time, counter, amount, number, numbers (FINAL or\n"
         "PROVISIONAL), id, tag. TIME is as for log.\n"
         "\n"
         "Example: yesterday's votes for a spreadsheet\n"
         "  tallyctl export --utc --since 2026-11-22 --until 2026-11-23 >votes.csv\n",
     .option = {CTL_OPT_FORMAT, CTL_OPT_COUNTER, CTL_OPT_NODE, CTL_OPT_TAG, CTL_OPT_SINCE,
                CTL_OPT_UNTIL},
     .run = ctl_export},
    {.name = "checkpoint",
     .line = "make a checkpoint now",
     .text = "Ends once it is on disk.\n"
             "\n"
             "Example: so that the next start has little to read\n"
             "  tallyctl checkpoint\n",
     .run = ctl_checkpoint},
    {.name = "backup",
     .args = "FOLDER",
     .least = 1,
     .most = 1,
     .line = "a verified copy of the log, while it is written",
     .text =
         "FOLDER must not be there yet. All that was answered before it began is in it,\n"
         "and every hash and signature is checked; status, log, verify and the like read\n"
         "it with -d. Without --with-key the node's private key is not in it: whoever\n"
         "has that can sign as this node, so keep it where fewer people come.\n"
         "\n"
         "Example: every night\n"
         "  tallyctl backup /backup/tally-$(date +%F)\n",
     .option = {CTL_OPT_WITH_KEY},
     .run = ctl_backup},
    {.name = "restore",
     .args = "BACKUP",
     .least = 1,
     .most = 1,
     .line = "make the state directory from a backup",
     .text =
         "The node's state directory, of -d or the configuration, must be empty or\n"
         "missing. All of the backup is verified first. --key is the node's own; with\n"
         "--new-key it becomes another node. Numbers that were said after the backup are\n"
         "said again unless --skip N corrects each counter, or those like --counter,\n"
         "upwards by N; the log holds that. A backup of a node with peers needs none:\n"
         "what the others hold comes back.\n"
         "\n"
         "Example: a lone node, at most 500 calls after the backup\n"
         "  tallyctl restore /backup/tally-2026-11-23 --key node.key --skip 500\n",
     .option = {CTL_OPT_KEY, CTL_OPT_NEW_KEY, CTL_OPT_SKIP, CTL_OPT_COUNTER},
     .subject = CTL_ON_NOTHING,
     .run = ctl_restore},
    {.name = "key",
     .line = "the node's public key, for the others' tally.conf",
     .text = "Example: to compare by telephone\n"
             "  tallyctl key --fingerprint\n",
     .option = {CTL_OPT_FINGERPRINT},
     .run = ctl_key},
    {.name = "config",
     .args = "check|show [FILE]",
     .least = 1,
     .most = 2,
     .line = "check a tally.conf, or show what is in force by it",
     .text =
         "check reads the file as tallyd would, scripts included, and names the first\n"
         "mistake with its line. show tells every value and the line it stands on, or\n"
         "that it is the default. A node that runs has what it last read: see SIGHUP.\n"
         "\n"
         "Example: before the node reads it\n"
         "  tallyctl config check /etc/tally/tally.conf\n",
     .subject = CTL_ON_NOTHING,
     .run = ctl_config},
    {.name = "doctor",
     .line = "the machine a node stands on, and what to change",
     .text = "Disk sync speed (in a file of its own that leaves no trace), room, the\n"
             "directory's and the key's rights, the clock; with the configuration also\n"
             "descriptors, ports, and sounds where Asterisk is here.\n"
             "\n"
             "Example: before the first call\n"
             "  tallyctl doctor\n",
     .run = ctl_doctor},
    {.name = "help",
     .args = "[COMMAND]",
     .most = 1,
     .line = "this, or all about a command",
     .text = "Example:\n"
             "  tallyctl help counters\n",
     .subject = CTL_ON_NOTHING,
     .run = ctl_help_run},
};
const size_t ctl_command_count = sizeof ctl_commands / sizeof ctl_commands[0];

const struct ctl_command *ctl_command_find(const char *name)
{
    struct nearest near = nearest_to(name);

    for (size_t i = 0; i < ctl_command_count; i++) {
        if (strcmp(ctl_commands[i].name, name) == 0)
            return &ctl_commands[i];
        nearest_try(&near, ctl_commands[i].name);
    }
    if (near.best != NULL)
        ctl_complain("%s is no command: did you mean %s?", name, near.best);
    else
        ctl_usage("%.64s is no command", name);
    return NULL;
}

/* ---- help ---- */

static void print_option(enum ctl_option option)
{
    const struct ctl_option_row *row = &ctl_option_rows[option];
    char left[32], letter[8] = "    ";

    if (row->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", row->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, row->name,
             row->value != NULL ? " " : "", row->value != NULL ? row->value : "");
    printf("  %-24s %s\n", left, row->help);
}

static void print_options(bool general)
{
    for (int i = 0; i < CTL_OPTIONS; i++)
        if (ctl_option_is_general((enum ctl_option)i) == general)
            print_option((enum ctl_option)i);
}

void ctl_help(void)
{
    puts("usage: tallyctl [OPTION]... COMMAND [ARGUMENT]...\n"
         "Ask a node, or read its files where it does not run; they are never written.\n"
         "\nCommands:");
    for (size_t i = 0; i < ctl_command_count; i++) {
        const struct ctl_command *c = &ctl_commands[i];
        char left[32];

        snprintf(left, sizeof left, "%s %s", c->name, c->args != NULL ? c->args : "");
        printf("  %-24s %s\n", left, c->line);
    }
    puts("\nOptions of every command:");
    print_options(true);
    printf("\nWithout -c and -d the node is that of %s.\n"
           "tallyctl COMMAND --help tells more, with an example.\n"
           "Exit codes: 0 fine, 1 not fine, 2 usage, 3 the node does not run or answer\n",
           ctl_default_conf);
}

void ctl_help_command(const struct ctl_command *command)
{
    const char *line = command->line;

    printf("usage: tallyctl [OPTION]... %s%s%s\n", command->name,
           command->args != NULL ? " " : "", command->args != NULL ? command->args : "");
    printf("%c%s.\n\n", line[0] >= 'a' && line[0] <= 'z' ? line[0] - 'a' + 'A' : line[0],
           line + 1);
    if (command->option[0] != 0) {
        for (const enum ctl_option *o = command->option; *o != 0; o++)
            print_option(*o);
        puts("and those of every command, which tallyctl --help tells.\n");
    }
    fputs(command->text, stdout);
}
