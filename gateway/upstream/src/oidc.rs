//! OpenID Connect (Core 1.0): the authorization code flow with PKCE. Of an ID token every claim that counts is checked; the
//! others are kept as they came.
//!
//! | module | what it holds |
//! |---|---|
//! | [`discovery`] | asks the provider about itself, and keeps the answer |
//! | [`metadata`] | what the provider says of itself |
//! | [`id_token`] | what an ID token has to say |
//! | [`logout`] | how the provider signs people out, and says that it has |
//! | [`userinfo`] | when the userinfo endpoint is asked, and what its answer is good for |

use std::sync::Arc;

use gateway_model::{Clock, Identity, UpstreamUser};
use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::Url;

use self::discovery::{Discovery, Known};
use self::id_token::{Claims, Expected};
use crate::claims::{self, Verification};
use crate::config::{HttpLimits, ProviderConfig, Userinfo};
use crate::error::UpstreamError;
use crate::exchange::{ClientAuth, Exchange, Tokens};
use crate::http::{Http, Requests};
use crate::jws::{self, Algorithm, Signed, Unverified};
use crate::names::Names;
use crate::provider::{Authorization, Callback, Flow};

mod discovery;
mod id_token;
mod logout;
mod metadata;
mod userinfo;

const SCOPES: &[&str] = &["openid", "email", "profile"];

