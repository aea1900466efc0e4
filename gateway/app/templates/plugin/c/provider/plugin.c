// `{{name}}`: a permission provider. It applies the rule to the gateway's question.
//
// Each call has its own instance, so nothing has to be freed here. The bindings free the answer, whose memory comes
// from malloc or plugin_string_dup.

#include <stdlib.h>

#include "../out/plugin.h"
#include "rule.h"

typedef exports_auth_gateway_plugin_permission_provider_permission_t permission;
typedef exports_auth_gateway_plugin_permission_provider_list_permission_t permissions;
typedef exports_auth_gateway_plugin_permission_provider_provider_error_t provider_error;

static text of(plugin_string_t string) {
    return (text){(const char *)string.ptr, string.len};
}

static text setting(const char *name) {
    plugin_string_t key, value;
    plugin_string_set(&key, name);
    return auth_gateway_plugin_config_get(&key, &value) ? of(value) : (text){"", 0};
}

// Returns true and the permissions, or false and an error.
bool exports_auth_gateway_plugin_permission_provider_get_permissions(plugin_string_t *service,
                                                                     plugin_string_t *user_id,
                                                                     permissions *given, provider_error *error) {
    (void)service, (void)error;
    permission *edit = calloc(1, sizeof(permission));
    if (edit == NULL) {
        abort();
    }
    plugin_string_dup(&edit->name, "edit");
    edit->value.tag = AUTH_GATEWAY_PLUGIN_TYPES_VALUE_BOOLEAN;
    edit->value.val.boolean = may_edit(setting("editors"), of(*user_id));
    *given = (permissions){edit, 1};
    return true;
}
