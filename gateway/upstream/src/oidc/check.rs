//! Diagnoses an OpenID provider: compares its metadata and keys with the configuration.

use super::Oidc;
use super::metadata::Metadata;
use crate::authorize;
use crate::check::{self, Findings};
use crate::client::ClientAuth;
use crate::config::{NonceRule, Par, ResponseMode, SignOut, Userinfo};
use crate::error::UpstreamError;
use crate::flow::Hints;
use crate::jws::{Algorithm, KeySet, MAX_TRIED};
use crate::text::plain;

const DISCOVERY: &str = "discovery";
const PUSHED: &str = "pushed requests";

impl Oidc {
    pub(crate) async fn check(&self, findings: &mut Findings) {
        let config = &self.client.config;
        let metadata = match self.described(findings).await {
            Ok(metadata) => metadata,
            Err(problem) => return findings.error(DISCOVERY, problem),
        };
        self.keys(findings, &metadata).await;
        let says = Says(&metadata);
        let requests = self.http.requests();
        let method = config.client_auth.method(metadata.auth_methods.as_deref());
        let mut client = Findings::default();
        let server = Self::server(&metadata);
        let accepted = check::credentials(&mut client, &requests, &self.client, server, method).await;
        self.compare(findings, &says, accepted);
        findings.0.extend(client.0);
        let redirect_uri = &self.client.redirect_uri;
        let (_, parameters) = authorize::request(config, redirect_uri, true, Hints::default());
        match self.authorization_url(&requests, &metadata, &parameters).await {
            Ok((url, is_pushed)) => {
                if is_pushed {
                    findings.ok(
                        PUSHED,
                        "the provider accepts the authorization request (RFC 9126)",
                    );
                }
                check::sign_in_page(findings, &self.http, &url, redirect_uri).await;
            }
            Err(UpstreamError::PushRefused(refusal)) => {
                findings.error(PUSHED, format!("the provider rejected the request: {refusal}"));
            }
            Err(error) => findings.error(PUSHED, problem(&error)),
        }
    }

    /// Fetches and validates the metadata. The error is a problem to report.
    async fn described(&self, findings: &mut Findings) -> Result<Metadata, String> {
        let url = self.discovery.url();
        let answer = check::get(&self.http, &url)
            .await
            .map_err(|error| check::unreachable(&url, &error))?;
        check::clock(findings, answer.headers(), self.client.clock.now());
        if answer.status() != 200 {
            let status = answer.status().as_u16();
            return Err(format!(
                "{url} answers {status}: check the issuer against the provider's documentation"
            ));
        }
        let metadata = Metadata::read(answer.body()).map_err(|error| problem(&error))?;
        if metadata.issuer != self.discovery.issuer {
            return Err(format!(
                "the provider's issuer is {}, but the configured one is {}: if this is the provider you mean, set issuer to \
                 the former",
                plain(&metadata.issuer),
                self.discovery.issuer
            ));
        }
        metadata
            .check_endpoints(&self.http)
            .map_err(|error| problem(&error))?;
        findings.ok(DISCOVERY, format!("{url} describes {}", metadata.issuer));
        Ok(metadata)
    }

