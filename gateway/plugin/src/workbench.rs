//! A component on its author's machine, in the sandbox and under the limits that it will have: admitted by
//! the gateway's own code, called by it, its answers checked by it. What is missing is the gateway: users
//! are those that are given, and what the plugin keeps is gone with the bench.
//!
//! | module | what it holds |
//! |---|---|
//! | `facts` | what a component says of itself |
//! | `report` | [`Report`]: all there is to say before it is called |
//! | `call` | [`Call`]: one call and what it cost |
//! | `bench` | [`Bench`]: many of them |

mod bench;
mod call;
mod facts;
mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use gateway_model::{Event, SystemRandom, User, UserId};
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle, Runtime};

pub use self::bench::{Bench, BenchLimits, Made, Measured};
pub use self::call::{Answer, Call, CallFailure, Question};
pub use self::report::{Compiled, Export, Import, ImportStatus, Report};
use crate::admission::{Admission, Candidate, Identified, blocking};
use crate::cache::Cache;
use crate::compile::{CompileOptions, Compiler};
use crate::directory::{self, PluginDirectory};
use crate::engine::Engines;
use crate::error::{AdmissionError, HostError};
use crate::exports::Function;
use crate::file;
use crate::guest::Sources;
use crate::http::Network;
use crate::log::Transcript;
use crate::registry::{Generation, Roles};
use crate::serve::Lanes;
use crate::{PluginConfig, ScratchValues, UserLookup};

/// What a file is called whose own name cannot be a plugin's.
const NAMELESS: &str = "plugin";

/// What is there for a component to see, and where its code is kept.
#[derive(Clone, Debug, Default)]
pub struct WorkbenchOptions {
    /// The plugin's name, in messages and for what it keeps; the file's own where `None`.
    pub name: Option<String>,
    /// Everybody there is, for the grant `users`.
    pub users: Vec<User>,
    /// For the grant `http`; nothing can be reached where `None`.
    pub network: Option<Arc<Network>>,
    /// A private directory (0700, made where it is missing) for compiled code, so that the next time takes
    /// milliseconds; it is compiled anew each time where `None`.
    pub cache_dir: Option<PathBuf>,
    /// How it is compiled, and what that may take.
    pub compile: CompileOptions,
    /// Maps memory for each instance, where the gateway takes it from a pool. The pool reserves terabytes of
    /// address space, which valgrind, for one, does not have. How long calls take says little then.
    pub without_pool: bool,
}

/// Why there was nothing to call, or nothing to measure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkbenchError {
    /// The gateway would not serve it; its own words.
    #[error("{0}")]
    NotAdmissible(String),
    /// The component does not have the function.
    #[error("it exports no {interface}; the gateway would call {}", list(.exports))]
    NoSuchFunction {
        /// The interface that is asked for.
        interface: &'static str,
        /// The functions that the component has.
        exports: Vec<&'static str>,
    },
    /// A call failed that was to be measured.
    #[error(transparent)]
    Failed(CallFailure),
    /// The host panicked: a mistake in it.
    #[error("the call was lost: {0}")]
    Lost(String),
}

fn list(names: &[&str]) -> String {
    names.join(", ")
}

/// A component that can be looked at and called.
pub struct Workbench {
    report: Report,
    /// `None` where it is not admissible.
    generation: Option<Arc<Generation>>,
    users: Arc<dyn UserLookup>,
    values: Arc<ScratchValues>,
    network: Option<Arc<Network>>,
    threads: Threads,
    _scratch: Option<TempDir>,
}

/// Where guests run, told to end when it is dropped.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime may not be waited for on a thread of another one.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The users that were given, and nobody else.
#[derive(Debug)]
struct Given(BTreeMap<UserId, User>);

#[async_trait::async_trait]
impl UserLookup for Given {
    async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, String> {
        Ok(self.0.get(id).cloned())
    }
}

