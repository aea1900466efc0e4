//! Diagnoses a provider: sends the requests that a sign-in would send, and reports what would go wrong.
//!
//! The provider sees nothing unusual: a request for its sign-in page, as when a user gives up, and the exchange of a
//! code that it never issued. Its error shows whether it knows the client.

use std::time::UNIX_EPOCH;

use gateway_model::Timestamp;
use http::header::DATE;
use http::{HeaderMap, Request};
use serde::Serialize;
use url::Url;

use crate::client::Server;
use crate::error::{Refusal, UpstreamError};
use crate::exchange::Client;
use crate::http::{Http, HttpError, HttpResponse, Requests};
use crate::text::plain;

/// The largest difference of clocks at which ID tokens are accepted, in seconds.
const SKEW: u64 = 60;
/// The difference from which a warning is useful, in seconds.
const NOTICEABLE: u64 = 10;
const NO_CODE: &str = "gateway-provider-check";

/// One result of the check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its severity.
    pub level: Level,
    /// Its subject, such as `discovery` or `keys`.
    pub about: &'static str,
    /// The result and, unless it is [`Level::Ok`], the remedy.
    pub message: String,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No problem.
    Ok,
    /// Information for the operator.
    Note,
    /// Some users cannot sign in, or soon none can.
    Warning,
    /// Nobody can sign in.
    Error,
}

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

pub(crate) async fn get(http: &Http, url: &str) -> Result<HttpResponse, HttpError> {
    let request = Request::get(url)
        .header("accept", "application/json")
        .body(Vec::new());
    let request = request.map_err(|error| HttpError::Unreachable(error.to_string()))?;
    http.requests().send(request).await
}

/// Why a URL could not be requested, and what to do.
pub(crate) fn unreachable(url: &str, error: &HttpError) -> String {
    let text = error.to_string();
    let advice = match error {
        HttpError::Unreachable(cause) if cause.contains("certificate") => {
            "; if your own authority issued the provider's certificate, add the authority's certificate to the system's \
             store, or name it in SSL_CERT_FILE"
        }
        HttpError::Unreachable(_) | HttpError::TimedOut => {
            "; check the host name, the firewall, and the proxy if you use one"
        }
        HttpError::Status(300..=399) => {
            "; the gateway follows no redirects: configure the URL that it redirects to"
        }
        HttpError::Status(404) => "; check the URL",
        _ => "",
    };
    format!("{url} {text}{advice}")
}

/// Compares the clocks, by the `Date` header.
pub(crate) fn clock(findings: &mut Findings, headers: &HeaderMap, now: Timestamp) {
    const ABOUT: &str = "clock";
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(theirs) = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else {
        findings.note(
            ABOUT,
            "the provider sends no Date header, so the clocks cannot be compared",
        );
        return;
    };
    let theirs = theirs.as_secs();
    let apart = theirs.abs_diff(now.0);
    let side = if theirs >= now.0 { "behind" } else { "ahead of" };
    let message = format!("this machine's clock is {apart} s {side} the provider's");
    if apart > SKEW {
        findings.error(
            ABOUT,
            format!("{message}: beyond {SKEW} s the gateway rejects ID tokens. Set the clock, and synchronize it with NTP"),
        );
    } else if apart > NOTICEABLE {
        findings.warning(ABOUT, format!("{message}: synchronize it with NTP"));
    } else {
        findings.ok(ABOUT, message);
    }
}

