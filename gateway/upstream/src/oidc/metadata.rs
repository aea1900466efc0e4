//! A provider's metadata (OpenID Connect Discovery 1.0 section 3). The members that the gateway uses are read strictly;
//! all others are ignored.

use serde_json::{Map, Value};
use url::Url;

use crate::error::UpstreamError;
use crate::http::Http;
use crate::json::{self, Members, Unfit};
use crate::jws::Algorithm;
use crate::text::plain;

#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) jwks_uri: Url,
    /// The algorithms for ID tokens that both sides support.
    pub(crate) algorithms: Vec<Algorithm>,
    /// `token_endpoint_auth_methods_supported`.
    pub(crate) auth_methods: Option<Vec<String>>,
    /// Whether every callback has an `iss` (RFC 9207 section 3).
    pub(crate) promises_iss: bool,
    /// The whole document: only some settings need its other members.
    document: Map<String, Value>,
}

impl Metadata {
    pub(crate) fn read(json: &[u8]) -> Result<Self, UpstreamError> {
        let document = json::object(json).map_err(|problem| bad(&format!("the document {problem}")))?;
        Self::of(document).map_err(|error| unfit(&error))
    }

    fn of(document: Map<String, Value>) -> Result<Self, Unfit> {
        let members = Members(&document);
        let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
        let algorithms = match members.texts("id_token_signing_alg_values_supported")? {
            Some(names) if !names.is_empty() => names.into_iter().filter_map(Algorithm::named).collect(),
            // Discovery 1.0 requires the member, and RS256 in it. Some providers omit it or leave it empty.
            _ => vec![Algorithm::Rs256],
        };
        Ok(Self {
            issuer: members.required_text("issuer")?.to_owned(),
            authorization_endpoint: members.required_url("authorization_endpoint")?,
            token_endpoint: members.required_url("token_endpoint")?,
            jwks_uri: members.required_url("jwks_uri")?,
            algorithms,
            auth_methods: members.texts("token_endpoint_auth_methods_supported")?.map(owned),
            promises_iss: members
                .flag("authorization_response_iss_parameter_supported")?
                .unwrap_or_default(),
            document,
        })
    }

    pub(crate) fn members(&self) -> Members<'_> {
        Members(&self.document)
    }

    /// The userinfo endpoint, if any. Read only when needed: most sign-ins can do without it.
    pub(crate) fn userinfo_endpoint(&self, http: &Http) -> Result<Option<Url>, UpstreamError> {
        let endpoint = self
            .members()
            .url("userinfo_endpoint")
            .map_err(|error| unfit(&error))?;
        endpoint.map(|url| asked(url, http)).transpose()
    }

    /// Checks the URLs that every sign-in needs: all must be https, or on loopback like the issuer, and those that the
    /// gateway requests must not be private addresses.
    pub(crate) fn check_endpoints(&self, http: &Http) -> Result<(), UpstreamError> {
        let url = &self.authorization_endpoint;
        if !http.is_secure(url) {
            return Err(bad(&format!("the endpoint {url} is not https")));
        }
        for url in [&self.token_endpoint, &self.jwks_uri] {
            asked(url.clone(), http)?;
        }
        Ok(())
    }
}

/// Checks that the gateway may request an endpoint.
pub(super) fn asked(url: Url, http: &Http) -> Result<Url, UpstreamError> {
    match http.may_ask(&url) {
        Ok(()) => Ok(url),
        Err(error) => Err(bad(&format!("the endpoint {url} cannot be used: {error}"))),
    }
}

pub(super) fn no_userinfo() -> UpstreamError {
    bad("`userinfo_endpoint` is missing, and userinfo = \"required\" needs it")
}

/// The problem may quote the provider, so it is shortened.
pub(super) fn bad(problem: &str) -> UpstreamError {
    UpstreamError::BadDiscovery(plain(problem))
}

