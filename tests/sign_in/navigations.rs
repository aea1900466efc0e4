//! A request that is not a navigation by the user neither begins nor ends a sign-in, and uses no share of a rate limit.

use reqwest::{Method, StatusCode};

use super::{APP, alice, login};
use support::Setup;
use support::browser::token_in;
use support::fake_oidc::FakeOidc;

/// Headers of requests that the user did not cause.
const OTHERS: &[&[(&str, &str)]] = &[
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "image"),
    ],
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "iframe"),
    ],
    &[
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-dest", "empty"),
    ],
    &[
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("sec-purpose", "prefetch;prerender"),
    ],
    &[("sec-fetch-mode", "cors")],
    &[("sec-fetch-mode", "no-cors")],
    &[("sec-fetch-mode", "websocket")],
    &[("sec-purpose", "prefetch")],
    &[("purpose", "prefetch")],
    &[("x-moz", "prefetch")],
];

/// Headers of a browser whose user opens an address.
const NAVIGATION: &[(&str, &str)] = &[
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-user", "?1"),
];

fn setup() -> Setup {
    Setup::serve()
        .origin(APP)
        .table("rate_limits", "sign_in = \"4/h\"\nupdate = \"2/h\"")
        .table("server", "trusted_proxies = [\"127.0.0.1\"]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_head_and_prefetch_consume_no_state_and_set_no_cookie() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup().oidc("google", &google).start().await;
    let browser = gateway.browser();
    let ask = async |method: Method, target: &str, headers: &[(&str, &str)]| {
        let mut request = browser
            .request(method, target)
            .header("x-forwarded-for", "198.51.100.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        browser.send(request).await
    };
    let begun = ask(Method::GET, &login("google", APP), NAVIGATION).await;
    let callback = browser.get(super::location(&begun).as_str()).await;
    let callback = super::location(&callback);
    let cookies = browser.cookies();
    for target in [&login("google", APP), callback.as_str()] {
        for _ in 0..20 {
            let head = ask(Method::HEAD, target, &[]).await;
            assert_eq!(head.status(), StatusCode::OK);
            assert!(head.headers().get("set-cookie").is_none());
        }
        for headers in OTHERS {
            for method in [Method::GET, Method::HEAD] {
                let answer = ask(method.clone(), target, headers).await;
                assert_eq!(
                    answer.status(),
                    StatusCode::FORBIDDEN,
                    "{method} {target} {headers:?}"
                );
                assert!(answer.headers().get("set-cookie").is_none());
            }
        }
    }
    assert_eq!((browser.cookies(), google.token_calls()), (cookies, 0));
    token_in(&ask(Method::GET, callback.as_str(), NAVIGATION).await);
    // Clients without Fetch Metadata continue to work.
    let begun = ask(Method::GET, &login("google", APP), &[]).await;
    assert_eq!(begun.status(), StatusCode::FOUND);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_a_page_full_of_images_counts_against_nobody() {
    let google = FakeOidc::start(alice()).await;
    let gateway = setup().oidc("google", &google).start().await;
    let (victim, neighbour) = (gateway.browser(), gateway.browser());
    let ask = async |browser: &support::browser::Browser, method, target: &str, headers: &[(&str, &str)]| {
        let mut request = browser
            .request(method, target)
            .header("x-forwarded-for", "198.51.100.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        browser.send(request).await.status()
    };
    for number in 0..330 {
        let target = format!("/auth/login/google?{number}");
        assert_eq!(
            ask(&victim, Method::GET, &target, OTHERS[0]).await,
            StatusCode::FORBIDDEN
        );
    }
    // A page that sends a window to callbacks of sign-ins that never began, repeatedly.
    for number in 0..50 {
        let target = format!("/auth/oauth_callback/google?state={number}&code=x");
        assert_eq!(
            ask(&victim, Method::GET, &target, NAVIGATION).await,
            StatusCode::BAD_REQUEST
        );
    }
    // And a form that it posts to change the username.
    for origin in ["https://evil.example", "null"] {
        let form = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
            ("origin", origin),
        ];
        for _ in 0..20 {
            let status = ask(&victim, Method::POST, "/auth/update", &form).await;
            assert_eq!(status, StatusCode::FORBIDDEN);
        }
    }
    let status = ask(&neighbour, Method::GET, &login("google", APP), NAVIGATION).await;
    assert_eq!(status, StatusCode::FOUND);
    let app = [
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-mode", "cors"),
        ("origin", APP),
    ];
    assert_eq!(
        ask(&neighbour, Method::POST, "/auth/update", &app).await,
        StatusCode::OK
    );
    // Real sign-ins still have a limit.
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(ask(&gateway.browser(), Method::GET, &login("google", APP), NAVIGATION).await);
    }
    assert_eq!(statuses[3..], [StatusCode::TOO_MANY_REQUESTS; 2]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_an_update_by_a_foreign_page_is_rejected_even_without_fetch_metadata() {
    let google = FakeOidc::start(alice()).await;
    let gateway = Setup::serve().oidc("google", &google).origin(APP).start().await;
    let browser = gateway.browser();
    let token = token_in(&google.sign_in(&browser, &login("google", APP)).await);
    let update = async |origin: Option<&str>| {
        let request = browser.request(Method::POST, "/auth/update?username=neo");
        let request = request.bearer_auth(&token);
        let request = match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        };
        browser.send(request).await.status()
    };
    for origin in ["https://evil.example", "null", "https://app.example.org:8443"] {
        assert_eq!(update(Some(origin)).await, StatusCode::FORBIDDEN, "{origin}");
    }
    assert_eq!(browser.check(&token).await["profile"].get("username"), None);
    for fine in [Some(APP), Some("https://auth.example.org"), None] {
        assert_eq!(update(fine).await, StatusCode::OK, "{fine:?}");
    }
    gateway.stop().await;
}
