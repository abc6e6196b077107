/* tests/unit/test_conf.c: what tally.conf may say, and what is said back where it is wrong. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"

#define STATE "[node]\nstate = /var/lib/tally\n"
#define KEY_1 "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
#define KEY_2 "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"

static struct conf_error error;

static struct conf *parsed(const char *text)
{
    struct conf *conf = NULL;
    enum err err = conf_parse(text, strlen(text), "/etc/tally/tally.conf", &conf, &error);

    cr_assert_eq(err, ERR_OK, "%s", error.text);
    return conf;
}

static void refused_bytes(const char *text, size_t len, enum err expected,
                          const char *message)
{
    struct conf *conf = NULL;
    enum err err = conf_parse(text, len, "tally.conf", &conf, &error);

    cr_expect_eq(err, expected, "%s instead of %s", err_name(err), err_name(expected));
    cr_expect_str_eq(error.text, message);
    if (err == ERR_OK)
        conf_free(conf);
}

static void refused(const char *text, enum err expected, const char *message)
{
    refused_bytes(text, strlen(text), expected, message);
}

static bool allows(const struct conf *conf, const char *text)
{
    struct sockaddr_storage addr = {0};
    struct sockaddr_in *in4 = (struct sockaddr_in *)&addr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr;

    addr.ss_family = AF_INET;
    if (inet_pton(AF_INET, text, &in4->sin_addr) == 1)
        return conf_allows(conf, &addr);
    addr.ss_family = AF_INET6;
    cr_assert_eq(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
    return conf_allows(conf, &addr);
}

struct listing {
    char text[8192];
    size_t len;
};

static void list(void *user, const struct conf_value *value)
{
    struct listing *listing = user;

    listing->len += (size_t)snprintf(
        listing->text + listing->len, sizeof listing->text - listing->len,
        "%u [%s] %s = %s\n", value->line, value->section, value->name, value->value);
}

Test(conf, figures_are_served_nowhere_or_at_one_address)
{
    struct conf *conf = parsed("[node]\nname = n\nstate = s\n");

    cr_expect_eq(conf->metrics.len, 0);
    conf_free(conf);
    conf = parsed("[node]\nname = n\nstate = s\n[metrics]\nlisten = [::1]:9464\n");
    cr_expect_gt(conf->metrics.len, 0);
    cr_expect_str_eq(conf->metrics.text, "[::1]:9464");
    conf_free(conf);
    refused("[node]\nname = n\nstate = s\n[metrics]\nlisten = here\n", ERR_MALFORMED,
            "tally.conf:5: listen = here: expected an address and a port, such as "
            "127.0.0.1:9464 or [::1]:9464");
}

Test(conf, what_is_not_said_has_its_documented_default)
{
    struct conf *conf = parsed(STATE);
    char host[65] = "";

    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = '\0';
    cr_expect_str_eq(conf->node_name, host);
    cr_expect_str_eq(conf->state_dir, "/var/lib/tally");
    cr_expect_str_eq(conf->user, "");
    cr_expect_str_eq(conf->peer_listen, "");
    cr_expect_eq(conf->join_ms, 30000);
    cr_expect_eq(conf->copies, 1);
    cr_expect_eq(conf->copies_wait_ms, 2000);
    cr_expect_eq(conf->peer_count, 0);
    cr_expect_eq(conf->listen_count, 2);
    cr_expect_str_eq(conf->listen[0].text, "127.0.0.1:4573");
    cr_expect_str_eq(conf->listen[1].text, "[::1]:4573");
    cr_expect_eq(conf->allow_count, 2);
    cr_expect_geq(conf->workers, 1);
    cr_expect_leq(conf->workers, CONF_WORKERS_MAX);
    cr_expect_eq(conf->calls, 10000);
    cr_expect_eq(conf->backlog, 4096);
    cr_expect_eq(conf->greeting_ms, 5000);
    cr_expect_eq(conf->command_ms, 600000);
    cr_expect_eq(conf->call_ms, 4 * 3600000);
    cr_expect_eq(conf->answer_ms, 10000);
    cr_expect_eq(conf->drain_ms, 30000);
    cr_expect_eq(conf->greeting_bytes, 65536);
    cr_expect_str_eq(conf->default_script, "hits");
    cr_expect_eq(conf->segment_bytes, 16 << 20);
    cr_expect_eq(conf->checkpoint_bytes, 64 << 20);
    cr_expect_eq(conf->checkpoint_ms, 3600000);
    cr_expect_eq(conf->counters, 1000000);
    cr_expect_str_eq(conf->archive_dir, "");
    cr_expect_eq(conf->level, LOG_LEVEL_INFO);
    cr_expect_eq(conf->script_count, 0);
    conf_free(conf);
}

Test(conf, every_setting_can_be_said)
{
    struct conf *conf = parsed("[node]\n"
                               "name = tally-1.a\n"
                               "state = /srv/state\n"
                               "user = tally\n"
                               "peer-listen = 0.0.0.0:4574\n"
                               "join-wait = 0s\n"
                               "copies = 2\n"
                               "copies-wait = 1900ms\n"
                               "[fastagi]\n"
                               "listen = 192.0.2.7:1\n"
                               "listen = [2001:db8::7]:65535\n"
                               "allow = 10.0.0.0/8\n"
                               "workers = 3\n"
                               "calls = 20\n"
                               "backlog = 5\n"
                               "greeting-time = 500ms\n"
                               "command-time = 1m\n"
                               "call-time = 1h\n"
                               "answer-time = 2s\n"
                               "drain-time = 0s\n"
                               "greeting-size = 16k\n"
                               "default-script = tickets\n"
                               "[log]\n"
                               "segment-size = 1m\n"
                               "checkpoint-size = 2g\n"
                               "checkpoint-time = 5m\n"
                               "counters = 7\n"
                               "archive = /srv/old\n"
                               "level = debug\n"
                               "[peer tally-2]\n"
                               "address = [2001:db8::2]:4574\n"
                               "key = " KEY_2 "\n");

    cr_expect_str_eq(conf->node_name, "tally-1.a");
    cr_expect_str_eq(conf->user, "tally");
    cr_expect_str_eq(conf->peer_listen, "0.0.0.0:4574");
    cr_expect_eq(conf->join_ms, 0);
    cr_expect_eq(conf->copies, 2);
    cr_expect_eq(conf->copies_wait_ms, 1900);
    cr_expect_eq(conf->peer_count, 1);
    cr_expect_str_eq(conf->peers[0].name, "tally-2");
    cr_expect_str_eq(conf->peers[0].address, "[2001:db8::2]:4574");
    cr_expect_eq(conf->peers[0].key[0], 0x81);
    cr_expect_eq(conf->peers[0].key[31], 0x94);
    cr_expect_eq(conf->listen_count, 2);
    cr_expect_eq(conf->listen[0].len, sizeof(struct sockaddr_in));
    cr_expect_eq(((struct sockaddr_in *)&conf->listen[0].addr)->sin_port, htons(1));
    cr_expect_eq(conf->listen[1].len, sizeof(struct sockaddr_in6));
    cr_expect_eq(((struct sockaddr_in6 *)&conf->listen[1].addr)->sin6_port, htons(65535));
    cr_expect_eq(conf->workers, 3);
    cr_expect_eq(conf->calls, 20);
    cr_expect_eq(conf->backlog, 5);
    cr_expect_eq(conf->greeting_ms, 500);
    cr_expect_eq(conf->command_ms, 60000);
    cr_expect_eq(conf->call_ms, 3600000);
    cr_expect_eq(conf->answer_ms, 2000);
    cr_expect_eq(conf->drain_ms, 0);
    cr_expect_eq(conf->greeting_bytes, 16384);
    cr_expect_str_eq(conf->default_script, "tickets");
    cr_expect_eq(conf->segment_bytes, 1 << 20);
    cr_expect_eq(conf->checkpoint_bytes, (size_t)2 << 30);
    cr_expect_eq(conf->checkpoint_ms, 300000);
    cr_expect_eq(conf->counters, 7);
    cr_expect_str_eq(conf->archive_dir, "/srv/old");
    cr_expect_eq(conf->level, LOG_LEVEL_DEBUG);
    conf_free(conf);
}

/* In a namespace of its own, where the test may make one; else with the name that there is. */
static bool host_named(const char *name)
{
    return (unshare(CLONE_NEWUTS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWUTS) == 0) &&
           sethostname(name, strlen(name)) == 0;
}

