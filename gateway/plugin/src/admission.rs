//! Whether a file may serve: parsed, compiled off the serving threads, its exports and imports checked,
//! made ready and tried. Whatever fails says what is wrong and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::{Identity, Timestamp, User, UserId, UserStatus};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::call;
use crate::error::AdmissionError;
use crate::exports::{COMPATIBLE, Exports, Function, PACKAGE, VERSION};
use crate::file::{self, PluginFile};
use crate::grants;
use crate::guest::UserSource;
use crate::metrics::Meters;
use crate::registry::{Generation, Loaded, Roles};
use crate::serve::Lanes;
use crate::{Grant, PluginConfig, permission_provider};

/// How long one component may compile. An interpreter takes a quarter of a minute on a small machine.
const MAX_COMPILE: Duration = Duration::from_secs(120);
/// How many components compile at once.
const MAX_COMPILERS: usize = 2;
/// The least that a trial call may take: the machine is busy compiling.
const MIN_TRIAL: Duration = Duration::from_secs(2);

/// Looks at files and makes generations of them.
pub(crate) struct Admission {
    engine: Engine,
    cache: Arc<Cache>,
    directory: PathBuf,
    lanes: Arc<Lanes>,
    compilers: Arc<Semaphore>,
    compiling: Arc<Mutex<Compiling>>,
}

/// Digests of components that are being compiled.
#[derive(Default)]
struct Compiling {
    /// How many threads are at it.
    running: BTreeMap<String, usize>,
    /// Those of them that did not end in time. They go on: a thread cannot be stopped. So they are not
    /// begun again.
    overdue: BTreeSet<String>,
}

/// One thread that compiles, until it is dropped.
struct Running {
    compiling: Arc<Mutex<Compiling>>,
    digest: String,
}

impl Running {
    fn new(compiling: Arc<Mutex<Compiling>>, digest: String) -> Self {
        *compiling.lock().running.entry(digest.clone()).or_default() += 1;
        Self { compiling, digest }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut compiling = self.compiling.lock();
        if let Some(count) = compiling.running.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                compiling.running.remove(&self.digest);
            }
        }
        compiling.overdue.remove(&self.digest);
    }
}

/// One plugin to look at.
pub(crate) struct Candidate {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) roles: Roles,
    /// What serves under the name.
    pub(crate) serving: Option<Arc<Generation>>,
    /// Whether the gateway starts: then the last good file may stand in for a broken one.
    pub(crate) starting: bool,
}

impl Admission {
    /// Takes files from `directory`.
    pub(crate) fn new(engine: Engine, cache: Cache, directory: PathBuf, lanes: Arc<Lanes>) -> Self {
        let compilers = Arc::new(Semaphore::new(MAX_COMPILERS));
        Self {
            engine,
            cache: Arc::new(cache),
            directory,
            lanes,
            compilers,
            compiling: Arc::default(),
        }
    }

