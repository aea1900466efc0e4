// Tests of the rules, without WebAssembly and the gateway: `make test`.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/policy.h"
#include "../src/unicode.h"

static arena memory;
static int failures;

#define CHECK(condition) check(condition, #condition, __LINE__)

static void check(bool holds, const char *condition, int line) {
    if (!holds) {
        printf("tests.c:%d: %s\n", line, condition);
        failures++;
    }
}

static text of(const char *characters) {
    return (text){characters, strlen(characters)};
}

static bool is(text found, const char *expected) {
    if (!text_equals(found, of(expected))) {
        printf("`%.*s` in place of `%s`\n", (int)found.length, found.bytes, expected);
        return false;
    }
    return true;
}

// The only entry of a list.
static entry read(const char *list) {
    entries found;
    text mistake;
    if (!read_entries(&memory, of(list), &found, &mistake) || found.count != 1) {
        printf("`%s` is not one entry\n", list);
        exit(1);
    }
    return found.items[0];
}

static bool is_integer(const char *list, int64_t expected) {
    value value = read(list).value;
    return value.kind == INTEGER && value.integer == expected;
}

static bool is_number(const char *list, double expected) {
    value value = read(list).value;
    return value.kind == NUMBER && value.number == expected;
}

static bool is_string(const char *list, const char *expected) {
    value value = read(list).value;
    return value.kind == STRING && is(value.text, expected);
}

static bool is_json(const char *list, const char *expected) {
    value value = read(list).value;
    return value.kind == JSON && is(value.text, expected);
}

static bool says(const char *list, const char *expected) {
    entries found;
    text mistake;
    return !read_entries(&memory, of(list), &found, &mistake) && text_starts_with(mistake, of(expected));
}

static void reads_every_kind_of_value(void) {
    CHECK(read("read").value.kind == BOOLEAN && read("read").value.boolean);
    CHECK(read("draft=false").value.kind == BOOLEAN && !read("draft=false").value.boolean);
    CHECK(is_integer("quota=-10", -10));
    CHECK(is_integer("a=007", 7));
    CHECK(is_integer("a=9223372036854775807", INT64_MAX));
    CHECK(is_integer("a=-9223372036854775808", INT64_MIN));
    CHECK(is_number("a=9223372036854775808", 9223372036854775808.0));
    CHECK(is_number(" share = 0.5 ", 0.5));
    CHECK(is_number("a=1.", 1));
    CHECK(is_number("a=-.5e1", -5));
    CHECK(is_string("plan=gold member", "gold member"));
    CHECK(is_string("a=", ""));
    CHECK(is_string("home=https://example.org", "https://example.org"));
    const char *no_numbers[] = {"-", "1.2.3", "0x10", ".5", "1e", "1e400", "-inf", "infinity", "1 0"};
    for (size_t i = 0; i < sizeof(no_numbers) / sizeof(no_numbers[0]); i++) {
        CHECK(is_string(JOIN(&memory, TEXT("a="), of(no_numbers[i]), TEXT("\0")).bytes, no_numbers[i]));
    }
    CHECK(is_json("groups=[\"a, b\", {\"c\": 1}]", "[\"a, b\", {\"c\": 1}]"));
    CHECK(is_json("note=\"x,\\\"y]\"", "\"x,\\\"y]\""));
    CHECK(is_json("none=null", "null"));
}

static void reads_services(void) {
    CHECK(is(read("wiki:edit").service, "wiki") && is(read("wiki:edit").name, "edit"));
    CHECK(read("*:urn:x:y").in_every_service && is(read("*:urn:x:y").name, "urn:x:y"));
    CHECK(read("read").in_every_service && is(read("read").name, "read"));
    CHECK(!read("wik*:edit").in_every_service);
}

static void says_what_is_wrong(void) {
    CHECK(says("a, =1", "`=1` is not a permission"));
    CHECK(says("wiki:", "`wiki:` is not a permission"));
    CHECK(says(":edit", "`:edit` is not a permission"));
    CHECK(says("a=[1, 2", "a bracket or brace is not closed"));
    CHECK(says("a=\"x", "a quotation mark is not closed"));
    CHECK(says("a=\"x\\", "a quotation mark is not closed"));
    CHECK(says("a=1]", "`]` closes nothing"));
}

