//! Which endpoint answers.
//!
//! | path | methods |
//! |---|---|
//! | `/auth/check` | GET |
//! | `/auth/authorize`, `/auth/services` | GET |
//! | `/auth/update` | POST |
//! | `/auth/logout` | POST |
//! | `/auth/public-key` | GET |
//! | `/auth/resolve`, `/auth/get_profile` | GET, where switched on |
//! | `/auth/login`, `/auth/login/<provider>` | GET |
//! | `/auth/oauth_callback/<provider>` | GET; POST for providers whose `response_mode` is `form_post` |
//! | `/auth/logout_callback/<provider>` | GET |
//! | `/auth/backchannel_logout/<provider>` | POST, for OpenID Connect |
//! | `/.well-known/jwks.json` | GET |
//! | `/openapi.json` | GET |
//! | `/`, `/assets/gateway.css`, `/assets/gateway.js` | GET |
//! | `/assets/logo`, `/assets/provider/<provider>` | GET, where there is one |
//!
//! The document at `/openapi.json` says the same, and a test holds it against the routes. HEAD is answered
//! wherever GET is, OPTIONS everywhere. What every answer has is added here, once, and
//! each request leaves one line in the log.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use gateway_upstream::Provider;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::header::{HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, StatusCode};

use crate::app::App;
use crate::handlers::visit::{Visit, wants_a_page};
use crate::pages::Failure;
use crate::rate_limit::Limit;
use crate::request::Request;
use crate::request_id::{REQUEST_ID, RequestId};
use crate::response::{self, Response};
use crate::server::Peer;
use crate::{config, cors, handlers, jsonp, navigation};