Test(conf, the_hosts_name_is_cut_at_its_first_dot_and_refused_where_it_cannot_be_a_nodes)
{
    struct conf *conf;

    if (!host_named("tally-1.example.org"))
        return;
    conf = parsed(STATE);
    cr_expect_str_eq(conf->node_name, "tally-1");
    conf_free(conf);
    cr_assert(host_named("a-name-of-more-than-thirty-two-bytes"));
    refused(
        STATE, ERR_RANGE,
        "tally.conf: the host's name, 'a-name-of-more-than-thirty-two-bytes', cannot be "
        "the node's: write name = NAME into [node], 1 to 32 letters, digits and ._-");
}

Test(conf, the_listing_has_what_is_in_force_and_the_line_that_says_so)
{
    struct conf *conf = parsed("[node]\nname = one\nstate = s\n"
                               "[fastagi]\nworkers = 2\nallow = any\nallow = 10.0.0.0/8\n"
                               "[log]\ncheckpoint-time = 7200s\n"
                               "[node]\npeer-listen = b:1\n"
                               "[peer a]\nkey = " KEY_1 "\naddress = a:1\n"
                               "[script hits]\nstep = answer\n");
    struct listing listing = {.len = 0};

    conf_each(conf, list, &listing);
    cr_expect_str_eq(listing.text, "2 [node] name = one\n"
                                   "3 [node] state = /etc/tally/s\n"
                                   "0 [node] user = \n"
                                   "11 [node] peer-listen = b:1\n"
                                   "0 [node] join-wait = 30s\n"
                                   "0 [node] copies = 1\n"
                                   "0 [node] copies-wait = 2s\n"
                                   "0 [fastagi] listen = 127.0.0.1:4573\n"
                                   "0 [fastagi] listen = [::1]:4573\n"
                                   "6 [fastagi] allow = any\n"
                                   "7 [fastagi] allow = 10.0.0.0/8\n"
                                   "5 [fastagi] workers = 2\n"
                                   "0 [fastagi] calls = 10000\n"
                                   "0 [fastagi] backlog = 4096\n"
                                   "0 [fastagi] greeting-time = 5s\n"
                                   "0 [fastagi] command-time = 10m\n"
                                   "0 [fastagi] call-time = 4h\n"
                                   "0 [fastagi] answer-time = 10s\n"
                                   "0 [fastagi] drain-time = 30s\n"
                                   "0 [fastagi] greeting-size = 64k\n"
                                   "0 [fastagi] default-script = hits\n"
                                   "0 [log] segment-size = 16m\n"
                                   "0 [log] checkpoint-size = 64m\n"
                                   "9 [log] checkpoint-time = 2h\n"
                                   "0 [log] counters = 1000000\n"
                                   "0 [log] archive = \n"
                                   "0 [log] level = info\n"
                                   "0 [metrics] listen = \n"
                                   "14 [peer a] address = a:1\n"
                                   "13 [peer a] key = " KEY_1 "\n"
                                   "16 [script hits] step = answer\n");
    conf_free(conf);
}

