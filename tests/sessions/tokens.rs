//! Permission tokens verify with an ordinary library, and no kind of token is accepted as another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_token::Algorithm;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use super::{claims, setup, start};
use support::setup::private_key;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permission_tokens_verify_with_an_ordinary_jwt_library() {
    for (algorithm, name) in [
        (Algorithm::RS256, jsonwebtoken::Algorithm::RS256),
        (Algorithm::ES256, jsonwebtoken::Algorithm::ES256),
        (Algorithm::EdDSA, jsonwebtoken::Algorithm::EdDSA),
    ] {
        let gateway = setup()
            .env("PRIVATE_KEY", &private_key(algorithm))
            .table("service.fine", "audience = \"https://fine.example.org\"")
            .start()
            .await;
        let browser = gateway.browser();
        let alice = gateway.sign_in("alice").await;
        let jwks: JwkSet = browser.get("/.well-known/jwks.json").await.json().await.unwrap();
        let pem = browser.get("/auth/public-key").await.text().await.unwrap();
        let from_pem = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem.as_bytes()),
        }
        .unwrap_or_else(|error| panic!("{error}: {pem}"));

        for (service, audience) in [("ok", None), ("fine", Some("https://fine.example.org"))] {
            let (_, answer) = browser.authorize(&alice, service).await;
            let token = answer["token"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer}: {}", gateway.log.text()));
            let header = jsonwebtoken::decode_header(token).unwrap();
            assert_eq!(header.alg, name);
            let kid = header.kid.expect("a kid");
            let from_jwks = DecodingKey::from_jwk(jwks.find(&kid).expect("the key of the kid")).unwrap();
            let mut validation = Validation::new(name);
            validation.set_issuer(&[
                gateway.external.as_str(),
                gateway.external.as_str().trim_end_matches('/'),
            ]);
            validation.set_required_spec_claims(&["iss", "sub", "exp"]);
            if let Some(audience) = audience {
                validation.set_audience(&[audience]);
            }
            for key in [&from_jwks, &from_pem] {
                let claims = jsonwebtoken::decode::<Value>(token, key, &validation)
                    .unwrap()
                    .claims;
                assert_eq!(claims["permissions"], answer["permissions"]);
                assert_eq!(claims["userid"], answer["userid"]);
                assert_eq!(claims["sub"], answer["userid"]);
                assert_eq!(claims["service"], service);
                assert_eq!(
                    claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
                    15 * 60
                );
                assert_eq!(claims.get("aud").and_then(Value::as_str), audience);
                assert_eq!(
                    claims["plugin"].as_str().unwrap().len(),
                    64,
                    "the component's digest"
                );
            }
        }
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kind_of_token_is_accepted_as_another() {
    let gateway = start().await;
    let browser = gateway.browser();
    let session = gateway.sign_in("alice").await;
    let permission = browser.authorize(&session, "ok").await.1["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let pem = browser.get("/auth/public-key").await.text().await.unwrap();

    let mut strangers: Vec<(String, String)> = vec![("a permission token".into(), permission.clone())];
    let (_, signature) = permission.rsplit_once('.').unwrap();
    let session_claims = session.split('.').nth(1).unwrap();
    strangers.push((
        "a permission token's signature".into(),
        format!("{}.{signature}", session.rsplit_once('.').unwrap().0),
    ));
    for typ in ["JWT", "session+jwt"] {
        for alg in ["none", "None", "HS256", "RS256"] {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": typ}).to_string());
            strangers.push((
                format!("unsigned {alg} {typ}"),
                format!("{header}.{session_claims}."),
            ));
        }
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.typ = Some(typ.into());
        for (what, secret) in [
            ("our PEM", pem.as_str()),
            ("our PEM, trimmed", pem.trim()),
            ("nothing", ""),
        ] {
            let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
            let token = jsonwebtoken::encode(&header, &claims(&session), &key).unwrap();
            strangers.push((format!("HS256 {typ} keyed with {what}"), token));
        }
    }
    // The gateway's header and claims, or another user's claims, with no signature or a signature of another token.
    let (signed, mac) = session.rsplit_once('.').unwrap();
    let header = session.split('.').next().unwrap();
    let mut forged = claims(&session);
    forged["exp"] = u64::MAX.into();
    let forged = URL_SAFE_NO_PAD.encode(forged.to_string());
    let flipped = match mac.strip_prefix('A') {
        Some(rest) => format!("B{rest}"),
        None => format!("A{}", &mac[1..]),
    };
    strangers.push(("no signature".into(), format!("{signed}.")));
    strangers.push((
        "a signature of zeros".into(),
        format!("{signed}.{}", "A".repeat(mac.len())),
    ));
    strangers.push(("one bit flipped".into(), format!("{signed}.{flipped}")));
    strangers.push(("other claims".into(), format!("{header}.{forged}.{mac}")));
    for cut in [0, 1, session.len() / 2, session.len() - 1] {
        strangers.push((format!("cut at {cut}"), session[..cut].to_owned()));
    }
    strangers.push(("seven thousand letters".into(), "a".repeat(7000)));

    for (what, token) in &strangers {
        assert!(!browser.is_signed_in(token).await, "{what}");
        assert_eq!(
            browser.authorize(token, "ok").await.1,
            json!({"permissions": {}}),
            "{what}"
        );
        assert_eq!(
            browser.post_as(token, "/auth/update?username=neo").await["success"],
            false,
            "{what}"
        );
        browser.post_as(token, "/auth/logout").await;
    }
    assert!(
        browser.is_signed_in(&session).await,
        "none of that ended the real session"
    );

    // Conversely, a verifier of permission tokens rejects a session token.
    let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.validate_aud = false;
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    assert!(jsonwebtoken::decode::<Value>(&session, &key, &validation).is_err());
    gateway.stop().await;
}
