//! `{{name}}`: an extension.

// The plugin's exports and imports. Each import needs a grant from the operator.
wit_bindgen::generate!({
    inline: r#"
        package local:plugin;
        world plugin {
            export auth-gateway:plugin/on-new-user@1.0.0;
            export auth-gateway:plugin/on-user-login@1.0.0;
            import auth-gateway:plugin/config@1.0.0;
        }
    "#,
    path: "wit/deps/auth-gateway",
    generate_all,
});

use auth_gateway::plugin::config;
use auth_gateway::plugin::types::{HookError, SignIn};
use exports::auth_gateway::plugin::{on_new_user, on_user_login};

struct Plugin;

export!(Plugin);

impl on_new_user::Guest for Plugin {
    fn on_new_user(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        judge(event)
    }
}

impl on_user_login::Guest for Plugin {
    fn on_user_login(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        judge(event)
    }
}

/// Returns attributes to set on the user, or the reason for the rejection.
fn judge(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
    let domain = config::get("domain").unwrap_or_default();
    if domain.is_empty() {
        // Fails without a verdict: the page asks the user to try later, and the sentence goes into the gateway's log.
        return Err(HookError::Unavailable("the setting `domain` is missing".to_owned()));
    }
    // An address counts only if the operator trusts the party that verified it.
    let email = event.user.email.filter(|_| event.user.email_trusted);
    if lets_in(&domain, &email.unwrap_or_default()) {
        Ok(vec![("email-domain".to_owned(), domain)])
    } else {
        // Rejects the sign-in: the user reads the sentence.
        let sentence = "People with your email address cannot sign in here.";
        Err(HookError::Rejected(sentence.to_owned()))
    }
}

/// Whether an address, which may be empty, is one of the domain's. Where no domain is set, none is.
fn lets_in(domain: &str, email: &str) -> bool {
    match email.rsplit_once('@') {
        Some((_, of)) => !domain.is_empty() && of.eq_ignore_ascii_case(domain),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::lets_in;

    #[test]
    fn only_the_domains_people_come_in() {
        assert!(lets_in("example.org", "neo@Example.org"));
        assert!(!lets_in("example.org", "neo@not-example.org"));
        assert!(!lets_in("example.org", "neo@example.org.evil.example"));
        assert!(!lets_in("example.org", ""));
        assert!(!lets_in("", "neo@"));
    }
}
