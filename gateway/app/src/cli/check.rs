//! `gateway config check` and `schema`: whether `gateway serve` would start and serve everything that is configured.
//!
//! The verdict comes from [`prepare`], which `serve` goes through as well. The settings that are in force go to stdout and
//! what was found to stderr, or both to stdout as one JSON object:
//!
//! ```json
//! {"verdict": "fails",
//!  "findings": [{"severity": "fatal", "setting": "server.listen", "file": "gateway.toml", "line": 3, "message": "…"}]}
//! ```

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Shared, output};
use crate::config::sources::Origin;
use crate::config::{self, Loaded};
use crate::control;
use crate::prepare::{self, Finding, Scope, Severity, Step};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Print the verdict and what was found as a JSON object
    #[arg(long)]
    json: bool,
    /// Leave something out: the plugins, which may have to be compiled; the listeners, on a machine that is not the
    /// gateway's; or the data directory, the database and the files of tokens
    #[arg(long, value_name = "WHAT", value_enum, value_delimiter = ',')]
    skip: Vec<Skip>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Skip {
    Plugins,
    Listeners,
    Data,
}

impl From<Skip> for Step {
    fn from(skip: Skip) -> Self {
        match skip {
            Skip::Plugins => Self::Plugins,
            Skip::Listeners => Self::Listeners,
            Skip::Data => Self::Data,
        }
    }
}

/// The gateway would not start; everything has been said.
#[derive(Debug, thiserror::Error)]
#[error("the gateway would not start")]
pub(super) struct Fails;

/// Something that is configured would not work; everything has been said.
#[derive(Debug, thiserror::Error)]
#[error("the gateway would start, but not serve everything that is configured")]
pub(super) struct Degraded;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Degraded,
    Fails,
}

impl Verdict {
    fn of(findings: &[Finding]) -> Self {
        match findings.iter().map(|finding| finding.severity).max() {
            Some(Severity::Fatal) => Self::Fails,
            Some(Severity::Error) => Self::Degraded,
            _ => Self::Ok,
        }
    }
}

/// As it is printed.
#[derive(Debug, Serialize)]
struct Report<'a> {
    verdict: Verdict,
    findings: Vec<Line<'a>>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    severity: &'static str,
    /// `null` where it is about no single setting.
    setting: Option<&'a str>,
    /// The file, or the variable or flag; `null` where nobody has set it.
    file: Option<String>,
    /// Counted from 1; `null` where it is not in a file.
    line: Option<usize>,
    message: &'a str,
}

impl<'a> Line<'a> {
    fn of(finding: &'a Finding) -> Self {
        let what = &finding.what;
        let (file, line) = match &what.origin {
            Some(Origin::File(path, line)) => (Some(path.display().to_string()), Some(*line)),
            Some(other) => (Some(other.to_string()), None),
            None => (None, None),
        };
        Self {
            severity: finding.severity.as_str(),
            setting: Some(what.key.as_str()).filter(|key| !key.is_empty()),
            file,
            line,
            message: &what.message,
        }
    }
}

/// `gateway config schema`.
pub(super) fn schema() -> anyhow::Result<()> {
    output::json(&mut io::stdout().lock(), &config::schema::schema())?;
    Ok(())
}

pub(super) async fn run(shared: &Shared, check: &Check) -> anyhow::Result<()> {
    let mut sources = shared.sources();
    sources.before_start = true;
    let steps = [
        Step::Parts,
        Step::Data,
        Step::Pages,
        Step::Listeners,
        Step::Plugins,
    ];
    let skipped: Vec<Step> = check.skip.iter().map(|skip| (*skip).into()).collect();
    let (loaded, findings) = match config::load(&sources) {
        Ok(loaded) => {
            let scope = Scope {
                steps: steps.into_iter().filter(|step| !skipped.contains(step)).collect(),
                running: control::running(&loaded.config.data_dir).await,
                ..Scope::default()
            };
            let findings = prepare::look(&loaded, &scope).await;
            (Some(loaded), findings)
        }
        Err(errors) => (None, prepare::of_mistakes(&errors)),
    };
    let verdict = Verdict::of(&findings);
    if check.json {
        let findings = findings.iter().map(Line::of).collect();
        output::json(&mut io::stdout().lock(), &Report { verdict, findings })?;
    } else {
        print(sources.file.as_deref(), loaded.as_ref(), &findings, verdict)?;
    }
    match verdict {
        Verdict::Ok => Ok(()),
        Verdict::Degraded => Err(Degraded.into()),
        Verdict::Fails => Err(Fails.into()),
    }
}

fn print(
    file: Option<&std::path::Path>,
    loaded: Option<&Loaded>,
    findings: &[Finding],
    verdict: Verdict,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(loaded) = loaded {
        match file {
            Some(path) => writeln!(out, "configuration file: {}", path.display())?,
            None => writeln!(out, "no configuration file")?,
        }
        write!(out, "{}", loaded.report)?;
        out.flush()?;
    }
    let mut err = io::stderr().lock();
    match verdict {
        Verdict::Ok => {}
        Verdict::Degraded => writeln!(err, "gateway: {Degraded}:")?,
        Verdict::Fails if loaded.is_none() => writeln!(err, "gateway: the configuration cannot be used:")?,
        Verdict::Fails => writeln!(err, "gateway: {Fails}:")?,
    }
    let mut findings: Vec<&Finding> = findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for finding in findings {
        match finding.severity {
            Severity::Fatal | Severity::Error => writeln!(err, "{finding}")?,
            // Those begin with the setting that they are about.
            severity => writeln!(err, "{}: {}", severity.as_str(), finding.what.message)?,
        }
    }
    Ok(())
}
