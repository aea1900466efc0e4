//! `GET /auth/logout_callback/<provider>`: where a provider sends users after it has signed them out.

use gateway_upstream::Provider;

use crate::app::App;
use crate::request::Request;
use crate::response::{self, Response};
use crate::sign_out;

/// Redirects to the `next` of the sign-out, or to the gateway's own page. It ends nothing, so anyone may open it.
pub(crate) fn handle(app: &App, request: &Request, provider: &Provider) -> Response {
    let state = request.parameter("state").ok().flatten();
    match state.and_then(|state| sign_out::open_next(app, provider, state)) {
        Some(next) => response::redirect(next.as_str()),
        None => response::redirect(&format!("{}/#signed-out", app.address.text)),
    }
}
