//! Runs a component on its author's machine, in the same sandbox and under the same limits as in production: the
//! gateway's own code admits it, calls it and checks its answers. There is no gateway: the caller supplies the users,
//! and stored values are discarded with the [`Workbench`].
//!
//! | module | what it holds |
//! |---|---|
//! | `facts` | a component's metadata |
//! | `report` | [`Report`]: everything about a component before it is called |
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

use gateway_host::{AdmissionError, Admitter, CompileOptions, GuestThreads, HostError, is_plugin_name};
use gateway_model::{User, UserId};
use gateway_sandbox::exports::Function;
use gateway_sandbox::log::Transcript;
use gateway_sandbox::{HostServices, Network, PluginConfig, Program, ScratchValues, UserLookup};
use tempfile::TempDir;

pub use self::bench::{Bench, BenchLimits, Made, Measured};
pub use self::call::{Answer, Call, CallFailure, Question};
pub use self::report::{Compiled, Export, Import, ImportStatus, Report};

/// The plugin's name if the file's cannot be one.
const NAMELESS: &str = "plugin";

/// The most threads for work that blocks.
const MAX_BLOCKING: usize = 512;

/// The options of a [`Workbench`].
#[derive(Clone, Debug, Default)]
pub struct WorkbenchOptions {
    /// The plugin's name, in messages and for its stored values; the name of the file if `None`.
    pub name: Option<String>,
    /// All users, for the grant `users`.
    pub users: Vec<User>,
    /// For the grant `http`; no origin can be reached if `None`.
    pub network: Option<Arc<Network>>,
    /// A private directory for compiled code (0700, created if it is missing), so that the next time takes
    /// milliseconds. If `None`, the component is compiled each time.
    pub cache_dir: Option<PathBuf>,
    /// How it is compiled, and the limits of that.
    pub compile: CompileOptions,
    /// Maps memory for each instance, instead of taking it from a pool. The pool reserves terabytes of address space,
    /// which valgrind, for example, does not have. Measured times then say little.
    pub without_pool: bool,
    /// Allows calls of a component that fails its trial. The report still says that it is not admissible.
    pub call_untried: bool,
}

/// Why a component could not be called or measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkbenchError {
    /// The gateway would not serve it, for this reason.
    #[error("{0}")]
    NotAdmissible(String),
    /// The component does not have the function.
    #[error("it does not export {interface}; the gateway would call {}", .exports.join(", "))]
    NoSuchFunction {
        /// The missing interface.
        interface: &'static str,
        /// The functions that the component has.
        exports: Vec<&'static str>,
    },
    /// A measured call failed.
    #[error(transparent)]
    Failed(CallFailure),
    /// The host panicked, which is a bug.
    #[error("the call was lost: {0}")]
    Lost(String),
}

/// A component to examine and call.
pub struct Workbench {
    report: Report,
    /// `None` if the component cannot be called.
    program: Option<Arc<Program>>,
    users: Arc<dyn UserLookup>,
    values: Arc<ScratchValues>,
    network: Option<Arc<Network>>,
    threads: GuestThreads,
    _scratch: Option<TempDir>,
}

#[derive(Debug)]
struct Given(BTreeMap<UserId, User>);

#[async_trait::async_trait]
impl UserLookup for Given {
    async fn lookup_user(&self, id: &UserId) -> Result<Option<User>, String> {
        Ok(self.0.get(id).cloned())
    }
}

impl Workbench {
    /// Reads, compiles and tries a file, as the gateway does before it serves it. A file that the gateway would reject
    /// is not an error here: the report has the reason, and calls return it.
    ///
    /// # Errors
    /// If the workbench itself cannot be set up.
    pub async fn open(
        path: &Path,
        config: PluginConfig,
        options: WorkbenchOptions,
    ) -> Result<Self, HostError> {
        let threads = GuestThreads::start(1, MAX_BLOCKING)?;
        let guests = threads.handle().clone();
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

    /// The report about the file.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Whether the component can be called: it is admissible, or may be called untried.
    #[must_use]
    pub const fn is_callable(&self) -> bool {
        self.program.is_some()
    }

    /// Makes one call. Values that the component stores are kept for the next call.
    ///
    /// # Errors
    /// If the component cannot be called. A call that fails is not an error: [`Call::answer`] has its result.
    pub async fn ask(&self, question: Question) -> Result<Call, WorkbenchError> {
        let program = self.callable(question.function())?;
        let services = self.services(Some(Transcript::default()));
        self.on_guest_thread(async move { call::run(&program, services, None, &question).await })
            .await
    }

    /// Repeats a call on one thread. Values that the component stores are kept from each call to the next.
    ///
    /// # Errors
    /// If the component cannot be called, or a call fails.
    pub async fn bench(&self, question: Question, limits: BenchLimits) -> Result<Bench, WorkbenchError> {
        let program = self.callable(question.function())?;
        let services = self.services(None);
        self.on_guest_thread(bench::run(program, services, question, limits))
            .await?
            .map_err(WorkbenchError::Failed)
    }

    /// Repeats a call as [`Workbench::bench`] does, with instances of one kind only. Measures no calls if instances
    /// cannot be prepared.
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
        self.threads
            .handle()
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

/// Admits a file as the gateway does, and fills the report as far as it gets.
async fn admit(
    admitter: &Admitter,
    path: &Path,
    name: &str,
    config: Arc<PluginConfig>,
    call_untried: bool,
    report: &mut Report,
) -> Result<Program, AdmissionError> {
    let file = admitter.read(path, name).await?;
    report.size = Some(file.bytes.len() as u64);
    report.sha256 = Some(file.digest.clone());
    // If the component cannot be read to its end, the compiler has the better message.
    let _ = facts::read(report, &file.bytes, &config);
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

/// The name that a file has as a plugin.
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
