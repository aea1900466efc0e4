//! Finds the endpoint for a request in `ROUTES`, and adds what all responses have in common: HEAD and OPTIONS, CORS,
//! the headers, one line in the log, the metrics.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::body::Body;
use hyper::header::{HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, StatusCode};

use crate::app::App;
use crate::handlers::ROUTES;
use crate::handlers::visit::{Visit, wants_a_page};
use crate::pages::{self, Failure};
use crate::rate_limit::Limit;
use crate::request::Request;
use crate::request_id::{REQUEST_ID, RequestId};
use crate::response::{self, Response};
use crate::route::{Audience, Call, Gate, Route};
use crate::server::Peer;
use crate::{config, cors, handlers, jsonp, navigation};

const JAVASCRIPT: HeaderValue = HeaderValue::from_static("application/javascript; charset=utf-8");

/// A route with the path's segment for `{provider}`.
#[derive(Clone, Copy)]
struct Found<'a> {
    route: &'static Route,
    provider: &'a str,
}

impl<'a> Found<'a> {
    fn at(path: &'a str) -> Option<Self> {
        ROUTES.iter().find_map(|route| {
            let provider = route.provider_in(path)?;
            Some(Self { route, provider })
        })
    }

    fn allow(self, app: &App) -> &'static str {
        self.route.allow(app, self.provider)
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
    let found = Found::at(uri.path());
    let is_for_people = found.is_some_and(|found| found.route.audience == Audience::Person);
    let headers = request.headers_mut();
    if is_for_people || wants_a_page(headers) {
        // For the page. A caller's own header is discarded.
        headers.insert(&REQUEST_ID, id.header());
    }
    let line = Line {
        app: Arc::clone(&app),
        method: known(&method),
        route: found.map_or("unknown", |found| found.route.path),
        id,
        begin: Instant::now(),
        status: CUT_OFF,
    };
    let origin = request.headers().get(ORIGIN).cloned();

    // defence: admin-is-not-public (a test fails without it: docs/defences.md)
    let mut response = match found.filter(|found| (found.route.exists)(&app, found.provider)) {
        None => nothing_here(&app, found, &request),
        Some(found) if method == Method::OPTIONS => options(&app, found, origin.as_ref()),
        Some(found) if !allows(found.allow(&app), &method) => wrong_method(&app, found, request.headers()),
        Some(found) => match answer_at_once(&app, found.route.gate, &request, &peer) {
            Some(answer) => answer,
            None => {
                let headers = is_for_people.then(|| request.headers().clone());
                let read = Request::read(request, peer.address, app.max_body, app.body_timeout).await;
                peer.is_served();
                match read {
                    Ok(request) => dispatch(&app, found, &request).await,
                    Err(bad) => match headers {
                        Some(headers) => handlers::landing::unreadable(&Visit::new(&app, &headers), bad),
                        None => bad.into(),
                    },
                }
            }
        },
    };
    let live = app.live.load();
    cors::apply(origin.as_ref(), &live.origins, &app.address.origin, &mut response);
    response::finish(&mut response);
    response.headers_mut().insert(&REQUEST_ID, id.header());
    line.end(response.status().as_u16());
    response
}

/// Answers requests that have no effect whatever their parameters are, and updates beyond the rate limit. Sign-ins are
/// counted later, where they begin to cost something: in [`handlers::login`] and [`handlers::callback`].
fn answer_at_once<B>(app: &App, gate: Gate, request: &hyper::Request<B>, peer: &Peer) -> Option<Response> {
    let headers = request.headers();
    match gate {
        Gate::Open => None,
        Gate::SignIn if !navigation::is_navigation(headers) => {
            Some(Visit::new(app, headers).page(&Failure::NotAPerson))
        }
        // A HEAD neither begins nor ends a sign-in.
        Gate::SignIn => (request.method() == Method::HEAD).then(|| response::page(pages::CSP, String::new())),
        Gate::Update => {
            let origins = &app.live.load().origins;
            if navigation::is_from_a_foreign_page(headers, origins, &app.address.origin) {
                return Some(handlers::update::foreign_page());
            }
            let limits = app.rate_limits.load();
            let admitted = limits.admit(Limit::Update, peer.address, headers);
            admitted.err().map(handlers::update::too_many)
        }
    }
}

