//! Sign-outs at the provider, and its logout tokens (OpenID Connect RP-Initiated Logout 1.0, Back-Channel Logout 1.0).

use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};
use url::Url;
use wiremock::{Request, ResponseTemplate};

use super::super::browser::parameter;
use super::{Answers, CLIENT_ID, FakeOidc, now};

/// The event that makes a token a logout token.
pub const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl FakeOidc {
    /// The claims of a logout token that is valid for two minutes, with a new `jti`.
    pub fn logout_claims(&self, subject: Option<&str>, sid: Option<&str>) -> Value {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let mut claims = json!({
            "iss": self.issuer(), "aud": CLIENT_ID, "iat": now(), "exp": now() + 120,
            "jti": format!("token-{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
            "events": { EVENT: {} },
        });
        for (name, value) in [("sub", subject), ("sid", sid)] {
            if let Some(value) = value {
                claims[name] = value.into();
            }
        }
        claims
    }

    /// A logout token with these claims.
    pub fn logout_token(&self, claims: &Value) -> String {
        self.sign(
            &json!({"alg": "RS256", "kid": "key-1", "typ": "logout+jwt"}),
            claims,
        )
    }

    /// A token with the provider's signature and any header.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        sign(header, claims, &self.key)
    }

    /// The same with a key that does not belong to the provider.
    pub fn forge(&self, header: &Value, claims: &Value) -> String {
        sign(header, claims, &super::new_key())
    }

    /// Whether its metadata has an end-session endpoint.
    pub fn set_signs_out(&self, signs_out: bool) {
        self.state.lock().unwrap().signs_out = signs_out;
    }
}

/// A token without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn sign(header: &Value, claims: &Value, key: &EncodingKey) -> String {
    let message = unsigned(header, claims);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, jsonwebtoken::Algorithm::RS256);
    format!("{message}.{}", signature.expect("a signature"))
}

impl Answers {
    /// Signs the user's browser out, and sends it back.
    pub(super) fn end_session(request: &Request) -> ResponseTemplate {
        let asked = |name| parameter(&request.url, name);
        if asked("id_token_hint").is_none() && asked("client_id").as_deref() != Some(CLIENT_ID) {
            return ResponseTemplate::new(400).set_body_string("whose session?");
        }
        let Some(mut back) = asked("post_logout_redirect_uri").and_then(|url| Url::parse(&url).ok()) else {
            return ResponseTemplate::new(200).set_body_string("signed out");
        };
        if let Some(state) = asked("state") {
            back.query_pairs_mut().append_pair("state", &state);
        }
        ResponseTemplate::new(302).insert_header("location", back.as_str())
    }
}
