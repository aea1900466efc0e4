//! The settings of a provider and their effects.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::UpstreamUser;
use gateway_upstream::{
    Callback, ClientAuth, Hints, Mapping, NonceRule, OAuth2, Par, Provider, ProviderConfig, ProviderKind,
    SecretMethod, UpstreamError,
};
use serde_json::{Value, json};
use url::Url;
use wiremock::matchers::{method, path};
use wiremock::{Mock, ResponseTemplate};

use crate::support::{CLIENT_ID, Fake, NOW, config, configured};

const PATIENCE: Duration = Duration::from_secs(60);

/// A fake whose provider has changed settings.
async fn fake(change: impl FnOnce(&mut ProviderConfig)) -> Fake {
    let mut fake = Fake::start().await;
    let mut settings = config(&fake.server.uri());
    change(&mut settings);
    fake.provider = configured(settings, Arc::clone(&fake.clock), PATIENCE);
    fake
}

async fn sign_in(fake: &Fake) -> Result<UpstreamUser, UpstreamError> {
    let authorization = fake.provider.begin(Hints::default()).await?;
    let nonce = authorization.flow.nonce.clone();
    fake.set(|answers| answers.nonce = json!(nonce));
    let callback = Callback {
        code: "canary-code",
        iss: None,
    };
    fake.provider.finish(&authorization.flow, callback, false).await
}

/// The error of a sign-in with changed claims.
async fn refusal(fake: &Fake, change: impl Fn(&mut Value) + Send + 'static) -> Option<String> {
    fake.claims(change);
    sign_in(fake).await.err().map(|error| error.to_string())
}

#[tokio::test]
async fn p6_trusted_audiences_are_accepted_if_azp_is_this_client() {
    let fake =
        fake(|config| config.audiences = vec!["251237591122837505".to_owned(), "account".to_owned()]).await;
    let both = json!([CLIENT_ID, "251237591122837505"]);
    for (aud, azp, problem) in [
        (both.clone(), json!(CLIENT_ID), None),
        (
            json!(["account", CLIENT_ID, "251237591122837505"]),
            json!(CLIENT_ID),
            None,
        ),
        (json!(CLIENT_ID), Value::Null, None),
        (json!([CLIENT_ID]), Value::Null, None),
        // `azp` must be this client.
        (both.clone(), json!("251237591122837505"), Some("another client")),
        (both.clone(), Value::Null, Some("`azp`")),
        (
            json!([CLIENT_ID, "somebody-else"]),
            json!(CLIENT_ID),
            Some("audiences"),
        ),
        (json!(["account"]), json!(CLIENT_ID), Some("not for")),
        (json!("account"), json!(CLIENT_ID), Some("not for")),
    ] {
        let what = format!("{aud} {azp}");
        let said = refusal(&fake, move |claims| {
            claims["aud"] = aud.clone();
            claims["azp"] = azp.clone();
        })
        .await;
        match (said, problem) {
            (None, None) => {}
            (Some(said), Some(problem)) => assert!(said.contains(problem), "{what}: {said}"),
            (said, _) => panic!("{what}: {said:?}"),
        }
    }
}

#[tokio::test]
async fn p7_assumed_addresses_count_unless_the_provider_denies_them() {
    for (assumed, verified, counts) in [
        (false, Value::Null, false),
        (true, Value::Null, true),
        (true, json!("true"), true),
        (true, json!(false), false),
        (true, json!("false"), false),
    ] {
        let fake = fake(|config| config.assume_email_verified = assumed).await;
        let said = verified.clone();
        fake.claims(move |claims| claims["email_verified"] = said.clone());
        let user = sign_in(&fake).await.unwrap();
        assert_eq!(user.email.is_some(), counts, "{assumed} {verified}");
    }
}

const TENANT: &str = "0a0a0a0a-0000-4000-8000-0000000000aa";
const OTHER: &str = "0b0b0b0b-0000-4000-8000-0000000000bb";

/// A provider with many tenants, two of which are listed.
async fn tenants() -> Fake {
    let mut fake = Fake::start().await;
    let uri = fake.server.uri();
    let template = format!("{uri}/{{tenantid}}/v2.0");
    let mut settings = config(&template);
    settings.discovery = Some(Url::parse(&format!("{uri}/.well-known/openid-configuration")).unwrap());
    settings.tenants = vec![TENANT.to_owned(), OTHER.to_owned()];
    fake.provider = configured(settings, Arc::clone(&fake.clock), PATIENCE);
    fake.set(|answers| answers.discovery["issuer"] = json!(template));
    fake
}

