//! GitHub: OAuth 2.0 (RFC 6749) with PKCE (RFC 7636) but without OpenID Connect. The user comes from its REST API
//! (docs.github.com, "Authorizing OAuth apps", `GET /user`, `GET /user/emails`).

use std::fmt;
use std::sync::Arc;

use gateway_model::{Email, Identity, UpstreamSession, UpstreamUser};
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use crate::authorize;
use crate::check::{self, Findings};
use crate::claims;
use crate::client::Server;
use crate::error::UpstreamError;
use crate::exchange::Client;
use crate::flow::{Authorization, Callback, Flow, Hints};
use crate::http::{Http, HttpError, HttpLimits, HttpResponse, Requests};
use crate::json::{Members, Object, kind};
use crate::names::{Names, is_private};
use crate::text::plain;

const USER: &str = "GET /user";
const EMAILS: &str = "GET /user/emails";
/// The largest page that GitHub returns.
const PER_PAGE: usize = 100;
/// The most pages of addresses that are requested. No user is known to have more than one.
const PAGES: usize = 5;

/// GitHub, or a GitHub Enterprise Server.
#[derive(Debug)]
pub(crate) struct GitHub {
    pub(crate) client: Client,
    http: Http,
    /// The origin of the web address.
    pub(crate) issuer: String,
    /// The `iss` that GitHub's callbacks may have, besides the issuer.
    iss: String,
    authorize: Url,
    token: Url,
    user: Url,
    emails: Url,
}

impl GitHub {
    pub(crate) fn new(
        client: Client,
        web: &Url,
        api: &Url,
        limits: &HttpLimits,
        names: Arc<dyn Names>,
    ) -> Result<Self, UpstreamError> {
        // The operator wrote both URLs, so either one may permit private addresses.
        let private = client.config.allow_private_addresses || is_private(api);
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
            client,
            http,
        })
    }

    pub(crate) fn begin(&self, hints: Hints<'_>) -> Authorization {
        let client = &self.client;
        let (flow, mut parameters) = authorize::request(&client.config, &client.redirect_uri, false, hints);
        // GitHub's name for this parameter (docs.github.com, "Authorizing OAuth apps").
        for (name, _) in &mut parameters {
            if name == "login_hint" {
                *name = "login".into();
            }
        }
        let url = authorize::url(&self.authorize, &parameters);
        Authorization { url, flow }
    }

    /// GitHub reads the client id and secret from the form, so it has no other method.
    fn server(&self) -> Server<'_> {
        const METHODS: &[String] = &[];
        Server {
            issuer: &self.issuer,
            token_endpoint: &self.token,
            methods: Some(METHODS),
        }
    }

    pub(crate) async fn check(&self, findings: &mut Findings) {
        let client = &self.client;
        let requests = self.http.requests();
        match check::get(&self.http, self.user.as_str()).await {
            Ok(answer) => check::clock(findings, answer.headers(), client.clock.now()),
            Err(error) => findings.error("API", check::unreachable(self.user.as_str(), &error)),
        }
        check::credentials(findings, &requests, client, self.server(), "client_secret_post").await;
        let page = self.begin(Hints::default()).url;
        check::sign_in_page(findings, &self.http, &page, &client.redirect_uri).await;
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
        let client = &self.client;
        let provider = client.config.name.as_str();
        let tokens = client
            .exchange(&requests, self.server(), callback.code, &flow.verifier)
            .await?;
        let token = &tokens.access_token;
        let answer = get(&requests, USER, &self.user, token).await?;
        let claims =
            Object::read(answer.body()).map_err(|problem| UpstreamError::unreadable(USER, problem))?;
        let values = claims.values();
        // A login can be renamed and reused by another user; the number cannot.
        let subject = values
            .get("id")
            .and_then(Value::as_u64)
            .ok_or_else(|| UpstreamError::bad_response(USER, "the numeric `id` is missing"))?;
        let email = match granted(tokens.scopes.as_deref()) {
            Some(true) => self.email(&requests, token).await?,
            Some(false) => {
                tracing::info!(
                    provider,
                    "the user did not grant the scope user:email, so no address is known"
                );
                None
            }
            None => match self.email(&requests, token).await {
                // GitHub denies this token access. Other errors mean that it does not know the token, or an outage.
                Err(
                    error @ UpstreamError::Http {
                        error: HttpError::Status(403 | 404),
                        ..
                    },
                ) => {
                    tracing::warn!(
                        provider, %error,
                        "the provider refuses access to the user's addresses; a GitHub App needs the account permission \
                         \"Email addresses\" (read-only)"
                    );
                    None
                }
                email => email?,
            },
        };
        Ok(UpstreamUser {
            identity: Identity {
                provider: provider.to_owned(),
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
            let (found, count) =
                counting(answer.body()).map_err(|problem| UpstreamError::bad_response(EMAILS, problem))?;
            let is_last = count < PER_PAGE;
            if found.is_some() || is_last {
                let trusted = self.client.config.trusted_email;
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
    let headers = [
        ("accept", "application/vnd.github+json"),
        ("x-github-api-version", "2022-11-28"),
    ];
    requests.get(what, url.as_str(), &headers, Some(token)).await
}

/// The address that is both primary and verified, and the number of addresses.
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

/// Whether a token may read addresses: users can deselect that scope of an OAuth app when they consent. Tokens of
/// GitHub Apps have permissions in place of scopes; the member is empty then, which says nothing.
fn granted(scopes: Option<&[String]>) -> Option<bool> {
    let mut scopes = scopes.filter(|scopes| !scopes.is_empty())?.iter();
    Some(scopes.any(|scope| matches!(scope.trim(), "user:email" | "user")))
}

/// The display name or, if the user has none, the login.
fn name(claims: &Map<String, Value>) -> String {
    let text = |claim| claims::text(claims, claim);
    plain(text("name").or(text("login")).unwrap_or_default())
}

/// Appends a path to a URL that may have a path already (`https://ghe.example.org/api/v3`).
fn below(base: &Url, path: &str) -> Result<Url, UpstreamError> {
    let text = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    Url::parse(&text).map_err(|error| UpstreamError::Config(format!("{text}: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::counting;

    #[test]
    fn p17_errors_name_the_place_of_a_malformed_address() {
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
