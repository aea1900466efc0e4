//! What a provider says of itself (OpenID Connect Discovery 1.0), kept for an hour.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_model::{Clock, Timestamp};
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, DiscoveryError, IssuerUrl, ProviderMetadata};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::claims::plain;
use crate::error::UpstreamError;
use crate::http::{Http, HttpError};

const WHAT: &str = "discovery";
/// How long what a provider says of itself is believed.
const FRESH: Duration = Duration::from_secs(3600);
/// How soon it is asked again where a token's key is unknown: anybody can make one up.
const AGAIN: Duration = Duration::from_secs(30);

/// What RFC 9207 section 3 adds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Additional {
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Additional {}

/// What a provider says of itself, its keys included.
pub(super) type Metadata = ProviderMetadata<
    Additional,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Whether the provider promises an `iss` in every callback (RFC 9207 section 2.4: then it must be there).
pub(super) fn promises_iss(metadata: &Metadata) -> bool {
    metadata
        .additional_metadata()
        .authorization_response_iss_parameter_supported
}

/// Asks one provider about itself.
#[derive(Debug)]
pub(super) struct Discovery {
    issuer: IssuerUrl,
    http: Http,
    clock: Arc<dyn Clock>,
    /// Held while asking: whoever comes meanwhile waits for the same answer, a failure included, so that
    /// a provider that hangs does not make people wait one after the other.
    known: Mutex<Option<Known>>,
    /// How many answers there have been.
    answers: AtomicU64,
}

#[derive(Debug)]
struct Known {
    at: Timestamp,
    answer: Result<Arc<Metadata>, UpstreamError>,
}

impl Discovery {
    pub(super) fn new(issuer: String, http: Http, clock: Arc<dyn Clock>) -> Result<Self, UpstreamError> {
        let issuer = IssuerUrl::new(issuer).map_err(|error| UpstreamError::Config(error.to_string()))?;
        Ok(Self {
            issuer,
            http,
            clock,
            known: Mutex::default(),
            answers: AtomicU64::new(0),
        })
    }

    pub(super) fn issuer(&self) -> &str {
        self.issuer.as_str()
    }

    /// What is known, or else asked now.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, UpstreamError> {
        self.not_older_than(FRESH).await
    }

    /// What is asked now, unless it has just been.
    pub(super) async fn again(&self) -> Result<Arc<Metadata>, UpstreamError> {
        self.not_older_than(AGAIN).await
    }

    async fn not_older_than(&self, age: Duration) -> Result<Arc<Metadata>, UpstreamError> {
        let before = self.answers.load(Ordering::Acquire);
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        if let Some(known) = &*known {
            let waited_for = self.answers.load(Ordering::Acquire) != before;
            // A clock that was set back makes nothing young again.
            let fresh = known.answer.is_ok() && known.at <= now && now < known.at.after(age);
            if waited_for || fresh {
                return known.answer.clone();
            }
        }
        let answer = self.ask().await.map(Arc::new);
        *known = Some(Known {
            at: self.clock.now(),
            answer: answer.clone(),
        });
        self.answers.fetch_add(1, Ordering::Release);
        answer
    }

    async fn ask(&self) -> Result<Metadata, UpstreamError> {
        let metadata = Metadata::discover_async(self.issuer.clone(), &self.http)
            .await
            .map_err(failure)?;
        check_endpoints(&metadata, &self.http)?;
        Ok(metadata)
    }
}

/// Whether every address that we or a browser would be sent to is https, or on loopback as the issuer.
fn check_endpoints(metadata: &Metadata, http: &Http) -> Result<(), UpstreamError> {
    let token = metadata
        .token_endpoint()
        .ok_or_else(|| bad("there is no token endpoint"))?;
    let endpoints = [
        metadata.authorization_endpoint().url(),
        token.url(),
        metadata.jwks_uri().url(),
    ];
    let userinfo = metadata.userinfo_endpoint().map(|endpoint| endpoint.url());
    match endpoints
        .into_iter()
        .chain(userinfo)
        .find(|url| !http.may_ask(url))
    {
        Some(url) => Err(bad(&format!("the endpoint {url} is not https"))),
        None => Ok(()),
    }
}

/// The problem may quote the provider, who may have a lot to say.
fn bad(problem: &str) -> UpstreamError {
    UpstreamError::BadDiscovery(plain(problem))
}

fn failure(error: DiscoveryError<HttpError>) -> UpstreamError {
    match error {
        DiscoveryError::Request(error) => UpstreamError::Http { what: WHAT, error },
        DiscoveryError::Response(status, ..) if status.as_u16() != 200 => UpstreamError::Http {
            what: WHAT,
            error: HttpError::Status(status.as_u16()),
        },
        DiscoveryError::Response(_, _, problem) => bad(&problem),
        DiscoveryError::Parse(error) => bad(&error.to_string()),
        DiscoveryError::Validation(problem) | DiscoveryError::Other(problem) => bad(&problem),
        DiscoveryError::UrlParse(error) => bad(&error.to_string()),
        error => bad(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use url::Url;

    use super::{Metadata, check_endpoints};
    use crate::config::HttpLimits;
    use crate::error::UpstreamError;
    use crate::http::Http;

    #[test]
    fn no_endpoint_of_an_https_issuer_is_plain_http_or_loopback() {
        let limits = HttpLimits {
            timeout: Duration::from_secs(1),
            max_body: 1024,
        };
        let http = Http::new(&Url::parse("https://id.example.org").unwrap(), &limits).unwrap();
        let check = |endpoint: &str, url: &str| {
            let mut metadata = json!({
                "issuer": "https://id.example.org",
                "authorization_endpoint": "https://id.example.org/authorize",
                // Google has its token endpoint on another host, so hosts may differ.
                "token_endpoint": "https://tokens.example.org/token",
                "userinfo_endpoint": "https://id.example.org/userinfo",
                "jwks_uri": "https://id.example.org/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            });
            metadata[endpoint] = url.into();
            let metadata: Metadata = serde_json::from_value(metadata).unwrap();
            check_endpoints(&metadata, &http)
        };
        for endpoint in [
            "authorization_endpoint",
            "token_endpoint",
            "userinfo_endpoint",
            "jwks_uri",
        ] {
            assert_eq!(
                check(endpoint, "https://elsewhere.example.org/x"),
                Ok(()),
                "{endpoint}"
            );
            for url in [
                "http://id.example.org/x",
                "http://127.0.0.1:8080/x",
                "http://169.254.169.254/latest",
                "javascript:alert(1)",
                "file:///etc/passwd",
            ] {
                assert!(
                    matches!(check(endpoint, url), Err(UpstreamError::BadDiscovery(_))),
                    "{endpoint} {url}"
                );
            }
        }
    }
}
