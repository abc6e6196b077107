/* tests/unit/test_control.c: what the state process answers to tallyctl. */
#include <criterion/criterion.h>
#include <jansson.h>

#include "replica/control.h"
#include "tests/unit/node_folder.h"

static struct node_folder folder;
static struct control_about about = {
    .node_name = "one", .key_known = true, .started_ms = 1700000000000};

static void begin(void)
{
    node_folder_open(&folder);
    about.key = folder.config.core.key.public;
}

static void end(void)
{
    node_folder_stop(&folder);
    node_folder_remove(&folder);
}

TestSuite(control, .init = begin, .fini = end);

/* The caller frees it. */
static char *answer(const char *request)
{
    char *reply = control_answer(folder.node, &about, request, strlen(request));

    cr_assert_not_null(reply);
    cr_assert_leq(strlen(reply), CONTROL_REPLY_MAX);
    return reply;
}

static void expect(const char *request, const char *expected)
{
    char *reply = answer(request);

    cr_expect_str_eq(reply, expected, "%s is answered %s", request, reply);
    free(reply);
}

static json_t *status(void)
{
    char *text = answer("{\"do\": \"status\"}");
    json_t *json = json_loads(text, 0, NULL);

    cr_assert_not_null(json);
    free(text);
    return json;
}

Test(control, status_says_who_the_node_is_and_how_far_it_is)
{
    const char *node, *key, *fingerprint, *cluster, *stream, *hash;
    json_int_t number, counters, blocks, counts, end, started;
    json_t *json;
    int running, full;

    node_folder_count(&folder, "hits", 1, "");
    node_folder_count(&folder, "hits", 1, "");
    node_folder_count(&folder, "votes", 1, "");
    json = status();
    cr_assert_eq(
        json_unpack(json,
                    "{s:b, s:s, s:s, s:s, s:s, s:{s:s, s:I, s:s}, s:I, s:I, s:I, "
                    "s:{s:I}, s:b, s:I}",
                    "running", &running, "node", &node, "key", &key, "fingerprint",
                    &fingerprint, "cluster", &cluster, "position", "stream", &stream,
                    "number", &number, "hash", &hash, "counters", &counters, "blocks",
                    &blocks, "counts", &counts, "log", "end", &end, "full", &full,
                    "started_ms", &started),
        0);
    cr_expect(running);
    cr_expect_not(full);
    cr_expect_str_eq(node, "one");
    cr_expect_eq(strlen(key), 64);
    cr_expect_eq(strlen(fingerprint), 39);
    cr_expect_eq(strlen(cluster), 32);
    cr_expect_eq(strlen(stream), 32);
    cr_expect_eq(strlen(hash), 64);
    cr_expect_eq(number, 3);
    cr_expect_eq(counters, 2);
    cr_expect_eq(blocks, 3);
    cr_expect_eq(counts, 3);
    cr_expect_gt(end, 64);
    cr_expect_eq(started, 1700000000000);
    json_decref(json);
}

Test(control, status_of_a_node_that_has_counted_nothing_has_no_position)
{
    json_t *json = status();

    cr_expect(json_is_null(json_object_get(json, "cluster")));
    cr_expect(json_is_null(json_object_get(json, "position")));
    cr_expect(json_is_null(json_object_get(json, "checkpoint")));
    cr_expect_eq(json_integer_value(json_object_get(json, "counters")), 0);
    json_decref(json);
}

Test(control, a_key_and_its_fingerprint_are_always_the_same_pair)
{
    char key[CONTROL_KEY_SIZE], fingerprint[CONTROL_FINGERPRINT_SIZE];
    struct public_key zero = {{0}};

    control_key_format(&zero, key, fingerprint);
    cr_expect_str_eq(key,
                     "0000000000000000000000000000000000000000000000000000000000000000");
    /* BLAKE2b, 32 bytes, of 32 zero bytes; the first 16 bytes of it. */
    cr_expect_str_eq(fingerprint, "89eb-0d6a-8a69-1dae-2cd1-5ed0-3699-31ce");
}

