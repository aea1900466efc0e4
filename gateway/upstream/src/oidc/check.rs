//! What would go wrong in a sign-in through an OpenID provider: what it says of itself, against what is configured.

use super::metadata::Metadata;
use super::{Oidc, par};
use crate::authorize;
use crate::check::{self, Findings};
use crate::client::ClientAuth;
use crate::config::{NonceRule, Par, ResponseMode, SignOut, Userinfo};
use crate::error::UpstreamError;
use crate::flow::Hints;
use crate::jws::{Algorithm, KeySet, MAX_TRIED};

impl Oidc {
    /// Asks the provider what a sign-in would.
    pub(crate) async fn check(&self, findings: &mut Findings) {
        let Some(metadata) = self.described(findings).await else {
            return;
        };
        self.keys(findings, &metadata).await;
        let says = Says(&metadata);
        let requests = self.http.requests();
        let method = self.config.client_auth.method(metadata.auth_methods.as_deref());
        let mut client = Findings::default();
        let accepted = check::credentials(
            &mut client,
            &requests,
            self.exchange_of(&metadata, "", ""),
            method,
        )
        .await;
        self.compare(findings, &says, accepted);
        findings.0.extend(client.0);
        let (_, parameters) = authorize::request(&self.config, &self.redirect_uri, true, Hints::default());
        let url = match par::endpoint(&metadata, &self.http, self.config.par) {
            Ok(None) => authorize::url(&metadata.authorization_endpoint, &parameters),
            Ok(Some(endpoint)) => match self.push(&requests, &metadata, &endpoint, &parameters).await {
                Ok(url) => {
                    findings.ok(
                        "pushed requests",
                        "the provider takes the authorization request (RFC 9126)",
                    );
                    url
                }
                Err(error) => {
                    let problem = match &error {
                        UpstreamError::PushRefused(refusal) => {
                            format!("the provider refuses the request: {refusal}")
                        }
                        error => problem(error),
                    };
                    findings.error("pushed requests", problem);
                    return;
                }
            },
            Err(error) => {
                findings.error("pushed requests", problem(&error));
                return;
            }
        };
        check::sign_in_page(findings, &self.http, &url, &self.redirect_uri).await;
    }

    /// What it says of itself, if that can be used.
    async fn described(&self, findings: &mut Findings) -> Option<Metadata> {
        const ABOUT: &str = "discovery";
        let url = self.discovery.url();
        let answer = match check::get(&self.http, &url).await {
            Ok(answer) => answer,
            Err(error) => {
                findings.error(ABOUT, check::unreachable(&url, &error));
                return None;
            }
        };
        check::clock(findings, answer.headers(), self.clock.now());
        if answer.status() != 200 {
            let status = answer.status().as_u16();
            findings.error(
                ABOUT,
                format!("{url} answers {status}: is the issuer right? It is what the provider's documentation calls issuer"),
            );
            return None;
        }
        let metadata = match Metadata::read(answer.body()) {
            Ok(metadata) => metadata,
            Err(error) => {
                findings.error(ABOUT, problem(&error));
                return None;
            }
        };
        if metadata.issuer != self.discovery.issuer() {
            findings.error(
                ABOUT,
                format!(
                    "the provider calls itself {}: set issuer to exactly that, if it is the one you mean (it is {} now)",
                    crate::text::plain(&metadata.issuer),
                    self.discovery.issuer()
                ),
            );
            return None;
        }
        if let Err(error) = metadata.check_endpoints(&self.http) {
            findings.error(ABOUT, problem(&error));
            return None;
        }
        findings.ok(ABOUT, format!("{url} describes {}", metadata.issuer));
        Some(metadata)
    }

    async fn keys(&self, findings: &mut Findings, metadata: &Metadata) {
        const ABOUT: &str = "keys";
        if metadata.algorithms.is_empty() {
            findings.error(
                ABOUT,
                "the provider signs ID tokens with no algorithm that the gateway verifies (RS, PS and ES 256 to 512, EdDSA): \
                 choose one of them for this client",
            );
        }
        let url = metadata.jwks_uri.as_str();
        match check::get(&self.http, url).await {
            Ok(answer) if answer.status() == 200 => match KeySet::read(answer.body()) {
                Ok(keys) => compare_keys(findings, url, &keys, &metadata.algorithms),
                Err(problem) => findings.error(ABOUT, format!("{url}: {problem}")),
            },
            Ok(answer) => findings.error(ABOUT, format!("{url} answers {}", answer.status().as_u16())),
            Err(error) => findings.error(ABOUT, check::unreachable(url, &error)),
        }
    }

