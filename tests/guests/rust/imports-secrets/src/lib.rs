//! A provider that returns `secret`: the secret with the service's name (JSON `null` for `none`).

wit_bindgen::generate!({
    inline: r#"
        package test:imports-secrets;
        world guest {
            import auth-gateway:plugin/secrets@1.0.0;
            include auth-gateway:plugin/provider@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::secrets;
use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(service: String, _user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let value = secrets::get(&service).map_or(Value::Json("null".to_owned()), Value::Text);
        Ok(vec![Permission {
            name: "secret".to_owned(),
            value,
        }])
    }
}