/// The status in the log and the metrics for a request that was never answered, because the client disconnected or the
/// request timed out. It is never sent.
const CUT_OFF: u16 = 499;

/// The request's line in the log, and its count. Written when it is dropped.
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

async fn dispatch(app: &Arc<App>, found: Found<'_>, request: &Request) -> Response {
    let provider = found.provider;
    let answer = (found.route.handler)(Call {
        app,
        request,
        provider,
    })
    .await;
    if found.route.audience == Audience::Jsonp && app.live.load().jsonp {
        wrap(request, answer).await
    } else {
        answer
    }
}

/// 404: a page for a user, whose provider may have been removed, and JSON for a program.
fn nothing_here<B>(app: &App, found: Option<Found<'_>>, request: &hyper::Request<B>) -> Response {
    if !wants_a_page(request.headers()) {
        return response::not_found();
    }
    let visit = Visit::new(app, request.headers());
    match found {
        // Only a valid name is repeated, so that a link cannot put its own text on the page.
        Some(Found { route, provider })
            if route.gate == Gate::SignIn && config::read_name(provider).is_ok() =>
        {
            visit
                .towards_next_of(request.uri())
                .page(&Failure::UnknownProvider(provider))
        }
        _ => visit.page(&Failure::NotFound),
    }
}

/// 405 with `Allow`, as a page or as JSON.
fn wrong_method(app: &App, found: Found<'_>, headers: &HeaderMap) -> Response {
    if !wants_a_page(headers) {
        return response::method_not_allowed(found.allow(app));
    }
    let page = Visit::new(app, headers).page(&Failure::WrongMethod);
    response::allowing(page, found.allow(app))
}

fn options(app: &App, found: Found<'_>, origin: Option<&HeaderValue>) -> Response {
    let mut response = response::allowing(Response::default(), found.allow(app));
    cors::preflight(
        origin,
        &app.live.load().origins,
        &app.address.origin,
        found.allow(app),
        &mut response,
    );
    response
}

/// Wraps a JSON response for a `<script>`.
async fn wrap(request: &Request, answer: Response) -> Response {
    match request.parameter("callback") {
        Ok(None) => answer,
        Ok(Some(name)) => match jsonp::callback(name) {
            Some(name) => {
                let Ok(json) = answer.into_body().collect().await;
                response::body(StatusCode::OK, JAVASCRIPT, jsonp::wrap(name, &json.to_bytes()))
            }
            None => response::error(StatusCode::BAD_REQUEST, "The callback must be a plain identifier"),
        },
        Err(bad) => bad.into(),
    }
}

fn allows(allow: &str, method: &Method) -> bool {
    allow.split(", ").any(|allowed| allowed == method.as_str())
}

/// The name of a standard method. Other methods share one label, so that callers cannot create labels.
fn known(method: &Method) -> &'static str {
    let mut methods = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"].into_iter();
    methods.find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use crate::handlers::{ROUTES, openapi};
    use crate::route::Methods;

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
        let routes = ROUTES.iter().map(|route| {
            let methods = match route.methods {
                Methods::Get => vec!["get"],
                Methods::Post => vec!["post"],
                Methods::ProvidersAnswer => vec!["get", "post"],
            };
            (route.path, methods)
        });
        assert_eq!(described, routes.collect());
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn each_path_leads_to_its_own_route() {
        for route in ROUTES {
            let path = route.path.replace("{provider}", "name");
            let leads: Vec<_> = ROUTES
                .iter()
                .filter_map(|other| other.provider_in(&path))
                .collect();
            let name = if path == route.path { "" } else { "name" };
            assert_eq!(leads, [name], "{path}");
        }
    }
}