#[tokio::test]
async fn p8_identities_have_the_issuer_of_their_tenant() {
    let fake = tenants().await;
    let uri = fake.server.uri();
    let mut issuers = Vec::new();
    for tenant in [TENANT, OTHER] {
        let uri = uri.clone();
        fake.claims(move |claims| {
            claims["tid"] = json!(tenant);
            claims["iss"] = json!(format!("{uri}/{tenant}/v2.0"));
        });
        let identity = sign_in(&fake).await.unwrap().identity;
        assert_eq!(identity.issuer, format!("{}/{tenant}/v2.0", fake.server.uri()));
        issuers.push((identity.issuer, identity.subject));
    }
    // The same subject in two tenants is two users.
    assert_ne!(issuers[0], issuers[1]);
}

#[tokio::test]
async fn p8_issuers_of_unlisted_tenants_are_rejected() {
    let fake = tenants().await;
    let uri = fake.server.uri();
    let of = |tenant: &str| format!("{uri}/{tenant}/v2.0");
    let stranger = "0c0c0c0c-0000-4000-8000-0000000000cc";
    for (tid, iss, problem) in [
        (json!(stranger), of(stranger), "tenants"),
        (json!(TENANT), of(OTHER), "`iss`"),
        (json!(OTHER), of(TENANT), "`iss`"),
        (json!(TENANT), of("{tenantid}"), "`iss`"),
        (json!("{tenantid}"), of("{tenantid}"), "tenants"),
        (json!(""), of(""), "`tid`"),
        (Value::Null, of(TENANT), "`tid`"),
        (json!([TENANT]), of(TENANT), "`tid`"),
        (json!(format!("{TENANT}/v2.0/{TENANT}")), of(TENANT), "tenants"),
    ] {
        let what = format!("{tid} {iss}");
        let said = refusal(&fake, move |claims| {
            claims["tid"] = tid.clone();
            claims["iss"] = json!(iss);
        })
        .await
        .unwrap_or_default();
        assert!(said.contains(problem), "{what}: {said:?}");
    }
}

#[tokio::test]
async fn p8_a_key_signs_only_for_its_own_issuer() {
    let fake = tenants().await;
    let uri = fake.server.uri();
    let template = format!("{uri}/{{tenantid}}/v2.0");
    for (key_issuer, accepted) in [
        (template.clone(), true),
        (format!("{uri}/{TENANT}/v2.0"), true),
        (format!("{uri}/{OTHER}/v2.0"), false),
        // Entra ID has separate keys for personal accounts.
        (format!("{uri}/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"), false),
    ] {
        // Keys are cached for an hour.
        let fake = tenants().await;
        let uri = fake.server.uri();
        let key_issuer = key_issuer.replace(&template[..template.find("/{").unwrap()], &uri);
        let issuer = key_issuer.clone();
        fake.set(|answers| answers.keys[0]["issuer"] = json!(issuer));
        let said = refusal(&fake, move |claims| {
            claims["tid"] = json!(TENANT);
            claims["iss"] = json!(format!("{uri}/{TENANT}/v2.0"));
        })
        .await;
        assert_eq!(said.is_none(), accepted, "{key_issuer}: {said:?}");
    }
}

#[tokio::test]
async fn p9_a_missing_nonce_may_be_accepted_and_a_wrong_one_never() {
    for (rule, nonce, problem) in [
        (NonceRule::Required, None, Some("nonce = \"optional\"")),
        (NonceRule::Optional, None, None),
        (NonceRule::Optional, Some("another"), Some("another sign-in")),
        (NonceRule::Off, None, None),
        (NonceRule::Off, Some("whatever"), None),
    ] {
        let fake = fake(|config| config.nonce = rule).await;
        let said = refusal(&fake, move |claims| match nonce {
            Some(nonce) => claims["nonce"] = json!(nonce),
            None => drop(claims.as_object_mut().unwrap().remove("nonce")),
        })
        .await;
        match (said, problem) {
            (None, None) => {}
            (Some(said), Some(problem)) => assert!(said.contains(problem), "{rule:?}: {said}"),
            (said, _) => panic!("{rule:?} {nonce:?}: {said:?}"),
        }
    }
}

#[tokio::test]
async fn p11_a_sign_in_older_than_max_age_is_rejected() {
    for (at, problem) in [
        (json!(NOW), None),
        (json!(NOW - 600), None),
        (json!(NOW - 700), Some("max_age")),
        (Value::Null, Some("`auth_time`")),
        (json!("now"), Some("`auth_time`")),
    ] {
        let fake = fake(|config| {
            config.authorization_parameters = vec![("max_age".to_owned(), "600".to_owned())];
        })
        .await;
        let when = at.clone();
        let said = refusal(&fake, move |claims| claims["auth_time"] = when.clone()).await;
        assert_eq!(said.is_some(), problem.is_some(), "{at}: {said:?}");
        assert!(
            said.unwrap_or_default().contains(problem.unwrap_or_default()),
            "{at}"
        );
    }
}

