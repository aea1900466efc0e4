//! Which plugins would serve, found out without serving any of them: every file goes the way that it goes when the host
//! starts, compiler, trial and signatures included. What is kept on disk is read, and nothing is written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use gateway_model::SystemRandom;
use tokio::runtime::{Builder, Runtime};

use crate::PluginSet;
use crate::admission::Admission;
use crate::cache::Cache;
use crate::candidate::Candidate;
use crate::compile::CompileOptions;
use crate::directory::PluginDirectory;
use crate::dispatcher::Dispatcher;
use crate::error::HostError;
use crate::registry::Snapshot;
use crate::trust::Trust;
use gateway_sandbox::engine::Engines;

/// How many files are looked at at once. Of compilers there are fewer.
const AT_ONCE: usize = 4;

/// Where the plugins and what is kept of them are, and how they are compiled.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Where `<name>.wasm` files are.
    pub plugin_dir: PathBuf,
    /// Where a host keeps compiled code; it need not be there.
    pub cache_dir: PathBuf,
    /// How components are compiled.
    pub compile: CompileOptions,
}

/// A plugin whose file would not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginProblem {
    /// Which plugin.
    pub plugin: String,
    /// The problem and what to do about it, in the words of the log.
    pub problem: String,
    /// Whether the last good generation would serve instead.
    pub stands_in: bool,
}

/// Looks at every configured plugin as a host that starts would. Nothing is changed.
///
/// # Errors
/// Returns an error where a host would not start.
pub async fn check(options: CheckOptions, set: PluginSet) -> Result<Vec<PluginProblem>, HostError> {
    let plugin_dir = usable_dir(&options.plugin_dir)?;
    if set.plugins.is_empty() {
        return Ok(Vec::new());
    }
    let engines = Arc::new(Engines::start()?);
    let runtime = Threads(Some(
        Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(AT_ONCE)
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(HostError::Thread)?,
    ));
    let dispatcher = Arc::new(Dispatcher::new(runtime.handle()?));
    let directory = Arc::new(PluginDirectory::new(plugin_dir));
    let cache = Cache::open_to_read(&options.cache_dir, engines.usual(), &SystemRandom)?;
    let admission = Admission::new(engines, cache, directory, dispatcher, options.compile);
    let trust = Arc::new(Trust::of(&set));
    let roles = Snapshot::roles(&set);
    let remembered = admission.remember(roles.keys().cloned().collect()).await;
    remembered.map_err(|error| HostError::CacheDir {
        path: options.cache_dir.clone(),
        error: io::Error::other(error.to_string()),
    })?;
    let looks = roles.into_iter().map(|(name, roles)| {
        let candidate = Candidate {
            config: Arc::new(set.plugins.get(&*name).cloned().unwrap_or_default()),
            serving: None,
            name,
            roles,
            trust: Arc::clone(&trust),
            starting: true,
            compiling: Arc::default(),
        };
        let admission = &admission;
        async move {
            let admitted = admission.examine(&candidate).await;
            Some(PluginProblem {
                plugin: candidate.name.to_string(),
                problem: admitted.problem?.to_string(),
                stands_in: admitted.generation.is_some(),
            })
        }
    });
    let problems = futures_util::stream::iter(looks).buffered(AT_ONCE);
    Ok(problems.filter_map(std::future::ready).collect().await)
}

/// Whether a host would start with what it finds where compiled code is to be kept. Nothing is changed; a directory that is
/// not there is one that it makes.
///
/// # Errors
/// Why it would not start.
pub fn usable_cache_dir(path: &Path) -> Result<(), HostError> {
    Cache::check(path)
}

/// The plugin directory, which may itself be a link.
///
/// # Errors
/// When it cannot be read.
pub fn usable_dir(path: &Path) -> Result<PathBuf, HostError> {
    fs::canonicalize(path)
        .and_then(|path| fs::read_dir(&path).map(|_| path))
        .map_err(|error| HostError::PluginDirUnreadable {
            path: path.to_owned(),
            error,
        })
}

/// Where guests run, told to end when it is dropped: a runtime may not be waited for on a thread of another one.
struct Threads(Option<Runtime>);

impl Threads {
    fn handle(&self) -> Result<tokio::runtime::Handle, HostError> {
        self.0
            .as_ref()
            .map(|runtime| runtime.handle().clone())
            .ok_or_else(|| HostError::Thread(io::Error::other("they have ended")))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
