//! OpenID Connect (Core 1.0): the authorization code flow with PKCE. The gateway validates every claim of an ID token
//! that it uses, and passes the others to hooks unchanged.
//!
//! | module | contents |
//! |---|---|
//! | [`discovery`] | fetches and caches metadata and keys |
//! | [`metadata`] | the provider's metadata |
//! | [`id_token`] | validation of an ID token's claims |
//! | [`par`] | pushed authorization requests |
//! | [`check`] | the diagnosis behind `gateway provider check` |
//! | [`logout`] | RP-initiated sign-out and logout tokens |
//! | [`userinfo`] | the userinfo endpoint |

use std::sync::Arc;

use gateway_model::{Identity, UpstreamUser};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use self::discovery::{Discovery, Known, Token};
use self::id_token::{Claims, Expected};
use self::metadata::Metadata;
use crate::authorize;
use crate::claims;
use crate::client::Server;
use crate::config::{NonceRule, TENANT, Userinfo};
use crate::error::UpstreamError;
use crate::exchange::{Client, Tokens};
use crate::flow::{Authorization, Callback, Flow, Hints};
use crate::http::{Http, HttpLimits};
use crate::json::Object;
use crate::jws::{self, Algorithm, Signed, Unverified};
use crate::names::Names;

mod check;
mod discovery;
mod id_token;
mod logout;
mod metadata;
mod par;
mod userinfo;

#[derive(Debug)]
pub(crate) struct Oidc {
    pub(crate) client: Client,
    http: Http,
    pub(crate) discovery: Discovery,
    /// Held while a signature is verified.
    verifying: Arc<Semaphore>,
}

impl Oidc {
    pub(crate) fn new(
        client: Client,
        issuer: String,
        limits: &HttpLimits,
        names: Arc<dyn Names>,
    ) -> Result<Self, UpstreamError> {
        let home =
            Url::parse(&issuer).map_err(|error| UpstreamError::Config(format!("{issuer}: {error}")))?;
        // Core 1.0 section 2, `iss`.
        if home.query().is_some() || home.fragment().is_some() {
            return Err(UpstreamError::Config(format!(
                "{issuer}: an issuer must not have a query or a fragment"
            )));
        }
        let http = Http::new(&home, client.config.allow_private_addresses, limits, names)?;
        let discovery = Discovery::new(&client, issuer, http.clone());
        Ok(Self {
            client,
            http,
            discovery,
            verifying: Arc::new(Semaphore::new(1)),
        })
    }

    pub(crate) async fn begin(&self, hints: Hints<'_>) -> Result<Authorization, UpstreamError> {
        let provider = self.discovery.known().await?;
        let metadata = &provider.metadata;
        let client = &self.client;
        let (flow, parameters) = authorize::request(&client.config, &client.redirect_uri, true, hints);
        let requests = self.http.requests();
        let (url, _) = self.authorization_url(&requests, metadata, &parameters).await?;
        Ok(Authorization { url, flow })
    }

    pub(crate) async fn finish(
        &self,
        flow: &Flow,
        callback: Callback<'_>,
        hooks_read_claims: bool,
    ) -> Result<UpstreamUser, UpstreamError> {
        let config = &self.client.config;
        let mut provider = self.discovery.known().await?;
        match callback.iss {
            // defence: callback-names-the-issuer (a test fails without it: docs/defences.md)
            Some(iss) if !self.is_issuer(iss) => return Err(UpstreamError::IssuerMismatch),
            None if provider.metadata.promises_iss => return Err(UpstreamError::IssuerMismatch),
            Some(_) | None => {}
        }
        let nonce = flow.nonce.as_deref();
        // Without a nonce to compare, the code is not sent.
        if nonce.is_none() && config.nonce != NonceRule::Off {
            return Err(id_token::refused("the sign-in has no nonce"));
        }
        let requests = self.http.requests();
        let server = Self::server(&provider.metadata);
        let tokens = self
            .client
            .exchange(&requests, server, callback.code, &flow.verifier)
            .await?;
        let Claims {
            issuer,
            subject,
            mut all,
        } = self.id_token(&mut provider, &tokens, nonce).await?;
        // Both may be the issuers of listed tenants, but must be the same one.
        // defence: id-token-names-the-same-issuer (a test fails without it: docs/defences.md)
        if callback.iss.is_some_and(|iss| iss != issuer) {
            return Err(UpstreamError::IssuerMismatch);
        }
        let session = self.session(all.values(), &tokens);
        // The rest of the answer may be large.
        let access_token = tokens.access_token.clone();
        drop(tokens);
        if userinfo::is_asked(config.userinfo, all.values(), hooks_read_claims) {
            let more = match provider.metadata.userinfo_endpoint(&self.http) {
                Ok(Some(endpoint)) => {
                    let answer = userinfo::ask(&requests, &endpoint, &access_token).await;
                    let more = self.userinfo(&mut provider, answer, &issuer, &subject).await;
                    more.map(Some)
                }
                Ok(None) if config.userinfo == Userinfo::Required => Err(metadata::no_userinfo()),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match more {
                Ok(more) => claims::merge(&mut all, more.unwrap_or_default()),
                Err(error) if userinfo::is_fatal(config.userinfo, all.values(), &error) => return Err(error),
                Err(error) => tracing::warn!(
                    provider = config.name, %error,
                    "the userinfo endpoint failed, so the ID token's claims are used; set userinfo = \"never\" for the \
                     provider if it always fails"
                ),
            }
        }
        let values = all.values();
        claims::warn_of_address(config, "email", values.get("email"), values.get("email_verified"));
        Ok(UpstreamUser {
            identity: Identity {
                provider: config.name.clone(),
                issuer,
                subject,
            },
            email: claims::email(
                claims::text(values, "email"),
                values.get("email_verified"),
                config,
            ),
            name: claims::name(values),
            avatar_url: claims::picture(values.get("picture").and_then(Value::as_str)),
            claims: all.claims(),
            session,
        })
    }

    fn server(metadata: &Metadata) -> Server<'_> {
        Server {
            issuer: &metadata.issuer,
            token_endpoint: &metadata.token_endpoint,
            methods: metadata.auth_methods.as_deref(),
        }
    }

