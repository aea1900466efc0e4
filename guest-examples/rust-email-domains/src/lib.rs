//! An extension that admits people by the domain of their email address.
//!
//! | module | what it does |
//! |---|---|
//! | [`domains`] | the rules: reads the settings and checks an address |
//! | here | the hooks, which call the rules |

mod domains;

// The gateway's `extension` world has all three hooks. This plugin does not need sign-outs, so it has its own world.
// Each import needs a grant; `config` needs the grant `config`.
wit_bindgen::generate!({
    inline: r#"
        package example:email-domains;
        world plugin {
            import auth-gateway:plugin/config@1.0.0;
            export auth-gateway:plugin/on-new-user@1.0.0;
            export auth-gateway:plugin/on-user-login@1.0.0;
        }
    "#,
    path: "../../wit",
    generate_all,
});

use auth_gateway::plugin::config;
use auth_gateway::plugin::types::{HookError, SignIn};
use domains::Rules;
use exports::auth_gateway::plugin::{on_new_user, on_user_login};

struct EmailDomains;

export!(EmailDomains);

impl on_new_user::Guest for EmailDomains {
    fn on_new_user(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        judge(&event)
    }
}

// Called at every sign-in, so people whose domain was removed from the list can no longer sign in.
impl on_user_login::Guest for EmailDomains {
    fn on_user_login(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        judge(&event)
    }
}

/// Returns the attribute to set, or why the person may not sign in.
fn judge(event: &SignIn) -> Result<Vec<(String, String)>, HookError> {
    // A mistake in the settings is not the person's fault. The gateway asks them to try again later, and logs the
    // sentence for the operator.
    let rules = Rules::read(config::all()).map_err(HookError::Unavailable)?;
    let domain = rules
        .judge(event.user.email.as_deref(), &event.identity.provider)
        .map_err(HookError::Rejected)?;
    Ok(vec![(rules.attribute, domain)])
}
