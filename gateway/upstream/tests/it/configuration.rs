//! Invalid issuers are rejected when the gateway starts, not at the first sign-in.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::clock::ManualClock;
use gateway_upstream::{HttpLimits, Provider, ProviderConfig, ProviderKind, UpstreamError};

use crate::support::{NOW, REDIRECT};

#[test]
fn an_issuer_is_an_https_url_without_query_and_fragment() {
    for (issuer, is_one) in [
        ("https://accounts.google.com", true),
        ("https://id.example.org/tenant/1/", true),
        ("http://127.0.0.1:8080", true),
        ("http://localhost:8080", true),
        ("http://id.example.org", false),
        ("http://10.0.0.1", false),
        ("https://id.example.org/?tenant=1", false),
        ("https://id.example.org/#x", false),
        ("ftp://id.example.org", false),
        ("id.example.org", false),
        ("", false),
    ] {
        let kind = ProviderKind::Oidc {
            issuer: issuer.to_owned(),
        };
        let config = ProviderConfig::new("p", kind, "id", "secret".to_owned().into());
        let limits = HttpLimits {
            timeout: Duration::from_secs(1),
            max_body: 1024,
            proxy: None,
        };
        let clock = Arc::new(ManualClock::at(NOW));
        match Provider::new(config, REDIRECT.parse().unwrap(), &limits, clock) {
            Ok(provider) => assert_eq!((is_one, provider.issuer()), (true, issuer)),
            Err(error) => {
                assert!(matches!(error, UpstreamError::Config(_)), "{issuer}: {error:?}");
                assert!(!is_one, "{issuer}: {error}");
            }
        }
    }
}