const READ: &str = "GET, HEAD, OPTIONS";
const WRITE: &str = "POST, OPTIONS";
const READ_OR_POST: &str = "GET, HEAD, POST, OPTIONS";
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("application/javascript; charset=utf-8");

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route<'a> {
    Check,
    Authorize,
    Services,
    Update,
    Logout,
    PublicKey,
    Jwks,
    Resolve,
    GetProfile,
    SignIn,
    Login(&'a str),
    Callback(&'a str),
    LogoutCallback(&'a str),
    BackchannelLogout(&'a str),
    OpenApi,
    Home,
    Style,
    Script,
    Logo,
    Picture(&'a str),
    Unknown,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Self {
        match path {
            "/auth/check" => Self::Check,
            "/auth/authorize" => Self::Authorize,
            "/auth/services" => Self::Services,
            "/auth/update" => Self::Update,
            "/auth/logout" => Self::Logout,
            "/auth/public-key" => Self::PublicKey,
            "/.well-known/jwks.json" => Self::Jwks,
            "/auth/resolve" => Self::Resolve,
            "/auth/get_profile" => Self::GetProfile,
            "/openapi.json" => Self::OpenApi,
            "/" => Self::Home,
            "/assets/gateway.css" => Self::Style,
            "/assets/gateway.js" => Self::Script,
            "/assets/logo" => Self::Logo,
            "/auth/login" => Self::SignIn,
            _ => Self::of_provider(path).unwrap_or(Self::Unknown),
        }
    }

    /// Those that end in a provider's name.
    fn of_provider(path: &'a str) -> Option<Self> {
        let (route, provider) = path.split_at(path.rfind('/')? + 1);
        Some(match route {
            "/auth/login/" => Self::Login(provider),
            "/auth/oauth_callback/" => Self::Callback(provider),
            "/assets/provider/" => Self::Picture(provider),
            "/auth/logout_callback/" => Self::LogoutCallback(provider),
            "/auth/backchannel_logout/" => Self::BackchannelLogout(provider),
            _ => return None,
        })
    }

    /// How it is called in the log and in metrics: never what the caller sent.
    const fn pattern(self) -> &'static str {
        match self {
            Self::Check => "/auth/check",
            Self::Authorize => "/auth/authorize",
            Self::Services => "/auth/services",
            Self::Update => "/auth/update",
            Self::Logout => "/auth/logout",
            Self::PublicKey => "/auth/public-key",
            Self::Jwks => "/.well-known/jwks.json",
            Self::Resolve => "/auth/resolve",
            Self::GetProfile => "/auth/get_profile",
            Self::SignIn => "/auth/login",
            Self::Login(_) => "/auth/login/{provider}",
            Self::Callback(_) => "/auth/oauth_callback/{provider}",
            Self::LogoutCallback(_) => "/auth/logout_callback/{provider}",
            Self::BackchannelLogout(_) => "/auth/backchannel_logout/{provider}",
            Self::OpenApi => "/openapi.json",
            Self::Home => "/",
            Self::Style => "/assets/gateway.css",
            Self::Script => "/assets/gateway.js",
            Self::Logo => "/assets/logo",
            Self::Picture(_) => "/assets/provider/{provider}",
            Self::Unknown => "unknown",
        }
    }

    const fn allow(self) -> &'static str {
        match self {
            Self::Update | Self::Logout | Self::BackchannelLogout(_) => WRITE,
            _ => READ,
        }
    }

    /// The same in this configuration.
    fn allow_in(self, app: &App) -> &'static str {
        match self {
            Self::Callback(name) if app.provider(name).is_some_and(Provider::posts_its_answer) => {
                READ_OR_POST
            }
            _ => self.allow(),
        }
    }

    /// Whether the path leads anywhere in this configuration.
    fn exists(self, app: &App) -> bool {
        match self {
            Self::Unknown => false,
            Self::Resolve | Self::GetProfile => app.live.load().user_lookup,
            Self::Login(provider) => app.provider_names().any(|name| name == provider),
            Self::Callback(provider) | Self::LogoutCallback(provider) => app.provider(provider).is_some(),
            Self::BackchannelLogout(provider) => app
                .provider(provider)
                .is_some_and(gateway_upstream::Provider::has_logout_tokens),
            Self::Picture(provider) => app.offer(provider).is_some_and(|offer| offer.picture().is_some()),
            _ => true,
        }
    }

    /// Whether a person looks at what it answers, and not a program.
    const fn is_for_people(self) -> bool {
        matches!(
            self,
            Self::SignIn | Self::Login(_) | Self::Callback(_) | Self::LogoutCallback(_) | Self::Home
        )
    }

    /// Whether it is where a sign-in begins or ends.
    const fn is_sign_in(self) -> bool {
        matches!(self, Self::Login(_) | Self::Callback(_))
    }

    /// Whether it answers JSON that JSONP may wrap.
    const fn is_json(self) -> bool {
        matches!(
            self,
            Self::Check | Self::Authorize | Self::Resolve | Self::GetProfile
        )
    }
}

/// Answers a request, counts it, and logs it.
pub async fn handle<B>(app: Arc<App>, mut request: hyper::Request<B>, peer: Peer) -> Response
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let id = app.request_ids.next();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    // defence: log-has-the-route-only (a test fails without it: docs/defences.md)
    let route = Route::of(uri.path());
    let headers = request.headers_mut();
    if route.is_for_people() || wants_a_page(headers) {
        // For the page. Of a caller's own nothing is believed.
        headers.insert(&REQUEST_ID, id.header());
    }
    let line = Line {
        app: Arc::clone(&app),
        method: known(&method),
        route: route.pattern(),
        id,
        begin: Instant::now(),
        status: CUT_OFF,
    };
    let origin = request.headers().get(ORIGIN).cloned();

    // defence: admin-is-not-public (a test fails without it: docs/defences.md)
    let mut response = if !route.exists(&app) {
        nothing_here(&app, route, &request)
    } else if method == Method::OPTIONS {
        options(&app, route, origin.as_ref())
    } else if !allows(route.allow_in(&app), &method) {
        wrong_method(&app, route, request.headers())
    } else if let Some(answer) = answer_at_once(&app, route, &request, &peer) {
        answer
    } else {
        let headers = route.is_for_people().then(|| request.headers().clone());
        let read = Request::read(request, peer.address, app.max_body, app.body_timeout).await;
        peer.is_served();
        match read {
            Ok(request) => dispatch(&app, route, &request).await,
            Err(bad) => match headers {
                Some(headers) => handlers::landing::unreadable(&Visit::new(&app, &headers), bad),
                None => bad.into(),
            },
        }
    };
    let live = app.live.load();
    cors::apply(origin.as_ref(), &live.origins, &app.address.origin, &mut response);
    response::finish(&mut response);
    response.headers_mut().insert(&REQUEST_ID, id.header());
    line.end(response.status().as_u16());
    response
}

