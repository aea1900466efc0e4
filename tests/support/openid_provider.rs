//! A certified OpenID provider in its own process (npm `oidc-provider`), and a user who signs in with its forms.

use std::path::PathBuf;
use std::process::Stdio;

use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use url::Url;

use super::browser::location;

/// The gateway's client id.
pub const CLIENT_ID: &str = "gateway";
/// The gateway's client secret.
pub const CLIENT_SECRET: &str = "canary-client-secret-of-the-real-provider";

/// The place of a user's claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// In the ID token, as Google does.
    InIdToken,
    /// At the userinfo endpoint only.
    InUserinfo,
}

/// A running provider. It ends when this is dropped.
#[derive(Debug)]
pub struct OpenIdProvider {
    providers: Matrix,
    /// Its issuer identifier.
    pub issuer: String,
}

impl OpenIdProvider {
    /// Starts it with one client. It signs ID tokens with `algorithm`, and puts the user's claims into them or leaves
    /// them to its userinfo endpoint (OpenID Connect Core 1.0 section 5.4).
    pub async fn start(redirect_uri: &str, algorithm: &str, claims: Claims) -> Self {
        let providers = Matrix::start(&json!([{
            "path": "",
            "client": {
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "redirect_uris": [redirect_uri],
                "id_token_signed_response_alg": algorithm,
                "post_logout_redirect_uris": [redirect_uri.replace("oauth_callback", "logout_callback")],
                "backchannel_logout_uri": redirect_uri.replace("oauth_callback", "backchannel_logout"),
                "backchannel_logout_session_required": true,
            },
            "jwks": ["RS256", "ES256"],
            "features": { "backchannelLogout": { "enabled": true } },
            "options": { "conformIdTokenClaims": claims == Claims::InUserinfo },
        }]))
        .await;
        let issuer = providers.origin.clone();
        Self { providers, issuer }
    }

    /// Sets the gateway's address, so that it can send logout tokens there.
    pub async fn knows(&mut self, gateway: &super::Gateway) {
        let line = format!("gateway http://{}", gateway.address);
        self.providers.tell(&line).await;
    }

    /// The status with which the gateway answered its next logout token.
    pub async fn told(&mut self) -> String {
        loop {
            let line = next_line(&mut self.providers.stdout).await;
            if let Some(status) = line.strip_prefix("told ") {
                return status.to_owned();
            }
        }
    }

    /// Its section of the gateway's configuration.
    pub fn table(&self) -> String {
        let issuer = &self.issuer;
        format!("issuer = {issuer:?}\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}")
    }
}

/// Certified providers in many configurations, in one process. They end when this is dropped.
#[derive(Debug)]
pub struct Matrix {
    child: Child,
    /// Kept open: Node ends when nobody reads its output.
    stdout: Lines<BufReader<ChildStdout>>,
    /// Their origin. Each has a path below it.
    pub origin: String,
}

impl Matrix {
    /// Starts them: see `providers.mjs`.
    pub async fn start(configurations: &Value) -> Self {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("upstream/oidc-provider");
        assert!(
            directory.join("node_modules/oidc-provider").exists(),
            "the OpenID provider is not installed: run `just node-modules`"
        );
        let mut child = Command::new("node")
            .arg("providers.mjs")
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("node starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut matrix = Self {
            child,
            stdout,
            origin: String::new(),
        };
        matrix.tell(&configurations.to_string()).await;
        let line = next_line(&mut matrix.stdout).await;
        line.strip_prefix("listening ")
            .expect("its address")
            .clone_into(&mut matrix.origin);
        matrix
    }

    /// Makes one provider replace its keys.
    pub async fn rotate(&mut self, path: &str) {
        self.tell(&format!("rotate {path}")).await;
        assert_eq!(next_line(&mut self.stdout).await, format!("rotated {path}"));
    }

    async fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin");
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .await
            .expect("it reads");
        stdin.flush().await.expect("it reads");
    }
}

/// The next line that is not a notice of the library.
async fn next_line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    loop {
        let line = tokio::time::timeout(super::wait::PATIENCE, lines.next_line()).await;
        let line = line.expect("a line in time").expect("text").expect("it runs");
        if !line.starts_with("oidc-provider ") {
            return line;
        }
    }
}

/// A user of the provider's pages, with a separate cookie jar.
#[derive(Debug)]
pub struct Person {
    client: Client,
    name: String,
}

impl Person {
    /// A user who signs in with this name.
    pub fn new(name: &str) -> Self {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .cookie_store(true)
            .build();
        Self {
            client: client.expect("a client"),
            name: name.to_owned(),
        }
    }

