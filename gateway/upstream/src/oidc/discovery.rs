//! What a provider says of itself (OpenID Connect Discovery 1.0), kept for an hour.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gateway_model::{Clock, Timestamp};
use oauth2::AuthType;
use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod, CoreGrantType,
    CoreJsonWebKey, CoreJsonWebKeySet, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{
    AdditionalProviderMetadata, ClientId, ClientSecret, DiscoveryError, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, IssuerUrl, ProviderMetadata, RedirectUrl,
};
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

/// The most keys of a provider. Each is looked at when an ID token is verified, and kept for an hour.
const MAX_KEYS: usize = 256;

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

/// A client at a provider, with the provider's keys.
type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// As what the gateway is registered at a provider.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) client_id: ClientId,
    pub(super) client_secret: ClientSecret,
    pub(super) redirect_uri: RedirectUrl,
}

/// A provider that is known. Made once for each answer of it and shared by all sign-ins: it may have many keys.
#[derive(Debug)]
pub(super) struct Known {
    /// What it says of itself, without its keys.
    pub(super) metadata: Metadata,
    /// What makes requests of it, and verifies with its keys.
    pub(super) client: Client,
}

impl Known {
    fn new(metadata: Metadata, registration: &Registration) -> Self {
        let client = CoreClient::from_provider_metadata(
            metadata.clone(),
            registration.client_id.clone(),
            Some(registration.client_secret.clone()),
        )
        .set_redirect_uri(registration.redirect_uri.clone());
        // Without a word on it, basic is what they take (Discovery 1.0 section 3).
        let methods = metadata.token_endpoint_auth_methods_supported();
        let basic = methods.is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        let client = client.set_auth_type(if basic {
            AuthType::BasicAuth
        } else {
            AuthType::RequestBody
        });
        Self {
            metadata: metadata.set_jwks(CoreJsonWebKeySet::new(Vec::new())),
            client,
        }
    }
}

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
    registration: Registration,
    http: Http,
    clock: Arc<dyn Clock>,
    /// Held while asking: whoever comes meanwhile waits for the same answer, a failure included, so that
    /// a provider that hangs does not make people wait one after the other.
    known: Mutex<Option<Answer>>,
    /// How many answers there have been.
    answers: AtomicU64,
}

#[derive(Debug)]
struct Answer {
    at: Timestamp,
    answer: Result<Arc<Known>, UpstreamError>,
}

impl Discovery {
    pub(super) fn new(
        issuer: String,
        registration: Registration,
        http: Http,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, UpstreamError> {
        let issuer = IssuerUrl::new(issuer).map_err(|error| UpstreamError::Config(error.to_string()))?;
        Ok(Self {
            issuer,
            registration,
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
    pub(super) async fn known(&self) -> Result<Arc<Known>, UpstreamError> {
        self.not_older_than(FRESH).await
    }

    /// What is asked now, unless it has just been.
    pub(super) async fn again(&self) -> Result<Arc<Known>, UpstreamError> {
        self.not_older_than(AGAIN).await
    }

    async fn not_older_than(&self, age: Duration) -> Result<Arc<Known>, UpstreamError> {
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
        *known = Some(Answer {
            at: self.clock.now(),
            answer: answer.clone(),
        });
        self.answers.fetch_add(1, Ordering::Release);
        answer
    }

    async fn ask(&self) -> Result<Known, UpstreamError> {
        let metadata = Metadata::discover_async(self.issuer.clone(), &self.http.requests())
            .await
            .map_err(failure)?;
        check_endpoints(&metadata, &self.http)?;
        let keys = metadata.jwks().keys().len();
        // Any part of them could be the wrong one.
        if keys > MAX_KEYS {
            return Err(bad(&format!(
                "the key set has {keys} keys, and at most {MAX_KEYS} are accepted: the provider has to withdraw old ones"
            )));
        }
        Ok(Known::new(metadata, &self.registration))
    }
}

/// Whether every address that we or a browser would be sent to is https, or on loopback as the issuer, and none that we
/// would be sent to is a private one.
fn check_endpoints(metadata: &Metadata, http: &Http) -> Result<(), UpstreamError> {
    let token = metadata
        .token_endpoint()
        .ok_or_else(|| bad("there is no token endpoint"))?;
    let browsers = metadata.authorization_endpoint().url();
    if !http.is_secure(browsers) {
        return Err(bad(&format!("the endpoint {browsers} is not https")));
    }
    let ours = [token.url(), metadata.jwks_uri().url()];
    let userinfo = metadata.userinfo_endpoint().map(|endpoint| endpoint.url());
    for url in ours.into_iter().chain(userinfo) {
        http.may_ask(url)
            .map_err(|error| bad(&format!("the endpoint {url} is not asked: {error}")))?;
    }
    Ok(())
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
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;
    use url::Url;

    use super::{Metadata, check_endpoints};
    use crate::config::HttpLimits;
    use crate::error::UpstreamError;
    use crate::http::Http;
    use crate::names::SystemNames;

    #[test]
    fn a13_no_endpoint_of_an_https_issuer_is_plain_http_or_private() {
        let limits = HttpLimits {
            timeout: Duration::from_secs(1),
            max_body: 1024,
        };
        let issuer = Url::parse("https://id.example.org").unwrap();
        let http = Http::new(&issuer, false, &limits, Arc::new(SystemNames)).unwrap();
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
            ]
            .into_iter()
            .chain(
                (endpoint != "authorization_endpoint")
                    .then_some([
                        // The browser of a person may go there, and sees only what it is shown.
                        "https://127.0.0.1/x",
                        "https://10.0.0.1:8443/x",
                        "https://[::1]/x",
                        "https://169.254.169.254/x",
                    ])
                    .into_iter()
                    .flatten(),
            ) {
                assert!(
                    matches!(check(endpoint, url), Err(UpstreamError::BadDiscovery(_))),
                    "{endpoint} {url}"
                );
            }
        }
    }
}
