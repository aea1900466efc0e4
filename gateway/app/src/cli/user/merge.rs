//! `gateway user merge`: two users are one person.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context as _, bail};
use clap::Args;
use gateway_model::{User, UserId};
use gateway_store::{Merged, Store};
use serde::Serialize;

use super::super::output::{self, printable};
use super::super::storage::{describe, find_user};
use super::confirmed;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The user who goes: an id, a username, an email address or provider:subject
    who: String,
    /// The user who stays, with their id
    #[arg(long, value_name = "WHO")]
    into: String,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Print a JSON object: the user, who was merged into them, and what was dropped
    #[arg(long)]
    json: bool,
}

/// What has happened, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    user: &'a User,
    merged: &'a UserId,
    sessions_ended: usize,
    dropped: Dropped<'a>,
}

#[derive(Serialize)]
struct Dropped<'a> {
    username: Option<&'a str>,
    email: Option<&'a str>,
    attributes: &'a BTreeMap<String, String>,
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
        let report = Report {
            user: &merged.user,
            merged: &from.id,
            sessions_ended: merged.sessions_ended,
            dropped: Dropped {
                username: merged.dropped_username.as_deref(),
                email: merged.dropped_email.as_deref(),
                attributes: &merged.dropped_attributes,
            },
        };
        output::json(out, &report)?;
        return Ok(());
    }
    print(&from.id, &merged, out)
}

fn print(from: &UserId, merged: &Merged, out: &mut impl Write) -> anyhow::Result<()> {
    let Merged {
        user,
        sessions_ended,
        dropped_username,
        dropped_email,
        dropped_attributes,
    } = merged;
    writeln!(
        out,
        "merged {from} into {}; sessions ended: {sessions_ended}",
        describe(user)
    )?;
    let dropped = dropped_username
        .iter()
        .map(|name| ("username", name.clone()))
        .chain(dropped_email.iter().map(|address| ("email", address.clone())))
        .chain(
            dropped_attributes
                .iter()
                .map(|(name, value)| ("attribute", format!("{name} = {value}"))),
        );
    for (what, value) in dropped {
        writeln!(out, "dropped {what}: {}", printable(&value))?;
    }
    writeln!(
        out,
        "what plugins and applications keep under the id {from} is theirs: the gateway does not know of it"
    )?;
    Ok(())
}
