//! `gateway provider check`: sends an upstream provider the requests of a sign-in, and reports what would go wrong.

use std::io::{self, Write as _};
use std::sync::Arc;

use clap::Subcommand;
use gateway_model::SystemClock;
use gateway_upstream::Provider;
use gateway_upstream::check::Level;
use serde_json::json;

use super::{Shared, output};
use crate::config;
use crate::handlers::callback_url;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Send a provider the requests of a sign-in, and report what would go wrong
    ///
    /// Nobody signs in. The command requests the provider's metadata, its keys and its sign-in page, and sends it an
    /// invalid authorization code, which shows whether it knows the client. The exit code is 1 if nobody could sign in.
    Check {
        /// The provider's name in the configuration
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(shared: &Shared, command: Command) -> anyhow::Result<()> {
    let Command::Check { name, json } = command;
    let config = shared.load(config::load_sign_in)?;
    let Some(provider) = config.providers.iter().find(|provider| provider.name == name) else {
        let names: Vec<&str> = config
            .providers
            .iter()
            .map(|provider| provider.name.as_str())
            .collect();
        anyhow::bail!(
            "there is no provider {name:?}; the configuration has {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        );
    };
    let redirect_uri = callback_url(&config.external, &provider.name)?;
    let provider = Provider::new(
        provider.clone(),
        redirect_uri.clone(),
        &config.upstream_limits,
        Arc::new(SystemClock),
    )?;
    let findings = provider.check().await;
    // Whether users can sign in, as far as the check can tell.
    let ok = findings.iter().all(|finding| finding.level < Level::Error);
    let mut out = io::stdout().lock();
    if json {
        let report = json!({
            "provider": provider.name(),
            "issuer": provider.issuer(),
            "redirect_uri": redirect_uri.as_str(),
            "ok": ok,
            "findings": findings,
        });
        output::json(&mut out, &report)?;
    } else {
        let issuer = output::printable(provider.issuer());
        writeln!(out, "provider      {} ({issuer})", provider.name())?;
        writeln!(
            out,
            "redirect URI  {redirect_uri}  (register this with the provider)"
        )?;
        for finding in &findings {
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Note => "note",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            let message = output::printable(&finding.message);
            writeln!(out, "{level:<8} {}: {message}", finding.about)?;
        }
    }
    out.flush()?;
    anyhow::ensure!(ok, "nobody can sign in through the provider {name:?}");
    Ok(())
}
