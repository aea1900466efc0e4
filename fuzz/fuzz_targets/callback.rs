//! Whole requests to the gateway without its sockets: router, parameters, cookies, tokens, CORS, JSONP, and the
//! callbacks of two unreachable providers.
//!
//! The input is the request, head and body. Placeholders stand for values that the fuzzer cannot guess: `@T@` for the
//! token of a signed-in user, `@S@` and `@C@` for the state of a sign-in in progress and its cookie.
#![no_main]

use std::fs;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use gateway::app::App;
use gateway::config::{self, Sources};
use gateway::sealed_state::SealedState;
use gateway::server::Peer;
use gateway::sign_in::{self, Outcome};
use gateway::{build, cookie, router};
use gateway_model::{Identity, UpstreamUser};
use gateway_upstream::Flow;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderMap,
    LOCATION, REFERRER_POLICY, SET_COOKIE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Request, StatusCode};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const OWN: &str = "https://auth.example.org";
const APPLICATION: &str = "https://app.example.org";
/// Loopback ports on which nothing listens.
const NOWHERE: &str = "http://127.0.0.1:9";
const NOBODY: &str = "http://127.0.0.1:7";

struct Fixture {
    runtime: Runtime,
    app: Arc<App>,
    token: Mutex<String>,
    _directory: TempDir,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    for name in ["data", "plugins"] {
        fs::create_dir(at(name)).expect("a directory");
    }
    let toml = format!(
        "data_dir = {:?}\nplugin_dir = {:?}\norigins = [\"{APPLICATION}\"]\njsonp = true\nuser_lookup = true\n\
         [server]\nexternal_address = \"{OWN}\"\n\
         [providers.github]\nclient_id = \"id\"\nclient_secret = \"canary-secret\"\nweb = \"{NOWHERE}\"\napi = \"{NOWHERE}\"\n\
         [providers.oidc]\nissuer = \"{NOBODY}\"\nclient_id = \"id\"\nclient_secret = \"canary-secret\"\n",
        at("data"),
        at("plugins"),
    );
    fs::write(at("gateway.toml"), toml).expect("written");
    let sources = Sources {
        file: Some(at("gateway.toml")),
        environment: [("PRIVATE_KEY", KEY)].into_iter().collect(),
        ..Sources::default()
    };
    let loaded = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (app, _, admissions) = runtime
        .block_on(build::build(&loaded.config, false))
        .expect("an app");
    runtime.block_on(admissions.done());
    let token = runtime.block_on(sign_in(&app));
    Fixture {
        runtime,
        app,
        token: Mutex::new(token),
        _directory: directory,
    }
});

