//! A cached answer is never used for another user, service, generation or configuration.

use gateway_model::{SessionId, Timestamp};
use gateway_token::{Algorithm, SessionClaims};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{claims, login, start};
use support::browser::token_in;
use support::setup::{private_key, session_key};
use support::{Gateway, Setup};

/// A version of the component and a configuration, which are in force together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Force {
    second_version: bool,
    second_configuration: bool,
}

const SERVICES: [&str; 2] = ["wiki", "shop"];
/// Services of a plugin that answers all users in the same way.
const SAME: [&str; 2] = ["plain", "other"];

impl Force {
    const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(false, true),
        Self::new(true, false),
        Self::new(true, true),
    ];

    const fn new(second_version: bool, second_configuration: bool) -> Self {
        Self {
            second_version,
            second_configuration,
        }
    }

    const fn component(self) -> &'static [u8] {
        if self.second_version {
            test_guests::V2
        } else {
            test_guests::V1
        }
    }

    const fn colour(self) -> &'static str {
        if self.second_configuration { "blue" } else { "red" }
    }

    fn audience(self, service: &str) -> String {
        format!("https://{}.{service}.example.org", self.colour())
    }

    fn setup(self, base: &Setup) -> Setup {
        let settings = format!(
            "grants = [\"config\"]\nsettings = {{ colour = {:?} }}",
            self.colour()
        );
        let setup = base.clone().plugin_table("settings", &settings);
        SERVICES.iter().fold(setup, |setup, service| {
            let audience = format!("audience = {:?}", self.audience(service));
            setup.table(&format!("service.{service}"), &audience)
        })
    }

    /// Puts this in force, and returns when it is.
    async fn put(self, gateway: &Gateway, base: &Setup) {
        gateway.dir.place("versions", self.component());
        let admin = gateway.admin().await;
        let reloaded = admin.post("/plugins/versions/reload").await;
        assert_eq!(reloaded.status(), StatusCode::OK);
        self.setup(base).write();
        gateway.reload().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_stale_after_any_swap_with_warm_caches() {
    // ES256 signatures are all different, so a token that is returned twice was signed once.
    let base = Setup::dev()
        .env("PRIVATE_KEY", &private_key(Algorithm::ES256))
        .plugin("versions", test_guests::V1)
        .service("wiki", "versions")
        .service("shop", "versions")
        .plugin("same", test_guests::PLAIN)
        .service("plain", "same")
        .service("other", "same")
        .plugin("settings", test_guests::IMPORTS_CONFIG)
        .service("settings", "settings");
    let gateway = Force::ALL[0].setup(&base).start().await;
    let browser = gateway.browser();
    let mut users = Vec::new();
    for name in ["alice", "bob"] {
        let session = gateway.sign_in(name).await;
        let id = browser.check(&session).await["profile"]["id"]
            .as_str()
            .unwrap()
            .to_owned();
        users.push((session, id));
    }
    let mut answers = 0;
    let mut ask_all = async |force: Force| {
        let digest = hex::encode(Sha256::digest(force.component()));
        let version = if force.second_version { 2 } else { 1 };
        for (session, id) in &users {
            assert_eq!(browser.check(session).await["profile"]["id"], **id);
            for service in SERVICES {
                let mut tokens = Vec::new();
                // The first call fills the cache, the second is answered from it.
                for _ in 0..2 {
                    let (status, answer) = browser.authorize(session, service).await;
                    assert_eq!(status, StatusCode::OK, "{force:?}: {answer}");
                    let token = answer["token"].as_str().unwrap().to_owned();
                    let claims = claims(&token);
                    let permissions = json!({
                        "version": version, "also": version, "digest-hint": format!("v{version}"),
                        "service": service, "user": id,
                    });
                    assert_eq!(answer["permissions"], permissions, "{force:?}");
                    assert_eq!(claims["permissions"], permissions, "{force:?}");
                    assert_eq!((&answer["userid"], &claims["sub"]), (&json!(id), &json!(id)));
                    assert_eq!(
                        (&answer["service"], &claims["service"]),
                        (&json!(service), &json!(service))
                    );
                    assert_eq!(claims["aud"], force.audience(service), "{force:?}");
                    assert_eq!(claims["plugin"], digest, "{force:?}");
                    tokens.push(token);
                    answers += 1;
                }
                assert_eq!(tokens[0], tokens[1], "it is warm");
            }
            for service in SAME.into_iter().chain(SAME) {
                let (_, answer) = browser.authorize(session, service).await;
                let claims = claims(answer["token"].as_str().unwrap());
                assert_eq!(answer["permissions"], json!({}));
                assert_eq!((&answer["userid"], &claims["sub"]), (&json!(id), &json!(id)));
                assert_eq!(
                    (&answer["service"], &claims["service"]),
                    (&json!(service), &json!(service))
                );
                answers += 1;
            }
            let (_, answer) = browser.authorize(session, "settings").await;
            assert_eq!(answer["permissions"]["colour"], force.colour(), "{force:?}");
            answers += 1;
        }
    };
    // Every pair, each beginning with warm caches.
    let mut swaps = 0;
    ask_all(Force::ALL[0]).await;
    for from in Force::ALL {
        for to in Force::ALL.into_iter().filter(|to| *to != from) {
            for force in [from, to] {
                force.put(&gateway, &base).await;
                ask_all(force).await;
                swaps += 1;
            }
        }
    }
    println!("caches: {swaps} swaps of generation and configuration, {answers} answers, each its own");
    gateway.stop().await;
}

/// A session token of one user that names a different user. The test makes it, as the gateway never signs one. The
/// cached session must not answer for the other name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cached_session_answers_only_for_its_own_user() {
    let (gateway, google) = start().await;
    let browser = gateway.browser();
    let mut people = Vec::new();
    for subject in ["1", "2"] {
        google.set_person(json!({"sub": subject}));
        let token = token_in(&google.sign_in(&gateway.browser(), &login()).await);
        people.push((claims(&token), token));
    }
    let text = |claims: &Value, name: &str| claims[name].as_str().unwrap().to_owned();
    for (mine, theirs) in [(0, 1), (1, 0)] {
        let mixed = SessionClaims {
            session: SessionId::from(text(&people[mine].0, "sid").as_str()),
            user: text(&people[theirs].0, "sub").as_str().into(),
            expires: Timestamp(people[mine].0["exp"].as_u64().unwrap()),
        };
        let mixed = session_key().issue(&mixed, Timestamp(people[mine].0["iat"].as_u64().unwrap()));
        for _ in 0..3 {
            for (_, token) in &people {
                assert!(browser.is_signed_in(token).await);
            }
            assert!(!browser.is_signed_in(&mixed).await);
            let nothing = (StatusCode::OK, json!({"permissions": {}}));
            assert_eq!(browser.authorize(&mixed, "ok").await, nothing);
        }
    }
    gateway.stop().await;
}
