//! `GET /auth/check`: who a token belongs to, or how to sign in.

use gateway_model::{Session, User};
use hyper::StatusCode;
use md5::{Digest, Md5};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::app::App;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::return_url::ReturnUrl;
use crate::session::{self, Caller, CallerError};
use crate::time::http_date;

use super::{login_path, next_of, tells_next};

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

#[derive(Serialize)]
struct NotSignedIn<'a> {
    authenticated: bool,
    providers: InOrder<'a>,
}

/// A JSON object whose members keep their order: applications offer providers in the order of the configuration.
struct InOrder<'a>(Vec<(&'a str, Value)>);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

pub(crate) async fn handle(app: &App, request: &Request) -> Result<Response, CallerError> {
    let tells_next = tells_next(request)?;
    match session::caller(app, request).await? {
        Caller::SignedIn(signed_in) => {
            let answer = SignedIn {
                authenticated: true,
                profile: profile(&signed_in.session, &signed_in.user),
            };
            Ok(response::json(StatusCode::OK, &answer))
        }
        Caller::NoToken | Caller::NotSignedIn | Caller::UnknownUser => {
            Ok(providers(app, request, tells_next)?)
        }
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

fn providers(app: &App, request: &Request, tells_next: bool) -> Result<Response, BadRequest> {
    let next = match next_of(app, request)?.and_then(ReturnUrl::if_short) {
        Ok(next) => next,
        Err(error) => return Ok(response::error(StatusCode::BAD_REQUEST, &error.to_string())),
    };
    let providers: Vec<_> = app
        .provider_names()
        // defence: addresses-come-from-the-configuration (a test fails without it: docs/defences.md)
        .map(|name| (name, json!({ "url": login_url(app, name, &next, tells_next) })))
        .collect();
    let answer = NotSignedIn {
        authenticated: false,
        providers: InOrder(providers),
    };
    Ok(response::json(StatusCode::OK, &answer))
}

fn login_url(app: &App, provider: &str, next: &ReturnUrl, tells_next: bool) -> String {
    format!("{}{}", app.address.text, login_path(provider, next, tells_next))
}