Test(control, get_gives_the_total)
{
    node_folder_count(&folder, "hits", 5, "");
    node_folder_count(&folder, "hits", -7, "");
    expect("{\"do\": \"get\", \"name\": \"hits\"}", "{\"name\":\"hits\",\"total\":-2}");
}

Test(control, get_of_a_counter_that_does_not_exist_says_so_and_names_the_nearest)
{
    expect("{\"do\": \"get\", \"name\": \"tickets\"}",
           "{\"error\":\"nothing was ever counted under the name tickets\"}");
    node_folder_count(&folder, "tickets", 1, "");
    expect("{\"do\": \"get\", \"name\": \"ticket\"}",
           "{\"error\":\"nothing was ever counted under the name ticket: did you mean "
           "tickets?\"}");
    expect("{\"do\": \"get\", \"name\": \"ticketss\"}",
           "{\"error\":\"nothing was ever counted under the name ticketss: did you mean "
           "tickets?\"}");
    expect("{\"do\": \"get\", \"name\": \"a b\"}",
           "{\"error\":\"expected a counter's name: 1 to 64 letters, digits and ._-\"}");
    expect("{\"do\": \"get\"}",
           "{\"error\":\"expected a counter's name: 1 to 64 letters, digits and ._-\"}");
}

Test(control, counters_come_in_order_and_in_pages)
{
    static const char *const names[] = {"b",    "vote-2", "a",     "vote-10",
                                        "vote", "B",      "vote-1"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        node_folder_count(&folder, names[i], (int32_t)i + 1, "");
    expect("{\"do\": \"counters\"}",
           "{\"counters\":[{\"name\":\"B\",\"total\":6},{\"name\":\"a\",\"total\":3},"
           "{\"name\":\"b\",\"total\":1},{\"name\":\"vote\",\"total\":5},"
           "{\"name\":\"vote-1\",\"total\":7},{\"name\":\"vote-10\",\"total\":4},"
           "{\"name\":\"vote-2\",\"total\":2}],\"more\":false}");
    expect("{\"do\": \"counters\", \"limit\": 2}",
           "{\"counters\":[{\"name\":\"B\",\"total\":6},{\"name\":\"a\",\"total\":3}],"
           "\"more\":true,\"last\":\"a\"}");
    expect("{\"do\": \"counters\", \"limit\": 1, \"after\": \"a\"}",
           "{\"counters\":[{\"name\":\"b\",\"total\":1}],\"more\":true,\"last\":\"b\"}");
    expect("{\"do\": \"counters\", \"after\": \"vote-100\"}",
           "{\"counters\":[{\"name\":\"vote-2\",\"total\":2}],\"more\":false}");
    expect("{\"do\": \"counters\", \"after\": \"vote-2\"}",
           "{\"counters\":[],\"more\":false}");
    expect("{\"do\": \"counters\", \"prefix\": \"vote-1\"}",
           "{\"counters\":[{\"name\":\"vote-1\",\"total\":7},{\"name\":\"vote-10\","
           "\"total\":4}],\"more\":false}");
    expect(
        "{\"do\": \"counters\", \"prefix\": \"vote-\", \"after\": \"vote-1\", \"limit\": 1}",
        "{\"counters\":[{\"name\":\"vote-10\",\"total\":4}],\"more\":true,\"last\":\"vote-10\"}");
    expect("{\"do\": \"counters\", \"prefix\": \"w\"}",
           "{\"counters\":[],\"more\":false}");
    expect("{\"do\": \"counters\", \"limit\": 0}",
           "{\"error\":\"expected a limit from 1 to 1000\"}");
    expect("{\"do\": \"counters\", \"limit\": 1001}",
           "{\"error\":\"expected a limit from 1 to 1000\"}");
    expect("{\"do\": \"counters\", \"limit\": \"many\"}",
           "{\"error\":\"expected a limit from 1 to 1000\"}");
    expect("{\"do\": \"counters\", \"after\": 7}",
           "{\"error\":\"expected texts of at most 64 bytes as prefix and after\"}");
}

Test(control, counters_are_told_by_their_names_and_unknown_ones_left_out)
{
    json_t *names = json_array(), *request, *json;
    char *text, *reply, name[65];

    node_folder_count(&folder, "b", 1, "");
    node_folder_count(&folder, "a", -2, "");
    expect("{\"do\": \"counters\", \"names\": [\"b\", \"c\", 7, \"\", \"a\"]}",
           "{\"counters\":[{\"name\":\"b\",\"total\":1},{\"name\":\"a\",\"total\":-2}],"
           "\"more\":false}");
    expect("{\"do\": \"counters\", \"names\": \"b\"}",
           "{\"error\":\"expected at most 500 names\"}");
    for (int i = 0; i < CONTROL_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "%064d", i);
        json_array_append_new(names, json_string(name));
    }
    request = json_pack("{s:s, s:O}", "do", "counters", "names", names);
    text = json_dumps(request, JSON_COMPACT);
    cr_expect_leq(strlen(text), CONTROL_REQUEST_MAX);
    expect(text, "{\"counters\":[],\"more\":false}");
    free(text);
    json_array_append_new(names, json_string("b"));
    text = json_dumps(request, JSON_COMPACT);
    reply = answer(text);
    json = json_loads(reply, 0, NULL);
    cr_expect(json_object_get(json, "error") != NULL);
    json_decref(json);
    free(reply);
    free(text);
    json_decref(names);
    json_decref(request);
}

