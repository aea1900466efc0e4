//! A second independent provider: Debian's glewlwyd, which does not say whether an address is verified.

use std::net::TcpListener;
use std::process::Stdio;

use gateway_token::{Algorithm, generate_key};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use url::Url;

use support::browser::{location, token_in};
use support::setup::EXTERNAL;
use support::{Setup, wait};

const SECRET: &str = "canary-client-secret-of-glewlwyd";
const PASSWORD: &str = "the-password-of-ann";
/// The tables of the package.
const TABLES: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";

/// A running provider with one user, `ann`. It ends when this is dropped.
struct Glewlwyd {
    origin: String,
    _child: Child,
    _directory: TempDir,
}

impl Glewlwyd {
    async fn start(callbacks: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("database");
        let tables =
            std::fs::read_to_string(TABLES).expect("glewlwyd is not installed: apt-get install glewlwyd");
        rusqlite::Connection::open(&database)
            .unwrap()
            .execute_batch(&tables)
            .unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let origin = format!("http://127.0.0.1:{port}");
        let configuration = format!(
            r#"port={port}
bind_address="127.0.0.1"
external_url="{origin}"
api_prefix="api"
log_mode="console"
log_level="ERROR"
cookie_secure=0
session_key="SESSION"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
admin_scope="g_admin"
profile_scope="g_profile"
login_api_enabled=true
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
use_secure_connection=false
secure_connection_key_file="/nonexistent"
secure_connection_pem_file="/nonexistent"
secure_connection_ca_file="/nonexistent"
hash_algorithm="SHA512"
database = {{ type = "sqlite3" path = {database:?} }};
"#
        );
        let file = directory.path().join("glewlwyd.conf");
        std::fs::write(&file, configuration).unwrap();
        let child = Command::new("glewlwyd")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("glewlwyd is not installed: apt-get install glewlwyd");
        let provider = Self {
            origin,
            _child: child,
            _directory: directory,
        };
        provider.set_up(callbacks).await;
        provider
    }

    fn issuer(&self) -> String {
        format!("{}/api/oidc", self.origin)
    }

    async fn set_up(&self, callbacks: &[String]) {
        let admin = client();
        let login = json!({ "username": "admin", "password": "password" });
        wait::eventually("glewlwyd starts", async || {
            let request = admin.post(format!("{}/api/auth", self.origin)).json(&login);
            let answer = request.send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
        let (private, public) = generate_key(Algorithm::RS256).unwrap();
        let plugin = json!({
            "module": "oidc", "name": "oidc", "display_name": "oidc", "enabled": true,
            "parameters": {
                "iss": self.issuer(), "jwt-type": "rsa", "jwt-key-size": "256", "key": private.expose_secret(),
                "cert": public, "access-token-duration": 3600, "refresh-token-duration": 1_209_600, "code-duration": 600,
                "refresh-token-rolling": true, "allow-non-oidc": false, "auth-type-code-enabled": true,
                "auth-type-code-revoke-replayed": true, "auth-type-token-enabled": false,
                "auth-type-id-token-enabled": true, "auth-type-password-enabled": false,
                "auth-type-client-enabled": false, "auth-type-refresh-enabled": false, "pkce-allowed": true,
                "pkce-method-plain-allowed": false, "subject-type": "public", "name-claim": "mandatory",
                "name-claim-scope": [], "email-claim": "mandatory", "email-claim-scope": [], "scope-claim": "no",
                "jwks-show": true, "jwks-uri": "", "id-token-claims": [], "claims": [], "secret-type": "",
                "address-claim": { "type": "no" }, "scope": [],
            },
        });
        let client = json!({
            "client_id": "gateway", "client_secret": SECRET, "confidential": true, "enabled": true, "name": "Gateway",
            "source": "database", "scope": [], "redirect_uri": callbacks, "authorization_type": ["code", "id_token"],
            "token_endpoint_auth_method": ["client_secret_basic", "client_secret_post"],
        });
        let user = json!({
            "username": "ann", "name": "Ann Lee", "email": "ann@example.org", "enabled": true, "password": PASSWORD,
            "scope": ["g_profile", "openid"], "source": "database",
        });
        for (path, body) in [("mod/plugin/", plugin), ("client/", client), ("user/", user)] {
            let answer = admin
                .post(format!("{}/api/{path}", self.origin))
                .json(&body)
                .send()
                .await
                .unwrap();
            let status = answer.status();
            assert_eq!(status, StatusCode::OK, "{path}: {}", answer.text().await.unwrap());
        }
    }

    /// Ann signs in at the provider and consents. Returns the address of the callback.
    async fn sign_in(&self, authorization: &Url) -> Url {
        let ann = client();
        let login = json!({ "username": "ann", "password": PASSWORD });
        let answer = ann
            .post(format!("{}/api/auth", self.origin))
            .json(&login)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let grant = format!("{}/api/auth/grant/gateway", self.origin);
        let answer = ann
            .put(grant)
            .json(&json!({ "scope": "openid" }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        // The provider's page adds this when the user continues.
        let mut authorization = authorization.clone();
        authorization.query_pairs_mut().append_pair("g_continue", "");
        let answer = ann.get(authorization).send().await.unwrap();
        answer.headers()["location"].to_str().unwrap().parse().unwrap()
    }
}

fn client() -> Client {
    let client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .cookie_store(true);
    client.build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_glewlwyd_signs_people_in_and_the_operator_may_vouch_for_its_addresses() {
    let names = ["plain", "vouched"];
    let callbacks = names.map(|name| format!("{EXTERNAL}auth/oauth_callback/{name}"));
    let provider = Glewlwyd::start(&callbacks).await;
    let table = |more: &str| {
        let issuer = provider.issuer();
        format!("issuer = {issuer:?}\nclient_id = \"gateway\"\nclient_secret = {SECRET:?}\n{more}")
    };
    let gateway = Setup::serve()
        .table("providers.plain", &table(""))
        .table("providers.vouched", &table("assume_email_verified = true"))
        .start()
        .await;
    for (name, email) in [("plain", Value::Null), ("vouched", json!("ann@example.org"))] {
        let browser = gateway.browser();
        let begun = browser.get(&format!("/auth/login/{name}")).await;
        let callback = provider.sign_in(&location(&begun)).await;
        let answer = browser.get(callback.as_str()).await;
        assert_eq!(
            answer.status(),
            StatusCode::FOUND,
            "{name}: {}",
            gateway.log.text()
        );
        let profile = browser.check(&token_in(&answer)).await["profile"].clone();
        assert_eq!(
            (&profile["name"], &profile["email"]),
            (&json!("Ann Lee"), &email),
            "{name}"
        );
    }
    let log = gateway.stop().await.text();
    assert!(log.contains("assume_email_verified = true"), "{log}");
}
