//! A provider that returns what the grant `users` says about the user: `known` and, for a known user, `id`, `name`,
//! `username`, `email`, `avatar-url`, `joined`, `identities` and `attributes`.
//!
//! The service `other:<id>` looks up that user instead, and `many` looks up a thousand times.

wit_bindgen::generate!({
    inline: r#"
        package test:imports-users;
        world guest {
            import auth-gateway:plugin/users@1.0.0;
            include auth-gateway:plugin/provider@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::types::{Permission, Value};
use auth_gateway::plugin::users;
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let id = service.strip_prefix("other:").unwrap_or(&user_id);
        if service == "many" {
            for _ in 0..1000 {
                users::get(id);
            }
        }
        let permission = |name: &str, value| Permission {
            name: name.to_owned(),
            value,
        };
        let Some(user) = users::get(id) else {
            return Ok(vec![permission("known", Value::Boolean(false))]);
        };
        let text = |value: Option<String>| value.map_or(Value::Json("null".to_owned()), Value::Text);
        let identities: Vec<_> = user
            .identities
            .iter()
            .map(|i| format!("{}|{}|{}", i.provider, i.issuer, i.subject))
            .collect();
        let attributes: Vec<_> = user
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Ok(vec![
            permission("known", Value::Boolean(true)),
            permission("id", Value::Text(user.id)),
            permission("name", Value::Text(user.name)),
            permission("username", text(user.username)),
            permission("email", text(user.email)),
            permission("avatar-url", text(user.avatar_url)),
            permission("joined", Value::Integer(user.joined.cast_signed())),
            permission("identities", Value::Text(identities.join("\n"))),
            permission("attributes", Value::Text(attributes.join("\n"))),
        ])
    }
}