    /// What it says, against what is configured.
    fn compare(&self, findings: &mut Findings, says: &Says<'_>, accepted: bool) {
        let config = &self.config;
        if says.lacks("response_types_supported", "code") {
            findings.error(
                "flow",
                "the provider does not offer the authorization code flow (response_types_supported)",
            );
        }
        if config.response_mode == ResponseMode::FormPost
            && says.lacks("response_modes_supported", "form_post")
        {
            findings.warning(
                "flow",
                "the provider does not list form_post (response_modes_supported): if nobody comes back from it, set \
                 response_mode = \"query\"",
            );
        }
        let unknown: Vec<&str> = config
            .scopes
            .iter()
            .map(String::as_str)
            .filter(|scope| says.lacks("scopes_supported", scope))
            .collect();
        if unknown.is_empty() {
            findings.ok("scopes", config.scopes.join(" "));
        } else {
            findings.warning(
                "scopes",
                format!(
                    "the provider does not list {} (scopes_supported); if it refuses sign-ins because of that, set scopes to \
                     those that it has",
                    unknown.join(", ")
                ),
            );
        }
        let has_pkce = says.list("code_challenge_methods_supported");
        let has_pkce = has_pkce.map(|methods| methods.contains(&"S256"));
        match has_pkce {
            Some(true) => findings.ok("PKCE", "the provider supports S256"),
            _ if config.nonce != NonceRule::Required => findings.warning(
                "PKCE",
                "the provider does not say that it supports S256, and nonce is not required: nothing binds its answer to the \
                 browser but the state. Set nonce = \"required\" if its ID tokens have one",
            ),
            Some(false) => findings.warning("PKCE", "the provider does not support S256; the nonce protects sign-ins"),
            None => findings.note(
                "PKCE",
                "the provider does not say whether it supports S256; it is sent, and the nonce protects sign-ins either way",
            ),
        }
        self.compare_client(findings, says, accepted);
        if says.lacks("claims_supported", "email_verified") && !config.assume_email_verified {
            findings.note(
                "addresses",
                "the provider does not list the claim email_verified. Without it addresses do not count, unless you set \
                 assume_email_verified = true",
            );
        }
        self.compare_userinfo(findings, says.0);
        let endpoint = says.0.members().url("end_session_endpoint").ok().flatten();
        let signs_out = endpoint.is_some_and(|endpoint| self.http.is_secure(&endpoint));
        match (signs_out, config.sign_out) {
            (true, SignOut::Provider) => findings.ok(
                "sign-out",
                "the provider signs people out too (end_session_endpoint)",
            ),
            (true, SignOut::Local) => findings.note(
                "sign-out",
                "the provider can sign people out too (end_session_endpoint): set sign_out = \"provider\" if you want that",
            ),
            (false, SignOut::Provider) => findings.warning(
                "sign-out",
                "the provider has no https end_session_endpoint, so people stay signed in there: set sign_out = \"local\"",
            ),
            (false, SignOut::Local) => {}
        }
    }

    fn compare_userinfo(&self, findings: &mut Findings, metadata: &Metadata) {
        const ABOUT: &str = "userinfo";
        let setting = self.config.userinfo;
        match metadata.userinfo_endpoint(&self.http) {
            Ok(None) if setting == Userinfo::Required => {
                findings.error(ABOUT, problem(&super::metadata::no_userinfo()));
            }
            Ok(None) if setting == Userinfo::Always => findings.warning(
                ABOUT,
                "there is no userinfo_endpoint, so nobody is asked for more than the ID token says",
            ),
            Err(error) if setting == Userinfo::Required => findings.error(ABOUT, problem(&error)),
            Err(error) if setting != Userinfo::Never => findings.warning(
                ABOUT,
                format!("{}. People sign in with what the ID token says; set userinfo = \"never\" if that is enough", problem(&error)),
            ),
            _ => {}
        }
    }

