//! Every preset signs a user in through a fake of its provider that follows the documented rules.

mod fake;
mod internet;
mod kinds;
mod posted_answers;
mod provider_check;

use std::os::unix::fs::PermissionsExt as _;

use reqwest::Method;
use reqwest::header::{LOCATION, ORIGIN};
use serde_json::{Value, json};
use url::Url;

use self::fake::{CLIENT_ID, Fake, Kind, SECRET, TENANT, Way};
use self::internet::Internet;
use self::kinds::{kinds, one};
use super::{APP, login};
use support::browser::{Browser, location, parameter, token_in};
use support::fake_github::FakeGitHub;
use support::{Gateway, Setup};

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
