//! Replays the exchanges that were recorded from the service that the gateway replaces.
//!
//! Each of them either matches, or is listed in `tests/data/deviations.toml` with a reason and the new answer.
//! `UPDATE_DOCS=1 cargo test --test contract` writes that table to `docs/deviations.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use gateway_model::{SessionId, Timestamp, UserId};
use gateway_token::SessionClaims;
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use support::browser::Browser;
use support::browser::token_in;
use support::fake_oidc::FakeOidc;
use support::setup::session_key;
use support::{Gateway, Setup};

const APP: &str = "http://app.example.org";

#[derive(Deserialize)]
struct Recording {
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    case: String,
    request: Asked,
    response: Answer,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    target: String,
    headers: BTreeMap<String, String>,
}

/// An answer of the old service, or the gateway's different one.
#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Answer {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
}

/// An intended difference from the old service.
#[derive(Deserialize)]
struct Deviations {
    deviation: Vec<Deviation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deviation {
    /// The recorded exchanges that it applies to.
    cases: Vec<String>,
    /// The new answer, in words.
    now: String,
    reason: String,
    status: u16,
    /// Headers with their expected values. An empty value means that the header must be absent.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body: JSON text, or plain text with `body_is = "text"`. Masked as in the recording.
    body: String,
    #[serde(default)]
    body_is: Body,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Body {
    #[default]
    Json,
    Text,
    /// A page of the gateway, with any text.
    Page,
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

fn recording() -> Recording {
    let text = fs::read_to_string(data("dgp-oauth2-1.3.4.json")).expect("the recording");
    serde_json::from_str(&text).expect("a recording")
}

fn deviations() -> Deviations {
    toml::from_str(&fs::read_to_string(data("deviations.toml")).expect("the table"))
        .expect("a table of deviations")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_recorded_exchange_matches_or_is_a_listed_deviation() {
    let google = FakeOidc::start(json!({
        "sub": "1234", "name": "Alice Liddell", "email": "alice@example.org", "email_verified": true,
        "picture": "https://img.example.org/a.png",
    }))
    .await;
    let gateway = Setup::serve()
        .oidc("google", &google)
        .table("providers.google", "trusted_email = true")
        .env("GITHUB_KEY", "key")
        .env("GITHUB_SECRET", "secret")
        .origin(APP)
        .top("user_lookup = true\njsonp = true")
        .table("database", "user_ids = \"email-md5\"")
        .plugin("example", guest_examples_example())
        .service("example", "example")
        .start()
        .await;
    let browser = gateway.browser();
    let tokens = Tokens::new(&gateway, &google, &browser).await;
    let table = deviations();

    let mut problems = String::new();
    let (mut matched, mut deviating) = (0, 0);
    for exchange in recording().exchanges {
        let answer = masked(tokens.ask(&browser, &exchange.request).await).await;
        let listed = table
            .deviation
            .iter()
            .find(|deviation| deviation.cases.contains(&exchange.case));
        let as_recorded = difference(&exchange.response, &answer);
        match (listed, as_recorded) {
            (None, None) => matched += 1,
            (None, Some(difference)) => {
                let _ = writeln!(
                    problems,
                    "`{}` differs and is not listed: {difference}\n{answer:#?}\n",
                    exchange.case
                );
            }
            (Some(_), None) => {
                let _ = writeln!(
                    problems,
                    "`{}` is listed as a deviation and matches the recording\n",
                    exchange.case
                );
            }
            (Some(deviation), Some(_)) => {
                deviating += 1;
                if let Some(difference) = difference(&deviation.expected(&answer), &answer) {
                    let _ = writeln!(
                        problems,
                        "`{}` is not what its deviation says: {difference}\n{answer:#?}\n",
                        exchange.case
                    );
                }
            }
        }
    }
    assert!(problems.is_empty(), "{problems}");
    println!("{matched} exchanges match, {deviating} deviate on purpose");
    gateway.stop().await;
}

/// The example provider that answers as the old service's sample did.
fn guest_examples_example() -> &'static [u8] {
    guest_examples::ALL
        .iter()
        .find(|example| example.name == "example")
        .expect("an example")
        .wasm
}

/// The values of `$T`, `$GHOST` and `$EXP`.
struct Tokens {
    alice: String,
    ghost: String,
    expired: String,
}

impl Tokens {
    async fn new(gateway: &Gateway, google: &FakeOidc, browser: &Browser) -> Self {
        let login = format!("/auth/login/google?next={APP}/");
        let alice = token_in(&google.sign_in(browser, &login).await);
        assert_eq!(
            browser.post_as(&alice, "/auth/update?username=alice").await,
            json!({"success": true})
        );

        google.set_person(json!({"sub": "0", "email": "ghost@example.org", "email_verified": true}));
        let ghost = token_in(&google.sign_in(browser, &login).await);
        gateway
            .cli(&["user", "delete", "ghost@example.org", "--yes"])
            .await
            .succeeded();

        let key = session_key();
        let id = browser.check(&alice).await["profile"]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let now = support::fake_oidc::now();
        let minted = |expires: u64| {
            let claims = SessionClaims {
                session: SessionId::from(session_of(&alice)),
                user: UserId::from(id.as_str()),
                expires: Timestamp(expires),
            };
            key.issue(&claims, Timestamp(now - 7200))
        };
        assert!(
            browser.is_signed_in(&minted(now + 60)).await,
            "the test can make tokens that the gateway takes"
        );
        Self {
            ghost,
            expired: minted(now - 3600),
            alice,
        }
    }

    async fn ask(&self, browser: &Browser, asked: &Asked) -> Response {
        let fill = |text: &str| {
            text.replace("$T", &self.alice)
                .replace("$GHOST", &self.ghost)
                .replace("$EXP", &self.expired)
        };
        let method = Method::from_bytes(asked.method.as_bytes()).expect("a method");
        let mut request = browser.request(method, &fill(&asked.target));
        for (name, value) in &asked.headers {
            request = request.header(name, fill(value));
        }
        browser.send(request).await
    }
}

/// The `sid` of a session token.
fn session_of(token: &str) -> String {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).expect("a JWT");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .expect("base64url");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["sid"].as_str().expect("a session").to_owned()
}

/// The gateway's answer, with everything that differs between runs masked as in the recording.
async fn masked(response: Response) -> Answer {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let text = response.text().await.expect("text");
    let mut body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    mask(&mut body);
    Answer {
        status,
        headers,
        body,
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(date) = members.get_mut("join_date") {
                assert!(
                    httpdate::parse_http_date(date.as_str().expect("text")).is_ok(),
                    "{date} is not an HTTP date"
                );
                *date = "<date>".into();
            }
            members.values_mut().for_each(mask);
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) => {
            if text.starts_with("eyJ") && text.split('.').count() == 3 {
                *text = "<token>".to_owned();
            } else if text.contains("BEGIN PUBLIC KEY") {
                assert!(text.ends_with("-----END PUBLIC KEY-----\n"), "{text:?}");
                *text = "<public key, PEM, SubjectPublicKeyInfo>\n".to_owned();
            } else if let Some((callback, mut inner)) = jsonp(text) {
                mask(&mut inner);
                *value = json!({"callback": callback, "of": inner});
            }
        }
        _ => {}
    }
}

/// The callback and the JSON of a JSONP answer.
fn jsonp(text: &str) -> Option<(String, Value)> {
    let (callback, rest) = text.trim_start_matches("/**/").split_once('(')?;
    let inner = serde_json::from_str(rest.strip_suffix(");")?).ok()?;
    Some((callback.to_owned(), inner))
}

/// Describes the first difference from `expected`. Additional headers are allowed.
fn difference(expected: &Answer, answer: &Answer) -> Option<String> {
    if expected.status != answer.status {
        return Some(format!("status {} and not {}", answer.status, expected.status));
    }
    for (name, value) in &expected.headers {
        let got = answer.headers.get(name).map_or("", String::as_str);
        // The order within a list does not matter.
        let parts = |text: &str| {
            let mut parts: Vec<_> = text.split(',').map(|part| part.trim().to_lowercase()).collect();
            parts.sort();
            parts
        };
        if parts(value) != parts(got) {
            return Some(format!("header {name}: {got:?} and not {value:?}"));
        }
    }
    let mut body = expected.body.clone();
    mask(&mut body);
    (body != answer.body).then(|| format!("body {} and not {body}", answer.body))
}

impl Deviation {
    /// The answer that the gateway must give.
    fn expected(&self, answer: &Answer) -> Answer {
        let body = match self.body_is {
            Body::Json => {
                serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{:?}: {error}", self.cases))
            }
            Body::Text => Value::String(self.body.clone()),
            Body::Page => {
                let page = answer.body.as_str().unwrap_or_default();
                assert!(
                    page.starts_with("<!doctype html>") && page.contains(&self.body),
                    "{:?}: {page}",
                    self.cases
                );
                answer.body.clone()
            }
        };
        Answer {
            status: self.status,
            headers: self.headers.clone(),
            body,
        }
    }
}

#[test]
fn every_deviation_is_about_a_recorded_exchange_and_says_why() {
    let recorded: Vec<_> = recording()
        .exchanges
        .into_iter()
        .map(|exchange| exchange.case)
        .collect();
    let mut listed = Vec::new();
    for deviation in deviations().deviation {
        assert!(
            deviation.reason.len() > 20 && deviation.now.len() > 10,
            "{:?}",
            deviation.cases
        );
        for case in deviation.cases {
            assert!(recorded.contains(&case), "`{case}` was never recorded");
            assert!(!listed.contains(&case), "`{case}` is listed twice");
            listed.push(case);
        }
    }
}

#[test]
fn the_docs_list_the_same_deviations() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/deviations.md");
    let table = table();
    let (begin, end) = (
        "<!-- begin: written by tests/contract/main.rs -->\n",
        "<!-- end -->",
    );
    let text = fs::read_to_string(&page).expect("docs/deviations.md");
    let (before, rest) = text.split_once(begin).expect("the mark where the table begins");
    let (written, after) = rest.split_once(end).expect("the mark where the table ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&page, format!("{before}{begin}{table}{end}{after}")).expect("the page can be written");
        return;
    }
    assert_eq!(
        written, table,
        "docs/deviations.md is old: run `UPDATE_DOCS=1 cargo test --test contract`"
    );
}

