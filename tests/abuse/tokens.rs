//! Every kind of token, and texts that resemble one, at every endpoint that accepts a token.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_model::{SystemRandom, Timestamp};
use gateway_token::{Algorithm, SessionClaims, SessionKey};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::claims;
use support::browser::{Browser, encode, parameter, token_in};
use support::fake_oidc::{ACCESS_TOKEN, FakeOidc};
use support::setup::{EXTERNAL, SESSION_SECRET, private_key, session_key};
use support::{Gateway, Setup};

const AUDIENCE: &str = "https://fine.example.org";

/// Which endpoints accept a token, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Good {
    Session,
    Service(&'static str),
    Admin,
    Nowhere,
}

struct Kind {
    what: &'static str,
    token: String,
    good: Good,
}

/// The places of a request that can hold a session token.
const PLACES: [&str; 4] = ["authorization", "auth-token", "query", "form"];

/// The gateway's endpoints that require a session: method, path, and the answer to an anonymous caller.
fn doors() -> [(Method, &'static str, Value); 5] {
    [
        (Method::GET, "/auth/check", json!(false)),
        (
            Method::GET,
            "/auth/authorize?service=ok",
            json!({"permissions": {}}),
        ),
        (
            Method::GET,
            "/auth/authorize?service=fine",
            json!({"permissions": {}}),
        ),
        (
            Method::POST,
            "/auth/update?username=taken",
            json!({"success": false, "error": "Not authenticated"}),
        ),
        (Method::POST, "/auth/logout", json!({"success": true})),
    ]
}

/// The request with the token in one of [`PLACES`]. Only a `POST` has a form.
fn request(
    browser: &Browser,
    method: &Method,
    path: &str,
    place: &str,
    token: &str,
) -> Option<RequestBuilder> {
    let plain = || browser.request(method.clone(), path);
    Some(match place {
        "authorization" => plain().bearer_auth(token),
        "auth-token" => plain().header("auth-token", token),
        "query" => {
            let join = if path.contains('?') { '&' } else { '?' };
            browser.request(method.clone(), &format!("{path}{join}jwt={}", encode(token)))
        }
        _ if *method == Method::POST => plain().form(&[("jwt", token)]),
        _ => return None,
    })
}

/// Whether a service that verifies permission tokens as docs/http.md describes accepts the token.
fn is_verified(token: &str, service: &str, audience: Option<&str>, jwks: &JwkSet) -> bool {
    let Some(key) = jsonwebtoken::decode_header(token)
        .ok()
        .and_then(|header| header.kid)
        .and_then(|kid| jwks.find(&kid).cloned())
    else {
        return false;
    };
    let mut validation = Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_issuer(&[EXTERNAL.trim_end_matches('/')]);
    validation.set_required_spec_claims(&["iss", "sub", "exp"]);
    if let Some(audience) = audience {
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "sub", "exp", "aud"]);
    }
    let key = DecodingKey::from_jwk(&key).expect("a key");
    jsonwebtoken::decode::<Value>(token, &key, &validation)
        .is_ok_and(|token| token.claims["service"] == service)
}

