//! A component that can be called: its imports checked and linked, its exports found, with the configuration it runs under.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::component::{Component, InstancePre};

use crate::PluginConfig;
use crate::error::ComponentError;
use crate::exports::Exports;
use crate::grants;
use crate::guest::GuestState;
use crate::log::LogRate;
use crate::memory::MemoryShare;

/// A component that can be called, under one plugin's name and configuration.
pub struct Program {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// What it may do.
    pub config: Arc<PluginConfig>,
    /// The functions that the gateway may call.
    pub exports: Exports,
    /// What all calls of the plugin may log together.
    pub log_rate: Arc<LogRate>,
    /// What all instances of the plugin may have together. `None`: nothing bounds them together, as in a trial.
    pub memory: Option<Arc<MemoryShare>>,
    pub(crate) pre: InstancePre<GuestState>,
    /// The most bytes that one of its instances has taken, or keeps in place for the next.
    peak: AtomicUsize,
}

impl Program {
    /// Checks what a component imports, links it with what the configuration grants, and finds what it exports. `kept` is
    /// how many bytes an instance keeps in place for the next ([`Engines::kept`](crate::engine::Engines::kept)).
    ///
    /// # Errors
    /// What is wrong with an import or an export.
    pub fn link(
        component: &Component,
        plugin: &Arc<str>,
        config: &Arc<PluginConfig>,
        log_rate: Arc<LogRate>,
        kept: usize,
    ) -> Result<Self, ComponentError> {
        grants::check_imports(component, plugin, config)?;
        let pre = grants::linker(component.engine(), &config.grants)
            .and_then(|linker| linker.instantiate_pre(component))
            .map_err(|error| ComponentError::WrongImport(format!("{error:#}")))?;
        Ok(Self {
            exports: Exports::find(&pre)?,
            plugin: Arc::clone(plugin),
            config: Arc::clone(config),
            log_rate,
            memory: None,
            pre,
            peak: AtomicUsize::new(kept),
        })
    }

    /// The component.
    #[must_use]
    pub fn component(&self) -> &Component {
        self.pre.component()
    }

    /// How many of its instances fit into the memory that the plugin may have, made ahead or running.
    #[must_use]
    pub fn room(&self) -> usize {
        let peak = self.peak.load(Ordering::Relaxed);
        self.memory
            .as_ref()
            .map_or(usize::MAX, |memory| memory.room(peak))
    }

    /// One of its instances has taken so many bytes.
    pub(crate) fn seen_memory(&self, bytes: usize) {
        if bytes > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// One that lacks what the gateway would call.
    #[cfg(test)]
    pub(crate) fn with(pre: InstancePre<GuestState>, exports: Exports, config: PluginConfig) -> Self {
        Self {
            plugin: "plugin".into(),
            config: Arc::new(config),
            exports,
            log_rate: Arc::new(LogRate::new(usize::MAX)),
            memory: None,
            pre,
            peak: AtomicUsize::new(0),
        }
    }
}
