//! A permission provider with roles: the gateway's configuration says who has which role, and what a
//! role may do in which service.
//!
//! | module | what it does |
//! |---|---|
//! | [`policy`] | the settings: reads and checks them, gives roles to a person and permissions to roles |
//! | [`grammar`] | how a list of permissions is written |
//! | here | the gateway's question, put to the policy |

mod grammar;
mod policy;

// `provider` is the gateway's world for a permission provider that needs nothing. This one needs two
// things, and so includes it in a world of its own with the imports: each needs a grant of its name.
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
        // `failed` says that asking again will not help. The gateway answers 503, signs nothing and logs
        // the sentence: a mistake in the settings never widens what anybody may do.
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

/// What the policy wants to know of a user.
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
