//! No answer can be taken for another type of content, or read by a page of a foreign origin. The tests' browser
//! asserts `nosniff` and the other headers of every answer.

use reqwest::{Method, StatusCode};

use support::Setup;
use support::browser::encode;

const APP: &str = "https://app.example.org";

/// Callback names that would run code, or make the answer something other than a script.
const CALLBACKS: &[&str] = &[
    "",
    " ",
    "1",
    "1a",
    "a b",
    "a.b",
    "a[0]",
    "a[\"b\"]",
    "a-b",
    "a;b",
    "a,b",
    "a=b",
    "a+b",
    "a//",
    "a/*",
    "*/a",
    "a\n",
    "a\r\nX: y",
    "a\0",
    "a\u{2028}",
    "ä",
    "𝒶",
    "а",
    "\u{feff}a",
    "a\u{200b}",
    "\\u0061",
    "a\\",
    "%61",
    "&#97;",
    "alert(1)",
    "alert(1)//",
    "alert`1`",
    "(a)",
    "a()",
    "a)(",
    "function(){}",
    "()=>{}",
    "a=>a",
    "{}",
    "[]",
    "//",
    "/*",
    "<script>",
    "</script>",
    "<!--",
    "-->",
    "\"",
    "'",
    "`",
    "${a}",
    "@import",
    "#a",
    ".a",
    "a.",
    "?a",
    "!a",
    "~a",
    "eval",
    "delete",
    "void",
    "this",
    "new",
    "throw",
    "return",
    "await",
    "yield",
    "import",
    "null",
    "true",
    "typeof",
    "let",
    "static",
    "CWS",
    "FWS\u{7}\u{e}",
    "PK\u{3}\u{4}",
    "%PDF-",
    "GIF89a;",
    "BM(",
    "MZ\u{90}",
    "{\\rtf",
    "+/v8",
];

/// The plain names among [`CALLBACKS`], which are called. The others are not.
const NAMES: &[&str] = &["CWS"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jsonp_accepts_only_plain_names_and_is_only_a_script() {
    let gateway = Setup::dev().top("jsonp = true\nuser_lookup = true").start().await;
    let browser = gateway.browser();
    let session = gateway.sign_in("alice").await;
    let long = "a".repeat(65);
    let mut tried = 0;
    for path in [
        "/auth/check?",
        "/auth/authorize?service=x&",
        "/auth/resolve?username=x&",
        "/auth/get_profile?username=x&",
    ] {
        for callback in CALLBACKS.iter().chain([&long.as_str()]) {
            for token in ["", &session] {
                let target = format!("{path}jwt={token}&callback={}", encode(callback));
                let response = browser.get(&target).await;
                let (status, kind) = (response.status(), response.headers()["content-type"].clone());
                let body = response.text().await.unwrap();
                if NAMES.contains(callback) {
                    assert_eq!(status, StatusCode::OK, "{target}");
                    assert_eq!(kind, "application/javascript; charset=utf-8", "{target}");
                    // The first bytes are the same for every name, and no other format begins with them.
                    let json = body
                        .strip_prefix(&format!("/**/{callback}("))
                        .unwrap()
                        .strip_suffix(");")
                        .unwrap();
                    serde_json::from_str::<serde_json::Value>(json).unwrap();
                } else {
                    assert_eq!(status, StatusCode::BAD_REQUEST, "{target}");
                    assert_eq!(kind, "application/json", "{target}");
                    assert!(body.starts_with("{\"error\":"), "{target}: {body}");
                    assert!(!body.contains("alice"), "{target}: {body}");
                }
                tried += 1;
            }
        }
        // Answers that are not JSON are never wrapped.
        for path in [
            "/",
            "/auth/public-key",
            "/.well-known/jwks.json",
            "/auth/nothing",
            "/assets/gateway.css",
        ] {
            let wrapped = browser.get(&format!("{path}?callback=cb")).await;
            let body = wrapped.text().await.unwrap();
            assert!(!body.contains("cb("), "{path}: {body}");
            tried += 1;
        }
    }
    println!(
        "JSONP: {tried} requests with {} callbacks, one of them a name",
        CALLBACKS.len() + 1
    );
    gateway.stop().await;
    let gateway = Setup::dev().start().await;
    let response = gateway.browser().get("/auth/check?callback=cb").await;
    assert_eq!(
        response.headers()["content-type"],
        "application/json",
        "it is off unless switched on"
    );
    gateway.stop().await;
}

/// Origins that resemble the configured one.
const STRANGERS: &[&str] = &[
    "null",
    "https://evil.example",
    "http://app.example.org",
    "https://app.example.org:8443",
    "https://app.example.org:443",
    "https://app.example.org.evil.example",
    "https://evilapp.example.org",
    "https://example.org",
    "https://a.app.example.org",
    "https://app.example.org/",
    "https://app.example.org@evil.example",
    "https://APP.example.org",
    "app.example.org",
    "https://app.example.org https://evil.example",
    "https://app.example.org,https://evil.example",
    "*",
    "",
    "https://app.example.org%60.evil.example",
    "https://app.example.org_.evil.example",
    "blob:https://app.example.org/x",
    "file://",
    "http://127.0.0.1",
    "http://localhost",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pages_of_configured_origins_may_read_answers() {
    let gateway = Setup::dev().origin(APP).start().await;
    let browser = gateway.browser();
    let session = gateway.sign_in("alice").await;
    let mut asked = 0;
    let paths = [
        "/",
        "/auth/check",
        "/auth/check?jwt=a&jwt=b",
        "/auth/check?next=https://evil.example",
        "/auth/authorize?service=x",
        "/auth/update",
        "/auth/logout",
        "/auth/public-key",
        "/.well-known/jwks.json",
        "/auth/login/dev?user=%ff",
        "/auth/login/dev?next=bad",
        "/auth/oauth_callback/dev",
        "/auth/resolve?username=x",
        "/auth/nothing",
        "/metrics",
    ];
    for path in paths {
        for method in [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::OPTIONS,
            Method::DELETE,
        ] {
            // A sign-out would end the session.
            let token = if path == "/auth/logout" { "" } else { &session };
            for origin in STRANGERS.iter().chain([&APP]) {
                let request = browser
                    .request(method.clone(), path)
                    .bearer_auth(token)
                    .header("origin", *origin)
                    .header("access-control-request-method", "POST")
                    .header("access-control-request-headers", "authorization")
                    .header("access-control-request-private-network", "true");
                let response = browser.send(request).await;
                let headers = response.headers();
                let vary = headers["vary"].to_str().unwrap();
                assert!(vary.eq_ignore_ascii_case("origin"), "{method} {path}: {vary}");
                let is_ours = *origin == APP;
                let cors: Vec<_> = headers
                    .keys()
                    .map(|name| name.as_str())
                    .filter(|name| name.starts_with("access-control-"))
                    .collect();
                if is_ours {
                    assert_eq!(headers["access-control-allow-origin"], APP, "{method} {path}");
                    assert_eq!(
                        headers["access-control-allow-credentials"], "true",
                        "{method} {path}"
                    );
                } else {
                    assert_eq!(cors, [""; 0], "{method} {path} from {origin:?}");
                }
                asked += 1;
            }
        }
    }
    println!(
        "CORS: {asked} requests of pages, {} strange origins let read nothing",
        STRANGERS.len()
    );
    gateway.stop().await;
}
