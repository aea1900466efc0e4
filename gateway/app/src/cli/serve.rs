//! `gateway serve`.

use std::net::TcpListener;

use anyhow::{Context as _, bail};

use super::{Shared, mistakes};
use crate::config::{self, Loaded, Sources, reload::reload};
use crate::prepare::{self, Scope, Severity, Step};
use crate::serve::serve;

pub(super) async fn run(shared: &Shared) -> anyhow::Result<()> {
    let sources = shared.sources();
    let loaded = config::load(&sources).map_err(|errors| mistakes(&errors))?;
    start(sources, loaded, false, None).await
}

/// Serves until a signal ends the process. `dev` turns the development sign-in on. A `listener` replaces the configured
/// address.
pub(super) async fn start(
    sources: Sources,
    loaded: Loaded,
    dev: bool,
    listener: Option<TcpListener>,
) -> anyhow::Result<()> {
    // Writes the last lines of the log when it is dropped.
    let _telemetry = crate::telemetry::init(&loaded.config.log)?;
    let scope = Scope {
        steps: [Step::Data, Step::Listeners].into(),
        listens: listener.is_some(),
        dev,
        running: Vec::new(),
    };
    let findings = prepare::look(&loaded, &scope).await;
    let fatal: Vec<String> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Fatal)
        .map(|finding| finding.what.to_string())
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
            "cannot create the data directory {}: set data_dir or GATEWAY_DATA_DIR to a directory that the gateway can \
             write to",
            data_dir.display()
        )
    })?;
    let reload = reload(sources, &loaded);
    serve(loaded.config, reload, dev, listener).await
}