impl Workbench {
    /// Reads a file, compiles it and tries it, as the gateway does before it serves it. A file that would
    /// not be served is no error: the report says why, and calls will.
    ///
    /// # Errors
    /// When the bench itself cannot be set up.
    pub async fn open(
        path: &Path,
        config: PluginConfig,
        options: WorkbenchOptions,
    ) -> Result<Self, HostError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(HostError::Thread)?;
        let lanes = Arc::new(Lanes::new(runtime.handle().clone()));
        let threads = Threads(Some(runtime));
        let engines = Arc::new(if options.without_pool {
            Engines::start_without_pool()?
        } else {
            Engines::start()?
        });
        let (cache_dir, scratch) = match options.cache_dir {
            Some(dir) => (dir, None),
            None => {
                let scratch = tempfile::tempdir().map_err(|error| HostError::CacheDir {
                    path: std::env::temp_dir(),
                    error,
                })?;
                (scratch.path().to_owned(), Some(scratch))
            }
        };
        let open = || Cache::open(&cache_dir, engines.usual(), &SystemRandom);
        let (cache, guests) = (Arc::new(open()?), lanes.guests().clone());
        let kept = Kept {
            compiler: Arc::new(Compiler::new(
                Arc::clone(&engines),
                Arc::clone(&cache),
                guests.clone(),
                options.compile.clone(),
            )),
            guests,
            cache,
            admission: Admission::new(
                Arc::clone(&engines),
                open()?,
                Arc::new(PluginDirectory::new(PathBuf::new())),
                lanes,
                options.compile.clone(),
            ),
            engines,
        };
        let name = options.name.unwrap_or_else(|| name_of(path));
        let mut report = Report::new(&name);
        let generation = kept.admit(path, &name, Arc::new(config), &mut report).await;
        let generation = match generation {
            Ok(generation) => {
                report.is_admissible = true;
                Some(Arc::from(generation))
            }
            Err(problem) => {
                report.problem = Some(problem.to_string());
                None
            }
        };
        let users = options.users.into_iter().map(|user| (user.id.clone(), user));
        Ok(Self {
            report,
            generation,
            users: Arc::new(Given(users.collect())),
            values: Arc::default(),
            network: options.network,
            threads,
            _scratch: scratch,
        })
    }

    /// What was found out about the file.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Asks for a user's permissions in a service. What the component keeps is there at the next call.
    ///
    /// # Errors
    /// When there is nothing to call. How the call itself went, a failure too, is in what is given.
    pub async fn get_permissions(&self, service: &str, user: &UserId) -> Result<Call, WorkbenchError> {
        self.ask(Question::Permissions {
            service: service.to_owned(),
            user: user.clone(),
        })
        .await
    }

    /// Calls `on-new-user`, `on-user-login` or `on-user-logout`, whichever the event's kind is.
    ///
    /// # Errors
    /// As for [`Workbench::get_permissions`].
    pub async fn run_hook(&self, event: &Event, user: &User) -> Result<Call, WorkbenchError> {
        self.ask(Question::Event {
            event: Box::new(event.clone()),
            user: Box::new(user.clone()),
        })
        .await
    }

    /// Asks whatever there is to ask.
    ///
    /// # Errors
    /// As for [`Workbench::get_permissions`].
    pub async fn ask(&self, question: Question) -> Result<Call, WorkbenchError> {
        let generation = self.callable(question.function())?;
        let sources = self.sources(Some(Transcript::default()));
        self.on_guest_thread(async move { call::run(&generation, sources, None, &question).await })
            .await
    }

    /// Asks the same again and again, on one thread. What the component keeps is kept from each call to the
    /// next.
    ///
    /// # Errors
    /// When there is nothing to call, or a call fails.
    pub async fn bench(&self, question: Question, limits: BenchLimits) -> Result<Bench, WorkbenchError> {
        let generation = self.callable(question.function())?;
        let sources = self.sources(None);
        self.on_guest_thread(bench::run(generation, sources, question, limits))
            .await?
            .map_err(WorkbenchError::Failed)
    }

    /// Asks the same again and again, as [`Workbench::bench`] does, with instances of one kind alone. No
    /// calls are measured where instances cannot be made ahead.
    ///
    /// # Errors
    /// As for [`Workbench::bench`].
    pub async fn measure(
        &self,
        question: Question,
        made: Made,
        limits: BenchLimits,
    ) -> Result<Measured, WorkbenchError> {
        let generation = self.callable(question.function())?;
        let sources = self.sources(None);
        let measured = async move { bench::measure(&generation, &sources, &question, made, limits).await };
        self.on_guest_thread(measured)
            .await?
            .map_err(WorkbenchError::Failed)
    }

    fn callable(&self, function: Function) -> Result<Arc<Generation>, WorkbenchError> {
        let Some(generation) = &self.generation else {
            let problem = self.report.problem.clone().unwrap_or_default();
            return Err(WorkbenchError::NotAdmissible(problem));
        };
        if !generation.exports.has(function) {
            return Err(WorkbenchError::NoSuchFunction {
                interface: function.interface(),
                exports: Function::ALL
                    .into_iter()
                    .filter(|function| generation.exports.has(*function))
                    .map(Function::name)
                    .collect(),
            });
        }
        Ok(Arc::clone(generation))
    }

    fn sources(&self, transcript: Option<Transcript>) -> Sources {
        Sources {
            users: Arc::clone(&self.users),
            values: self.values.clone(),
            network: self.network.clone(),
            transcript,
        }
    }

    async fn on_guest_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, WorkbenchError> {
        let Some(runtime) = &self.threads.0 else {
            return Err(WorkbenchError::Lost("it has been shut down".to_owned()));
        };
        runtime
            .spawn(work)
            .await
            .map_err(|error| WorkbenchError::Lost(error.to_string()))
    }
}

