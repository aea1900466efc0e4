//! An extension with one of the three hooks. It returns its arguments as attributes: `login-at`, `login-provider`,
//! `login-subject`, `login-claims` and, joined by commas, `login-attributes`, the names of the attributes that the user
//! had.

wit_bindgen::generate!({
    inline: r#"
        package test:login-only;
        world guest {
            export auth-gateway:plugin/on-user-login@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::types::{HookError, SignIn};
use exports::auth_gateway::plugin::on_user_login::Guest;

struct Extension;
export!(Extension);

impl Guest for Extension {
    fn on_user_login(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        let names: Vec<_> = event
            .user
            .attributes
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        Ok([
            ("login-at", event.at.to_string()),
            ("login-provider", event.identity.provider),
            ("login-subject", event.identity.subject),
            ("login-attributes", names.join(",")),
            ("login-claims", event.claims),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into())
    }
}
