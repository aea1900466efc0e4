//! `gateway serve`: serves, as configured.

use std::net::TcpListener;

use anyhow::Context as _;

use super::{Shared, mistakes};
use crate::config::{self, Loaded, Sources, reload::reload};
use crate::serve::{Mode, serve};

pub(super) async fn run(shared: &Shared) -> anyhow::Result<()> {
    let sources = shared.sources();
    let loaded = config::load(&sources).map_err(|errors| mistakes(&errors))?;
    start(sources, loaded, false, None).await
}

/// Serves until it is told to end. `dev` is whether the development sign-in is on; a `listener` is used in place
/// of a new one.
pub(super) async fn start(
    sources: Sources,
    loaded: Loaded,
    dev: bool,
    listener: Option<TcpListener>,
) -> anyhow::Result<()> {
    // Writes the last lines when it is dropped.
    let _telemetry = crate::telemetry::init(&loaded.config.log)?;
    for warning in loaded.warnings() {
        tracing::warn!("{warning}");
    }
    let data_dir = &loaded.config.data_dir;
    crate::keys::private_dir(data_dir).with_context(|| {
        format!(
            "cannot make the data directory {}: set data_dir or GATEWAY_DATA_DIR to one that the gateway can write",
            data_dir.display()
        )
    })?;
    let reload = reload(sources, &loaded);
    serve(
        loaded.config,
        Mode {
            reload,
            dev,
            listener,
        },
    )
    .await
}
