//! An admitted component, and what a plugin is needed for.

use std::sync::Arc;

use gateway_sandbox::Program;

use crate::instance_pool::InstancePool;
use crate::metrics::Meters;

/// One admitted component, ready to be called, with the configuration it was admitted under.
pub(crate) struct Generation {
    pub(crate) program: Program,
    /// Grows with each file that is taken for the plugin, and never begins anew. 0 until it serves.
    pub(crate) number: u64,
    /// Hex SHA-256 of the component.
    pub(crate) digest: Arc<str>,
    /// The signature that came with it, base64 text.
    pub(crate) signature: Option<Arc<str>>,
    pub(crate) meters: Meters,
    /// Instances made ahead.
    pub(crate) pool: InstancePool,
    /// It serves under a configuration under which it has not been tried.
    pub(crate) is_untried: bool,
}

/// What a configured plugin is needed for: a component that lacks it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// The services that ask it.
    pub(crate) services: Vec<String>,
    /// Whether it is an extension.
    pub(crate) extension: bool,
}
