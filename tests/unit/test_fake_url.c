#include <criterion/criterion.h>
#include <string.h>

#include "server/fake_env.h"
#include "server/fake_url.h"

Test(url, host_port_and_path_are_found)
{
    struct fake_url url;
    const char *reason;

    cr_assert_eq(fake_url_parse("agi://127.0.0.1:99/hits/radio?x=1", &url, &reason),
                 ERR_OK);
    cr_assert_str_eq(url.host, "127.0.0.1");
    cr_assert_eq(url.port, 99);
    cr_assert_str_eq(url.path, "hits/radio?x=1");
    cr_assert_eq(fake_url_parse("hagi://[::1]:1", &url, &reason), ERR_OK);
    cr_assert_str_eq(url.host, "::1");
    cr_assert_eq(url.port, 1);
    cr_assert_str_eq(url.path, "");
    cr_assert_eq(fake_url_parse("agi://pbx.example//two", &url, &reason), ERR_OK);
    cr_assert_eq(url.port, FAKE_URL_PORT);
    cr_assert_str_eq(url.path, "/two", "only the first slash goes");
    cr_assert_eq(fake_url_parse("agi://h/a:b/c", &url, &reason), ERR_OK);
    cr_assert_str_eq(url.path, "a:b/c");
}

Test(url, what_is_no_url_is_refused_with_what_was_expected)
{
    static const struct {
        const char *text;
        enum err err;
    } cases[] = {
        {"http://x/", ERR_MALFORMED},       {"agi://", ERR_MALFORMED},
        {"agi:///hits", ERR_MALFORMED},     {"agi://:4573/", ERR_MALFORMED},
        {"agi://h:/", ERR_MALFORMED},       {"agi://h:x/", ERR_MALFORMED},
        {"agi://h:0/", ERR_RANGE},          {"agi://h:65536/", ERR_RANGE},
        {"agi://[::1/", ERR_MALFORMED},     {"agi://[::1]x/", ERR_MALFORMED},
        {"agi://h/a\nb", ERR_MALFORMED},    {"", ERR_MALFORMED},
        {"agi://h:99999999999", ERR_RANGE},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fake_url url;
        const char *reason = NULL;

        cr_assert_eq(fake_url_parse(cases[i].text, &url, &reason), cases[i].err, "%s",
                     cases[i].text);
        cr_assert_not_null(reason);
    }
}

Test(environment, lines_come_in_asterisks_order_and_overrides_take_their_place)
{
    const char *const args[] = {"one", ""};
    struct fake_env env = {.request = "agi://h/hits",
                           .script = "hits",
                           .caller_id = "77",
                           .lines = {"dnid=5", "further=x=y"},
                           .line_count = 2,
                           .args = args,
                           .arg_count = 2};
    size_t len;
    char *text;

    cr_assert_eq(fake_env_format(&env, &text, &len), ERR_OK);
    cr_assert_eq(len, strlen(text));
    cr_assert_str_eq(
        text, "agi_network: yes\nagi_network_script: hits\nagi_request: agi://h/hits\n"
              "agi_channel: PJSIP/agicall-00000000\nagi_language: en\nagi_type: PJSIP\n"
              "agi_uniqueid: 0.0\nagi_version: 22.10.1\nagi_callerid: 77\n"
              "agi_calleridname: unknown\nagi_callingpres: 0\nagi_callingani2: 0\n"
              "agi_callington: 0\nagi_callingtns: 0\nagi_dnid: 5\nagi_rdnis: unknown\n"
              "agi_context: default\nagi_extension: s\nagi_priority: 1\n"
              "agi_enhanced: 0.0\nagi_accountcode: \nagi_threadid: 140085793662656\n"
              "agi_further: x=y\nagi_arg_1: one\nagi_arg_2: \n\n");
    free(text);
}

Test(environment, no_path_means_no_line_for_it)
{
    struct fake_env env = {.request = "agi://h", .script = ""};
    size_t len;
    char *text;

    cr_assert_eq(fake_env_format(&env, &text, &len), ERR_OK);
    cr_assert_null(strstr(text, "agi_network_script"));
    free(text);
}
