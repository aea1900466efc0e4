//! A directory with keys, plugins and a configuration, from which a gateway starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock};

use gateway_model::SystemRandom;
use gateway_token::{Algorithm, SessionKey};
use secrecy::ExposeSecret;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use test_guests::Compiled;
use tokio::process::Command;
use url::Url;

use super::fake_oidc::{CLIENT_ID, FakeOidc};
use super::{Gateway, binary, cli};

/// The secret of session tokens and sealed state in every test; a canary.
pub const SESSION_SECRET: &str = "canary-session-secret-0123456789abcdef0123456789";

/// The external address of a gateway under `serve`, behind a proxy that terminates TLS.
pub const EXTERNAL: &str = "https://auth.example.org/";

/// The directory, deleted with its last user.
#[derive(Debug)]
pub struct SetupDir {
    directory: TempDir,
    environment: Mutex<BTreeMap<String, String>>,
}

impl SetupDir {
    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The TOML file.
    pub fn config_file(&self) -> PathBuf {
        self.path().join("gateway.toml")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.path().join("gateway.sqlite")
    }

    /// The directory of the plugins.
    pub fn plugin_dir(&self) -> PathBuf {
        self.path().join("plugins")
    }

    /// The gateway's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The variables of the gateway and of commands.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.environment.lock().unwrap().clone()
    }

    /// Places a plugin in one step: written under another name, then renamed.
    pub fn place(&self, plugin: &str, component: &[u8]) {
        let digest = hex::encode(Sha256::digest(component));
        compiled()
            .lend(&digest, &self.cache())
            .expect("a cache can be written");
        let written = self.path().join(format!("{plugin}.being-written"));
        fs::write(&written, component).expect("a plugin can be written");
        fs::rename(written, self.plugin_file(plugin)).expect("a plugin can be renamed");
    }

    /// The directory of compiled plugins.
    pub fn cache(&self) -> PathBuf {
        self.data_dir().join("cache")
    }

    /// The path of a plugin's file.
    pub fn plugin_file(&self, plugin: &str) -> PathBuf {
        self.plugin_dir().join(format!("{plugin}.wasm"))
    }

    /// Removes a plugin.
    pub fn remove(&self, plugin: &str) {
        fs::remove_file(self.plugin_file(plugin)).expect("a plugin can be removed");
    }
}

/// A gateway's configuration. It can be changed and written again while the gateway runs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its directory.
    pub dir: Arc<SetupDir>,
    dev: bool,
    top: Vec<String>,
    tables: BTreeMap<String, Vec<String>>,
    services: BTreeMap<String, String>,
    extensions: Vec<String>,
    origins: Vec<String>,
}

impl Setup {
    /// `gateway dev`, with only the plugins that the test places.
    pub fn dev() -> Self {
        Self::new(true)
    }

    /// `gateway serve`, at [`EXTERNAL`].
    pub fn serve() -> Self {
        Self::new(false).env("PRIVATE_KEY", &private_key(Algorithm::RS256))
    }

    fn new(dev: bool) -> Self {
        let dir = SetupDir {
            directory: tempfile::Builder::new()
                .prefix("gateway-test-")
                .tempdir()
                .expect("a directory"),
            environment: Mutex::default(),
        };
        fs::create_dir(dir.plugin_dir()).expect("a directory");
        // `dev` puts its examples into an empty directory. Tests place the plugins that they need.
        fs::write(dir.plugin_dir().join("README"), "plugins of a test").expect("a file");
        Self {
            dir: Arc::new(dir),
            dev,
            top: Vec::new(),
            tables: BTreeMap::new(),
            services: BTreeMap::new(),
            extensions: Vec::new(),
            origins: Vec::new(),
        }
    }

    /// The external address. `None` under `dev`, unless it is configured, as it is then the address that the gateway
    /// listens on.
    pub fn external(&self) -> Option<Url> {
        let told = self.dir.environment().remove("EXTERNAL_ADDRESS");
        told.or_else(|| (!self.dev).then(|| EXTERNAL.to_owned()))
            .map(|url| Url::parse(&url).expect("a URL"))
    }

    /// The file of the admin token.
    pub fn admin_token(&self) -> PathBuf {
        self.dir.path().join("admin-token")
    }

    /// Places a plugin.
    pub fn plugin(self, name: &str, component: &[u8]) -> Self {
        self.dir.place(name, component);
        self
    }

    /// Adds lines to the table of a plugin: grants, limits, settings.
    pub fn plugin_table(self, name: &str, lines: &str) -> Self {
        self.table(&format!("plugin.{name}"), lines)
    }

    /// Drops the table of a plugin.
    pub fn without_plugin_table(mut self, name: &str) -> Self {
        self.tables.remove(&format!("plugin.{name}"));
        self
    }

    /// Adds lines to a table.
    pub fn table(mut self, name: &str, lines: &str) -> Self {
        self.tables
            .entry(name.to_owned())
            .or_default()
            .push(lines.to_owned());
        self
    }

