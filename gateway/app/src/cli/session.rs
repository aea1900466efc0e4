//! `gateway session`: lists and ends sessions.

use std::io::Write;

use anyhow::bail;
use clap::Subcommand;
use gateway_model::SessionId;
use gateway_store::Store;

use super::output::{self, printable};
use super::storage::{describe, find_user};
use super::{Shared, storage};
use crate::time::rfc3339;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List current sessions, newest first
    List {
        /// Only the sessions of this user: an id, a username, an email address or provider:subject
        #[arg(long, value_name = "WHO")]
        user: Option<String>,
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// End a session, or all sessions of a user; their tokens are refused from now on
    End {
        /// The session's id
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        id: Option<String>,
        /// All sessions of this user: an id, a username, an email address or provider:subject
        #[arg(long, value_name = "WHO")]
        user: Option<String>,
    },
}

pub(super) async fn run(shared: &Shared, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { user, json } => {
            storage::read(shared, async |store, out| {
                list(store, user.as_deref(), json, out).await
            })
            .await
        }
        Command::End { id, user } => {
            storage::change(shared, async |store, out| {
                end(store, id.as_deref(), user.as_deref(), out).await
            })
            .await
        }
    }
}

async fn list(store: &Store, user: Option<&str>, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let user = match user {
        Some(who) => Some(find_user(store, who).await?.id),
        None => None,
    };
    let sessions = store.list_sessions(user.as_ref()).await?;
    if json {
        return Ok(output::json(out, &sessions)?);
    }
    let rows: Vec<[String; 5]> = sessions
        .into_iter()
        .map(|session| {
            [
                session.id.to_string(),
                session.user_id.to_string(),
                session.provider,
                rfc3339(session.created),
                rfc3339(session.expires),
            ]
        })
        .collect();
    output::table(out, ["ID", "USER", "PROVIDER", "CREATED", "EXPIRES"], &rows)?;
    Ok(())
}

async fn end(
    store: &Store,
    id: Option<&str>,
    user: Option<&str>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if let Some(id) = id {
        if !store.end_session(&SessionId::from(id)).await? {
            bail!(
                "there is no session {:?} (see `gateway session list`)",
                printable(id)
            );
        }
        writeln!(out, "ended session {}", printable(id))?;
    }
    if let Some(who) = user {
        let user = find_user(store, who).await?;
        let ended = store.end_sessions_of(&user.id).await?;
        writeln!(out, "sessions ended of {}: {ended}", describe(&user))?;
    }
    Ok(())
}
