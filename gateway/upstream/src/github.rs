//! GitHub, which speaks OAuth 2.0 (RFC 6749) with PKCE (RFC 7636) but no OpenID Connect: who the person
//! is comes from its REST API (docs.github.com, "Authorizing OAuth apps", `GET /user`, `GET /user/emails`).

use std::fmt;
use std::sync::Arc;

use gateway_model::{Clock, Email, Identity, UpstreamSession, UpstreamUser};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use url::Url;

use crate::authorize;
use crate::check::{self, Findings};
use crate::claims;
use crate::client::Server;
use crate::config::ProviderConfig;
use crate::error::UpstreamError;
use crate::exchange::Exchange;
use crate::flow::{Authorization, Callback, Flow, Hints};
use crate::http::{Http, HttpError, HttpLimits, HttpResponse, Requests};
use crate::json::{Members, Object, kind};
use crate::names::{Names, is_private};
use crate::text::plain;

const USER: &str = "GET /user";
const EMAILS: &str = "GET /user/emails";
/// The most addresses that GitHub gives at once.
const PER_PAGE: usize = 100;
/// How many pages of addresses are asked for. Nobody known has more than one.
const PAGES: usize = 5;

/// GitHub, or a GitHub Enterprise Server.
#[derive(Debug)]
pub(crate) struct GitHub {
    config: ProviderConfig,
    http: Http,
    /// The web address' origin: what stands for an issuer.
    issuer: String,
    /// What the callback's `iss` may be, where GitHub sends one.
    iss: String,
    authorize: Url,
    token: Url,
    user: Url,
    emails: Url,
    redirect_uri: Url,
    clock: Arc<dyn Clock>,
}

