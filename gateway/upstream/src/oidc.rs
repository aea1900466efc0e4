//! OpenID Connect (Core 1.0): the authorization code flow with PKCE. Of an ID token every claim that counts is checked; the
//! others are kept as they came.
//!
//! | module | what it holds |
//! |---|---|
//! | [`discovery`] | asks the provider about itself, and keeps the answer |
//! | [`metadata`] | what the provider says of itself |
//! | [`id_token`] | what an ID token has to say |
//! | [`par`] | authorization requests that are pushed |
//! | [`check`] | what would go wrong in a sign-in, before there is one |
//! | [`logout`] | how the provider signs people out, and says that it has |
//! | [`userinfo`] | when the userinfo endpoint is asked, and what its answer is good for |

use std::sync::Arc;

use gateway_model::{Clock, Identity, UpstreamUser};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

use self::discovery::{Discovery, Known, Token};
use self::id_token::{Claims, Expected};
use self::metadata::Metadata;
use crate::authorize;
use crate::claims;
use crate::client::Server;
use crate::config::{NonceRule, ProviderConfig, TENANT, Userinfo};
use crate::error::UpstreamError;
use crate::exchange::{Exchange, Tokens};
use crate::flow::{Authorization, Callback, Flow, Hints};
use crate::http::{Http, HttpLimits, Requests};
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

