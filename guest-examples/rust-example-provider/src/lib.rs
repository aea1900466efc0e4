//! The smallest useful permission provider: its permission `provider-token` contains the service and the user's id.

wit_bindgen::generate!({ world: "provider", path: "../../wit" });

use auth_gateway::plugin::types::{Permission, Value};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Example;

export!(Example);

impl Guest for Example {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        Ok(vec![Permission {
            name: "provider-token".to_owned(),
            value: Value::Text(format!("{service}-{user_id}")),
        }])
    }
}
