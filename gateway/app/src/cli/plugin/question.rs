//! The flags of `gateway plugin call` and `bench` for the function and its arguments.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use gateway_devkit::Question;
use gateway_model::{Claims, Clock as _, Event, EventId, EventKind, Identity, SystemClock, User, UserId};

use super::people;
use crate::cli::output::printable;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Function {
    /// Return the permissions of a user in a service
    GetPermissions,
    /// A user signs in for the first time
    OnNewUser,
    /// A user signs in
    OnUserLogin,
    /// A user has signed out
    OnUserLogout,
}

#[derive(Debug, Args)]
pub(super) struct Asked {
    /// The function to call
    #[arg(value_enum)]
    function: Function,
    /// The user: an id, or a file.json that contains one user
    #[arg(long, value_name = "ID|FILE")]
    user: String,
    /// The service, for get-permissions
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// The provider's claims about the user, for sign-ins: a file with a JSON object
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// The provider of the user's identity, for hooks [default: that of the first identity]
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
}

/// The call, and all users.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) users: Vec<User>,
    /// Whether the user of the call is one of them.
    pub(super) is_known: bool,
    event: Option<EventKind>,
    service: String,
    user: UserId,
    claims: Claims,
    provider: Option<String>,
}

impl Asked {
    /// Reads the files that the flags name. `users` are those of `--users`.
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
                bail!("--user must be an id, or a file.json that contains a user");
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
                "--user {}: --users has no user with this id: name a file.json that contains a user, or add them to the \
                 users",
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
        // Fails before the component is compiled if the user has no identity of the provider.
        prepared.question(0)?;
        Ok(prepared)
    }
}

impl Prepared {
    /// Returns the call for the `number`th time. For a hook, each is a separate event.
    pub(super) fn question(&self, number: u64) -> anyhow::Result<Question> {
        let Some(kind) = self.event else {
            return Ok(Question::Permissions {
                service: self.service.clone(),
                user: self.user.clone(),
            });
        };
        let user = self.users.iter().find(|known| known.id == self.user);
        let user = user.context("there is no such user")?;
        let wanted = |identity: &&Identity| {
            let provider = self.provider.as_ref();
            provider.is_none_or(|provider| identity.provider == *provider)
        };
        let identity = user.identities.iter().find(wanted).cloned().with_context(|| {
            let providers = user.identities.iter().map(|identity| identity.provider.as_str());
            let providers: Vec<&str> = providers.collect();
            format!(
                "the user has no identity of this provider, only of: {}",
                providers.join(", ")
            )
        })?;
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
}