Test(conf, blanks_comments_and_other_systems_line_ends_change_nothing)
{
    struct conf *conf = parsed("\xef\xbb\xbf[node]\r\n"
                               "\tname=one\r\n"
                               "# a comment\r\n"
                               "\t; another\r\n"
                               "\r\n"
                               "  [node]  ; the node\r\n"
                               "  state =   /a b/c ; where it is kept\r\n"
                               "   [fastagi]\n"
                               "  workers\t=\t4");

    cr_expect_str_eq(conf->node_name, "one");
    cr_expect_str_eq(conf->state_dir, "/a b/c");
    cr_expect_eq(conf->workers, 4);
    conf_free(conf);
}

Test(conf, a_relative_path_begins_at_the_folder_of_the_file)
{
    struct conf *conf = NULL;
    const char *text = "[node]\nstate = state\n[log]\narchive = ../old\n";
    char here[3000], expected[4096];

    conf = parsed(text);
    cr_expect_str_eq(conf->path, "/etc/tally/tally.conf");
    cr_expect_str_eq(conf->state_dir, "/etc/tally/state");
    cr_expect_str_eq(conf->archive_dir, "/etc/tally/../old");
    conf_free(conf);

    cr_assert_not_null(getcwd(here, sizeof here));
    cr_assert_eq(conf_parse(text, strlen(text), "etc/x.conf", &conf, &error), ERR_OK);
    snprintf(expected, sizeof expected, "%s/etc/state", here);
    cr_expect_str_eq(conf->state_dir, expected);
    conf_free(conf);
}

Test(conf, lines_of_scripts_are_kept_as_they_are_and_in_order)
{
    struct conf *conf = parsed(STATE "[script hits]\n"
                                     "step = answer\n"
                                     "step = set-variable A = \"b: c\"\n"
                                     "[script empty]\n"
                                     "[script a.b_C-9]\n"
                                     "on-error = hangup\n");
    const struct conf_script *hits = &conf->scripts[0];

    cr_assert_eq(conf->script_count, 3);
    cr_expect_str_eq(hits->name, "hits");
    cr_expect_eq(hits->line, 3);
    cr_assert_eq(hits->count, 2);
    cr_expect_str_eq(hits->lines[0].name, "step");
    cr_expect_str_eq(hits->lines[0].value, "answer");
    cr_expect_eq(hits->lines[0].line, 4);
    cr_expect_str_eq(hits->lines[1].value, "set-variable A = \"b: c\"");
    cr_expect_eq(conf->scripts[1].count, 0);
    cr_expect_eq(conf->scripts[1].line, 6);
    cr_expect_str_eq(conf->scripts[2].name, "a.b_C-9");
    cr_expect_eq(conf->scripts[2].count, 1);
    conf_free(conf);
}

Test(conf, an_unknown_name_is_refused_with_its_line_and_the_nearest_known_one)
{
    refused(
        STATE "[fastagi]\nworker = 2\n", ERR_MALFORMED,
        "tally.conf:4: [fastagi] has no setting named 'worker': did you mean workers?");
    refused(STATE "[log]\nchekpoint-szie = 2m\n", ERR_MALFORMED,
            "tally.conf:4: [log] has no setting named 'chekpoint-szie': did you mean "
            "checkpoint-size?");
    refused(STATE "[log]\nxyzzy = 1\n", ERR_MALFORMED,
            "tally.conf:4: [log] has no setting named 'xyzzy'");
    refused(STATE "workers = 2\n", ERR_MALFORMED,
            "tally.conf:3: workers belongs into [fastagi], not into [node]");
    refused(STATE "= 2\n", ERR_MALFORMED, "tally.conf:3: [node] has no setting named ''");
    refused("state = /x\n", ERR_MALFORMED,
            "tally.conf:1: state stands before the first [section]");
}

