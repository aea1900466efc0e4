//! Every preset signs a user in through a fake of its provider that follows the documented rules.

use std::os::unix::fs::PermissionsExt as _;

use reqwest::Method;
use reqwest::header::{LOCATION, ORIGIN};
use serde_json::{Value, json};
use url::Url;

use self::fake::{CLIENT_ID, Fake, Kind, SECRET, TENANT, Way};
use self::internet::Internet;
use super::{APP, login};
use support::browser::{Browser, location, parameter, token_in};
use support::fake_github::FakeGitHub;
use support::{Gateway, Setup};
mod fake;
mod internet;

/// A standard provider, whose ID tokens have all claims.
const PLAIN: Kind = Kind {
    preset: "",
    path: "",
    hosts: &[],
    needs: "",
    lines: "",
    way: Way::Either,
    scopes: &["openid", "email", "profile"],
    nonce: true,
    form_post: false,
    id_token: Some(ann),
    userinfo: None,
    tokens: || json!({ "scope": "openid email profile" }),
    discovery: || json!({ "code_challenge_methods_supported": ["S256"] }),
    refuses_with_200: false,
    par: false,
    elliptic: false,
    subject: "ann-1",
    name: "Ann Lee",
    email: Some("ann@example.org"),
    picture: None,
};

fn ann() -> Value {
    json!({ "name": "Ann Lee", "email": "ann@example.org", "email_verified": true })
}