    /// Opens the authorization URL and fills in the forms. Returns the address of the callback to which the provider
    /// redirects in the end.
    pub async fn sign_in(&self, authorization: &Url, callback: &str) -> Url {
        let mut at = authorization.clone();
        let mut response = self.client.get(at.clone()).send().await.expect("an answer");
        for _ in 0..20 {
            if response.status().is_redirection() {
                at = at
                    .join(response.headers()["location"].to_str().expect("ASCII"))
                    .expect("a URL");
                if at.as_str().starts_with(callback) {
                    return at;
                }
                response = self.client.get(at.clone()).send().await.expect("an answer");
            } else {
                assert_eq!(response.status(), StatusCode::OK, "at {at}");
                let page = response.text().await.expect("a page");
                response = self.submit(&mut at, &page).await;
            }
        }
        panic!("the provider never came to an end; last at {at}");
    }

    /// The same, for providers in any configuration. Returns the address of the callback, and the form to post there if
    /// the provider answers by a form (OAuth 2.0 Form Post Response Mode).
    ///
    /// # Errors
    /// The provider's page at which the sign-in ended.
    pub async fn arrive(
        &self,
        authorization: &Url,
        callback: &str,
    ) -> Result<(Url, Vec<(String, String)>), String> {
        let mut at = authorization.clone();
        let mut response = self.client.get(at.clone()).send().await.expect("an answer");
        for _ in 0..20 {
            if response.status().is_redirection() {
                let to = response.headers()["location"].to_str().expect("ASCII");
                at = at.join(to).expect("a URL");
                if at.as_str().starts_with(callback) {
                    return Ok((at, Vec::new()));
                }
                response = self.client.get(at.clone()).send().await.expect("an answer");
                continue;
            }
            let status = response.status();
            let page = response.text().await.expect("a page");
            if status != StatusCode::OK {
                return Err(page);
            }
            match between(&page, "action=\"", "\"") {
                Some(action) if action.starts_with(callback) => {
                    let inputs = page.split("<input").skip(1).filter_map(|input| {
                        let name = between(input, "name=\"", "\"")?;
                        let value = between(input, "value=\"", "\"")?;
                        Some((name.to_owned(), value.replace("&amp;", "&")))
                    });
                    return Ok((action.parse().expect("a URL"), inputs.collect()));
                }
                Some(_) => response = self.submit(&mut at, &page).await,
                None => return Err(page),
            }
        }
        panic!("the provider never came to an end; last at {at}");
    }

    /// Opens the address of a sign-out and confirms. Returns the address to which the provider redirects then: at
    /// `back`, or its own page.
    pub async fn sign_out(&self, at: &Url, back: &str) -> Url {
        let response = self.client.get(at.clone()).send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "at {at}");
        let page = response.text().await.expect("a page");
        let action = between(&page, "action=\"", "\"").unwrap_or_else(|| panic!("no form at {at}: {page}"));
        let xsrf = between(&page, "name=\"xsrf\" value=\"", "\"").expect("a form of the provider");
        let at = at.join(action).expect("a URL");
        let form = [("xsrf", xsrf), ("logout", "yes")];
        let response = self.client.post(at.clone()).form(&form).send().await;
        let response = response.expect("an answer");
        assert!(
            response.status().is_redirection(),
            "at {at}: {}",
            response.status()
        );
        let to = at.join(response.headers()["location"].to_str().expect("ASCII"));
        let to = to.expect("a URL");
        assert!(to.as_str().starts_with(back), "{to}");
        to
    }

    /// Whether the provider would ask the user to sign in.
    pub async fn is_asked_who_they_are(&self, authorization: &Url) -> bool {
        let mut at = authorization.clone();
        for _ in 0..20 {
            let response = self.client.get(at.clone()).send().await.expect("an answer");
            if !response.status().is_redirection() {
                let page = response.text().await.expect("a page");
                return page.contains("name=\"prompt\" value=\"login\"");
            }
            let to = response.headers()["location"].to_str().expect("ASCII");
            at = at.join(to).expect("a URL");
            if at.origin() != authorization.origin() {
                return false;
            }
        }
        panic!("the provider never came to an end; last at {at}");
    }

    async fn submit(&self, at: &mut Url, page: &str) -> Response {
        let action = between(page, "action=\"", "\"").unwrap_or_else(|| panic!("no form at {at}: {page}"));
        let prompt = between(page, "name=\"prompt\" value=\"", "\"").expect("a form of the provider");
        *at = at.join(action).expect("a URL");
        let form = [
            ("prompt", prompt),
            ("login", &self.name),
            ("password", "anything"),
        ];
        self.client
            .post(at.clone())
            .form(&form)
            .send()
            .await
            .expect("an answer")
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?
        .1
        .split_once(after)
        .map(|(found, _)| found)
}

/// The complete flow: from the gateway's login URL to its answer to the callback.
pub async fn dance(
    gateway: &super::browser::Browser,
    login: &str,
    person: &Person,
    callback: &str,
) -> Response {
    let to_provider = gateway.get(login).await;
    let back = person.sign_in(&location(&to_provider), callback).await;
    gateway.get(back.as_str()).await
}
