//! `GET /auth/login/dev`: the development sign-in, also for `google` and `github` if these are not configured. Anyone
//! can sign in as anyone, so it exists only in builds with the feature `dev`, and `gateway dev` listens on loopback
//! only.

use std::sync::Arc;

use gateway_model::{Email, Identity, UpstreamUser};
use serde_json::json;

use crate::app::{App, DEV_PROVIDER};
use crate::pages::{CHOOSE_USER_CSP, Failure, Person, choose_user};
use crate::rate_limit::TooMany;
use crate::request::{BadRequest, Request};
use crate::response::Response;
use crate::return_url::{ReturnUrl, ReturnUrlError};
use crate::sign_in;

use super::visit::{Visit, bad_return};
use super::{admit, destination, landing};

/// Not the gateway's address, which has a new port at each start: the users stay the same.
const ISSUER: &str = "urn:auth-gateway:dev";

const USERS: [&str; 4] = ["alice", "bob", "trinity", "mallory"];

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error(transparent)]
    ReturnUrl(#[from] ReturnUrlError),
    #[error("A name has 1 to 64 letters, digits, dots, dashes and underscores")]
    Name,
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Shows the page with test users or, with `user`, signs in.
pub(crate) async fn handle(app: &Arc<App>, request: &Request) -> Response {
    let visit = Visit::new(app, &request.headers).with_provider(DEV_PROVIDER);
    let (next, tells_next) = match destination(app, request) {
        Ok(destination) => destination,
        Err(error) => return refuse(&visit, &error),
    };
    let visit = visit.to(&next, tells_next);
    sign_in(app, request, &visit, &next, tells_next)
        .await
        .unwrap_or_else(|error| refuse(&visit, &error))
}

async fn sign_in(
    app: &Arc<App>,
    request: &Request,
    visit: &Visit<'_>,
    next: &ReturnUrl,
    tells_next: bool,
) -> Result<Response, Error> {
    admit(app, request)?;
    let Some(name) = request.parameter("user")? else {
        let users = USERS.map(person);
        let people = users.each_ref().map(|user| Person {
            user: &user.identity.subject,
            name: &user.name,
            email: user.email.as_ref().map_or("", |email| &email.address),
        });
        return Ok(visit.show(CHOOSE_USER_CSP, |frame| {
            choose_user(frame, next.as_str(), tells_next, &people)
        }));
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
        return Err(Error::Name);
    }
    Ok(match sign_in::complete(app, person(name)).await {
        Ok(outcome) => landing::arrive(app, visit, DEV_PROVIDER, outcome, next),
        Err(error) => landing::not_signed_in(visit, DEV_PROVIDER, &error),
    })
}

fn refuse(visit: &Visit<'_>, error: &Error) -> Response {
    match error {
        Error::BadRequest(bad) => landing::unreadable(visit, *bad),
        Error::ReturnUrl(error) => visit.page(&bad_return(error)),
        Error::Name => visit.answer(&Failure::BadName),
        Error::TooMany(too_many) => landing::too_many(visit, *too_many),
    }
}

/// `mallory` has another domain, so that the example extension has a user to reject.
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
        claims: claims.as_object().cloned().unwrap_or_default().into(),
        session: gateway_model::UpstreamSession::default(),
    }
}