/// Signs the same user in four times, and collects every kind of valid token and many invalid ones.
async fn kinds(gateway: &Gateway, google: &FakeOidc) -> Vec<Kind> {
    let browser = gateway.browser();
    let login = format!("/auth/login/google?next={}", encode(EXTERNAL));
    let callback = google.go(&browser, &login).await;
    let cookie = browser.cookies().into_values().next().expect("the sealed state");
    let session = token_in(&browser.get(callback.as_str()).await);
    let unused = google.go(&browser, &login).await;
    let over = token_in(&google.sign_in(&browser, &login).await);
    browser.post_as(&over, "/auth/logout").await;
    let permission = async |service: &str| {
        let (_, answer) = browser.authorize(&session, service).await;
        answer["token"].as_str().expect("a token").to_owned()
    };

    let said = claims(&session);
    let says = |expires: u64| SessionClaims {
        session: said["sid"].as_str().unwrap().into(),
        user: said["sub"].as_str().unwrap().into(),
        expires: Timestamp(expires),
    };
    let (issued, expires) = (said["iat"].as_u64().unwrap(), said["exp"].as_u64().unwrap());
    let of = |secret: &str, issuer: &str| {
        let key = SessionKey::derive(secret.as_bytes(), issuer, Arc::new(SystemRandom)).unwrap();
        key.issue(&says(expires), Timestamp(issued))
    };
    let issuer = EXTERNAL.trim_end_matches('/');
    // The same claims, so that only the key or only the issuer differs.
    assert_eq!(of(SESSION_SECRET, issuer), session);
    let relabelled = |typ: &str| {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        header.typ = Some(typ.to_owned());
        let key = private_key(Algorithm::RS256);
        let key = jsonwebtoken::EncodingKey::from_rsa_pem(key.as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &said, &key).unwrap()
    };

    let nowhere = [
        ("a session token that was signed out", over),
        (
            "a session token that has expired",
            session_key().issue(&says(issued), Timestamp(issued)),
        ),
        (
            "a session token of another gateway with our secret",
            of(SESSION_SECRET, "https://other.example.org"),
        ),
        (
            "a session token of another secret",
            of(&SESSION_SECRET.to_uppercase(), issuer),
        ),
        ("a session's claims under the permission key", relabelled("JWT")),
        ("the same, called a session token", relabelled("session+jwt")),
        ("an ID token", google.id_tokens().remove(0)),
        ("a provider's access token", ACCESS_TOKEN.to_owned()),
        ("a used authorization code", parameter(&callback, "code").unwrap()),
        (
            "an unused authorization code",
            parameter(&unused, "code").unwrap(),
        ),
        ("a used state", parameter(&callback, "state").unwrap()),
        ("a state in use", parameter(&unused, "state").unwrap()),
        ("the sealed state", cookie),
        ("the session secret", SESSION_SECRET.to_owned()),
        ("the client secret", google.client_secret.clone()),
        ("the session's id", said["sid"].as_str().unwrap().to_owned()),
        ("the user's id", said["sub"].as_str().unwrap().to_owned()),
    ];
    let nowhere = nowhere.map(|(what, token)| Kind {
        what,
        token,
        good: Good::Nowhere,
    });
    let good = [
        ("a permission token", permission("ok").await, Good::Service("ok")),
        (
            "a permission token with an audience",
            permission("fine").await,
            Good::Service("fine"),
        ),
        ("the admin token", gateway.admin().await.token, Good::Admin),
        // The last one, as it is valid until it is signed out.
        ("a session token", session, Good::Session),
    ];
    let good = good.map(|(what, token, good)| Kind { what, token, good });
    nowhere.into_iter().chain(good).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_token_is_accepted_only_at_its_own_endpoints() {
    let google = FakeOidc::start(json!({"sub": "1", "name": "Alice"})).await;
    let gateway = Setup::serve()
        .oidc("google", &google)
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .plugin("v1", test_guests::V1)
        .service("fine", "v1")
        .table("service.fine", &format!("audience = {AUDIENCE:?}"))
        .start()
        .await;
    let kinds = kinds(&gateway, &google).await;
    let session = &kinds.last().unwrap().token;
    let (browser, admin) = (gateway.browser(), gateway.admin().await);
    let jwks: JwkSet = browser.get("/.well-known/jwks.json").await.json().await.unwrap();
    let (mut tried, mut taken) = (0, BTreeMap::<&str, u32>::new());

    for Kind { what, token, good } in &kinds {
        let mut count = |is_good: bool, is_taken: bool, door: &str| {
            tried += 1;
            assert_eq!(is_taken, is_good, "{what} at {door}: {}", gateway.log.text());
            *taken.entry(what).or_default() += u32::from(is_taken);
        };
        for (method, path, refusal) in doors() {
            for place in PLACES {
                let Some(request) = request(&browser, &method, path, place, token) else {
                    continue;
                };
                // The last kind is the valid session, which the test must not end early.
                if *good == Good::Session && path == "/auth/logout" {
                    continue;
                }
                let response = browser.send(request).await;
                assert_eq!(response.status(), StatusCode::OK, "{what} at {path}");
                let mut answer: Value = response.json().await.unwrap();
                if path == "/auth/check" {
                    answer = answer["authenticated"].take();
                }
                count(
                    *good == Good::Session,
                    answer != refusal,
                    &format!("{path}, {place}"),
                );
            }
        }
        let calls = google.token_calls();
        for (state, code) in [
            (token.as_str(), "code"),
            ("state", token.as_str()),
            (token, token),
        ] {
            // With the cookie of that state, too.
            let jar = browser.cookies();
            let digest = hex::encode(Sha256::digest(state));
            browser.set_cookies([(format!("__Host-auth-{}", &digest[..16]), token.clone())].into());
            let path = format!(
                "/auth/oauth_callback/google?state={}&code={}",
                encode(state),
                encode(code)
            );
            let status = browser.get(&path).await.status();
            browser.set_cookies(jar);
            count(false, status != StatusCode::BAD_REQUEST, "the callback");
        }
        assert_eq!(google.token_calls(), calls, "{what} was shown to the provider");
        for (method, path) in [
            (Method::GET, "/health"),
            (Method::GET, "/ready"),
            (Method::GET, "/metrics"),
            (Method::GET, "/plugins"),
            (Method::POST, "/plugins/behave/reload"),
        ] {
            let status = admin.send(method, path, token).await.status();
            count(*good == Good::Admin, status != StatusCode::UNAUTHORIZED, path);
        }
        for (service, audience) in [("ok", None), ("fine", Some(AUDIENCE))] {
            let is_taken = is_verified(token, service, audience, &jwks);
            count(
                *good == Good::Service(service),
                is_taken,
                &format!("whoever verifies for {service}"),
            );
        }
        assert!(browser.is_signed_in(session).await, "{what} ended the session");
    }
    let good: u32 = taken.values().sum();
    println!(
        "tokens: {} kinds, {tried} times at a door; taken at their own {good} times, elsewhere 0",
        kinds.len()
    );
    gateway.stop().await;
}
