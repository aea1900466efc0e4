// A permission provider with roles. The gateway's configuration has the roles of users, and the permissions of roles in
// each service.
//
// | file | what it does |
// |---|---|
// | policy.c | the settings: reads and checks them, and finds a person's roles and their permissions |
// | grammar.c | the syntax of a list of permissions |
// | text.c, unicode.c | texts, memory, lower case |
// | here | passes the gateway's question to the policy |

#include <stdlib.h>

#include "plugin.h"
#include "policy.h"

typedef exports_auth_gateway_plugin_permission_provider_list_permission_t answer;
typedef exports_auth_gateway_plugin_permission_provider_provider_error_t error;

static text from_string(plugin_string_t string) {
    return (text){(const char *)string.ptr, string.len};
}

// Makes a copy for the gateway. The bindings free a result string by string after the gateway has read it, so no string
// may be part of another text or of an arena.
static plugin_string_t to_string(text content) {
    plugin_string_t string = {0};
    if (content.length > 0) {
        plugin_string_dup_n(&string, content.bytes, content.length);
    }
    return string;
}

static pairs from_tuples(arena *memory, plugin_list_tuple2_string_string_t tuples) {
    pair *items = arena_take(memory, tuples.len, sizeof(pair));
    for (size_t i = 0; i < tuples.len; i++) {
        items[i] = (pair){from_string(tuples.ptr[i].f0), from_string(tuples.ptr[i].f1)};
    }
    return (pairs){items, tuples.len};
}

// The facts about a user that the policy needs.
static person from_user(arena *memory, const auth_gateway_plugin_users_user_t *user) {
    person person = {
        .id = from_string(user->id),
        .has_username = user->username.is_some,
        .has_email = user->email.is_some && user->email_trusted,
        .attributes = from_tuples(memory, user->attributes),
    };
    if (person.has_username) {
        person.username = from_string(user->username.val);
    }
    if (person.has_email) {
        person.email = from_string(user->email.val);
    }
    return person;
}

static auth_gateway_plugin_types_value_t to_value(value value) {
    auth_gateway_plugin_types_value_t given = {0};
    switch (value.kind) {
        case BOOLEAN:
            given.tag = AUTH_GATEWAY_PLUGIN_TYPES_VALUE_BOOLEAN;
            given.val.boolean = value.boolean;
            break;
        case INTEGER:
            given.tag = AUTH_GATEWAY_PLUGIN_TYPES_VALUE_INTEGER;
            given.val.integer = value.integer;
            break;
        case NUMBER:
            given.tag = AUTH_GATEWAY_PLUGIN_TYPES_VALUE_NUMBER;
            given.val.number = value.number;
            break;
        case STRING:
            given.tag = AUTH_GATEWAY_PLUGIN_TYPES_VALUE_TEXT;
            given.val.text = to_string(value.text);
            break;
        case JSON:
            given.tag = AUTH_GATEWAY_PLUGIN_TYPES_VALUE_JSON;
            given.val.json = to_string(value.text);
            break;
    }
    return given;
}

static answer to_answer(permissions found) {
    answer answer = {0};
    if (found.count > 0) {
        answer.ptr = calloc(found.count, sizeof(*answer.ptr));
        if (answer.ptr == NULL) {
            abort();
        }
    }
    for (size_t i = 0; i < found.count; i++) {
        answer.ptr[i].name = to_string(found.items[i].name);
        answer.ptr[i].value = to_value(found.items[i].value);
    }
    answer.len = found.count;
    return answer;
}

// `failed` means that a retry will not help. The gateway answers 503, signs nothing and logs the sentence, so a mistake
// in the settings never gives anyone more permissions.
static error failed(text sentence) {
    error error = {.tag = EXPORTS_AUTH_GATEWAY_PLUGIN_PERMISSION_PROVIDER_PROVIDER_ERROR_FAILED};
    error.val.failed = to_string(sentence);
    return error;
}

static bool answer_question(arena *memory, pairs settings, plugin_string_t service, plugin_string_t user_id,
                            answer *given, error *why_not) {
    policy policy;
    text mistake;
    if (!policy_read(memory, settings, &policy, &mistake)) {
        *why_not = failed(mistake);
        return false;
    }
    auth_gateway_plugin_users_user_t user;
    if (!auth_gateway_plugin_users_get(&user_id, &user)) {
        *why_not = failed(JOIN(memory, TEXT("there is no user with the id "), from_string(user_id)));
        return false;
    }
    person person = from_user(memory, &user);
    *given = to_answer(policy_permissions(memory, &policy, from_string(service), &person));
    auth_gateway_plugin_users_user_free(&user);
    return true;
}

// The component's export. It must free its parameters and the results of imports, but not its own result.
bool exports_auth_gateway_plugin_permission_provider_get_permissions(plugin_string_t *service,
                                                                     plugin_string_t *user_id, answer *given,
                                                                     error *why_not) {
    arena memory = {0};
    plugin_list_tuple2_string_string_t settings;
    auth_gateway_plugin_config_all(&settings);
    bool is_answered =
        answer_question(&memory, from_tuples(&memory, settings), *service, *user_id, given, why_not);
    arena_free(&memory);
    plugin_list_tuple2_string_string_free(&settings);
    plugin_string_free(service);
    plugin_string_free(user_id);
    return is_answered;
}
