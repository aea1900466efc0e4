//! A host with its own directories, files put into them, and what the log and the metrics say.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use gateway_host::{
    Admissions, CompileOptions, HostOptions, Permissions, PluginHost, PluginSet, PluginStatus,
};
use gateway_model::{Email, Identity, Timestamp, User, UserId, UserStatus};
use gateway_sandbox::{
    CallError, Grant, KeyValueStore, Limits, Network, PluginConfig, ScratchValues, UserLookup,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use test_guests::Compiled;

/// A test that hangs for longer fails.
const PATIENCE: Duration = Duration::from_secs(240);
/// The same of a start: an interpreter takes its minutes to compile beside all other tests.
const START: Duration = Duration::from_secs(300);

/// A host and its directories.
pub(crate) struct Fixture {
    pub(crate) host: PluginHost,
    pub(crate) dir: TempDir,
    values: Arc<dyn KeyValueStore>,
    network: Arc<Network>,
    /// For the next host.
    pub(crate) compile: CompileOptions,
}

/// The users of the tests: anybody whose id begins with `known`.
#[derive(Debug)]
struct Users;

#[async_trait::async_trait]
impl UserLookup for Users {
    async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, String> {
        match id.as_str() {
            "broken" => Err("the disk is on fire".to_owned()),
            "slow" => std::future::pending().await,
            text => Ok(text.starts_with("known").then(|| user(text, "Known"))),
        }
    }
}

/// Somebody.
pub(crate) fn user(id: &str, name: &str) -> User {
    User {
        id: UserId::from(id),
        username: None,
        name: name.to_owned(),
        email: Some(Email {
            address: format!("{id}@example.org"),
            trusted: true,
        }),
        avatar_url: None,
        identities: vec![Identity {
            provider: "google".to_owned(),
            issuer: "https://accounts.google.com".to_owned(),
            subject: format!("s-{id}"),
        }],
        joined: Timestamp(1_700_000_000),
        status: UserStatus::Active,
        attributes: [("old".to_owned(), "value".to_owned())].into(),
    }
}

/// A set in which each service is asked of a plugin; each plugin has every grant.
pub(crate) fn set(services: &[(&str, &str)], extensions: &[&str]) -> PluginSet {
    let mut set = PluginSet {
        services: services
            .iter()
            .map(|(service, plugin)| ((*service).to_owned(), (*plugin).to_owned()))
            .collect(),
        extensions: extensions.iter().map(|name| (*name).to_owned()).collect(),
        ..PluginSet::default()
    };
    for name in set.services.values().chain(&set.extensions) {
        let grants: BTreeSet<_> = Grant::ALL.iter().copied().collect();
        // Debug builds on busy machines: only tests of the deadline want a short one.
        let limits = Limits {
            deadline: Duration::from_secs(120),
            ..Limits::default()
        };
        set.plugins.insert(
            name.clone(),
            PluginConfig {
                grants,
                limits,
                ..PluginConfig::default()
            },
        );
    }
    set
}

impl Fixture {
    /// A host over these files.
    pub(crate) async fn new(files: &[(&str, &[u8])], set: PluginSet) -> Self {
        Self::with_values(files, set, Arc::new(ScratchValues::default())).await
    }

    /// A host over these files whose plugins keep values there.
    pub(crate) async fn with_values(
        files: &[(&str, &[u8])],
        set: PluginSet,
        values: Arc<dyn KeyValueStore>,
    ) -> Self {
        Self::with(
            files,
            set,
            values,
            Arc::new(Network::system()),
            CompileOptions::default(),
        )
        .await
    }

    /// A host over these files whose plugins see that network.
    pub(crate) async fn with_network(files: &[(&str, &[u8])], set: PluginSet, network: Network) -> Self {
        let values = Arc::new(ScratchValues::default());
        Self::with(files, set, values, Arc::new(network), CompileOptions::default()).await
    }

    /// A host over these files that compiles so.
    pub(crate) async fn with_compiler(
        files: &[(&str, &[u8])],
        set: PluginSet,
        compile: CompileOptions,
    ) -> Self {
        let values = Arc::new(ScratchValues::default());
        Self::with(files, set, values, Arc::new(Network::system()), compile).await
    }

    async fn with(
        files: &[(&str, &[u8])],
        set: PluginSet,
        values: Arc<dyn KeyValueStore>,
        network: Arc<Network>,
        compile: CompileOptions,
    ) -> Self {
        log();
        metrics();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("plugins")).unwrap();
        let started = Self::host(&dir, files, set, &values, &network, &compile);
        let host = tokio::time::timeout(PATIENCE, started)
            .await
            .expect("a start that ends, whatever the plugins are");
        Self {
            host,
            dir,
            values,
            network,
            compile,
        }
    }

    /// The same directories and values with another host, as after a restart.
    pub(crate) async fn restart(self, set: PluginSet) -> Self {
        let (fixture, admissions) = self.reopen(set).await;
        let ended = tokio::time::timeout(START, admissions.done());
        ended.await.expect("every trial call ends");
        fixture
    }

    /// The same before the plugins are admitted.
    pub(crate) async fn reopen(self, set: PluginSet) -> (Self, Admissions) {
        self.host.shutdown().await;
        let Self {
            host,
            dir,
            values,
            network,
            compile,
        } = self;
        drop(host);
        let (host, admissions) = Self::open(&dir, &[], set, &values, &network, &compile).await;
        let fixture = Self {
            host,
            dir,
            values,
            network,
            compile,
        };
        (fixture, admissions)
    }

    async fn host(
        dir: &TempDir,
        files: &[(&str, &[u8])],
        set: PluginSet,
        values: &Arc<dyn KeyValueStore>,
        network: &Arc<Network>,
        compile: &CompileOptions,
    ) -> PluginHost {
        let (host, admissions) = Self::open(dir, files, set, values, network, compile).await;
        let ended = tokio::time::timeout(START, admissions.done());
        ended.await.expect("every trial call ends");
        if compile.command.is_none() {
            compiled().keep(&dir.path().join("cache")).unwrap();
        }
        host
    }

    async fn open(
        dir: &TempDir,
        files: &[(&str, &[u8])],
        set: PluginSet,
        values: &Arc<dyn KeyValueStore>,
        network: &Arc<Network>,
        compile: &CompileOptions,
    ) -> (PluginHost, Admissions) {
        let plugin_dir = dir.path().join("plugins");
        let cache_dir = dir.path().join("cache");
        for (name, bytes) in files {
            std::fs::write(plugin_dir.join(format!("{name}.wasm")), bytes).unwrap();
            if compile.command.is_none() {
                lend(bytes, &cache_dir);
            }
        }
        let options = HostOptions {
            plugin_dir,
            cache_dir: cache_dir.clone(),
            guest_threads: 2,
            users: Arc::new(Users),
            values: Arc::clone(values),
            network: Arc::clone(network),
            compile: compile.clone(),
        };
        let opened = tokio::time::timeout(PATIENCE, PluginHost::open(options, set)).await;
        opened.expect("it waits for no plugin").unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("plugins").join(format!("{name}.wasm"))
    }

    /// Puts a file there as a careful operator does: written beside, renamed over.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        if self.compile.command.is_none() {
            lend(bytes, &self.dir.path().join("cache"));
        }
        let new = self.path(name).with_extension("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    pub(crate) fn status(&self, name: &str) -> PluginStatus {
        self.host
            .status()
            .into_iter()
            .find(|status| status.name == name)
            .unwrap()
    }

    pub(crate) fn problem(&self, name: &str) -> String {
        self.status(name).problem.unwrap_or_default()
    }

    /// Waits until a plugin's status satisfies `what`.
    pub(crate) async fn wait(&self, name: &str, what: impl Fn(&PluginStatus) -> bool) -> PluginStatus {
        let mut changes = self.host.changes();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let status = self.status(name);
                if what(&status) {
                    return status;
                }
                changes.changed().await.unwrap();
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("{name} stays at {:?}", self.status(name)))
    }

    /// Waits until `count` instances are prepared.
    pub(crate) async fn ready(&self, plugin: &str, count: usize) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.status(plugin).prepared != count {
                tokio::task::yield_now().await;
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("{plugin} stays at {:?}", self.status(plugin)));
    }

    pub(crate) async fn ask(&self, service: &str) -> Result<Value, CallError> {
        self.ask_for(service, "somebody").await
    }

    pub(crate) async fn ask_for(&self, service: &str, user: &str) -> Result<Value, CallError> {
        let user = UserId::from(user);
        let asked = tokio::time::timeout(PATIENCE, self.host.get_permissions(service, &user));
        let answer = asked.await.expect("no call outlives its deadline");
        answer.map(|Permissions { permissions, .. }| serde_json::json!(permissions))
    }
}