impl fmt::Debug for Workbench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workbench")
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

/// What it takes to admit a file.
struct Kept {
    guests: Handle,
    engines: Arc<Engines>,
    cache: Arc<Cache>,
    compiler: Arc<Compiler>,
    admission: Admission,
}

impl Kept {
    /// The way of a file in the gateway, written down in the report as far as it comes.
    async fn admit(
        &self,
        path: &Path,
        name: &str,
        config: Arc<PluginConfig>,
        report: &mut Report,
    ) -> Result<Box<Generation>, AdmissionError> {
        file::path(Path::new(""), name)?;
        let path = path.to_owned();
        let max = self.compiler.max_size();
        let read = move || {
            let file = directory::read_at(&path, max)?;
            // Where it cannot be read any further, the compiler says so better.
            let (facts, _) = facts::read(&file.bytes);
            Ok::<_, AdmissionError>((Arc::new(file), facts))
        };
        let (file, facts) = blocking(&self.guests, read).await??;
        report.size = Some(file.bytes.len() as u64);
        report.sha256 = Some(file.digest.clone());
        report.add(&facts, &config);
        let identity = Identified {
            number: 0,
            digest: file.digest.as_str().into(),
            signature: None,
        };
        let started = Instant::now();
        let (cache, engines) = (Arc::clone(&self.cache), Arc::clone(&self.engines));
        let looked_up = Arc::clone(&file);
        let load = move || cache.load(&engines.of(&looked_up.bytes), &looked_up.digest);
        let cached = blocking(&self.guests, load).await?;
        let was_cached = cached.is_some();
        let component = match cached {
            Some(component) => component,
            None => self.compiler.begin(name, file).await?,
        };
        report.compiled = Some(Compiled::new(started.elapsed(), was_cached));
        let candidate = Candidate {
            name: name.into(),
            config,
            roles: Roles::default(),
            trust: Arc::default(),
            serving: None,
            starting: false,
            compiling: Arc::default(),
        };
        self.admission.admit(&candidate, &component, identity).await
    }
}

/// The name that a file would have as a plugin.
fn name_of(path: &Path) -> String {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if file::path(Path::new(""), stem).is_ok() {
        stem.to_owned()
    } else {
        NAMELESS.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::name_of;

    #[test]
    fn a_plugin_is_called_like_its_file() {
        for (path, name) in [
            ("out/js-role-provider.wasm", "js-role-provider"),
            ("my plugin.wasm", "plugin"),
            (".wasm", "plugin"),
            ("/", "plugin"),
            ("x", "x"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
        }
    }
}
