//! Roles from the groups of an upstream provider: a hook stores people's groups when they sign in, and a permission
//! provider reads them.
//!
//! | module | what it does |
//! |---|---|
//! | [`settings`] | reads the settings; from groups to roles to permissions |
//! | [`groups`] | finds the groups in the claims, and stores them |
//! | here | the hook that writes, and the provider that reads |

mod groups;
mod settings;

// A provider and a hook in one component use the same values, which no other plugin sees.
wit_bindgen::generate!({
    inline: r#"
        package example:stored-roles;
        world plugin {
            import auth-gateway:plugin/config@1.0.0;
            import auth-gateway:plugin/key-value@1.0.0;
            export auth-gateway:plugin/permission-provider@1.0.0;
            export auth-gateway:plugin/on-user-login@1.0.0;
        }
    "#,
    path: "../../wit",
    generate_all,
});

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use auth_gateway::plugin::types::{HookError, Permission, SignIn, Value};
use auth_gateway::plugin::{config, key_value};
use exports::auth_gateway::plugin::on_user_login;
use exports::auth_gateway::plugin::permission_provider::{self, ProviderError};
use settings::Settings;

/// The most keys that one call lists.
const MANY: u32 = 1000;

struct StoredRoles;

export!(StoredRoles);

impl permission_provider::Guest for StoredRoles {
    fn get_permissions(service: String, user_id: String) -> Result<Vec<Permission>, ProviderError> {
        let settings = Settings::read(config::all()).map_err(ProviderError::Failed)?;
        let mut groups = BTreeSet::new();
        // Only the providers in the settings count, so removing one takes effect immediately.
        for provider in &settings.providers {
            let kept = newest(&groups::prefix(&user_id, provider)).map_err(unreadable)?;
            if let Some(kept) = kept {
                groups.extend(groups::read(&kept).map_err(ProviderError::Failed)?);
            }
        }
        let permissions = settings.permissions(&service, &groups).into_iter();
        Ok(permissions
            .map(|name| Permission {
                name: name.to_owned(),
                value: Value::Boolean(true),
            })
            .collect())
    }
}

impl on_user_login::Guest for StoredRoles {
    fn on_user_login(event: SignIn) -> Result<Vec<(String, String)>, HookError> {
        // Fails the sign-in, with the sentence in the gateway's log. `Rejected` would show it to the person, who has
        // done nothing wrong.
        keep(&event).map_err(HookError::Unavailable)?;
        Ok(Vec::new())
    }
}

/// The groups of the latest sign-in.
fn newest(prefix: &str) -> Result<Option<Vec<u8>>, key_value::Error> {
    loop {
        let keys = key_value::list_keys(prefix, None, MANY)?;
        let Some(last) = keys.last() else { return Ok(None) };
        // A missing value has expired, or a later sign-in has replaced it, so look again.
        if let Some(kept) = key_value::get(last)? {
            return Ok(Some(kept));
        }
    }
}

/// Stores the groups of this sign-in.
fn keep(event: &SignIn) -> Result<(), String> {
    let settings = Settings::read(config::all())?;
    let provider = &event.identity.provider;
    if !settings.providers.contains(provider) {
        return Ok(());
    }
    let groups = groups::in_claims(&event.claims, &settings.claim)?;
    let Some(lifetime) = groups::remaining(event.at, settings.keep, now()) else {
        return Ok(());
    };
    // Hooks run at the same time, and after a crash an event may arrive again when the person has signed in since. So
    // each sign-in has its own key (except within one second, the resolution of the event's time), and the latest
    // counts whatever the order of the writes. The lifetime removes the groups of people who never return.
    let prefix = groups::prefix(&event.user.id, provider);
    let written = key_value::set(
        &groups::key(&prefix, event.at),
        &groups::write(&groups),
        Some(lifetime),
    );
    written
        .and_then(|()| forget_all_but_the_latest(&prefix))
        .map_err(|error| format!("the groups cannot be stored: {error}"))
}

fn forget_all_but_the_latest(prefix: &str) -> Result<(), key_value::Error> {
    let keys = key_value::list_keys(prefix, None, MANY)?;
    if let Some((_latest, older)) = keys.split_last() {
        for key in older {
            key_value::delete(key)?;
        }
    }
    Ok(())
}

fn unreadable(error: key_value::Error) -> ProviderError {
    match error {
        key_value::Error::Unavailable => {
            ProviderError::Unavailable("the groups cannot be read now".to_owned())
        }
        error => ProviderError::Failed(format!("the groups cannot be read: {error}")),
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
