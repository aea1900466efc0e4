//! Whether a file may serve: read, compiled off the serving threads, its exports and imports checked, made
//! ready and tried. Whatever fails says what is wrong and what to do. And what serves where the file does
//! not: a kept generation, which is admitted anew against the configuration as it is now.
//!
//! | module | what it holds |
//! |---|---|
//! | `trial` | a compiled component is checked, linked and tried |
//! | `rollback` | going back to the generation before |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gateway_model::{Clock, SystemClock};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use wasmtime::component::Component;

use crate::blocking::blocking;
use crate::cache::Cache;
use crate::compile::{CompileOptions, Compiler, Job};
use crate::directory::{PluginDirectory, Presence};
use crate::dispatcher::Dispatcher;
use crate::error::AdmissionError;
use crate::file::{self, PluginFile};
use crate::generation::{Generation, Roles};
use crate::history::{History, KeptGeneration, Record};
use crate::registry::{Loaded, Settled};
use crate::trust::{self, Trust};
use gateway_sandbox::PluginConfig;
use gateway_sandbox::engine::Engines;
use gateway_sandbox::log::LogRate;

use self::trial::check_roles;

mod rollback;
mod trial;

pub(crate) use self::trial::Identified;

/// Mebibytes of plugins' files that are in memory at once, however many plugins there are; three of the largest.
const LARGE_FILES: u32 = 384;
/// Mebibytes of small files that are in memory at once: they do not wait for large ones that are compiled for minutes.
const SMALL_FILES: u32 = 128;
/// Mebibytes of a small file.
const SMALL: u32 = 8;

/// Looks at files and makes generations of them.
pub(crate) struct Admission {
    history: Arc<History>,
    cache: Arc<Cache>,
    directory: Arc<PluginDirectory>,
    dispatcher: Arc<Dispatcher>,
    engines: Arc<Engines>,
    compiler: Arc<Compiler>,
    /// The memory for large files, in mebibytes.
    large_files: Arc<Semaphore>,
    /// The memory for small ones.
    small_files: Arc<Semaphore>,
    /// The code of what is kept, by digest: going back takes no longer than a trial. Linked anew each
    /// time, for the grants as they are then.
    code: Mutex<BTreeMap<Arc<str>, Component>>,
    /// By plugin: a new generation does not begin with a full share.
    log_rates: Mutex<BTreeMap<Arc<str>, Arc<LogRate>>>,
}

/// One plugin to look at.
pub(crate) struct Candidate {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) roles: Roles,
    /// The set's: whose signatures count.
    pub(crate) trust: Arc<Trust>,
    /// What serves under the name.
    pub(crate) serving: Option<Arc<Generation>>,
    /// Whether the gateway starts: then the last good file may stand in for a broken one.
    pub(crate) starting: bool,
    /// The compilation in progress. It outlives a look at the file, so that the next look does not compile the file again.
    pub(crate) compiling: Arc<Mutex<Option<Job>>>,
}

/// What looking at a plugin's file gave, before it is in force and on record.
pub(crate) struct Looked {
    result: Result<Loaded, AdmissionError>,
    /// The file, where it is what is to serve.
    take: Option<Take>,
    /// What was known of the plugin.
    seen: Record,
}

impl Looked {
    /// Why the file that is there does not serve, and whether something else does in its place.
    pub(crate) fn problem(&self) -> Option<(String, bool)> {
        match &self.result {
            Err(problem) => Some((problem.to_string(), false)),
            Ok(Loaded::New(_, Some(problem))) => Some((problem.to_string(), true)),
            Ok(Loaded::New(_, None) | Loaded::Unchanged) => None,
        }
    }
}

/// A good file.
struct Take {
    file: Arc<PluginFile>,
    signature: Option<Arc<str>>,
    /// The version that a trusted key signed: what nobody has verified counts for nothing later.
    version: Option<u64>,
}

impl Candidate {
    fn check_trust(&self, digest: &str, signature: Option<&Arc<str>>) -> Result<(), AdmissionError> {
        trust::check(&self.trust, &self.name, &self.config, digest, signature)
    }

    /// Whether a file is not older than what was accepted before it. A pin is the operator's own word for
    /// which component it is to be, however old.
    fn check_age(
        &self,
        seen: &Record,
        digest: &str,
        signature: Option<&Arc<str>>,
    ) -> Result<(), AdmissionError> {
        if !self.asks_for_version() {
            return Ok(());
        }
        seen.check_age(&self.name, digest, signature)
    }

    /// Whether a generation has passed its trial under the configuration as it is now.
    fn is_settled(&self, serving: &Generation) -> bool {
        serving.program.config == self.config && !serving.is_untried
    }

