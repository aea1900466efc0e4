//! A provider that returns its version several times, so that an answer mixed from two versions would show. It is
//! compiled twice, as `v1` and `v2`.

wit_bindgen::generate!({ world: "provider", path: "../../../../wit" });

use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

const VERSION: &str = env!("CARGO_PKG_VERSION_MAJOR");

struct Provider;
export!(Provider);

impl Guest for Provider {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let number = || Value::Integer(VERSION.parse().expect("cargo's versions are numbers"));
        Ok(vec![
            Permission {
                name: "version".into(),
                value: number(),
            },
            Permission {
                name: "digest-hint".into(),
                value: Value::Text(format!("v{VERSION}")),
            },
            Permission {
                name: "service".into(),
                value: Value::Text(service),
            },
            Permission {
                name: "user".into(),
                value: Value::Text(user_id),
            },
            Permission {
                name: "also".into(),
                value: number(),
            },
        ])
    }
}