static void read_calls(const void *arg, struct control_calls *calls)
{
    (void)arg;
    *calls = (struct control_calls){.taken = 7, .counts = 5};
    times_add(&calls->answers, 100);
    times_add(&calls->answers, 101);
    times_add(&calls->answers, UINT64_C(1) << 40);
}

Test(control, status_tells_how_long_answers_and_commits_took)
{
    static struct times commits;
    json_t *json, *calls, *answers;
    json_int_t first, second, last;

    times_add(&commits, 300);
    about.calls = (struct control_calls_source){read_calls, NULL};
    about.commits = &commits;
    json = status();
    calls = json_object_get(json, "calls");
    answers = json_object_get(json_object_get(calls, "answers"), "number");
    cr_expect_eq(json_integer_value(json_object_get(calls, "counts")), 5);
    cr_expect_eq(json_array_size(answers), TIMES_BUCKETS);
    first = json_integer_value(json_array_get(answers, 0));
    second = json_integer_value(json_array_get(answers, 1));
    last = json_integer_value(json_array_get(answers, TIMES_BUCKETS - 1));
    cr_expect_eq(first, 1);
    cr_expect_eq(second, 1);
    cr_expect_eq(last, 1);
    cr_expect_eq(json_integer_value(
                     json_object_get(json_object_get(json, "commit_times"), "sum_us")),
                 300);
    json_decref(json);
}

Test(control, a_count_that_is_not_durable_yet_is_not_seen)
{
    struct msg_count_req req = {.amount = 1, .name_len = 4, .name = "hits"};

    cr_assert_eq(node_count(folder.node, &req, 1, (struct node_time){1, 1}), ERR_OK);
    expect("{\"do\": \"counters\"}", "{\"counters\":[],\"more\":false}");
    expect("{\"do\": \"get\", \"name\": \"hits\"}",
           "{\"error\":\"nothing was ever counted under the name hits\"}");
    cr_assert_eq(node_commit(folder.node, (struct node_time){1, 1}), ERR_OK);
    expect("{\"do\": \"get\", \"name\": \"hits\"}", "{\"name\":\"hits\",\"total\":1}");
}

Test(control, the_largest_page_fits_into_a_reply)
{
    char name[65], *reply;

    for (int i = 0; i < CONTROL_PAGE_MAX + 1; i++) {
        struct msg_count_req req = {.amount = INT32_MIN, .name_len = 64};

        snprintf(name, sizeof name, "%064d", i);
        memcpy(req.name, name, 64);
        randombytes_buf(&req.id, sizeof req.id);
        cr_assert_eq(node_count(folder.node, &req, 1, (struct node_time){1, 1}), ERR_OK);
    }
    cr_assert_eq(node_commit(folder.node, (struct node_time){1, 1}), ERR_OK);
    reply = answer("{\"do\": \"counters\"}");
    cr_expect_not_null(strstr(reply, ",\"more\":true,\"last\":\""));
    free(reply);
}