    /// Adds a line above all tables.
    pub fn top(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// Adds a service that a plugin answers for.
    pub fn service(mut self, name: &str, plugin: &str) -> Self {
        self.services.insert(name.to_owned(), plugin.to_owned());
        self
    }

    /// Adds an extension, after the existing ones.
    pub fn extension(mut self, name: &str) -> Self {
        self.extensions.push(name.to_owned());
        self
    }

    /// Adds an application's origin.
    pub fn origin(mut self, origin: &str) -> Self {
        self.origins.push(origin.to_owned());
        self
    }

    /// Adds a variable to the environment.
    pub fn env(self, name: &str, value: &str) -> Self {
        self.dir
            .environment
            .lock()
            .unwrap()
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes a variable from the environment.
    pub fn without_env(self, name: &str) -> Self {
        self.dir.environment.lock().unwrap().remove(name);
        self
    }

    /// Adds an OpenID provider.
    pub fn oidc(self, name: &str, provider: &FakeOidc) -> Self {
        let issuer = provider.issuer();
        let secret = &provider.client_secret;
        self.table(
            &format!("providers.{name}"),
            &format!("issuer = {issuer:?}\nclient_id = {CLIENT_ID:?}\nclient_secret = {secret:?}"),
        )
    }

    /// Writes the configuration file.
    pub fn write(&self) {
        fs::write(self.dir.config_file(), self.toml()).expect("the configuration can be written");
    }

    fn toml(&self) -> String {
        let mut text = self.top.join("\n");
        let _ = writeln!(text, "\nplugin_dir = {:?}", self.dir.plugin_dir());
        let _ = writeln!(text, "data_dir = {:?}", self.dir.data_dir());
        let _ = writeln!(text, "extensions = {:?}", self.extensions);
        let _ = writeln!(text, "origins = {:?}", self.origins);
        let mut tables = self.tables.clone();
        let mut add = |table: &str, line: String| tables.entry(table.to_owned()).or_default().push(line);
        add("log", "format = \"json\"".to_owned());
        add(
            "database",
            format!("url = \"sqlite:///{}\"", self.dir.database().display()),
        );
        add(
            "admin",
            format!("listen = \"127.0.0.1:0\"\ntoken_file = {:?}", self.admin_token()),
        );
        if !self.dev {
            add(
                "server",
                format!("listen = \"127.0.0.1:0\"\nexternal_address = {EXTERNAL:?}"),
            );
            add("keys", format!("session_secret = {SESSION_SECRET:?}"));
        }
        for (service, plugin) in &self.services {
            add(&format!("service.{service}"), format!("provider = {plugin:?}"));
        }
        self.be_patient(&mut tables);
        for (name, lines) in tables {
            let _ = writeln!(text, "\n[{name}]\n{}", lines.join("\n"));
        }
        text
    }

    /// Sets every time limit far higher than needed, so that no test fails on a busy machine. Limits that a test sets
    /// itself stay.
    fn be_patient(&self, tables: &mut BTreeMap<String, Vec<String>>) {
        let mut limits = vec![
            ("server".to_owned(), "request_timeout = \"10m\""),
            ("upstream".to_owned(), "timeout = \"5m\""),
        ];
        let plugins = self.services.values().chain(&self.extensions);
        limits.extend(plugins.map(|plugin| (format!("plugin.{plugin}"), "limits.deadline = \"2m\"")));
        for (table, line) in limits {
            if tables.contains_key(&format!("{table}.limits")) {
                continue;
            }
            let lines = tables.entry(table).or_default();
            let key = line.split(" = ").next().unwrap_or(line);
            let keys = [key, "deadline", "limits]", "limits ="];
            let is_set = |line: &String| keys.iter().any(|key| line.contains(key));
            if !lines.iter().any(is_set) {
                // A later line may begin another table.
                lines.insert(0, line.to_owned());
            }
        }
    }

    /// The command that starts it, its output piped.
    pub fn command(&self) -> Command {
        let mut command = cli::command();
        command.current_dir(self.dir.path()).envs(self.dir.environment());
        if self.dev {
            command
                .args(["dev", "--listen", "127.0.0.1:0", "--data"])
                .arg(self.dir.data_dir());
            command.arg("--plugins").arg(self.dir.plugin_dir());
        } else {
            command.arg("serve");
        }
        command.arg("--config").arg(self.dir.config_file());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Writes the configuration, starts the gateway, and waits until it is ready.
    pub async fn start(&self) -> Gateway {
        self.write();
        Gateway::start(self.command(), self).await
    }
}

/// Plugins compiled by other tests, so that this one need not compile them.
pub fn compiled() -> &'static Compiled {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    COMPILED.get_or_init(|| Compiled::by(binary()).expect("a directory"))
}

/// A private key, PEM. All tests of a process share it, as finding RSA keys takes long.
pub fn private_key(algorithm: Algorithm) -> String {
    static RSA: OnceLock<String> = OnceLock::new();
    let new = || {
        gateway_token::generate_key(algorithm)
            .expect("a key")
            .0
            .expose_secret()
            .to_owned()
    };
    match algorithm {
        Algorithm::RS256 => RSA.get_or_init(new).clone(),
        _ => new(),
    }
}

/// The key of session tokens and sealed state under `serve`, derived in the same way as in the gateway.
pub fn session_key() -> SessionKey {
    let issuer = EXTERNAL.trim_end_matches('/');
    SessionKey::derive(SESSION_SECRET.as_bytes(), issuer, Arc::new(SystemRandom)).expect("a key")
}
