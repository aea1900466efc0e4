//! A gateway as an operator runs it, on a database full of people who are signed in.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gateway_model::{Identity, SystemClock, SystemRandom, UpstreamUser, Verdict};
use gateway_store::{DatabaseUrl, Settled, Store, StoreOptions, UserIds};
use gateway_token::{Algorithm, PermissionClaims, SessionClaims, SessionKey, SigningKeys};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use tokio::task::JoinSet;

const EXTERNAL: &str = "https://auth.example.org";
const SECRET: &str = "a bench has no secrets, but it has to be 32 bytes long";
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Sign-ins at once: as many as fit into one commit.
const AT_ONCE: usize = 256;

/// The gateway that is measured.
pub(crate) const GATEWAY: &str = env!("CARGO_BIN_EXE_gateway");

/// What both sides of a comparison need.
pub(crate) struct Setup {
    directory: TempDir,
    private_key: SecretString,
    /// Where the admin listener is.
    pub(crate) admin: SocketAddr,
    /// What the gateway signs with.
    pub(crate) keys: SigningKeys,
    /// A session token for each user.
    pub(crate) tokens: Vec<String>,
}

/// A server in a process of its own, ended when this is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Setup {
    /// Makes a key and a database with `users` who are signed in.
    pub(crate) async fn new(users: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (private_key, _) = gateway_token::generate_key(Algorithm::RS256)?;
        let keys = SigningKeys::from_pems(std::slice::from_ref(&private_key), &[])?;
        let options = StoreOptions {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            user_ids: UserIds::Random,
            event_retention: LIFETIME,
        };
        let store = Store::open(&DatabaseUrl::File(directory.path().join("gateway.db")), options).await?;
        let session_key = Arc::new(SessionKey::derive(
            SECRET.as_bytes(),
            EXTERNAL,
            Arc::new(SystemRandom),
        )?);
        let mut tokens = Vec::with_capacity(users);
        let mut tasks = JoinSet::new();
        for number in 0..users {
            let (store, key) = (store.clone(), Arc::clone(&session_key));
            tasks.spawn(async move { signed_in(&store, &key, number).await });
            if tasks.len() == AT_ONCE
                && let Some(token) = tasks.join_next().await
            {
                tokens.push(token??);
            }
        }
        while let Some(token) = tasks.join_next().await {
            tokens.push(token??);
        }
        store.close().await?;
        Ok(Self {
            directory,
            private_key,
            // Free now; nobody else is about to take one.
            admin: std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            keys,
            tokens,
        })
    }

    /// Starts the gateway as shipped: request log and metrics on. The log goes to a file. Its plugins are the
    /// files in a directory of that name, and what `configuration` says of them.
    pub(crate) async fn gateway(&self, plugins: &str, configuration: &str) -> Result<Server> {
        let directory = self.directory.path();
        std::fs::create_dir_all(self.path(plugins))?;
        let file = directory.join("gateway.toml");
        std::fs::write(&file, configuration)?;
        let log = std::fs::File::create(directory.join("log"))?;
        let mut command = Command::new(GATEWAY);
        command
            .args(["serve", "--config"])
            .arg(file)
            .env("PRIVATE_KEY", self.private_key.expose_secret())
            .env("GATEWAY_SESSION_SECRET", SECRET)
            .env("EXTERNAL_ADDRESS", EXTERNAL)
            .env("GATEWAY_LISTEN", "127.0.0.1:0")
            .env("GATEWAY_ADMIN_LISTEN", self.admin.to_string())
            .env("GATEWAY_DATA_DIR", directory.join("data"))
            .env("GATEWAY_PLUGIN_DIR", self.path(plugins))
            .env(
                "DATABASE_URL",
                format!("sqlite:///{}", directory.join("gateway.db").display()),
            )
            .current_dir(directory)
            .stderr(log);
        Server::start(command)
    }

    /// A file or directory of that name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Places a plugin there, in one step.
    pub(crate) fn place(&self, plugins: &str, name: &str, component: &[u8]) -> Result<()> {
        let directory = self.path(plugins);
        std::fs::create_dir_all(&directory)?;
        let written = directory.join("being-written");
        std::fs::write(&written, component)?;
        std::fs::rename(written, directory.join(format!("{name}.wasm")))?;
        Ok(())
    }

    /// Claims as the gateway signs them, other ones for each `number`.
    pub(crate) fn claims(&self, number: u64) -> PermissionClaims {
        let user = format!("{number:032x}");
        let permission = serde_json::Value::from(format!("example-{user}"));
        PermissionClaims {
            iss: EXTERNAL.to_owned(),
            sub: user.clone(),
            userid: user,
            service: "example".to_owned(),
            permissions: [("provider-token".to_owned(), permission)].into_iter().collect(),
            aud: None,
            plugin: "0".repeat(64),
            iat: number,
            exp: number + 900,
        }
    }
}

impl Server {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("a server without stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok());
        match address {
            Some(address) => Ok(Self { child, address }),
            None => {
                let _ = child.kill();
                bail!("the server did not start: {line:?}")
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement has noticed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bare hyper server, answering `body`.
pub(crate) async fn bare(body: &str) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--bare").arg(body);
    Server::start(command)
}

/// A whole GET request with a session token.
pub(crate) fn get(target: &str, token: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: auth.example.org\r\nAuthorization: Bearer {token}\r\n\r\n")
}

async fn signed_in(store: &Store, key: &SessionKey, number: usize) -> Result<String> {
    let person = UpstreamUser {
        identity: Identity {
            provider: "bench".to_owned(),
            issuer: "https://bench.example.org".to_owned(),
            subject: number.to_string(),
        },
        email: None,
        name: format!("Person {number}"),
        avatar_url: Some("https://img.example.org/a.png".to_owned()),
        claims: serde_json::Map::new(),
    };
    let pending = store.begin_sign_in(&person).await?;
    let yes = Verdict::Accepted(Default::default());
    let settled = store
        .settle_sign_in(&pending, Some(&yes), Some(&yes), LIFETIME)
        .await?;
    let Settled::SignedIn { session, .. } = settled else {
        bail!("nobody signed in: {settled:?}")
    };
    let claims = SessionClaims {
        session: session.id,
        user: session.user_id,
        expires: session.expires,
    };
    Ok(key.issue(&claims, session.created))
}