/// An OpenID Connect issuer.
#[derive(Debug)]
pub(crate) struct Oidc {
    config: ProviderConfig,
    redirect_uri: Url,
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
        let discovery = Discovery::new(config.name.clone(), issuer, http.clone(), Arc::clone(&clock));
        Ok(Self {
            config,
            redirect_uri,
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
        let client = BasicClient::new(ClientId::new(self.config.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(
                provider.metadata.authorization_endpoint.clone(),
            ))
            .set_redirect_uri(RedirectUrl::from_url(self.redirect_uri.clone()));
        let nonce = CsrfToken::new_random();
        let (url, state) = client
            .authorize_url(CsrfToken::new_random)
            .add_scopes(scopes.map(|scope| Scope::new(scope.to_owned())))
            .add_extra_param("nonce", nonce.secret())
            .set_pkce_challenge(challenge)
            .url();
        let flow = Flow {
            state: state.into_secret(),
            nonce: Some(nonce.into_secret()),
            verifier: verifier.into_secret(),
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
            Some(iss) if iss != provider.metadata.issuer => return Err(UpstreamError::IssuerMismatch),
            None if provider.metadata.promises_iss => return Err(UpstreamError::IssuerMismatch),
            Some(_) | None => {}
        }
        let nonce = flow
            .nonce
            .as_deref()
            .ok_or_else(|| id_token::refused("the sign-in has no nonce"))?;
        let requests = self.http.requests();
        let tokens = self.exchange(&provider, &requests, flow, callback).await?;
        let Claims { subject, mut all } = self.id_token(&mut provider, &tokens, nonce).await?;
        let session = self.session(&all, &tokens);
        // The rest of the answer is not needed any more, and may be large.
        let access_token = tokens.access_token.clone();
        drop(tokens);
        if let Some(endpoint) = provider.metadata.userinfo_endpoint.clone()
            && userinfo::is_asked(self.config.userinfo, &all, hooks_read_claims)
        {
            let answer = userinfo::ask(&requests, &endpoint, &access_token).await;
            match self.userinfo(&mut provider, answer, &subject).await {
                Ok(more) => claims::merge(&mut all, more),
                Err(error) => self.without_userinfo(error, &all)?,
            }
        } else if self.config.userinfo == Userinfo::Required && provider.metadata.userinfo_endpoint.is_none()
        {
            return Err(metadata::bad(
                "there is no `userinfo_endpoint`, and userinfo = \"required\"",
            ));
        }
        self.warn_of_address(&all);
        Ok(UpstreamUser {
            identity: Identity {
                provider: self.config.name.clone(),
                issuer: provider.metadata.issuer.clone(),
                subject,
            },
            email: claims::email(&all, self.config.trusted_email, false),
            name: claims::name(&all),
            avatar_url: claims::picture(all.get("picture").and_then(Value::as_str)),
            claims: all,
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
        // Without a word on it, basic is what they take (Discovery 1.0 section 3).
        let methods = provider.metadata.auth_methods.as_ref();
        let basic =
            methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let exchange = Exchange {
            endpoint: &provider.metadata.token_endpoint,
            client_id: &self.config.client_id,
            client_secret: &self.config.client_secret,
            auth: if basic {
                ClientAuth::Basic
            } else {
                ClientAuth::Post
            },
            redirect_uri: &self.redirect_uri,
            code: callback.code,
            verifier: &flow.verifier,
        };
        exchange.send(requests).await
    }

    /// The claims of the ID token, once it has been validated (Core 1.0 section 3.1.3.7).
    async fn id_token(
        &self,
        provider: &mut Arc<Known>,
        tokens: &Tokens,
        nonce: &str,
    ) -> Result<Claims, UpstreamError> {
        let token = tokens.id_token.as_ref().ok_or_else(|| {
            id_token::refused(
                "there is none in the token answer (`id_token`); is the scope openid asked for?",
            )
        })?;
        let algorithms = provider.metadata.algorithms.clone();
        let signed = self
            .verified(provider, token.expose_secret(), &algorithms, id_token::unverified)
            .await?;
        let expected = Expected {
            issuer: &provider.metadata.issuer,
            client_id: &self.config.client_id,
            nonce,
            access_token: tokens.access_token.expose_secret(),
            now: self.clock.now().0,
        };
        id_token::read(&signed, &expected)
    }

    /// A token with a good signature, by the keys that are known or else by newer ones: the provider may have rotated its
    /// keys since we looked.
    async fn verified(
        &self,
        provider: &mut Arc<Known>,
        token: &str,
        algorithms: &[Algorithm],
        error: fn(&Unverified) -> UpstreamError,
    ) -> Result<Signed, UpstreamError> {
        let verify = |known: &Known| jws::verify(token, &known.keys, algorithms, id_token::TYPES);
        match verify(provider) {
            Err(reason) if reason.may_be_new_key() => {
                *provider = self.discovery.again().await?;
                verify(provider).map_err(|reason| error(&reason))
            }
            verified => verified.map_err(|reason| error(&reason)),
        }
    }

    /// What the userinfo endpoint says of this person.
    async fn userinfo(
        &self,
        provider: &mut Arc<Known>,
        answer: Result<userinfo::Answer, UpstreamError>,
        subject: &str,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let claims = match answer? {
            userinfo::Answer::Claims(claims) => claims,
            userinfo::Answer::Token(token) => {
                let algorithms = Algorithm::all();
                let signed = self
                    .verified(provider, &token, &algorithms, userinfo::unverified)
                    .await?;
                let claims = userinfo::read(&signed.payload)?;
                let issuer = &provider.metadata.issuer;
                userinfo::check_token(&claims, issuer, &self.config.client_id, self.clock.now().0)?;
                claims
            }
        };
        userinfo::check_subject(&claims, subject)?;
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

    /// Says why an address does not count, where the operator could change that.
    fn warn_of_address(&self, claims: &Map<String, Value>) {
        let said = match Verification::of(claims) {
            Verification::Unsaid => "the provider does not say whether it is verified (`email_verified`)",
            Verification::Text => "`email_verified` is the text \"true\", not true",
            Verification::Verified | Verification::NotVerified => return,
        };
        if claims::text(claims, "email").is_some() {
            tracing::warn!(
                provider = self.config.name,
                "an address does not count: {said}; if this provider verifies all addresses, set \
                 assume_email_verified = true for it"
            );
        }
    }
}
