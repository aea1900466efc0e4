//! Signing out at the provider too (OpenID Connect RP-Initiated Logout 1.0): what is kept for it, where the person is sent,
//! and how they come back.
//!
//! The ID token that a session began with is sealed to its user before the database sees it, and goes with the session.
//! Where the person was going is sealed to the provider, as `state`: the provider carries it, and can neither read nor
//! change it. It is good for an hour.

use std::time::Duration;

use gateway_model::{Timestamp, UserId};
use gateway_store::{SignOutHint, SignedIn};
use gateway_upstream::{EndSession, Provider};
use url::Url;

use crate::app::App;
use crate::next::{self, Next};

/// How long a person may take at the provider.
const LIFETIME: Duration = Duration::from_secs(3600);

/// An ID token, sealed for its user's session with the name of the provider that gave it: two sections of the configuration
/// may have one issuer, and so one identity. `None` where it cannot be: the provider is then told less.
#[must_use]
pub fn seal_id_token(app: &App, user: &UserId, provider: &str, id_token: &str) -> Option<String> {
    let text = format!("{provider} {id_token}");
    let sealed = app.session_key.seal(&id_token_of(user), text.as_bytes());
    sealed
        .inspect_err(|error| tracing::warn!(%user, %error, "an ID token is not kept for the sign-out"))
        .ok()
}

/// What an ID token is sealed to.
fn id_token_of(user: &UserId) -> String {
    format!("the ID token of user {user}")
}

/// The ID token that a session began with and the provider that gave it, which earlier versions did not keep.
fn open_id_token(app: &App, user: &UserId, hint: &SignOutHint) -> Option<(Option<String>, String)> {
    let sealed = hint.sealed_id_token.as_deref()?;
    let text = app.session_key.open(&id_token_of(user), sealed)?;
    let text = String::from_utf8(text).ok()?;
    Some(match text.split_once(' ') {
        Some((provider, id_token)) => (Some(provider.to_owned()), id_token.to_owned()),
        None => (None, text),
    })
}

/// What `state` is sealed to.
fn sign_out_at(provider: &Provider) -> String {
    format!("a sign-out at provider {}", provider.name())
}

/// Where a person goes whose session has just ended: to its provider, which sends them on to `next`; or to `next` at once,
/// where the operator has not asked for more or the provider offers no more. An address for a redirect is at most `longest`
/// bytes long, if the provider can do without the ID token.
pub async fn leads_to(
    app: &App,
    signed_in: &SignedIn,
    hint: Option<&SignOutHint>,
    next: &Next,
    longest: usize,
) -> String {
    let user = &signed_in.user.id;
    let kept = hint.and_then(|hint| open_id_token(app, user, hint));
    let (name, id_token) = match &kept {
        Some((Some(name), id_token)) => (name.as_str(), Some(id_token.as_str())),
        Some((None, id_token)) => (signed_in.session.provider.as_str(), Some(id_token.as_str())),
        None => (signed_in.session.provider.as_str(), None),
    };
    let address = hint.and_then(|hint| hint.address.as_deref());
    let at_provider = match app.provider(name) {
        Some(provider) if provider.signs_out() => {
            at_provider(app, provider, id_token, address, next, longest).await
        }
        Some(_) | None => None,
    };
    at_provider.map_or_else(|| next.as_str().to_owned(), String::from)
}

async fn at_provider(
    app: &App,
    provider: &Provider,
    id_token: Option<&str>,
    address: Option<&str>,
    next: &Next,
    longest: usize,
) -> Option<Url> {
    let state = seal_next(app, provider, next)?;
    let return_to = format!("{}/auth/logout_callback/{}", app.address.text, provider.name());
    let with = |id_token| EndSession {
        id_token,
        address,
        return_to: &return_to,
        state: &state,
    };
    let url = match provider.end_session(&with(id_token)).await {
        Ok(Some(url)) if url.as_str().len() > longest => provider.end_session(&with(None)).await,
        answer => answer,
    };
    match url {
        Ok(Some(url)) => Some(url),
        Ok(None) => {
            tracing::warn!(
                provider = provider.name(),
                "the provider has no end_session_endpoint, so people stay signed in there; set sign_out = \"local\" for it"
            );
            None
        }
        Err(error) => {
            tracing::error!(provider = provider.name(), %error, "a person is not signed out at the provider");
            None
        }
    }
}

fn seal_next(app: &App, provider: &Provider, next: &Next) -> Option<String> {
    let mut state = app.clock.now().0.to_be_bytes().to_vec();
    state.extend(next.as_str().as_bytes());
    app.session_key.seal(&sign_out_at(provider), &state).ok()
}

/// Where a person goes who comes back from a provider with this `state`. `None` where the gateway did not send it, where it
/// is too old, or where the address is not allowed any more.
#[must_use]
pub fn open_next(app: &App, provider: &Provider, state: &str) -> Option<Next> {
    let state = app.session_key.open(&sign_out_at(provider), state)?;
    let (issued, next) = state.split_first_chunk()?;
    let issued = Timestamp(u64::from_be_bytes(*issued));
    if issued.after(LIFETIME) <= app.clock.now() {
        return None;
    }
    let next = std::str::from_utf8(next).ok()?;
    next::parse(next, &app.live.load().origins, &app.address.origin).ok()
}
