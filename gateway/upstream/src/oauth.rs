//! OAuth 2.0 (RFC 6749) with PKCE (RFC 7636) and nothing more, for providers that have no OpenID Connect: who the person is
//! comes from an endpoint and members of its answer that the operator names.

use std::sync::Arc;

use gateway_model::{Clock, Email, Identity, UpstreamSession, UpstreamUser};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use url::Url;

use crate::authorize;
use crate::check::{self, Findings};
use crate::claims::{self, Verification};
use crate::client::Server;
use crate::config::{OAuth2, ProviderConfig};
use crate::error::UpstreamError;
use crate::exchange::Exchange;
use crate::flow::{Authorization, Callback, Flow, Hints};
use crate::http::{Http, HttpError, HttpLimits, Requests};
use crate::json::Object;
use crate::mapping::{Mapping, Member};
use crate::names::{Names, is_private};
use crate::text::plain;

const USERINFO: &str = "the userinfo endpoint";

/// A provider that speaks OAuth 2.0 and nothing more.
#[derive(Debug)]
pub(crate) struct OAuth {
    config: ProviderConfig,
    kind: OAuth2,
    redirect_uri: Url,
    http: Http,
    clock: Arc<dyn Clock>,
}

impl OAuth {
    pub(crate) fn new(
        config: ProviderConfig,
        kind: OAuth2,
        redirect_uri: Url,
        limits: &HttpLimits,
        clock: Arc<dyn Clock>,
        names: Arc<dyn Names>,
    ) -> Result<Self, UpstreamError> {
        // All three are the operator's own words.
        let urls = [&kind.token, &kind.userinfo];
        let private = config.allow_private_addresses || urls.iter().any(|url| is_private(url));
        let http = Http::new(&kind.token, private, limits, names)?;
        for url in [&kind.authorize, &kind.token, &kind.userinfo] {
            if !http.is_secure(url) {
                return Err(UpstreamError::Config(format!("{url} must be https")));
            }
        }
        Ok(Self {
            config,
            kind,
            redirect_uri,
            http,
            clock,
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.kind.issuer
    }

    pub(crate) fn begin(&self, hints: Hints<'_>) -> Authorization {
        let (flow, parameters) = authorize::request(&self.config, &self.redirect_uri, false, hints);
        let url = authorize::url(&self.kind.authorize, &parameters);
        Authorization { url, flow }
    }

    pub(crate) async fn finish(
        &self,
        flow: &Flow,
        callback: Callback<'_>,
    ) -> Result<UpstreamUser, UpstreamError> {
        // An `iss` (RFC 9207) has nothing to be compared with: the configured issuer is the operator's choice. That each
        // provider has a callback of its own keeps their answers apart (RFC 9700 section 4.4.2).
        let requests = self.http.requests();
        let exchange = self.exchange(callback.code, &flow.verifier);
        let tokens = exchange.send(&requests).await?;
        let claims = self
            .userinfo(&requests, tokens.access_token.expose_secret())
            .await?;
        let mapping = &self.kind.mapping;
        let values = claims.values();
        let subject = mapping.subject(values).map_err(|problem| bad(&problem))?;
        self.warn_of_address(values);
        Ok(UpstreamUser {
            identity: Identity {
                provider: self.config.name.clone(),
                issuer: self.kind.issuer.clone(),
                subject,
            },
            email: email(mapping, values, &self.config),
            name: text(mapping.name.as_ref(), values).map_or_else(String::new, |name| plain(&name)),
            avatar_url: claims::picture(text(mapping.picture.as_ref(), values).as_deref()),
            session: UpstreamSession::default(),
            claims: claims.claims(),
        })
    }

    /// Says why an address does not count.
    fn warn_of_address(&self, claims: &Map<String, Value>) {
        let mapping = &self.kind.mapping;
        let Some(member) = &mapping.email else { return };
        // A choice or a template is a text, and of others the value says more.
        let address = member.value(claims).filter(|_| member.is_plain()).cloned();
        let address = address.or_else(|| member.text(claims).map(Value::String));
        let verified = mapping.email_verified.as_ref();
        let verified = verified.and_then(|member| member.value(claims));
        let assumed = self.config.assume_email_verified;
        if let Some(reason) = claims::discounted(address.as_ref(), verified, assumed) {
            claims::warn_of_address(&self.config.name, &member.to_string(), &reason);
        }
    }

    fn exchange<'a>(&'a self, code: &'a str, verifier: &'a str) -> Exchange<'a> {
        Exchange {
            endpoint: &self.kind.token,
            client_id: &self.config.client_id,
            auth: &self.config.client_auth,
            server: Server {
                issuer: &self.kind.issuer,
                token_endpoint: &self.kind.token,
                methods: None,
            },
            redirect_uri: &self.redirect_uri,
            code,
            verifier,
            now: self.clock.now(),
        }
    }

    /// Asks the provider what a sign-in would.
    pub(crate) async fn check(&self, findings: &mut Findings) {
        let userinfo = self.kind.userinfo.as_str();
        match check::get(&self.http, userinfo).await {
            Ok(answer) => {
                check::clock(findings, answer.headers(), self.clock.now());
                // Without a token it has to say no, whichever way.
                if answer.status() == StatusCode::NOT_FOUND {
                    findings.error("userinfo", format!("{userinfo} answers 404: check userinfo_url"));
                }
            }
            Err(error) => findings.error("userinfo", check::unreachable(userinfo, &error)),
        }
        let requests = self.http.requests();
        let method = self.config.client_auth.method(None);
        check::credentials(findings, &requests, self.exchange("", ""), method).await;
        let page = self.begin(Hints::default()).url;
        check::sign_in_page(findings, &self.http, &page, &self.redirect_uri).await;
    }

    /// What the provider says of the owner of the token.
    async fn userinfo(&self, requests: &Requests<'_>, token: &str) -> Result<Object, UpstreamError> {
        let failed = |error| UpstreamError::Http {
            what: USERINFO,
            error,
        };
        let request = Request::get(self.kind.userinfo.as_str())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Vec::new())
            .map_err(|_| bad("the access token is not the text of a header"))?;
        let answer = requests.send(request).await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(failed(HttpError::Status(answer.status().as_u16())));
        }
        Object::read(answer.body()).map_err(|problem| bad(&format!("the answer {problem}")))
    }
}

/// The address, where the provider says that it is verified or the operator vouches for it. What the provider says counts
/// for more than the operator's word.
fn email(mapping: &Mapping, claims: &Map<String, Value>, config: &ProviderConfig) -> Option<Email> {
    let address = text(mapping.email.as_ref(), claims)?;
    let said = mapping
        .email_verified
        .as_ref()
        .and_then(|member| member.value(claims));
    let verified = match Verification::said(said) {
        Verification::Verified => true,
        Verification::Unsaid | Verification::Text => config.assume_email_verified,
        Verification::NotVerified => false,
    };
    (verified && claims::is_address(&address)).then_some(Email {
        address,
        trusted: config.trusted_email,
    })
}

fn text(member: Option<&Member>, claims: &Map<String, Value>) -> Option<String> {
    member.and_then(|member| member.text(claims))
}

fn bad(problem: &str) -> UpstreamError {
    UpstreamError::BadResponse {
        what: USERINFO,
        problem: plain(problem),
    }
}
