//! `gateway user`: lists, shows, disables, enables, links, unlinks, merges, deletes and exports users.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use anyhow::bail;
use clap::Subcommand;
use gateway_model::{User, UserId, UserStatus};
use gateway_store::Store;

use super::Shared;
use super::output::{self, printable};
use super::storage::{change, describe, find_user, read};
use crate::time::rfc3339;

mod export;
mod link;
mod merge;

/// Users that are read with one query.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all users
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show everything about a user
    Show {
        /// An id, a username, an email address or provider:subject
        who: String,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print all users with everything that is stored about them, one JSON object per line
    Export,
    /// Disable a user: end their sessions and refuse their sign-ins
    Disable {
        /// An id, a username, an email address or provider:subject
        who: String,
    },
    /// Enable a disabled user
    Enable {
        /// An id, a username, an email address or provider:subject
        who: String,
    },
    /// Link a new identity to a user, so that it signs in as them
    Link {
        #[command(flatten)]
        identity: link::Arguments,
        /// Accept an --issuer that is neither the configured provider's nor one under which users have signed in
        #[arg(long, requires = "issuer")]
        unknown_issuer: bool,
    },
    /// Remove an identity from a user, and end the sessions that it began. Its next sign-in creates a new user; with
    /// user_ids = "email-md5", it is refused while the id of its address is in use
    Unlink(link::Arguments),
    /// Merge two users: the one after --into keeps their id, and the other id ceases to exist. With user_ids =
    /// "email-md5", the next new user with that address gets it again
    Merge(merge::Arguments),
    /// Delete a user with everything that is stored about them. Their next sign-in creates a new user; with user_ids =
    /// "email-md5", under the same id
    Delete {
        /// An id, a username, an email address or provider:subject
        who: String,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(shared: &Shared, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { json } => read(shared, async |store, out| list(store, json, out).await).await,
        Command::Show { who, json } => {
            read(shared, async |store, out| show(store, &who, json, out).await).await
        }
        Command::Export => read(shared, async |store, out| export::export(store, out).await).await,
        Command::Disable { who } => change(shared, async |store, out| disable(store, &who, out).await).await,
        Command::Enable { who } => change(shared, async |store, out| enable(store, &who, out).await).await,
        Command::Link {
            identity,
            unknown_issuer,
        } => {
            change(shared, async |store, out| {
                link::link(shared, store, &identity, unknown_issuer, out).await
            })
            .await
        }
        Command::Unlink(identity) => {
            change(shared, async |store, out| {
                link::unlink(shared, store, &identity, out).await
            })
            .await
        }
        Command::Merge(merge) => {
            change(shared, async |store, out| merge::run(store, &merge, out).await).await
        }
        Command::Delete { who, yes } => {
            change(shared, async |store, out| delete(store, &who, yes, out).await).await
        }
    }
}

/// Calls `each` with every user, in the order of their ids.
async fn for_all(store: &Store, mut each: impl FnMut(User) -> io::Result<()>) -> anyhow::Result<()> {
    let mut after: Option<UserId> = None;
    loop {
        let page = store.list_users(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id.clone());
        page.into_iter().try_for_each(&mut each)?;
    }
}

async fn list(store: &Store, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut users = Vec::new();
    for_all(store, |user| {
        users.push(user);
        Ok(())
    })
    .await?;
    if json {
        return Ok(output::json(out, &users)?);
    }
    let rows: Vec<[String; 6]> = users
        .into_iter()
        .map(|user| {
            [
                user.id.to_string(),
                user.username.map(String::from).unwrap_or_default(),
                user.email.map(|email| email.address).unwrap_or_default(),
                user.name,
                user.status.name().to_owned(),
                rfc3339(user.joined),
            ]
        })
        .collect();
    output::table(
        out,
        ["ID", "USERNAME", "EMAIL", "NAME", "STATUS", "JOINED"],
        &rows,
    )?;
    Ok(())
}

async fn show(store: &Store, who: &str, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let user = find_user(store, who).await?;
    if json {
        return Ok(output::json(out, &user)?);
    }
    let sessions = store.list_sessions(Some(&user.id)).await?.len();
    let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
    let email = user.email.map(|email| {
        let trusted = if email.trusted {
            " (from a trusted provider)"
        } else {
            ""
        };
        email.address + trusted
    });
    let mut lines = vec![
        ("id", user.id.to_string()),
        ("status", user.status.name().to_owned()),
        ("username", or(user.username.map(String::from), "(not set)")),
        ("name", user.name),
        ("email", or(email, "(none)")),
        ("picture", or(user.avatar_url, "(none)")),
        ("joined", rfc3339(user.joined)),
        ("sessions", sessions.to_string()),
    ];
    for identity in user.identities {
        lines.push((
            "identity",
            format!("{}:{} ({})", identity.provider, identity.subject, identity.issuer),
        ));
    }
    for (name, value) in user.attributes {
        lines.push(("attribute", format!("{name} = {value}")));
    }
    for (name, value) in lines {
        writeln!(out, "{name:<9}  {}", printable(&value))?;
    }
    Ok(())
}

async fn disable(store: &Store, who: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let user = find_user(store, who).await?;
    let ended = store.list_sessions(Some(&user.id)).await?.len();
    match store.set_status(&user.id, UserStatus::Disabled).await? {
        Some(user) => writeln!(out, "disabled {}; sessions ended: {ended}", describe(&user))?,
        None => bail!("{} was deleted in the meantime", describe(&user)),
    }
    Ok(())
}

async fn enable(store: &Store, who: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let user = find_user(store, who).await?;
    if user.status != UserStatus::Disabled {
        writeln!(out, "{} is not disabled", describe(&user))?;
        return Ok(());
    }
    match store.set_status(&user.id, UserStatus::Active).await? {
        Some(user) if user.status == UserStatus::Pending => {
            writeln!(
                out,
                "enabled {}, who is new: the hooks decide at the next sign-in",
                describe(&user)
            )?;
        }
        Some(user) => writeln!(out, "enabled {}", describe(&user))?,
        None => bail!("{} was deleted in the meantime", describe(&user)),
    }
    Ok(())
}

async fn delete(store: &Store, who: &str, yes: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let user = find_user(store, who).await?;
    let described = describe(&user);
    if !yes
        && !confirmed(&format!(
            "Delete {described} with everything that is stored about them?"
        ))?
    {
        bail!("{described} was not deleted");
    }
    if !store.delete_user(&user.id).await? {
        bail!("{described} was deleted in the meantime");
    }
    writeln!(out, "deleted {described}")?;
    Ok(())
}

/// Asks on the terminal. Fails if there is none.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!(
            "nothing was changed, because there is no terminal to ask for confirmation on: add --yes to continue without"
        );
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