fuzz_target!(|data: &[u8]| -> Corpus {
    let fixture = &*FIXTURE;
    let text = fixture.fill_in(data);
    let Some(request) = parse(&text) else {
        return Corpus::Reject;
    };
    let signed_in = find(data, b"@T@");
    let begun = find(data, b"@S@") && find(data, b"@C@");
    let logs_out = request.uri().path() == "/auth/logout";
    let reached = request.uri().path().starts_with("/auth/login/oidc")
        || (begun && request.uri().path().starts_with("/auth/oauth_callback/"));
    let origin = request.headers().get("origin").cloned();
    let peer = Peer::elsewhere(Ipv4Addr::LOCALHOST.into());
    fixture.runtime.block_on(async {
        let answer = router::handle(Arc::clone(&fixture.app), request, peer).await;
        let (head, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .unwrap_or_else(|never| match never {})
            .to_bytes();

        let upstream_down = reached && head.status == StatusCode::BAD_GATEWAY;
        assert!(!head.status.is_server_error() || upstream_down, "{}", head.status);
        judge_headers(&head.headers);
        if let Some(allowed) = head.headers.get(ACCESS_CONTROL_ALLOW_ORIGIN) {
            assert!(
                [OWN, APPLICATION].iter().any(|origin| allowed == origin),
                "{allowed:?}"
            );
            assert_eq!(Some(allowed), origin.as_ref());
        } else {
            assert!(!head.headers.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        }
        judge_body(&head.headers, &body, signed_in);
        if logs_out && signed_in {
            *fixture.token.lock().expect("no panic") = sign_in(&fixture.app).await;
        }
    });
    Corpus::Keep
});

fn judge_headers(headers: &HeaderMap) {
    assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[REFERRER_POLICY], "no-referrer");
    assert!(headers.contains_key(CACHE_CONTROL));
    assert_eq!(headers[VARY], "Origin");
    if let Some(location) = headers.get(LOCATION) {
        let location = location.to_str().expect("ASCII");
        let home = [
            format!("{NOWHERE}/login/oauth/authorize?"),
            format!("{APPLICATION}/"),
            format!("{OWN}/"),
        ];
        assert!(
            home.iter().any(|home| location.starts_with(home)),
            "leads elsewhere: {location}"
        );
        assert!(!location.contains("jwt="), "nobody has signed in: {location}");
    }
    for cookie in headers.get_all(SET_COOKIE) {
        let cookie = cookie.to_str().expect("ASCII");
        assert!(cookie.starts_with("__Host-auth-"), "{cookie}");
        // A cleared cookie is empty.
        let kept = !cookie.contains("=; Path=/; Max-Age=0");
        let wanted = ["Secure", "Path=/"].into_iter();
        for attribute in wanted.chain(["HttpOnly", "SameSite=Lax"].into_iter().filter(|_| kept)) {
            assert!(
                cookie.split("; ").any(|part| part == attribute),
                "{cookie} lacks {attribute}"
            );
        }
    }
}

fn judge_body(headers: &HeaderMap, body: &[u8], signed_in: bool) {
    assert!(!find(body, b"canary-secret"), "a secret is shown");
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return assert!(body.is_empty(), "a body without a type");
    };
    let mut json = body;
    match content_type.to_str().expect("ASCII") {
        "application/json" => {}
        "application/javascript; charset=utf-8" => {
            let script = std::str::from_utf8(body).expect("UTF-8");
            assert!(!script.contains(['\u{2028}', '\u{2029}']), "{script}");
            let call = script
                .strip_prefix("/**/")
                .and_then(|call| call.strip_suffix(");"));
            let (name, inside) = call
                .and_then(|call| call.split_once('('))
                .expect("a call and nothing else");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
            assert!(
                (1..=64).contains(&name.len()) && name.bytes().all(plain),
                "{name}"
            );
            json = inside.as_bytes();
        }
        "text/html; charset=utf-8" => {
            assert!(
                !find(body, b"<xss") && !find(body, b"\"xss"),
                "the caller's text became a tag"
            );
            return;
        }
        _ => return,
    }
    let json: Value = serde_json::from_slice(json).expect("JSON");
    let authenticated = json.get("authenticated") == Some(&Value::Bool(true));
    assert!(
        !authenticated || signed_in,
        "signed in by a token that nobody gave"
    );
    if let Some(providers) = json.get("providers").and_then(Value::as_object) {
        for url in providers
            .values()
            .map(|provider| provider["url"].as_str().expect("a URL"))
        {
            let next = url.split_once("?next=").expect("a next").1;
            let next = next.replace("%3A", ":").replace("%2F", "/");
            assert!(
                [OWN, APPLICATION]
                    .iter()
                    .any(|home| next.starts_with(&format!("{home}/"))),
                "{url}"
            );
        }
    }
}

impl Fixture {
    /// The request, with its placeholders filled in.
    fn fill_in(&self, data: &[u8]) -> Vec<u8> {
        let mut text = data.to_vec();
        if find(data, b"@T@") {
            replace(&mut text, b"@T@", &self.token.lock().expect("no panic"));
        }
        if find(data, b"@S@") || find(data, b"@C@") {
            let mut state = [0; 12];
            self.app.random.fill(&mut state).expect("randomness");
            let state: String = state.iter().map(|byte| format!("{byte:02x}")).collect();
            let name = cookie::name(&state, true);
            let begun = SealedState {
                flow: Flow {
                    state: state.clone(),
                    nonce: Some("n".to_owned()),
                    verifier: "v".to_owned(),
                },
                provider: "github".to_owned(),
                next: format!("{APPLICATION}/"),
                issued: self.app.clock.now().0,
                by_the_person: true,
                tells_next: false,
                ended: false,
            };
            let sealed = begun.seal(&self.app.session_key, &name).expect("sealed");
            replace(&mut text, b"@S@", &state);
            replace(&mut text, b"@C@", &format!("{name}={sealed}"));
        }
        text
    }
}

/// Parses heads like hyper: those that it rejects never reach the router.
fn parse(text: &[u8]) -> Option<Request<Full<Bytes>>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = head.parse(text) else {
        return None;
    };
    let mut request = Request::builder().method(head.method?).uri(head.path?);
    for header in head.headers.iter() {
        request = request.header(header.name, header.value);
    }
    request
        .body(Full::new(Bytes::copy_from_slice(&text[length..])))
        .ok()
}

async fn sign_in(app: &Arc<App>) -> String {
    let person = UpstreamUser {
        identity: Identity {
            provider: "github".to_owned(),
            issuer: NOWHERE.to_owned(),
            subject: "1".to_owned(),
        },
        email: None,
        name: "Ann".to_owned(),
        avatar_url: None,
        claims: gateway_model::Claims::default(),
        session: gateway_model::UpstreamSession::default(),
    };
    match sign_in::complete(app, person).await {
        Ok(Outcome::SignedIn(token)) => token,
        other => panic!("{other:?}"),
    }
}

fn find(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn replace(text: &mut Vec<u8>, part: &[u8], by: &str) {
    while let Some(at) = text.windows(part.len()).position(|window| window == part) {
        text.splice(at..at + part.len(), by.bytes());
    }
}

/// The key of RFC 8032 section 7.1, test 1.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
    -----END PRIVATE KEY-----\n";
