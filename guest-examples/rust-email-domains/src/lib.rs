//! An extension that lets people in by the domain of their email address.
//!
//! | module | what it does |
//! |---|---|
//! | [`domains`] | the rules, without the gateway: reads the settings, judges an address |
//! | here | the hooks: what the gateway asks, put to the rules |

mod domains;

// The gateway's `extension` world has all three hooks; this plugin has no use for sign-outs, so it
// writes a world of its own. Each import needs a grant: that of `config` is called `config`.
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

// Asked at every sign-in: somebody whose domain was taken off the list comes in no more.
impl on_user_login::Guest for EmailDomains {
    fn on_user_login(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        judge(&event)
    }
}

/// Gives the attribute to set, or why the person is not let in.
fn judge(event: &SignIn) -> Result<Vec<(String, String)>, HookError> {
    // The person cannot help a mistake in the settings: they are told to try later, and the operator
    // finds the sentence in the gateway's log.
    let rules = Rules::read(config::all()).map_err(HookError::Unavailable)?;
    let domain = rules
        .judge(event.user.email.as_deref(), &event.identity.provider)
        .map_err(HookError::Rejected)?;
    Ok(vec![(rules.attribute, domain)])
}
