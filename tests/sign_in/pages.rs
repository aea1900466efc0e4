//! Pages for browsers and answers for programs: providers, services and origins.

mod errors;
mod look;

use reqwest::header::ACCEPT;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use super::{APP, alice, login, start};
use support::browser::{Browser, encode, location, token_in};
use support::fake_oidc::{CLIENT_ID, FakeOidc};
use support::{Setup, eventually};

/// The `Accept` header of a browser whose user opens an address.
const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn open(browser: &Browser, target: &str) -> Response {
    browser
        .send(browser.request(Method::GET, target).header(ACCEPT, HTML))
        .await
}

/// A page: its status and text.
async fn page(response: Response) -> (StatusCode, String) {
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(response.headers().get("location"), None);
    (response.status(), response.text().await.unwrap())
}

/// The links of an error page. The first one begins a new sign-in.
fn links(page: &str) -> Vec<String> {
    let ways = page
        .split("class=\"ways\"")
        .nth(1)
        .unwrap_or_else(|| panic!("no way on: {page}"));
    let links = ways.split("href=\"").skip(1);
    links
        .map(|rest| rest.split('"').next().unwrap().replace("&#38;", "&"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_providers_are_offered_in_the_order_of_the_file() {
    let provider = FakeOidc::start(alice()).await;
    let mut setup = Setup::serve().origin(APP);
    for name in ["zulu", "google", "github-work", "alpha"] {
        setup = setup.top(&format!(
            "providers.{name} = {{ issuer = {:?}, client_id = {CLIENT_ID:?}, client_secret = \"secret\" }}",
            provider.issuer()
        ));
    }
    let gateway = setup.start().await;
    let browser = gateway.browser();
    for target in ["/auth/check", "/", "/auth/login"] {
        let text = browser.get(target).await.text().await.unwrap();
        let mut order: Vec<&str> = text
            .split("/auth/login/")
            .skip(1)
            .filter_map(|rest| rest.split('?').next())
            .collect();
        order.dedup();
        assert_eq!(
            order,
            ["zulu", "google", "github-work", "alpha"],
            "{target}: {text}"
        );
    }
    let text = browser.get("/auth/login").await.text().await.unwrap();
    assert!(
        text.contains("Continue with Google") && text.contains("Continue with zulu"),
        "{text}"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_page_can_read_retry_after_and_the_request_id() {
    let gateway = Setup::serve()
        .origin(APP)
        .table("rate_limits", "update = \"1/h\"")
        .table("server", "trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let browser = gateway.browser();
    let update = || {
        browser
            .request(Method::POST, "/auth/update")
            .header("origin", APP)
            .header("x-forwarded-for", "203.0.113.7")
            .header("x-request-id", "made-up")
    };
    browser.send(update()).await;
    let refused = browser.send(update()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let headers = refused.headers();
    assert!(headers.contains_key("retry-after"));
    assert_eq!(
        headers["access-control-expose-headers"],
        "Retry-After, X-Request-Id"
    );
    let id = headers["x-request-id"].to_str().unwrap();
    assert!(
        id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    eventually("the id is in the log", async || {
        let lines = gateway.log.lines();
        lines
            .iter()
            .find(|line| line.contains(id) && line.contains("429"))
            .cloned()
    })
    .await;
    let asked = browser
        .request(Method::OPTIONS, "/auth/check")
        .header("origin", APP)
        .header("access-control-request-method", "GET")
        .header(
            "access-control-request-headers",
            "authorization,traceparent,tracestate",
        );
    let answer = browser.send(asked).await;
    let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap();
    for header in ["authorization", "traceparent", "tracestate"] {
        assert!(allowed.split(", ").any(|allowed| allowed == header), "{allowed}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_only_users_who_are_signed_in_see_the_services() {
    let google = FakeOidc::start(alice()).await;
    let gateway = Setup::serve()
        .oidc("google", &google)
        .origin(APP)
        .plugin("mine", test_guests::V1)
        .service("wiki", "mine")
        .service("billing", "mine")
        .start()
        .await;
    let browser = gateway.browser();
    let token = token_in(&google.sign_in(&browser, &login("google", APP)).await);
    let services = json!({ "services": ["billing", "wiki"] });
    let answer = browser.get_as(&token, "/auth/services").await;
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), services);
    browser.post_as(&token, "/auth/logout").await;
    for token in [token.as_str(), "made-up", ""] {
        let answer = browser.get_as(token, "/auth/services").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            answer.json::<serde_json::Value>().await.unwrap(),
            json!({ "services": [] })
        );
    }
    let page = browser.get("/").await.text().await.unwrap();
    assert!(
        !page.contains("billing"),
        "the page is the same for everybody: {page}"
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b10_browsers_get_pages_and_programs_get_json() {
    let (gateway, _google, _other) = start().await;
    let browser = gateway.browser();
    let unknown = login("nobody", APP);
    for (target, status, says) in [
        ("/nothing", StatusCode::NOT_FOUND, "Page not found"),
        (
            unknown.as_str(),
            StatusCode::NOT_FOUND,
            "“nobody” is not set up here",
        ),
        (
            "/auth/oauth_callback/nobody",
            StatusCode::NOT_FOUND,
            "“nobody” is not set up here",
        ),
        (
            "/auth/login/Your%20account%20is%20lost",
            StatusCode::NOT_FOUND,
            "Page not found",
        ),
        (
            "/auth/update",
            StatusCode::METHOD_NOT_ALLOWED,
            "cannot be opened in a browser",
        ),
    ] {
        let response = open(&browser, target).await;
        assert_eq!(
            response.headers().contains_key("allow"),
            status == StatusCode::METHOD_NOT_ALLOWED
        );
        let (seen, text) = page(response).await;
        assert_eq!(seen, status, "{target}");
        assert!(text.contains(says), "{target}: {text}");
        assert!(!links(&text).is_empty());
        for accept in [None, Some("*/*"), Some("application/json")] {
            let mut request = browser.request(Method::GET, target);
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            let response = browser.send(request).await;
            assert_eq!(response.status(), status, "{target}");
            assert_eq!(response.headers()["content-type"], "application/json", "{target}");
        }
    }
    // The page of an unknown provider links to the others, with the same destination.
    let (_, text) = page(open(&browser, &unknown).await).await;
    let choose = format!("/auth/login?next={}", encode(&format!("{APP}/")));
    assert_eq!(links(&text)[0], choose);
    assert!(
        text.contains("Choose another way to sign in") && !text.contains("Sign in again"),
        "{text}"
    );
    let (status, text) = page(open(&browser, &choose).await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("to continue to app.example.org") && text.contains("/auth/login/google?next="));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_a_client_that_knows_google_and_github_signs_in_from_any_loopback_page_under_dev() {
    let gateway = Setup::dev().start().await;
    let browser = gateway.browser();
    for (provider, page) in [
        ("google", "http://localhost:5173/app?x=1"),
        ("github", "http://127.0.0.1:4200/"),
        ("dev", "http://[::1]:3000/"),
    ] {
        let origin = url::Url::parse(page).unwrap().origin().ascii_serialization();
        let request = browser
            .request(Method::GET, &format!("/auth/check?next={}", encode(page)))
            .header("origin", &origin);
        let answer = browser.send(request).await;
        assert_eq!(answer.headers()["access-control-allow-origin"], origin.as_str());
        let check: serde_json::Value = answer.json().await.unwrap();
        let url = check["providers"][provider]["url"].as_str().unwrap();
        assert!(
            url.starts_with(&format!("{}auth/login/{provider}?", gateway.external)),
            "{url}"
        );
        let people = browser.get(url).await.text().await.unwrap();
        assert!(people.contains("Choose a test user"), "{people}");
        let end = browser.get(&format!("{url}&user=alice")).await;
        assert!(location(&end).as_str().starts_with(page), "{}", location(&end));
        assert!(browser.is_signed_in(&token_in(&end)).await);
    }
    for page in ["http://evil.example/", "http://localhost.evil.example/"] {
        let answer = browser.get(&format!("/auth/check?next={}", encode(page))).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{page}");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b11_an_origin_that_is_not_configured_is_named_with_the_setting() {
    let (gateway, _google, _other) = start().await;
    let browser = gateway.browser();
    let next = encode("http://localhost:5173/");
    let answer = browser.get_json(&format!("/auth/check?next={next}")).await;
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.contains("http://localhost:5173") && error.contains("ALLOWED_ORIGINS"),
        "{error}"
    );
    let (status, text) = page(browser.get(&format!("/auth/login/google?next={next}")).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        text.contains("http://localhost:5173") && text.contains("ALLOWED_ORIGINS"),
        "{text}"
    );
    let answer = browser
        .get(&format!("/auth/login/dev?next={}", encode(APP)))
        .await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND, "only gateway dev has it");
    gateway.stop().await;
}
