//! `gateway config check` and `gateway config schema`.
//!
//! The verdict comes from [`prepare`], which `serve` goes through as well. The settings go to stdout and the findings
//! to stderr, or both to stdout as one JSON object:
//!
//! ```json
//! {"verdict": "fails",
//!  "findings": [{"severity": "fatal", "setting": "server.listen", "file": "gateway.toml", "line": 3, "message": "…"}]}
//! ```

use std::cmp::Reverse;
use std::io::{self, Write as _};
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Shared, output};
use crate::config::sources::Origin;
use crate::config::{self, Loaded};
use crate::control;
use crate::prepare::{self, Finding, Scope, Severity, Step};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Print the verdict and the findings as a JSON object
    #[arg(long)]
    json: bool,
    /// Leave a part out
    #[arg(long, value_name = "PART", value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
}

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
    let (loaded, findings) = match config::load(&sources) {
        Ok(loaded) => {
            let scope = Scope {
                steps: steps
                    .into_iter()
                    .filter(|step| !check.skip.contains(step))
                    .collect(),
                running: control::running(&loaded.config.data_dir).await,
                ..Scope::default()
            };
            let findings = prepare::look(&loaded, &scope).await;
            (Some(loaded), findings)
        }
        Err(errors) => (None, prepare::of_mistakes(&errors)),
    };
    let (verdict, summary, code) = match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Fatal) if loaded.is_none() => ("fails", "the configuration cannot be used", 1),
        Some(Severity::Fatal) => ("fails", "the gateway would not start", 1),
        Some(Severity::Error) => (
            "degraded",
            "the gateway would start, but not serve everything that is configured",
            // The exit code of this verdict alone.
            4,
        ),
        _ => ("ok", "", 0),
    };
    if check.json {
        let findings: Vec<Value> = findings.iter().map(as_json).collect();
        let report = json!({ "verdict": verdict, "findings": findings });
        output::json(&mut io::stdout().lock(), &report)?;
    } else {
        print(sources.file.as_deref(), loaded.as_ref(), findings, summary)?;
    }
    if code == 0 { Ok(()) } else { Err(Exit(code).into()) }
}

/// `setting`, `file` and `line` are null if they are not known. `file` can also be a variable or a flag.
fn as_json(finding: &Finding) -> Value {
    let what = &finding.what;
    let (file, line) = match &what.origin {
        Some(Origin::File(path, line)) => (Some(path.display().to_string()), Some(*line)),
        other => (other.as_ref().map(ToString::to_string), None),
    };
    json!({
        "severity": finding.severity.as_str(),
        "setting": Some(&what.key).filter(|key| !key.is_empty()),
        "file": file,
        "line": line,
        "message": what.message,
    })
}

fn print(
    file: Option<&Path>,
    loaded: Option<&Loaded>,
    mut findings: Vec<Finding>,
    summary: &str,
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
    if !summary.is_empty() {
        writeln!(err, "gateway: {summary}:")?;
    }
    findings.sort_by_key(|finding| Reverse(finding.severity));
    for finding in findings {
        match finding.severity {
            Severity::Fatal | Severity::Error => writeln!(err, "{}", finding.what)?,
            // These messages begin with the setting.
            severity => writeln!(err, "{}: {}", severity.as_str(), finding.what.message)?,
        }
    }
    Ok(())
}
