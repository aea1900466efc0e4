//! The messages to users and applications when a sign-in fails, and the look of the pages.

use std::fs;

use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, REFERER};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use super::state::aged;
use super::{APP, alice, login, start};
use support::browser::{Browser, encode, location, parameter, token_in};
use support::fake_oidc::{CLIENT_ID, FakeOidc, Mood};
use support::setup::EXTERNAL;
use support::{Gateway, Setup, eventually};

/// The `Accept` header of a browser whose user opens an address.
const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

const NEXT: &str = "https://app.example.org/page?a=1&error=old&b=2#part";

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

fn telling(login: &str) -> String {
    format!("{login}&errors=next")
}

/// The callback with which the provider rejects a sign-in in progress.
fn refusal(callback: &url::Url, code: &str, issuer: &str) -> String {
    let state = parameter(callback, "state").unwrap();
    format!(
        "/auth/oauth_callback/google?error={code}&error_description=%22canary%22&state={state}&iss={}",
        encode(issuer)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_with_errors_next_the_application_learns_why_a_sign_in_failed() {
    let (gateway, google, _other) = start().await;
    let told = |response: &Response| {
        let back = location(response);
        assert_eq!(back.fragment(), Some("part"), "{back}");
        let pairs: Vec<_> = back.query_pairs().into_owned().collect();
        let [(a, _), (b, _), (error, code), (description, why)] = &pairs[..] else {
            panic!("{back}")
        };
        assert_eq!(
            [a, b, error, description],
            ["a", "b", "error", "error_description"]
        );
        assert!(!why.is_empty() && !why.contains("canary"), "{why}");
        assert!(back.as_str().starts_with(&format!("{APP}/page?")), "{back}");
        code.clone()
    };
    let begin = telling(&login("google", NEXT));
    for (code, word) in [
        ("access_denied", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("server_error", "server_error"),
        ("invalid_scope", "server_error"),
        ("made-up", "access_denied"),
    ] {
        let browser = gateway.browser();
        let callback = google.go(&browser, &begin).await;
        let denied = browser.get(&refusal(&callback, code, &google.issuer())).await;
        assert_eq!(told(&denied), word, "{code}");
    }
    let browser = gateway.browser();
    let callback = google.go(&browser, &begin).await;
    browser.set_cookies(aged(&browser.cookies(), 601));
    assert_eq!(told(&browser.get(callback.as_str()).await), "access_denied");
    for (mood, word) in [
        (Mood::Down, "temporarily_unavailable"),
        (Mood::Rubbish, "server_error"),
    ] {
        let browser = gateway.browser();
        let callback = google.go(&browser, &begin).await;
        google.set_mood(mood);
        assert_eq!(told(&browser.get(callback.as_str()).await), word, "{mood:?}");
        google.set_mood(Mood::Well);
        // The page is loaded again, by the back button.
        assert_eq!(told(&browser.get(callback.as_str()).await), "access_denied");
    }
    // The address does not keep the error of an earlier failure beside a token.
    let end = google.sign_in(&gateway.browser(), &begin).await;
    token_in(&end);
    assert_eq!(parameter(&location(&end), "error"), None);
    // `check` returns such addresses.
    let check = gateway
        .browser()
        .get_json(&format!("/auth/check?errors=next&next={}", encode(APP)))
        .await;
    let url = check["providers"]["google"]["url"].as_str().unwrap();
    assert!(url.ends_with("&errors=next"), "{url}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_errors_go_only_to_known_applications_that_requested_them() {
    let (gateway, google, _other) = start().await;
    // An application of the old service gets a page, and its own parameter `error` is unchanged.
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", NEXT)).await;
    let denied = refusal(&callback, "access_denied", &google.issuer());
    let (status, text) = page(browser.get(&denied).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("You did not let Google sign you in"), "{text}");
    let end = google.sign_in(&gateway.browser(), &login("google", NEXT)).await;
    assert_eq!(parameter(&location(&end), "error").as_deref(), Some("old"));
    for next in [
        "https://evil.example/",
        "//evil.example",
        "https://app.example.org.evil.example/",
        "https://app.example.org@evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
    ] {
        for target in [login("google", next), login("nobody", next)] {
            let (status, text) = page(open(&browser, &telling(&target)).await).await;
            assert!(status.is_client_error(), "{target}: {status}");
            assert!(links(&text).iter().all(|link| !link.contains("evil")), "{text}");
        }
    }
    // An origin that has been removed from the configuration meanwhile gets no error either.
    let callback = google.go(&browser, &telling(&login("google", NEXT))).await;
    let elsewhere = Setup::serve().oidc("google", &google).start().await;
    let moved = elsewhere.browser();
    moved.set_cookies(browser.cookies());
    let (status, _) = page(
        moved
            .get(&refusal(&callback, "access_denied", &google.issuer()))
            .await,
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    elsewhere.stop().await;
    for wrong in ["errors=", "errors=yes", "errors=next&errors=next"] {
        let target = format!("{}&{wrong}", login("google", APP));
        assert_eq!(page(browser.get(&target).await).await.0, StatusCode::BAD_REQUEST);
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_every_error_page_links_back_and_to_a_new_sign_in() {
    let (gateway, google, _other) = start().await;
    let browser = gateway.browser();
    let callback = google.go(&browser, &login("google", NEXT)).await;
    let denied = refusal(&callback, "access_denied", &google.issuer());
    let another = format!("/auth/login?next={}", encode(NEXT));
    let (_, text) = page(browser.get(&denied).await).await;
    assert_eq!(links(&text), [login("google", NEXT).as_str(), &another, NEXT]);
    assert!(text.contains("Back to app.example.org"), "{text}");
    // The user's destination is not known, but the page that they came from is.
    for target in [
        "/auth/login/nobody",
        "/auth/nothing",
        "/auth/login/google?next=nonsense",
        "/auth/login/google?next=https%3A%2F%2Fevil.example%2F",
        "/auth/oauth_callback/google?state=made-up",
        "/auth/oauth_callback/google",
        "/auth/login/google?next=a&next=b",
    ] {
        for (referrer, back) in [
            (
                Some(format!("{APP}/somewhere?jwt=secret")),
                Some(format!("{APP}/somewhere")),
            ),
            (Some("https://evil.example/".to_owned()), None),
            (Some(format!("{EXTERNAL}auth/login")), None),
            (None, None),
        ] {
            let mut request = browser.request(Method::GET, target).header(ACCEPT, HTML);
            if let Some(referrer) = &referrer {
                request = request.header(REFERER, referrer);
            }
            let (status, text) = page(browser.send(request).await).await;
            assert!(status.is_client_error(), "{target}: {status}");
            let mut expected = vec!["/".to_owned()];
            expected.extend(back);
            assert_eq!(links(&text), expected, "{target} from {referrer:?}");
        }
    }
    gateway.stop().await;
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

/// The page at a path, in a language.
async fn in_language(gateway: &Gateway, target: &str, languages: &str) -> (String, String) {
    let browser = gateway.browser();
    let request = browser
        .request(Method::GET, target)
        .header(ACCEPT_LANGUAGE, languages);
    let response = browser.send(request.header(ACCEPT, HTML)).await;
    let tag = response.headers()["content-language"]
        .to_str()
        .unwrap()
        .to_owned();
    (tag, response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_in_the_language_of_the_browser() {
    let (gateway, _google, _other) = start().await;
    for (languages, tag, says) in [
        ("de-AT,de;q=0.9,en;q=0.8", "de", "Weiter mit Google"),
        ("fr,en;q=0.5", "en", "Continue with Google"),
        ("fr", "en", "Continue with Google"),
    ] {
        let (told, text) = in_language(&gateway, "/auth/login", languages).await;
        assert_eq!(told, tag);
        assert!(
            text.contains(says) && text.contains(&format!("<html lang=\"{tag}\">")),
            "{text}"
        );
    }
    let (_, text) = in_language(&gateway, "/nothing", "de").await;
    assert!(text.contains("Seite nicht gefunden"), "{text}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_the_operators_name_logo_and_colour_and_a_reload_changes_them() {
    let google = FakeOidc::start(alice()).await;
    let setup = Setup::serve().oidc("google", &google);
    let logo = setup.dir.path().join("logo.svg");
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    fs::write(&logo, svg).unwrap();
    let setup = setup.table(
        "providers.google",
        &format!("display_name = \"Acme <b> staff\"\nicon = {logo:?}"),
    );
    let settings = format!("name = \"Acme <b> Zürich\"\nlogo = {logo:?}\naccent = \"#0a6640\"");
    let gateway = setup.clone().table("pages", &settings).start().await;
    let browser = gateway.browser();
    let text = browser.get("/auth/login").await.text().await.unwrap();
    assert!(text.contains("Acme &#60;b&#62; Zürich"), "{text}");
    let asset = |text: &str, begins: &str| {
        let at = text.find(begins).unwrap_or_else(|| panic!("no {begins}: {text}"));
        text[at..].split('"').next().unwrap().to_owned()
    };
    let picture = browser.get(&asset(&text, "/assets/logo?v=")).await;
    assert_eq!(picture.headers()["content-type"], "image/svg+xml");
    let policy = picture.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("; sandbox;"),
        "{policy}"
    );
    assert_eq!(picture.text().await.unwrap(), svg);
    // A provider also has a display name and a picture.
    assert!(text.contains("Continue with Acme &#60;b&#62; staff"), "{text}");
    let picture = browser.get(&asset(&text, "/assets/provider/google?v=")).await;
    assert_eq!(picture.headers()["content-type"], "image/svg+xml");
    assert!(
        picture.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("sandbox")
    );
    assert_eq!(
        browser.get("/assets/provider/other").await.status(),
        StatusCode::NOT_FOUND
    );
    let home = browser.get("/").await.text().await.unwrap();
    assert!(
        home.contains("&#34;google&#34;:&#34;Acme &#60;b&#62; staff&#34;"),
        "{home}"
    );
    let sheet = asset(&text, "/assets/gateway.css?v=");
    let css = browser.get(&sheet).await.text().await.unwrap();
    assert!(css.contains("--accent: #0a6640;"), "{css}");

    let said = setup.clone().table("pages", "accent = \"#ffcc00\"");
    said.write();
    let said = gateway.reload().await;
    assert!(said.contains("pages.accent") && said.contains("WCAG"), "{said}");
    let newer = setup.table("pages", "name = \"Newer\"");
    newer.write();
    gateway.reload().await;
    let text = browser.get("/auth/login").await.text().await.unwrap();
    assert!(text.contains("Newer") && !text.contains("/assets/logo"), "{text}");
    assert_ne!(asset(&text, "/assets/gateway.css?v="), sheet);
    assert_eq!(browser.get("/assets/logo").await.status(), StatusCode::NOT_FOUND);
    gateway.stop().await;
}
