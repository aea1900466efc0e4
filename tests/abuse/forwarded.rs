//! Headers in which proxies name the client and the address that it used. No proxy is configured, so they have no
//! effect.

use std::collections::BTreeMap;

use reqwest::{Method, RequestBuilder, Response};

use super::{login, start};
use support::browser::{Browser, encode, parameter, token_in};
use support::setup::EXTERNAL;

/// Headers from manuals of proxies and from advisories.
const HEADERS: &[&str] = &[
    "forwarded",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-forwarded-url",
    "x-forwarded-method",
    "x-forwarded-server",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-by",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-ray",
    "cf-visitor",
    "fastly-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-remote-ip",
    "x-remote-addr",
    "client-ip",
    "x-originating-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-envoy-internal",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-access-token",
    "x-auth-request-preferred-username",
    "x-auth-request-redirect",
    "x-auth-user",
    "x-auth-token",
    "x-authenticated-user",
    "x-remote-user",
    "remote-user",
    "x-user",
    "x-user-id",
    "x-user-email",
    "x-email",
    "x-goog-authenticated-user-email",
    "x-amzn-oidc-data",
    "x-amzn-oidc-identity",
    "x-amzn-oidc-accesstoken",
    "cf-access-jwt-assertion",
    "x-ms-client-principal",
    "x-pomerium-jwt-assertion",
    "x-original-url",
    "x-original-uri",
    "x-original-host",
    "x-original-method",
    "x-original-forwarded-for",
    "x-original-prefix",
    "x-rewrite-url",
    "x-rewrite-uri",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-host",
    "x-http-host-override",
    "x-backend-host",
    "x-url-scheme",
    "x-scheme",
    "x-proto",
    "front-end-https",
    "x-https",
    "x-arr-ssl",
    "x-ssl-client-verify",
    "x-ssl-client-s-dn",
    "x-client-cert",
    "proxy",
    "proxy-authorization",
    "via",
    "x-via",
    "x-base-url",
    "x-script-name",
    "x-proxyuser-ip",
    "wl-proxy-client-ip",
    "x-custom-ip-authorization",
    "referer",
];

/// The requests that these headers could mislead: method, path, and whether a user is signed in.
fn requests() -> Vec<(Method, String, bool)> {
    let next = encode(EXTERNAL);
    vec![
        (Method::GET, format!("/auth/check?next={next}"), false),
        (Method::GET, "/auth/check".to_owned(), true),
        (Method::GET, "/auth/authorize?service=ok".to_owned(), false),
        (Method::GET, "/auth/authorize?service=ok".to_owned(), true),
        (Method::POST, "/auth/update?username=admin".to_owned(), true),
        (Method::GET, "/auth/update".to_owned(), false),
        (Method::GET, format!("/auth/login/google?next={next}"), false),
        (
            Method::GET,
            "/auth/login/google?next=https://evil.example/".to_owned(),
            false,
        ),
        (
            Method::GET,
            "/auth/oauth_callback/google?state=s&code=c".to_owned(),
            false,
        ),
        (Method::GET, "/.well-known/jwks.json".to_owned(), false),
        (Method::OPTIONS, "/auth/check".to_owned(), false),
        (Method::GET, "/metrics".to_owned(), false),
        (Method::GET, "/auth/nothing".to_owned(), false),
    ]
}

fn request(
    browser: &Browser,
    (method, path, signed_in): &(Method, String, bool),
    session: &str,
) -> RequestBuilder {
    let request = browser.request(method.clone(), path);
    if *signed_in {
        request.bearer_auth(session)
    } else {
        request
    }
}

/// The answer without what differs each time: the clock, the request's id, and the secrets of a new sign-in.
async fn told(response: Response) -> String {
    let mut url = response.headers().get("location").map(|location| {
        let url = url::Url::parse(location.to_str().unwrap()).unwrap();
        let fixed = [
            "redirect_uri",
            "client_id",
            "scope",
            "response_type",
            "code_challenge_method",
        ];
        let query = fixed.map(|name| (name, parameter(&url, name)));
        format!("{} {query:?}", url.path())
    });
    let status = response.status();
    // Error pages contain it, too.
    let id = response.headers().get("x-request-id");
    let id = id.map_or_else(String::new, |id| id.to_str().unwrap().to_owned());
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .filter(|(name, _)| !["date", "location", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| {
            // The name and value of a new cookie are random, its attributes are not.
            let value = value.to_str().unwrap();
            let shown = match (name.as_str(), value.split_once(';')) {
                ("set-cookie", Some((_, attributes))) => attributes,
                _ => value,
            };
            format!("{name}: {shown}")
        })
        .collect();
    headers.sort();
    let body = response.text().await.unwrap().replace(&id, "");
    format!("{status} {} {headers:?} {body}", url.take().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_proxies_change_no_answer() {
    let (gateway, google) = start().await;
    let session = token_in(&google.sign_in(&gateway.browser(), &login()).await);
    let permission = gateway.browser().authorize(&session, "ok").await.1["token"].clone();
    let permission = permission.as_str().unwrap();
    let admin = gateway.admin().await;
    let address = admin.address.to_string();
    let values = [
        "127.0.0.1",
        "evil.example",
        "for=127.0.0.1;host=evil.example;proto=http;by=_admin",
        "http",
        "admin",
        "alice@example.org",
        "/metrics",
        "DELETE",
        &address,
        &session,
        permission,
        "",
    ];
    let browser = gateway.browser();
    let ask = async |change: &dyn Fn(RequestBuilder) -> RequestBuilder, asked: &(Method, String, bool)| {
        // The cookie of one sign-in must not serve another.
        browser.set_cookies(BTreeMap::new());
        browser.send(change(request(&browser, asked, &session))).await
    };
    let mut tried = 0;
    for asked in requests() {
        let answer = told(ask(&|request| request, &asked).await).await;
        for header in HEADERS {
            for value in values {
                let forged = told(ask(&|request| request.header(*header, value), &asked).await).await;
                assert_eq!(forged, answer, "{header}: {value} with {} {}", asked.0, asked.1);
                tried += 1;
            }
        }
        // As many headers as one head may hold, and another host.
        for value in values {
            let most = 80.min(40_000 / (value.len() + 32));
            let many = |request: RequestBuilder| {
                let request = request.header("host", "evil.example");
                let headers = HEADERS.iter().take(most);
                headers.fold(request, |request, header| request.header(*header, value))
            };
            let forged = told(ask(&many, &asked).await).await;
            assert_eq!(forged, answer, "many of {value:?} with {} {}", asked.0, asked.1);
            tried += 1;
        }
    }
    println!(
        "forwarded: {tried} requests with {} headers, 0 answered otherwise",
        HEADERS.len()
    );
    gateway.stop().await;
}
