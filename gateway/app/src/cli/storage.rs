//! Opens the database beside a running gateway, and finds the user that an operator means.

use std::io::{self, BufWriter, StdoutLock, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use gateway_model::User;
use gateway_store::{DatabaseUrl, Found, FoundBy, Store};

use super::Shared;
use super::output::{printable, report};
use crate::build::store_options;
use crate::config::{self, StorageConfig};

/// Calls `work` with the configured database, and with a buffer for the report of what it did. Prints the report even
/// if `work` fails.
pub(super) async fn change(
    shared: &Shared,
    work: impl AsyncFnOnce(&Store, &mut Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (path, storage) = configured(shared)?;
    let options = store_options(&storage.database, storage.user_limits);
    let store = Store::open(&DatabaseUrl::File(path), options)
        .await
        .context("cannot open the database")?;
    let mut text = Vec::new();
    let done = work(&store, &mut text).await;
    report(&text);
    close(store, done).await
}

/// Calls `work` with the configured database, which cannot be changed through it. If no gateway uses the file, for
/// example a backup, the command leaves nothing beside it.
pub(super) async fn read(
    shared: &Shared,
    work: impl AsyncFnOnce(&Store, &mut BufWriter<StdoutLock<'static>>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (path, storage) = configured(shared)?;
    let options = store_options(&storage.database, storage.user_limits);
    let store = Store::open_to_read(&path, options)
        .await
        .context("cannot open the database")?;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = work(&store, &mut out).await;
    close(store, done.and_then(|()| Ok(out.flush()?))).await
}

/// Closes the database even after an error, because a process that leaves it open also leaves files beside it.
async fn close(store: Store, done: anyhow::Result<()>) -> anyhow::Result<()> {
    let closed = store.close().await;
    done?;
    Ok(closed?)
}

/// Returns the path of the configured database, which must exist.
pub(super) fn configured(shared: &Shared) -> anyhow::Result<(PathBuf, StorageConfig)> {
    let (path, storage) = located(shared)?;
    // With a new, empty database, all users would seem to be gone.
    if !gateway_store::restore::exists(&path) {
        bail!(
            "there is no database {}: name the right one with --database or --config, or run the command where the \
             gateway runs (for `gateway dev`: --database sqlite:///.gateway-dev/gateway.db)",
            path.display()
        );
    }
    Ok((path, storage))
}

/// Returns the path of the configured database, which need not exist.
pub(super) fn located(shared: &Shared) -> anyhow::Result<(PathBuf, StorageConfig)> {
    let storage = shared.load(config::load_storage)?;
    match &storage.database.url {
        DatabaseUrl::Temporary => {
            bail!("the configured database is a temporary one: it exists only in the gateway that created it")
        }
        DatabaseUrl::File(path) => Ok((path.clone(), storage)),
    }
}

/// Finds the one user that `who` names: an id, which takes precedence, or a username, an email address or
/// `provider:subject`. If there are several, the error lists them, each with a text that names only that user.
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
                "{:?} matches several users: name one of them by id, or say what it is (username:…, email:…, \
                 identity:…):\n{}",
                printable(who),
                list.join("\n")
            )
        }
    }
}

/// Describes a user in a line: the id, then their names.
pub(super) fn describe(user: &User) -> String {
    let identities = user
        .identities
        .iter()
        .map(|identity| format!("{}:{}", identity.provider, identity.subject));
    let names = user
        .username
        .iter()
        .map(ToString::to_string)
        .chain(user.email.iter().map(|email| email.address.clone()))
        .chain(identities);
    printable(&format!("{} ({})", user.id, names.collect::<Vec<_>>().join(", ")))
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
    async fn a_text_names_one_user_or_none() {
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
