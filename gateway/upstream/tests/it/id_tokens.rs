//! ID tokens that are not valid (OpenID Connect Core 1.0 section 3.1.3.7): every one is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_upstream::{ErrorKind, UpstreamError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Fake, Key, NOW, claims};

/// What a provider does to the claims of a good ID token.
type Change = fn(&mut Value);

/// The token is read, and not believed.
pub(crate) async fn refused(fake: &Fake, what: &str) {
    let error = fake.sign_in().await.expect_err(what);
    assert!(matches!(error, UpstreamError::BadIdToken(_)), "{what}: {error:?}");
    assert_eq!(error.kind(), ErrorKind::Refused, "{what}");
}

#[tokio::test]
async fn claims_that_are_wrong() {
    let fake = Fake::start().await;
    let cases: [(&str, Change); 13] = [
        ("another issuer", |c| {
            c["iss"] = json!("https://other.example.org")
        }),
        ("another audience", |c| c["aud"] = json!("somebody-else")),
        ("one more audience", |c| {
            c["aud"] = json!(["gateway", "somebody-else"])
        }),
        ("no audience", |c| drop(c.as_object_mut().unwrap().remove("aud"))),
        ("another authorized party", |c| c["azp"] = json!("somebody-else")),
        ("expired", |c| c["exp"] = json!(NOW - 1)),
        ("issued in the future", |c| c["iat"] = json!(NOW + 3600)),
        ("another nonce", |c| c["nonce"] = json!("another")),
        ("no nonce", |c| drop(c.as_object_mut().unwrap().remove("nonce"))),
        ("an empty subject", |c| c["sub"] = json!("")),
        ("an endless subject", |c| c["sub"] = json!("s".repeat(256))),
        ("our client id with something behind it", |c| {
            c["aud"] = json!("gateway2")
        }),
        ("another access token's hash", |c| {
            c["at_hash"] = json!(URL_SAFE_NO_PAD.encode([0; 16]))
        }),
    ];
    for (what, change) in cases {
        fake.claims(change);
        refused(&fake, what).await;
    }
    fake.claims(|_| {});
    fake.sign_in().await.unwrap();
}

#[tokio::test]
async fn tokens_that_are_none() {
    let fake = Fake::start().await;
    let cases: Vec<(&str, Change)> = vec![
        ("no issuer", |c| drop(c.as_object_mut().unwrap().remove("iss"))),
        ("no end", |c| drop(c.as_object_mut().unwrap().remove("exp"))),
        ("an end in words", |c| c["exp"] = json!("tomorrow")),
        ("no subject", |c| drop(c.as_object_mut().unwrap().remove("sub"))),
        ("a subject that is a number", |c| c["sub"] = json!(1234)),
        ("an end before the year 1970", |c| c["exp"] = json!(-1)),
        ("an end that no clock has", |c| c["exp"] = json!(1e300)),
        ("claims that are a list", |c| *c = json!([1])),
    ];
    for (what, change) in cases {
        fake.claims(change);
        let error = fake.sign_in().await.expect_err(what);
        assert!(
            matches!(
                error,
                UpstreamError::BadIdToken(_) | UpstreamError::BadResponse { .. }
            ),
            "{what}: {error:?}"
        );
    }
    for text in ["", ".", "..", "a.b.c", "e30.e30.", "canary"] {
        fake.tokens(move |_| text.to_owned());
        let error = fake.sign_in().await.expect_err(text);
        assert!(
            matches!(
                error,
                UpstreamError::BadIdToken(_) | UpstreamError::BadResponse { .. }
            ),
            "{text:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn claims_that_are_right() {
    let fake = Fake::start().await;
    let cases: Vec<(&str, Change)> = vec![
        ("our own authorized party", |c| c["azp"] = json!("gateway")),
        ("a list of one audience", |c| c["aud"] = json!(["gateway"])),
        ("a clock that is a little ahead", |c| c["iat"] = json!(NOW + 60)),
        ("the last second", |c| c["exp"] = json!(NOW + 1)),
        ("the longest subject", |c| c["sub"] = json!("s".repeat(255))),
        // The left half of the SHA-256 of the access token (Core 1.0 section 3.1.3.6).
        ("this access token's hash", |c| {
            let hash = Sha256::digest("canary-access-token");
            c["at_hash"] = json!(URL_SAFE_NO_PAD.encode(&hash[..16]))
        }),
    ];
    for (what, change) in cases {
        fake.claims(change);
        let user = fake.sign_in().await;
        assert!(user.is_ok(), "{what}: {user:?}");
    }
}

#[tokio::test]
async fn a_provider_may_rotate_its_keys() {
    let fake = Fake::start().await;
    fake.sign_in().await.unwrap();
    let (new, issuer) = (Key::new(), fake.server.uri());
    fake.set(|answers| {
        answers.keys = vec![new.jwk.clone()];
        answers.id_token = Box::new(move |nonce| new.sign(&claims(&issuer, nonce)));
    });
    // Anybody can make up a key id: the provider is not asked again for each.
    refused(&fake, "a key that is new, asked for a moment ago").await;
    assert_eq!(fake.seen("/keys"), 1);
    fake.clock.advance(std::time::Duration::from_secs(31));
    fake.sign_in().await.unwrap();
    assert_eq!(fake.seen("/keys"), 2);
}
