//! An admitted component, and what a plugin is needed for.

use std::sync::Arc;

use gateway_sandbox::Program;

use crate::history::KeptGeneration;
use crate::instance_pool::InstancePool;
use crate::metrics::Meters;

/// An admitted component, ready to be called, with the configuration it was admitted under.
pub(crate) struct Generation {
    pub(crate) program: Program,
    /// Grows with each accepted file of the plugin, and never restarts.
    pub(crate) number: u64,
    /// Hex SHA-256 of the component.
    pub(crate) digest: Arc<str>,
    /// The text of the `.sig` file that came with it.
    pub(crate) signature: Option<Arc<str>>,
    pub(crate) meters: Meters,
    pub(crate) pool: InstancePool,
    /// It has not been tried under its configuration.
    pub(crate) is_untried: bool,
}

impl Generation {
    /// A kept generation, with its program as it was admitted.
    pub(crate) fn of(kept: &KeptGeneration, program: Program) -> Self {
        Self::new(kept.number, &kept.digest, kept.signature.clone(), program)
    }

    /// The same generation with another program of its component.
    pub(crate) fn with(&self, program: Program) -> Self {
        Self::new(self.number, &self.digest, self.signature.clone(), program)
    }

    fn new(number: u64, digest: &Arc<str>, signature: Option<Arc<str>>, program: Program) -> Self {
        Self {
            number,
            digest: Arc::clone(digest),
            signature,
            meters: Meters::new(&program.plugin, &program.exports),
            pool: InstancePool::default(),
            is_untried: false,
            program,
        }
    }
}

/// The roles of a configured plugin. A component that lacks an export for one of them is rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// The services whose permission provider it is.
    pub(crate) services: Vec<String>,
    pub(crate) extension: bool,
}