/// Every preset but GitHub, which has its own fake.
fn kinds() -> Vec<Kind> {
    vec![
        // developer.apple.com, "Sign in with Apple REST API".
        Kind {
            preset: "apple",
            hosts: &["appleid.apple.com"],
            lines: "team_id = \"TEAM123456\"\nclient_key_id = \"KEY1234567\"\nclient_key_file = \"apple.p8\"",
            way: Way::Apple,
            scopes: &["openid", "email", "name"],
            form_post: true,
            // No name, and strings for booleans.
            id_token: Some(|| {
                json!({
                    "email": "ann@example.org", "email_verified": "true", "is_private_email": "false",
                    "nonce_supported": true, "auth_time": 1,
                })
            }),
            tokens: || json!({ "refresh_token": "r" }),
            discovery: || {
                json!({
                    "response_modes_supported": ["query", "fragment", "form_post"],
                    "claims_supported": ["aud", "email", "email_verified", "exp", "iat", "is_private_email", "iss", "nonce", "sub"],
                })
            },
            ..PLAIN
        },
        // auth0.com/docs: the issuer ends with a slash.
        Kind {
            preset: "auth0",
            hosts: &["example.eu.auth0.com"],
            needs: "domain = \"example.eu.auth0.com\"",
            path: "/",
            discovery: || json!({ "device_authorization_endpoint": "https://x.example.org/oauth/device/code" }),
            ..PLAIN
        },
        // authelia.com, "OpenID Connect 1.0 claims": since 4.39 ID tokens have hardly any claims.
        Kind {
            preset: "authelia",
            hosts: &["authelia.example.net"],
            needs: "domain = \"authelia.example.net\"",
            way: Way::Basic,
            id_token: Some(
                || json!({ "amr": ["pwd", "otp"], "azp": CLIENT_ID, "at_hash": null, "jti": "x" }),
            ),
            userinfo: Some(|| {
                let mut all = ann();
                all["sub"] = "ann-1".into();
                all["groups"] = json!(["admins"]);
                all
            }),
            discovery: || {
                json!({
                    "code_challenge_methods_supported": ["S256"],
                    "pushed_authorization_request_endpoint": "https://x.example.org/api/oidc/pushed-authorization-request",
                    "require_pushed_authorization_requests": false,
                })
            },
            ..PLAIN
        },
        // docs.goauthentik.io: the issuer contains the application's slug, and ends with a slash.
        Kind {
            preset: "authentik",
            hosts: &["authentik.example.net"],
            needs: "domain = \"authentik.example.net\"\napplication = \"gateway\"",
            path: "/application/o/gateway/",
            ..PLAIN
        },
        // docs.aws.amazon.com/cognito: userinfo has strings for booleans.
        Kind {
            preset: "cognito",
            hosts: &["cognito-idp.eu-central-1.amazonaws.com"],
            needs: "user_pool = \"eu-central-1_AbCdEfGhI\"",
            path: "/eu-central-1_AbCdEfGhI",
            id_token: Some(|| {
                json!({
                    "cognito:username": "ann", "email": "ann@example.org", "email_verified": true, "token_use": "id",
                    "event_id": "x", "auth_time": 1,
                })
            }),
            userinfo: Some(
                || json!({ "sub": "ann-1", "email": "ann@example.org", "email_verified": "true", "name": "Ann Lee", "username": "ann" }),
            ),
            discovery: || json!({ "scopes_supported": ["openid", "email", "phone", "profile"] }),
            ..PLAIN
        },
        // discord.com/developers/docs, OAuth2 and "User Object".
        Kind {
            preset: "discord",
            hosts: &["discord.com"],
            scopes: &["identify", "email"],
            id_token: None,
            userinfo: Some(|| {
                json!({
                    "id": "80351110224678912", "username": "ann", "discriminator": "0", "global_name": "Ann Lee",
                    "avatar": "8342729096ea3675442027381ff50dfe", "verified": true, "email": "ann@example.org", "flags": 64,
                    "banner": null, "mfa_enabled": true, "locale": "en-GB",
                })
            }),
            tokens: || json!({ "expires_in": 604800, "scope": "identify email" }),
            subject: "80351110224678912",
            picture: Some(
                "https://cdn.discordapp.com/avatars/80351110224678912/8342729096ea3675442027381ff50dfe.png",
            ),
            ..PLAIN
        },
        // learn.microsoft.com, "OpenID Connect on the Microsoft identity platform": no claim says whether addresses are
        // verified.
        Kind {
            preset: "entra",
            hosts: &["login.microsoftonline.com"],
            needs: "tenant = \"0a0a0a0a-0000-4000-8000-0000000000aa\"",
            path: "/0a0a0a0a-0000-4000-8000-0000000000aa/v2.0",
            id_token: Some(|| {
                json!({
                    "name": "Ann Lee", "email": "ann@example.org", "preferred_username": "ann@example.org", "tid": TENANT,
                    "oid": "1", "ver": "2.0", "uti": "x", "rh": "y",
                })
            }),
            userinfo: Some(
                || json!({ "sub": "ann-1", "name": "Ann Lee", "picture": "https://graph.microsoft.com/v1.0/me/photo/$value" }),
            ),
            discovery: || {
                json!({
                    "response_modes_supported": ["query", "fragment", "form_post"], "http_logout_supported": true,
                    "tenant_region_scope": "EU", "cloud_instance_name": "microsoftonline.com", "rbac_url": "https://pas.windows.net",
                    "scopes_supported": ["openid", "profile", "email", "offline_access"],
                    "token_endpoint_auth_methods_supported":
                        ["client_secret_post", "private_key_jwt", "client_secret_basic", "self_signed_tls_client_auth"],
                })
            },
            email: None,
            ..PLAIN
        },
        // The same for many tenants: the issuer in the discovery document is a template.
        Kind {
            preset: "entra-tenants",
            hosts: &["login.microsoftonline.com"],
            path: "/{tenantid}/v2.0",
            lines: "tenants = [\"11111111-0000-4000-8000-000000000000\", \"0A0A0A0A-0000-4000-8000-0000000000AA\"]",
            id_token: Some(
                || json!({ "name": "Ann Lee", "email": "ann@example.org", "tid": TENANT, "ver": "2.0" }),
            ),
            email: None,
            ..PLAIN
        },
        // developers.facebook.com, "Manually Build a Login Flow": a nested picture, and no claim about verification.
        Kind {
            preset: "facebook",
            hosts: &["www.facebook.com", "graph.facebook.com"],
            way: Way::Post,
            scopes: &["public_profile", "email"],
            id_token: None,
            userinfo: Some(|| {
                json!({
                    "id": "10158", "name": "Ann Lee", "email": "ann@example.org",
                    "picture": {"data": {"height": 50, "is_silhouette": false, "url": "https://platform-lookaside.fbsbx.com/p?asid=10158", "width": 50}},
                })
            }),
            tokens: || json!({ "token_type": "bearer", "expires_in": 5183944 }),
            subject: "10158",
            email: None,
            picture: Some("https://platform-lookaside.fbsbx.com/p?asid=10158"),
            ..PLAIN
        },
        Kind {
            preset: "forgejo",
            hosts: &["codeberg.org"],
            needs: "domain = \"codeberg.org\"",
            id_token: Some(gitea),
            ..PLAIN
        },
        // docs.gitea.com, "OAuth2 Provider".
        Kind {
            preset: "gitea",
            hosts: &["gitea.example.net"],
            needs: "domain = \"gitea.example.net\"",
            id_token: Some(gitea),
            ..PLAIN
        },
        // docs.gitlab.com, "GitLab as OpenID Connect identity provider".
        Kind {
            preset: "gitlab",
            hosts: &["gitlab.com"],
            id_token: Some(
                || json!({ "sub_legacy": "x", "name": "Ann Lee", "nickname": "ann", "preferred_username": "ann", "auth_time": 1 }),
            ),
            userinfo: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "sub": "ann-1", "groups": ["g"], "profile": "https://gitlab.com/ann", "website": "" }),
                );
                all
            }),
            tokens: || json!({ "created_at": 1_607_635_748, "refresh_token": "r", "expires_in": 7200 }),
            ..PLAIN
        },
        // developers.google.com/identity/openid-connect.
        Kind {
            preset: "google",
            hosts: &["accounts.google.com"],
            id_token: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "azp": CLIENT_ID, "hd": "example.org", "given_name": "Ann" }),
                );
                all
            }),
            tokens: || json!({ "scope": "openid https://www.googleapis.com/auth/userinfo.email" }),
            ..PLAIN
        },
        // kanidm.github.io: ES256, and the client's id in the issuer.
        Kind {
            preset: "kanidm",
            hosts: &["idm.example.net"],
            needs: "domain = \"idm.example.net\"",
            path: "/oauth2/openid/canary-client",
            elliptic: true,
            id_token: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "azp": CLIENT_ID, "amr": null, "scopes": ["openid", "profile", "email"] }),
                );
                all
            }),
            ..PLAIN
        },
        // www.keycloak.org: with its usual mapper, `account` is an audience as well.
        Kind {
            preset: "keycloak",
            hosts: &["keycloak.example.net"],
            needs: "domain = \"keycloak.example.net\"\nrealm = \"main\"",
            path: "/realms/main",
            id_token: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "aud": [CLIENT_ID, "account"], "azp": CLIENT_ID, "acr": "1", "typ": "ID", "session_state": "x" }),
                );
                all
            }),
            tokens: || json!({ "not-before-policy": 0, "refresh_expires_in": 1800, "session_state": "x" }),
            ..PLAIN
        },
        // learn.microsoft.com/linkedin, "Sign In with LinkedIn using OpenID Connect": no nonce, a string for a boolean.
        Kind {
            preset: "linkedin",
            hosts: &["www.linkedin.com"],
            path: "/oauth",
            way: Way::Post,
            nonce: false,
            id_token: Some(
                || json!({ "name": "Ann Lee", "email": "ann@example.org", "email_verified": "true", "locale": "en_US" }),
            ),
            userinfo: Some(|| {
                json!({
                    "sub": "ann-1", "name": "Ann Lee", "email": "ann@example.org", "email_verified": true,
                    "locale": {"country": "US", "language": "en"},
                })
            }),
            discovery: || json!({ "subject_types_supported": ["pairwise"], "scopes_supported": ["openid", "profile", "email"] }),
            email: None,
            ..PLAIN
        },
        // developer.okta.com: ID tokens that come with an access token have few claims.
        Kind {
            preset: "okta",
            hosts: &["example.okta.com"],
            needs: "domain = \"example.okta.com\"",
            id_token: Some(
                || json!({ "name": "Ann Lee", "preferred_username": "ann@example.org", "ver": 1, "jti": "x", "amr": ["pwd"] }),
            ),
            userinfo: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "sub": "ann-1", "zoneinfo": "America/Los_Angeles", "updated_at": 1 }),
                );
                all
            }),
            ..PLAIN
        },
        // api.slack.com/authentication/sign-in-with-slack: status 200 for everything, `ok` in every answer.
        Kind {
            preset: "slack",
            hosts: &["slack.com"],
            way: Way::Post,
            refuses_with_200: true,
            id_token: Some(|| {
                let mut all = ann();
                merge(
                    &mut all,
                    json!({ "https://slack.com/user_id": "U1", "https://slack.com/team_id": "T1", "date_email_verified": 1 }),
                );
                all
            }),
            tokens: || json!({ "ok": true, "token_type": "Bearer", "state": "" }),
            discovery: || json!({ "response_modes_supported": ["form_post"], "claims_parameter_supported": false }),
            ..PLAIN
        },
        // dev.twitch.tv/docs/authentication/getting-tokens-oidc: scopes are a list, claims come on request.
        Kind {
            preset: "twitch",
            hosts: &["id.twitch.tv"],
            path: "/oauth2",
            way: Way::Post,
            scopes: &["openid", "user:read:email"],
            id_token: Some(|| {
                json!({
                    "azp": CLIENT_ID, "email": "ann@example.org", "email_verified": true, "preferred_username": "Ann Lee",
                    "picture": "https://static-cdn.jtvnw.net/p/ann.png",
                })
            }),
            tokens: || json!({ "scope": ["openid", "user:read:email"], "expires_in": 14_124, "token_type": "bearer" }),
            picture: Some("https://static-cdn.jtvnw.net/p/ann.png"),
            ..PLAIN
        },
        // zitadel.com/docs: all applications of the project, and the project, are audiences.
        Kind {
            preset: "zitadel",
            hosts: &["example.zitadel.cloud"],
            needs: "domain = \"example.zitadel.cloud\"",
            lines: "audiences = [\"251237591122837505\", \"251237591122837506@project\"]",
            id_token: Some(|| {
                json!({
                    "aud": [CLIENT_ID, "251237591122837506@project", "251237591122837505"], "azp": CLIENT_ID,
                    "client_id": CLIENT_ID, "amr": ["pwd"],
                })
            }),
            userinfo: Some(|| {
                let mut all = ann();
                merge(&mut all, json!({ "sub": "ann-1", "updated_at": 1_700_000_000 }));
                all
            }),
            ..PLAIN
        },
    ]
}

