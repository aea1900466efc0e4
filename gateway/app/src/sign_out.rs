//! Signing out at the provider too (OpenID Connect RP-Initiated Logout 1.0).
//!
//! The ID token from the start of a session is sealed to its user, stored with the session, and deleted with it. The
//! return URL is sealed to the provider for an hour, as `state`: the provider carries it but can neither read nor
//! change it.

use std::time::Duration;

use gateway_model::{Timestamp, UserId};
use gateway_store::{SignOutHint, SignedIn};
use gateway_upstream::{EndSession, Provider};
use url::Url;

use crate::app::App;
use crate::return_url::{self, ReturnUrl};

/// How long a user may take at the provider.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Seals an ID token for its user's session, together with the provider's name, because two configured providers may
/// have the same issuer and thus the same identity. If that fails, signing out sends no ID token to the provider.
pub(crate) fn seal_id_token(app: &App, user: &UserId, provider: &str, id_token: &str) -> Option<String> {
    let text = format!("{provider} {id_token}");
    let sealed = app.session_key.seal(&id_token_of(user), text.as_bytes());
    sealed
        .inspect_err(|error| tracing::warn!(%user, %error, "an ID token cannot be sealed for the sign-out"))
        .ok()
}

/// The context of sealed ID tokens.
fn id_token_of(user: &UserId) -> String {
    format!("the ID token of user {user}")
}

/// Returns the ID token and the provider's name, which earlier versions did not store.
fn open_id_token(app: &App, user: &UserId, hint: &SignOutHint) -> Option<(Option<String>, String)> {
    let sealed = hint.sealed_id_token.as_deref()?;
    let text = app.session_key.open(&id_token_of(user), sealed)?;
    let text = String::from_utf8(text).ok()?;
    Some(match text.split_once(' ') {
        Some((provider, id_token)) => (Some(provider.to_owned()), id_token.to_owned()),
        None => (None, text),
    })
}

/// The context of sealed return URLs.
fn sign_out_at(provider: &Provider) -> String {
    format!("a sign-out at provider {}", provider.name())
}

/// Where to send a user whose session has just ended: to the provider, which redirects to `next`, or directly to `next`
/// if the provider does not sign users out or is not configured to. The URL has at most `longest` bytes if that is
/// possible without the ID token.
pub(crate) async fn leads_to(
    app: &App,
    signed_in: &SignedIn,
    hint: Option<&SignOutHint>,
    next: &ReturnUrl,
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
    next: &ReturnUrl,
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
                "the provider has no end_session_endpoint, so users stay signed in there; set sign_out = \"local\" for it"
            );
            None
        }
        Err(error) => {
            tracing::error!(provider = provider.name(), %error, "a user cannot be signed out at the provider");
            None
        }
    }
}

fn seal_next(app: &App, provider: &Provider, next: &ReturnUrl) -> Option<String> {
    let mut state = app.clock.now().0.to_be_bytes().to_vec();
    state.extend(next.as_str().as_bytes());
    app.session_key.seal(&sign_out_at(provider), &state).ok()
}

/// The return URL in a provider's `state`. `None` if the gateway did not issue it, if it is too old, or if the URL is
/// no longer allowed.
pub(crate) fn open_next(app: &App, provider: &Provider, state: &str) -> Option<ReturnUrl> {
    let state = app.session_key.open(&sign_out_at(provider), state)?;
    let (issued, next) = state.split_first_chunk()?;
    let issued = Timestamp(u64::from_be_bytes(*issued));
    if issued.after(LIFETIME) <= app.clock.now() {
        return None;
    }
    let next = std::str::from_utf8(next).ok()?;
    return_url::parse(next, &app.live.load().origins, &app.address.origin).ok()
}
