//! `gateway provider check`: asks a provider what a sign-in would ask it, and reports what would go wrong.

use std::io::{self, Write as _};
use std::sync::Arc;

use clap::{Args, Subcommand};
use gateway_model::SystemClock;
use gateway_upstream::Provider;
use gateway_upstream::check::{Finding, Level};
use serde::Serialize;

use super::{Shared, mistakes, output};
use crate::config::{self, SignInConfig};
use crate::handlers::callback_url;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask a provider what a sign-in would ask it, and report what would go wrong
    ///
    /// Nobody signs in. The provider is asked for its metadata, its keys and its sign-in page, and is offered a code that it
    /// never gave, which tells whether it knows the client. The exit code is 1 if nobody could sign in.
    Check(Check),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The provider's name in the configuration
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    provider: &'a str,
    issuer: &'a str,
    redirect_uri: &'a str,
    /// Whether people can sign in, as far as can be told.
    ok: bool,
    findings: &'a [Finding],
}

pub(super) async fn run(shared: &Shared, command: Command) -> anyhow::Result<()> {
    let Command::Check(check) = command;
    let config = config::load_sign_in(&shared.sources()).map_err(|errors| mistakes(&errors))?;
    self::check(&config, &check).await
}

async fn check(config: &SignInConfig, check: &Check) -> anyhow::Result<()> {
    let found = config
        .providers
        .iter()
        .find(|provider| provider.name == check.name);
    let Some(provider) = found else {
        let names: Vec<&str> = config
            .providers
            .iter()
            .map(|provider| provider.name.as_str())
            .collect();
        anyhow::bail!(
            "no provider is called {:?}; the configuration has {}",
            check.name,
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        );
    };
    let redirect_uri = callback_url(&config.external, &provider.name)?;
    let limits = &config.upstream_limits;
    let provider = Provider::new(
        provider.clone(),
        redirect_uri.clone(),
        limits,
        Arc::new(SystemClock),
    )?;
    let findings = provider.check().await;
    let ok = findings.iter().all(|finding| finding.level < Level::Error);
    let report = Report {
        provider: provider.name(),
        issuer: provider.issuer(),
        redirect_uri: redirect_uri.as_str(),
        ok,
        findings: &findings,
    };
    let mut out = io::stdout().lock();
    if check.json {
        output::json(&mut out, &report)?;
    } else {
        print(&mut out, &report)?;
    }
    out.flush()?;
    drop(out);
    anyhow::ensure!(ok, "nobody can sign in through the provider {:?}", check.name);
    Ok(())
}

fn print(out: &mut impl io::Write, report: &Report<'_>) -> io::Result<()> {
    writeln!(
        out,
        "provider      {} ({})",
        report.provider,
        output::printable(report.issuer)
    )?;
    writeln!(
        out,
        "redirect URI  {}  (register this with the provider)",
        report.redirect_uri
    )?;
    for finding in report.findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        writeln!(
            out,
            "{level:<8} {}: {}",
            finding.about,
            output::printable(&finding.message)
        )?;
    }
    Ok(())
}