    /// Where a plugin's file is.
    ///
    /// # Errors
    /// When the name cannot be a file's.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, AdmissionError> {
        file::path(&self.directory, name)
    }

    /// Looks at a plugin's file and makes a generation of it, where it is good.
    ///
    /// # Errors
    /// Why it is not. What served before may go on.
    pub(crate) async fn load(&self, candidate: &Candidate) -> Result<Loaded, AdmissionError> {
        let path = self.path(&candidate.name)?;
        let problem = match self.load_file(candidate, path.clone()).await {
            Ok(Loaded::New(..)) if crate::file::Stamp::at(&path).is_none() => {
                // Taken away while it compiled.
                AdmissionError::Missing { path }
            }
            Ok(loaded) => return Ok(loaded),
            Err(problem) => problem,
        };
        if problem.is_missing() {
            let (cache, name) = (Arc::clone(&self.cache), Arc::clone(&candidate.name));
            let _ = self
                .lanes
                .guests()
                .spawn_blocking(move || cache.forget_good(&name))
                .await;
            return Err(problem);
        }
        match self.stand_in(candidate).await {
            Some(generation) => Ok(Loaded::New(generation, Some(problem))),
            None => Err(problem),
        }
    }

    async fn load_file(&self, candidate: &Candidate, path: PathBuf) -> Result<Loaded, AdmissionError> {
        let file = blocking(self.lanes.guests(), move || file::read(&path)).await??;
        let serving = candidate
            .serving
            .as_ref()
            .filter(|serving| *serving.digest == *file.digest);
        if let Some(serving) = serving {
            check_roles(&candidate.roles, &serving.exports)?;
            if serving.config == candidate.config {
                return Ok(Loaded::Unchanged);
            }
        }
        let digest: Arc<str> = file.digest.as_str().into();
        let file = Arc::new(file);
        let component = match serving {
            Some(serving) => serving.pre.component().clone(),
            None => self.compile(Arc::clone(&file)).await?,
        };
        let generation = self.admit(candidate, component, digest).await?;
        let (cache, name) = (Arc::clone(&self.cache), Arc::clone(&candidate.name));
        // The file is good: keep it, for a start that finds a broken one.
        let keep = move || {
            if cache.last_good(&name).as_deref() != Some(&file.bytes) {
                cache.store_good(&name, &file.bytes);
            }
        };
        blocking(self.lanes.guests(), keep).await?;
        Ok(Loaded::New(generation, None))
    }

    /// What can serve in place of a broken file: at the start, the last good one; later, what serves
    /// already, under the configuration as it is now. `None` where that is what serves already.
    async fn stand_in(&self, candidate: &Candidate) -> Option<Box<Generation>> {
        if let Some(serving) = &candidate.serving {
            if serving.config == candidate.config {
                return None;
            }
            let component = serving.pre.component().clone();
            return self
                .admit(candidate, component, Arc::clone(&serving.digest))
                .await
                .ok();
        }
        if !candidate.starting {
            return None;
        }
        let (cache, name) = (Arc::clone(&self.cache), Arc::clone(&candidate.name));
        let bytes = blocking(self.lanes.guests(), move || cache.last_good(&name))
            .await
            .ok()??;
        let file = Arc::new(PluginFile::of(bytes));
        let digest: Arc<str> = file.digest.as_str().into();
        let component = self.compile(file).await.ok()?;
        self.admit(candidate, component, digest).await.ok()
    }

    /// Checks, links and tries a component.
    async fn admit(
        &self,
        candidate: &Candidate,
        component: Component,
        digest: Arc<str>,
    ) -> Result<Box<Generation>, AdmissionError> {
        let Candidate { name, config, .. } = candidate;
        check_imports(&self.engine, &component, name, config)?;
        let pre = grants::linker(&self.engine, &config.grants)
            .and_then(|linker| linker.instantiate_pre(&component))
            .map_err(|error| AdmissionError::WrongImport(format!("{error:#}")))?;
        let exports = Exports::find(&pre)?;
        check_roles(&candidate.roles, &exports)?;
        let generation = Box::new(Generation {
            plugin: Arc::clone(name),
            number: 0,
            digest,
            config: Arc::clone(config),
            settings: Arc::new(config.settings.clone()),
            meters: Meters::new(name, &exports),
            pre,
            exports,
        });
        self.try_out(generation).await
    }

    /// The trial: an instance of it, its exports' types, and for a provider one call for somebody who
    /// does not exist. Answering with an error passes; a trap does not.
    async fn try_out(&self, generation: Box<Generation>) -> Result<Box<Generation>, AdmissionError> {
        let _slot = self.lanes.trial_slot().await;
        let task = self.lanes.guests().spawn(async move {
            let user = Arc::new(invented_user());
            let allowed = generation.config.limits.deadline.saturating_mul(4).max(MIN_TRIAL);
            let deadline = Instant::now() + allowed;
            let function = Function::ALL
                .into_iter()
                .find(|function| generation.exports.has(*function))
                .unwrap_or(Function::GetPermissions);
            let types = call::run(
                &generation,
                function,
                UserSource::Invented(Arc::clone(&user)),
                deadline,
                Box::new(|store, instance, exports| {
                    Box::pin(async move { Ok(exports.check_types(store, instance)) })
                }),
            );
            let (checked, _) = types.await;
            checked.map_err(|failure| AdmissionError::Trial(failure.error))??;
            if generation.exports.has(Function::GetPermissions) {
                let invoke = permission_provider::invoke("trial".to_owned(), user.id.as_str().to_owned());
                let users = UserSource::Invented(user);
                let (answer, _) =
                    call::run(&generation, Function::GetPermissions, users, deadline, invoke).await;
                let answer = answer.map_err(|failure| AdmissionError::Trial(failure.error))?;
                permission_provider::check(answer, &generation)
                    .map(|_| ())
                    .or_else(|error| match error {
                        crate::CallError::Unavailable { .. } | crate::CallError::Failed { .. } => Ok(()),
                        error => Err(error),
                    })
                    .map_err(AdmissionError::Trial)?;
            }
            Ok(generation)
        });
        task.await
            .map_err(|error| AdmissionError::CompileFailed(error.to_string()))?
    }

    /// The compiled component, from the cache or the compiler.
    async fn compile(&self, file: Arc<PluginFile>) -> Result<Component, AdmissionError> {
        if file.bytes.starts_with(b"\x7fELF") {
            return Err(AdmissionError::Precompiled);
        }
        // The version and layer of a core module, in place of a component's.
        if file.bytes.starts_with(b"\0asm\x01\0\0\0") {
            return Err(AdmissionError::CoreModule);
        }
        // Text would do for wasmtime; a plugin is one binary that a digest stands for.
        if !file.bytes.starts_with(b"\0asm") {
            return Err(AdmissionError::Invalid(
                "it does not begin as WebAssembly does".to_owned(),
            ));
        }
        if self.compiling.lock().overdue.contains(&file.digest) {
            return Err(AdmissionError::CompileTimeout(MAX_COMPILE));
        }
        let (engine, cache) = (self.engine.clone(), Arc::clone(&self.cache));
        let (compiling, digest) = (Arc::clone(&self.compiling), file.digest.clone());
        let compile = async {
            let permit = Arc::clone(&self.compilers).acquire_owned().await;
            let compile = move || {
                let _permit = permit;
                let _running = Running::new(compiling, file.digest.clone());
                if let Some(component) = cache.load(&engine, &file.digest) {
                    return Ok(component);
                }
                let component = Component::from_binary(&engine, &file.bytes).map_err(|error| {
                    AdmissionError::Invalid(crate::text::printable(&format!("{error:#}"), 1000))
                })?;
                cache.store(&file.digest, &component);
                Ok(component)
            };
            blocking(self.lanes.guests(), compile).await?
        };
        timeout(MAX_COMPILE, compile).await.unwrap_or_else(|_| {
            let mut compiling = self.compiling.lock();
            if compiling.running.contains_key(&digest) {
                compiling.overdue.insert(digest);
            }
            Err(AdmissionError::CompileTimeout(MAX_COMPILE))
        })
    }
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    guests: &Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AdmissionError> {
    guests
        .spawn_blocking(work)
        .await
        .map_err(|error| AdmissionError::CompileFailed(error.to_string()))
}