    /// What the provider says of clients is not the last word where it has just accepted this one.
    fn compare_client(&self, findings: &mut Findings, says: &Says<'_>, accepted: bool) {
        const ABOUT: &str = "client authentication";
        let tell: fn(&mut Findings, &'static str, String) = if accepted {
            Findings::warning
        } else {
            Findings::error
        };
        let config = &self.config;
        let methods = says.0.auth_methods.as_deref();
        let method = config.client_auth.method(methods);
        // Without a word on it, basic is what they take (Discovery 1.0 section 3).
        let lacks = methods.is_some_and(|methods| !methods.iter().any(|known| known == method));
        if lacks {
            let methods = methods.unwrap_or_default();
            let offered = methods.join(", ");
            let usable: Vec<&str> = CLIENT_AUTH
                .iter()
                .filter(|(name, _)| methods.iter().any(|method| method == name))
                .map(|(_, setting)| *setting)
                .collect();
            let advice = if usable.is_empty() {
                "The gateway supports none of them: choose another method for this client at the provider"
                    .to_owned()
            } else {
                format!("Set client_auth to {}", usable.join(" or "))
            };
            let message = format!("the provider does not offer {method}; it offers {offered}. {advice}");
            tell(findings, ABOUT, message);
        }
        if let ClientAuth::PrivateKey { key, .. } = &config.client_auth {
            let algorithm = key.algorithm_name();
            if says.lacks("token_endpoint_auth_signing_alg_values_supported", algorithm) {
                let message = format!(
                    "the provider does not take assertions signed with {algorithm}: set client_key_alg"
                );
                tell(findings, ABOUT, message);
            }
            if let Some(jwk) = key.public_jwk() {
                findings.note(ABOUT, format!("the key to register with the provider: {jwk}"));
            }
        }
        if config.par == Par::Never && says.requires_par() {
            findings.error(
                "pushed requests",
                "the provider takes pushed authorization requests only: set par = \"auto\"",
            );
        }
    }
}

/// The methods of `token_endpoint_auth_methods_supported` that the gateway supports, and the settings for them.
const CLIENT_AUTH: [(&str, &str); 4] = [
    ("client_secret_basic", "basic"),
    ("client_secret_post", "post"),
    ("private_key_jwt", "private_key_jwt"),
    ("none", "none"),
];

/// What is wrong, where the finding says what it is about.
fn problem(error: &UpstreamError) -> String {
    match error {
        UpstreamError::BadDiscovery(problem) => problem.clone(),
        error => error.to_string(),
    }
}

/// Whether an ID token can be verified with any of the keys.
fn compare_keys(findings: &mut Findings, url: &str, keys: &KeySet, algorithms: &[Algorithm]) {
    const ABOUT: &str = "keys";
    /// How many reasons are worth reading.
    const SHOWN: usize = 5;
    if algorithms.is_empty() {
        return;
    }
    if let Some((count, nameless)) = keys.crowd(algorithms) {
        let message = format!(
            "{url} has {count} keys for one algorithm, some of them without `kid`: a token that does not name its key is \
             rejected where more than {MAX_TRIED} keys fit. Have the provider name its keys, or withdraw old ones"
        );
        if nameless {
            findings.error(ABOUT, message);
        } else {
            findings.warning(ABOUT, message);
        }
    }
    let (usable, reasons) = keys.usable(algorithms);
    let why = reasons.get(..SHOWN).unwrap_or(&reasons).join("; ");
    match (usable, reasons.len()) {
        (0, 0) => findings.error(
            ABOUT,
            format!("{url} has no key, so no ID token can be verified: create a signing key at the provider"),
        ),
        (0, _) => findings.error(
            ABOUT,
            format!(
                "{url} has no key that ID tokens can be verified with: create a signing key at the provider for one of the \
                 algorithms that it advertises (id_token_signing_alg_values_supported). It has {why}"
            ),
        ),
        (usable, 0) => findings.ok(ABOUT, format!("{url} has the provider's keys ({usable})")),
        (usable, others) => findings.ok(
            ABOUT,
            format!("{url} has the provider's keys ({usable}), and {others} that are not used: {why}"),
        ),
    }
}

/// What a provider says of itself, read leniently: what it does not say is not held against it.
struct Says<'a>(&'a Metadata);

impl Says<'_> {
    fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.0.members().texts(name).ok().flatten()
    }

    /// Whether there is such a list, and this is not in it.
    fn lacks(&self, name: &str, wanted: &str) -> bool {
        self.list(name).is_some_and(|list| !list.contains(&wanted))
    }

    fn requires_par(&self) -> bool {
        let flag = self.0.members().flag("require_pushed_authorization_requests");
        flag.ok().flatten().unwrap_or_default()
    }
}
