//! Admits single files without a host, with the gateway's own code: for an author, on their own machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_model::SystemRandom;
use gateway_sandbox::engine::Engines;
use gateway_sandbox::{PluginConfig, Program};
use tokio::runtime::Handle;
use wasmtime::component::Component;

use crate::admission::Admission;
use crate::blocking::blocking;
use crate::cache::Cache;
use crate::candidate::Candidate;
use crate::compile::CompileOptions;
use crate::directory::{self, PluginDirectory};
use crate::dispatcher::Dispatcher;
use crate::error::{AdmissionError, HostError};
use crate::file::{self, PluginFile};
use crate::generation::Roles;

/// Admits single files.
pub struct Admitter {
    guests: Handle,
    admission: Admission,
}

/// Whether a plugin may have this name.
#[must_use]
pub fn is_plugin_name(name: &str) -> bool {
    file::path(Path::new(""), name).is_ok()
}

impl Admitter {
    /// Caches compiled code in `cache_dir`, and does everything on the threads of `guests`. Without a pool, an instance
    /// allocates its memory when it is created, which suits a machine with little address space.
    ///
    /// # Errors
    /// If the directory cannot be used, or the engine does not run on this machine.
    pub fn new(
        guests: Handle,
        cache_dir: &Path,
        compile: &CompileOptions,
        without_pool: bool,
    ) -> Result<Self, HostError> {
        let engines = Arc::new(Engines::starting(!without_pool)?);
        let cache = Cache::open(cache_dir, engines.usual(), &SystemRandom)?;
        Ok(Self {
            admission: Admission::new(
                engines,
                cache,
                Arc::new(PluginDirectory::new(PathBuf::new())),
                Arc::new(Dispatcher::new(guests.clone())),
                compile.clone(),
            ),
            guests,
        })
    }

    /// Reads a plugin's file.
    ///
    /// # Errors
    /// If the name cannot be a plugin's, or the file cannot be read.
    pub async fn read(&self, path: &Path, name: &str) -> Result<Arc<PluginFile>, AdmissionError> {
        file::path(Path::new(""), name)?;
        let (path, most) = (path.to_owned(), self.admission.compiler.max_size());
        let read = blocking(&self.guests, move || directory::read_at(&path, most)).await??;
        Ok(Arc::new(read))
    }

    /// Compiles a component, or loads its code from the cache; `true` if it was there.
    ///
    /// # Errors
    /// If it is not a component, or compiling it exceeds a limit.
    pub async fn compile(
        &self,
        name: &str,
        file: &Arc<PluginFile>,
    ) -> Result<(Component, bool), AdmissionError> {
        let compiler = &self.admission.compiler;
        match compiler.cached(file).await? {
            Some(component) => Ok((component, true)),
            None => {
                let compiled = compiler.begin(name, Arc::clone(file)).await?;
                Ok((compiled, false))
            }
        }
    }

    /// Checks, links and tries a component, as the gateway would.
    ///
    /// # Errors
    /// Why the gateway would not serve it.
    pub async fn admit(
        &self,
        name: &str,
        config: &Arc<PluginConfig>,
        component: &Component,
    ) -> Result<Program, AdmissionError> {
        self.admission.admit(&candidate(name, config), component).await
    }

    /// Checks and links a component, and skips the trial.
    ///
    /// # Errors
    /// As for [`Admitter::admit`].
    pub fn link(
        &self,
        name: &str,
        config: &Arc<PluginConfig>,
        component: &Component,
    ) -> Result<Program, AdmissionError> {
        self.admission.admit_untried(&candidate(name, config), component)
    }
}

fn candidate(name: &str, config: &Arc<PluginConfig>) -> Candidate {
    Candidate {
        name: name.into(),
        config: Arc::clone(config),
        roles: Roles::default(),
        trust: Arc::default(),
        serving: None,
        starting: false,
        compiling: Arc::default(),
    }
}