#[tokio::test]
async fn p10_the_setting_for_the_secret_overrides_the_metadata() {
    let fake = fake(|config| {
        config.client_auth = ClientAuth::Secret {
            secret: "s".to_owned().into(),
            method: SecretMethod::Post,
        };
    })
    .await;
    fake.set(|answers| {
        answers.discovery["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]);
    });
    sign_in(&fake).await.unwrap();
    assert_eq!(fake.form()["client_secret"], "s");

    let public = self::fake(|config| config.client_auth = ClientAuth::None).await;
    sign_in(&public).await.unwrap();
    let form = public.form();
    assert_eq!(form["client_id"], CLIENT_ID);
    assert!(!form.contains_key("client_secret") && form.contains_key("code_verifier"));
}

/// A provider that supports pushed requests, with this answer to them.
async fn pushed(setting: Par, required: bool, answer: ResponseTemplate) -> Fake {
    let fake = fake(|config| config.par = setting).await;
    let uri = fake.server.uri();
    fake.set(|answers| {
        answers.discovery["pushed_authorization_request_endpoint"] = json!(format!("{uri}/par"));
        answers.discovery["require_pushed_authorization_requests"] = json!(required);
    });
    Mock::given(method("POST"))
        .and(path("/par"))
        .respond_with(answer)
        .mount(&fake.server)
        .await;
    fake
}

#[tokio::test]
async fn p11_requests_are_pushed_if_the_provider_or_the_setting_requires_it() {
    let good =
        || ResponseTemplate::new(201).set_body_json(json!({ "request_uri": "urn:x:1", "expires_in": 60 }));
    for (setting, required, is_pushed) in [
        (Par::Auto, false, false),
        (Par::Auto, true, true),
        (Par::Always, false, true),
        (Par::Never, true, false),
    ] {
        let fake = pushed(setting, required, good()).await;
        let url = fake.provider.begin(Hints::default()).await.unwrap().url;
        let reference = url.query_pairs().find(|(name, _)| name == "request_uri");
        assert_eq!(reference.is_some(), is_pushed, "{setting:?} {required}: {url}");
        assert_eq!(
            url.query_pairs().any(|(name, _)| name == "state"),
            !is_pushed,
            "{url}"
        );
    }
}

#[tokio::test]
async fn p11_a_pushed_request_has_one_client_id() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let good =
            ResponseTemplate::new(201).set_body_json(json!({ "request_uri": "urn:x:1", "expires_in": 60 }));
        let fake = pushed(Par::Always, true, good).await;
        fake.set(|answers| answers.discovery["token_endpoint_auth_methods_supported"] = json!([method]));
        fake.provider.begin(Hints::default()).await.unwrap();
        let requests = fake.server.received_requests().await.unwrap();
        let request = requests
            .iter()
            .find(|request| request.url.path() == "/par")
            .unwrap();
        // RFC 9126 section 2.1.
        let ids = url::form_urlencoded::parse(&request.body).filter(|(name, _)| name == "client_id");
        assert_eq!(ids.count(), 1, "{method}");
    }
}

#[tokio::test]
async fn p11_a_failed_push_is_reported_without_secrets() {
    let echo = "no: canary-client-secret is not it";
    for (answer, said) in [
        (
            ResponseTemplate::new(400)
                .set_body_json(json!({ "error": "invalid_request", "error_description": echo })),
            "invalid_request",
        ),
        (
            ResponseTemplate::new(201).set_body_json(json!({})),
            "`request_uri`",
        ),
        (ResponseTemplate::new(201).set_body_string("rubbish"), "pushed"),
        (
            ResponseTemplate::new(201).set_body_json(json!({ "request_uri": "u".repeat(1025) })),
            "1,024",
        ),
        (ResponseTemplate::new(503), "503"),
    ] {
        let fake = pushed(Par::Always, false, answer).await;
        let error = fake
            .provider
            .begin(Hints::default())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(said) && !error.contains("canary"), "{error}");
    }
    // Without an endpoint, requests cannot be pushed.
    let fake = fake(|config| config.par = Par::Always).await;
    let error = fake
        .provider
        .begin(Hints::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("par = \"never\""), "{error}");
}

