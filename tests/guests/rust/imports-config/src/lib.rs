//! A provider that returns all settings from `all`, one permission each, and in `get:<service>` the result of `get` for
//! the service's name (JSON `null` for `none`).

wit_bindgen::generate!({
    inline: r#"
        package test:imports-config;
        world guest {
            import auth-gateway:plugin/config@1.0.0;
            include auth-gateway:plugin/provider@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::config;
use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(service: String, _user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let settings = config::all()
            .into_iter()
            .map(|(name, value)| (name, Value::Text(value)));
        let one = config::get(&service).map_or(Value::Json("null".to_owned()), Value::Text);
        let one = (format!("get:{service}"), one);
        Ok(settings
            .chain([one])
            .map(|(name, value)| Permission { name, value })
            .collect())
    }
}
