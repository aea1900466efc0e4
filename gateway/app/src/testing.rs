//! A gateway without sockets, for the unit tests of handlers.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use gateway_model::{Identity, UpstreamSession, UpstreamUser};
use gateway_token::Algorithm;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::app::App;
use crate::config::{self, Sources};
use crate::server::Peer;
use crate::sign_in::{self, Outcome};
use crate::{build, router};

/// The provider's address is never contacted.
const CONFIG: &str = r#"
[server]
external_address = "https://auth.example.org"
[providers.github]
client_id = "id"
client_secret = "secret"
web = "http://127.0.0.1:9"
api = "http://127.0.0.1:9"
"#;

/// A gateway with an empty database and no plugins.
pub(crate) struct TestGateway {
    app: Arc<App>,
    _directory: TempDir,
}

impl TestGateway {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["data", "plugins"] {
            fs::create_dir(at(name)).unwrap();
        }
        let directories = format!("data_dir = {:?}\nplugin_dir = {:?}\n", at("data"), at("plugins"));
        fs::write(at("gateway.toml"), directories + CONFIG).unwrap();
        let (key, _) = gateway_token::generate_key(Algorithm::ES256).unwrap();
        let sources = Sources {
            file: Some(at("gateway.toml")),
            environment: [("PRIVATE_KEY", key.expose_secret())].into_iter().collect(),
            ..Sources::default()
        };
        let loaded = config::load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let (app, _, admissions) = build::build(&loaded.config, false).await.unwrap();
        admissions.done().await;
        Self {
            app,
            _directory: directory,
        }
    }

    /// Signs a user in, and returns the session token.
    pub(crate) async fn sign_in(&self, name: &str) -> String {
        let user = UpstreamUser {
            identity: Identity {
                provider: "github".to_owned(),
                issuer: "https://github.example".to_owned(),
                subject: name.to_owned(),
            },
            email: None,
            name: name.to_owned(),
            avatar_url: None,
            claims: serde_json::Map::new().into(),
            session: UpstreamSession::default(),
        };
        match sign_in::complete(&self.app, user).await.unwrap() {
            Outcome::SignedIn(token) => token,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a GET with a token, and returns the status and the JSON of the response.
    pub(crate) async fn get(&self, target: &str, token: &str) -> (StatusCode, Value) {
        self.send(Method::GET, target, token, String::new()).await
    }

    /// Sends a form with a token.
    pub(crate) async fn post(&self, target: &str, token: &str, form: &str) -> (StatusCode, Value) {
        self.send(Method::POST, target, token, form.to_owned()).await
    }

    async fn send(&self, method: Method, target: &str, token: &str, form: String) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::<Bytes>::from(form))
            .unwrap();
        let peer = Peer::elsewhere(Ipv4Addr::LOCALHOST.into());
        let response = router::handle(Arc::clone(&self.app), request, peer).await;
        let status = response.status();
        let Ok(body) = response.into_body().collect().await;
        (status, serde_json::from_slice(&body.to_bytes()).unwrap())
    }
}