Test(conf, an_unknown_section_is_refused_even_without_lines)
{
    refused(STATE "[fastgai]\n", ERR_MALFORMED,
            "tally.conf:3: there is no section [fastgai]: did you mean [fastagi]?");
    refused(STATE "[]\n", ERR_MALFORMED,
            "tally.conf:3: there is no section []: expected [node], [fastagi], [log], "
            "[metrics], [peer NAME] or [script NAME]");
    refused(
        STATE "[script]\n", ERR_MALFORMED,
        "tally.conf:3: there is no section [script]: expected [node], [fastagi], [log], "
        "[metrics], [peer NAME] or [script NAME]");
    refused(STATE "[log\n", ERR_MALFORMED, "tally.conf:3: a section without its ']'");
    refused(STATE "[log] level = debug\n", ERR_MALFORMED,
            "tally.conf:3: something stands behind the section's ']'");
}

Test(conf, a_script_needs_a_name_of_its_own)
{
    refused(
        STATE "[script a b]\n", ERR_MALFORMED,
        "tally.conf:3: [script a b]: expected a name of 1 to 32 letters, digits and ._-");
    refused(
        STATE "[script ]\n", ERR_MALFORMED,
        "tally.conf:3: [script ]: expected a name of 1 to 32 letters, digits and ._-");
    refused(
        STATE "[script aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n", ERR_MALFORMED,
        "tally.conf:3: [script aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]: expected a name of 1 "
        "to 32 letters, digits and ._-");
    refused(STATE "[script a]\nstep = answer\n[script a]\n", ERR_EXISTS,
            "tally.conf:5: a second [script a]: line 3 has it already");
}

#define CLUSTER "[node]\nstate = /x\npeer-listen = b:1\n"

Test(conf, a_peer_has_a_name_an_address_and_a_key_of_its_own)
{
    refused(CLUSTER "[peer ]\n", ERR_MALFORMED,
            "tally.conf:4: [peer ]: expected a name of 1 to 32 letters, digits and ._-");
    refused(CLUSTER "[peer]\n", ERR_MALFORMED,
            "tally.conf:4: there is no section [peer]: expected [node], [fastagi], "
            "[log], [metrics], [peer NAME] or [script NAME]");
    refused(CLUSTER "[peer a]\n[peer a]\n", ERR_EXISTS,
            "tally.conf:5: a second [peer a]: line 4 has it already");
    refused(CLUSTER "[peer a]\naddress = a:1\n", ERR_MALFORMED,
            "tally.conf:4: [peer a] has no key: tallyd -k tells it on that node");
    refused(CLUSTER "[peer a]\nkey = " KEY_1 "\n", ERR_MALFORMED,
            "tally.conf:4: [peer a] has no address = HOST:PORT");
    refused(CLUSTER "[peer a]\naddress = a:1\naddress = a:2\n", ERR_EXISTS,
            "tally.conf:6: address is set a second time: line 5 has it already");
    refused(CLUSTER "[peer a]\nport = 1\n", ERR_MALFORMED,
            "tally.conf:5: [peer a] has no setting named 'port': expected address and "
            "key");
    refused(CLUSTER "[peer a]\nkey = " KEY_1 "\n[peer b]\nkey = " KEY_1 "\n", ERR_EXISTS,
            "tally.conf:7: key = " KEY_1 ": peer a has it already, on line 5");
    refused(CLUSTER "[peer a]\nkey = 1234\n", ERR_MALFORMED,
            "tally.conf:5: key = 1234: expected the 64 hexadecimal digits that tallyd "
            "-k tells on that node");
    refused(CLUSTER "[peer a]\nkey = "
                    "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5d\n",
            ERR_MALFORMED,
            "tally.conf:5: key = "
            "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5d: this is "
            "nobody's key: a digit is wrong");
}

Test(conf, a_node_that_is_no_more_has_a_key_and_no_address)
{
    static const char text[] =
        CLUSTER "[peer a]\naddress = none\nkey = " KEY_1 "\n[peer b]\naddress = b:1\n"
                "key = " KEY_2 "\n";
    struct conf *conf;

    cr_assert_eq(conf_parse(text, strlen(text), "tally.conf", &conf, &error), ERR_OK);
    cr_expect(conf->peers[0].gone);
    cr_expect_not(conf->peers[1].gone);
    conf_free(conf);
}

#define PEER_A "[peer a]\naddress = a:1\nkey = " KEY_1 "\n"
#define PEER_B "[peer b]\naddress = b:1\nkey = " KEY_2 "\n"

Test(conf, there_can_be_as_many_copies_as_nodes_and_no_more)
{
    struct conf *conf = parsed(CLUSTER "name = one\n[node]\ncopies = 3\n" PEER_A PEER_B);

    cr_expect_eq(conf->copies, 3);
    conf_free(conf);
    refused(
        STATE "copies = 2\n", ERR_RANGE,
        "tally.conf:3: copies = 2: expected at most 1, this node and every [peer NAME] "
        "that is another and has an address");
    refused(
        CLUSTER "name = one\ncopies = 4\n" PEER_A PEER_B, ERR_RANGE,
        "tally.conf:5: copies = 4: expected at most 3, this node and every [peer NAME] "
        "that is another and has an address");
    /* One list may serve all nodes, so that it names this one, too. */
    refused(
        CLUSTER "name = b\ncopies = 3\n" PEER_A PEER_B, ERR_RANGE,
        "tally.conf:5: copies = 3: expected at most 2, this node and every [peer NAME] "
        "that is another and has an address");
    refused(
        CLUSTER "name = one\ncopies = 2\n[peer a]\naddress = none\nkey = " KEY_1 "\n",
        ERR_RANGE,
        "tally.conf:5: copies = 2: expected at most 1, this node and every [peer NAME] "
        "that is another and has an address");
    refused(CLUSTER "copies = 0\n", ERR_RANGE,
            "tally.conf:4: copies = 0: expected a number from 1 to 17");
}