/// The answer to a request that does nothing, and counts against no limit, whatever its parameters are; and to one over
/// the limit on updates. Sign-ins count where they cost something: in [`handlers::login`] and [`handlers::callback`].
fn answer_at_once<B>(
    app: &App,
    route: Route<'_>,
    request: &hyper::Request<B>,
    peer: &Peer,
) -> Option<Response> {
    let headers = request.headers();
    if route.is_sign_in() {
        if !navigation::is_navigation(headers) {
            return Some(Visit::new(app, headers).page(&Failure::NotAPerson));
        }
        // Who only looks whether there is something, begins and ends nothing.
        return (request.method() == Method::HEAD).then(response::empty_page);
    }
    if route == Route::Update {
        let origins = &app.live.load().origins;
        if navigation::is_from_a_foreign_page(headers, origins, &app.address.origin) {
            return Some(handlers::update::foreign_page());
        }
        let limits = app.rate_limits.load();
        let admitted = limits.admit(Limit::Update, peer.address, headers);
        return admitted.err().map(handlers::update::too_many);
    }
    None
}

/// What the log and the metrics say of a request that never was answered: the caller went away, or it
/// took too long. Nobody is sent this status.
const CUT_OFF: u16 = 499;

/// The line that a request leaves in the log, and its count, whatever comes of it.
struct Line {
    app: Arc<App>,
    method: &'static str,
    route: &'static str,
    id: RequestId,
    begin: Instant,
    status: u16,
}

impl Line {
    fn end(mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let (method, route, status, elapsed) = (self.method, self.route, self.status, self.begin.elapsed());
        self.app.http_metrics.record(route, method, status, elapsed);
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        tracing::info!(target: "gateway::request", method, route, status, micros, id = %self.id, "request");
    }
}

async fn dispatch(app: &Arc<App>, route: Route<'_>, request: &Request) -> Response {
    // A future is as large as its largest branch, and is moved about: sign-ins, large and rare, are boxed.
    let answer = match route {
        Route::Check => handlers::check::handle(app, request).await,
        Route::Services => handlers::services::handle(app, request).await,
        Route::Update => handlers::update::handle(app, request).await,
        Route::Logout => Box::pin(handlers::logout::handle(app, request)).await,
        Route::Resolve => handlers::resolve::resolve(app, request).await,
        Route::GetProfile => handlers::resolve::get_profile(app, request).await,
        Route::Authorize => Ok(handlers::authorize::handle(app, request)
            .await
            .unwrap_or_else(Response::from)),
        Route::PublicKey => Ok(handlers::public_key::pem(app)),
        Route::Jwks => Ok(handlers::public_key::jwks(app)),
        Route::SignIn => Ok(handlers::sign_in::handle(app, request)),
        Route::Login(provider) => Ok(Box::pin(login(app, request, provider)).await),
        Route::Callback(provider) => Ok(match app.provider(provider) {
            Some(provider) => Box::pin(handlers::callback::handle(app, request, provider)).await,
            None => response::not_found(),
        }),
        Route::LogoutCallback(provider) => Ok(match app.provider(provider) {
            Some(provider) => handlers::logout_callback::handle(app, request, provider),
            None => response::not_found(),
        }),
        Route::BackchannelLogout(provider) => Ok(match app.provider(provider) {
            Some(provider) => Box::pin(handlers::backchannel_logout::handle(app, request, provider)).await,
            None => response::not_found(),
        }),
        Route::OpenApi => Ok(handlers::openapi::document()),
        Route::Home => Ok(handlers::home::handle(app, request)),
        Route::Style => Ok(handlers::home::style(app)),
        Route::Script => Ok(handlers::home::script()),
        Route::Logo => Ok(handlers::home::logo(app)),
        Route::Picture(provider) => Ok(handlers::home::provider_picture(app, provider)),
        Route::Unknown => Ok(response::not_found()),
    };
    let answer = answer.unwrap_or_else(handlers::caller_error);
    if route.is_json() && app.live.load().jsonp {
        wrap(request, answer).await
    } else {
        answer
    }
}

async fn login(app: &Arc<App>, request: &Request, name: &str) -> Response {
    #[cfg(feature = "dev")]
    if app.is_dev_sign_in(name) {
        return handlers::dev_login::handle(app, request).await;
    }
    match app.provider(name) {
        Some(provider) => handlers::login::handle(app, request, provider).await,
        None => response::not_found(),
    }
}

