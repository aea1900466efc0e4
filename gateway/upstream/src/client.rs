//! Client authentication at a provider.
//!
//! | setting | standard |
//! |---|---|
//! | `basic`, `post` | RFC 6749 section 2.3.1 |
//! | `private_key_jwt` | RFC 7523 section 2.2, OpenID Connect Core 1.0 section 9 |
//! | `apple` | Sign in with Apple: the client secret is a JWT that the developer signs |
//! | `none` | RFC 6749 section 2.1, a public client; PKCE (RFC 7636) protects its codes |

use std::borrow::Cow;

use gateway_model::Timestamp;
use gateway_model::text::without_unsafe;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use jsonwebtoken::Header;
use oauth2::CsrfToken;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use url::{Url, form_urlencoded};

pub use self::key::ClientKey;
use crate::error::UpstreamError;
use crate::http::HttpRequest;

mod key;

/// The lifetime of an assertion, in seconds. Every request gets a new one, so Apple's limit of six months never
/// matters.
const ASSERTION_LIFETIME: u64 = 120;
/// `client_assertion_type` (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How the client authenticates.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// With a secret that the provider issued.
    Secret {
        /// The secret.
        secret: SecretString,
        /// How the secret is sent.
        method: SecretMethod,
    },
    /// With an assertion (`private_key_jwt`).
    PrivateKey {
        /// The key that signs assertions.
        key: ClientKey,
        /// The assertions' `aud`.
        audience: Audience,
    },
    /// With an assertion in place of the secret, as Apple requires.
    Apple {
        /// The developer team that owns the key: the assertions' `iss`.
        team_id: String,
        /// The key that signs assertions.
        key: ClientKey,
    },
    /// Not at all.
    None,
}

/// How a client secret is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretMethod {
    /// As the metadata says; in the header if it says nothing (Discovery 1.0 section 3).
    #[default]
    Discovered,
    /// In the header.
    Basic,
    /// In the form.
    Post,
}

/// The `aud` of an assertion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The URL of the token endpoint, as OpenID Connect Core 1.0 section 9 recommends.
    #[default]
    TokenEndpoint,
    /// The issuer's identifier, as Auth0 and newer profiles (FAPI 2.0) want it.
    Issuer,
}

/// The metadata that client authentication depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) token_endpoint: &'a Url,
    /// `token_endpoint_auth_methods_supported`.
    pub(crate) methods: Option<&'a [String]>,
}

impl ClientAuth {
    /// A secret, sent as the metadata says.
    #[must_use]
    pub const fn secret(secret: SecretString) -> Self {
        Self::Secret {
            secret,
            method: SecretMethod::Discovered,
        }
    }

    /// The secret, if there is one.
    #[must_use]
    pub const fn as_secret(&self) -> Option<&SecretString> {
        match self {
            Self::Secret { secret, .. } => Some(secret),
            _ => None,
        }
    }

    /// The method's name in `token_endpoint_auth_methods_supported`.
    pub(crate) fn method(&self, methods: Option<&[String]>) -> &'static str {
        match self {
            Self::Secret { method, .. } => match method {
                SecretMethod::Basic => "client_secret_basic",
                SecretMethod::Post => "client_secret_post",
                SecretMethod::Discovered => match methods {
                    Some(methods) if !methods.iter().any(|name| name == "client_secret_basic") => {
                        "client_secret_post"
                    }
                    _ => "client_secret_basic",
                },
            },
            Self::PrivateKey { .. } => "private_key_jwt",
            Self::Apple { .. } => "client_secret_post",
            Self::None => "none",
        }
    }

    /// A request with this form and the client's credentials.
    pub(crate) fn request(
        &self,
        endpoint: &Url,
        client_id: &str,
        server: Server<'_>,
        form: &[(Cow<'static, str>, Cow<'_, str>)],
        now: Timestamp,
    ) -> Result<HttpRequest, UpstreamError> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let mut header = None;
        match self {
            Self::Secret { secret, .. } if self.method(server.methods) == "client_secret_basic" => {
                header = Some(basic(client_id, secret)?);
            }
            Self::Secret { secret, .. } => {
                body.append_pair("client_id", client_id)
                    .append_pair("client_secret", secret.expose_secret());
            }
            Self::PrivateKey { key, audience } => {
                let audience = match audience {
                    Audience::TokenEndpoint => server.token_endpoint.as_str(),
                    Audience::Issuer => server.issuer,
                };
                let assertion = assertion(key, client_id, client_id, audience, now)?;
                body.append_pair("client_id", client_id)
                    .append_pair("client_assertion_type", JWT_BEARER)
                    .append_pair("client_assertion", &assertion);
            }
            Self::Apple { team_id, key } => {
                let secret = assertion(key, team_id, client_id, server.issuer, now)?;
                body.append_pair("client_id", client_id)
                    .append_pair("client_secret", &secret);
            }
            Self::None => {
                body.append_pair("client_id", client_id);
            }
        }
        let mut request = Request::post(endpoint.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        request
            .body(body.finish().into_bytes())
            .map_err(|error| UpstreamError::Config(error.to_string()))
    }
}

