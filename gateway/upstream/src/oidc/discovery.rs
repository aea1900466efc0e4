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
        *known = Some(Known { at: self.clock.now(), answer: answer.clone() });
        self.answers.fetch_add(1, Ordering::Release);
        answer
    }

    async fn ask(&self) -> Result<Metadata, UpstreamError> {
        let metadata = Metadata::discover_async(self.issuer.clone(), &self.http)
            .await
            .map_err(failure)?;
        let token = metadata
            .token_endpoint()
            .ok_or_else(|| bad("there is no token endpoint"))?;
        let endpoints = [
            metadata.authorization_endpoint().url(),
            token.url(),
            metadata.jwks_uri().url(),
        ];
        let userinfo = metadata.userinfo_endpoint().map(|endpoint| endpoint.url());
        if let Some(url) = endpoints
            .into_iter()
            .chain(userinfo)
            .find(|url| !self.http.may_ask(url))
        {
            return Err(bad(&format!("the endpoint {url} is not https")));
        }
        Ok(metadata)
    }
}

fn bad(problem: &str) -> UpstreamError {
    UpstreamError::BadDiscovery(problem.to_owned())
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
