//! What a component is asked, from the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use gateway_devkit::Question;
use gateway_model::{Claims, Clock as _, Event, EventId, EventKind, Identity, SystemClock, User, UserId};

use super::people;
use crate::cli::output::printable;

/// A function that a gateway calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Function {
    /// What a user may do in a service
    GetPermissions,
    /// Somebody signs in for the first time
    OnNewUser,
    /// Somebody signs in
    OnUserLogin,
    /// Somebody has signed out
    OnUserLogout,
}

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// The function to call
    #[arg(value_enum)]
    function: Function,
    /// About whom: an id, or a file.json with one user in it
    #[arg(long, value_name = "ID|FILE")]
    user: String,
    /// In which service, for get-permissions
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// What the provider says of the user, for sign-ins: a file with a JSON object
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// By which provider they sign in, of those that the user has [default: the first]
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
}

/// What is asked, and everybody there is.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) users: Vec<User>,
    /// Whether the user that is asked about is one of them.
    pub(super) is_known: bool,
    event: Option<EventKind>,
    service: String,
    user: UserId,
    claims: Claims,
    provider: Option<String>,
}

impl Asked {
    /// Reads what the flags name; `users` is everybody in `--users`.
    pub(super) fn prepare(&self, mut users: Vec<User>) -> anyhow::Result<Prepared> {
        let path = Path::new(&self.user);
        let user = if path.extension().is_some_and(|extension| extension == "json") {
            let user = people::user(path)?;
            users.retain(|known| known.id != user.id);
            let id = user.id.clone();
            users.push(user);
            id
        } else {
            if self.user.is_empty() {
                bail!("--user must be an id, or a file.json with a user in it");
            }
            UserId::from(self.user.as_str())
        };
        let is_known = users.iter().any(|known| known.id == user);
        let event = match self.function {
            Function::GetPermissions => None,
            Function::OnNewUser => Some(EventKind::NewUser),
            Function::OnUserLogin => Some(EventKind::Login),
            Function::OnUserLogout => Some(EventKind::Logout),
        };
        let service = match (&self.service, event) {
            (Some(service), None) => service.clone(),
            (None, None) => bail!("get-permissions needs --service SERVICE"),
            (Some(_), Some(kind)) => bail!("--service is for get-permissions, not for {}", kind.hook()),
            (None, Some(_)) => String::new(),
        };
        if event.is_some() && !is_known {
            bail!(
                "--user {}: nobody in --users has this id; name a file.json with a user in it, \
                 or add them to the users",
                printable(&self.user)
            );
        }
        if !matches!(event, Some(EventKind::NewUser | EventKind::Login)) {
            if self.claims.is_some() {
                bail!("--claims is for on-new-user and on-user-login");
            }
            if event.is_none() && self.provider.is_some() {
                bail!("--provider is for hooks");
            }
        }
        let claims = self.claims.as_deref().map(people::claims).transpose()?;
        let prepared = Prepared {
            users,
            is_known,
            event,
            service,
            user,
            claims: claims.unwrap_or_default(),
            provider: self.provider.clone(),
        };
        // So that a provider that the user does not have is found before anything is compiled.
        prepared.question(0)?;
        Ok(prepared)
    }
}

impl Prepared {
    /// The question, the `number`th time: each is an event of its own.
    pub(super) fn question(&self, number: u64) -> anyhow::Result<Question> {
        let Some(kind) = self.event else {
            return Ok(Question::Permissions {
                service: self.service.clone(),
                user: self.user.clone(),
            });
        };
        let user = self
            .users
            .iter()
            .find(|known| known.id == self.user)
            .context("the user is not there")?;
        let identity = self.identity(user)?;
        Ok(Question::Event {
            event: Box::new(Event {
                id: EventId::from(format!("{number:032x}")),
                kind,
                user_id: user.id.clone(),
                at: SystemClock.now(),
                identity,
                claims: self.claims.clone(),
            }),
            user: Box::new(user.clone()),
        })
    }

    fn identity(&self, user: &User) -> anyhow::Result<Identity> {
        let found = match &self.provider {
            None => user.identities.first(),
            Some(provider) => user
                .identities
                .iter()
                .find(|identity| identity.provider == *provider),
        };
        found.cloned().with_context(|| {
            let has: Vec<&str> = user
                .identities
                .iter()
                .map(|identity| identity.provider.as_str())
                .collect();
            format!(
                "the user has no identity of that provider; has: {}",
                has.join(", ")
            )
        })
    }
}