    /// Whether it matters which version was accepted before.
    fn asks_for_version(&self) -> bool {
        !self.trust.keys.is_empty() && self.config.sha256.is_none()
    }
}

impl Admission {
    /// Takes files from `directory`.
    pub(crate) fn new(
        engines: Arc<Engines>,
        cache: Cache,
        directory: Arc<PluginDirectory>,
        dispatcher: Arc<Dispatcher>,
        compile: CompileOptions,
    ) -> Self {
        let cache = Arc::new(cache);
        Self {
            history: Arc::new(History::new(Arc::clone(&cache))),
            cache: Arc::clone(&cache),
            directory,
            compiler: Arc::new(Compiler::new(
                Arc::clone(&engines),
                cache,
                dispatcher.guests().clone(),
                compile,
            )),
            large_files: Arc::new(Semaphore::new(LARGE_FILES as usize)),
            small_files: Arc::new(Semaphore::new(SMALL_FILES as usize)),
            engines,
            dispatcher,
            code: Mutex::default(),
            log_rates: Mutex::default(),
        }
    }

    /// Where a plugin's file is.
    ///
    /// # Errors
    /// When the name cannot be a file's.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, AdmissionError> {
        file::path(self.directory.path(), name)
    }

    /// Looks at a plugin's file and makes a generation of it, where it is good; or else of what may serve
    /// in its place. Changes nothing.
    pub(crate) async fn load(&self, candidate: &Candidate) -> Looked {
        let (seen, result) = match self.record(&candidate.name).await {
            Ok(seen) => {
                let result = self.load_file(candidate, &seen).await;
                (seen, result)
            }
            Err(error) => (Record::default(), Err(error)),
        };
        let (result, take) = match result {
            Ok((loaded, take)) => (Ok(loaded), take),
            Err(problem) if problem.is_missing() => (Err(problem), None),
            Err(problem) => match self.stand_in(candidate, &seen).await {
                Some(generation) => (Ok(Loaded::New(generation, Some(problem))), None),
                None => (Err(problem), None),
            },
        };
        Looked { result, take, seen }
    }

    /// Puts on record what looking gave. `None` where that has been overtaken by a rollback or a
    /// removal.
    pub(crate) async fn settle(&self, name: &Arc<str>, looked: Looked) -> Option<Settled> {
        let Looked { result, take, seen } = looked;
        let (history, plugin) = (Arc::clone(&self.history), Arc::clone(name));
        let directory = Arc::clone(&self.directory);
        let missing = result.as_ref().is_err_and(AdmissionError::is_missing);
        let switches = take.is_some() || matches!(result, Ok(Loaded::New(..)));
        let recorded = self.blocking(move || {
            if missing {
                return Some(history.withdraw(&plugin));
            }
            let now = history.record(&plugin);
            if switches && now.was_decided_since(&seen) {
                return None;
            }
            let Some(take) = take else {
                return Some(now);
            };
            let Take {
                file,
                signature,
                version,
            } = take;
            let home = directory.home(&plugin);
            Some(history.take(&plugin, &file, signature, version, home, SystemClock.now()))
        });
        let record = match recorded.await {
            Ok(record) => record?,
            Err(error) => {
                tracing::error!(plugin = &**name, %error, "what is kept of the plugin is not up to date");
                return None;
            }
        };
        let result = result.map(|loaded| match loaded {
            // A file that was taken has its number from the record just now.
            Loaded::New(mut generation, problem) if generation.number == 0 => {
                generation.number = record.last;
                if let Some(kept) = record.in_force() {
                    generation.number = kept.number;
                }
                Loaded::New(generation, problem)
            }
            loaded => loaded,
        });
        if let Ok(Loaded::New(generation, _)) = &result {
            self.keep_code(generation);
        }
        Some(Settled {
            result,
            record: Arc::new(record),
        })
    }

    /// Puts on record that plugins' files were removed.
    pub(crate) async fn withdraw(&self, plugins: Vec<Arc<str>>) {
        let history = Arc::clone(&self.history);
        let recorded = self.blocking(move || {
            for plugin in plugins {
                history.withdraw(&plugin);
            }
        });
        if let Err(error) = recorded.await {
            tracing::error!(%error, "what is kept of the plugins is not up to date");
        }
    }

    /// What all calls of a plugin may log.
    pub(crate) fn log_rate(&self, plugin: &Arc<str>, per_minute: usize) -> Arc<LogRate> {
        let mut rates = self.log_rates.lock();
        let rate = rates
            .entry(Arc::clone(plugin))
            .or_insert_with(|| Arc::new(LogRate::new(per_minute)));
        rate.set(per_minute);
        Arc::clone(rate)
    }

    /// Keeps a generation's code at hand, and that of nothing which is not kept.
    fn keep_code(&self, generation: &Generation) {
        let kept = self.history.digests();
        let mut code = self.code.lock();
        code.insert(
            Arc::clone(&generation.digest),
            generation.program.component().clone(),
        );
        code.retain(|digest, _| kept.contains(digest));
        drop(code);
        self.cache.need(kept);
    }

    async fn load_file(
        &self,
        candidate: &Candidate,
        seen: &Record,
    ) -> Result<(Loaded, Option<Take>), AdmissionError> {
        let path = self.path(&candidate.name)?;
        let read = self.read(&candidate.name).await?;
        let missing = read.as_ref().is_err_and(AdmissionError::is_missing);
        let digest = read.as_ref().ok().map(|file| file.digest.as_str());
        if !missing && let Some(rolled_back) = seen.holds(digest) {
            let loaded = self.hold(candidate, seen, rolled_back.to).await?;
            return Ok((loaded, None));
        }
        let file = Arc::new(read?);
        let signature = self.read_signature(candidate).await?;
        if seen.is_damaged && candidate.asks_for_version() {
            return Err(AdmissionError::Forgotten {
                plugin: candidate.name.to_string(),
                path: self.history.path(&candidate.name),
            });
        }
        candidate.check_trust(&file.digest, signature.as_ref())?;
        candidate.check_age(seen, &file.digest, signature.as_ref())?;
        let is_verified = !candidate.trust.keys.is_empty();
        let take = Take {
            file: Arc::clone(&file),
            version: trust::version(signature.as_ref()).filter(|_| is_verified),
            signature: signature.clone(),
        };
        let serving = candidate
            .serving
            .as_ref()
            .filter(|serving| *serving.digest == *file.digest);
        if let Some(serving) = serving {
            check_roles(&candidate.roles, &serving.program.exports)?;
            if candidate.is_settled(serving) && serving.signature == signature {
                return Ok((Loaded::Unchanged, Some(take)));
            }
        }
        let identified = Identified {
            number: 0,
            digest: file.digest.as_str().into(),
            signature,
        };
        let component = match serving {
            Some(serving) => serving.program.component().clone(),
            None => self.compile(candidate, file).await?,
        };
        let generation = self.admit(candidate, &component, identified).await?;
        if self.look(&candidate.name).await? == Presence::Absent {
            // Taken away while it compiled.
            return Err(AdmissionError::Missing { path });
        }
        Ok((Loaded::New(generation, None), Some(take)))
    }

    /// Reads a plugin's file. One that cannot be found is missing only where the directory says so.
    async fn read(&self, plugin: &Arc<str>) -> Result<Result<PluginFile, AdmissionError>, AdmissionError> {
        let max = self.compiler.max_size();
        let size = match self.look(plugin).await? {
            Presence::Here(stamp) => stamp.size.min(max),
            _ => 0,
        };
        let mebibytes = u32::try_from(size.div_ceil(1 << 20))
            .unwrap_or(LARGE_FILES)
            .max(1);
        let files = if mebibytes <= SMALL {
            &self.small_files
        } else {
            &self.large_files
        };
        let memory = Arc::clone(files).acquire_many_owned(mebibytes.min(LARGE_FILES));
        let memory = memory.await.ok();
        let (directory, plugin) = (Arc::clone(&self.directory), Arc::clone(plugin));
        let read = self.blocking(move || directory.read(&plugin, max)).await?;
        Ok(read.map(|file| PluginFile {
            _memory: memory.map(Arc::new),
            ..file
        }))
    }

    /// Reads a plugin's signature. What cannot be one counts as none where none is asked for.
    async fn read_signature(&self, candidate: &Candidate) -> Result<Option<Arc<str>>, AdmissionError> {
        let (directory, plugin) = (Arc::clone(&self.directory), Arc::clone(&candidate.name));
        match self.blocking(move || directory.read_signature(&plugin)).await? {
            Ok(signature) => Ok(signature.map(Arc::from)),
            Err(error) if candidate.trust.keys.is_empty() => {
                tracing::warn!(plugin = &*candidate.name, "a signature is not used: {error}");
                Ok(None)
            }
            Err(error) => Err(AdmissionError::NotASignature(Box::new(error))),
        }
    }

    /// Whether a plugin's file is there.
    async fn look(&self, plugin: &Arc<str>) -> Result<Presence, AdmissionError> {
        let (directory, plugin) = (Arc::clone(&self.directory), Arc::clone(plugin));
        self.blocking(move || directory.look(&plugin)).await
    }

    /// What serves of a plugin that was rolled back, under the configuration as it is now.
    async fn hold(&self, candidate: &Candidate, seen: &Record, to: u64) -> Result<Loaded, AdmissionError> {
        let refused = |reason: String| AdmissionError::RolledBack { to, reason };
        let kept = seen
            .find(to)
            .ok_or_else(|| refused("it is not kept any more".to_owned()))?;
        if let Some(serving) = &candidate.serving
            && serving.number == to
            && candidate.is_settled(serving)
        {
            candidate.check_trust(&serving.digest, serving.signature.as_ref())?;
            check_roles(&candidate.roles, &serving.program.exports)?;
            return Ok(Loaded::Unchanged);
        }
        match self.restore(candidate, kept).await {
            Ok(generation) => Ok(Loaded::New(generation, None)),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// What can serve in place of a broken file: at the start, the last good one; later, what serves
    /// already, under the configuration as it is now. `None` where that is what serves already.
    async fn stand_in(&self, candidate: &Candidate, seen: &Record) -> Option<Box<Generation>> {
        if let Some(serving) = &candidate.serving {
            if candidate.is_settled(serving) {
                return None;
            }
            candidate
                .check_trust(&serving.digest, serving.signature.as_ref())
                .ok()?;
            let component = serving.program.component();
            return self.admit(candidate, component, &**serving).await.ok();
        }
        if !candidate.starting {
            return None;
        }
        match self.restore(candidate, seen.in_force()?).await {
            Ok(generation) => Some(generation),
            Err(error) => {
                tracing::warn!(
                    plugin = &*candidate.name,
                    "the plugin's last good generation cannot serve in place of its file: {error}"
                );
                None
            }
        }
    }

    /// Makes a generation of one that is kept, as if it were a file: all that is asked of a file is asked
    /// of it.
    async fn restore(
        &self,
        candidate: &Candidate,
        kept: &KeptGeneration,
    ) -> Result<Box<Generation>, AdmissionError> {
        candidate.check_trust(&kept.digest, kept.signature.as_ref())?;
        let at_hand = self.code.lock().get(&kept.digest).cloned();
        let component = match at_hand {
            Some(component) => component,
            None => {
                let (history, wanted) = (Arc::clone(&self.history), kept.clone());
                let file = self
                    .blocking(move || history.component(&wanted))
                    .await?
                    .ok_or(AdmissionError::NotKept { number: kept.number })?;
                self.compile(candidate, Arc::new(file)).await?
            }
        };
        self.admit(candidate, &component, kept).await
    }

    /// Returns the generation that serves at the start while a new file is compiled: the last good one, if the cache has its
    /// code and not the file's.
    pub(crate) async fn interim(&self, candidate: &Candidate) -> Option<Settled> {
        let record = self.record(&candidate.name).await.ok()?;
        let kept = record.in_force()?;
        let file = Arc::new(self.read(&candidate.name).await.ok()?.ok()?);
        if *file.digest == *kept.digest || self.compiler.cached(&file).await.ok()?.is_some() {
            return None;
        }
        drop(file);
        let (history, wanted) = (Arc::clone(&self.history), kept.clone());
        let before = self.blocking(move || history.component(&wanted)).await.ok()??;
        self.compiler.cached(&Arc::new(before)).await.ok()??;
        let generation = self.restore(candidate, kept).await.ok()?;
        Some(Settled {
            result: Ok(Loaded::New(generation, None)),
            record: Arc::new(record),
        })
    }

    /// Reads the plugins' records from the cache, which also say in which directory each file was last seen.
    pub(crate) async fn remember(
        &self,
        plugins: Vec<Arc<str>>,
    ) -> Result<Vec<(Arc<str>, Record)>, AdmissionError> {
        let (history, directory) = (Arc::clone(&self.history), Arc::clone(&self.directory));
        self.blocking(move || {
            let records = plugins.into_iter().map(|plugin| {
                let record = history.record(&plugin);
                directory.remind(&plugin, record.home.as_ref());
                (plugin, record)
            });
            records.collect()
        })
        .await
    }

    /// The compiled component, from memory, the cache or the compiler.
    ///
    /// # Errors
    /// When it is none.
    async fn compile(
        &self,
        candidate: &Candidate,
        file: Arc<PluginFile>,
    ) -> Result<Component, AdmissionError> {
        let at_hand = self.code.lock().get(&*file.digest).cloned();
        if let Some(component) = at_hand {
            return Ok(component);
        }
        let job = self.compiler.begin(&candidate.name, file);
        // What was being compiled before ends here, unless it is the same.
        candidate.compiling.lock().replace(job.clone());
        job.await
    }

    async fn record(&self, name: &Arc<str>) -> Result<Record, AdmissionError> {
        let (history, name) = (Arc::clone(&self.history), Arc::clone(name));
        self.blocking(move || history.record(&name)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AdmissionError> {
        blocking(self.dispatcher.guests(), work).await
    }
}
