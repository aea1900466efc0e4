//! The endpoints, one file each. A file has the handler, its errors, and their mapping to responses. [`ROUTES`] has a
//! row for each endpoint.

pub(crate) mod authorize;
pub(crate) mod backchannel_logout;
pub(crate) mod callback;
pub(crate) mod check;
#[cfg(feature = "dev")]
pub(crate) mod dev_login;
pub(crate) mod home;
pub(crate) mod landing;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logout_callback;
pub(crate) mod openapi;
pub(crate) mod public_key;
pub(crate) mod resolve;
pub(crate) mod services;
pub(crate) mod sign_in;
pub(crate) mod update;
pub(crate) mod visit;

use gateway_upstream::Provider;
use url::{Url, form_urlencoded};

use crate::app::App;
use crate::rate_limit::{Limit, TooMany};
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::return_url::{self, ReturnUrl, ReturnUrlError};
use crate::route::Methods::ProvidersAnswer;
use crate::route::{Answer, Audience, Call, Gate, Route};

/// Every endpoint. A test of the router compares this table with `openapi.json`.
#[rustfmt::skip]
pub(crate) const ROUTES: &[Route] = &[
    Route::get("/auth/check", |call| answer(check::handle(call.app, call.request))).to(Audience::Jsonp),
    Route::get("/auth/authorize", |call| answer(authorize::handle(call.app, call.request))).to(Audience::Jsonp),
    Route::get("/auth/services", |call| answer(services::handle(call.app, call.request))),
    Route::post("/auth/update", |call| answer(update::handle(call.app, call.request))).behind(Gate::Update),
    Route::post("/auth/logout", |call| answer(logout::handle(call.app, call.request))),
    Route::get("/auth/public-key", |call| at_once(public_key::pem(call.app))),
    Route::get("/auth/resolve", |call| answer(resolve::resolve(call.app, call.request)))
        .to(Audience::Jsonp).only_if(looks_users_up),
    Route::get("/auth/get_profile", |call| answer(resolve::get_profile(call.app, call.request)))
        .to(Audience::Jsonp).only_if(looks_users_up),
    Route::get("/auth/login", |call| at_once(sign_in::handle(call.app, call.request))).to(Audience::Person),
    Route::get("/auth/login/{provider}", begin_sign_in)
        .to(Audience::Person).behind(Gate::SignIn).only_if(|app, name| app.provider_names().any(|known| known == name)),
    Route::get("/auth/oauth_callback/{provider}", |call| at_provider(call, |provider| {
        Box::pin(callback::handle(call.app, call.request, provider))
    })).to(Audience::Person).behind(Gate::SignIn).with(ProvidersAnswer).only_if(is_provider),
    Route::get("/auth/logout_callback/{provider}", |call| at_provider(call, |provider| {
        at_once(logout_callback::handle(call.app, call.request, provider))
    })).to(Audience::Person).only_if(is_provider),
    Route::post("/auth/backchannel_logout/{provider}", |call| at_provider(call, |provider| {
        Box::pin(backchannel_logout::handle(call.app, call.request, provider))
    })).only_if(|app, name| app.provider(name).is_some_and(Provider::has_logout_tokens)),
    Route::get("/.well-known/jwks.json", |call| at_once(public_key::jwks(call.app))),
    Route::get("/openapi.json", |_| at_once(openapi::document())),
    Route::get("/", |call| at_once(home::handle(call.app, call.request))).to(Audience::Person),
    Route::get("/assets/gateway.css", |call| at_once(home::style(call.app))),
    Route::get("/assets/gateway.js", |_| at_once(home::script())),
    Route::get("/assets/logo", |call| at_once(home::logo(call.app))),
    Route::get("/assets/provider/{provider}", |call| at_once(home::provider_picture(call.app, call.provider)))
        .only_if(|app, name| app.offer(name).is_some_and(|offer| offer.picture().is_some())),
];

fn answer<'a, E: Into<Response>>(made: impl Future<Output = Result<Response, E>> + Send + 'a) -> Answer<'a> {
    Box::pin(async { made.await.unwrap_or_else(Into::into) })
}

fn at_once<'a>(response: Response) -> Answer<'a> {
    Box::pin(std::future::ready(response))
}

fn at_provider<'a>(call: Call<'a>, handler: impl FnOnce(&'a Provider) -> Answer<'a>) -> Answer<'a> {
    match call.app.provider(call.provider) {
        Some(provider) => handler(provider),
        None => at_once(response::not_found()),
    }
}

fn is_provider(app: &App, name: &str) -> bool {
    app.provider(name).is_some()
}

fn looks_users_up(app: &App, _: &str) -> bool {
    app.live.load().user_lookup
}

fn begin_sign_in(call: Call<'_>) -> Answer<'_> {
    #[cfg(feature = "dev")]
    if call.app.is_dev_sign_in(call.provider) {
        return Box::pin(dev_login::handle(call.app, call.request));
    }
    at_provider(call, |provider| {
        Box::pin(login::handle(call.app, call.request, provider))
    })
}

/// Where the user goes after the sign-in: `next` if it is allowed, otherwise the configured default.
fn next_of(app: &App, request: &Request) -> Result<Result<ReturnUrl, ReturnUrlError>, BadRequest> {
    let live = app.live.load();
    Ok(match request.parameter("next")? {
        Some(text) => return_url::parse(text, &live.origins, &app.address.origin),
        None => Ok(ReturnUrl::from_default(&live.default_next)),
    })
}

/// Counts a sign-in against the rate limit, at the point from which it costs something.
fn admit(app: &App, request: &Request) -> Result<(), TooMany> {
    let limits = app.rate_limits.load();
    limits.admit(Limit::SignIn, request.peer, &request.headers)
}

/// The redirect URI to register with a provider.
pub(crate) fn callback_url(external: &Url, provider: &str) -> Result<Url, url::ParseError> {
    let origin = external.origin().ascii_serialization();
    Url::parse(&format!("{origin}/auth/oauth_callback/{provider}"))
}

/// Whether the application handles a failed sign-in itself (`errors=next`). Otherwise the user sees a page.
fn tells_next(request: &Request) -> Result<bool, BadRequest> {
    match request.parameter("errors")? {
        None | Some("page") => Ok(false),
        Some("next") => Ok(true),
        Some(_) => Err(BadRequest::Errors),
    }
}

/// Reads `next` and `errors` where a sign-in begins. An application that handles failures itself gets no old error back.
fn destination<E>(app: &App, request: &Request) -> Result<(ReturnUrl, bool), E>
where
    E: From<BadRequest> + From<ReturnUrlError>,
{
    let next = next_of(app, request)?;
    Ok(if tells_next(request)? {
        (next?.without_error(), true)
    } else {
        (next?, false)
    })
}

fn login_path(provider: &str, next: &ReturnUrl, tells_next: bool) -> String {
    format!("/auth/login/{provider}?{}", query(next, tells_next))
}

/// The path of the page with all ways to sign in.
fn sign_in_path(next: &ReturnUrl, tells_next: bool) -> String {
    format!("/auth/login?{}", query(next, tells_next))
}

fn query(next: &ReturnUrl, tells_next: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", next.as_str());
    if tells_next {
        query.append_pair("errors", "next");
    }
    query.finish()
}
