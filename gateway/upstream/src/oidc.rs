//! OpenID Connect (Core 1.0): the authorization code flow with PKCE, and an ID token of which every
//! claim is checked.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use gateway_model::{Clock, Identity, UpstreamUser};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, StatusCode};
use oauth2::{AccessToken, RequestTokenError, StandardErrorResponse};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreErrorResponseType, CoreIdToken, CoreJwsSigningAlgorithm, CoreTokenResponse,
};
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    SignatureVerificationError, TokenResponse as _,
};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::Url;

use self::discovery::{Discovery, Known, Registration};
use crate::claims;
use crate::config::{HttpLimits, ProviderConfig};
use crate::error::UpstreamError;
use crate::http::{Http, HttpError, Requests};
use crate::names::Names;
use crate::provider::{Authorization, Callback, Flow};

mod discovery;

const SCOPES: &[&str] = &["email", "profile"];
const TOKEN: &str = "the token endpoint";
const USERINFO: &str = "the userinfo endpoint";
/// How far a provider's clock may be ahead of ours, in seconds.
const SKEW: i64 = 60;
/// How long a subject may be, in bytes (Core 1.0 section 2, `sub`).
const MAX_SUBJECT: usize = 255;

/// Never an HMAC, whose key would be our client secret, and never `none`.
const ALGORITHMS: &[CoreJwsSigningAlgorithm] = &[
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// An OpenID Connect issuer.
#[derive(Debug)]
pub(crate) struct Oidc {
    config: ProviderConfig,
    http: Http,
    discovery: Discovery,
    clock: Arc<dyn Clock>,
}

impl Oidc {
    pub(crate) fn new(
        config: ProviderConfig,
        issuer: String,
        redirect_uri: Url,
        limits: &HttpLimits,
        clock: Arc<dyn Clock>,
        names: Arc<dyn Names>,
    ) -> Result<Self, UpstreamError> {
        let home =
            Url::parse(&issuer).map_err(|error| UpstreamError::Config(format!("{issuer}: {error}")))?;
        // Core 1.0 section 2, `iss`.
        if home.query().is_some() || home.fragment().is_some() {
            return Err(UpstreamError::Config(format!(
                "{issuer}: an issuer has neither a query nor a fragment"
            )));
        }
        let http = Http::new(&home, config.allow_private_addresses, limits, names)?;
        let registration = Registration {
            client_id: ClientId::new(config.client_id.clone()),
            client_secret: ClientSecret::new(config.client_secret.expose_secret().to_owned()),
            redirect_uri: RedirectUrl::from_url(redirect_uri),
        };
        let discovery = Discovery::new(issuer, registration, http.clone(), Arc::clone(&clock))?;
        Ok(Self {
            config,
            http,
            discovery,
            clock,
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        self.discovery.issuer()
    }

    pub(crate) async fn begin(&self) -> Result<Authorization, UpstreamError> {
        let provider = self.discovery.known().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let scopes = SCOPES
            .iter()
            .copied()
            .chain(self.config.scopes.iter().map(String::as_str));
        let (url, state, nonce) = provider
            .client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .add_scopes(scopes.map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        let flow = Flow {
            state: state.into_secret(),
            nonce: Some(nonce.secret().clone()),
            verifier: verifier.into_secret(),
        };
        Ok(Authorization { url, flow })
    }

    pub(crate) async fn finish(
        &self,
        flow: &Flow,
        callback: Callback<'_>,
    ) -> Result<UpstreamUser, UpstreamError> {
        let provider = self.discovery.known().await?;
        let metadata = &provider.metadata;
        match callback.iss {
            Some(iss) if iss != metadata.issuer().as_str() => return Err(UpstreamError::IssuerMismatch),
            None if discovery::promises_iss(metadata) => return Err(UpstreamError::IssuerMismatch),
            Some(_) | None => {}
        }
        let nonce = flow
            .nonce
            .as_ref()
            .ok_or_else(|| id_token("the sign-in has no nonce"))?;
        let requests = self.http.requests();
        let tokens = provider
            .client
            .exchange_code(AuthorizationCode::new(callback.code.to_owned()))
            .map_err(|error| UpstreamError::BadDiscovery(error.to_string()))?
            .set_pkce_verifier(PkceCodeVerifier::new(flow.verifier.clone()))
            .request_async(&requests)
            .await
            .map_err(token_error)?;
        let nonce = Nonce::new(nonce.clone());
        let mut claims = match self.verified(&provider, &tokens, &nonce) {
            Err(Unverified::UnknownKey) => {
                // The provider may have rotated its keys since we looked.
                let newer = self.discovery.again().await?;
                self.verified(&newer, &tokens, &nonce)
                    .map_err(UpstreamError::from)?
            }
            verified => verified?,
        };
        // The rest of the answer is not needed any more, and may be large.
        let access_token = tokens.access_token().clone();
        drop(tokens);
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .filter(|sub| (1..=MAX_SUBJECT).contains(&sub.len()));
        let subject = subject
            .ok_or_else(|| id_token("there is no subject, or an endless one"))?
            .to_owned();
        if !(claims.contains_key("email") && claims.contains_key("name"))
            && let Some(endpoint) = metadata.userinfo_endpoint()
        {
            let more = userinfo(&requests, endpoint.url(), &access_token, &subject).await?;
            claims::merge(&mut claims, more);
        }
        Ok(UpstreamUser {
            identity: Identity {
                provider: self.config.name.clone(),
                issuer: metadata.issuer().as_str().to_owned(),
                subject,
            },
            email: claims::email(&claims, self.config.trusted_email),
            name: claims::name(&claims),
            avatar_url: claims::picture(claims.get("picture").and_then(Value::as_str)),
            claims,
        })
    }

    /// The claims of the ID token, once it has been validated (Core 1.0 section 3.1.3.7).
    fn verified(
        &self,
        provider: &Known,
        tokens: &CoreTokenResponse,
        nonce: &Nonce,
    ) -> Result<Map<String, Value>, Unverified> {
        let token = tokens.id_token().ok_or_else(|| id_token("there is none"))?;
        let advertised = provider.metadata.id_token_signing_alg_values_supported();
        let allowed = ALGORITHMS
            .iter()
            .filter(|algorithm| advertised.contains(algorithm))
            .cloned();
        // Where the clock has gone mad, everything has expired.
        let now = i64::try_from(self.clock.now().0)
            .ok()
            .and_then(|now| DateTime::from_timestamp(now, 0))
            .unwrap_or(DateTime::<Utc>::MAX_UTC);
        let verifier = provider
            .client
            .id_token_verifier()
            .set_allowed_algs(allowed)
            .set_time_fn(move || now)
            .set_issue_time_verifier_fn(move |issued| {
                if issued.timestamp() > now.timestamp().saturating_add(SKEW) {
                    Err("it was issued in the future".to_owned())
                } else {
                    Ok(())
                }
            });
        let claims = token.claims(&verifier, nonce)?;
        // The library leaves step 5 to us. Step 4 it decides itself: no second audience is let pass.
        if claims
            .authorized_party()
            .is_some_and(|azp| azp.as_str() != self.config.client_id)
        {
            return Err(id_token("it was issued to another client (azp)").into());
        }
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = token
                .signing_alg()
                .map_err(|error| id_token(&error.to_string()))?;
            let key = token
                .signing_key(&verifier)
                .map_err(|error| id_token(&error.to_string()))?;
            let actual = AccessTokenHash::from_token(tokens.access_token(), algorithm, key)
                .map_err(|error| id_token(&error.to_string()))?;
            if actual != *expected {
                return Err(id_token("it belongs to another access token").into());
            }
        }
        let claims =
            payload(token).ok_or_else(|| id_token("its payload is no JSON object, or has a claim twice"))?;
        // The library takes a date in words for every time, because some providers write `updated_at` so. These two are
        // numbers (RFC 7519 sections 2 and 4.1).
        let is_number = |time: &str| claims.get(time).is_some_and(Value::is_number);
        if !(is_number("exp") && is_number("iat")) {
            return Err(id_token("its times are no numbers").into());
        }
        match claims.get("nbf") {
            None | Some(Value::Null) => {}
            Some(begins) => {
                let latest = now.timestamp().saturating_add(SKEW);
                let begins = begins.as_f64().ok_or_else(|| id_token("nbf is not a number"))?;
                if begins > latest as f64 {
                    return Err(id_token("it is not valid yet (nbf)").into());
                }
            }
        }
        Ok(claims)
    }
}

/// What the userinfo endpoint adds, if it speaks of the same person (Core 1.0 section 5.3.2).
async fn userinfo(
    requests: &Requests<'_>,
    endpoint: &Url,
    token: &AccessToken,
    subject: &str,
) -> Result<Map<String, Value>, UpstreamError> {
    let bad = |problem: &str| UpstreamError::BadResponse {
        what: USERINFO,
        problem: problem.to_owned(),
    };
    let failed = |error| UpstreamError::Http {
        what: USERINFO,
        error,
    };
    let request = Request::get(endpoint.as_str())
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, format!("Bearer {}", token.secret()))
        .body(Vec::new())
        .map_err(|_| bad("the access token is no header text"))?;
    let answer = requests.send(request).await.map_err(failed)?;
    if answer.status() != StatusCode::OK {
        return Err(failed(HttpError::Status(answer.status().as_u16())));
    }
    let claims = claims::read(answer.body()).map_err(|_| bad("the answer is no object of claims"))?;
    if claims.get("sub").and_then(Value::as_str) != Some(subject) {
        return Err(bad("it speaks of somebody else"));
    }
    Ok(claims)
}

/// Why an ID token is not believed.
enum Unverified {
    /// It is signed with a key we have not seen.
    UnknownKey,
    /// It is not valid.
    Invalid(UpstreamError),
}

impl From<UpstreamError> for Unverified {
    fn from(error: UpstreamError) -> Self {
        Self::Invalid(error)
    }
}

impl From<ClaimsVerificationError> for Unverified {
    fn from(error: ClaimsVerificationError) -> Self {
        match error {
            ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
                Self::UnknownKey
            }
            ClaimsVerificationError::SignatureVerification(error) => {
                Self::Invalid(id_token(&error.to_string()))
            }
            // Whatever the library says of them: the nonces are nobody's business.
            ClaimsVerificationError::InvalidNonce(_) => Self::Invalid(id_token("the nonce is another one")),
            error => Self::Invalid(id_token(&error.to_string())),
        }
    }
}

impl From<Unverified> for UpstreamError {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::UnknownKey => id_token("it is signed with a key that the provider does not publish"),
            Unverified::Invalid(error) => error,
        }
    }
}

/// The problem may quote the provider, who may have a lot to say.
fn id_token(problem: &str) -> UpstreamError {
    UpstreamError::BadIdToken(claims::plain(problem))
}

/// The payload as the provider wrote it: hooks may want claims that no library knows.
fn payload(token: &CoreIdToken) -> Option<Map<String, Value>> {
    let token = token.to_string();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    claims::read(&payload).ok()
}

fn token_error(
    error: RequestTokenError<HttpError, StandardErrorResponse<CoreErrorResponseType>>,
) -> UpstreamError {
    match error {
        RequestTokenError::ServerResponse(refusal) => UpstreamError::refused(refusal.error().as_ref()),
        RequestTokenError::Request(error) => UpstreamError::Http { what: TOKEN, error },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => UpstreamError::BadResponse {
            what: TOKEN,
            problem: "the answer is no token".to_owned(),
        },
    }
}
