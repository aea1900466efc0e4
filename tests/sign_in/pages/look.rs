//! The look of the pages: their language, and the operator's name, logo and colour.

use std::fs;

use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE};
use reqwest::{Method, StatusCode};

use super::HTML;
use crate::{alice, start};
use support::fake_oidc::FakeOidc;
use support::{Gateway, Setup};

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
