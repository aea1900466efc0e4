//! `GET /auth/check`: who a token belongs to, or how to sign in.

use gateway_model::{Session, User};
use hyper::StatusCode;
use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::next::Next;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::session::{self, Caller, CallerError};
use crate::time::http_date;

use super::{login_path, next_of};

/// What an application is told of a user.
#[derive(Serialize)]
struct Profile<'a> {
    id: &'a str,
    name: &'a str,
    email: Option<&'a str>,
    avatar_url: Option<&'a str>,
    idhash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    provider_id: String,
    join_date: String,
}

#[derive(Serialize)]
struct SignedIn<'a> {
    authenticated: bool,
    profile: Profile<'a>,
}

/// Answers.
///
/// # Errors
/// 400 for a `next` that is not allowed, where nobody is signed in; 503 where the database fails.
pub async fn handle(app: &App, request: &Request) -> Result<Response, CallerError> {
    match session::caller(app, request).await? {
        Caller::SignedIn(signed_in) => {
            let answer = SignedIn {
                authenticated: true,
                profile: profile(&signed_in.session, &signed_in.user),
            };
            Ok(response::json(StatusCode::OK, &answer))
        }
        Caller::NoToken | Caller::NotSignedIn | Caller::UnknownUser => Ok(providers(app, request)?),
    }
}

fn profile<'a>(session: &'a Session, user: &'a User) -> Profile<'a> {
    let came_by = user
        .identities
        .iter()
        .find(|identity| identity.provider == session.provider);
    let provider_id = came_by
        .or(user.identities.first())
        .map(|identity| format!("{}:{}", identity.provider, identity.subject))
        .unwrap_or_default();
    Profile {
        id: user.id.as_str(),
        name: &user.name,
        email: user.email.as_ref().map(|email| email.address.as_str()),
        avatar_url: user.avatar_url.as_deref(),
        idhash: hex::encode(Md5::digest(user.id.as_str())),
        username: user.username.as_ref().map(gateway_model::Username::as_str),
        provider_id,
        join_date: http_date(user.joined),
    }
}

fn providers(app: &App, request: &Request) -> Result<Response, BadRequest> {
    let next = match next_of(app, request)? {
        Ok(next) => next,
        Err(error) => return Ok(response::error(StatusCode::BAD_REQUEST, &error.to_string())),
    };
    let providers: serde_json::Map<_, _> = app
        .provider_names()
        .map(|name| (name.to_owned(), json!({ "url": login_url(app, name, &next) })))
        .collect();
    Ok(response::json(
        StatusCode::OK,
        &json!({ "authenticated": false, "providers": providers }),
    ))
}

/// Where a browser is sent to sign in.
fn login_url(app: &App, provider: &str, next: &Next) -> String {
    format!("{}{}", app.address.text, login_path(provider, next))
}
