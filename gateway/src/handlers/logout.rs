//! `POST /auth/logout`: ends the caller's session and tells the hooks.

use gateway_token::SessionClaims;
use hyper::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::request::Request;
use crate::response::{self, Response};
use crate::session::{self, Caller, CallerError};

/// Answers 200. A token that is not valid any more belongs to a session that has ended: success.
///
/// A token that seems to have expired ends the session that it was issued for: the clock may be ahead, and the session
/// would be valid again once the clock is right.
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
        Caller::NotSignedIn | Caller::UnknownUser => {
            if let Some(SessionClaims {
                session,
                user,
                expires,
            }) = session::claims_ignoring_expiry(app, request)?
                && app
                    .store
                    .log_out_as_issued(&session, &user, expires)
                    .await?
                    .is_some()
            {
                app.courier.wake();
            }
        }
        Caller::SignedIn(signed_in) => {
            if app.store.log_out(&signed_in.session.id).await?.is_some() {
                app.courier.wake();
            }
        }
    }
    Ok(response::json(StatusCode::OK, &json!({ "success": true })))
}
