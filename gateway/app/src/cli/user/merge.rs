//! `gateway user merge`: merges two users who are the same person.

use std::io::Write;

use anyhow::{Context as _, bail};
use clap::Args;
use gateway_store::Store;
use serde_json::json;

use super::super::output::{self, printable};
use super::super::storage::{describe, find_user};
use super::confirmed;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The user whose id ceases to exist: an id, a username, an email address or provider:subject
    who: String,
    /// The user who keeps their id
    #[arg(long, value_name = "WHO")]
    into: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Print a JSON object: the user, the id that was merged into them, and the values that were dropped
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(store: &Store, arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let from = find_user(store, &arguments.who).await?;
    let into = find_user(store, &arguments.into).await?;
    let (goes, stays) = (describe(&from), describe(&into));
    let question = format!(
        "Merge {goes} into {stays}? The id {} and its sessions end.",
        from.id
    );
    if !arguments.yes && !confirmed(&question)? {
        bail!("the users were not merged");
    }
    let merged = store
        .merge_users(&from.id, &into.id)
        .await
        .with_context(|| format!("{goes} was not merged into {stays}"))?;
    if arguments.json {
        let report = json!({
            "user": merged.user,
            "merged": from.id,
            "sessions_ended": merged.sessions_ended,
            "dropped": {
                "username": merged.dropped_username,
                "email": merged.dropped_email,
                "attributes": merged.dropped_attributes,
            },
        });
        return Ok(output::json(out, &report)?);
    }
    writeln!(
        out,
        "merged {} into {}; sessions ended: {}",
        from.id,
        describe(&merged.user),
        merged.sessions_ended
    )?;
    let username = merged.dropped_username.map(|name| ("username", name));
    let email = merged.dropped_email.map(|address| ("email", address));
    let attributes = merged.dropped_attributes.iter();
    let attributes = attributes.map(|(name, value)| ("attribute", format!("{name} = {value}")));
    for (what, value) in username.into_iter().chain(email).chain(attributes) {
        writeln!(out, "dropped {what}: {}", printable(&value))?;
    }
    writeln!(
        out,
        "plugins and applications may still store data under the id {}: the gateway cannot see or move it",
        from.id
    )?;
    Ok(())
}
