//! A plugin half in one version of the interface and half in the other: it imports everything of 0.1 and
//! the logging of 1.0, and exports `on-user-logout` in 0.1 and the provider in 1.0.
//!
//! The provider answers `name`, what `users` says of the user, and `setting`, the setting named like the
//! service, each by 0.1 (JSON `null` for nothing), and logs `old` by 0.1 and `new` by 1.0. The hook logs
//! the event's id.

wit_bindgen::generate!({
    inline: r#"
        package test:versions;
        world guest {
            import auth-gateway:plugin/users@0.1.0;
            import auth-gateway:plugin/config@0.1.0;
            import auth-gateway:plugin/logging@0.1.0;
            import auth-gateway:plugin/logging@1.0.0;
            export auth-gateway:plugin/on-user-logout@0.1.0;
            export auth-gateway:plugin/permission-provider@1.0.0;
        }
    "#,
    path: ["../../../../wit", "../../../../wit/0.1.0"],
    generate_all,
});

use auth_gateway::plugin0_1_0::{config, logging, types::SignOut, users};
use auth_gateway::plugin1_0_0::logging as new_logging;
use auth_gateway::plugin1_0_0::types::{Permission, Value};
use exports::auth_gateway::plugin0_1_0::on_user_logout;
use exports::auth_gateway::plugin1_0_0::permission_provider::{self, ProviderError};

struct Plugin;
export!(Plugin);

impl permission_provider::Guest for Plugin {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        logging::log(logging::Level::Warn, "old");
        new_logging::log(new_logging::Level::Error, "new");
        let text = |value: Option<String>| value.map_or(Value::Json("null".to_owned()), Value::Text);
        let name = text(users::get(&user_id).map(|user| user.name));
        let setting = text(config::get(&service));
        Ok([("name", name), ("setting", setting)]
            .map(|(name, value)| Permission {
                name: name.to_owned(),
                value,
            })
            .to_vec())
    }
}

impl on_user_logout::Guest for Plugin {
    fn on_user_logout(event: SignOut) {
        logging::log(logging::Level::Info, &format!("old event={}", event.event_id));
    }
}