/// An OpenID Connect issuer.
#[derive(Debug)]
pub(crate) struct Oidc {
    config: ProviderConfig,
    redirect_uri: Url,
    http: Http,
    discovery: Discovery,
    clock: Arc<dyn Clock>,
    /// Held while a signature is verified.
    verifying: Arc<Semaphore>,
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
        let discovery = Discovery::new(
            config.name.clone(),
            issuer,
            config.discovery.clone(),
            http.clone(),
            Arc::clone(&clock),
        );
        Ok(Self {
            config,
            redirect_uri,
            http,
            discovery,
            clock,
            verifying: Arc::new(Semaphore::new(1)),
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        self.discovery.issuer()
    }

    pub(crate) async fn begin(&self, hints: Hints<'_>) -> Result<Authorization, UpstreamError> {
        let provider = self.discovery.known().await?;
        let metadata = &provider.metadata;
        let (flow, parameters) = authorize::request(&self.config, &self.redirect_uri, true, hints);
        let url = match par::endpoint(metadata, &self.http, self.config.par)? {
            Some(endpoint) => {
                let requests = self.http.requests();
                self.push(&requests, metadata, &endpoint, &parameters).await?
            }
            None => authorize::url(&metadata.authorization_endpoint, &parameters),
        };
        Ok(Authorization { url, flow })
    }

    pub(crate) async fn finish(
        &self,
        flow: &Flow,
        callback: Callback<'_>,
        hooks_read_claims: bool,
    ) -> Result<UpstreamUser, UpstreamError> {
        let mut provider = self.discovery.known().await?;
        match callback.iss {
            // defence: callback-names-the-issuer (a test fails without it: docs/defences.md)
            Some(iss) if !self.is_issuer(iss) => return Err(UpstreamError::IssuerMismatch),
            None if provider.metadata.promises_iss => return Err(UpstreamError::IssuerMismatch),
            Some(_) | None => {}
        }
        let nonce = flow.nonce.as_deref();
        // Without one to compare, the code goes nowhere.
        if nonce.is_none() && self.config.nonce != NonceRule::Off {
            return Err(id_token::refused("the sign-in has no nonce"));
        }
        let requests = self.http.requests();
        let tokens = self.exchange(&provider, &requests, flow, callback).await?;
        let Claims {
            issuer,
            subject,
            mut all,
        } = self.id_token(&mut provider, &tokens, nonce).await?;
        // Either may be one of several tenants.
        // defence: id-token-names-the-same-issuer (a test fails without it: docs/defences.md)
        if callback.iss.is_some_and(|iss| iss != issuer) {
            return Err(UpstreamError::IssuerMismatch);
        }
        let session = self.session(all.values(), &tokens);
        // The rest of the answer is not needed any more, and may be large.
        let access_token = tokens.access_token.clone();
        drop(tokens);
        if userinfo::is_asked(self.config.userinfo, all.values(), hooks_read_claims) {
            let more = match provider.metadata.userinfo_endpoint(&self.http) {
                Ok(Some(endpoint)) => {
                    let answer = userinfo::ask(&requests, &endpoint, &access_token).await;
                    let more = self.userinfo(&mut provider, answer, &issuer, &subject).await;
                    more.map(Some)
                }
                Ok(None) if self.config.userinfo == Userinfo::Required => Err(metadata::no_userinfo()),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match more {
                Ok(more) => claims::merge(&mut all, more.unwrap_or_default()),
                Err(error) => self.without_userinfo(error, all.values())?,
            }
        }
        let values = all.values();
        self.warn_of_address(values);
        Ok(UpstreamUser {
            identity: Identity {
                provider: self.config.name.clone(),
                issuer,
                subject,
            },
            email: claims::email(
                values,
                self.config.trusted_email,
                self.config.assume_email_verified,
            ),
            name: claims::name(values),
            avatar_url: claims::picture(values.get("picture").and_then(Value::as_str)),
            claims: all.claims(),
            session,
        })
    }

    async fn exchange(
        &self,
        provider: &Known,
        requests: &Requests<'_>,
        flow: &Flow,
        callback: Callback<'_>,
    ) -> Result<Tokens, UpstreamError> {
        let exchange = self.exchange_of(&provider.metadata, callback.code, &flow.verifier);
        exchange.send(requests).await
    }

    fn exchange_of<'a>(&'a self, metadata: &'a Metadata, code: &'a str, verifier: &'a str) -> Exchange<'a> {
        Exchange {
            endpoint: &metadata.token_endpoint,
            client_id: &self.config.client_id,
            auth: &self.config.client_auth,
            server: Self::server(metadata),
            redirect_uri: &self.redirect_uri,
            code,
            verifier,
            now: self.clock.now(),
        }
    }

    fn server(metadata: &Metadata) -> Server<'_> {
        Server {
            issuer: &metadata.issuer,
            token_endpoint: &metadata.token_endpoint,
            methods: metadata.auth_methods.as_deref(),
        }
    }

    /// Whether this is the provider, or one of its tenants that the operator lists.
    pub(crate) fn is_issuer(&self, iss: &str) -> bool {
        let issuer = self.discovery.issuer();
        if !issuer.contains(TENANT) {
            return iss == issuer;
        }
        let mut tenants = self.config.tenants.iter();
        tenants.any(|tenant| iss == issuer.replace(TENANT, tenant))
    }

    /// Whether the key of a token may sign for an issuer: of a provider of many tenants, some keys are for one of them.
    fn may_sign_for(&self, token: &Signed, iss: &str) -> bool {
        let template = self.discovery.issuer();
        let Some(key) = token.key_issuer.as_deref().filter(|_| template.contains(TENANT)) else {
            return true;
        };
        key == iss || key == template
    }

    /// The claims of the ID token, once it has been validated (Core 1.0 section 3.1.3.7).
    async fn id_token(
        &self,
        provider: &mut Arc<Known>,
        tokens: &Tokens,
        nonce: Option<&str>,
    ) -> Result<Claims, UpstreamError> {
        let token = tokens.id_token.as_ref().ok_or_else(|| {
            id_token::refused(
                "there is none in the token answer (`id_token`); is the scope openid asked for?",
            )
        })?;
        let signed = self
            .verified(
                provider,
                token.expose_secret(),
                Known::algorithms,
                id_token::unverified,
            )
            .await?;
        let expected = Expected {
            issuer: &provider.metadata.issuer,
            config: &self.config,
            nonce,
            access_token: tokens.access_token.expose_secret(),
            now: self.clock.now().0,
        };
        let claims = id_token::read(&signed, &expected)?;
        // Keys of personal accounts, say, stand beside those of organizations. Each signs for its own issuer only.
        if !self.may_sign_for(&signed, &claims.issuer) {
            return Err(id_token::refused("it is signed with a key of another tenant"));
        }
        Ok(claims)
    }

    /// A token with a good signature, by the keys and algorithms that are known or else by newer ones: the provider may have
    /// rotated its keys since we looked, and moved to another algorithm.
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

    /// Verifies a signature apart from the threads that answer requests, one at a time: how much work it is depends on the
    /// keys that the provider publishes.
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
            // Goes on when the caller has gone away.
            let _turn = turn;
            jws::verify(&token, &provider.keys, &algorithms, types)
        });
        verified.await.unwrap_or(Err(Unverified::Abandoned))
    }

    /// What the userinfo endpoint says of this person.
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
                    &self.config.client_id,
                    self.clock.now().0,
                )?;
                claims
            }
        };
        userinfo::check_subject(claims.values(), subject)?;
        Ok(claims)
    }

    /// Goes on with what the ID token says, or ends the sign-in.
    fn without_userinfo(
        &self,
        error: UpstreamError,
        token: &Map<String, Value>,
    ) -> Result<(), UpstreamError> {
        if userinfo::is_fatal(self.config.userinfo, token, &error) {
            return Err(error);
        }
        tracing::warn!(
            provider = self.config.name, %error,
            "the userinfo endpoint adds nothing to this sign-in; set userinfo = \"never\" for the provider if it never does"
        );
        Ok(())
    }

    /// Says why an address does not count.
    fn warn_of_address(&self, claims: &Map<String, Value>) {
        let (address, verified) = (claims.get("email"), claims.get("email_verified"));
        let assumed = self.config.assume_email_verified;
        if let Some(reason) = claims::discounted(address, verified, assumed) {
            claims::warn_of_address(&self.config.name, "email", &reason);
        }
    }
}
