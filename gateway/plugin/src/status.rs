//! How the plugins stand, for the admin listener and the command line.

use crate::exports::Function;
use crate::registry::Snapshot;

/// How one plugin stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// The serving generation's number and digest (hex SHA-256); `None` where nothing serves.
    pub generation: Option<(u64, String)>,
    /// The functions it exports, for example `get-permissions`.
    pub exports: Vec<String>,
    /// The services that ask it.
    pub services: Vec<String>,
    /// Whether it is configured as an extension.
    pub extension: bool,
    /// Why the file that is there now does not serve.
    pub problem: Option<String>,
}

/// All of a snapshot, sorted by name.
pub(crate) fn of(snapshot: &Snapshot) -> Vec<PluginStatus> {
    let status = |plugin: &std::sync::Arc<crate::registry::Plugin>| {
        let generation = plugin.generation.as_ref();
        PluginStatus {
            name: plugin.name.to_string(),
            generation: generation.map(|generation| (generation.number, generation.digest.to_string())),
            exports: generation.map_or_else(Vec::new, |generation| {
                let has = Function::ALL
                    .into_iter()
                    .filter(|function| generation.exports.has(*function));
                has.map(|function| function.name().to_owned()).collect()
            }),
            services: plugin.roles.services.clone(),
            extension: plugin.roles.extension,
            problem: plugin.problem.as_deref().map(ToOwned::to_owned),
        }
    };
    snapshot.plugins.values().map(status).collect()
}
