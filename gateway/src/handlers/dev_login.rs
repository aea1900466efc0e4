//! `GET /auth/login/dev`: the development sign-in. Anyone may be anyone, so it is compiled in with the
//! feature `dev` only, and `gateway dev` listens on loopback only.

use std::sync::Arc;

use gateway_model::{Email, Identity, UpstreamUser};
use hyper::StatusCode;
use serde_json::json;

use crate::app::{App, DEV_PROVIDER};
use crate::next::NextError;
use crate::pages::{CHOOSE_USER_CSP, Person, choose_user};
use crate::rate_limit::TooMany;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::sign_in;

use super::{admit, landing, login_path, next_of};

/// Not the gateway's address: that has another port each time, and the people stay the same.
const ISSUER: &str = "urn:auth-gateway:dev";

/// Whom the page offers.
const PEOPLE: &[Person<'static>] = &[
    Person {
        user: "alice",
        name: "Alice",
        email: "alice@example.org",
    },
    Person {
        user: "bob",
        name: "Bob",
        email: "bob@example.org",
    },
    Person {
        user: "trinity",
        name: "Trinity",
        email: "trinity@example.org",
    },
    Person {
        user: "mallory",
        name: "Mallory",
        email: "mallory@evil.example",
    },
];

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request makes no sense.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The person may not be sent there.
    #[error(transparent)]
    Next(#[from] NextError),
    /// A name that makes no sense in an address.
    #[error("A name has 1 to 64 letters, digits, dots, dashes and underscores")]
    Name,
    /// Too many sign-ins come from the caller's address.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// The page to choose who to be or, with `user`, the sign-in at once.
///
/// # Errors
/// 400 for a `next` that is not allowed, or a name that is none.
pub async fn handle(app: &Arc<App>, request: &Request) -> Result<Response, Error> {
    let next = next_of(app, request)??;
    admit(app, request)?;
    let Some(name) = request.parameter("user")? else {
        return Ok(response::page(
            StatusCode::OK,
            CHOOSE_USER_CSP,
            choose_user(next.as_str(), PEOPLE),
        ));
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
        return Err(Error::Name);
    }
    let again = login_path(DEV_PROVIDER, &next);
    Ok(match sign_in::complete(app, person(name)).await {
        Ok(outcome) => landing::arrive(app, DEV_PROVIDER, outcome, &next, &again),
        Err(error) => landing::not_signed_in(DEV_PROVIDER, &error, &again),
    })
}

/// Somebody invented. `mallory` is from elsewhere, so that the example extension has someone to reject.
fn person(name: &str) -> UpstreamUser {
    let domain = if name == "mallory" {
        "evil.example"
    } else {
        "example.org"
    };
    let address = format!("{name}@{domain}");
    let mut display = name.to_owned();
    if let Some(first) = display.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let claims = json!({
        "iss": ISSUER, "sub": name, "name": display,
        "email": address, "email_verified": true,
    });
    UpstreamUser {
        identity: Identity {
            provider: DEV_PROVIDER.to_owned(),
            issuer: ISSUER.to_owned(),
            subject: name.to_owned(),
        },
        email: Some(Email {
            address,
            trusted: true,
        }),
        name: display,
        avatar_url: None,
        claims: claims.as_object().cloned().unwrap_or_default(),
        session: gateway_model::UpstreamSession::default(),
    }
}
