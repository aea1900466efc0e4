//! A provider that answers its settings as `imports-config` does, but asks the WASI draft for them.

wit_bindgen::generate!({
    inline: r#"
        package test:wasi-config;
        world guest {
            import wasi:config/store@0.2.0-rc.1;
            include auth-gateway:plugin/provider@1.0.0;
        }
    "#,
    path: ["../../../../wit", "../../../../gateway/plugin/wit/deps/config"],
    generate_all,
});

use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};
use wasi::config::store;

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(service: String, _user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let failed = |error: store::Error| ProviderError::Failed(error.to_string());
        let settings = store::get_all()
            .map_err(failed)?
            .into_iter()
            .map(|(name, value)| (name, Value::Text(value)));
        let one = store::get(&service).map_err(failed)?;
        let one = one.map_or(Value::Json("null".to_owned()), Value::Text);
        Ok(settings
            .chain([(format!("get:{service}"), one)])
            .map(|(name, value)| Permission { name, value })
            .collect())
    }
}