/// The secrets of a request. The description of a refusal may repeat them, and must not put them into the log.
pub(crate) struct Sent(Vec<String>);

impl Sent {
    pub(crate) fn of(request: &HttpRequest, auth: &ClientAuth) -> Self {
        const SECRET: &[&str] = &[
            "client_assertion",
            "client_secret",
            "code",
            "code_challenge",
            "code_verifier",
            "login_hint",
            "nonce",
            "state",
        ];
        let mut secrets: Vec<String> = form_urlencoded::parse(request.body())
            .filter(|(name, _)| SECRET.contains(&&**name))
            .map(|(_, value)| value.into_owned())
            .collect();
        secrets.extend(auth.as_secret().map(|secret| secret.expose_secret().to_owned()));
        let header = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        secrets.extend(
            header
                .and_then(|value| value.strip_prefix("Basic "))
                .map(str::to_owned),
        );
        let encoded: Vec<String> = secrets
            .iter()
            .map(|secret| form_urlencoded::byte_serialize(secret.as_bytes()).collect())
            .collect();
        secrets.extend(encoded);
        secrets.retain(|secret| !secret.is_empty());
        // One may be part of another: replace the longer one first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// The text without the secrets, and without characters that could disguise them.
    pub(crate) fn removed_from(&self, text: &str) -> String {
        let text = without_unsafe(text);
        self.0
            .iter()
            .fold(text, |text, secret| text.replace(secret, "[removed]"))
    }
}

/// Id and secret are form-encoded first (RFC 6749 section 2.3.1).
fn basic(client_id: &str, secret: &SecretString) -> Result<HeaderValue, UpstreamError> {
    use base64::Engine as _;
    let encoded =
        |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>() };
    let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose_secret()));
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    let mut value = HeaderValue::from_str(&format!("Basic {pair}"))
        .map_err(|error| UpstreamError::Config(error.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A JWT that identifies the client (RFC 7523 section 3).
fn assertion(
    key: &ClientKey,
    issuer: &str,
    subject: &str,
    audience: &str,
    now: Timestamp,
) -> Result<String, UpstreamError> {
    let mut header = Header::new(key.algorithm);
    header.kid.clone_from(&key.kid);
    header.x5t_s256.clone_from(&key.thumbprint);
    let claims = json!({
        "iss": issuer,
        "sub": subject,
        "aud": audience,
        "iat": now.0,
        "exp": now.0.saturating_add(ASSERTION_LIFETIME),
        "jti": CsrfToken::new_random().secret(),
    });
    key.sign(&header, &claims)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::HashMap;

    use gateway_model::Timestamp;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use secrecy::ExposeSecret as _;
    use serde_json::Value;
    use url::{Url, form_urlencoded};

    use super::{Audience, ClientAuth, ClientKey, SecretMethod, Server};

    const NOW: Timestamp = Timestamp(1_795_500_000);

    fn sent(auth: &ClientAuth, methods: Option<&[&str]>) -> (Option<String>, HashMap<String, String>) {
        let endpoint = Url::parse("https://id.example.org/token").unwrap();
        let methods: Option<Vec<String>> =
            methods.map(|methods| methods.iter().map(|method| (*method).to_owned()).collect());
        let server = Server {
            issuer: "https://id.example.org",
            token_endpoint: &endpoint,
            methods: methods.as_deref(),
        };
        let form = [(Cow::from("code"), Cow::from("c o/d+e"))];
        let request = auth.request(&endpoint, "id:1", server, &form, NOW).unwrap();
        let header = request.headers().get("authorization");
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        let form: HashMap<_, _> = form_urlencoded::parse(request.body()).into_owned().collect();
        assert_eq!(form["code"], "c o/d+e");
        (header, form)
    }

    #[test]
    fn p10_a_secret_is_sent_as_the_setting_or_the_metadata_says() {
        let secret = |method| ClientAuth::Secret {
            secret: "s+1".to_owned().into(),
            method,
        };
        for (method, offered, basic) in [
            (SecretMethod::Discovered, None, true),
            (SecretMethod::Discovered, Some(&["client_secret_post"][..]), false),
            (
                SecretMethod::Discovered,
                Some(&["client_secret_post", "client_secret_basic"]),
                true,
            ),
            (SecretMethod::Post, Some(&["client_secret_basic"]), false),
            (SecretMethod::Post, None, false),
            (SecretMethod::Basic, Some(&["client_secret_post"]), true),
        ] {
            let (header, form) = sent(&secret(method), offered);
            let what = format!("{method:?} {offered:?}");
            if basic {
                // base64("id%3A1:s%2B1")
                assert_eq!(header.as_deref(), Some("Basic aWQlM0ExOnMlMkIx"), "{what}");
                assert!(!form.contains_key("client_secret"), "{what}");
            } else {
                assert_eq!((header, form["client_secret"].as_str()), (None, "s+1"), "{what}");
                assert_eq!(form["client_id"], "id:1", "{what}");
            }
        }
    }

    #[test]
    fn p10_a_public_client_sends_its_id_and_nothing_else() {
        let (header, form) = sent(&ClientAuth::None, Some(&["client_secret_basic"]));
        assert_eq!(header, None);
        assert_eq!((form.len(), form["client_id"].as_str()), (2, "id:1"));
    }

    fn key(family: gateway_token::Algorithm, alg: Option<&str>) -> (ClientKey, String) {
        let (private, public) = gateway_token::generate_key(family).unwrap();
        let key = ClientKey::read(private.expose_secret(), alg, Some("key-1".to_owned())).unwrap();
        (key, public)
    }

    fn opened(token: &str, public: &DecodingKey, algorithm: Algorithm, audience: &str) -> (Value, Value) {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[audience]);
        validation.validate_exp = false;
        let data = jsonwebtoken::decode::<Value>(token, public, &validation).unwrap();
        (serde_json::to_value(data.header).unwrap(), data.claims)
    }

    #[test]
    fn p10_private_key_jwt_names_the_provider_and_expires_soon() {
        use gateway_token::Algorithm as Family;
        for (family, alg, expected) in [
            (Family::RS256, None, Algorithm::RS256),
            (Family::RS256, Some("PS256"), Algorithm::PS256),
            (Family::RS256, Some("RS512"), Algorithm::RS512),
            (Family::ES256, None, Algorithm::ES256),
            (Family::EdDSA, None, Algorithm::EdDSA),
        ] {
            let (key, public) = key(family, alg);
            let public = match family {
                Family::RS256 => DecodingKey::from_rsa_pem(public.as_bytes()),
                Family::ES256 => DecodingKey::from_ec_pem(public.as_bytes()),
                Family::EdDSA => DecodingKey::from_ed_pem(public.as_bytes()),
            }
            .unwrap();
            for (audience, aud) in [
                (Audience::TokenEndpoint, "https://id.example.org/token"),
                (Audience::Issuer, "https://id.example.org"),
            ] {
                let auth = ClientAuth::PrivateKey {
                    key: key.clone(),
                    audience,
                };
                let (header, form) = sent(&auth, None);
                assert_eq!(header, None);
                assert!(!form.contains_key("client_secret"));
                assert_eq!(
                    form["client_assertion_type"],
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
                );
                let (head, claims) = opened(&form["client_assertion"], &public, expected, aud);
                assert_eq!(head["kid"], "key-1");
                assert_eq!((&claims["iss"], &claims["sub"]), (&"id:1".into(), &"id:1".into()));
                let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
                assert_eq!(issued, NOW.0);
                assert!(issued < expires && expires <= issued + 300, "{claims}");
                let (_, again) = sent(&auth, None);
                assert_ne!(
                    again["client_assertion"], form["client_assertion"],
                    "jti comes once"
                );
            }
        }
    }

    #[test]
    fn p10_apple_receives_a_new_client_secret_with_each_request() {
        let (key, public) = key(gateway_token::Algorithm::ES256, None);
        let auth = ClientAuth::Apple {
            team_id: "TEAM123456".to_owned(),
            key,
        };
        let (header, form) = sent(&auth, None);
        assert_eq!((header, form["client_id"].as_str()), (None, "id:1"));
        let public = DecodingKey::from_ec_pem(public.as_bytes()).unwrap();
        let (head, claims) = opened(
            &form["client_secret"],
            &public,
            Algorithm::ES256,
            "https://id.example.org",
        );
        assert_eq!((&head["alg"], &head["kid"]), (&"ES256".into(), &"key-1".into()));
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&"TEAM123456".into(), &"id:1".into())
        );
        assert!(claims["exp"].as_u64().unwrap() <= NOW.0 + 15_777_000);
    }
}