pub(super) fn unfit(unfit: &Unfit) -> UpstreamError {
    bad(&unfit.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value, json};
    use url::Url;

    use super::Metadata;
    use crate::error::UpstreamError;
    use crate::http::Http;
    use crate::http::HttpLimits;
    use crate::jws::Algorithm;
    use crate::names::SystemNames;

    fn document() -> Value {
        json!({
            "issuer": "https://id.example.org",
            "authorization_endpoint": "https://id.example.org/authorize",
            // Google has its token endpoint on another host, so hosts may differ.
            "token_endpoint": "https://tokens.example.org/token",
            "userinfo_endpoint": "https://id.example.org/userinfo",
            "jwks_uri": "https://id.example.org/jwks",
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    fn http() -> Http {
        let limits = HttpLimits {
            timeout: Duration::from_secs(1),
            max_body: 1024,
            proxy: None,
        };
        let issuer = Url::parse("https://id.example.org").unwrap();
        Http::new(&issuer, false, &limits, Arc::new(SystemNames)).unwrap()
    }

    fn read(document: &Value) -> Result<Metadata, UpstreamError> {
        Metadata::read(document.to_string().as_bytes())
    }

    #[test]
    fn p5_unused_members_may_have_any_value() {
        for odd in [
            json!(null),
            json!(""),
            json!(7),
            json!([]),
            json!({}),
            json!("true"),
        ] {
            let mut document = document();
            for name in [
                "op_policy_uri",
                "op_tos_uri",
                "registration_endpoint",
                "scopes_supported",
                "response_types_supported",
                "response_modes_supported",
                "subject_types_supported",
                "acr_values_supported",
                "claims_supported",
                "claim_types_supported",
                "display_values_supported",
                "grant_types_supported",
                "id_token_encryption_alg_values_supported",
                "request_uri_parameter_supported",
                "ui_locales_supported",
                "code_challenge_methods_supported",
            ] {
                document[name] = odd.clone();
            }
            assert!(read(&document).is_ok(), "{odd}");
        }
        // For an optional member that is used, null and an empty string mean that it is absent.
        let mut document = document();
        document["userinfo_endpoint"] = json!("");
        document["authorization_response_iss_parameter_supported"] = json!(null);
        document["token_endpoint_auth_methods_supported"] = json!(null);
        document["id_token_signing_alg_values_supported"] = json!(null);
        let metadata = read(&document).unwrap();
        assert_eq!(metadata.userinfo_endpoint(&http()), Ok(None));
        assert!(!metadata.promises_iss);
        assert_eq!(metadata.algorithms, [Algorithm::Rs256]);
        document["id_token_signing_alg_values_supported"] = json!([]);
        assert_eq!(read(&document).unwrap().algorithms, [Algorithm::Rs256]);
        // This one is checked only when it is needed.
        for odd in [
            json!({}),
            json!("/userinfo"),
            json!("http://id.example.org/userinfo"),
        ] {
            document["userinfo_endpoint"] = odd;
            let metadata = read(&document).unwrap();
            assert_eq!(metadata.check_endpoints(&http()), Ok(()));
            assert!(metadata.userinfo_endpoint(&http()).is_err());
        }
    }

    #[test]
    fn p5_errors_name_the_malformed_member() {
        for (name, odd, said) in [
            ("issuer", json!(null), "`issuer` must be a string, but is null"),
            (
                "token_endpoint",
                json!(""),
                "`token_endpoint` must be an absolute URL, but is an empty string",
            ),
            (
                "jwks_uri",
                json!("/keys"),
                "`jwks_uri` must be an absolute URL, but is another string",
            ),
            (
                "token_endpoint_auth_methods_supported",
                json!("client_secret_post"),
                "`token_endpoint_auth_methods_supported` must be a list of strings, but is a string",
            ),
            (
                "id_token_signing_alg_values_supported",
                json!(["RS256", 1]),
                "`id_token_signing_alg_values_supported[1]` must be a string, but is a number",
            ),
            (
                "authorization_response_iss_parameter_supported",
                json!("true"),
                "`authorization_response_iss_parameter_supported` must be true or false, but is a string",
            ),
        ] {
            let mut document = document();
            document[name] = odd;
            let error = read(&document).unwrap_err();
            assert_eq!(error.to_string(), format!("discovery: {said}"));
        }
    }

    #[test]
    fn a13_endpoints_of_an_https_issuer_are_https_and_public() {
        let http = http();
        let check = |endpoint: &str, url: &str| {
            let mut document = document();
            document[endpoint] = url.into();
            let metadata = read(&document)?;
            metadata.check_endpoints(&http)?;
            metadata.userinfo_endpoint(&http).map(drop)
        };
        for endpoint in [
            "authorization_endpoint",
            "token_endpoint",
            "userinfo_endpoint",
            "jwks_uri",
        ] {
            assert_eq!(
                check(endpoint, "https://elsewhere.example.org/x"),
                Ok(()),
                "{endpoint}"
            );
            for url in [
                "http://id.example.org/x",
                "http://127.0.0.1:8080/x",
                "http://169.254.169.254/latest",
                "javascript:alert(1)",
                "file:///etc/passwd",
            ]
            .into_iter()
            .chain(
                (endpoint != "authorization_endpoint")
                    .then_some([
                        // A browser may go there; the gateway may not.
                        "https://127.0.0.1/x",
                        "https://10.0.0.1:8443/x",
                        "https://[::1]/x",
                        "https://169.254.169.254/x",
                    ])
                    .into_iter()
                    .flatten(),
            ) {
                assert!(
                    matches!(check(endpoint, url), Err(UpstreamError::BadDiscovery(_))),
                    "{endpoint} {url}"
                );
            }
        }
    }
}
