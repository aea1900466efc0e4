//! Admission: from a plugin's file to a generation that serves. [`Admission::examine`] and [`Admission::record`] are
//! the whole of it; the steps that take more than a few lines are in modules:
//!
//! | step | where |
//! |---|---|
//! | read the file and its signature | `read` |
//! | check pin, signature and version | [`trust`](crate::trust), [`Record::check_age`] |
//! | compile, or take the code from the cache | [`compile`](crate::compile) |
//! | check imports and exports, link, make a trial call | `trial` |
//! | keep the file as a generation, which has a number from then on | [`history`](crate::history) |
//!
//! Beside it are the cases in which a kept generation serves instead of the file: `rollback`, if an operator wants it;
//! `stand_in`, if the file is broken or still compiling. A kept generation is admitted again, under the configuration
//! as it is now.

use std::collections::BTreeMap;
use std::sync::Arc;

use gateway_model::{Clock as _, SystemClock};
use gateway_sandbox::engine::Engines;
use gateway_sandbox::log::LogRate;
use parking_lot::Mutex;
use wasmtime::component::Component;

use self::read::Reader;
use self::trial::check_roles;
use crate::blocking::blocking;
use crate::cache::Cache;
use crate::candidate::{AcceptedFile, Admitted, Candidate};
use crate::compile::{CompileOptions, Compiler};
use crate::directory::{PluginDirectory, Presence};
use crate::dispatcher::Dispatcher;
use crate::error::AdmissionError;
use crate::file::{self, PluginFile};
use crate::generation::Generation;
use crate::history::{History, KeptGeneration, Record};
use crate::trust;

mod read;
mod rollback;
mod stand_in;
mod trial;

/// Admits plugins.
pub(crate) struct Admission {
    history: Arc<History>,
    cache: Arc<Cache>,
    directory: Arc<PluginDirectory>,
    dispatcher: Arc<Dispatcher>,
    engines: Arc<Engines>,
    pub(crate) compiler: Arc<Compiler>,
    reader: Reader,
    /// The code of kept generations, by digest: a rollback takes no longer than a trial. It is linked again each time,
    /// with the grants as they are then.
    code: Mutex<BTreeMap<Arc<str>, Component>>,
    /// By plugin, so that a new generation does not start with a full share.
    log_rates: Mutex<BTreeMap<Arc<str>, Arc<LogRate>>>,
}

impl Admission {
    pub(crate) fn new(
        engines: Arc<Engines>,
        cache: Cache,
        directory: Arc<PluginDirectory>,
        dispatcher: Arc<Dispatcher>,
        compile: CompileOptions,
    ) -> Self {
        let cache = Arc::new(cache);
        let guests = dispatcher.guests.clone();
        Self {
            history: Arc::new(History::new(Arc::clone(&cache))),
            compiler: Arc::new(Compiler::new(
                Arc::clone(&engines),
                Arc::clone(&cache),
                guests.clone(),
                compile,
            )),
            reader: Reader::new(Arc::clone(&directory), guests),
            cache,
            directory,
            engines,
            dispatcher,
            code: Mutex::default(),
            log_rates: Mutex::default(),
        }
    }

    /// Examines a plugin's file. Changes nothing: [`Admission::record`] does.
    pub(crate) async fn examine(&self, candidate: &Candidate) -> Admitted {
        let record = match self.record_of(&candidate.name).await {
            Ok(record) => Arc::new(record),
            Err(error) => return Admitted::rejected(error, Arc::default()),
        };
        let admitted = match self.reader.read(&candidate.name, self.compiler.max_size()).await {
            Ok(read) => {
                let digest = read.as_ref().ok().map(|file| file.digest.as_str());
                let is_missing = read.as_ref().is_err_and(AdmissionError::is_missing);
                match record.holds(digest).filter(|_| !is_missing) {
                    Some(rolled_back) => self.hold(candidate, &record, rolled_back.to).await,
                    None => self.admit_file(candidate, &record, read).await,
                }
            }
            Err(error) => Err(error),
        };
        match admitted {
            Ok(admitted) => admitted,
            Err(problem) if problem.is_missing() => Admitted::rejected(problem, record),
            Err(problem) => Admitted {
                generation: self.stand_in(candidate, &record).await.map(Arc::new),
                ..Admitted::rejected(problem, record)
            },
        }
    }