fn gitea() -> Value {
    json!({
        "name": "Ann Lee", "preferred_username": "ann", "email": "ann@example.org", "email_verified": true,
        "groups": ["org:team"], "profile": "https://git.example.org/ann", "website": "", "locale": "en-US", "updated_at": 1,
    })
}

fn merge(base: &mut Value, mut more: Value) {
    base.as_object_mut()
        .unwrap()
        .append(more.as_object_mut().unwrap());
}

/// The section of a provider as an operator writes it.
fn as_shipped(fake: &Fake) -> String {
    let kind = &fake.kind;
    let secret = match kind.way {
        Way::Apple | Way::Public => String::new(),
        _ => format!("client_secret = \"{SECRET}\""),
    };
    format!(
        "preset = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n{secret}\n{}\n{}",
        kind.preset, kind.needs, kind.lines
    )
}

/// The section of a provider: the preset, the operator's settings, and the fake's address in place of the real one.
fn section(fake: &Fake) -> String {
    let (kind, uri) = (&fake.kind, fake.uri());
    let places = if kind.id_token.is_none() {
        format!(
            "authorize_url = \"{uri}/authorize\"\ntoken_url = \"{uri}/token\"\nuserinfo_url = \"{uri}/userinfo\""
        )
    } else if kind.path.contains("{tenantid}") {
        format!(
            "issuer = \"{}\"\ndiscovery_url = \"{uri}/common/v2.0/.well-known/openid-configuration\"",
            fake.issuer()
        )
    } else {
        format!("issuer = \"{}\"", fake.issuer())
    };
    let secret = match kind.way {
        Way::Apple | Way::Public => String::new(),
        _ => format!("client_secret = \"{SECRET}\""),
    };
    format!(
        "preset = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n{secret}\n{places}\n{}",
        kind.preset, kind.lines
    )
}

