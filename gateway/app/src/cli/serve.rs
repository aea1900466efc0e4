//! `gateway serve`: serves, as configured.

use std::net::TcpListener;

use anyhow::{Context as _, bail};

use super::{Shared, mistakes};
use crate::config::{self, Loaded, Sources, reload::reload};
use crate::prepare::{self, Scope, Severity, Step};
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
    let scope = Scope {
        // The plugins' files are looked at when they are loaded.
        steps: [Step::Data, Step::Listeners].into(),
        listens: listener.is_some(),
        dev,
        running: Vec::new(),
    };
    let findings = prepare::look(&loaded, &scope).await;
    let fatal: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Fatal)
        .map(ToString::to_string)
        .collect();
    match &fatal[..] {
        [] => {}
        [reason] => bail!("{reason}"),
        _ => bail!("the gateway cannot start:\n{}", fatal.join("\n")),
    }
    for finding in findings {
        match finding.severity {
            Severity::Note => tracing::info!("{}", finding.what.message),
            _ => tracing::warn!("{}", finding.what.message),
        }
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