Test(conf, who_waits_for_copies_is_told_before_he_gives_up)
{
    struct conf *conf =
        parsed(CLUSTER "copies = 2\n[fastagi]\nanswer-time = 2001ms\n" PEER_A);

    conf_free(conf);
    refused(
        CLUSTER "copies = 2\ncopies-wait = 10s\n" PEER_A, ERR_RANGE,
        "tally.conf:5: copies-wait = 10s: expected less than answer-time, which is 10s: "
        "callers wait no longer");
    refused(
        CLUSTER "copies = 2\n[fastagi]\nanswer-time = 2s\n" PEER_A, ERR_RANGE,
        "tally.conf:4: copies-wait = 2s: expected less than answer-time, which is 2s: "
        "callers wait no longer");
    /* Without copies nobody waits for them. */
    conf = parsed(STATE "[fastagi]\nanswer-time = 1s\n");
    conf_free(conf);
}

Test(conf, a_node_with_peers_says_where_they_reach_it)
{
    refused(STATE "[peer a]\naddress = a:1\nkey = " KEY_1 "\n", ERR_MALFORMED,
            "tally.conf:3: [peer a]: a node with peers needs peer-listen = HOST:PORT in "
            "[node], where they reach it");
}

static bool is_endpoint(const char *text)
{
    char file[512];
    struct conf *conf;
    bool taken;

    snprintf(file, sizeof file, STATE "peer-listen = %s\n", text);
    taken = conf_parse(file, strlen(file), "tally.conf", &conf, &error) == ERR_OK;
    if (taken)
        conf_free(conf);
    return taken;
}

Test(conf, a_peers_address_is_a_host_by_name_or_number_and_a_port)
{
    static const char *const right[] = {"192.0.2.7:1",       "[::1]:65535", "b:4574",
                                        "n-1.example.net:1", "1and1.de:1",  "10.com:80"};
    static const char *const wrong[] = {
        "b",        ":1",    "b:0",    "b:65536",      "b:x",          "b:1x",  "[b]:1",
        "::1:4574", "[::1]", "[::1:1", "[::1%eth0]:1", "10.0.0.300:1", "a b:1", "-b:1",
        "b..c:1",   "b.:1",  "b/c:1",  "tcp://b:1",    "b_c:1",        "*:1",   "10.1:1"};
    char label[64 + 2 + 1];

    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        cr_expect(is_endpoint(right[i]), "%s", right[i]);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        cr_expect_not(is_endpoint(wrong[i]), "%s", wrong[i]);
    memset(label, 'a', 64);
    strcpy(label + 64, ":1");
    cr_expect_not(is_endpoint(label));
    cr_expect(is_endpoint(label + 1));
}

Test(conf, a_witness_has_no_workers)
{
    struct conf *conf = parsed(STATE "[fastagi]\nworkers = 0\n");

    cr_expect_eq(conf->workers, 0);
    conf_free(conf);
}

Test(conf, what_may_be_said_once_is_refused_the_second_time)
{
    refused(STATE "[log]\nlevel = info\n[node]\nname = a\n[log]\nlevel = info\n",
            ERR_EXISTS,
            "tally.conf:8: level is set a second time: line 4 has it already");
    refused(STATE "[fastagi]\nlisten = 127.0.0.1:1\nlisten = 127.0.0.1:1\n", ERR_EXISTS,
            "tally.conf:5: listen = 127.0.0.1:1: line 4 has it already");
}

Test(conf, a_line_that_is_neither_section_nor_value_is_refused)
{
    refused(STATE "hello\n", ERR_MALFORMED,
            "tally.conf:3: expected [section], name = value, or # and a comment");
    /* The first mistake counts, though inih reads on to the second one. */
    refused("[node]\nhello\nfoo = 1\n", ERR_MALFORMED,
            "tally.conf:2: expected [section], name = value, or # and a comment");
}

Test(conf, a_value_outside_its_bounds_is_refused_with_the_bounds)
{
    refused(
        STATE "[fastagi]\nworkers = 65\n", ERR_RANGE,
        "tally.conf:4: workers = 65: expected auto (one per CPU) or a number from 0 to "
        "64");
    refused(
        STATE "[log]\nsegment-size = 1025m\n", ERR_RANGE,
        "tally.conf:4: segment-size = 1025m: expected a size such as 4096, 64k, 16m or "
        "1g, from 1m to 1g");
    refused(
        STATE "[fastagi]\ngreeting-time = 99ms\n", ERR_RANGE,
        "tally.conf:4: greeting-time = 99ms: expected a duration such as 500ms, 3s, 10m "
        "or 2h, from 100ms to 1h");
    refused(
        STATE "[fastagi]\ncalls = 18446744073709551616\n", ERR_RANGE,
        "tally.conf:4: calls = 18446744073709551616: expected a number from 1 to 100000");
    refused(STATE "name =\n", ERR_RANGE,
            "tally.conf:3: name = : expected 1 to 32 letters, digits and ._-");
}

