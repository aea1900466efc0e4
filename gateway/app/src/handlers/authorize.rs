//! `GET /auth/authorize`: the caller's permissions in a service, in a signed permission token. If the permission
//! provider, the database or signing fails, the response is 503 without permissions: they fail closed.

use std::sync::Arc;

use bytes::Bytes;
use gateway_host::Permissions;
use gateway_model::{PermissionMap, UserId};
use gateway_sandbox::CallError;
use gateway_token::{KeyError, PermissionClaims};
use hyper::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::request::Request;
use crate::response::{self, Response};
use crate::session::{self, Caller, CallerError};

/// How many characters of an unknown service's name the log shows.
const MAX_SHOWN: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Caller(#[from] CallerError),
    #[error(transparent)]
    Provider(#[from] CallError),
    #[error(transparent)]
    Signing(#[from] KeyError),
    #[error(transparent)]
    Json(serde_json::Error),
}

impl From<Error> for Response {
    fn from(error: Error) -> Self {
        let message = match error {
            Error::Caller(error) => return error.into(),
            // The plugin host has logged the details. The caller must not see them.
            Error::Provider(
                CallError::Overloaded { .. } | CallError::Crowded { .. } | CallError::Replaced { .. },
            ) => "The permission provider is busy",
            Error::Provider(CallError::NotLoaded { .. }) => "The permission provider is not available",
            Error::Provider(_) => "The permission provider failed",
            Error::Signing(_) | Error::Json(_) => {
                tracing::error!(%error, "a permission token cannot be signed");
                "The token cannot be signed"
            }
        };
        let body = json!({ "permissions": {}, "error": message });
        response::retry_later(response::json(StatusCode::SERVICE_UNAVAILABLE, &body))
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    token: &'a str,
    userid: &'a str,
    permissions: &'a PermissionMap,
    service: &'a str,
}

pub(crate) async fn handle(app: &Arc<App>, request: &Request) -> Result<Response, Error> {
    let service = request
        .parameter("service")
        .map_err(CallerError::from)?
        .unwrap_or_default();
    let Caller::SignedIn(signed_in) = session::caller(app, request).await? else {
        return Ok(nothing());
    };
    if !app.live.load().services.contains_key(service) {
        if app.dev {
            name_the_services(app, service);
        }
        return Ok(nothing());
    }

    let user = &signed_in.user.id;
    let sign = {
        let (app, service, user) = (Arc::clone(app), service.to_owned(), user.clone());
        move |permissions| answer(&app, service, &user, permissions)
    };
    let answer = match app.plugins.get_permissions_then(service, user, sign).await {
        // The plugins' configuration can take effect a moment before or after the rest.
        Err(CallError::NotConfigured { .. }) => return Ok(nothing()),
        answered => answered??,
    };
    // A provider can take seconds. If the user has signed out or been disabled meanwhile, the token is withheld, even
    // if it was signed earlier.
    let still = app.store.is_still_signed_in(&signed_in).await;
    // defence: session-is-checked-after-the-plugin (a test fails without it: docs/defences.md)
    Ok(if still.map_err(CallerError::from)? {
        answer
    } else {
        nothing()
    })
}

/// The response with a token for these permissions, by the configuration at the time of signing.
fn answer(
    app: &App,
    service: String,
    user: &UserId,
    Permissions { permissions, digest }: Permissions,
) -> Result<Response, Error> {
    let audience = match app.live.load().services.get(&service) {
        Some(service) => service.audience.clone(),
        None => return Ok(nothing()),
    };
    let now = app.clock.now();
    let claims = PermissionClaims {
        iss: app.address.text.clone(),
        sub: user.as_str().to_owned(),
        userid: user.as_str().to_owned(),
        service,
        permissions,
        aud: audience,
        plugin: digest.as_ref().to_owned(),
        iat: now.0,
        exp: now.after(app.token_lifetime).0,
    };
    let answer = app.token_cache.answer(claims, |claims| {
        let answer = Answer {
            token: &app.keys.sign(claims)?,
            userid: &claims.userid,
            permissions: &claims.permissions,
            service: &claims.service,
        };
        serde_json::to_vec(&answer).map(Bytes::from).map_err(Error::Json)
    })?;
    Ok(response::json_text(StatusCode::OK, answer))
}

/// The response does not reveal that a service does not exist, so that nobody can find the services by guessing. Under
/// `gateway dev` the log does, because the caller is the developer.
fn name_the_services(app: &App, asked: &str) {
    let live = app.live.load();
    let services: Vec<&str> = live.services.keys().map(String::as_str).collect();
    let shown: String = asked.chars().take(MAX_SHOWN).collect();
    tracing::warn!(
        "there is no service {shown:?}, so the response has no permissions; configured services: {}",
        services.join(", ")
    );
}

/// No token: nobody is signed in, or the service is not configured.
fn nothing() -> Response {
    response::json(StatusCode::OK, &json!({ "permissions": {} }))
}
