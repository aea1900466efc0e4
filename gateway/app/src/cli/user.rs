//! `gateway user`: look at users, shut them out, let them in again, join, separate, delete and export them.

use std::io::{self, BufRead as _, BufWriter, IsTerminal as _, Write};

use anyhow::bail;
use clap::Subcommand;
use gateway_model::{User, UserId, UserStatus};
use gateway_store::Store;

use super::output::{self, printable};
use super::storage::{describe, find_user};
use super::{Shared, storage};
use crate::time::rfc3339;

mod export;
mod link;
mod merge;

/// How many users are read at once.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Read(ReadCommand),
    #[command(flatten)]
    Change(ChangeCommand),
}

/// Commands that leave the database as it is.
#[derive(Debug, Subcommand)]
pub(super) enum ReadCommand {
    /// List all users
    List {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show all there is about a user
    Show {
        /// An id, a username, an email address or provider:subject
        who: String,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print every user with everything that is stored about them, as one JSON object a line
    Export,
}

#[derive(Debug, Subcommand)]
pub(super) enum ChangeCommand {
    /// Shut a user out: ends their sessions, refuses their sign-ins
    Disable {
        /// An id, a username, an email address or provider:subject
        who: String,
    },
    /// Let a user in again
    Enable {
        /// An id, a username, an email address or provider:subject
        who: String,
    },
    /// Make an identity that nobody has one of a user's, so that it signs in as them
    Link {
        #[command(flatten)]
        identity: link::Arguments,
        /// Accept an --issuer that is neither the configured provider's nor one under which people have signed in
        #[arg(long, requires = "issuer")]
        unknown_issuer: bool,
    },
    /// Take an identity from a user: ends the sessions it began. Its next sign-in is a new user; with user_ids =
    /// "email-md5" it is refused while the id of its address is taken
    Unlink {
        #[command(flatten)]
        identity: link::Arguments,
    },
    /// Make two users one: the one after --into keeps their id, the other's id ends. With user_ids = "email-md5" the next
    /// new user with that address gets it again
    Merge {
        #[command(flatten)]
        merge: merge::Arguments,
    },
    /// Delete a user with all there is about them; the next sign-in is a new user, with user_ids = "email-md5" under the
    /// id of the address
    Delete {
        /// An id, a username, an email address or provider:subject
        who: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(shared: &Shared, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Read(command) => {
            let store = storage::open_to_read(shared).await?;
            let shown = read(&store, command).await;
            // Also after an error: what a process leaves open stays beside the file.
            let closed = store.close().await;
            shown?;
            Ok(closed?)
        }
        Command::Change(command) => {
            let store = storage::open(shared).await?;
            let mut said = Vec::new();
            let done = change(shared, &store, command, &mut said).await;
            output::report(&said);
            let closed = store.close().await;
            done?;
            Ok(closed?)
        }
    }
}

async fn read(store: &Store, command: ReadCommand) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match command {
        ReadCommand::List { json } => list(store, json, &mut out).await?,
        ReadCommand::Show { who, json } => show(store, &who, json, &mut out).await?,
        ReadCommand::Export => export::export(store, &mut out).await?,
    }
    Ok(out.flush()?)
}

/// `out`: what has been done. Writing to it does not fail, so that an error is one of the work.
async fn change(
    shared: &Shared,
    store: &Store,
    command: ChangeCommand,
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    match command {
        ChangeCommand::Disable { who } => disable(store, &who, out).await,
        ChangeCommand::Enable { who } => enable(store, &who, out).await,
        ChangeCommand::Link {
            identity,
            unknown_issuer,
        } => link::link(shared, store, &identity, unknown_issuer, out).await,
        ChangeCommand::Unlink { identity } => link::unlink(shared, store, &identity, out).await,
        ChangeCommand::Merge { merge } => merge::run(store, &merge, out).await,
        ChangeCommand::Delete { who, yes } => delete(store, &who, yes, out).await,
    }
}

/// Hands every user to `each`, a page at a time, in the order of their ids.
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
        output::json(out, &users)?;
        return Ok(());
    }
    let rows: Vec<[String; 6]> = users
        .into_iter()
        .map(|user| {
            [
                user.id.to_string(),
                user.username.map(String::from).unwrap_or_default(),
                user.email.map(|email| email.address).unwrap_or_default(),
                user.name,
                user.status.as_str().to_owned(),
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
        output::json(out, &user)?;
        return Ok(());
    }
    let sessions = store.list_sessions(Some(&user.id)).await?.len();
    let mut lines: Vec<(&str, String)> = vec![
        ("id", user.id.to_string()),
        ("status", user.status.as_str().to_owned()),
        (
            "username",
            user.username.map_or_else(|| "(not set)".to_owned(), String::from),
        ),
        ("name", user.name),
    ];
    lines.push(match user.email {
        Some(email) if email.trusted => ("email", format!("{} (from a trusted provider)", email.address)),
        Some(email) => ("email", email.address),
        None => ("email", "(none)".to_owned()),
    });
    lines.push(("picture", user.avatar_url.unwrap_or_else(|| "(none)".to_owned())));
    lines.push(("joined", rfc3339(user.joined)));
    lines.push(("sessions", sessions.to_string()));
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
        None => bail!("{} was deleted meanwhile", describe(&user)),
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
        None => bail!("{} was deleted meanwhile", describe(&user)),
    }
    Ok(())
}

async fn delete(store: &Store, who: &str, yes: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let user = find_user(store, who).await?;
    let described = describe(&user);
    if !yes && !confirmed(&format!("Delete {described} with all there is about them?"))? {
        bail!("{described} was not deleted");
    }
    if !store.delete_user(&user.id).await? {
        bail!("{described} was deleted meanwhile");
    }
    writeln!(out, "deleted {described}")?;
    Ok(())
}

/// Asks on the terminal.
///
/// # Errors
/// When there is none.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!(
            "there is no terminal to ask on, so nothing was changed; give --yes to go on without being asked"
        );
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
