//! `GET /auth/login/<provider>`: begins a sign-in. Nothing is stored: the state of the sign-in is sealed into its own
//! cookie, so that tabs do not disturb each other.

use gateway_model::Timestamp;
use gateway_token::KeyError;
use gateway_upstream::{Hints, PROMPTS, Provider, UpstreamError};
use hyper::header::{HeaderValue, SET_COOKIE};
use url::form_urlencoded;

use crate::app::App;
use crate::cookie::room::{self, Begun, Worth};
use crate::pages::{self, Failure};
use crate::rate_limit::TooMany;
use crate::request::{BadRequest, Request};
use crate::response::{self, Response};
use crate::return_url::{ReturnUrl, ReturnUrlError};
use crate::sealed_state::SealedState;
use crate::{cookie, navigation};

use super::callback::LIFETIME;
use super::visit::{Visit, bad_return};
use super::{admit, destination, landing, login_path};

/// The most bytes that `Location` and `Set-Cookie` take in one response. nginx accepts response heads of 4 KB by
/// default, which also contain the status line and a few more headers.
const MAX_HEADERS: usize = 3_700;
/// The longest `login_hint`, in bytes. An email address has at most 254 (RFC 5321 section 4.5.3.1.3).
const MAX_HINT: usize = 320;

/// A `next` of this length must fit beside the provider's address. If it does not, the provider's address is too long.
const SHORT_NEXT: usize = 300;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error(transparent)]
    ReturnUrl(#[from] ReturnUrlError),
    /// A hint that is not passed on to the provider.
    #[error("{0}")]
    Hint(&'static str),
    /// With it, the cookie would be larger than browsers and proxies accept.
    #[error("The address to return to is too long: it must be shorter than 2,000 characters")]
    NextTooLong,
    /// With the provider's authorization endpoint, the response would be larger than proxies accept.
    #[error(
        "the address of its authorization endpoint has {0} bytes with the parameters, more than proxies accept"
    )]
    ProviderTooLong(usize),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Seal(#[from] KeyError),
}

/// Redirects the browser to the provider. If there is no room for one more sign-in, the oldest is dropped. If a page
/// may have begun this one, the user is asked first.
pub(crate) async fn handle(app: &App, request: &Request, provider: &Provider) -> Response {
    let visit = Visit::new(app, &request.headers).with_provider(provider.name());
    let (next, tells_next) = match destination(app, request) {
        Ok(destination) => destination,
        Err(error) => return refuse(&visit, provider.name(), &error),
    };
    let visit = visit.to(&next, tells_next);
    begin(app, request, provider, &visit, &next, tells_next)
        .await
        .unwrap_or_else(|error| refuse(&visit, provider.name(), &error))
}

async fn begin(
    app: &App,
    request: &Request,
    provider: &Provider,
    visit: &Visit<'_>,
    next: &ReturnUrl,
    tells_next: bool,
) -> Result<Response, Error> {
    let hints = hints(request)?;
    let origins = &app.live.load().origins;
    let by_the_person = navigation::is_by_the_person(&request.headers, origins, &app.address.origin);
    let now = app.clock.now();
    let begun = begun(app, request, now);
    if !by_the_person && room::make(begun.clone(), at_most(provider, next)).costs_a_sign_in {
        return Ok(ask(visit, request, provider, next, tells_next, hints));
    }
    // From here on the sign-in costs something. A page that begins many sign-ins does not get this far.
    admit(app, request)?;
    let authorization = provider.begin(hints).await?;
    let secure = app.address.secure;
    let name = cookie::name(&authorization.flow.state, secure);
    let state = SealedState {
        flow: authorization.flow,
        provider: provider.name().to_owned(),
        next: next.as_str().to_owned(),
        issued: now.0,
        by_the_person,
        tells_next,
        ended: false,
    };
    if next.clone().if_short().is_err() {
        return Err(Error::NextTooLong);
    }
    let sealed = match state.seal(&app.session_key, &name) {
        Err(KeyError::TooLong) => return Err(Error::NextTooLong),
        sealed => sealed?,
    };
    let (location, set) = (authorization.url.as_str(), cookie::set(&name, &sealed, secure));
    let size = cookie::size(&name, sealed.as_bytes());
    let fixed = "location: \r\n".len() + location.len() + line(&set);
    // The seal is base64.
    let in_base64 = |bytes: usize| bytes.div_ceil(3) * 4;
    if fixed.saturating_sub(in_base64(next.as_str().len())) + in_base64(SHORT_NEXT) > MAX_HEADERS {
        return Err(Error::ProviderTooLong(location.len()));
    }
    let left = MAX_HEADERS.checked_sub(fixed);
    let Some(left) = left.filter(|_| size <= cookie::MAX_TOGETHER) else {
        return Err(Error::NextTooLong);
    };

    let room = room::make(begun, size);
    let cleared = room.clear.iter().map(|name| cookie::clear(name, secure));
    let cleared: Vec<HeaderValue> = cleared.collect();
    if cleared.iter().map(line).sum::<usize>() > left {
        let page = ask(visit, request, provider, next, tells_next, hints);
        return Ok(clear_as_many_as_fit(page, cleared));
    }
    let answer = cleared
        .into_iter()
        .fold(response::redirect(location), |answer, cookie| {
            response::with(answer, SET_COOKIE, cookie)
        });
    Ok(response::with(answer, SET_COOKIE, set))
}