static enum err run_retire(void *arg, struct core_retirement *wanted, enum status *status)
{
    (void)arg;
    randombytes_buf(&wanted->id, sizeof wanted->id);
    return node_retire(folder.node, wanted, (struct node_time){1, 1}, status);
}

Test(control,
     one_that_is_retired_is_listed_only_where_all_are_asked_for_and_until_it_is_counted)
{
    node_folder_count(&folder, "hits", 1, "");
    node_folder_count(&folder, "old", 1, "");
    expect("{\"do\": \"retire\", \"name\": \"old\"}",
           "{\"error\":\"the node is not running: its files are left as they are\"}");
    about.retire.run = run_retire;
    expect("{\"do\": \"retire\", \"name\": \"old\", \"reason\": \"why\"}",
           "{\"name\":\"old\",\"total\":1,\"retired\":true,\"changed\":true}");
    expect("{\"do\": \"retire\", \"name\": \"old\"}",
           "{\"name\":\"old\",\"total\":1,\"retired\":true,\"changed\":false}");
    expect(
        "{\"do\": \"retire\", \"name\": \"olt\"}",
        "{\"error\":\"nothing was ever counted under the name olt: did you mean old?\"}");
    expect("{\"do\": \"counters\"}",
           "{\"counters\":[{\"name\":\"hits\",\"total\":1}],\"more\":false}");
    expect(
        "{\"do\": \"counters\", \"all\": true, \"after\": \"hits\"}",
        "{\"counters\":[{\"name\":\"old\",\"total\":1,\"retired\":true}],\"more\":false}");
    expect("{\"do\": \"retire\", \"name\": \"old\", \"undo\": true}",
           "{\"name\":\"old\",\"total\":1,\"retired\":false,\"changed\":true}");
    expect("{\"do\": \"retire\", \"name\": \"old\"}",
           "{\"name\":\"old\",\"total\":1,\"retired\":true,\"changed\":true}");
    node_folder_count(&folder, "old", 1, "");
    expect("{\"do\": \"get\", \"name\": \"old\"}", "{\"name\":\"old\",\"total\":2}");
    about.retire.run = NULL;
}

Test(control, a_checkpoint_is_made_when_asked_for_if_anything_changed)
{
    json_t *json;

    node_folder_count(&folder, "hits", 1, "");
    expect("{\"do\": \"checkpoint\"}", "{\"last\":0}");
    node_folder_settle(&folder);
    json = status();
    cr_expect_eq(json_integer_value(
                     json_object_get(json_object_get(json, "checkpoint"), "number")),
                 1);
    json_decref(json);
    expect("{\"do\": \"checkpoint\"}", "{\"last\":1}");
    node_folder_settle(&folder);
    expect("{\"do\": \"checkpoint\"}", "{\"last\":1}");
}

Test(control, a_request_that_makes_no_sense_is_answered_with_a_sentence)
{
    static const char *const wrong[] = {
        "",
        "{",
        "[]",
        "null",
        "7",
        "{\"do\": 7}",
        "{\"do\": \"status\", \"do\": \"get\"}",
        "\xff",
        "{}",
        "{\"do\"}",
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *reply = answer(wrong[i]);

        cr_expect_eq(strncmp(reply, "{\"error\":\"", 10), 0, "%s: %s", wrong[i], reply);
        free(reply);
    }
    expect("{\"do\": \"dance\"}",
           "{\"error\":\"the node does not know this request: tallyctl "
           "is of another version\"}");
    expect("{\"do\": \"get\", \"nmae\": \"hits\"}",
           "{\"error\":\"get does not take \\\"nmae\\\"\"}");
}