    /// Whether this is the provider's issuer, or that of one of its listed tenants.
    pub(crate) fn is_issuer(&self, iss: &str) -> bool {
        let issuer = &self.discovery.issuer;
        if !issuer.contains(TENANT) {
            return iss == issuer;
        }
        let mut tenants = self.client.config.tenants.iter();
        tenants.any(|tenant| iss == issuer.replace(TENANT, tenant))
    }

    /// Whether the token's key may sign for this issuer. In the key set of a provider with many tenants, some keys
    /// belong to one tenant.
    fn may_sign_for(&self, token: &Signed, iss: &str) -> bool {
        let template = &self.discovery.issuer;
        let Some(key) = token.key_issuer.as_deref().filter(|_| template.contains(TENANT)) else {
            return true;
        };
        key == iss || key == template
    }

    /// Validates the ID token (Core 1.0 section 3.1.3.7).
    async fn id_token(
        &self,
        provider: &mut Arc<Known>,
        tokens: &Tokens,
        nonce: Option<&str>,
    ) -> Result<Claims, UpstreamError> {
        let token = tokens.id_token.as_ref().ok_or_else(|| {
            id_token::refused(
                "it is missing from the token response (`id_token`); is openid among the scopes?",
            )
        })?;
        let signed = self
            .verified(
                provider,
                token.expose_secret(),
                |known| known.metadata.algorithms.clone(),
                id_token::unverified,
            )
            .await?;
        let expected = Expected {
            issuer: &provider.metadata.issuer,
            config: &self.client.config,
            nonce,
            access_token: tokens.access_token.expose_secret(),
            now: self.client.clock.now().0,
        };
        let claims = id_token::read(&signed, &expected)?;
        // Entra ID publishes the keys of personal accounts beside those of organizations. Each signs for its own issuer
        // only.
        if !self.may_sign_for(&signed, &claims.issuer) {
            return Err(id_token::refused("it is signed with another tenant's key"));
        }
        Ok(claims)
    }

    /// Verifies a token. If it fails with the known keys and algorithms, newer ones are fetched: the provider may have
    /// rotated its keys and changed its algorithm.
    async fn verified(
        &self,
        provider: &mut Arc<Known>,
        token: &str,
        algorithms: fn(&Known) -> Vec<Algorithm>,
        error: fn(&Unverified) -> UpstreamError,
    ) -> Result<Signed, UpstreamError> {
        match self
            .verify(provider, token, algorithms(provider), id_token::TYPES)
            .await
        {
            Err(reason) if reason.may_be_new_key() => {
                *provider = self.discovery.again(Token::Id).await?;
                self.verify(provider, token, algorithms(provider), id_token::TYPES)
                    .await
            }
            verified => verified,
        }
        .map_err(|reason| error(&reason))
    }

    /// Verifies a signature on a blocking thread, one at a time: the cost depends on the keys that the provider
    /// publishes.
    async fn verify(
        &self,
        provider: &Arc<Known>,
        token: &str,
        algorithms: Vec<Algorithm>,
        types: &'static [&'static str],
    ) -> Result<Signed, Unverified> {
        let (provider, token) = (Arc::clone(provider), token.to_owned());
        let turn = Arc::clone(&self.verifying).acquire_owned().await;
        let verified = tokio::task::spawn_blocking(move || {
            // Held even if the caller goes away.
            let _turn = turn;
            jws::verify(&token, &provider.keys, &algorithms, types)
        });
        verified.await.unwrap_or(Err(Unverified::Abandoned))
    }

    /// The claims in the userinfo endpoint's answer, once it is known to be about this user.
    async fn userinfo(
        &self,
        provider: &mut Arc<Known>,
        answer: Result<userinfo::Answer, UpstreamError>,
        issuer: &str,
        subject: &str,
    ) -> Result<Object, UpstreamError> {
        let claims = match answer? {
            userinfo::Answer::Claims(claims) => claims,
            userinfo::Answer::Token(token) => {
                let signed = self
                    .verified(provider, &token, |_| Algorithm::all(), userinfo::unverified)
                    .await?;
                let claims = userinfo::read(&signed.payload)?;
                userinfo::check_token(
                    claims.values(),
                    issuer,
                    &self.client.config.client_id,
                    self.client.clock.now().0,
                )?;
                claims
            }
        };
        userinfo::check_subject(claims.values(), subject)?;
        Ok(claims)
    }
}
