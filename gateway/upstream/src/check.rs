//! Asks a provider what a sign-in would ask it, before anybody signs in, and reports what would go wrong.
//!
//! A provider is sent what it is sent in sign-ins that people break off: a request for its sign-in page, which nobody sees,
//! and a code that it never gave, which tells whether it knows the client.

use std::time::{SystemTime, UNIX_EPOCH};

use gateway_model::Timestamp;
use http::header::DATE;
use http::{HeaderMap, Request};
use serde::Serialize;
use url::Url;

use crate::error::{Refusal, UpstreamError};
use crate::exchange::Exchange;
use crate::http::{Http, HttpError, HttpResponse, Requests};
use crate::text::plain;

/// How far a provider's clock may be from ours before ID tokens are rejected, in seconds.
const SKEW: u64 = 60;
/// From where on a difference is worth a word.
const NOTICEABLE: u64 = 10;
/// A code that no provider has given.
const NO_CODE: &str = "gateway-provider-check";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What it is about.
    pub about: &'static str,
    /// What was found and, if it is not good, what to do.
    pub message: String,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, and is good to know.
    Note,
    /// Works for some people, or not for long.
    Warning,
    /// Nobody can sign in.
    Error,
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, about: &'static str, message: impl Into<String>) {
        self.0.push(Finding {
            level,
            about,
            message: message.into(),
        });
    }

    pub(crate) fn ok(&mut self, about: &'static str, message: impl Into<String>) {
        self.add(Level::Ok, about, message);
    }

    pub(crate) fn note(&mut self, about: &'static str, message: impl Into<String>) {
        self.add(Level::Note, about, message);
    }

    pub(crate) fn warning(&mut self, about: &'static str, message: impl Into<String>) {
        self.add(Level::Warning, about, message);
    }

    pub(crate) fn error(&mut self, about: &'static str, message: impl Into<String>) {
        self.add(Level::Error, about, message);
    }
}

/// Gets an address, for its body and headers.
pub(crate) async fn get(http: &Http, url: &str) -> Result<HttpResponse, HttpError> {
    let request = Request::get(url)
        .header("accept", "application/json")
        .body(Vec::new());
    let request = request.map_err(|error| HttpError::Unreachable(error.to_string()))?;
    http.requests().send(request).await
}

/// Why an address could not be asked, with what to do about it.
pub(crate) fn unreachable(url: &str, error: &HttpError) -> String {
    let text = error.to_string();
    let advice = match error {
        HttpError::Unreachable(cause) if cause.contains("certificate") => {
            "; if the provider's certificate is from an authority of your own, add that to the system's store, or name it in \
             SSL_CERT_FILE"
        }
        HttpError::Unreachable(_) | HttpError::TimedOut => {
            "; check the name, your firewall and, if there is one, your proxy"
        }
        HttpError::Status(300..=399) => "; redirects are not followed: set the address that it leads to",
        HttpError::Status(404) => "; check the address",
        _ => "",
    };
    format!("{url} {text}{advice}")
}

/// How far the clocks are apart: `Date` says what time it is there.
pub(crate) fn clock(findings: &mut Findings, headers: &HeaderMap, now: Timestamp) {
    const ABOUT: &str = "clock";
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(theirs) = date.and_then(seconds) else {
        findings.note(
            ABOUT,
            "the provider does not say what time it is (no Date header)",
        );
        return;
    };
    let (apart, side) = if theirs >= now.0 {
        (theirs - now.0, "behind")
    } else {
        (now.0 - theirs, "ahead of")
    };
    let message = format!("this machine's clock is {apart} s {side} the provider's");
    if apart > SKEW {
        findings.error(
            ABOUT,
            format!(
                "{message}: ID tokens are rejected beyond {SKEW} s. Set the clock, and keep it right with NTP"
            ),
        );
    } else if apart > NOTICEABLE {
        findings.warning(ABOUT, format!("{message}: keep it right with NTP"));
    } else {
        findings.ok(ABOUT, message);
    }
}

fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Offers a code that the provider never gave: the answer tells whether it knows the client. Returns whether it does.
pub(crate) async fn credentials(
    findings: &mut Findings,
    requests: &Requests<'_>,
    exchange: Exchange<'_>,
    method: &str,
) -> bool {
    const ABOUT: &str = "client";
    let exchange = Exchange {
        code: NO_CODE,
        verifier: "gateway-provider-check-gateway-provider-check",
        ..exchange
    };
    match exchange.send(requests).await {
        Ok(_) => findings.error(
            ABOUT,
            "the token endpoint gave a token for a code that does not exist: do not sign people in through this provider",
        ),
        Err(UpstreamError::TokenRefused(refusal)) => match refusal.code() {
            // What a provider says of the code, it says once it knows the client.
            Some("invalid_grant" | "bad_verification_code" | "invalid_code") => {
                findings.ok(ABOUT, format!("the token endpoint accepts the client ({method})"));
            }
            Some(
                "invalid_client"
                | "invalid_client_id"
                | "unauthorized_client"
                | "incorrect_client_credentials"
                | "bad_client_secret",
            ) => {
                findings.error(
                    ABOUT,
                    format!(
                        "the token endpoint refuses the client: {refusal}. Check client_id, the secret or key, and \
                         client_auth ({method} is used)"
                    ),
                );
            }
            Some("redirect_uri_mismatch") => findings.error(
                ABOUT,
                format!("the token endpoint refuses the redirect URI: {refusal}. Register it with the provider"),
            ),
            _ => findings.warning(
                ABOUT,
                format!("the token endpoint does not say whether it knows the client: {refusal}"),
            ),
        },
        Err(UpstreamError::Http {
            error: HttpError::Status(401 | 403),
            ..
        }) => findings.error(
            ABOUT,
            format!(
                "the token endpoint refuses the client. Check client_id, the secret or key, and client_auth ({method} is used)"
            ),
        ),
        // Some answer a made-up code with a page, or as if they had failed.
        Err(UpstreamError::Http {
            error: HttpError::Status(status),
            ..
        }) => findings.warning(
            ABOUT,
            format!(
                "{} answers {status} to a code that it never gave, which does not say whether it knows the client: try a \
                 sign-in",
                exchange.endpoint
            ),
        ),
        Err(UpstreamError::Http { error, .. }) => {
            findings.error(ABOUT, unreachable(exchange.endpoint.as_str(), &error));
        }
        Err(error) => findings.warning(ABOUT, format!("the token endpoint's answer is unusual: {error}")),
    }
    findings
        .0
        .iter()
        .any(|finding| finding.about == ABOUT && finding.level == Level::Ok)
}

/// Asks for the sign-in page, as a browser would.
pub(crate) async fn sign_in_page(findings: &mut Findings, http: &Http, url: &Url, redirect_uri: &Url) {
    const ABOUT: &str = "sign-in page";
    let causes = format!(
        "The usual causes are a redirect URI that is not registered ({redirect_uri}), a wrong client_id, and a scope or \
         parameter that the provider does not know"
    );
    let (status, location) = match http.look(url).await {
        Ok(answer) => answer,
        Err(HttpError::NotPublic(_)) => {
            findings.note(
                ABOUT,
                "it is on a private network, where only browsers go: not asked",
            );
            return;
        }
        Err(error) => {
            let mut bare = url.clone();
            bare.set_query(None);
            findings.error(ABOUT, unreachable(bare.as_str(), &error));
            return;
        }
    };
    let location = location.and_then(|location| url.join(&location).ok());
    if let Some(location) = &location
        && location.as_str().starts_with(redirect_uri.as_str())
    {
        let said = |name: &str| {
            let pairs = location.query_pairs();
            let mut found = pairs.filter(|(key, _)| key == name);
            found.next().map(|(_, value)| plain(&value))
        };
        match said("error").as_deref() {
            // It wants to speak with the person (OpenID Connect Core 1.0 section 3.1.2.6), and there is none.
            Some(
                code @ ("login_required"
                | "interaction_required"
                | "consent_required"
                | "account_selection_required"
                | "access_denied"),
            ) => findings.warning(
                ABOUT,
                format!("the provider answers {code} to a request that comes from no browser; try a sign-in"),
            ),
            Some(code) => {
                let refusal = Refusal::new(code, said("error_description").as_deref());
                findings.error(
                    ABOUT,
                    format!("the provider refuses the request: {refusal}{}", refusal.advice()),
                );
            }
            None => findings.ok(ABOUT, "the provider answers at once"),
        }
        return;
    }
    // Google and others have a page of their own for mistakes in requests.
    let is_mistake = location.as_ref().is_some_and(|location| {
        location.path().contains("error") || location.query_pairs().any(|(key, _)| key == "error")
    });
    match status {
        _ if is_mistake => findings.error(ABOUT, format!("the provider leads to an error page. {causes}")),
        200..=399 => findings.ok(
            ABOUT,
            "the provider shows it for this client, redirect URI and scopes",
        ),
        403..=406 | 429 | 500.. => findings.warning(
            ABOUT,
            format!("the provider answers {status} to a request that comes from no browser; try a sign-in"),
        ),
        _ => findings.error(ABOUT, format!("the provider answers {status}. {causes}")),
    }
}

#[cfg(test)]
mod tests {
    use gateway_model::Timestamp;
    use http::HeaderMap;

    use super::{Findings, Level, clock, unreachable};
    use crate::http::HttpError;

    #[test]
    fn the_clocks_are_compared() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Tue, 24 Nov 2026 06:40:00 GMT".parse().unwrap());
        let theirs = 1_795_502_400;
        for (ours, level, side) in [
            (theirs, Level::Ok, "0 s behind"),
            (theirs - 9, Level::Ok, "9 s behind"),
            (theirs + 30, Level::Warning, "30 s ahead of"),
            (theirs - 95, Level::Error, "95 s behind"),
        ] {
            let mut findings = Findings::default();
            clock(&mut findings, &headers, Timestamp(ours));
            let [finding] = &findings.0[..] else {
                panic!("{findings:?}")
            };
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.message.contains(side), "{finding:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_told_with_what_to_do() {
        let cause = "connecting failed: invalid peer certificate: UnknownIssuer".to_owned();
        let text = unreachable("https://id.example.org", &HttpError::Unreachable(cause));
        assert!(text.contains("SSL_CERT_FILE"), "{text}");
    }
}
