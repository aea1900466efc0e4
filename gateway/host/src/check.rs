//! Checks which plugins would serve, without serving any: every file is admitted as it is when the host starts, with
//! compiler, trial and signatures. Records and cached code are read, and nothing is written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use gateway_model::SystemRandom;

use crate::PluginSet;
use crate::admission::Admission;
use crate::cache::Cache;
use crate::candidate::Candidate;
use crate::compile::CompileOptions;
use crate::directory::PluginDirectory;
use crate::dispatcher::Dispatcher;
use crate::error::HostError;
use crate::registry::Snapshot;
use crate::threads::GuestThreads;
use crate::trust::Trust;
use gateway_sandbox::engine::Engines;

/// How many files are examined at the same time. Fewer are compiled at the same time.
const AT_ONCE: usize = 4;

/// The options of [`check`].
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// The directory with `<name>.wasm` files.
    pub plugin_dir: PathBuf,
    /// The host's directory for compiled code, which need not exist.
    pub cache_dir: PathBuf,
    /// How components are compiled.
    pub compile: CompileOptions,
}

/// A plugin whose file would not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginProblem {
    /// Which plugin.
    pub plugin: String,
    /// The problem and what to do about it, as in the log.
    pub problem: String,
    /// Whether the last good generation would serve instead.
    pub stands_in: bool,
}

/// Examines every configured plugin as a host does when it starts. Changes nothing.
///
/// # Errors
/// If a host would not start.
pub async fn check(options: CheckOptions, set: PluginSet) -> Result<Vec<PluginProblem>, HostError> {
    let plugin_dir = usable_dir(&options.plugin_dir)?;
    if set.plugins.is_empty() {
        return Ok(Vec::new());
    }
    let engines = Arc::new(Engines::start()?);
    let threads = GuestThreads::start(1, AT_ONCE)?;
    let dispatcher = Arc::new(Dispatcher::new(threads.handle().clone()));
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

/// Checks whether a host could use a directory for compiled code. Changes nothing; a missing directory is fine, as the
/// host creates it.
///
/// # Errors
/// If the host would not start.
pub fn usable_cache_dir(path: &Path) -> Result<(), HostError> {
    Cache::check(path)
}

/// Resolves the plugin directory, which may itself be a link.
///
/// # Errors
/// If it cannot be read.
pub fn usable_dir(path: &Path) -> Result<PathBuf, HostError> {
    fs::canonicalize(path)
        .and_then(|path| fs::read_dir(&path).map(|_| path))
        .map_err(|error| HostError::PluginDirUnreadable {
            path: path.to_owned(),
            error,
        })
}
