//! `{{name}}`: a permission provider.

// The plugin's exports and imports. Each import needs a grant from the operator.
wit_bindgen::generate!({
    inline: r#"
        package local:plugin;
        world plugin {
            include auth-gateway:plugin/provider@1.0.0;
            import auth-gateway:plugin/config@1.0.0;
        }
    "#,
    path: "wit/deps/auth-gateway",
    generate_all,
});

use auth_gateway::plugin::config;
use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Plugin;

export!(Plugin);

impl Guest for Plugin {
    fn get_permissions(_service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let editors = config::get("editors").unwrap_or_default();
        Ok(vec![Permission {
            name: "edit".to_owned(),
            value: Value::Boolean(may_edit(&editors, &user_id)),
        }])
    }
}

/// Whether a user may edit: `editors` lists user ids, separated by commas; `*` is everybody.
fn may_edit(editors: &str, user_id: &str) -> bool {
    editors
        .split(',')
        .map(str::trim)
        .any(|editor| editor == "*" || editor == user_id)
}

#[cfg(test)]
mod tests {
    use super::may_edit;

    #[test]
    fn only_editors_may_edit() {
        assert!(may_edit("*", "17"));
        assert!(may_edit("4, 17", "17"));
        assert!(!may_edit("4, 17", "1"));
        assert!(!may_edit("", "17"));
    }
}
