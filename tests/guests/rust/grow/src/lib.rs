//! A plugin that makes everything grow that a plugin can, up to its limits.
//!
//! - `on-user-login` answers 62 attributes of 1,000 bytes whose names no sign-in before it used.
//! - `on-user-logout` always fails, so that its events stay queued.
//! - As a permission provider it does what the service is called: `log` fills the log, `store` fills the
//!   key-value store with keys that no call before it used, `answer` returns the largest answer there may be, which
//!   differs at each call, and `memory` takes all the memory it can get, and answers.

wit_bindgen::generate!({
    inline: r#"
        package test:grow;
        world guest {
            import auth-gateway:plugin/key-value@1.0.0;
            import auth-gateway:plugin/logging@1.0.0;
            export auth-gateway:plugin/on-user-login@1.0.0;
            export auth-gateway:plugin/on-user-logout@1.0.0;
            export auth-gateway:plugin/permission-provider@1.0.0;
        }
    "#,
    path: "../../../../wit",
    generate_all,
});

use auth_gateway::plugin::key_value;
use auth_gateway::plugin::logging::{Level, log};
use auth_gateway::plugin::types::{HookError, Permission, SignIn, SignOut, Value};
use exports::auth_gateway::plugin::permission_provider::ProviderError;
use exports::auth_gateway::plugin::{on_user_login, on_user_logout, permission_provider};

struct Plugin;
export!(Plugin);

impl on_user_login::Guest for Plugin {
    fn on_user_login(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        let name = |n: usize| format!("a{n}-{}", &event.event_id[..16]);
        Ok((0..62).map(|n| (name(n), "v".repeat(1_000))).collect())
    }
}

impl on_user_logout::Guest for Plugin {
    fn on_user_logout(_event: SignOut) -> Result<(), String> {
        Err("never done".to_owned())
    }
}

impl permission_provider::Guest for Plugin {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        match service.as_str() {
            "log" => {
                let line = "\u{1b}flood ".repeat(80);
                (0..1_000).for_each(|_| log(Level::Info, &line));
            }
            "store" => {
                // The first refused write means that the store is full. The next call tries again.
                let call = key_value::increment("calls", 1).unwrap_or_default();
                for n in 0..50 {
                    let _ = key_value::set(&format!("{call}-{n}-{user_id}"), b"x", None);
                }
            }
            "answer" => {
                let call = key_value::increment("calls", 1).unwrap_or_default();
                return Ok((0..900)
                    .map(|n| text(&format!("{call}-{n}"), &"v".repeat(40)))
                    .collect());
            }
            "memory" => {
                let mut pages = 0;
                while core::arch::wasm32::memory_grow(0, 1) != usize::MAX {
                    pages += 1;
                }
                return Ok(vec![text("pages", &format!("{pages}"))]);
            }
            _ => {}
        }
        Ok(vec![text("did", &service)])
    }
}

fn text(name: &str, value: &str) -> Permission {
    Permission {
        name: name.to_owned(),
        value: Value::Text(value.to_owned()),
    }
}
