//! `POST /auth/logout`: ends the caller's session and runs the hooks. With `next`, the response also has the address to
//! send the browser to. With `sign_out = "provider"`, that address leads through the provider.

use hyper::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::navigation;
use crate::pages::Failure;
use crate::request::Request;
use crate::response::{self, Response};
use crate::return_url::{self, ReturnUrl, ReturnUrlError};
use crate::session::{self, Caller, CallerError};
use crate::sign_out;

use super::visit::{Visit, bad_return, wants_a_page};

/// The longest `Location`. nginx accepts response heads of 4 KB by default, and there are more headers.
const MAX_LOCATION: usize = 3_400;

/// An invalid token belongs to a session that has ended, so the response is 200 as well. An expired token ends its
/// session: the clock may be ahead, and the session would be valid again once it is right. If the database fails, the
/// response is 503 and the session continues.
pub(crate) async fn handle(app: &App, request: &Request) -> Result<Response, CallerError> {
    // A browser that navigates here with a form shows the response. A script gets JSON.
    let goes_there = wants_a_page(&request.headers);
    if goes_there && is_foreign(app, request) {
        return Ok(Visit::new(app, &request.headers).page(&Failure::ForeignSignOut));
    }
    let next = match request.parameter("next")? {
        None => None,
        Some(text) => match allowed(app, text) {
            Ok(next) => Some(next),
            Err(wrong) if goes_there => {
                return Ok(Visit::new(app, &request.headers).page(&bad_return(&wrong)));
            }
            Err(wrong) => return Ok(response::error(StatusCode::BAD_REQUEST, &wrong.to_string())),
        },
    };
    let signed_in = match session::caller(app, request).await? {
        Caller::NoToken => {
            let answer = json!({ "success": false, "error": "No token" });
            return Ok(match next {
                Some(next) if goes_there => response::see_other(next.as_str()),
                _ => response::json(StatusCode::OK, &answer),
            });
        }
        Caller::NotSignedIn | Caller::UnknownUser => {
            end_expired(app, request).await?;
            None
        }
        Caller::SignedIn(signed_in) => Some(signed_in),
    };
    let mut hint = None;
    if let Some(signed_in) = &signed_in {
        let session = &signed_in.session.id;
        if next.is_some() {
            // The hint is deleted with the session. Without it, the user is signed out all the same.
            hint = app.store.sign_out_hint(session).unwrap_or_default();
        }
        if app.store.log_out(session).await?.is_some() {
            app.logout_notifier.notify_one();
        }
    }
    let Some(next) = next else {
        return Ok(response::json(StatusCode::OK, &json!({ "success": true })));
    };
    let longest = if goes_there { MAX_LOCATION } else { usize::MAX };
    let url = match &signed_in {
        Some(signed_in) => sign_out::leads_to(app, signed_in, hint.as_ref(), &next, longest).await,
        None => next.as_str().to_owned(),
    };
    Ok(if goes_there {
        response::see_other(&url)
    } else {
        response::json(StatusCode::OK, &json!({ "success": true, "url": url }))
    })
}

async fn end_expired(app: &App, request: &Request) -> Result<(), CallerError> {
    let Some(claims) = session::claims_ignoring_expiry(app, request)? else {
        return Ok(());
    };
    let ended = app
        .store
        .log_out_as_issued(&claims.session, &claims.user, claims.expires)
        .await?;
    if ended.is_some() {
        app.logout_notifier.notify_one();
    }
    Ok(())
}

/// Whether the form comes from a page that must not sign anybody out. It could do so with its own token, to sign the
/// user out at their provider.
fn is_foreign(app: &App, request: &Request) -> bool {
    let origins = &app.live.load().origins;
    navigation::is_from_a_foreign_page(&request.headers, origins, &app.address.origin)
}

fn allowed(app: &App, text: &str) -> Result<ReturnUrl, ReturnUrlError> {
    let live = app.live.load();
    return_url::parse(text, &live.origins, &app.address.origin)?.if_short()
}
