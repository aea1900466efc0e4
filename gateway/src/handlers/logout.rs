//! `POST /auth/logout`: ends the caller's session and tells the hooks.

use hyper::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::request::Request;
use crate::response::{self, Response};
use crate::session::{self, Caller, CallerError};

/// Answers 200. A token that is no good any more is a session that has ended: success.
///
/// # Errors
/// 503 where the database fails: the session goes on then.
pub async fn handle(app: &App, request: &Request) -> Result<Response, CallerError> {
    match session::caller(app, request).await? {
        Caller::NoToken => {
            return Ok(response::json(
                StatusCode::OK,
                &json!({ "success": false, "error": "No token" }),
            ));
        }
        Caller::NotSignedIn | Caller::UnknownUser => {}
        Caller::SignedIn(signed_in) => {
            if app.store.log_out(&signed_in.session.id).await?.is_some() {
                app.courier.wake();
            }
        }
    }
    Ok(response::json(StatusCode::OK, &json!({ "success": true })))
}
