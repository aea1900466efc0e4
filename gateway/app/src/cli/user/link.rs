//! `gateway user link` and `unlink`: an operator decides which identities sign in as a user.

use std::io::Write;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use gateway_model::Identity;
use gateway_store::Store;
use gateway_upstream::TENANT;
use url::Url;

use super::super::output::{self, printable};
use super::super::storage::{describe, find_user};
use crate::cli::Shared;
use crate::config::{self, flags};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The user: an id, a username, an email address or provider:subject
    who: String,
    /// The upstream provider's name in the configuration
    #[arg(value_parser = flags::name)]
    provider: String,
    /// The provider's id of the person
    subject: String,
    /// The provider's issuer identifier; not needed for a configured provider, or one through which users have signed
    /// in
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Print the user as a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn link(
    shared: &Shared,
    store: &Store,
    arguments: &Arguments,
    unknown_issuer: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let user = find_user(store, &arguments.who).await?;
    let identity = identity(shared, store, arguments).await?;
    if let Some(issuer) = &arguments.issuer {
        check_issuer(shared, store, &arguments.provider, issuer, unknown_issuer).await?;
    }
    let named = named(&identity);
    let linked = store
        .link_identity(&user.id, &identity)
        .await
        .with_context(|| format!("{named} was not linked to {}", describe(&user)))?;
    if arguments.json {
        output::json(out, &linked.user)?;
    } else if linked.changed {
        writeln!(out, "linked {named} to {}", describe(&linked.user))?;
    } else {
        writeln!(out, "{named} is already linked to {}", describe(&linked.user))?;
    }
    Ok(())
}

pub(super) async fn unlink(
    shared: &Shared,
    store: &Store,
    arguments: &Arguments,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let user = find_user(store, &arguments.who).await?;
    // The user's own identities come first, because the provider may no longer be configured.
    let mut theirs = user.identities.iter().filter(|identity| {
        identity.provider == arguments.provider
            && identity.subject == arguments.subject
            && arguments
                .issuer
                .as_ref()
                .is_none_or(|issuer| *issuer == identity.issuer)
    });
    let identity = match (theirs.next(), theirs.next()) {
        (Some(only), None) => only.clone(),
        (Some(_), Some(_)) => bail!("the user has several identities with this subject: add --issuer"),
        (None, _) => identity(shared, store, arguments).await?,
    };
    let named = named(&identity);
    let unlinked = store
        .unlink_identity(&user.id, &identity)
        .await
        .with_context(|| format!("{named} was not unlinked from {}", describe(&user)))?;
    if arguments.json {
        output::json(out, &unlinked.user)?;
    } else {
        writeln!(
            out,
            "unlinked {named} from {}; sessions ended: {}",
            describe(&unlinked.user),
            unlinked.sessions_ended
        )?;
    }
    Ok(())
}

fn named(identity: &Identity) -> String {
    printable(&format!(
        "{}:{} ({})",
        identity.provider, identity.subject, identity.issuer
    ))
}

fn configured_issuer(shared: &Shared, provider: &str) -> Option<String> {
    let loaded = config::load(&shared.sources()).ok()?;
    let mut providers = loaded.config.providers.into_iter();
    let provider = providers.find(|configured| configured.name == provider)?;
    Some(provider.kind.issuer())
}

/// Refuses an issuer under which nobody could sign in, unless the operator insists.
async fn check_issuer(
    shared: &Shared,
    store: &Store,
    provider: &str,
    issuer: &str,
    unknown_issuer: bool,
) -> anyhow::Result<()> {
    if unknown_issuer {
        let is_issuer = Url::parse(issuer).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http") && url.query().is_none() && url.fragment().is_none()
        });
        ensure!(
            is_issuer,
            "{:?} is not an issuer: it must be an https URL without a query or a fragment",
            printable(issuer)
        );
        return Ok(());
    }
    let shown = printable(provider);
    match configured_issuer(shared, provider) {
        Some(configured) if configured == issuer || is_tenant(&configured, issuer) => Ok(()),
        Some(configured) => bail!(
            "the provider {shown:?} is configured with another issuer ({configured}): omit --issuer. To link an identity \
             of an issuer that is not configured here, add --unknown-issuer"
        ),
        None if store
            .issuers_of(provider)
            .await?
            .iter()
            .any(|known| known == issuer) =>
        {
            Ok(())
        }
        None => bail!(
            "the provider {shown:?} is not configured here, and nobody has signed in through it under the issuer {:?}: \
             check both. To link the identity anyway, add --unknown-issuer",
            printable(issuer)
        ),
    }
}

/// Whether `issuer` belongs to one tenant of a configured issuer that stands for many.
fn is_tenant(configured: &str, issuer: &str) -> bool {
    let Some((before, after)) = configured.split_once(TENANT) else {
        return false;
    };
    let tenant = issuer
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after));
    tenant.is_some_and(|tenant| {
        !tenant.is_empty() && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// Finds the identity's issuer: the flag's, or the configured provider's, or the one under which users have signed in
/// through a provider with this name.
async fn identity(shared: &Shared, store: &Store, arguments: &Arguments) -> anyhow::Result<Identity> {
    if arguments.subject.is_empty() {
        bail!("the subject is empty: give the provider's id of the person");
    }
    let provider = printable(&arguments.provider);
    let configured = || configured_issuer(shared, &arguments.provider);
    let issuer = match arguments.issuer.clone().or_else(configured) {
        Some(issuer) => issuer,
        None => match store.issuers_of(&arguments.provider).await?.as_slice() {
            [issuer] => issuer.clone(),
            [] => bail!(
                "the provider {provider:?} is not configured here, and nobody has signed in through it: check its name, or \
                 add --issuer"
            ),
            issuers => bail!(
                "users have signed in through {provider:?} under several issuers ({}): add --issuer",
                printable(&issuers.join(", "))
            ),
        },
    };
    if issuer.contains(TENANT) {
        bail!(
            "{provider:?} has many tenants, each with its own issuer: add --issuer, with the value {} in which the \
             placeholder is replaced by the ID of the person's tenant",
            printable(&issuer)
        );
    }
    Ok(Identity {
        provider: arguments.provider.clone(),
        issuer,
        subject: arguments.subject.clone(),
    })
}