Test(conf, a_value_of_another_form_is_refused_with_what_was_expected)
{
    refused(STATE "name = a b\n", ERR_MALFORMED,
            "tally.conf:3: name = a b: expected 1 to 32 letters, digits and ._-");
    refused(
        STATE "[fastagi]\nanswer-time = 10\n", ERR_MALFORMED,
        "tally.conf:4: answer-time = 10: expected a duration such as 500ms, 3s, 10m or "
        "2h, from 100ms to 1h");
    refused(STATE "[fastagi]\ncalls = -1\n", ERR_MALFORMED,
            "tally.conf:4: calls = -1: expected a number from 1 to 100000");
    refused(STATE "[log]\nlevel = loud\n", ERR_MALFORMED,
            "tally.conf:4: level = loud: expected error, warn, info or debug");
}

Test(conf, a_node_without_a_place_for_its_counters_is_refused)
{
    refused("", ERR_MALFORMED,
            "tally.conf: expected state = FOLDER in [node]: where the counters are kept");
    refused("[node]\nstate =\n", ERR_RANGE, "tally.conf:2: state = : expected a path");
}

Test(conf, listen_takes_numeric_addresses_with_a_port_only)
{
    static const char *const wrong[] = {
        "localhost:4573", "127.0.0.1",       "::1:4573",           "[::1]",
        "[::1]4573",      "[127.0.0.1]:1",   "127.0.0.1:",         ":4573",
        "127.1:4573",     "127.0.0.1:1x",    "[::1:4573",          "[:4573",
        "127.0.0.1:0",    "127.0.0.1:65536", "[::1%nosuch0]:4573",
    };
    char text[256], message[256];

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        bool range = strcmp(wrong[i], "127.0.0.1:0") == 0 ||
                     strcmp(wrong[i], "127.0.0.1:65536") == 0;

        snprintf(text, sizeof text, STATE "[fastagi]\nlisten = %s\n", wrong[i]);
        snprintf(
            message, sizeof message,
            "tally.conf:4: listen = %s: expected an address and a port from 1 to 65535, "
            "such as 127.0.0.1:4573 or [::1]:4573",
            wrong[i]);
        refused(text, range ? ERR_RANGE : ERR_MALFORMED, message);
    }
}

Test(conf, an_interface_may_follow_a_link_local_address)
{
    struct conf *conf = parsed(STATE "[fastagi]\nlisten = [fe80::1%lo]:4573\n");
    const struct sockaddr_in6 *in = (struct sockaddr_in6 *)&conf->listen[0].addr;

    cr_expect_eq(in->sin6_scope_id, 1);
    conf_free(conf);
}

Test(conf, listen_lines_know_whether_somebody_asked_for_them)
{
    struct conf *conf = parsed(STATE);

    cr_expect_eq(conf->listen[1].line, 0);
    conf_free(conf);
    conf = parsed(STATE "[fastagi]\nlisten = [::1]:4573\n");
    cr_expect_eq(conf->listen_count, 1);
    cr_expect_eq(conf->listen[0].line, 4);
    conf_free(conf);
}

Test(conf, only_loopback_may_connect_by_default)
{
    struct conf *conf = parsed(STATE);

    cr_expect(allows(conf, "127.0.0.1"));
    cr_expect(allows(conf, "127.255.255.255"));
    cr_expect(allows(conf, "::1"));
    cr_expect(allows(conf, "::ffff:127.0.0.1"));
    cr_expect_not(allows(conf, "128.0.0.0"));
    cr_expect_not(allows(conf, "192.0.2.1"));
    cr_expect_not(allows(conf, "::"));
    cr_expect_not(allows(conf, "::2"));
    cr_expect_not(allows(conf, "::ffff:192.0.2.1"));
    cr_expect_not(conf_allows(conf, &(struct sockaddr_storage){.ss_family = AF_UNIX}));
    conf_free(conf);
}

Test(conf, a_network_is_its_prefix_and_nothing_else)
{
    struct conf *conf = parsed(STATE "[fastagi]\nallow = 10.0.0.0/9\nallow = 192.0.2.7\n"
                                     "allow = 2001:db8:8000::/33\n");

    cr_expect(allows(conf, "10.0.0.0"));
    cr_expect(allows(conf, "10.127.255.255"));
    cr_expect_not(allows(conf, "10.128.0.0"));
    cr_expect_not(allows(conf, "11.0.0.0"));
    cr_expect(allows(conf, "192.0.2.7"));
    cr_expect_not(allows(conf, "192.0.2.6"));
    cr_expect(allows(conf, "2001:db8:8000::1"));
    cr_expect_not(allows(conf, "2001:db8:7fff::1"));
    cr_expect_not(allows(conf, "127.0.0.1"), "own lines stand instead of the default");
    conf_free(conf);
}