/// Exchanges a code that the provider never issued. Returns whether its error shows that it accepts the client.
pub(crate) async fn credentials(
    findings: &mut Findings,
    requests: &Requests<'_>,
    client: &Client,
    server: Server<'_>,
    method: &str,
) -> bool {
    const ABOUT: &str = "client";
    const VERIFIER: &str = "gateway-provider-check-gateway-provider-check";
    let rejected = |reason: &str| {
        format!(
            "the token endpoint rejected the client{reason}. Check client_id, the secret or key, and client_auth ({method} \
             is used)"
        )
    };
    match client.exchange(requests, server, NO_CODE, VERIFIER).await {
        Ok(_) => findings.error(
            ABOUT,
            "the token endpoint issued a token for a code that does not exist: do not use this provider for sign-ins",
        ),
        Err(UpstreamError::TokenRefused(refusal)) => match refusal.code() {
            // A provider checks the client before the code.
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
                findings.error(ABOUT, rejected(&format!(": {refusal}")));
            }
            Some("redirect_uri_mismatch") => findings.error(
                ABOUT,
                format!("the token endpoint rejected the redirect URI: {refusal}. Register it with the provider"),
            ),
            _ => findings.warning(
                ABOUT,
                format!("the token endpoint's error does not show whether it accepts the client: {refusal}"),
            ),
        },
        Err(UpstreamError::Http {
            error: HttpError::Status(401 | 403),
            ..
        }) => findings.error(ABOUT, rejected("")),
        // Some answer an unknown code with a page or a server error.
        Err(UpstreamError::Http {
            error: HttpError::Status(status),
            ..
        }) => findings.warning(
            ABOUT,
            format!(
                "{} answered {status} to a made-up code, which does not show whether it accepts the client: try a sign-in",
                server.token_endpoint
            ),
        ),
        Err(UpstreamError::Http { error, .. }) => {
            findings.error(ABOUT, unreachable(server.token_endpoint.as_str(), &error));
        }
        Err(error) => findings.warning(ABOUT, format!("the token endpoint's answer is unusual: {error}")),
    }
    findings
        .0
        .iter()
        .any(|finding| finding.about == ABOUT && finding.level == Level::Ok)
}

/// Requests the sign-in page as a browser would.
pub(crate) async fn sign_in_page(findings: &mut Findings, http: &Http, url: &Url, redirect_uri: &Url) {
    const ABOUT: &str = "sign-in page";
    let causes = format!(
        "Check that the redirect URI is registered ({redirect_uri}), client_id is right, and the provider knows all scopes \
         and parameters"
    );
    let (status, location) = match http.look(url).await {
        Ok(answer) => answer,
        Err(HttpError::NotPublic(_)) => {
            findings.note(
                ABOUT,
                "not checked: it is on a private network, which only browsers connect to",
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
            // The provider needs the user (OpenID Connect Core 1.0 section 3.1.2.6).
            Some(
                code @ ("login_required"
                | "interaction_required"
                | "consent_required"
                | "account_selection_required"
                | "access_denied"),
            ) => findings.warning(
                ABOUT,
                format!("the provider answers {code} to a request without a browser: try a sign-in"),
            ),
            Some(code) => {
                let refusal = Refusal::new(code, said("error_description").as_deref());
                findings.error(
                    ABOUT,
                    format!("the provider rejected the request: {refusal}{}", refusal.advice()),
                );
            }
            None => findings.ok(ABOUT, "the provider answers without a page"),
        }
        return;
    }
    // Google and others redirect mistaken requests to an error page.
    let is_mistake = location.as_ref().is_some_and(|location| {
        location.path().contains("error") || location.query_pairs().any(|(key, _)| key == "error")
    });
    match status {
        _ if is_mistake => findings.error(
            ABOUT,
            format!("the provider redirects to an error page. {causes}"),
        ),
        200..=399 => findings.ok(
            ABOUT,
            "the provider shows it for this client, redirect URI and scopes",
        ),
        403..=406 | 429 | 500.. => findings.warning(
            ABOUT,
            format!("the provider answers {status} to a request without a browser: try a sign-in"),
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
    fn clock_differences_are_reported() {
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
    fn unreachable_providers_are_reported_with_advice() {
        let cause = "connecting failed: invalid peer certificate: UnknownIssuer".to_owned();
        let text = unreachable("https://id.example.org", &HttpError::Unreachable(cause));
        assert!(text.contains("SSL_CERT_FILE"), "{text}");
    }
}