/// 404: a page for a person, who may have come with a provider that is gone, and JSON for a program.
fn nothing_here<B>(app: &App, route: Route<'_>, request: &hyper::Request<B>) -> Response {
    if !wants_a_page(request.headers()) {
        return response::not_found();
    }
    let visit = Visit::new(app, request.headers());
    match route {
        // Only what may be a name is repeated: a page says nothing that a link wants it to say.
        Route::Login(provider) | Route::Callback(provider) if config::read_name(provider).is_ok() => visit
            .towards_next_of(request.uri())
            .page(&Failure::UnknownProvider(provider)),
        _ => visit.page(&Failure::NotFound),
    }
}

/// 405 with `Allow`, in the same way.
fn wrong_method(app: &App, route: Route<'_>, headers: &HeaderMap) -> Response {
    if !wants_a_page(headers) {
        return response::method_not_allowed(route.allow_in(app));
    }
    let page = Visit::new(app, headers).page(&Failure::WrongMethod);
    response::allowing(page, route.allow_in(app))
}

fn options(app: &App, route: Route<'_>, origin: Option<&HeaderValue>) -> Response {
    let mut response = response::allowing(Response::default(), route.allow_in(app));
    cors::preflight(
        origin,
        &app.live.load().origins,
        &app.address.origin,
        route.allow_in(app),
        &mut response,
    );
    response
}

/// Wraps a JSON answer for a `<script>` on a page of another origin.
async fn wrap(request: &Request, answer: Response) -> Response {
    match request.parameter("callback") {
        Ok(None) => answer,
        Ok(Some(name)) => match jsonp::callback(name) {
            Some(name) => match answer.into_body().collect().await {
                Ok(json) => response::body(StatusCode::OK, JAVASCRIPT, jsonp::wrap(name, &json.to_bytes())),
                Err(never) => match never {},
            },
            None => response::error(StatusCode::BAD_REQUEST, "The callback must be a plain identifier"),
        },
        Err(bad) => bad.into(),
    }
}

fn allows(allow: &str, method: &Method) -> bool {
    allow.split(", ").any(|allowed| allowed == method.as_str())
}

/// The method's name, of those that there are: what a caller makes up does not become a label.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::{READ, Route, WRITE};
    use crate::handlers::openapi;

    /// The route that stands after another in the list of all. A new one does not compile before it has its place.
    fn after(route: Route<'_>) -> Option<Route<'_>> {
        Some(match route {
            Route::Check => Route::Authorize,
            Route::Authorize => Route::Services,
            Route::Services => Route::Update,
            Route::Update => Route::Logout,
            Route::Logout => Route::PublicKey,
            Route::PublicKey => Route::Jwks,
            Route::Jwks => Route::Resolve,
            Route::Resolve => Route::GetProfile,
            Route::GetProfile => Route::SignIn,
            Route::SignIn => Route::Login("{provider}"),
            Route::Login(name) => Route::Callback(name),
            Route::Callback(name) => Route::LogoutCallback(name),
            Route::LogoutCallback(name) => Route::BackchannelLogout(name),
            Route::BackchannelLogout(_) => Route::OpenApi,
            Route::OpenApi => Route::Home,
            Route::Home => Route::Style,
            Route::Style => Route::Script,
            Route::Script => Route::Logo,
            Route::Logo => Route::Picture("{provider}"),
            Route::Picture(_) => Route::Unknown,
            Route::Unknown => return None,
        })
    }

    #[test]
    fn the_document_has_each_route_with_its_methods_and_no_other() {
        let document: Value = serde_json::from_str(openapi::DOCUMENT).unwrap();
        let described: BTreeMap<&str, Vec<&str>> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, item)| {
                let methods = item.as_object().unwrap().keys().map(String::as_str);
                (
                    path.as_str(),
                    methods.filter(|key| *key != "parameters").collect(),
                )
            })
            .collect();
        let routes: BTreeMap<&str, Vec<&str>> =
            std::iter::successors(Some(Route::Check), |route| after(*route))
                .filter(|route| *route != Route::Unknown)
                .map(|route| {
                    assert_eq!(Route::of(route.pattern()), route);
                    let methods = match (route, route.allow()) {
                        // Where the provider answers by POST.
                        (Route::Callback(_), READ) => vec!["get", "post"],
                        (_, READ) => vec!["get"],
                        (_, WRITE) => vec!["post"],
                        (_, other) => panic!("{other} is not described"),
                    };
                    (route.pattern(), methods)
                })
                .collect();
        assert_eq!(described, routes);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
