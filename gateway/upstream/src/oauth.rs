//! Plain OAuth 2.0 (RFC 6749) with PKCE (RFC 7636), for providers without OpenID Connect: the operator names the
//! endpoint that describes the user, and the members of its answer.

use std::sync::Arc;

use gateway_model::{Identity, UpstreamSession, UpstreamUser};
use http::StatusCode;
use serde_json::{Map, Value};

use crate::authorize;
use crate::check::{self, Findings};
use crate::claims;
use crate::client::Server;
use crate::config::OAuth2;
use crate::error::UpstreamError;
use crate::exchange::Client;
use crate::flow::{Authorization, Callback, Flow, Hints};
use crate::http::{Http, HttpLimits};
use crate::json::Object;
use crate::mapping::Member;
use crate::names::{Names, is_private};
use crate::text::plain;

const USERINFO: &str = "the userinfo endpoint";

#[derive(Debug)]
pub(crate) struct OAuth {
    pub(crate) client: Client,
    pub(crate) kind: OAuth2,
    http: Http,
}

impl OAuth {
    pub(crate) fn new(
        client: Client,
        kind: OAuth2,
        limits: &HttpLimits,
        names: Arc<dyn Names>,
    ) -> Result<Self, UpstreamError> {
        // The operator wrote all URLs, so any of them may permit private addresses.
        let urls = [&kind.token, &kind.userinfo];
        let private = client.config.allow_private_addresses || urls.iter().any(|url| is_private(url));
        let http = Http::new(&kind.token, private, limits, names)?;
        for url in [&kind.authorize, &kind.token, &kind.userinfo] {
            if !http.is_secure(url) {
                return Err(UpstreamError::Config(format!("{url} must be https")));
            }
        }
        Ok(Self { client, kind, http })
    }

    pub(crate) fn begin(&self, hints: Hints<'_>) -> Authorization {
        let client = &self.client;
        let (flow, parameters) = authorize::request(&client.config, &client.redirect_uri, false, hints);
        let url = authorize::url(&self.kind.authorize, &parameters);
        Authorization { url, flow }
    }

    pub(crate) async fn finish(
        &self,
        flow: &Flow,
        callback: Callback<'_>,
    ) -> Result<UpstreamUser, UpstreamError> {
        // `iss` (RFC 9207) cannot be compared with the configured issuer, which is the operator's choice. Each provider
        // has its own callback URL, which keeps their answers apart (RFC 9700 section 4.4.2).
        let requests = self.http.requests();
        let client = &self.client;
        let tokens = client
            .exchange(&requests, self.server(), callback.code, &flow.verifier)
            .await?;
        let (userinfo, token) = (self.kind.userinfo.as_str(), Some(&tokens.access_token));
        let answer = requests.get(USERINFO, userinfo, &[("accept", "application/json")], token);
        let claims = Object::read(answer.await?.body())
            .map_err(|problem| UpstreamError::unreadable(USERINFO, problem))?;
        let mapping = &self.kind.mapping;
        let values = claims.values();
        let subject = mapping
            .subject(values)
            .map_err(|problem| UpstreamError::bad_response(USERINFO, problem))?;
        let verified = mapping.email_verified.as_ref();
        let verified = verified.and_then(|member| member.value(values));
        self.warn_of_address(values, verified);
        Ok(UpstreamUser {
            identity: Identity {
                provider: client.config.name.clone(),
                issuer: self.kind.issuer.clone(),
                subject,
            },
            email: claims::email(
                text(mapping.email.as_ref(), values).as_deref(),
                verified,
                &client.config,
            ),
            name: text(mapping.name.as_ref(), values).map_or_else(String::new, |name| plain(&name)),
            avatar_url: claims::picture(text(mapping.picture.as_ref(), values).as_deref()),
            session: UpstreamSession::default(),
            claims: claims.claims(),
        })
    }

    /// Logs why an address is not used.
    fn warn_of_address(&self, claims: &Map<String, Value>, verified: Option<&Value>) {
        let Some(member) = &self.kind.mapping.email else {
            return;
        };
        // The value of a plain member shows more, such as its type; a choice or a template is always a string.
        let address = member.value(claims).filter(|_| member.is_plain()).cloned();
        let address = address.or_else(|| member.text(claims).map(Value::String));
        let member = member.to_string();
        claims::warn_of_address(&self.client.config, &member, address.as_ref(), verified);
    }

    fn server(&self) -> Server<'_> {
        Server {
            issuer: &self.kind.issuer,
            token_endpoint: &self.kind.token,
            methods: None,
        }
    }

    pub(crate) async fn check(&self, findings: &mut Findings) {
        let client = &self.client;
        let userinfo = self.kind.userinfo.as_str();
        match check::get(&self.http, userinfo).await {
            Ok(answer) => {
                check::clock(findings, answer.headers(), client.clock.now());
                // Any other error is right for a request without a token.
                if answer.status() == StatusCode::NOT_FOUND {
                    findings.error("userinfo", format!("{userinfo} answers 404: check userinfo_url"));
                }
            }
            Err(error) => findings.error("userinfo", check::unreachable(userinfo, &error)),
        }
        let requests = self.http.requests();
        let method = client.config.client_auth.method(None);
        check::credentials(findings, &requests, client, self.server(), method).await;
        let page = self.begin(Hints::default()).url;
        check::sign_in_page(findings, &self.http, &page, &client.redirect_uri).await;
    }
}

fn text(member: Option<&Member>, claims: &Map<String, Value>) -> Option<String> {
    member.and_then(|member| member.text(claims))
}
