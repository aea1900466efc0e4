//! Admits single files without a host, by the gateway's own code: for an author, on their own machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway_model::SystemRandom;
use gateway_sandbox::engine::Engines;
use gateway_sandbox::{PluginConfig, Program};
use tokio::runtime::Handle;
use wasmtime::component::Component;

use crate::admission::{Admission, Candidate, Identified};
use crate::blocking::blocking;
use crate::cache::Cache;
use crate::compile::{CompileOptions, Compiler};
use crate::directory::{self, PluginDirectory};
use crate::dispatcher::Dispatcher;
use crate::error::{AdmissionError, HostError};
use crate::file::{self, PluginFile};
use crate::generation::Roles;

/// Admits single files.
pub struct Admitter {
    guests: Handle,
    compiler: Arc<Compiler>,
    admission: Admission,
}

/// A component's file.
#[derive(Clone)]
pub struct ComponentFile(Arc<PluginFile>);

impl ComponentFile {
    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Its SHA-256, in hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.0.digest
    }
}

/// Whether a plugin may have this name.
#[must_use]
pub fn is_plugin_name(name: &str) -> bool {
    file::path(Path::new(""), name).is_ok()
}

impl Admitter {
    /// Compiled code is kept in `cache_dir`, and everything happens on the threads of `guests`. Without a pool, an instance
    /// takes memory when it is made, which suits a machine with little address space.
    ///
    /// # Errors
    /// When the directory cannot be used, or the engine does not run on this machine.
    pub fn new(
        guests: Handle,
        cache_dir: &Path,
        compile: &CompileOptions,
        without_pool: bool,
    ) -> Result<Self, HostError> {
        let engines = Arc::new(if without_pool {
            Engines::start_without_pool()?
        } else {
            Engines::start()?
        });
        let open = || Cache::open(cache_dir, engines.usual(), &SystemRandom);
        Ok(Self {
            compiler: Arc::new(Compiler::new(
                Arc::clone(&engines),
                Arc::new(open()?),
                guests.clone(),
                compile.clone(),
            )),
            admission: Admission::new(
                Arc::clone(&engines),
                open()?,
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
    /// When the name cannot be a plugin's, or the file cannot be read.
    pub async fn read(&self, path: &Path, name: &str) -> Result<ComponentFile, AdmissionError> {
        file::path(Path::new(""), name)?;
        let (path, most) = (path.to_owned(), self.compiler.max_size());
        let read = blocking(&self.guests, move || directory::read_at(&path, most)).await??;
        Ok(ComponentFile(Arc::new(read)))
    }

    /// Compiles a component, or takes its code from the cache; `true` if it was there.
    ///
    /// # Errors
    /// When it is not a component, or compiling it exceeds a limit.
    pub async fn compile(
        &self,
        name: &str,
        file: &ComponentFile,
    ) -> Result<(Component, bool), AdmissionError> {
        match self.compiler.cached(&file.0).await? {
            Some(component) => Ok((component, true)),
            None => {
                let compiled = self.compiler.begin(name, Arc::clone(&file.0)).await?;
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
        file: &ComponentFile,
        component: &Component,
    ) -> Result<Program, AdmissionError> {
        let candidate = candidate(name, config);
        let generation = self
            .admission
            .admit(&candidate, component, identity(file))
            .await?;
        Ok(generation.program)
    }

    /// Checks and links a component, and leaves the trial out.
    ///
    /// # Errors
    /// As for [`Admitter::admit`].
    pub fn link(
        &self,
        name: &str,
        config: &Arc<PluginConfig>,
        file: &ComponentFile,
        component: &Component,
    ) -> Result<Program, AdmissionError> {
        let candidate = candidate(name, config);
        let generation = self
            .admission
            .admit_untried(&candidate, component, identity(file))?;
        Ok(generation.program)
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

fn identity(file: &ComponentFile) -> Identified {
    Identified {
        number: 0,
        digest: file.digest().into(),
        signature: None,
    }
}
