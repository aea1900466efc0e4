//! `POST /auth/update`: sets the caller's username, once. Setting the same name again succeeds, so that a client can
//! repeat a request whose response it lost.

use gateway_model::Username;
use gateway_store::SetUsername;
use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde_json::json;

use crate::app::App;
use crate::rate_limit::TooMany;
use crate::request::Request;
use crate::response::{self, Response};
use crate::session::{self, Caller, CallerError};

/// The old service's text.
const ALREADY_SET: &str = "Cannot modify username, already set";

/// Returns 200 with `success` true or false, as the predecessor of the old service did. If the database fails, the
/// response is 503 and nothing has changed.
pub(crate) async fn handle(app: &App, request: &Request) -> Result<Response, CallerError> {
    let username = request.parameter("username")?;
    let signed_in = match session::caller(app, request).await? {
        Caller::NoToken => return Ok(refuse("No token")),
        Caller::NotSignedIn => return Ok(refuse("Not authenticated")),
        Caller::UnknownUser => return Ok(refuse("Unknown User")),
        Caller::SignedIn(signed_in) => signed_in,
    };
    let user = &signed_in.user;
    let success = || response::json(StatusCode::OK, &json!({ "success": true }));
    // Other fields cannot be changed. The old service did not say so either.
    let Some(username) = username else {
        return Ok(success());
    };
    if let Some(set) = &user.username {
        let is_same = set.as_str() == username;
        return Ok(if is_same { success() } else { refuse(ALREADY_SET) });
    }
    let username = match Username::parse(username) {
        Ok(username) => username,
        Err(error) => return Ok(refuse(&error.to_string())),
    };
    Ok(match app.store.set_username(&user.id, &username).await? {
        SetUsername::Set => success(),
        SetUsername::AlreadySet => refuse(ALREADY_SET),
        SetUsername::Taken => refuse("Username already taken"),
        SetUsername::UnknownUser => refuse("Unknown User"),
    })
}

pub(crate) fn too_many(too_many: TooMany) -> Response {
    let answer = refuse_with(StatusCode::TOO_MANY_REQUESTS, &too_many.to_string());
    response::with(answer, RETRY_AFTER, too_many.retry_after.into())
}

/// 403: the page's origin is not configured.
pub(crate) fn foreign_page() -> Response {
    refuse_with(StatusCode::FORBIDDEN, "The origin of this page is not configured")
}

fn refuse(error: &str) -> Response {
    refuse_with(StatusCode::OK, error)
}

fn refuse_with(status: StatusCode, error: &str) -> Response {
    response::json(status, &json!({ "success": false, "error": error }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ALREADY_SET;
    use crate::testing::TestGateway;

    #[tokio::test]
    async fn a_username_is_set_once() {
        let gateway = TestGateway::new().await;
        let token = gateway.sign_in("alice").await;
        let set = async |name: &str| {
            let form = format!("username={name}");
            gateway.post("/auth/update", &token, &form).await.1
        };
        assert_eq!(set("neo").await, json!({ "success": true }));
        assert_eq!(set("neo").await, json!({ "success": true }));
        let refused = json!({ "success": false, "error": ALREADY_SET });
        assert_eq!(set("trinity").await, refused);
    }
}