async fn start(fakes: &[Fake]) -> Gateway {
    setup(fakes, section).start().await
}

fn setup(fakes: &[Fake], section: fn(&Fake) -> String) -> Setup {
    let mut setup = Setup::serve().origin(APP);
    for fake in fakes {
        if fake.kind.way == Way::Apple {
            let path = setup.dir.path().join("apple.p8");
            std::fs::write(&path, &fake.developer_key).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let lines = section(fake).replace(
            "apple.p8",
            &setup.dir.path().join("apple.p8").display().to_string(),
        );
        setup = setup.table(&format!("providers.{}", fake.kind.preset), &lines);
    }
    setup
}

/// Goes to the provider and back, as a browser does: by GET, or by posting a form of the provider's page.
async fn sign_in(fake: &Fake, browser: &Browser) -> reqwest::Response {
    let authorize = location(&browser.get(&login(fake.kind.preset, APP)).await);
    let answer = browser.get(fake.reachable(&authorize).as_str()).await;
    if !fake.kind.form_post {
        return browser.get(location(&answer).as_str()).await;
    }
    let action = answer.headers()["x-form-action"].to_str().unwrap().to_owned();
    let form = answer.text().await.unwrap();
    let callback = post(browser, &action, form).await;
    browser.get(&callback).await
}

/// A cross-site POST, without `SameSite=Lax` cookies. Returns the destination.
async fn post(browser: &Browser, action: &str, form: String) -> String {
    let stranger = browser.without_cookies();
    let request = stranger
        .request(Method::POST, action)
        .header("content-type", "application/x-www-form-urlencoded")
        .header(ORIGIN, "https://appleid.apple.com")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .body(form);
    let answer = stranger.send(request).await;
    assert_eq!(answer.status(), 303, "{action}");
    assert!(answer.headers().get("set-cookie").is_none());
    answer.headers()[LOCATION].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_every_preset_signs_in_through_a_fake_of_its_provider() {
    let mut fakes = Vec::new();
    for kind in kinds() {
        fakes.push(Fake::start(kind).await);
    }
    let gateway = start(&fakes).await;
    all_sign_in(&gateway, &fakes).await;
    gateway.stop().await;
}

/// As shipped: the configuration says no more about the provider's address than the preset requires.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p14_every_preset_has_the_real_addresses_of_its_provider() {
    let (tenants, others): (Vec<Kind>, Vec<Kind>) = kinds()
        .into_iter()
        .partition(|kind| kind.preset == "entra-tenants");
    // Two presets have the same host.
    for kinds in [tenants, others] {
        let mut fakes = Vec::new();
        for kind in kinds {
            fakes.push(Fake::at_its_host(kind).await);
        }
        let hosts = fakes.iter().flat_map(|fake| {
            fake.kind
                .hosts
                .iter()
                .map(|host| ((*host).to_owned(), fake.address()))
        });
        let internet = Internet::start(hosts.collect()).await;
        let mut setup = setup(&fakes, as_shipped);
        for (name, value) in internet.variables(setup.dir.path()) {
            setup = setup.env(name, &value);
        }
        let gateway = setup.start().await;
        all_sign_in(&gateway, &fakes).await;
        gateway.stop().await;
    }
}

async fn all_sign_in(gateway: &Gateway, fakes: &[Fake]) {
    for fake in fakes {
        let kind = &fake.kind;
        let browser = gateway.browser();
        let answer = sign_in(fake, &browser).await;
        if answer.status() != 302 {
            let status = answer.status();
            panic!("{}: {status}\n{}", kind.preset, gateway.log.text());
        }
        let token = token_in(&answer);
        let profile = browser.check(&token).await["profile"].clone();
        let expected_picture = kind.picture.map_or(Value::Null, Value::from);
        assert_eq!(
            profile["email"],
            kind.email.map_or(Value::Null, Value::from),
            "{}",
            kind.preset
        );
        assert_eq!(profile["avatar_url"], expected_picture, "{}", kind.preset);
        assert_eq!(profile["name"], kind.name, "{}", kind.preset);
        assert_eq!(
            profile["provider_id"],
            format!("{}:{}", kind.preset, kind.subject)
        );
        assert!(browser.cookies().is_empty(), "{}", kind.preset);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_the_github_preset_signs_in_and_passes_the_login_hint_under_githubs_name() {
    let github = FakeGitHub::start().await;
    let gateway = Setup::serve()
        .origin(APP)
        .table(
            "providers.code",
            &format!("preset = \"github\"\n{}", github.table()),
        )
        .start()
        .await;
    let browser = gateway.browser();
    let begun = browser
        .get(&format!(
            "{}&login_hint=ann&prompt=select_account",
            login("code", APP)
        ))
        .await;
    let authorize = location(&begun);
    assert_eq!(parameter(&authorize, "login").as_deref(), Some("ann"));
    assert_eq!(parameter(&authorize, "login_hint"), None);
    assert_eq!(parameter(&authorize, "prompt").as_deref(), Some("select_account"));
    let token = token_in(&github.sign_in(&browser, &login("code", APP)).await);
    assert_eq!(
        browser.check(&token).await["profile"]["provider_id"],
        "code:583231"
    );
    gateway.stop().await;
}

fn one(preset: &str) -> Kind {
    kinds().into_iter().find(|kind| kind.preset == preset).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_an_unlisted_tenant_is_rejected_and_the_log_names_the_setting() {
    let fake = Fake::start(Kind {
        lines: "tenants = [\"11111111-0000-4000-8000-000000000000\"]",
        ..one("entra-tenants")
    })
    .await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let answer = sign_in(&fake, &gateway.browser()).await;
    assert_eq!(answer.status(), 400);
    let log = gateway.flushed_log().await.join("\n");
    assert!(log.contains(TENANT) && log.contains("tenants"), "{log}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_an_identity_of_a_multi_tenant_provider_is_linked_by_its_tenants_issuer() {
    let fake = Fake::start(one("entra-tenants")).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    token_in(&sign_in(&fake, &gateway.browser()).await);
    let link = async |more: &[&str]| {
        let all = ["user", "link", "entra-tenants:ann-1", "entra-tenants", "ann-2"];
        gateway.cli(&[&all[..], more].concat()).await
    };
    let refused = link(&[]).await.failed();
    assert!(
        refused.contains("--issuer") && refused.contains("{tenantid}"),
        "{refused}"
    );
    let template = refused
        .split_whitespace()
        .find(|word| word.contains("{tenantid}"))
        .unwrap();
    let of = |tenant: &str| template.replace("{tenantid}", tenant);
    for wrong in [
        "https://login.example.org/t/v2.0",
        &of(""),
        &of("t/../u"),
        &of("t?u"),
    ] {
        link(&["--issuer", wrong]).await.failed();
    }
    let linked = link(&["--issuer", &of("t")]).await.succeeded();
    assert!(linked.contains("linked entra-tenants:ann-2"), "{linked}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_an_unlisted_audience_is_rejected_and_the_log_names_the_setting() {
    let fake = Fake::start(Kind {
        lines: "audiences = [\"251237591122837505\"]",
        ..one("zitadel")
    })
    .await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let answer = sign_in(&fake, &gateway.browser()).await;
    assert_eq!(answer.status(), 400);
    let log = gateway.stop().await.text();
    assert!(
        log.contains("251237591122837506@project") && log.contains("audiences"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_a_provider_that_requires_pushed_requests_gets_them_and_the_browser_sends_a_reference() {
    let fake = Fake::start(Kind {
        preset: "keycloak",
        lines: "prompt = \"login\"\nauthorization_parameters = { acr_values = \"gold silver\", ui_locales = \"de\" }",
        par: true,
        ..one("keycloak")
    })
    .await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let browser = gateway.browser();
    let target = format!("{}&login_hint=ann%40example.org", login("keycloak", APP));
    let authorize = location(&browser.get(&target).await);
    let names: Vec<String> = authorize
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    assert_eq!(names, ["client_id", "request_uri"], "{authorize}");
    let pushed = fake.requests().await;
    let pushed = pushed
        .iter()
        .find(|request| request.url.path() == "/par")
        .unwrap();
    let mut form = Url::parse("http://x/").unwrap();
    form.set_query(Some(std::str::from_utf8(&pushed.body).unwrap()));
    for (name, value) in [
        ("acr_values", "gold silver"),
        ("ui_locales", "de"),
        ("prompt", "login"),
        ("login_hint", "ann@example.org"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(&form, name).as_deref(), Some(value), "{form}");
    }
    let back = location(&browser.get(authorize.as_str()).await);
    token_in(&browser.get(back.as_str()).await);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_a_posted_answer_ends_a_sign_in_only_in_the_browser_that_began_it() {
    let fake = Fake::start(one("apple")).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let ann = gateway.browser();
    let authorize = location(&ann.get(&login("apple", APP)).await);
    for cookie in ann.cookies().keys() {
        assert!(cookie.starts_with("__Host-"), "{cookie}");
    }
    let answer = ann.get(authorize.as_str()).await;
    let action = answer.headers()["x-form-action"].to_str().unwrap().to_owned();
    let form = answer.text().await.unwrap();

    // Login CSRF: the other user's browser posts Ann's answer.
    let bob = gateway.browser();
    let callback = post(&bob, &action, form.clone()).await;
    let stolen = bob.get(&callback).await;
    assert_eq!(stolen.status(), 400);
    assert!(
        stolen
            .text()
            .await
            .unwrap()
            .contains("did not begin in this browser")
    );

    // Neither the code nor the name is in the address, which proxies log.
    let code = url::form_urlencoded::parse(form.as_bytes())
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned();
    assert!(
        !callback.contains(&code) && !callback.contains("Ann"),
        "{callback}"
    );

    // A sealed answer fits only its own sign-in.
    let second = location(&ann.get(&login("apple", APP)).await);
    let other_state = parameter(&second, "state").unwrap();
    let mut swapped = Url::parse(&callback).unwrap();
    let sealed = parameter(&swapped, "answer").unwrap();
    swapped
        .query_pairs_mut()
        .clear()
        .append_pair("state", &other_state)
        .append_pair("answer", &sealed);
    assert_eq!(ann.get(swapped.as_str()).await.status(), 400);

    // Frames and scripts cannot post it.
    let image = bob
        .request(Method::POST, &action)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "cross-site")
        .header("sec-fetch-mode", "no-cors")
        .header("sec-fetch-dest", "empty")
        .body(form.clone());
    assert_eq!(bob.send(image).await.status(), 403);

    // In Ann's own browser it works, once.
    token_in(&ann.get(&callback).await);
    assert_eq!(ann.get(&callback).await.status(), 400);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_only_providers_that_post_their_answers_have_a_callback_for_it() {
    let fake = Fake::start(one("google")).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let browser = gateway.browser();
    let request = browser
        .request(Method::POST, "/auth/oauth_callback/google")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("state=x&code=y");
    let answer = browser.send(request).await;
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET, HEAD, OPTIONS");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_an_application_may_request_only_the_account_chooser_or_a_login() {
    let fake = Fake::start(one("google")).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let browser = gateway.browser();
    let asked = async |more: &str| {
        let answer = browser.get(&format!("{}{more}", login("google", APP))).await;
        (answer.status().as_u16(), answer)
    };
    let (_, plain) = asked("").await;
    assert_eq!(parameter(&location(&plain), "prompt"), None);
    let (_, chooser) = asked("&prompt=select_account").await;
    assert_eq!(
        parameter(&location(&chooser), "prompt").as_deref(),
        Some("select_account")
    );
    let long = format!("&login_hint={}", "a".repeat(321));
    for refused in [
        "&prompt=none",
        "&prompt=select_account%20none",
        "&login_hint=a%0Ab",
        &long,
    ] {
        assert_eq!(asked(refused).await.0, 400, "{refused}");
    }
    gateway.stop().await;
}

/// The output of `gateway provider check` for this provider: the exit code, and the findings that are not ok.
async fn checked(kind: Kind) -> (Option<i32>, Value) {
    let fake = Fake::start(kind).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let ran = gateway
        .cli(&["provider", "check", fake.kind.preset, "--json"])
        .await;
    let report =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}\n{}", ran.stdout, ran.stderr));
    gateway.stop().await;
    (ran.code, report)
}

fn of_level(level: &str, report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["level"] == level)
        .map(|finding| {
            format!(
                "{}: {}",
                finding["about"].as_str().unwrap(),
                finding["message"].as_str().unwrap()
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_provider_check_reports_no_error_if_sign_ins_work() {
    for preset in [
        "apple",
        "keycloak",
        "entra-tenants",
        "discord",
        "slack",
        "linkedin",
    ] {
        let (code, report) = checked(one(preset)).await;
        assert_eq!(of_level("error", &report), [""; 0], "{report:#}");
        assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
        assert_eq!(
            report["redirect_uri"],
            format!("https://auth.example.org/auth/oauth_callback/{preset}")
        );
        assert!(!report.to_string().contains(SECRET), "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_provider_check_reports_every_misconfiguration() {
    for (kind, expected) in [
        (
            Kind {
                lines: "client_auth = \"none\"",
                way: Way::Public,
                ..one("google")
            },
            "client: the token endpoint rejected the client: invalid_client",
        ),
        (
            Kind {
                lines: "scopes = [\"openid\", \"calendar\"]",
                ..one("google")
            },
            "sign-in page: the provider rejected the request: invalid_scope",
        ),
        (
            Kind {
                lines: "par = \"never\"",
                par: true,
                ..one("keycloak")
            },
            "pushed requests: the provider accepts only pushed authorization requests",
        ),
        (
            Kind {
                discovery: || json!({ "issuer": "https://another.example.org" }),
                ..one("google")
            },
            "discovery: the provider's issuer is https://another.example.org",
        ),
        (
            Kind {
                discovery: || json!({ "id_token_signing_alg_values_supported": ["HS256"] }),
                ..one("google")
            },
            "keys: the gateway supports none of the provider's algorithms for ID tokens",
        ),
        (
            Kind {
                discovery: || json!({ "id_token_signing_alg_values_supported": ["ES256"] }),
                ..one("google")
            },
            "keys: http://127.0.0.1",
        ),
        (
            Kind {
                lines: "userinfo = \"required\"",
                discovery: || json!({ "userinfo_endpoint": null }),
                ..one("google")
            },
            "userinfo: `userinfo_endpoint` is missing",
        ),
        (
            Kind {
                lines: "client_auth = \"none\"",
                way: Way::Public,
                discovery: || json!({ "token_endpoint_auth_methods_supported": ["tls_client_auth"] }),
                ..one("google")
            },
            "client authentication: the provider does not offer none; it offers tls_client_auth. The gateway supports none of \
             them",
        ),
    ] {
        let (code, report) = checked(kind).await;
        let found = of_level("error", &report);
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "{expected}\n{report:#}"
        );
        assert_eq!(
            (code, &report["ok"]),
            (Some(1), &Value::Bool(false)),
            "{report:#}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_provider_check_warns_about_incomplete_metadata_if_sign_ins_work() {
    for (kind, expected) in [
        (
            Kind {
                lines: "response_mode = \"form_post\"",
                form_post: true,
                discovery: || json!({ "response_modes_supported": ["query"] }),
                ..one("google")
            },
            "flow: the provider does not list form_post",
        ),
        (
            Kind {
                discovery: || json!({ "token_endpoint_auth_methods_supported": ["private_key_jwt"] }),
                ..one("google")
            },
            "client authentication: the provider does not offer client_secret_post; it offers private_key_jwt. Set \
             client_auth to private_key_jwt",
        ),
    ] {
        let (code, report) = checked(kind).await;
        let found = of_level("warning", &report);
        assert!(
            found.iter().any(|warning| warning.starts_with(expected)),
            "{expected}\n{report:#}"
        );
        assert_eq!(code, Some(0), "{report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_the_log_says_for_every_kind_why_an_address_does_not_count() {
    type Answer = fn() -> Value;
    let cases: [(Answer, Option<&str>); 4] = [
        (
            || json!({ "id": "1", "username": "ann", "email": "ann@example.org" }),
            Some("the provider does not say whether it is verified"),
        ),
        (
            || json!({ "id": "1", "username": "ann", "email": "ann@example.org", "verified": 1 }),
            Some("must be true or false, but is a number"),
        ),
        (
            || json!({ "id": "1", "username": "ann", "email": ["ann@example.org"], "verified": true }),
            Some("must be a string, but is a list"),
        ),
        (
            || json!({ "id": "1", "username": "ann", "email": "ann@example.org", "verified": false }),
            None,
        ),
    ];
    for (userinfo, reason) in cases {
        let fake = Fake::start(Kind {
            userinfo: Some(userinfo),
            ..one("discord")
        })
        .await;
        let gateway = start(std::slice::from_ref(&fake)).await;
        let answer = sign_in(&fake, &gateway.browser()).await;
        assert_eq!(answer.status(), 302);
        let log = gateway.stop().await.text();
        let expected = "the address in `email` is not used: ";
        assert_eq!(log.contains(expected), reason.is_some(), "{log}");
        assert!(log.contains(reason.unwrap_or_default()), "{reason:?}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_provider_check_warns_if_a_provider_cannot_sign_users_out() {
    type Document = fn() -> Value;
    let cases: [(Document, _, _); 4] = [
        (
            || json!({ "end_session_endpoint": "https://id.example.org/logout" }),
            "sign_out = \"provider\"",
            "ok",
        ),
        (
            || json!({ "end_session_endpoint": "https://id.example.org/logout" }),
            "",
            "note",
        ),
        (
            || json!({ "end_session_endpoint": "http://id.example.org/logout" }),
            "sign_out = \"provider\"",
            "warning",
        ),
        (
            || json!({ "end_session_endpoint": null }),
            "sign_out = \"provider\"",
            "warning",
        ),
    ];
    for (discovery, lines, level) in cases {
        let fake = Fake::start(Kind {
            discovery,
            lines,
            ..one("google")
        })
        .await;
        let gateway = start(std::slice::from_ref(&fake)).await;
        let ran = gateway.cli(&["provider", "check", "google", "--json"]).await;
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["about"] == "sign-out");
        assert_eq!(found.unwrap()["level"], level, "{report:#}");
        assert_eq!(ran.code, Some(0), "{report:#}");
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_to_p13_provider_check_prints_readable_lines() {
    let fake = Fake::start(one("gitlab")).await;
    let gateway = start(std::slice::from_ref(&fake)).await;
    let text = gateway.cli(&["provider", "check", "gitlab"]).await.succeeded();
    assert!(text.starts_with("provider      gitlab ("), "{text}");
    assert!(
        text.contains("\nok       client: the token endpoint accepts the client"),
        "{text}"
    );
    let unknown = gateway.cli(&["provider", "check", "gitlub"]).await.failed();
    assert!(unknown.contains("the configuration has gitlab"), "{unknown}");
    gateway.stop().await;
}