    async fn admit_file(
        &self,
        candidate: &Candidate,
        record: &Arc<Record>,
        read: Result<PluginFile, AdmissionError>,
    ) -> Result<Admitted, AdmissionError> {
        let file = Arc::new(read?);
        let signature = self.reader.read_signature(candidate).await?;
        if candidate.asks_for_version() && record.is_damaged {
            return Err(AdmissionError::Forgotten {
                plugin: candidate.name.to_string(),
                path: self.history.path(&candidate.name),
            });
        }
        candidate.check_trust(&file.digest, signature.as_ref())?;
        if candidate.asks_for_version() {
            record.check_age(&candidate.name, &file.digest, signature.as_ref())?;
        }
        let serving = candidate.serving.as_ref();
        let program = match serving.filter(|serving| *serving.digest == *file.digest) {
            Some(serving) => {
                check_roles(&candidate.roles, &serving.program.exports)?;
                if candidate.is_settled(serving) && serving.signature == signature {
                    None
                } else {
                    Some(self.admit(candidate, serving.program.component()).await?)
                }
            }
            None => {
                let component = self.compile(candidate, Arc::clone(&file)).await?;
                Some(self.admit(candidate, &component).await?)
            }
        };
        if program.is_some() && self.reader.look(&candidate.name).await? == Presence::Absent {
            // Removed while it compiled.
            let path = file::path(self.directory.path(), &candidate.name)?;
            return Err(AdmissionError::Missing { path });
        }
        let is_verified = !candidate.trust.keys.is_empty();
        Ok(Admitted {
            file: Some(AcceptedFile {
                file,
                version: trust::version(signature.as_ref()).filter(|_| is_verified),
                signature,
                program,
            }),
            ..Admitted::unchanged(Arc::clone(record))
        })
    }

    /// The compiled component, from memory, the cache or the compiler.
    async fn compile(
        &self,
        candidate: &Candidate,
        file: Arc<PluginFile>,
    ) -> Result<Component, AdmissionError> {
        let known = self.code.lock().get(&*file.digest).cloned();
        if let Some(component) = known {
            return Ok(component);
        }
        let job = self.compiler.begin(&candidate.name, file);
        // Ends the compilation of what the file was before, unless it is the same.
        candidate.compiling.lock().replace(job.clone());
        job.await
    }

    /// Records what [`Admission::examine`] has found. An accepted file becomes a generation. Returns `None` if a
    /// rollback or a removal came first.
    pub(crate) async fn record(&self, name: &Arc<str>, mut admitted: Admitted) -> Option<Admitted> {
        let (history, plugin) = (Arc::clone(&self.history), Arc::clone(name));
        let directory = Arc::clone(&self.directory);
        let recorded = self.blocking(move || {
            if admitted.is_missing() {
                admitted.record = Arc::new(history.withdraw(&plugin));
                return Some(admitted);
            }
            let now = history.record(&plugin);
            let switches = admitted.file.is_some() || admitted.generation.is_some();
            if switches && now.was_decided_since(&admitted.record) {
                return None;
            }
            admitted.record = Arc::new(now);
            if let Some(accepted) = admitted.file.take() {
                let AcceptedFile {
                    file,
                    signature,
                    version,
                    program,
                } = accepted;
                let home = directory.home(&plugin);
                let record = history.take(&plugin, &file, signature, version, home, SystemClock.now());
                if let (Some(kept), Some(program)) = (record.in_force(), program) {
                    admitted.generation = Some(Arc::new(Generation::of(kept, program)));
                }
                admitted.record = Arc::new(record);
            }
            Some(admitted)
        });
        let admitted = match recorded.await {
            Ok(admitted) => admitted?,
            Err(error) => {
                tracing::error!(plugin = &**name, %error, "cannot update the plugin's record");
                return None;
            }
        };
        if let Some(generation) = &admitted.generation {
            self.keep_code(generation);
        }
        Some(admitted)
    }

    /// Records that plugins' files were removed.
    pub(crate) async fn withdraw(&self, plugins: Vec<Arc<str>>) {
        let history = Arc::clone(&self.history);
        let recorded = self.blocking(move || {
            for plugin in plugins {
                history.withdraw(&plugin);
            }
        });
        if let Err(error) = recorded.await {
            tracing::error!(%error, "cannot update the plugins' records");
        }
    }

    /// Reads the plugins' records, which also say in which directory each file was last seen.
    pub(crate) async fn remember(
        &self,
        plugins: Vec<Arc<str>>,
    ) -> Result<BTreeMap<Arc<str>, Record>, AdmissionError> {
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

    /// Keeps a generation's code in memory, and drops the code of all that are no longer kept.
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

    async fn record_of(&self, name: &Arc<str>) -> Result<Record, AdmissionError> {
        let (history, name) = (Arc::clone(&self.history), Arc::clone(name));
        self.blocking(move || history.record(&name)).await
    }

    /// The component of a kept generation; `None` if it is missing or damaged.
    async fn kept_file(&self, kept: &KeptGeneration) -> Result<Option<PluginFile>, AdmissionError> {
        let (history, kept) = (Arc::clone(&self.history), kept.clone());
        self.blocking(move || history.component(&kept)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AdmissionError> {
        blocking(&self.dispatcher.guests, work).await
    }
}
