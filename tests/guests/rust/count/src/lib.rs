//! An extension with all three hooks that records the events it has seen: in the log, and in an attribute for each hook
//! that may set one.

wit_bindgen::generate!({
    inline: r#"
        package test:count;
        world guest {
            import auth-gateway:plugin/logging@1.0.0;
            include auth-gateway:plugin/extension@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::logging::{Level, log};
use auth_gateway::plugin::types::{HookError, SignIn, SignOut};
use exports::auth_gateway::plugin::{on_new_user, on_user_login, on_user_logout};

struct Extension;
export!(Extension);

type Attributes = Vec<(String, String)>;

impl on_new_user::Guest for Extension {
    fn on_new_user(event: SignIn) -> Result<Attributes, HookError> {
        Ok(seen("on-new-user", &event.event_id))
    }
}

impl on_user_login::Guest for Extension {
    fn on_user_login(event: SignIn) -> Result<Attributes, HookError> {
        Ok(seen("on-user-login", &event.event_id))
    }
}

impl on_user_logout::Guest for Extension {
    fn on_user_logout(event: SignOut) -> Result<(), String> {
        seen("on-user-logout", &event.event_id);
        Ok(())
    }
}

/// Logs `hook=<hook> event=<id>` and returns the attribute `seen-<hook>` with the event's id.
fn seen(hook: &str, event: &str) -> Attributes {
    log(Level::Info, &format!("hook={hook} event={event}"));
    vec![(format!("seen-{hook}"), event.to_owned())]
}