impl GitHub {
    pub(crate) fn new(
        config: ProviderConfig,
        web: &Url,
        api: &Url,
        redirect_uri: Url,
        limits: &HttpLimits,
        clock: Arc<dyn Clock>,
        names: Arc<dyn Names>,
    ) -> Result<Self, UpstreamError> {
        // Both are the operator's own words.
        let private = config.allow_private_addresses || is_private(api);
        let http = Http::new(web, private, limits, names)?;
        if !http.is_secure(api) {
            return Err(UpstreamError::Config(format!("{api} must be https")));
        }
        Ok(Self {
            issuer: web.origin().ascii_serialization(),
            iss: below(web, "login/oauth")?.into(),
            user: below(api, "user")?,
            emails: below(api, "user/emails")?,
            token: below(web, "login/oauth/access_token")?,
            authorize: below(web, "login/oauth/authorize")?,
            redirect_uri,
            config,
            http,
            clock,
        })
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn begin(&self, hints: Hints<'_>) -> Authorization {
        let (flow, mut parameters) = authorize::request(&self.config, &self.redirect_uri, false, hints);
        // GitHub's own word for it (docs.github.com, "Authorizing OAuth apps").
        for (name, _) in &mut parameters {
            if name == "login_hint" {
                *name = "login".into();
            }
        }
        let url = authorize::url(&self.authorize, &parameters);
        Authorization { url, flow }
    }

    /// The exchange of a code. GitHub reads the id and the secret in the form.
    fn exchange<'a>(&'a self, code: &'a str, verifier: &'a str) -> Exchange<'a> {
        const METHODS: &[String] = &[];
        Exchange {
            endpoint: &self.token,
            client_id: &self.config.client_id,
            auth: &self.config.client_auth,
            server: Server {
                issuer: &self.issuer,
                token_endpoint: &self.token,
                methods: Some(METHODS),
            },
            redirect_uri: &self.redirect_uri,
            code,
            verifier,
            now: self.clock.now(),
        }
    }

    /// Asks GitHub what a sign-in would.
    pub(crate) async fn check(&self, findings: &mut Findings) {
        let requests = self.http.requests();
        match check::get(&self.http, self.user.as_str()).await {
            Ok(answer) => check::clock(findings, answer.headers(), self.clock.now()),
            Err(error) => findings.error("API", check::unreachable(self.user.as_str(), &error)),
        }
        check::credentials(findings, &requests, self.exchange("", ""), "client_secret_post").await;
        let page = self.begin(Hints::default()).url;
        check::sign_in_page(findings, &self.http, &page, &self.redirect_uri).await;
    }

    pub(crate) fn is_issuer(&self, iss: &str) -> bool {
        iss == self.iss || iss == self.issuer
    }

    pub(crate) async fn finish(
        &self,
        flow: &Flow,
        callback: Callback<'_>,
    ) -> Result<UpstreamUser, UpstreamError> {
        if callback.iss.is_some_and(|iss| !self.is_issuer(iss)) {
            return Err(UpstreamError::IssuerMismatch);
        }
        let requests = self.http.requests();
        let exchange = self.exchange(callback.code, &flow.verifier);
        let tokens = exchange.send(&requests).await?;
        let token = &tokens.access_token;
        let answer = get(&requests, USER, &self.user, token).await?;
        let claims =
            Object::read(answer.body()).map_err(|problem| bad(USER, &format!("the answer {problem}")))?;
        let values = claims.values();
        // The login can be changed and given to somebody else; the number cannot.
        let subject = values
            .get("id")
            .and_then(Value::as_u64)
            .ok_or_else(|| bad(USER, "there is no numeric id"))?;
        let email = match granted(tokens.scopes.as_deref()) {
            Some(true) => self.email(&requests, token).await?,
            Some(false) => {
                tracing::info!(
                    provider = self.config.name,
                    "the person does not share their addresses: the scope user:email was not granted"
                );
                None
            }
            None => match self.email(&requests, token).await {
                Err(error) if is_refusal(&error) => {
                    tracing::warn!(
                        provider = self.config.name, %error,
                        "the provider refuses to tell the person's addresses; a GitHub App needs the account permission \
                         \"Email addresses\" (read-only)"
                    );
                    None
                }
                email => email?,
            },
        };
        Ok(UpstreamUser {
            identity: Identity {
                provider: self.config.name.clone(),
                issuer: self.issuer.clone(),
                subject: subject.to_string(),
            },
            email,
            name: name(values),
            avatar_url: claims::picture(values.get("avatar_url").and_then(Value::as_str)),
            claims: claims.claims(),
            session: UpstreamSession::default(),
        })
    }

    /// The address that is both primary and verified.
    async fn email(
        &self,
        requests: &Requests<'_>,
        token: &SecretString,
    ) -> Result<Option<Email>, UpstreamError> {
        for page in 1..=PAGES {
            let mut url = self.emails.clone();
            url.query_pairs_mut()
                .append_pair("per_page", &PER_PAGE.to_string())
                .append_pair("page", &page.to_string());
            let answer = get(requests, EMAILS, &url, token).await?;
            let (found, count) = counting(answer.body()).map_err(|problem| bad(EMAILS, &problem))?;
            let is_last = count < PER_PAGE;
            if found.is_some() || is_last {
                let trusted = self.config.trusted_email;
                return Ok(found
                    .filter(|text| claims::is_address(text))
                    .map(|address| Email { address, trusted }));
            }
        }
        Ok(None)
    }
}

async fn get(
    requests: &Requests<'_>,
    what: &'static str,
    url: &Url,
    token: &SecretString,
) -> Result<HttpResponse, UpstreamError> {
    let request = Request::get(url.as_str())
        .header(ACCEPT, "application/vnd.github+json")
        .header("X-GitHub-Api-Version", "2022-11-28")
        .header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()))
        .body(Vec::new())
        .map_err(|_| bad(what, "the access token is no header text"))?;
    let answer = requests
        .send(request)
        .await
        .map_err(|error| UpstreamError::Http { what, error })?;
    if answer.status() != StatusCode::OK {
        return Err(UpstreamError::Http {
            what,
            error: HttpError::Status(answer.status().as_u16()),
        });
    }
    Ok(answer)
}