    async fn keys(&self, findings: &mut Findings, metadata: &Metadata) {
        const ABOUT: &str = "keys";
        if metadata.algorithms.is_empty() {
            findings.error(
                ABOUT,
                "the gateway supports none of the provider's algorithms for ID tokens: choose RS, PS or ES 256 to 512 or \
                 EdDSA for this client at the provider",
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

    /// Compares the metadata with the configuration.
    fn compare(&self, findings: &mut Findings, says: &Says<'_>, accepted: bool) {
        let config = &self.client.config;
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
                "the provider does not list form_post (response_modes_supported): if users do not return from it, set \
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
                    "the provider does not list {} (scopes_supported): if it rejects sign-ins because of that, set scopes to \
                     those that it supports",
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
                "the provider does not say that it supports S256, and nonce is not required: only the state binds its answer \
                 to the browser. Set nonce = \"required\" if its ID tokens have one",
            ),
            Some(false) => findings.warning("PKCE", "the provider does not support S256; the nonce protects sign-ins"),
            None => findings.note(
                "PKCE",
                "the provider does not say whether it supports S256; the gateway sends it, and the nonce protects sign-ins \
                 either way",
            ),
        }
        self.compare_client(findings, says, accepted);
        if says.lacks("claims_supported", "email_verified") && !config.assume_email_verified {
            findings.note(
                "addresses",
                "the provider does not list the claim email_verified. Without it the gateway uses no address, unless you set \
                 assume_email_verified = true",
            );
        }
        self.compare_userinfo(findings, says.0);
        let endpoint = says.0.members().url("end_session_endpoint").ok().flatten();
        let signs_out = endpoint.is_some_and(|endpoint| self.http.is_secure(&endpoint));
        match (signs_out, config.sign_out) {
            (true, SignOut::Provider) => findings.ok(
                "sign-out",
                "the provider ends its session too (end_session_endpoint)",
            ),
            (true, SignOut::Local) => findings.note(
                "sign-out",
                "the provider can end its session too (end_session_endpoint): set sign_out = \"provider\" if you want that",
            ),
            (false, SignOut::Provider) => findings.warning(
                "sign-out",
                "the provider has no https end_session_endpoint, so users stay signed in there: set sign_out = \"local\"",
            ),
            (false, SignOut::Local) => {}
        }
    }

    fn compare_userinfo(&self, findings: &mut Findings, metadata: &Metadata) {
        const ABOUT: &str = "userinfo";
        let setting = self.client.config.userinfo;
        match metadata.userinfo_endpoint(&self.http) {
            Ok(None) if setting == Userinfo::Required => {
                findings.error(ABOUT, problem(&super::metadata::no_userinfo()));
            }
            Ok(None) if setting == Userinfo::Always => findings.warning(
                ABOUT,
                "userinfo_endpoint is missing, so the gateway has only the ID token's claims",
            ),
            Err(error) if setting == Userinfo::Required => findings.error(ABOUT, problem(&error)),
            Err(error) if setting != Userinfo::Never => findings.warning(
                ABOUT,
                format!(
                    "{}. The gateway uses the ID token's claims; set userinfo = \"never\" if they suffice",
                    problem(&error)
                ),
            ),
            _ => {}
        }
    }

    /// If the provider has just accepted this client, contradicting metadata is only a warning.
    fn compare_client(&self, findings: &mut Findings, says: &Says<'_>, accepted: bool) {
        const ABOUT: &str = "client authentication";
        let tell: fn(&mut Findings, &'static str, String) = if accepted {
            Findings::warning
        } else {
            Findings::error
        };
        let config = &self.client.config;
        let methods = says.0.auth_methods.as_deref();
        let method = config.client_auth.method(methods);
        // Without the member, the provider accepts basic (Discovery 1.0 section 3).
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
                    "the provider does not accept assertions signed with {algorithm}: set client_key_alg"
                );
                tell(findings, ABOUT, message);
            }
            if let Some(jwk) = key.public_jwk() {
                findings.note(ABOUT, format!("the key to register with the provider: {jwk}"));
            }
        }
        if config.par == Par::Never && says.requires_par() {
            findings.error(
                PUSHED,
                "the provider accepts only pushed authorization requests: set par = \"auto\"",
            );
        }
    }
}

/// The supported values of `token_endpoint_auth_methods_supported`, and the values of `client_auth` for them.
const CLIENT_AUTH: [(&str, &str); 4] = [
    ("client_secret_basic", "basic"),
    ("client_secret_post", "post"),
    ("private_key_jwt", "private_key_jwt"),
    ("none", "none"),
];

/// The problem, without the subject that the finding names already.
fn problem(error: &UpstreamError) -> String {
    match error {
        UpstreamError::BadDiscovery(problem) => problem.clone(),
        error => error.to_string(),
    }
}

fn compare_keys(findings: &mut Findings, url: &str, keys: &KeySet, algorithms: &[Algorithm]) {
    const ABOUT: &str = "keys";
    /// The most reasons that are shown.
    const SHOWN: usize = 5;
    if algorithms.is_empty() {
        return;
    }
    if let Some((count, nameless)) = keys.crowd(algorithms) {
        let message = format!(
            "{url} has {count} keys for one algorithm, some of them without `kid`: the gateway rejects a token without `kid` \
             if more than {MAX_TRIED} keys fit it. Have the provider name its keys, or withdraw old ones"
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
                "{url} has no key that can verify ID tokens: create a signing key at the provider for one of the algorithms \
                 that it advertises (id_token_signing_alg_values_supported). Rejected: {why}"
            ),
        ),
        (usable, 0) => findings.ok(ABOUT, format!("{url} has the provider's keys ({usable})")),
        (usable, others) => findings.ok(
            ABOUT,
            format!("{url} has the provider's keys ({usable}), and {others} that the gateway does not use: {why}"),
        ),
    }
}

/// The metadata, read leniently: a missing or malformed member is not an error.
struct Says<'a>(&'a Metadata);

impl Says<'_> {
    fn list(&self, name: &str) -> Option<Vec<&str>> {
        self.0.members().texts(name).ok().flatten()
    }

    /// Whether the list exists and does not contain this.
    fn lacks(&self, name: &str, wanted: &str) -> bool {
        self.list(name).is_some_and(|list| !list.contains(&wanted))
    }

    fn requires_par(&self) -> bool {
        let flag = self.0.members().flag("require_pushed_authorization_requests");
        flag.ok().flatten().unwrap_or_default()
    }
}
