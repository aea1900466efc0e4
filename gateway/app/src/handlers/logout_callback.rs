//! `GET /auth/logout_callback/<provider>`: where a provider sends people whom it has signed out.

use gateway_upstream::Provider;

use crate::app::App;
use crate::request::Request;
use crate::response::{self, Response};
use crate::sign_out;

/// Sends the person on to where they were going when they signed out, or to the gateway's own page. Ends nothing, so it
/// matters to nobody who opens it.
pub fn handle(app: &App, request: &Request, provider: &Provider) -> Response {
    let state = request.parameter("state").ok().flatten();
    match state.and_then(|state| sign_out::open_next(app, provider, state)) {
        Some(next) => response::redirect(next.as_str()),
        None => response::redirect(&format!("{}/#signed-out", app.address.text)),
    }
}