/// A plain OAuth 2.0 provider at the same server.
fn plain(fake: &Fake, change: impl FnOnce(&mut ProviderConfig)) -> Provider {
    let at = |path: &str| Url::parse(&format!("{}{path}", fake.server.uri())).unwrap();
    let kind = ProviderKind::OAuth2(Box::new(OAuth2 {
        issuer: "https://git.example.org".to_owned(),
        authorize: at("/authorize?tenant=1"),
        token: at("/token"),
        userinfo: at("/userinfo"),
        mapping: Mapping {
            subject: "data.id".parse().unwrap(),
            email: Some("data.email".parse().unwrap()),
            email_verified: Some("data.verified".parse().unwrap()),
            name: Some("data.full_name | data.login".parse().unwrap()),
            picture: Some("https://img.example.org/{data.id}.png".parse().unwrap()),
        },
    }));
    let mut config = ProviderConfig::new("git", kind, CLIENT_ID, "s".to_owned().into());
    change(&mut config);
    configured(config, Arc::clone(&fake.clock), PATIENCE)
}

async fn finish(provider: &Provider) -> Result<UpstreamUser, UpstreamError> {
    let authorization = provider.begin(Hints::default()).await?;
    assert_eq!(authorization.flow.nonce, None);
    let callback = Callback {
        code: "canary-code",
        iss: Some("https://whatever.example.org"),
    };
    provider.finish(&authorization.flow, callback, false).await
}

#[tokio::test]
async fn p13_plain_oauth_uses_the_configured_members() {
    let fake = Fake::start().await;
    fake.set(|answers| {
        answers.userinfo = json!({"data": {
            "id": 7, "login": "ann", "full_name": "", "email": "ann@example.org", "verified": true, "groups": ["a"],
        }});
    });
    let user = finish(&plain(&fake, |_| ())).await.unwrap();
    assert_eq!(user.identity.issuer, "https://git.example.org");
    assert_eq!((user.identity.subject.as_str(), user.name.as_str()), ("7", "ann"));
    assert_eq!(user.email.unwrap().address, "ann@example.org");
    assert_eq!(user.avatar_url.as_deref(), Some("https://img.example.org/7.png"));
    assert_eq!(
        user.claims.get("data")["groups"],
        json!(["a"]),
        "hooks get everything"
    );
    // The ID token is ignored here.
    assert_eq!(fake.seen("/keys"), 0);
}

#[tokio::test]
async fn p13_plain_oauth_has_the_same_rules_for_addresses() {
    for (verified, assumed, counts) in [
        (json!(true), false, true),
        (json!(false), true, false),
        (Value::Null, false, false),
        (Value::Null, true, true),
        (json!("true"), false, false),
        (json!("true"), true, true),
        (json!(1), true, false),
    ] {
        let fake = Fake::start().await;
        let said = verified.clone();
        fake.set(|answers| {
            answers.userinfo = json!({"data": {"id": 7, "email": "ann@example.org", "verified": said}});
        });
        let provider = plain(&fake, |config| config.assume_email_verified = assumed);
        let user = finish(&provider).await.unwrap();
        assert_eq!(user.email.is_some(), counts, "{verified} {assumed}");
    }
}

#[tokio::test]
async fn p13_a_missing_subject_is_an_error_that_names_the_member() {
    for data in [
        json!({}),
        json!({"id": null}),
        json!({"id": ""}),
        json!({"id": 1.5}),
        json!({"id": true}),
        json!({"id": [7]}),
    ] {
        let fake = Fake::start().await;
        fake.set(|answers| answers.userinfo = json!({ "data": data }));
        let error = finish(&plain(&fake, |_| ())).await.unwrap_err().to_string();
        assert!(error.contains("data.id"), "{error}");
    }
}

#[tokio::test]
async fn p21_security_event_tokens_are_not_id_tokens() {
    const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
    for rule in [NonceRule::Required, NonceRule::Optional, NonceRule::Off] {
        let fake = fake(|config| config.nonce = rule).await;
        for events in [
            json!({ LOGOUT: {} }),
            json!({ LOGOUT: null }),
            json!({ "a": 1, LOGOUT: [] }),
            json!([LOGOUT]),
            json!(LOGOUT),
            json!({ "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {} }),
        ] {
            for keeps_nonce in [true, false] {
                let events = events.clone();
                let problem = refusal(&fake, move |claims| {
                    claims["events"] = events.clone();
                    claims["jti"] = json!("1");
                    if !keeps_nonce {
                        claims.as_object_mut().unwrap().remove("nonce");
                    }
                });
                let problem = problem.await.expect("a refusal");
                assert!(problem.contains("`events`"), "{problem}");
            }
        }
        // Other values of `events` are ignored.
        for events in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "conference": 2 }),
            json!("x"),
            json!(7),
        ] {
            let kept = events.clone();
            let problem = refusal(&fake, move |claims| claims["events"] = events.clone()).await;
            assert_eq!(problem, None, "{kept}");
        }
    }
}
