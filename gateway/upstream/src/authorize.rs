//! The authorization request (RFC 6749 section 4.1.1, RFC 7636, OpenID Connect Core 1.0 section 3.1.2.1).

use std::borrow::Cow;

use oauth2::{CsrfToken, PkceCodeChallenge};
use url::Url;

use crate::config::{NonceRule, ProviderConfig, ResponseMode};
use crate::flow::{Flow, Hints};

/// Parameters that the gateway sets itself, or that could contradict them. The configuration cannot set them.
pub const RESERVED_PARAMETERS: &[&str] = &[
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "id_token_hint",
    "login_hint",
    "nonce",
    "prompt",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// The values of `prompt` that an application may request for one sign-in.
pub const PROMPTS: &[&str] = &["login", "select_account"];

pub(crate) type Parameters<'a> = Vec<(Cow<'static, str>, Cow<'a, str>)>;

/// Creates a state, a nonce and a verifier, and the parameters of a request with them.
pub(crate) fn request<'a>(
    config: &'a ProviderConfig,
    redirect_uri: &'a Url,
    has_nonce: bool,
    hints: Hints<'a>,
) -> (Flow, Parameters<'a>) {
    // defence: pkce-verifier-is-new (a test fails without it: docs/defences.md)
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let random = || CsrfToken::new_random().into_secret();
    let flow = Flow {
        state: random(),
        nonce: (has_nonce && config.nonce != NonceRule::Off).then(random),
        verifier: verifier.into_secret(),
    };
    let mut parameters: Parameters<'a> = Vec::new();
    let mut add = |name: &'static str, value: Cow<'a, str>| parameters.push((name.into(), value));
    add("response_type", "code".into());
    add("client_id", config.client_id.as_str().into());
    add("redirect_uri", redirect_uri.as_str().into());
    if !config.scopes.is_empty() {
        add("scope", config.scopes.join(" ").into());
    }
    add("state", flow.state.clone().into());
    if let Some(nonce) = &flow.nonce {
        add("nonce", nonce.clone().into());
    }
    add("code_challenge", challenge.as_str().to_owned().into());
    add("code_challenge_method", "S256".into());
    if config.response_mode == ResponseMode::FormPost {
        add("response_mode", "form_post".into());
    }
    // The wish for this sign-in overrides the setting.
    if let Some(prompt) = hints.prompt.or(config.prompt.as_deref()) {
        add("prompt", prompt.into());
    }
    if let Some(hint) = hints.login_hint {
        add("login_hint", hint.into());
    }
    for (name, value) in &config.authorization_parameters {
        parameters.push((name.clone().into(), value.as_str().into()));
    }
    (flow, parameters)
}

/// Appends the parameters to those that the endpoint's URL already has.
pub(crate) fn url(endpoint: &Url, parameters: &Parameters<'_>) -> Url {
    let mut url = endpoint.clone();
    url.query_pairs_mut().extend_pairs(parameters);
    url
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use url::Url;

    use super::{Hints, request, url};
    use crate::config::{NonceRule, ProviderConfig, ProviderKind, ResponseMode};

    fn sent(change: impl Fn(&mut ProviderConfig), hints: Hints<'_>) -> HashMap<String, String> {
        let kind = ProviderKind::Oidc {
            issuer: "https://id.example.org".to_owned(),
        };
        let mut config = ProviderConfig::new("p", kind, "id", "secret".to_owned().into());
        change(&mut config);
        let redirect = Url::parse("https://auth.example.org/cb").unwrap();
        let (flow, parameters) = request(&config, &redirect, true, hints);
        let endpoint = Url::parse("https://id.example.org/authorize?tenant=1").unwrap();
        let url = url(&endpoint, &parameters);
        let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
        let sent: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(sent.len(), names.len(), "each comes once: {names:?}");
        assert_eq!((&sent["tenant"], &sent["state"]), (&"1".to_owned(), &flow.state));
        assert_eq!(sent.get("nonce"), flow.nonce.as_ref());
        sent
    }

    #[test]
    fn p11_settings_and_hints_become_parameters_of_the_request() {
        let plain = sent(|_| (), Hints::default());
        assert_eq!(plain["scope"], "openid email profile");
        for absent in ["prompt", "login_hint", "response_mode", "hd"] {
            assert!(!plain.contains_key(absent), "{absent}");
        }
        let set = |config: &mut ProviderConfig| {
            config.prompt = Some("consent".to_owned());
            config.authorization_parameters = vec![("hd".to_owned(), "example.org".to_owned())];
            config.response_mode = ResponseMode::FormPost;
            config.scopes = vec!["openid".to_owned(), "name".to_owned()];
        };
        let all = sent(set, Hints::default());
        assert_eq!(
            (all["prompt"].as_str(), all["hd"].as_str()),
            ("consent", "example.org")
        );
        assert_eq!(all["response_mode"], "form_post");
        assert_eq!(all["scope"], "openid name");
        let hints = Hints {
            login_hint: Some("ann+x@example.org"),
            prompt: Some("select_account"),
        };
        let hinted = sent(set, hints);
        assert_eq!(hinted["login_hint"], "ann+x@example.org");
        assert_eq!(hinted["prompt"], "select_account");
    }

    #[test]
    fn p9_no_nonce_is_sent_if_it_is_off() {
        let off = sent(|config| config.nonce = NonceRule::Off, Hints::default());
        assert!(!off.contains_key("nonce"));
        let optional = sent(|config| config.nonce = NonceRule::Optional, Hints::default());
        assert!(optional.contains_key("nonce"));
    }
}
