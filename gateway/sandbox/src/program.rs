//! A component that can be called: with its imports linked, its exports found, and its configuration.

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

/// A component that can be called, with one plugin's name and configuration.
pub struct Program {
    /// The plugin's name.
    pub plugin: Arc<str>,
    /// The plugin's configuration.
    pub config: Arc<PluginConfig>,
    /// The functions that the gateway may call.
    pub exports: Exports,
    /// The log limit of all calls of the plugin together.
    pub log_rate: Arc<LogRate>,
    /// The memory of all instances of the plugin together. `None` means unlimited, as in a trial.
    pub memory: Option<Arc<MemoryShare>>,
    pub(crate) pre: InstancePre<GuestState>,
    /// The most bytes that one instance has taken, or keeps in RAM for the next.
    peak: AtomicUsize,
}

impl Program {
    /// Checks a component's imports, links the ones that the configuration grants, and finds its exports. `kept` is how
    /// many bytes an instance keeps in RAM for the next ([`Engines::kept`](crate::engine::Engines::kept)).
    ///
    /// # Errors
    /// If an import or an export is not as it should be.
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

    /// The linked component.
    #[must_use]
    pub fn component(&self) -> &Component {
        self.pre.component()
    }

    /// How many instances, prepared or running, fit into the plugin's memory.
    #[must_use]
    pub fn room(&self) -> usize {
        let peak = self.peak.load(Ordering::Relaxed);
        self.memory
            .as_ref()
            .map_or(usize::MAX, |memory| memory.room(peak))
    }

    /// Records how many bytes an instance has taken.
    pub(crate) fn seen_memory(&self, bytes: usize) {
        if bytes > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(bytes, Ordering::Relaxed);
        }
    }

    /// A program for unit tests.
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