/// Components that other tests of this build have compiled, so that this one need not.
fn compiled() -> &'static Compiled {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    COMPILED.get_or_init(|| Compiled::by(&std::env::current_exe().unwrap()).unwrap())
}

fn lend(component: &[u8], cache: &Path) {
    let digest = hex::encode(Sha256::digest(component));
    compiled().lend(&digest, cache).unwrap();
}

/// The log of this process so far, one event a line.
pub(crate) fn log() -> String {
    static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = LOG.get_or_init(|| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(Arc::clone(&log));
        tracing_subscriber::fmt()
            .json()
            .with_env_filter("gateway_host=debug,gateway_sandbox=debug,gateway_plugin=debug")
            .with_writer(move || sink.clone())
            .init();
        log
    });
    String::from_utf8(log.lock().unwrap().clone()).unwrap()
}

/// The metrics of this process.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
}

/// How many calls of a plugin used a prepared instance (`ahead`), or a new one (`fresh`).
pub(crate) fn instances(plugin: &str, made: &str) -> u64 {
    let line = format!("gateway_plugin_instances_total{{plugin=\"{plugin}\",made=\"{made}\"}} ");
    let text = metrics().render();
    let count = text.lines().find_map(|text| text.strip_prefix(&line));
    count.map_or(0, |count| count.parse().unwrap())
}