/// Whether a component has what its plugin is configured for.
fn check_roles(roles: &Roles, exports: &Exports) -> Result<(), AdmissionError> {
    if !roles.services.is_empty() && !exports.has(Function::GetPermissions) {
        return Err(AdmissionError::NotAProvider {
            services: roles.services.join(", "),
        });
    }
    if roles.extension && !exports.has_hook() {
        return Err(AdmissionError::NotAnExtension);
    }
    Ok(())
}

/// Whether a component imports only what there is and what it has been granted.
fn check_imports(
    engine: &Engine,
    component: &Component,
    plugin: &str,
    config: &PluginConfig,
) -> Result<(), AdmissionError> {
    for (name, _) in component.component_type().imports(engine) {
        let import = crate::text::printable(name, 200);
        let unknown = || AdmissionError::UnknownImport {
            import: import.clone(),
            plugin: plugin.to_owned(),
        };
        let Some(rest) = name.strip_prefix(PACKAGE) else {
            if crate::wasi::PACKAGES
                .iter()
                .any(|package| name.starts_with(package))
            {
                continue;
            }
            return Err(unknown());
        };
        let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
        let grant = grants::for_interface(interface);
        if interface != "types" && grant.is_none() {
            return Err(unknown());
        }
        if !version.starts_with(COMPATIBLE) {
            return Err(AdmissionError::Version {
                direction: "imports",
                name: import,
                ours: VERSION,
            });
        }
        if let Some(grant) = grant.filter(|grant| !config.grants.contains(grant)) {
            let mut grants: BTreeMap<&str, Grant> = config.grants.iter().map(|g| (g.as_str(), *g)).collect();
            grants.insert(grant.as_str(), grant);
            let names: Vec<_> = grants.into_keys().collect();
            let grants = format!("{names:?}");
            return Err(AdmissionError::NotGranted {
                import,
                plugin: plugin.to_owned(),
                grants,
            });
        }
    }
    Ok(())
}

/// Who a trial call is about.
pub(crate) fn invented_user() -> User {
    let identity = Identity {
        provider: "trial".to_owned(),
        issuer: "https://trial.invalid".to_owned(),
        subject: "trial".to_owned(),
    };
    User {
        id: UserId::from("0".repeat(32)),
        username: None,
        name: "Trial".to_owned(),
        email: None,
        avatar_url: None,
        identities: vec![identity],
        joined: Timestamp(0),
        status: UserStatus::Active,
        attributes: BTreeMap::new(),
    }
}
