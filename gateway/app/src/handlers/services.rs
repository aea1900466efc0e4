//! `GET /auth/services`: the services that `authorize` answers for, for somebody who is signed in.

use hyper::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::request::Request;
use crate::response::{self, Response};
use crate::session::{self, Caller, CallerError};

/// Answers 200; without a valid token there are none, as `authorize` has no permissions then.
///
/// # Errors
/// 503 where the database fails.
pub async fn handle(app: &App, request: &Request) -> Result<Response, CallerError> {
    let services = match session::caller(app, request).await? {
        Caller::SignedIn(_) => app.plugins.services(),
        Caller::NoToken | Caller::NotSignedIn | Caller::UnknownUser => Vec::new(),
    };
    Ok(response::json(StatusCode::OK, &json!({ "services": services })))
}
