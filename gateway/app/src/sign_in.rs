//! The second half of a sign-in, the same for every provider: commit, run the hooks, settle, and only then issue a
//! token.

use std::sync::Arc;

use gateway_model::{Event, UpstreamUser, User, Verdict, limits};
use gateway_store::{Settled, SignInError, StoreError};
use gateway_token::SessionClaims;

use crate::app::App;
use crate::sign_out;

/// The end of a completed sign-in.
#[derive(Debug)]
pub enum Outcome {
    /// With the session token.
    SignedIn(String),
    /// A hook rejected it, with a reason for the user.
    Rejected(String),
    /// A hook failed, or the user was disabled meanwhile. The log has the reason.
    Refused,
    /// The provider has ended the session that the sign-in came from.
    SessionEnded,
}

/// Why a sign-in could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user may not sign in, or the database failed.
    #[error(transparent)]
    Begin(#[from] SignInError),
    /// The database failed at the end. The events stay pending.
    #[error(transparent)]
    Settle(#[from] StoreError),
    /// The task panicked.
    #[error("the sign-in was abandoned: {0}")]
    Abandoned(String),
}

/// Signs a user in. Completes even if the caller is dropped, so that a closed tab leaves nothing half done.
///
/// # Errors
///
/// If the user may not sign in, or the database fails.
pub async fn complete(app: &Arc<App>, person: UpstreamUser) -> Result<Outcome, Error> {
    let task = {
        let app = Arc::clone(app);
        app.background
            .clone()
            .spawn(async move { run(&app, &person).await })
    };
    task.await
        .unwrap_or_else(|error| Err(Error::Abandoned(error.to_string())))
}

async fn run(app: &App, person: &UpstreamUser) -> Result<Outcome, Error> {
    let mut pending = app.store.begin_sign_in(person).await?;
    if let Some(id_token) = &person.session.id_token {
        pending.sealed_id_token =
            sign_out::seal_id_token(app, &pending.user.id, &person.identity.provider, id_token);
    }
    let mut user = pending.user.clone();
    let new_user = match &pending.new_user {
        Some(event) => Some(ask(app, event, &user).await),
        None => None,
    };
    let login = match &new_user {
        Some(Verdict::Rejected { .. } | Verdict::Failed { .. }) => None,
        Some(Verdict::Accepted(attributes)) => {
            // The login hooks see the user with the new attributes.
            limits::change(&mut user.attributes, attributes);
            Some(ask(app, &pending.login, &user).await)
        }
        None => Some(ask(app, &pending.login, &user).await),
    };
    let settled = app
        .store
        .settle_sign_in(&pending, new_user.as_ref(), login.as_ref(), app.session_lifetime)
        .await?;
    Ok(match settled {
        Settled::SignedIn { session, .. } => {
            let claims = SessionClaims {
                session: session.id,
                user: session.user_id,
                expires: session.expires,
            };
            Outcome::SignedIn(app.session_key.issue(&claims, session.created))
        }
        Settled::Rejected { reason } => Outcome::Rejected(reason),
        Settled::Refused => Outcome::Refused,
        Settled::SessionEnded => Outcome::SessionEnded,
    })
}

/// Runs the hooks, and logs a rejection or a failure.
pub(crate) async fn ask(app: &App, event: &Event, user: &User) -> Verdict {
    let verdict = app.plugins.run_hooks_within(event, user, &app.user_limits).await;
    match &verdict {
        Verdict::Accepted(_) => {}
        Verdict::Rejected { hook, reason } => {
            tracing::info!(%hook, %reason, user = %user.id, event = %event.id, "a hook rejected the sign-in");
        }
        Verdict::Failed { hook, error } => {
            tracing::error!(%hook, %error, user = %user.id, event = %event.id, "a hook failed");
        }
    }
    verdict
}