/// The address that is both primary and verified, and how many there are.
fn counting(json: &[u8]) -> Result<(Option<String>, usize), String> {
    let answer: Value = serde_json::from_slice(json).map_err(|_| "the answer is not JSON")?;
    let Value::Array(addresses) = answer else {
        return Err(format!("the answer must be a list, but is {}", kind(&answer)));
    };
    let mut found = None;
    for (index, address) in addresses.iter().enumerate() {
        let path = |problem: &dyn fmt::Display| format!("the answer: in [{index}], {problem}");
        let Value::Object(members) = address else {
            return Err(format!(
                "the answer: [{index}] must be an object, but is {}",
                kind(address)
            ));
        };
        let members = Members(members);
        let email = members.required_text("email").map_err(|unfit| path(&unfit))?;
        let mut counts = true;
        for flag in ["primary", "verified"] {
            let value = members.flag(flag).map_err(|unfit| path(&unfit))?;
            counts &= value.ok_or_else(|| path(&members.missing(flag, "true or false")))?;
        }
        if counts && found.is_none() {
            found = Some(email.to_owned());
        }
    }
    Ok((found, addresses.len()))
}

/// Whether a token may read addresses: a person may take that scope of an OAuth app away while they consent. Tokens of
/// GitHub Apps have permissions in place of scopes. The answer has an empty text there then, which says nothing.
fn granted(scopes: Option<&[String]>) -> Option<bool> {
    let mut scopes = scopes.filter(|scopes| !scopes.is_empty())?.iter();
    Some(scopes.any(|scope| matches!(scope.trim(), "user:email" | "user")))
}

/// Whether GitHub says no to this token: not that it does not know it, or is out of order.
const fn is_refusal(error: &UpstreamError) -> bool {
    let UpstreamError::Http { error, .. } = error else {
        return false;
    };
    matches!(error, HttpError::Status(403 | 404))
}

/// The display name or, where the person has none, the login.
fn name(claims: &Map<String, Value>) -> String {
    let text = |claim| claims::text(claims, claim);
    plain(text("name").or(text("login")).unwrap_or_default())
}

fn bad(what: &'static str, problem: &str) -> UpstreamError {
    UpstreamError::BadResponse {
        what,
        problem: problem.to_owned(),
    }
}

/// A path below an address that may have one of its own (`https://ghe.example.org/api/v3`).
fn below(base: &Url, path: &str) -> Result<Url, UpstreamError> {
    let text = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|error| UpstreamError::Config(format!("{text}: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::counting;

    #[test]
    fn p17_addresses_of_a_wrong_shape_are_named_by_their_place() {
        let read = |value: Value| counting(value.to_string().as_bytes());
        let good = json!({ "email": "a@example.org", "primary": true, "verified": true, "visibility": null });
        let other = json!({ "email": "b@example.org", "primary": false, "verified": true });
        assert_eq!(
            read(json!([other, good])),
            Ok((Some("a@example.org".to_owned()), 2))
        );
        assert_eq!(read(json!([])), Ok((None, 0)));
        for (odd, said) in [
            (json!({}), "the answer must be a list, but is an object"),
            (json!([good, 7]), "[1] must be an object, but is a number"),
            (
                json!([{ "email": 7 }]),
                "in [0], `email` must be a string, but is a number",
            ),
            (
                json!([{ "email": "a@example.org", "primary": "yes", "verified": true }]),
                "in [0], `primary` must be true or false, but is a string",
            ),
            (
                json!([{ "email": "a@example.org", "primary": true }]),
                "in [0], `verified` must be true or false, but is missing",
            ),
        ] {
            let problem = read(odd).unwrap_err();
            assert!(problem.contains(said), "{problem}");
        }
    }
}