Test(conf, all_of_one_family_is_none_of_the_other_and_any_is_both)
{
    struct conf *conf = parsed(STATE "[fastagi]\nallow = ::/0\n");

    cr_expect(allows(conf, "2001:db8::1"));
    cr_expect_not(allows(conf, "192.0.2.1"));
    cr_expect_not(allows(conf, "::ffff:192.0.2.1"));
    conf_free(conf);
    conf = parsed(STATE "[fastagi]\nallow = 0.0.0.0/0\n");
    cr_expect(allows(conf, "192.0.2.1"));
    cr_expect(allows(conf, "::ffff:192.0.2.1"));
    cr_expect_not(allows(conf, "2001:db8::1"));
    conf_free(conf);
    conf = parsed(STATE "[fastagi]\nallow = any\n");
    cr_expect(allows(conf, "192.0.2.1"));
    cr_expect(allows(conf, "2001:db8::1"));
    conf_free(conf);
}

Test(conf, a_network_with_bits_beyond_its_prefix_is_refused_as_a_slip)
{
    static const char *const wrong[] = {"10.1.0.0/8", "10.0.0.0/33", "2001:db8::1/32",
                                        "::/129"};
    char text[256], message[256];

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        snprintf(text, sizeof text, STATE "[fastagi]\nallow = %s\n", wrong[i]);
        snprintf(message, sizeof message,
                 "tally.conf:4: allow = %s: expected a network such as 10.0.0.0/8 or "
                 "2001:db8::/32 with no bits beyond its prefix, an address, or any",
                 wrong[i]);
        refused(text, ERR_RANGE, message);
    }
}

Test(conf, a_line_above_the_limit_is_refused_and_one_at_the_limit_is_not)
{
    char text[512], message[128];
    int state = snprintf(text, sizeof text, STATE "#");

    memset(text + state, 'x', CONF_LINE_MAX - 1);
    strcpy(text + state + CONF_LINE_MAX - 1, "\n[fastagi]\nworkers = 2\n");
    conf_free(parsed(text));
    memset(text + state, 'x', CONF_LINE_MAX);
    strcpy(text + state + CONF_LINE_MAX, "\n");
    snprintf(message, sizeof message,
             "tally.conf:3: a line of %d bytes: expected at most %d", CONF_LINE_MAX + 1,
             CONF_LINE_MAX);
    refused(text, ERR_TOO_LONG, message);
}

Test(conf, control_bytes_are_refused_wherever_they_stand)
{
    static const char nul[] = STATE "na\0me = x\n";

    refused_bytes(nul, sizeof nul - 1, ERR_MALFORMED,
                  "tally.conf:3: a control byte, 0x00");
    refused(STATE "# \x1b[31m\n", ERR_MALFORMED, "tally.conf:3: a control byte, 0x1b");
    refused(STATE "name = a\rb\n", ERR_MALFORMED, "tally.conf:3: a control byte, 0x0d");
}

Test(conf, lists_that_grow_without_end_are_refused)
{
    static char text[64 * 1024];
    size_t len;

    len = (size_t)sprintf(text, STATE "[fastagi]\n");
    for (unsigned i = 1; i <= CONF_LISTEN_MAX + 1; i++)
        len += (size_t)sprintf(text + len, "listen = 127.0.0.1:%u\n", i);
    refused(text, ERR_TOO_LONG, "tally.conf:12: more than 8 listen lines");

    len = (size_t)sprintf(text, STATE "[fastagi]\n");
    for (unsigned i = 0; i <= CONF_ALLOW_MAX; i++)
        len += (size_t)sprintf(text + len, "allow = 10.0.0.%u\n", i);
    refused(text, ERR_TOO_LONG, "tally.conf:68: more than 64 allow lines");

    len = (size_t)sprintf(text, STATE "[script a]\n");
    for (unsigned i = 0; i <= CONF_SCRIPT_LINES_MAX; i++)
        len += (size_t)sprintf(text + len, "step = answer\n");
    refused(text, ERR_TOO_LONG, "tally.conf:260: more than 256 lines in one script");

    len = (size_t)sprintf(text, STATE);
    for (unsigned i = 0; i <= CONF_SCRIPTS_MAX; i++)
        len += (size_t)sprintf(text + len, "[script s%u]\n", i);
    refused(text, ERR_TOO_LONG, "tally.conf:259: more than 256 scripts");

    len = (size_t)sprintf(text, STATE);
    for (unsigned i = 0; i <= CONF_PEERS_MAX; i++)
        len += (size_t)sprintf(text + len, "[peer p%u]\n", i);
    refused(text, ERR_TOO_LONG, "tally.conf:19: more than 16 peers");
}

Test(conf, a_path_that_would_hide_the_reason_is_shown_by_its_end)
{
    static char path[4000];

    memset(path, 'd', sizeof path - 1);
    path[0] = '/';
    strcpy(path + sizeof path - 12, "/tally.conf");
    conf_error_set(&error, path, 7, "because");
    cr_expect_str_eq(error.text + strlen(error.text) - 21, "tally.conf:7: because");
    cr_expect_eq(strncmp(error.text, "...d", 4), 0);
}

