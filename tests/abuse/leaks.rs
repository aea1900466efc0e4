//! Every secret that passes through the gateway appears only in the places that it is meant for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::json;
use url::form_urlencoded;

use support::browser::{encode, location, parameter, token_in};
use support::fake_oidc::{ACCESS_TOKEN, CLIENT_ID, FakeOidc, Mood};
use support::setup::{EXTERNAL, SESSION_SECRET, private_key};
use support::{Gateway, Setup};

/// Shorter texts could occur by chance.
const SHORTEST: usize = 12;

const PLUGIN_SETTING: &str = "canary-plugin-setting";
const PLUGIN_SECRET: &str = "canary-plugin-secret";

/// The secrets to look for, and the places to search.
#[derive(Default)]
struct Search {
    secrets: Vec<(&'static str, String)>,
    places: Vec<(&'static str, String)>,
}

impl Search {
    fn secret(&mut self, what: &'static str, text: impl Into<String>) {
        let text = text.into();
        assert!(
            text.len() >= SHORTEST,
            "{what} is too short to be looked for: {text}"
        );
        self.secrets.push((what, text));
    }

    fn place(&mut self, place: &'static str, text: impl Into<String>) {
        match self.places.iter_mut().find(|(name, _)| *name == place) {
            Some((_, all)) => *all += &format!("\n{}", text.into()),
            None => self.places.push((place, text.into())),
        }
    }

    /// Head and body.
    async fn answer(&mut self, place: &'static str, response: Response) {
        let head = shown(response.headers());
        self.place(place, format!("{head}{}", response.text().await.unwrap()));
    }

    /// Fails at the first secret that it finds. Returns the number of comparisons.
    fn run(&self) -> usize {
        for (place, text) in &self.places {
            assert!(text.len() >= SHORTEST, "{place} is too short to search");
            for (what, secret) in &self.secrets {
                // Line by line, because the log is long.
                let found = text
                    .contains(secret)
                    .then(|| text.lines().find(|line| line.contains(secret.as_str())));
                assert_eq!(found, None, "{what} is in {place}: {secret}");
            }
            // Secrets that are missing above, or were written in part.
            let canary = text
                .lines()
                .find(|line| line.contains("canary") && !line.contains("canary-address"));
            assert_eq!(canary, None, "{place}");
        }
        self.places.len() * self.secrets.len()
    }
}

fn shown(headers: &HeaderMap) -> String {
    headers
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}\n"))
        .collect()
}

/// Sends session and permission tokens, valid and invalid, in every place of a request that can hold one.
async fn show_tokens(gateway: &Gateway, search: &mut Search, token: &str) {
    let browser = gateway.browser();
    let cut = &token[..token.len() - 1];
    for target in [
        format!("/auth/check?jwt={token}"),
        format!("/auth/check?jwt={cut}"),
        format!("/auth/check?jwt={token}&jwt={token}"),
        format!("/auth/check?next={EXTERNAL}%3fjwt={token}"),
        format!("/auth/authorize?service=trap&jwt={token}"),
        format!("/auth/authorize?service=missing&jwt={token}"),
        format!("/auth/authorize?service={token}&jwt={token}"),
        format!("/auth/nothing?jwt={token}"),
        format!("/auth/{token}"),
        format!("/auth/login/{token}?next={token}"),
        format!("/auth/login/google?next=https://evil.example/?jwt={token}"),
        format!("/auth/update?jwt={token}"),
        format!("/auth/oauth_callback/google?state={token}&code={token}"),
        format!("/auth/oauth_callback/google?state={token}&error={token}&error_description={token}"),
        format!("/auth/resolve?username={token}"),
        format!("/?jwt={token}"),
        format!("/assets/gateway.js?jwt={token}"),
    ] {
        search
            .answer("answers and error pages", browser.get(&target).await)
            .await;
    }
    for header in [
        "authorization",
        "auth-token",
        "cookie",
        "origin",
        "referer",
        "user-agent",
        "x-request-id",
        "host",
    ] {
        let request = browser.request(Method::GET, "/auth/check").header(header, token);
        search
            .answer("answers and error pages", browser.send(request).await)
            .await;
    }
    let form = browser
        .request(Method::POST, "/auth/update")
        .form(&[("jwt", cut), ("username", token)]);
    search
        .answer("answers and error pages", browser.send(form).await)
        .await;
}

/// Ends sign-ins in every way. The first succeeds, and its token is returned.
async fn sign_ins(gateway: &Gateway, google: &FakeOidc, search: &mut Search) -> String {
    let login = format!("/auth/login/google?next={}", encode(EXTERNAL));
    let mut session = None;
    for mood in [
        Mood::Well,
        Mood::Down,
        Mood::Rubbish,
        Mood::ForgedSignature,
        Mood::WrongAudience,
        Mood::NoNonce,
    ] {
        let browser = gateway.browser();
        let begun = browser.get(&login).await;
        let to_provider = location(&begun);
        for cookie in browser.cookies().into_values() {
            search.secret("a cookie", cookie);
        }
        let back = location(&browser.get(to_provider.as_str()).await);
        search.secret("a state", parameter(&back, "state").unwrap());
        // The provider must learn state and nonce. The rest of the address is not secret.
        let state = parameter(&to_provider, "state").unwrap();
        search.place(
            "Location to the provider",
            to_provider.as_str().replace(&state, ""),
        );
        google.set_mood(mood);
        let response = browser.get(back.as_str()).await;
        google.set_mood(Mood::Well);
        if mood == Mood::Well {
            let token = token_in(&response);
            // The token belongs there, and nothing else does.
            search.place(
                "Location back to the application",
                location(&response).as_str().replace(&token, ""),
            );
            session = Some(token);
        } else {
            search.answer("answers and error pages", response).await;
        }
        // Again, with a state that has been used.
        search
            .answer("answers and error pages", browser.get(back.as_str()).await)
            .await;
    }
    session.expect("a session")
}

/// Runs an operator's commands while the gateway runs.
async fn commands(gateway: &Gateway, setup: &Setup, search: &mut Search) {
    for command in [
        &["config", "check"][..],
        &["user", "list", "--json"],
        &["user", "export"],
        &["session", "list", "--json"],
        &["session", "end", "canarier"],
        &["plugin", "list", "--json"],
    ] {
        let ran = gateway.cli(command).await;
        search.place("commands", format!("{}{}", ran.stdout, ran.stderr));
    }
    // With mistakes beside the secrets and in their places.
    for (table, line) in [
        ("keys", "sesion_secret = \"canary-misspelt-session-secret\""),
        ("keys", "private_keys = [\"canary-no-private-key\"]"),
        (
            "providers.google",
            "client_secrets = \"canary-misspelt-client-secret\"",
        ),
        ("providers.other", "client_secret = [\"canary-of-another-type\"]"),
        (
            "plugin.settings",
            "settings = { \"a b\" = [\"canary-setting-of-another-type\"] }",
        ),
        ("plugin.secrets.secrets", "other = \"canary-secret-in-the-file\""),
    ] {
        setup.clone().table(table, line).write();
        let ran = gateway.cli(&["config", "check"]).await;
        assert_ne!(ran.code, Some(0), "{table} {line}: {}", ran.stdout);
        search.place(
            "mistakes in the configuration",
            format!("{}{}", ran.stdout, ran.stderr),
        );
        assert!(gateway.reload().await.contains("mistakes"));
    }
    setup.write();
    gateway.reload().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_do_not_leak() {
    let google =
        FakeOidc::start(json!({"sub": "1", "email": "canary-address@example.org", "email_verified": true}))
            .await;
    let private = private_key(gateway_token::Algorithm::RS256);
    let setup = Setup::serve()
        .oidc("google", &google)
        .plugin("behave", test_guests::BEHAVE)
        .service("ok", "behave")
        .service("trap", "behave")
        .plugin("settings", test_guests::IMPORTS_CONFIG)
        .plugin_table(
            "settings",
            &format!("grants = [\"config\"]\nsettings = {{ it = {PLUGIN_SETTING:?} }}"),
        )
        .service("settings", "settings")
        .plugin("secrets", test_guests::IMPORTS_SECRETS)
        .plugin_table("secrets", "grants = [\"secrets\"]")
        .table("plugin.secrets.secrets", "secret = { env = \"SECRET_OF_IT\" }")
        .env("SECRET_OF_IT", PLUGIN_SECRET)
        .service("secret", "secrets")
        .plugin("count", test_guests::COUNT)
        .plugin_table("count", "grants = [\"logging\"]")
        .extension("count")
        .top("user_lookup = true")
        .table("log", "filter = \"trace\"");
    let gateway = setup.start().await;
    let admin = gateway.admin().await;
    let mut search = Search::default();
    for line in private
        .lines()
        .filter(|line| !line.contains("-----") && line.len() >= SHORTEST)
    {
        search.secret("a private key", line);
    }
    let basic = STANDARD.encode(format!("{CLIENT_ID}:{}", google.client_secret));
    search.secret("the client secret", &google.client_secret);
    search.secret("the client secret, in base64", basic);
    search.secret("the session secret", SESSION_SECRET);
    search.secret("the admin token", &admin.token);
    search.secret("a plugin's setting", PLUGIN_SETTING);
    search.secret("a plugin's secret", PLUGIN_SECRET);
    search.secret("the provider's access token", ACCESS_TOKEN);

    let session = sign_ins(&gateway, &google, &mut search).await;
    show_tokens(&gateway, &mut search, &session).await;
    for service in ["ok", "settings", "secret"] {
        // A plugin may answer with everything that it knows. Its answer must not appear elsewhere.
        let (_, answer) = gateway.browser().authorize(&session, service).await;
        let token = answer["token"].as_str().unwrap().to_owned();
        show_tokens(&gateway, &mut search, &token).await;
        search.secret("a permission token", token);
    }
    for path in [
        "/health",
        "/ready",
        "/metrics",
        "/plugins",
        "/nothing",
        &format!("/{}", admin.token),
    ] {
        search.answer("the admin listener", admin.get(path).await).await;
        let refused = admin.send(Method::GET, path, &session).await;
        search.answer("the admin listener", refused).await;
    }
    for path in [
        "/plugins/settings/reload",
        "/plugins/secrets/rollback",
        "/plugins/nobody/reload",
    ] {
        search.answer("the admin listener", admin.post(path).await).await;
    }
    commands(&gateway, &setup, &mut search).await;
    gateway.browser().post_as(&session, "/auth/logout").await;
    search.secret("a session token", &session[..session.len() - 1]);
    search.secret("a session token's signature", session.rsplit('.').next().unwrap());

    // The provider learns only its own values, and no other user's address.
    let requests = google.requests().await;
    for request in &requests {
        assert!(!request.headers.contains_key("referer"), "{}", request.url);
        for (name, value) in form_urlencoded::parse(&request.body) {
            if name == "code_verifier" {
                search.secret("a verifier", value.into_owned());
            }
        }
    }
    for code in google.codes() {
        search.secret("an authorization code", code);
    }
    for token in google.id_tokens() {
        search.secret("an ID token", token);
    }
    let dir = std::sync::Arc::clone(&gateway.dir);
    let log = gateway.stop().await;
    search.place("the log at `trace`", log.text());
    for level in ["TRACE", "DEBUG"] {
        assert!(
            log.text().contains(&format!("\"level\":\"{level}\"")),
            "{level} has lines to search"
        );
    }
    for file in ["gateway.sqlite", "gateway.sqlite-wal"] {
        if let Ok(bytes) = std::fs::read(dir.path().join(file)) {
            // The address belongs there. The used state is kept so that it can be rejected.
            let text: String = String::from_utf8_lossy(&bytes).replace("canary-address", "address");
            let used: Vec<_> = search
                .secrets
                .iter()
                .filter(|(what, _)| *what == "a state")
                .collect();
            let text = used
                .iter()
                .fold(text, |text, (_, state)| text.replace(state.as_str(), ""));
            search.place("the database", text);
        }
    }
    let looked = search.run();
    println!(
        "canaries: {} secrets in {} places ({} bytes), {looked} searches, 0 found",
        search.secrets.len(),
        search.places.len(),
        search.places.iter().map(|(_, text)| text.len()).sum::<usize>()
    );
}
