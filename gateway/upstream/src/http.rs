//! Requests to providers: no redirects, no proxy, https but for a provider on loopback, and a limit on
//! time and bytes.

use std::future::Future;
use std::pin::Pin;

use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::redirect::Policy;
use url::{Host, Url};

use crate::config::HttpLimits;
use crate::error::UpstreamError;

/// GitHub refuses requests without one.
const USER_AGENT: &str = concat!("auth-gateway/", env!("CARGO_PKG_VERSION"));

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// It took longer than the limit.
    #[error("no answer in time")]
    TimedOut,
    /// There is nobody there, or the connection broke.
    #[error("cannot be reached ({0})")]
    Unreachable(String),
    /// The body is larger than the limit.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The address is not one we ask: not https.
    #[error("the address is not https")]
    Insecure,
    /// The status is not one the protocol has there.
    #[error("answered with status {0}")]
    Status(u16),
    /// The answer begins as JSON and goes on as something else.
    #[error("the answer is not JSON to its end")]
    Json,
}

/// A client for one provider.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    max_body: usize,
    /// The provider itself is on loopback, by http.
    loopback: bool,
}

impl Http {
    /// A client for the provider at `home`.
    ///
    /// # Errors
    /// When `home` is neither https nor http on loopback, or there is no TLS to be had.
    pub(crate) fn new(home: &Url, limits: &HttpLimits) -> Result<Self, UpstreamError> {
        let loopback = is_http_on_loopback(home);
        if !loopback && home.scheme() != "https" {
            return Err(UpstreamError::Config(format!("{home} must be https")));
        }
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(limits.timeout)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| UpstreamError::Config(chain(&error)))?;
        Ok(Self {
            client,
            max_body: limits.max_body,
            loopback,
        })
    }

    /// Whether an address is one to ask, or to send a browser to.
    pub(crate) fn may_ask(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.loopback && is_http_on_loopback(url))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = reqwest::Request::try_from(request).map_err(|error| failure(&error))?;
        if !self.may_ask(request.url()) {
            return Err(HttpError::Insecure);
        }
        let mut answer = self
            .client
            .execute(request)
            .await
            .map_err(|error| failure(&error))?;
        // No protocol here needs either: a redirect would take the code and our secret along, and an
        // error page is not worth reading.
        if answer.status().is_redirection() || answer.status().is_server_error() {
            return Err(HttpError::Status(answer.status().as_u16()));
        }
        let mut response = HttpResponse::new(Vec::new());
        *response.status_mut() = answer.status();
        std::mem::swap(response.headers_mut(), answer.headers_mut());
        while let Some(chunk) = answer.chunk().await.map_err(|error| failure(&error))? {
            if chunk.len() > self.max_body - response.body().len() {
                return Err(HttpError::TooLarge(self.max_body));
            }
            response.body_mut().extend_from_slice(&chunk);
        }
        if response.status().is_success() && is_broken_json(response.body()) {
            return Err(HttpError::Json);
        }
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// Whether it begins as JSON does and is none to its end. The protocols' libraries read a value and do not look at what
/// stands behind it.
fn is_broken_json(body: &[u8]) -> bool {
    let begins = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
    begins && serde_json::from_slice::<serde_json::Value>(body).is_err()
}

fn failure(error: &reqwest::Error) -> HttpError {
    if error.is_timeout() {
        HttpError::TimedOut
    } else {
        HttpError::Unreachable(chain(error))
    }
}

/// An error and its causes, without the URL: a callback's code could be in it.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "connecting failed".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn is_http_on_loopback(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "http" && loopback
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use url::Url;

    use super::{Http, is_broken_json};
    use crate::config::HttpLimits;

    fn http(home: &str) -> Option<Http> {
        let limits = HttpLimits {
            timeout: Duration::from_secs(1),
            max_body: 1024,
        };
        Http::new(&Url::parse(home).unwrap(), &limits).ok()
    }

    #[test]
    fn json_is_json_to_its_end() {
        for broken in ["{", "{} x", "{}{}", " [1]]", "{\"a\":}", "{}\u{0}"] {
            assert!(is_broken_json(broken.as_bytes()), "{broken}");
        }
        for whole in [
            "{}",
            " {\"a\": [1]}\n",
            "[]",
            "",
            "access_token=a&scope=",
            "eyJ.e30.x",
        ] {
            assert!(!is_broken_json(whole.as_bytes()), "{whole}");
        }
    }

    #[test]
    fn speaks_https_or_http_with_loopback() {
        for home in [
            "https://example.org",
            "http://127.0.0.1:1",
            "http://[::1]",
            "http://localhost:8080",
        ] {
            assert!(http(home).is_some(), "{home}");
        }
        for home in [
            "http://example.org",
            "http://127.0.0.1.example.org",
            "http://10.0.0.1",
            "http://localhost.example.org",
            "ftp://127.0.0.1",
            "file:///etc",
        ] {
            assert!(http(home).is_none(), "{home}");
        }
    }

    #[test]
    fn a_provider_elsewhere_cannot_send_us_to_loopback_or_plain_http() {
        let far = http("https://example.org").unwrap();
        let near = http("http://127.0.0.1:1").unwrap();
        for (url, from_far, from_near) in [
            ("https://other.example.org/token", true, true),
            ("http://127.0.0.1:2/token", false, true),
            ("http://example.org/token", false, false),
            ("javascript:alert(1)", false, false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(
                (far.may_ask(&url), near.may_ask(&url)),
                (from_far, from_near),
                "{url}"
            );
        }
    }
}
