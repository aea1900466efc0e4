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

use gateway_host::{AdmissionError, Admitter, CompileOptions, HostError, is_plugin_name};
use gateway_model::{Event, User, UserId};
use gateway_sandbox::exports::Function;
use gateway_sandbox::log::Transcript;
use gateway_sandbox::{HostServices, Network, PluginConfig, Program, ScratchValues, UserLookup};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

pub use self::bench::{Bench, BenchLimits, Made, Measured};
pub use self::call::{Answer, Call, CallFailure, Question};
pub use self::report::{Compiled, Export, Import, ImportStatus, Report};

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
    /// Lets a component be called whose trial fails. The report says that it is not admissible all the same.
    pub call_untried: bool,
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
    /// `None` where there is nothing to call.
    program: Option<Arc<Program>>,
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
        let guests = runtime.handle().clone();
        let threads = Threads(Some(runtime));
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
        let admitter = Admitter::new(guests, &cache_dir, &options.compile, options.without_pool)?;
        let name = options.name.unwrap_or_else(|| plugin_name(path));
        let mut report = Report::new(&name);
        let config = Arc::new(config);
        let admitted = admit(&admitter, path, &name, config, options.call_untried, &mut report).await;
        let program = match admitted {
            Ok(program) => {
                report.is_admissible = report.problem.is_none();
                Some(Arc::new(program))
            }
            Err(problem) => {
                report.problem = Some(problem.to_string());
                None
            }
        };
        let users = options.users.into_iter().map(|user| (user.id.clone(), user));
        Ok(Self {
            report,
            program,
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

    /// Whether there is something to call: an admissible component, or one that may be called untried.
    #[must_use]
    pub const fn is_callable(&self) -> bool {
        self.program.is_some()
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
        let program = self.callable(question.function())?;
        let services = self.services(Some(Transcript::default()));
        self.on_guest_thread(async move { call::run(&program, services, None, &question).await })
            .await
    }

    /// Asks the same again and again, on one thread. What the component keeps is kept from each call to the
    /// next.
    ///
    /// # Errors
    /// When there is nothing to call, or a call fails.
    pub async fn bench(&self, question: Question, limits: BenchLimits) -> Result<Bench, WorkbenchError> {
        let program = self.callable(question.function())?;
        let services = self.services(None);
        self.on_guest_thread(bench::run(program, services, question, limits))
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
        let program = self.callable(question.function())?;
        let services = self.services(None);
        let measured = async move { bench::measure(&program, &services, &question, made, limits).await };
        self.on_guest_thread(measured)
            .await?
            .map_err(WorkbenchError::Failed)
    }

    fn callable(&self, function: Function) -> Result<Arc<Program>, WorkbenchError> {
        let Some(program) = &self.program else {
            let problem = self.report.problem.clone().unwrap_or_default();
            return Err(WorkbenchError::NotAdmissible(problem));
        };
        if !program.exports.has(function) {
            return Err(WorkbenchError::NoSuchFunction {
                interface: function.interface(),
                exports: Function::ALL
                    .into_iter()
                    .filter(|function| program.exports.has(*function))
                    .map(Function::name)
                    .collect(),
            });
        }
        Ok(Arc::clone(program))
    }

    fn services(&self, transcript: Option<Transcript>) -> HostServices {
        HostServices {
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

/// The way of a file in the gateway, written down in the report as far as it comes.
async fn admit(
    admitter: &Admitter,
    path: &Path,
    name: &str,
    config: Arc<PluginConfig>,
    call_untried: bool,
    report: &mut Report,
) -> Result<Program, AdmissionError> {
    let file = admitter.read(path, name).await?;
    report.size = Some(file.bytes().len() as u64);
    report.sha256 = Some(file.digest().to_owned());
    // Where it cannot be read any further, the compiler says so better.
    let (facts, _) = facts::read(file.bytes());
    report.add(&facts, &config);
    let started = Instant::now();
    let (component, was_cached) = admitter.compile(name, &file).await?;
    report.compiled = Some(Compiled::new(started.elapsed(), was_cached));
    match admitter.admit(name, &config, &component).await {
        Err(problem) if problem.is_trial() && call_untried => {
            let program = admitter.link(name, &config, &component)?;
            report.problem = Some(problem.to_string());
            Ok(program)
        }
        admitted => admitted,
    }
}

/// The name that a file would have as a plugin.
#[must_use]
pub fn plugin_name(path: &Path) -> String {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if is_plugin_name(stem) {
        stem.to_owned()
    } else {
        NAMELESS.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::plugin_name;

    #[test]
    fn a_plugin_is_called_like_its_file() {
        for (path, name) in [
            ("out/js-role-provider.wasm", "js-role-provider"),
            ("my plugin.wasm", "plugin"),
            (".wasm", "plugin"),
            ("/", "plugin"),
            ("x", "x"),
        ] {
            assert_eq!(plugin_name(Path::new(path)), name);
        }
    }
}