/// The application's hints. They are passed on to the provider, so they are bounded.
fn hints(request: &Request) -> Result<Hints<'_>, Error> {
    let login_hint = request.parameter("login_hint")?.filter(|hint| !hint.is_empty());
    if login_hint.is_some_and(|hint| hint.len() > MAX_HINT || hint.chars().any(char::is_control)) {
        return Err(Error::Hint(
            "login_hint must have at most 320 bytes and no control characters",
        ));
    }
    let prompt = request.parameter("prompt")?;
    if prompt.is_some_and(|prompt| !PROMPTS.contains(&prompt)) {
        return Err(Error::Hint("prompt must be select_account or login"));
    }
    Ok(Hints { login_hint, prompt })
}

/// The least size of a cookie for a sign-in with this provider and return URL.
fn at_most(provider: &Provider, next: &ReturnUrl) -> usize {
    // State, nonce and verifier have 32 bytes each. The rest are their lengths, the cookie's name and the seal.
    let plain = provider.name().len() + next.as_str().len() + 150;
    plain.div_ceil(3) * 4 + 32
}

fn begun<'a>(app: &App, request: &'a Request, now: Timestamp) -> Vec<Begun<'a>> {
    let worth = |name: &str, value: &[u8]| {
        let sealed = std::str::from_utf8(value).ok();
        let state = sealed.and_then(|sealed| SealedState::open(&app.session_key, name, sealed));
        match state {
            Some(state) if state.ended || Timestamp(state.issued).after(LIFETIME) <= now => Worth::Nothing,
            Some(state) if state.by_the_person => Worth::ByThePerson(state.issued),
            Some(state) => Worth::ByAPage(state.issued),
            None => Worth::Nothing,
        }
    };
    cookie::sign_ins(&request.headers, app.address.secure)
        .map(|(name, value)| Begun {
            name,
            size: cookie::size(name, value),
            worth: worth(name, value),
        })
        .collect()
}

/// A page that asks the user whether to continue. Its link comes from a page of the gateway, so no other page can
/// follow it.
fn ask(
    visit: &Visit<'_>,
    request: &Request,
    provider: &Provider,
    next: &ReturnUrl,
    tells_next: bool,
    hints: Hints<'_>,
) -> Response {
    // The configured default may be an address that must not be in a query.
    let mut again = match request.parameter("next") {
        Ok(Some(_)) => login_path(provider.name(), next, tells_next),
        _ => format!("/auth/login/{}", provider.name()),
    };
    for (name, value) in [("login_hint", hints.login_hint), ("prompt", hints.prompt)] {
        if let Some(value) = value {
            again.push(if again.contains('?') { '&' } else { '?' });
            let pair = form_urlencoded::Serializer::new(String::new())
                .append_pair(name, value)
                .finish();
            again.push_str(&pair);
        }
    }
    visit.show(pages::CSP, |frame| pages::go_on(frame, &again))
}

/// One response cannot delete all of these cookies. The rest is deleted when the user continues.
fn clear_as_many_as_fit(answer: Response, cleared: Vec<HeaderValue>) -> Response {
    let mut left = MAX_HEADERS - 500; // the page's policy is a header as well
    cleared
        .into_iter()
        .take_while(|cookie| {
            let fits = left.checked_sub(line(cookie));
            left = fits.unwrap_or_default();
            fits.is_some()
        })
        .fold(answer, |answer, cookie| {
            response::with(answer, SET_COOKIE, cookie)
        })
}

/// The size of a `Set-Cookie` line, in bytes.
fn line(cookie: &HeaderValue) -> usize {
    "set-cookie: \r\n".len() + cookie.len()
}

fn refuse(visit: &Visit<'_>, provider: &str, error: &Error) -> Response {
    match error {
        Error::BadRequest(bad) => landing::unreadable(visit, *bad),
        Error::ReturnUrl(error) => visit.page(&bad_return(error)),
        Error::Hint(wrong) => visit.answer(&Failure::BadHint(wrong)),
        Error::NextTooLong => visit.answer(&Failure::LongReturn),
        Error::TooMany(too_many) => landing::too_many(visit, *too_many),
        Error::Upstream(error) => landing::upstream_failed(visit, provider, error),
        Error::ProviderTooLong(_) => landing::provider_unusable(visit, provider, error),
        Error::Seal(error) => {
            tracing::error!(provider, %error, "a sign-in cannot begin");
            visit.answer(&Failure::Broken)
        }
    }
}