/// The table of docs/deviations.md.
fn table() -> String {
    let recording = recording();
    let mut table =
        "| recorded exchange | the old service | the gateway | why |\n|---|---|---|---|\n".to_owned();
    for deviation in deviations().deviation {
        let old: Vec<_> = deviation
            .cases
            .iter()
            .filter_map(|case| recording.exchanges.iter().find(|exchange| exchange.case == *case))
            .map(|exchange| {
                let body = match &exchange.response.body {
                    Value::String(text) if text.is_empty() => String::new(),
                    Value::String(text) if text.starts_with("<!doctype") => " a page".to_owned(),
                    Value::String(text) => format!(" `{}`", shortened(text.trim())),
                    json => format!(" `{}`", shortened(&json.to_string())),
                };
                let location = exchange
                    .response
                    .headers
                    .get("location")
                    .map(|url| format!(" to `{url}`"));
                format!(
                    "{}{}{body}",
                    exchange.response.status,
                    location.unwrap_or_default()
                )
            })
            .collect();
        let mut old_once = old.clone();
        old_once.dedup();
        let _ = writeln!(
            table,
            "| {} | {} | {} {} | {} |",
            deviation.cases.join("<br>"),
            old_once.join("<br>"),
            deviation.status,
            deviation.now,
            deviation.reason
        );
    }
    table
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