static void trims_unicodes_white_space_and_nothing_else(void) {
    texts found = read_names(&memory, of("\xc2\x85 a\xe3\x80\x80,\n, b c\t,\xef\xbb\xbf"
                                         "d,\x1c"));
    CHECK(found.count == 4);
    CHECK(is(found.items[0], "a") && is(found.items[1], "b c"));
    CHECK(is(found.items[2], "\xef\xbb\xbf"
                             "d") &&
          is(found.items[3], "\x1c"));
}

static void knows_small_letters(void) {
    const char *pairs[][2] = {
        {"Neo-2_@Example.ORG", "neo-2_@example.org"},
        {"ÅSA.MÜLLER", "åsa.müller"},
        {"ИВАН", "иван"},
        {"ΟΔΟΣ@ΟΔΟΣ.Α Σ ΑΣ1 ΑΣ", "οδος@οδοσ.α σ ας1 ας"},
        {"İI\u212a", "i\u0307ik"},
        {"\U00010400\u13a0\u1c90\u01c5", "\U00010428\uab70\u10d0\u01c6"},
        {"ßé編🎉", "ßé編🎉"},
        {"", ""},
        // Not UTF-8, and truncated.
        {"A\xff\xe3\x80", "a\xc3\xbf\xc3\xa3\xc2\x80"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        CHECK(is(text_lowercase(&memory, of(pairs[i][0])), pairs[i][1]));
    }
}

#define SETTINGS(...) \
    ((pairs){(pair[]){__VA_ARGS__}, sizeof((pair[]){__VA_ARGS__}) / sizeof(pair)})
#define SETTING(name, value) {TEXT(name), TEXT(value)}

static const pair RED[] = {SETTING("team", "red")};
static const person NEO = {
    .id = TEXT("1"),
    .has_username = true,
    .username = TEXT("Neo"),
    .has_email = true,
    .email = TEXT("Neo@Example.org"),
    .attributes = {RED, 1},
};
static const person NOBODY = {.id = TEXT("9")};

static policy policy_of(pairs settings) {
    policy found;
    text mistake;
    if (!policy_read(&memory, settings, &found, &mistake)) {
        printf("%.*s\n", (int)mistake.length, mistake.bytes);
        exit(1);
    }
    return found;
}

static bool has_roles(const policy *policy, const person *person, const char *expected) {
    texts roles = policy_roles(&memory, policy, person);
    text joined = TEXT("");
    for (size_t i = 0; i < roles.count; i++) {
        joined = JOIN(&memory, joined, TEXT(" "), roles.items[i]);
    }
    return is(joined, expected);
}

static void roles_come_from_all_facts_about_a_person(void) {
    policy policy = policy_of(SETTINGS(
        SETTING("role.a", ""), SETTING("role.b", ""), SETTING("role.c", ""), SETTING("role.d", ""),
        SETTING("role.e", ""), SETTING("default", "e, a"), SETTING("attribute.team=red", "d"),
        SETTING("email.neo@EXAMPLE.org", "c"), SETTING("username.neo", "b"), SETTING("user-id.1", "a")));
    CHECK(has_roles(&policy, &NEO, " a b c d e"));
    CHECK(has_roles(&policy, &NOBODY, " e a"));
}

static void similar_holders_do_not_share_roles(void) {
    policy policy = policy_of(SETTINGS(
        SETTING("role.admin", "all"), SETTING("user-id.1", "admin"), SETTING("username.root", "admin"),
        SETTING("email.root@example.org", "admin"), SETTING("attribute.team=red", "admin"),
        SETTING("attribute.team=red=", "admin")));
    pair no_value[] = {SETTING("team=red", "")}, more[] = {SETTING("team", "red==")};
    person imposters[] = {
        {.id = TEXT("9"), .has_username = true, .username = TEXT("1")},
        {.id = TEXT("9"), .has_email = true, .email = TEXT("root")},
        {.id = TEXT("root")},
        {.id = TEXT("9"), .has_email = true, .email = TEXT("root@example.org.evil.example")},
        {.id = TEXT("9"), .attributes = {no_value, 1}},
        {.id = TEXT("9"), .attributes = {more, 1}},
    };
    for (size_t i = 0; i < sizeof(imposters) / sizeof(imposters[0]); i++) {
        CHECK(has_roles(&policy, &imposters[i], ""));
    }
}

static void the_first_role_decides(void) {
    policy policy = policy_of(SETTINGS(
        SETTING("role.member", "read, wiki:edit=false, quota=1"), SETTING("role.a\"\n", ""),
        SETTING("role.editor", "wiki:edit, quota=5"), SETTING("default", "member"),
        SETTING("username.neo", "editor"), SETTING("list-roles-as", "roles")));
    permissions found = policy_permissions(&memory, &policy, TEXT("wiki"), &NEO);
    CHECK(found.count == 4);
    CHECK(is(found.items[0].name, "edit") && found.items[0].value.boolean);
    CHECK(is(found.items[1].name, "quota") && found.items[1].value.integer == 5);
    CHECK(is(found.items[2].name, "read") && found.items[2].value.boolean);
    CHECK(is(found.items[3].name, "roles") && is(found.items[3].value.text, "[\"editor\",\"member\"]"));
    found = policy_permissions(&memory, &policy, TEXT("shop"), &NOBODY);
    CHECK(found.count == 3);
    CHECK(is(found.items[0].name, "quota") && found.items[0].value.integer == 1);
}

static void nothing_set_means_nothing_allowed(void) {
    policy policy = policy_of((pairs){0});
    CHECK(policy_permissions(&memory, &policy, TEXT("wiki"), &NEO).count == 0);
}

static void roles_names_are_escaped(void) {
    policy policy = policy_of(SETTINGS(SETTING("role.a\"\\", ""), SETTING("role.\x01\x1f", ""),
                                       SETTING("default", "a\"\\, \x01\x1f"), SETTING("list-roles-as", "r")));
    CHECK(is(policy_permissions(&memory, &policy, TEXT(""), &NOBODY).items[0].value.text,
             "[\"a\\\"\\\\\",\"\\u0001\\u001f\"]"));
}

static void says_which_setting_is_wrong(void) {
    struct {
        pair setting;
        const char *mistake;
    } wrong[] = {
        {SETTING("roles.editor", "edit"), "setting `roles.editor`: there is no such setting"},
        {SETTING("fallback", "x"), "setting `fallback`: there is no such setting"},
        {SETTING("default.x", "x"), "setting `default.x`: there is no such setting"},
        {SETTING("role.", "edit"), "setting `role.`: nothing follows the dot"},
        {SETTING("role.editor", "edit=["), "setting `role.editor`: a bracket or brace is not closed"},
        {SETTING("default", "staff"), "setting `default`: there is no role `staff`"},
        {SETTING("username.Neo", "staff"), "setting `username.neo`: there is no role `staff`"},
        {SETTING("attribute.a=b", "staff"), "setting `attribute.a=b`: there is no role `staff`"},
        {SETTING("attribute.team", "x"), "setting `attribute.team`: write `attribute.<name>=<value>`"},
        {SETTING("email.neo", "x"), "setting `email.neo`: this is not an email address"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        policy found;
        text mistake;
        CHECK(!policy_read(&memory, (pairs){&wrong[i].setting, 1}, &found, &mistake) &&
              is(text_until(mistake, strlen(wrong[i].mistake)), wrong[i].mistake));
    }
}

int main(void) {
    void (*tests[])(void) = {
        reads_every_kind_of_value,
        reads_services,
        says_what_is_wrong,
        trims_unicodes_white_space_and_nothing_else,
        knows_small_letters,
        roles_come_from_all_facts_about_a_person,
        similar_holders_do_not_share_roles,
        the_first_role_decides,
        nothing_set_means_nothing_allowed,
        roles_names_are_escaped,
        says_which_setting_is_wrong,
    };
    int count = sizeof(tests) / sizeof(tests[0]), failed = 0;
    for (int i = 0; i < count; i++) {
        failures = 0;
        tests[i]();
        arena_free(&memory);
        failed += failures > 0;
    }
    printf("%d passed, %d failed\n", count - failed, failed);
    return failed > 0;
}
