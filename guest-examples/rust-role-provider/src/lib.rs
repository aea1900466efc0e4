//! A permission provider with roles. The gateway's configuration has the roles of users, and the permissions of roles
//! in each service.
//!
//! | module | what it does |
//! |---|---|
//! | [`policy`] | the settings: reads and checks them, and finds a person's roles and their permissions |
//! | [`grammar`] | the syntax of a list of permissions |
//! | here | passes the gateway's question to the policy |

mod grammar;
mod policy;

// `provider` is the gateway's world for a permission provider without imports. This plugin has a world that adds two
// imports. Each needs the grant of the same name.
wit_bindgen::generate!({
    inline: r#"
        package example:roles;
        world plugin {
            include auth-gateway:plugin/provider@1.0.0;
            import auth-gateway:plugin/config@1.0.0;
            import auth-gateway:plugin/users@1.0.0;
        }
    "#,
    path: "../../wit",
    generate_all,
});

use auth_gateway::plugin::types::{Permission, User, Value};
use auth_gateway::plugin::{config, users};
use exports::auth_gateway::plugin::permission_provider::{Guest, ProviderError};

struct Roles;

export!(Roles);

impl Guest for Roles {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        // `failed` means that a retry will not help. The gateway answers 503, signs nothing and logs the sentence, so a
        // mistake in the settings never gives anyone more permissions.
        let policy = policy::Policy::read(config::all()).map_err(ProviderError::Failed)?;
        let user = users::get(&user_id)
            .ok_or_else(|| ProviderError::Failed(format!("there is no user with the id {user_id}")))?;
        let permissions = policy.permissions(&service, &person(user));
        Ok(permissions
            .into_iter()
            .map(|(name, value)| Permission {
                name,
                value: value.into(),
            })
            .collect())
    }
}

/// The facts about a user that the policy needs.
fn person(user: User) -> policy::Person {
    policy::Person {
        id: user.id,
        username: user.username,
        email: user.email.filter(|_| user.email_trusted),
        attributes: user.attributes,
    }
}

impl From<grammar::Value> for Value {
    fn from(value: grammar::Value) -> Self {
        match value {
            grammar::Value::Boolean(value) => Self::Boolean(value),
            grammar::Value::Integer(value) => Self::Integer(value),
            grammar::Value::Number(value) => Self::Number(value),
            grammar::Value::Text(value) => Self::Text(value),
            grammar::Value::Json(value) => Self::Json(value),
        }
    }
}
