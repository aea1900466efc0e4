//! The admin listener: health, readiness, metrics, plugins. For the machine's operator and nobody else:
//! it has an address of its own, asks for a token that only the gateway's user can read, and answers no
//! web page.
//!
//! | path | answers |
//! |---|---|
//! | `GET /health` | 200 while the process lives |
//! | `GET /ready` | 200 while it can serve, else 503 with the reason |
//! | `GET /metrics` | Prometheus' text format |
//! | `GET /plugins` | how each plugin stands, JSON |

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_model::Random;
use gateway_plugin::PluginHost;
use gateway_store::Store;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::ServerLimits;
use crate::metrics::Metrics;
use crate::response::{self, Response};
use crate::server;

/// An operator and a monitoring system or two.
const LIMITS: ServerLimits = ServerLimits {
    connections: 64,
    header_timeout: Duration::from_secs(5),
    request_timeout: Duration::from_secs(10),
    max_body: 0,
    drain: Duration::from_secs(1),
};

/// What it tells of.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// Figures.
    pub metrics: Metrics,
    /// Plugins.
    pub plugins: PluginHost,
    /// The database.
    pub store: Store,
    /// Whether the public listener serves.
    pub ready: Arc<AtomicBool>,
}

/// Serves until `shutdown`.
pub async fn run(listener: TcpListener, token: SecretString, state: AdminState, shutdown: CancellationToken) {
    let shared = Arc::new((state, Sha256::digest(token.expose_secret().as_bytes())));
    let handler = move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let (state, digest) = &*shared;
            let mut answer = match refuse(&request, digest.as_slice()) {
                Some(refusal) => refusal,
                None => handle(state, &request).await,
            };
            response::finish(&mut answer);
            answer
        }
    };
    server::run(listener, &LIMITS, handler, shutdown).await;
}

/// A web page (its requests have an `Origin`), or somebody without the token.
fn refuse(request: &Request<Incoming>, digest: &[u8]) -> Option<Response> {
    if request.headers().contains_key(ORIGIN) {
        return Some(response::error(StatusCode::FORBIDDEN, "Not for web pages"));
    }
    let value = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let token = value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    // Digests are compared, so that the time it takes tells nothing of the token.
    let known = token.is_some_and(|(_, token)| Sha256::digest(token.trim().as_bytes()).as_slice() == digest);
    (!known).then(|| {
        let refusal = response::error(StatusCode::UNAUTHORIZED, "The admin token is missing or wrong");
        response::with(refusal, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    })
}

async fn handle(state: &AdminState, request: &Request<Incoming>) -> Response {
    let path = request.uri().path();
    if !matches!(path, "/health" | "/ready" | "/metrics" | "/plugins") {
        return response::not_found();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response::method_not_allowed("GET, HEAD");
    }
    match path {
        "/health" => response::json(StatusCode::OK, &json!({ "status": "ok" })),
        "/ready" => ready(state).await,
        "/metrics" => {
            let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response::body(StatusCode::OK, content_type, state.metrics.render())
        }
        _ => response::json(StatusCode::OK, &json!({ "plugins": state.plugins.status() })),
    }
}

/// A plugin that does not load is no reason to take everybody's sign-in away: it is told, not held
/// against the gateway.
async fn ready(state: &AdminState) -> Response {
    let problem = if !state.ready.load(Ordering::Acquire) {
        Some("starting or shutting down".to_owned())
    } else {
        state.store.ping().await.err().map(|error| error.to_string())
    };
    let plugins: Vec<_> = state
        .plugins
        .status()
        .into_iter()
        .filter(|plugin| plugin.problem.is_some())
        .map(|plugin| plugin.name)
        .collect();
    match problem {
        None => response::json(
            StatusCode::OK,
            &json!({ "status": "ready", "plugins_with_problems": plugins }),
        ),
        Some(problem) => response::retry_later(response::json(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "not ready", "problem": problem }),
        )),
    }
}

/// The token: what the file holds, or a new one that is written there, readable by its owner alone.
///
/// # Errors
/// When the file can be read by others, is empty, or cannot be read or written.
pub fn token(path: &Path, random: &dyn Random) -> io::Result<SecretString> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Ok(mut file) => {
            let mut bytes = [0; 32];
            random.fill(&mut bytes).map_err(io::Error::other)?;
            let token = hex::encode(bytes);
            writeln!(file, "{token}")?;
            file.sync_all()?;
            Ok(token.into())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<SecretString> {
    let mut file = OpenOptions::new().read(true).open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "others can read it: run `chmod 600` on it, or delete it to get a new token",
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let token = text.trim();
    if token.len() < 32 {
        return Err(io::Error::other("it holds no token: delete it to get a new one"));
    }
    Ok(token.to_owned().into())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use gateway_model::SystemRandom;
    use secrecy::ExposeSecret as _;

    use super::token;

    #[test]
    fn is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin-token");
        let made = token(&path, &SystemRandom).unwrap();
        assert_eq!(made.expose_secret().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            token(&path, &SystemRandom).unwrap().expose_secret(),
            made.expose_secret()
        );
    }

    #[test]
    fn is_refused_where_others_can_read_it_or_it_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin-token");
        fs::write(&path, "0".repeat(64)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(token(&path, &SystemRandom).is_err());
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(token(&path, &SystemRandom).is_ok());
        fs::write(&path, "").unwrap();
        assert!(token(&path, &SystemRandom).is_err());
    }
}
