//! `GET /auth/resolve` and `GET /auth/get_profile`: users by username, regardless of case. Off by default, because they
//! let anyone enumerate users.

use gateway_model::User;
use hyper::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::request::Request;
use crate::response::{self, Response};
use crate::session::CallerError;
use crate::time::http_date;

pub(crate) async fn resolve(app: &App, request: &Request) -> Result<Response, CallerError> {
    let user = find(app, request).await?;
    let id = user.as_ref().map(|user| user.id.as_str());
    Ok(response::json(StatusCode::OK, &json!({ "userid": id })))
}

/// Without the email address.
pub(crate) async fn get_profile(app: &App, request: &Request) -> Result<Response, CallerError> {
    let user = find(app, request).await?;
    let profile = user.as_ref().map(|user| {
        json!({
            "id": user.id,
            "name": user.name,
            "avatar_url": user.avatar_url,
            "gravatar": gravatar(user),
            "join_date": http_date(user.joined),
        })
    });
    Ok(response::json(
        StatusCode::OK,
        &json!({ "found": user.is_some(), "profile": profile }),
    ))
}

/// The MD5 of the email address, as Gravatar uses it.
fn gravatar(user: &User) -> Option<String> {
    use md5::{Digest, Md5};
    let email = user.email.as_ref()?;
    Some(hex::encode(Md5::digest(
        email.address.trim().to_ascii_lowercase(),
    )))
}

async fn find(app: &App, request: &Request) -> Result<Option<User>, CallerError> {
    match request.parameter("username")? {
        Some(username) if !username.is_empty() => Ok(app.store.find_user_by_username(username).await?),
        Some(_) | None => Ok(None),
    }
}
