//! The status of plugins, for the admin listener and the command line.

use crate::history::KeptGeneration;
use crate::registry::{Plugin, Snapshot};
use crate::trust;
use gateway_sandbox::exports::Function;

/// The status of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// The serving generation's number and digest (hex SHA-256); `None` if nothing serves.
    pub generation: Option<(u64, String)>,
    /// The number of prepared instances.
    pub prepared: usize,
    /// The generations that are kept, oldest first: the serving one, and those a rollback can go back to.
    pub kept: Vec<KeptGeneration>,
    /// The SHA-256 that its component must have, if the configuration has one.
    pub pinned: Option<String>,
    /// Whether its component must be signed by a trusted key.
    pub signature_required: bool,
    /// The fingerprint of the trusted key that signed the serving generation, see
    /// [`TrustedKey::fingerprint`](crate::TrustedKey::fingerprint).
    pub signed_by: Option<String>,
    /// The version that the signature of the serving generation states.
    pub signed_version: Option<u64>,
    /// Whether an operator has rolled the plugin back. The serving generation then serves until the plugin's file
    /// changes.
    pub rolled_back: bool,
    /// The functions it exports, for example `get-permissions`.
    pub exports: Vec<String>,
    /// The services whose permission provider it is.
    pub services: Vec<String>,
    /// Whether it is configured as an extension.
    pub extension: bool,
    /// Whether its file has yet to be examined since the gateway started, or since the plugin was reconfigured.
    pub being_admitted: bool,
    /// Why the current file does not serve.
    pub problem: Option<String>,
}

/// All of a snapshot, sorted by name.
pub(crate) fn of(snapshot: &Snapshot) -> Vec<PluginStatus> {
    snapshot
        .plugins
        .values()
        .map(|plugin| of_one(snapshot, plugin))
        .collect()
}

/// One plugin of a snapshot.
pub(crate) fn of_one(snapshot: &Snapshot, plugin: &Plugin) -> PluginStatus {
    let generation = plugin.generation.as_ref();
    let keys = &snapshot.set.trusted_keys;
    let signed_by = generation.and_then(|generation| {
        let signature = generation.signature.as_ref()?;
        Some(trust::signed_by(keys, &plugin.name, &generation.digest, signature)?.fingerprint())
    });
    PluginStatus {
        name: plugin.name.to_string(),
        generation: generation.map(|generation| (generation.number, generation.digest.to_string())),
        prepared: generation.map_or(0, |generation| generation.pool.count()),
        kept: plugin.record.generations.clone(),
        pinned: plugin.config.sha256.clone(),
        signature_required: !keys.is_empty(),
        signed_version: generation.and_then(|generation| trust::version(generation.signature.as_ref())),
        signed_by,
        rolled_back: plugin.record.rolled_back.is_some(),
        exports: generation.map_or_else(Vec::new, |generation| {
            let has = Function::ALL
                .into_iter()
                .filter(|function| generation.program.exports.has(*function));
            has.map(|function| function.name().to_owned()).collect()
        }),
        services: plugin.roles.services.clone(),
        extension: plugin.roles.extension,
        being_admitted: plugin.being_admitted,
        problem: plugin.problem.as_deref().map(ToOwned::to_owned),
    }
}