Test(conf, a_file_is_read_whole_or_refused_with_the_reason)
{
    char path[] = "/tmp/test_conf_XXXXXX", message[128];
    int fd = mkstemp(path);
    struct conf *conf = NULL;
    static char much[CONF_FILE_MAX + 1];

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, STATE, strlen(STATE)), (ssize_t)strlen(STATE));
    cr_expect_eq(conf_read(path, &conf, &error), ERR_OK);
    cr_expect_str_eq(conf->path, path);
    conf_free(conf);

    memset(much, '\n', sizeof much);
    cr_assert_eq(pwrite(fd, much, sizeof much, 0), (ssize_t)sizeof much);
    cr_expect_eq(conf_read(path, &conf, &error), ERR_TOO_LONG);
    cr_expect_eq(ftruncate(fd, CONF_FILE_MAX), 0);
    cr_assert_eq(pwrite(fd, STATE, strlen(STATE), 0), (ssize_t)strlen(STATE));
    cr_expect_eq(conf_read(path, &conf, &error), ERR_OK);
    conf_free(conf);
    close(fd);
    unlink(path);

    cr_expect_eq(conf_read(path, &conf, &error), ERR_IO);
    snprintf(message, sizeof message, "%s: cannot be read: No such file or directory",
             path);
    cr_expect_str_eq(error.text, message);
    cr_expect_eq(conf_read("/tmp", &conf, &error), ERR_IO);
    cr_expect_str_eq(error.text, "/tmp: cannot be read: Is a directory");
}

/* A cluster's file names the keys of nodes that have none yet: without this, none of them could make one. */
Test(conf, who_makes_keys_reads_a_file_that_waits_for_them)
{
    static const char text[] =
        CLUSTER "[peer a]\naddress = a:1\nkey = KEY-OF-a\n[peer b]\naddress = b:1\n";
    char path[] = "/tmp/test_conf_XXXXXX";
    int fd = mkstemp(path);
    struct conf *conf = NULL;

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    cr_expect_eq(conf_read(path, &conf, &error), ERR_MALFORMED);
    cr_assert_eq(conf_read_keyless(path, &conf, &error), ERR_OK);
    cr_expect_eq(conf->peer_count, 2);
    conf_free(conf);

    cr_assert_eq(write(fd, "[peer c]\n", 9), 9);
    cr_expect_eq(conf_read_keyless(path, &conf, &error), ERR_MALFORMED,
                 "and its other mistakes are found");
    close(fd);
    unlink(path);
}

static void list_settings(void *user, const struct conf_value *value)
{
    struct conf_value no_line = *value;

    no_line.line = 0;
    list(user, &no_line);
}

/* The sample, with its examples left out and its defaults in. */
static char *sample(bool uncomment)
{
    FILE *file = fopen(TESTS_DIR "/../deploy/tally.conf", "r"), *to;
    char text[256], *all = NULL;
    size_t len;

    cr_assert_not_null(file);
    to = open_memstream(&all, &len);
    while (fgets(text, sizeof text, file) != NULL && strncmp(text, "#[script", 8) != 0) {
        bool setting = text[0] == '#' && text[1] >= 'a' && text[1] <= 'z' &&
                       strncmp(text, "#name", 5) != 0 &&
                       strncmp(text, "#peer-listen", 12) != 0 &&
                       strncmp(text, "#archive", 8) != 0 &&
                       strncmp(text, "#listen = 127.0.0.1:9464", 24) != 0;

        fputs(setting && uncomment ? text + 1 : text, to);
    }
    fclose(file);
    fclose(to);
    return all;
}

Test(conf, the_shipped_sample_is_taken_and_says_the_true_defaults)
{
    char *as_is = sample(false), *uncommented = sample(true);
    struct conf *a = parsed(as_is), *b = parsed(uncommented);
    struct listing listing_a = {.len = 0}, listing_b = {.len = 0};

    cr_expect_str_neq(as_is, uncommented);
    conf_each(a, list_settings, &listing_a);
    conf_each(b, list_settings, &listing_b);
    cr_expect_str_eq(listing_a.text, listing_b.text);
    for (size_t i = 0; i < a->allow_count; i++)
        cr_expect(a->allow[i].bits == 104 || a->allow[i].bits == 128, "loopback only");
    conf_free(a);
    conf_free(b);
    free(as_is);
    free(uncommented);
}

Test(conf, durations_have_a_unit_and_fit_into_32_bits)
{
    unsigned ms = 0;

    cr_expect_eq(conf_duration("500ms", &ms), ERR_OK);
    cr_expect_eq(ms, 500);
    cr_expect_eq(conf_duration("3s", &ms), ERR_OK);
    cr_expect_eq(ms, 3000);
    cr_expect_eq(conf_duration("1193h", &ms), ERR_OK);
    cr_expect_eq(ms, 4294800000);
    cr_expect_eq(conf_duration("1194h", &ms), ERR_RANGE);
    cr_expect_eq(conf_duration("4294967295ms", &ms), ERR_OK);
    cr_expect_eq(conf_duration("4294967296ms", &ms), ERR_RANGE);
    cr_expect_eq(conf_duration("18446744073709551615h", &ms), ERR_RANGE);
    cr_expect_eq(conf_duration("5", &ms), ERR_MALFORMED);
    cr_expect_eq(conf_duration("s", &ms), ERR_MALFORMED);
    cr_expect_eq(conf_duration("", &ms), ERR_MALFORMED);
    cr_expect_eq(conf_duration("5 s", &ms), ERR_MALFORMED);
    cr_expect_eq(conf_duration("1.5s", &ms), ERR_MALFORMED);
    cr_expect_eq(conf_duration("5S", &ms), ERR_MALFORMED);
}
