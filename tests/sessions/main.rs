//! Sessions, usernames and tokens: who is signed in, for how long, and where each token is accepted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]
mod forged;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_token::Algorithm;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use support::browser::token_in;
use support::setup::private_key;
use support::{Gateway, Setup};

/// One service, `ok`, that answers every user.
fn setup() -> Setup {
    Setup::dev()
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .plugin("v1", test_guests::V1)
        .service("fine", "v1")
}

async fn start() -> Gateway {
    setup().start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_valid_for_check_and_authorize_until_logout() {
    let gateway = start().await;
    let browser = gateway.browser();
    let alice = gateway.sign_in("alice").await;

    let check = browser.check(&alice).await;
    assert_eq!(check["authenticated"], true, "{check}");
    let profile = &check["profile"];
    assert_eq!(profile["email"], "alice@example.org");
    assert_eq!(profile["provider_id"], "dev:alice");
    assert_eq!(
        profile.get("username"),
        None,
        "nobody has a username before they chose it"
    );
    let id = profile["id"].as_str().unwrap();
    assert_eq!(
        profile["idhash"],
        format!("{:x}", <md5::Md5 as md5::Digest>::digest(id))
    );
    assert!(
        httpdate::parse_http_date(profile["join_date"].as_str().unwrap()).is_ok(),
        "{profile}"
    );

    let (status, answer) = browser.authorize(&alice, "ok").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["userid"], profile["id"]);
    assert_eq!(answer["service"], "ok");
    assert_eq!(answer["permissions"], json!({"service": "ok", "user": id}));
    assert!(answer["token"].is_string());
    assert_eq!(
        browser.authorize(&alice, "elsewhere").await,
        (StatusCode::OK, json!({"permissions": {}}))
    );

    assert_eq!(
        browser.post_as(&alice, "/auth/logout").await,
        json!({"success": true})
    );
    assert!(
        !browser.is_signed_in(&alice).await,
        "the token must be rejected immediately"
    );
    assert_eq!(
        browser.authorize(&alice, "ok").await,
        (StatusCode::OK, json!({"permissions": {}}))
    );
    assert_eq!(
        browser.post_as(&alice, "/auth/update?username=alice").await,
        json!({"success": false, "error": "Not authenticated"})
    );
    // A second logout is not an error for the client.
    assert_eq!(
        browser.post_as(&alice, "/auth/logout").await,
        json!({"success": true})
    );
    assert_eq!(
        browser.post_json("/auth/logout").await,
        json!({"success": false, "error": "No token"})
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sign_in_is_the_same_user_with_a_new_session() {
    let gateway = start().await;
    let browser = gateway.browser();
    let (first, second, bob) = (
        gateway.sign_in("alice").await,
        gateway.sign_in("alice").await,
        gateway.sign_in("bob").await,
    );
    let id = async |token: &str| browser.check(token).await["profile"]["id"].clone();
    assert_eq!(id(&first).await, id(&second).await);
    assert_ne!(id(&first).await, id(&bob).await);
    assert_ne!(first, second);
    browser.post_as(&first, "/auth/logout").await;
    assert!(!browser.is_signed_in(&first).await);
    assert!(
        browser.is_signed_in(&second).await,
        "logging out ends one session"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_ends_sessions_and_disables_users_immediately() {
    let gateway = start().await;
    let browser = gateway.browser();
    let alice = gateway.sign_in("alice").await;
    let other = gateway.sign_in("alice").await;
    let bob = gateway.sign_in("bob").await;
    // The commands are other processes, and the gateway must not use cached sessions after them.
    for token in [&alice, &other, &bob] {
        assert!(browser.is_signed_in(token).await);
        assert!(browser.is_signed_in(token).await);
    }

    // One session.
    let sid = claims(&alice)["sid"].as_str().unwrap().to_owned();
    gateway.cli(&["session", "end", &sid]).await.succeeded();
    assert!(!browser.is_signed_in(&alice).await);
    assert!(browser.is_signed_in(&other).await);
    assert!(browser.is_signed_in(&other).await);

    // All of a user.
    gateway
        .cli(&["session", "end", "--user", "alice@example.org"])
        .await
        .succeeded();
    assert!(!browser.is_signed_in(&other).await);
    assert!(browser.is_signed_in(&bob).await);
    assert!(browser.is_signed_in(&bob).await);

    // A disabled user has no session, cannot sign in, and can sign in once enabled.
    gateway.cli(&["user", "disable", "dev:bob"]).await.succeeded();
    assert!(!browser.is_signed_in(&bob).await);
    assert_eq!(
        browser.authorize(&bob, "ok").await,
        (StatusCode::OK, json!({"permissions": {}}))
    );
    assert_eq!(
        gateway.browser().sign_in_dev("bob").await.status(),
        StatusCode::FORBIDDEN
    );
    gateway.cli(&["user", "enable", "dev:bob"]).await.succeeded();
    assert!(!browser.is_signed_in(&bob).await, "an ended session stays ended");
    let bob = gateway.sign_in("bob").await;
    assert!(browser.is_signed_in(&bob).await);

    // A deleted user is gone, and the same person becomes a new user.
    let before = browser.check(&bob).await["profile"]["id"].clone();
    gateway
        .cli(&["user", "delete", "dev:bob", "--yes"])
        .await
        .succeeded();
    assert!(!browser.is_signed_in(&bob).await);
    assert_eq!(
        browser.post_as(&bob, "/auth/update?username=bobby").await,
        json!({"success": false, "error": "Unknown User"})
    );
    let bob = gateway.sign_in("bob").await;
    assert_ne!(
        browser.check(&bob).await["profile"]["id"],
        before,
        "an id is never used again"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_username_is_set_once_and_is_unique_whatever_the_case() {
    let gateway = start().await;
    let browser = gateway.browser();
    let alice = gateway.sign_in("alice").await;
    let bob = gateway.sign_in("bob").await;
    let set = async |token: &str, name: &str| {
        browser
            .post_as(
                token,
                &format!("/auth/update?username={}", support::browser::encode(name)),
            )
            .await
    };
    for bad in [
        "",
        "ab",
        "admin",
        "ADMIN",
        "аlice",
        "ali\u{200b}ce",
        "\u{202e}ecila",
        "al ice",
        "a\0b",
        &"x".repeat(33),
    ] {
        let answer = set(&alice, bad).await;
        assert_eq!(answer["success"], false, "{bad:?}: {answer}");
        assert!(answer["error"].is_string(), "{bad:?}: {answer}");
    }
    assert_eq!(set(&alice, "Alice_L").await, json!({"success": true}));
    assert_eq!(browser.check(&alice).await["profile"]["username"], "Alice_L");
    assert_eq!(
        set(&bob, "aLICE_l").await["success"],
        false,
        "taken in another case"
    );
    assert_eq!(
        set(&alice, "Other").await,
        json!({"success": false, "error": "Cannot modify username, already set"})
    );
    assert_eq!(set(&bob, "bobby").await, json!({"success": true}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_hundred_concurrent_users_gets_a_username() {
    let gateway = start().await;
    let mut signing_in = tokio::task::JoinSet::new();
    for person in 0..100 {
        let browser = gateway.browser();
        signing_in.spawn(async move { token_in(&browser.sign_in_dev(&format!("person{person}")).await) });
    }
    let tokens = signing_in.join_all().await;
    let browser = gateway.browser();
    let mut wanting = tokio::task::JoinSet::new();
    for (n, token) in tokens.into_iter().enumerate() {
        let browser = browser.clone();
        let name = if n % 2 == 0 { "Wanted" } else { "wanteD" };
        wanting.spawn(async move {
            browser
                .post_as(&token, &format!("/auth/update?username={name}"))
                .await
        });
    }
    let answers = wanting.join_all().await;
    let winners = answers.iter().filter(|answer| answer["success"] == true).count();
    assert_eq!(winners, 1, "{answers:?}");
    gateway.stop().await;
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_found_in_the_places_of_the_contract_in_their_order() {
    let gateway = start().await;
    let browser = gateway.browser();
    let token = gateway.sign_in("alice").await;
    let signed_in = async |request: reqwest::RequestBuilder| {
        let answer: Value = browser.send(request).await.json().await.unwrap();
        answer["authenticated"] == true
    };
    let get = |target: &str| browser.request(Method::GET, target);
    assert!(signed_in(get("/auth/check").bearer_auth(&token)).await);
    assert!(signed_in(get("/auth/check").header("authorization", format!("bearer {token}"))).await);
    assert!(signed_in(get("/auth/check").header("auth-token", &token)).await);
    assert!(signed_in(get(&format!("/auth/check?jwt={token}"))).await);
    assert!(!signed_in(get(&format!("/auth/check?jwt={token}")).header("auth-token", "bla")).await);
    assert!(!signed_in(get("/auth/check").header("auth-token", &token).bearer_auth("bla")).await);

    let form = browser
        .request(Method::POST, "/auth/update")
        .form(&[("jwt", token.as_str()), ("username", "alice")]);
    let answer: Value = browser.send(form).await.json().await.unwrap();
    assert_eq!(answer, json!({"success": true}));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_keys_survive_a_restart() {
    let setup = setup();
    let gateway = setup.start().await;
    // `dev` derives the address, and with it the issuer, from the port, so the restart must keep the port.
    let port = gateway.address.port();
    gateway.stop().await;
    let setup = setup.env("EXTERNAL_ADDRESS", &format!("http://127.0.0.1:{port}"));
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    let jwks = gateway
        .browser()
        .get("/.well-known/jwks.json")
        .await
        .text()
        .await
        .unwrap();
    gateway.stop().await;

    let gateway = setup.start().await;
    assert!(gateway.browser().is_signed_in(&alice).await);
    assert_eq!(
        gateway
            .browser()
            .get("/.well-known/jwks.json")
            .await
            .text()
            .await
            .unwrap(),
        jwks
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_session_has_its_own_id() {
    let gateway = start().await;
    let mut ids = BTreeSet::new();
    for _ in 0..5 {
        ids.insert(
            claims(&gateway.sign_in("alice").await)["sid"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    assert_eq!(ids.len(), 5);
    let listed: Vec<Value> =
        serde_json::from_str(&gateway.cli(&["session", "list", "--json"]).await.succeeded()).unwrap();
    let listed: BTreeSet<_> = listed
        .iter()
        .map(|session| session["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, ids);
    gateway.stop().await;
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_bodies_are_read_as_forms_are() {
    let gateway = start().await;
    let browser = gateway.browser();
    let alice = gateway.sign_in("alice").await;
    let post = async |target: &str, kind: &str, body: &str, token: Option<&str>| {
        let mut request = browser
            .request(Method::POST, target)
            .header("content-type", kind)
            .body(body.to_owned());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = browser.send(request).await;
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let (json, token) = ("application/json", Some(alice.as_str()));
    let success = (200, json!({"success": true}));
    for (kind, body, status) in [
        (json, r#"{"username": "neo", "username": "neo"}"#, 400),
        (json, r#"{"username": ["neo"]}"#, 400),
        (json, r#"["username"]"#, 400),
        (json, "username=neo", 400),
        ("text/plain", r#"{"username": "neo"}"#, 415),
        ("text/json", r#"{"username": "neo"}"#, 415),
        (
            "application/x-www-form-urlencoded, application/json",
            r#"{"username": "neo"}"#,
            415,
        ),
    ] {
        let (found, answer) = post("/auth/update", kind, body, token).await;
        assert_eq!(found, status, "{kind} {body}: {answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    let large = format!("{{\"other\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(post("/auth/update", json, &large, token).await.0, 413);
    assert_eq!(browser.check(&alice).await["profile"].get("username"), None);

    // The current name may be sent again, in every format. A different name may not.
    let utf8 = "application/JSON; charset=utf-8";
    assert_eq!(
        post("/auth/update", utf8, r#"{"username": "neo", "age": 7}"#, token).await,
        success
    );
    assert_eq!(
        post("/auth/update", json, r#"{"username": "neo"}"#, token).await,
        success
    );
    let form = "application/x-www-form-urlencoded";
    assert_eq!(post("/auth/update", form, "username=neo", token).await, success);
    assert_eq!(
        browser.post_as(&alice, "/auth/update?username=neo").await,
        success.1
    );
    for other in ["Neo", "trinity", ""] {
        let (_, answer) = post(
            "/auth/update",
            json,
            &json!({"username": other}).to_string(),
            token,
        )
        .await;
        assert_eq!(answer["error"], "Cannot modify username, already set", "{other}");
    }
    assert_eq!(browser.check(&alice).await["profile"]["username"], "neo");
    // Nothing to set, in every way that JSON has for it.
    for nothing in ["{}", r#"{"username": null}"#, ""] {
        assert_eq!(
            post("/auth/update", json, nothing, token).await,
            success,
            "{nothing}"
        );
    }

    let logout = json!({ "jwt": alice }).to_string();
    assert_eq!(post("/auth/logout", "text/plain", &logout, None).await.0, 415);
    assert!(browser.is_signed_in(&alice).await);
    assert_eq!(post("/auth/logout", json, &logout, None).await, success);
    assert!(!browser.is_signed_in(&alice).await);
    gateway.stop().await;
}
