//! Opens the database beside a running gateway, and finds the user that an operator means.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use gateway_model::{SystemClock, SystemRandom, User};
use gateway_store::{DatabaseUrl, Found, FoundBy, Store, StoreOptions};

use super::output::printable;
use super::{Shared, mistakes};
use crate::config::{self, StorageConfig};

/// Opens the configured database, which must be there.
///
/// # Errors
/// Says what to do where there is none.
pub(super) async fn open(shared: &Shared) -> anyhow::Result<Store> {
    let (path, storage) = configured(shared)?;
    Store::open(&DatabaseUrl::File(path), options(&storage))
        .await
        .context("cannot open the database")
}

/// Opens the configured database, which must be there, only to read it. A file that no gateway uses, a backup for
/// instance, stays as it is, and nothing is left beside it.
///
/// # Errors
/// Says what to do where there is none.
pub(super) async fn open_to_read(shared: &Shared) -> anyhow::Result<Store> {
    let (path, storage) = configured(shared)?;
    Store::open_to_read(&path, options(&storage))
        .await
        .context("cannot open the database")
}

fn options(storage: &StorageConfig) -> StoreOptions {
    StoreOptions {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        user_ids: storage.database.user_ids,
        event_retention: storage.database.event_retention,
        limits: storage.user_limits,
    }
}

/// Where the configured database is, which must be there.
///
/// # Errors
/// Says what to do where there is none.
pub(super) fn path(shared: &Shared) -> anyhow::Result<PathBuf> {
    configured(shared).map(|(path, _)| path)
}

/// Where the configured database is, or is to be.
///
/// # Errors
/// When it is a temporary one.
pub(super) fn place(shared: &Shared) -> anyhow::Result<PathBuf> {
    located(shared).map(|(path, _)| path)
}

/// Where the configured database is, and what else is said of it.
fn configured(shared: &Shared) -> anyhow::Result<(PathBuf, StorageConfig)> {
    let (path, storage) = located(shared)?;
    // A new, empty one would only look as if all users were gone.
    if !gateway_store::restore::exists(&path) {
        bail!(
            "there is no database {}: name the right one with --database or --config, or run the command where the \
             gateway runs (for `gateway dev`: --database sqlite:///.gateway-dev/gateway.db)",
            path.display()
        );
    }
    Ok((path, storage))
}

fn located(shared: &Shared) -> anyhow::Result<(PathBuf, StorageConfig)> {
    let storage = config::load_storage(&shared.sources()).map_err(|errors| mistakes(&errors))?;
    match &storage.database.url {
        DatabaseUrl::Temporary => {
            bail!(
                "the configured database is a temporary one: it lives and ends with the gateway that made it"
            )
        }
        DatabaseUrl::File(path) => Ok((path.clone(), storage)),
    }
}

/// The one user that a text names: an id, which always wins, or a username, an email address or `provider:subject`.
///
/// # Errors
/// When it is nobody, or several; lists them, each with a text that names nobody else.
pub(super) async fn find_user(store: &Store, who: &str) -> anyhow::Result<User> {
    let mut found = store.find_users(who).await?;
    match (found.pop(), found.is_empty()) {
        (Some(found), true) => Ok(found.user),
        (None, _) => bail!(
            "there is no user {:?}: give an id, a username, an email address or provider:subject (see `gateway user \
             list`)",
            printable(who)
        ),
        (Some(last), false) => {
            found.push(last);
            let candidate = |Found { user, by }: &Found| {
                let what = match by {
                    FoundBy::Id => "id",
                    FoundBy::Username => "username",
                    FoundBy::Email => "email address",
                    FoundBy::Identity => "identity",
                };
                format!("  id:{}  as the {what} of {}", user.id, describe(user))
            };
            let list: Vec<String> = found.iter().map(candidate).collect();
            bail!(
                "{:?} names several users; name one of them exactly, by their id, or say what it is (username:…, email:…, \
                 identity:…):\n{}",
                printable(who),
                list.join("\n")
            )
        }
    }
}

/// A user in a line: the id and what people call them.
pub(super) fn describe(user: &User) -> String {
    let identities = user
        .identities
        .iter()
        .map(|identity| format!("{}:{}", identity.provider, identity.subject));
    let called = user
        .username
        .iter()
        .map(ToString::to_string)
        .chain(user.email.iter().map(|email| email.address.clone()))
        .chain(identities);
    printable(&format!(
        "{} ({})",
        user.id,
        called.collect::<Vec<_>>().join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use gateway_model::{Email, Identity, SystemClock, SystemRandom, UpstreamUser, UserLimits};
    use gateway_store::{DatabaseUrl, Store, StoreOptions, UserIds};

    use super::find_user;

    async fn add(store: &Store, provider: &str, subject: &str) -> String {
        let person = UpstreamUser {
            identity: Identity {
                provider: provider.to_owned(),
                issuer: format!("https://{provider}.example"),
                subject: subject.to_owned(),
            },
            email: Some(Email {
                address: "same@example.org".to_owned(),
                trusted: false,
            }),
            name: "\u{1b}[31mZoë".to_owned(),
            avatar_url: None,
            claims: gateway_model::Claims::default(),
            session: gateway_model::UpstreamSession::default(),
        };
        store.begin_sign_in(&person).await.unwrap().user.id.to_string()
    }

    #[tokio::test]
    async fn a_text_stands_for_one_user_or_for_none() {
        let options = StoreOptions {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            user_ids: UserIds::Random,
            event_retention: Duration::from_secs(60),
            limits: UserLimits::default(),
        };
        let store = Store::open(&DatabaseUrl::Temporary, options).await.unwrap();
        let (one, two) = (add(&store, "a", "1").await, add(&store, "b", "2").await);
        for who in [one.as_str(), "a:1"] {
            assert_eq!(find_user(&store, who).await.unwrap().id.as_str(), one, "{who}");
        }
        let several = find_user(&store, "same@example.org")
            .await
            .unwrap_err()
            .to_string();
        assert!(several.contains(&one) && several.contains(&two), "{several}");
        let nobody = find_user(&store, "a:2\u{1b}[31m").await.unwrap_err().to_string();
        assert!(
            nobody.contains("no user") && !nobody.contains('\u{1b}'),
            "{nobody}"
        );
    }
}
