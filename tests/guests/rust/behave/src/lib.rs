//! A provider that behaves well or badly, depending on the service.
//!
//! | module | services |
//! |---|---|
//! | here | `ok`, `error-unavailable`, `error-failed` |
//! | [`answers`] | answers that the host must reject, and `all-values`, which it must accept |
//! | [`resources`] | uses time, memory, stack or log |
//! | [`plant`] | leaves something behind for the next call |
//! | [`surroundings`] | looks for what a sandbox must not show |

mod answers;
mod plant;
mod resources;
mod surroundings;

wit_bindgen::generate!({ world: "provider", path: "../../../../wit" });

use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

type Answer = Result<Vec<Permission>, ProviderError>;

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(service: String, user_id: String) -> Answer {
        match service.as_str() {
            "ok" => Ok(vec![text("service", &service), text("user", &user_id)]),
            "error-unavailable" => Err(ProviderError::Unavailable("the directory is away".into())),
            "error-failed" => Err(ProviderError::Failed("I know no such service".into())),
            "plant" => plant::plant(&user_id),
            "env" => surroundings::look(),
            other => answers::answer(other)
                .or_else(|| resources::consume(other))
                .unwrap_or_else(|| Err(ProviderError::Failed(format!("no behaviour is called `{other}`")))),
        }
    }
}

fn permission(name: &str, value: Value) -> Permission {
    Permission {
        name: name.to_owned(),
        value,
    }
}

fn text(name: &str, value: &str) -> Permission {
    permission(name, Value::Text(value.to_owned()))
}

fn integer(name: &str, value: i64) -> Permission {
    permission(name, Value::Integer(value))
}
