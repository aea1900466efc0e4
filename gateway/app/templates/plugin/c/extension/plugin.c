// `{{name}}`: an extension. A sign-in, put to the rule.
//
// Each call has an instance of its own, so nothing has to be freed here. What is given back is freed by the
// bindings: its memory comes from malloc, or from plugin_string_dup.

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

// Gives true and attributes to set on the user, or false and why they are not let in.
static bool judge(const sign_in *event, attributes *given, hook_error *why_not) {
    text domain = setting("domain");
    if (domain.length == 0) {
        // No verdict: the person is told to try later, and the gateway's log has the sentence.
        why_not->tag = AUTH_GATEWAY_PLUGIN_TYPES_HOOK_ERROR_UNAVAILABLE;
        plugin_string_dup(&why_not->val.unavailable, "the setting `domain` is missing");
        return false;
    }
    // An address counts only where the operator trusts whoever has verified it.
    bool has_email = event->user.email_trusted && event->user.email.is_some;
    if (!lets_in(domain, has_email ? of(event->user.email.val) : (text){"", 0})) {
        // What the person reads in place of being let in.
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
