// `{{name}}`: an extension. It applies the rule to a sign-in.
//
// Each call has its own instance, so nothing has to be freed here. The bindings free the answer, whose memory comes
// from malloc or plugin_string_dup.

#include <stdlib.h>

#include "../out/plugin.h"
#include "rule.h"

typedef auth_gateway_plugin_types_sign_in_t sign_in;
typedef plugin_list_tuple2_string_string_t attributes;
typedef auth_gateway_plugin_types_hook_error_t hook_error;

static text of(plugin_string_t string) {
    return (text){(const char *)string.ptr, string.len};
}

static text setting(const char *name) {
    plugin_string_t key, value;
    plugin_string_set(&key, name);
    return auth_gateway_plugin_config_get(&key, &value) ? of(value) : (text){"", 0};
}

// Returns true and attributes to set on the user, or false and the reason for the rejection.
static bool judge(const sign_in *event, attributes *given, hook_error *why_not) {
    text domain = setting("domain");
    if (domain.length == 0) {
        // Fails without a verdict: the page asks the user to try later, and the sentence goes into the gateway's log.
        why_not->tag = AUTH_GATEWAY_PLUGIN_TYPES_HOOK_ERROR_UNAVAILABLE;
        plugin_string_dup(&why_not->val.unavailable, "the setting `domain` is missing");
        return false;
    }
    // An address counts only if the operator trusts the party that verified it.
    bool has_email = event->user.email_trusted && event->user.email.is_some;
    if (!lets_in(domain, has_email ? of(event->user.email.val) : (text){"", 0})) {
        // Rejects the sign-in: the user reads the sentence.
        why_not->tag = AUTH_GATEWAY_PLUGIN_TYPES_HOOK_ERROR_REJECTED;
        plugin_string_dup(&why_not->val.rejected, "People with your email address cannot sign in here.");
        return false;
    }
    plugin_tuple2_string_string_t *attribute = calloc(1, sizeof(*attribute));
    if (attribute == NULL) {
        abort();
    }
    plugin_string_dup(&attribute->f0, "email-domain");
    plugin_string_dup_n(&attribute->f1, domain.bytes, domain.length);
    *given = (attributes){attribute, 1};
    return true;
}

bool exports_auth_gateway_plugin_on_new_user_on_new_user(sign_in *event, attributes *given, hook_error *why_not) {
    return judge(event, given, why_not);
}

bool exports_auth_gateway_plugin_on_user_login_on_user_login(sign_in *event, attributes *given, hook_error *why_not) {
    return judge(event, given, why_not);
}
