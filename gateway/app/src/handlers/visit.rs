//! A user whose sign-in failed: their language, where they came from, how they start again, and whether the application
//! handles the error instead.

use hyper::Uri;
use hyper::header::{ACCEPT, CONTENT_LANGUAGE, HeaderMap, HeaderValue, REFERER};
use url::form_urlencoded;

use crate::app::App;
use crate::navigation;
use crate::pages::{self, Choice, Failure, Frame, Language, Ways};
use crate::request_id::REQUEST_ID;
use crate::response::{self, Response};
use crate::return_url::{self, ReturnUrl, ReturnUrlError};

use super::{login_path, sign_in_path};

/// Where users start again if their return URL is unknown: the gateway's own page.
const HOME: &str = "/";

/// A request for a page, with its user and sign-in.
#[derive(Clone)]
pub(crate) struct Visit<'a> {
    app: &'a App,
    headers: &'a HeaderMap,
    provider: Option<&'a str>,
    next: Option<ReturnUrl>,
    tells_next: bool,
}

impl<'a> Visit<'a> {
    pub(crate) const fn new(app: &'a App, headers: &'a HeaderMap) -> Self {
        Self {
            app,
            headers,
            provider: None,
            next: None,
            tells_next: false,
        }
    }

    pub(crate) const fn with_provider(mut self, name: &'a str) -> Self {
        self.provider = Some(name);
        self
    }

    /// Sets where the sign-in leads, and whether the application at `next` handles a failure.
    pub(crate) fn to(mut self, next: &ReturnUrl, tells_next: bool) -> Self {
        self.next = Some(next.clone());
        self.tells_next = tells_next;
        self
    }

    /// Reads `next` from a request that was not parsed any further.
    pub(crate) fn towards_next_of(self, uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default().as_bytes();
        let mut asked = form_urlencoded::parse(query).filter(|(name, _)| name == "next");
        let live = self.app.live.load();
        let next = asked
            .next()
            .and_then(|(_, text)| return_url::parse(&text, &live.origins, &self.app.address.origin).ok());
        match (next, asked.next()) {
            (Some(next), None) => self.to(&next, false),
            _ => self,
        }
    }

    /// Sends the error to the application if it asked for that and its return URL is known; otherwise shows a page.
    pub(crate) fn answer(&self, failure: &Failure<'_>) -> Response {
        match (&self.next, failure.row().code) {
            (Some(next), Some(code)) if self.tells_next => {
                response::redirect(&next.with_error(code, &failure.description()))
            }
            _ => self.page(failure),
        }
    }

    pub(crate) fn page(&self, failure: &Failure<'_>) -> Response {
        let ways = Ways {
            again: Some(self.again(failure)),
            another: self.another(failure),
            back: self.back(),
            provider: self.provider.map(|name| self.app.label(name).to_owned()),
            reference: self.headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok()),
        };
        let policy = pages::CSP;
        let page = self.show(policy, |frame| pages::error(frame, failure, &ways));
        response::failed_page(failure.row().status, page)
    }

    /// A page in the user's language.
    pub(crate) fn show(&self, policy: &'static str, page: impl FnOnce(Frame<'_>) -> String) -> Response {
        let live = self.app.live.load();
        let frame = Frame::new(&live.branding, Language::asked_for(self.headers));
        let tag = HeaderValue::from_static(frame.language().tag());
        response::with(response::page(policy, page(frame)), CONTENT_LANGUAGE, tag)
    }

    /// A link that begins another sign-in.
    fn again(&self, failure: &Failure<'_>) -> String {
        match (&self.next, self.provider, failure) {
            (Some(next), _, Failure::UnknownProvider(_)) => sign_in_path(next, self.tells_next),
            (_, _, Failure::LongReturn) => HOME.to_owned(),
            // Without the prompt, a provider could answer from the session that it has ended.
            (Some(next), Some(provider), Failure::SessionEnded) => {
                format!("{}&prompt=login", login_path(provider, next, self.tells_next))
            }
            (Some(next), Some(provider), _) => login_path(provider, next, self.tells_next),
            _ => HOME.to_owned(),
        }
    }

    /// A link to the other ways to sign in, if there are any.
    fn another(&self, failure: &Failure<'_>) -> Option<String> {
        let is_a_choice = self.app.offers.len() > 1;
        let has_one = matches!(failure, Failure::UnknownProvider(_) | Failure::LongReturn);
        let next = self.next.as_ref().filter(|_| is_a_choice && !has_one)?;
        Some(sign_in_path(next, self.tells_next))
    }

    /// The return URL, or the referring page, or the operator's default. Only addresses that a sign-in may lead to.
    fn back(&self) -> Option<(String, String)> {
        let live = self.app.live.load();
        let own = &self.app.address.origin;
        let referrer = || {
            let url = self.headers.get(REFERER)?.to_str().ok()?;
            let page = return_url::parse(url, &live.origins, own).ok()?;
            Some(page).filter(|page| !page.is_on(own))
        };
        let next = self.next.clone().or_else(referrer);
        let next = next.unwrap_or_else(|| ReturnUrl::from_default(&live.default_next));
        if next.is_home(own) {
            // If the sign-in is known, the first link leads elsewhere.
            let name = live.branding.name.clone();
            return self.next.as_ref().map(|_| (HOME.to_owned(), name));
        }
        Some((next.as_str().to_owned(), next.place()))
    }
}

/// Links to all ways to sign in.
pub(crate) fn choices<'a>(app: &'a App, next: &ReturnUrl, tells_next: bool) -> Vec<Choice<'a>> {
    let choice = |offer: &'a pages::Offer| Choice {
        offer,
        link: login_path(&offer.name, next, tells_next),
    };
    app.offers.iter().map(choice).collect()
}

pub(crate) fn bad_return(error: &ReturnUrlError) -> Failure<'_> {
    match error {
        ReturnUrlError::NotAnAddress => Failure::BadReturn,
        ReturnUrlError::TooLong => Failure::LongReturn,
        ReturnUrlError::NotAllowed { origin } => Failure::UnknownReturn(origin),
    }
}

/// Whether the client is a browser that navigates, so that a page serves the user better than JSON. Programs accept
/// anything (`*/*`), or ask for JSON.
pub(crate) fn wants_a_page(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter();
    let mut ranges = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let asks = ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts
            .next()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let is_refused = parts.any(|part| {
            part.strip_prefix("q=")
                .is_some_and(|quality| quality.parse() == Ok(0.0))
        });
        is_html && !is_refused
    });
    asks && navigation::is_navigation(headers)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderMap;

    use super::wants_a_page;

    fn wants(lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        wants_a_page(&headers)
    }

    #[test]
    fn b10_browsers_that_navigate_want_a_page_and_programs_do_not() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert!(wants(&[("accept", browser)]));
        assert!(wants(&[
            ("accept", browser),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ]));
        assert!(wants(&[
            ("accept", "application/json"),
            ("accept", "Text/HTML; q=0.1")
        ]));
        for program in [
            &[][..],
            &[("accept", "*/*")],
            &[("accept", "application/json")],
            &[("accept", "application/json, text/plain, */*")],
            &[("accept", "text/html;q=0, */*")],
            &[("accept", "text/html;q=0.000")],
            &[
                ("accept", browser),
                ("sec-fetch-mode", "cors"),
                ("sec-fetch-dest", "empty"),
            ],
            &[
                ("accept", browser),
                ("sec-fetch-mode", "no-cors"),
                ("sec-fetch-dest", "image"),
            ],
            &[("accept", browser), ("sec-purpose", "prefetch")],
        ] {
            assert!(!wants(program), "{program:?}");
        }
    }
}
