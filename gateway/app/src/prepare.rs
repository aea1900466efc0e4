//! Whether a configuration can be served, without changing anything on disk. `gateway serve` calls this before it opens
//! anything, and `gateway config check` does nothing else, so the two agree.
//!
//! | step | what it checks |
//! |---|---|
//! | [`Step::Parts`] | keys, the session secret and providers, with the functions that `serve` calls later |
//! | [`Step::Data`] | the data directory, the database, the token files |
//! | [`Step::Listeners`] | whether the gateway can listen on the addresses |
//! | [`Step::Pages`] | every page of the database. Only `config check` does this: `serve` starts with a page that it cannot read |
//! | [`Step::Plugins`] | every plugin's file, as the gateway admits it. Only `config check` does this: `serve` admits them later |
//! | always | the clock, the plugin directory, and the warnings about the configuration itself |

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use gateway_host::{CheckOptions, HostError};
use gateway_model::SystemClock;
use gateway_store::{DatabaseUrl, Depth};
use gateway_token::SigningKeys;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::admin::{self, TokenFile};
use crate::app::Address;
use crate::config::{Config, ConfigError, ConfigErrors, Loaded, Report};
use crate::control::Status;
use crate::time::LAST;
use crate::{build, listen};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Note,
    /// It works, but is probably not intended.
    Warning,
    /// The gateway serves, but something that is configured does not work.
    Error,
    /// The gateway does not start.
    Fatal,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) what: ConfigError,
}

/// A part of the check. `config check --skip` accepts those without `skip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Step {
    #[value(skip)]
    Parts,
    /// The data directory, the database and the token files
    Data,
    /// The listeners, for a check on another machine than the gateway's
    Listeners,
    /// Has no effect without [`Step::Data`].
    #[value(skip)]
    Pages,
    /// The plugins, which may have to be compiled
    Plugins,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) steps: BTreeSet<Step>,
    /// Whether the public listener is open already.
    pub(crate) listens: bool,
    pub(crate) dev: bool,
    /// The gateways that use this data directory now.
    pub(crate) running: Vec<Status>,
}

/// By such a clock, every session and every certificate has expired, so nobody could sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the machine's clock is wrong: it shows a time before 1970 or after 9999 (`date` prints it). Set it, then start the \
     gateway again"
)]
pub(crate) struct ImpossibleClock;

pub(crate) fn check_clock() -> Result<(), ImpossibleClock> {
    let is_possible = SystemClock::since_epoch().is_some_and(|since| since.as_secs() <= LAST);
    is_possible.then_some(()).ok_or(ImpossibleClock)
}

fn all_with(severity: Severity, errors: &[ConfigError]) -> impl Iterator<Item = Finding> {
    errors.iter().cloned().map(move |what| Finding { severity, what })
}

pub(crate) fn of_mistakes(errors: &ConfigErrors) -> Vec<Finding> {
    all_with(Severity::Fatal, &errors.0).collect()
}

/// Checks a configuration without mistakes. The findings include its warnings and notes.
pub(crate) async fn look(loaded: &Loaded, scope: &Scope) -> Vec<Finding> {
    let config = &loaded.config;
    let warned = all_with(Severity::Warning, &loaded.warned);
    let mut found = Found {
        report: &loaded.report,
        findings: warned.chain(all_with(Severity::Note, &loaded.notes)).collect(),
    };
    if let Err(error) = check_clock() {
        found.fatal("", error.to_string());
    }
    if scope.steps.contains(&Step::Parts) {
        keys(&mut found, config);
        providers(&mut found, config);
    }
    if config.providers.is_empty() && !scope.dev {
        let message =
            "no provider is configured, so nobody can sign in: configure one, for example [providers.google]";
        found.add(Severity::Warning, "providers", message);
    }
    if scope.steps.contains(&Step::Data) {
        let depth = if scope.steps.contains(&Step::Pages) {
            Depth::Pages
        } else {
            Depth::Schema
        };
        data(&mut found, config, depth).await;
        distinct_tokens(&mut found, config);
        if let Err(error) = gateway_host::usable_cache_dir(&build::cache_dir(config)) {
            found.fatal("data_dir", format!("the plugins cannot be loaded: {error}"));
        }
    }
    if scope.steps.contains(&Step::Listeners) {
        listeners(&mut found, config, scope);
    }
    if let Err(error) = gateway_host::usable_dir(&config.plugin_dir) {
        found.fatal("plugin_dir", format!("{error} (plugin_dir, GATEWAY_PLUGIN_DIR)"));
    } else if scope.steps.contains(&Step::Plugins) {
        plugins(&mut found, config).await;
    }
    found.findings
}

struct Found<'a> {
    report: &'a Report,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, severity: Severity, setting: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            what: ConfigError {
                origin: self.report.origin(setting).cloned(),
                key: setting.to_owned(),
                message: message.into(),
            },
        });
    }

    fn fatal(&mut self, setting: &str, message: impl Into<String>) {
        self.add(Severity::Fatal, setting, message);
    }
}

fn keys(found: &mut Found<'_>, config: &Config) {
    // The keys are credentials of a systemd service that is not running; a note says so.
    if config.signing_keys.is_empty() {
        return;
    }
    if let Err(error) = SigningKeys::from_pems(&config.signing_keys, &config.public_keys) {
        let message = format!("the signing keys cannot be used: {error}: see `gateway keys generate`");
        found.fatal("keys.signing", message);
    }
    let address = Address::new(&config.external);
    if let Err(error) = build::session_key(config, &address.text, Arc::new(gateway_model::SystemRandom)) {
        found.fatal("keys.session_secret", format!("{error:#}"));
    }
}

fn providers(found: &mut Found<'_>, config: &Config) {
    for provider in &config.providers {
        let mut fatal = |error| found.fatal(&format!("providers.{}", provider.name), format!("{error:#}"));
        if let Err(error) = build::provider(config, provider, Arc::new(SystemClock)) {
            fatal(error);
        }
        if let Err(error) = build::offer(provider) {
            fatal(error);
        }
    }
}

async fn data(found: &mut Found<'_>, config: &Config, depth: Depth) {
    let directory = &config.data_dir;
    if let Err(error) = data_dir(directory) {
        let directory = directory.display();
        let message = format!(
            "the data directory {directory} cannot be used: {error}: set data_dir or GATEWAY_DATA_DIR to a directory that \
             the gateway can write to"
        );
        return found.fatal("data_dir", message);
    }
    let (database, made) = (config.database.url.clone(), directory.clone());
    let checked = tokio::task::spawn_blocking(move || gateway_store::check(&database, &made, depth)).await;
    match checked {
        Ok(Ok(checked)) => {
            let damage = checked.damage.map(|damage| (Severity::Error, damage));
            let warnings = checked.warnings.into_iter().map(|text| (Severity::Warning, text));
            let notes = checked.notes.into_iter().map(|text| (Severity::Note, text));
            for (severity, message) in damage.into_iter().chain(warnings).chain(notes) {
                found.add(severity, "database.url", message);
            }
        }
        Ok(Err(error)) => found.fatal("database.url", format!("the database cannot be used: {error}")),
        Err(error) => found.fatal("database.url", format!("the database cannot be checked: {error}")),
    }
    for (setting, token) in tokens(config) {
        let problem = if let DatabaseUrl::File(database) = &config.database.url
            && gateway_store::is_own_file(database, token.path())
        {
            "it is one of the database's own files: name another file".to_owned()
        } else if let Err(error) = admin::check_token(token, directory) {
            error.to_string()
        } else {
            continue;
        };
        let file = token.path().display();
        found.fatal(
            setting,
            format!("the token file {file} cannot be used: {problem}"),
        );
    }
}

/// The token files that a start reads or writes.
pub(crate) fn tokens(config: &Config) -> impl Iterator<Item = (&'static str, TokenFile<'_>)> {
    let admin = &config.admin;
    let operators = admin
        .listen
        .map(|_| ("admin.token_file", TokenFile::Operators(&admin.token_file)));
    let monitors = admin
        .metrics_token_file
        .as_deref()
        .map(|path| ("admin.metrics_token_file", TokenFile::Monitors(path)));
    operators.into_iter().chain(monitors)
}

fn distinct_tokens(found: &mut Found<'_>, config: &Config) {
    let mut files = tokens(config).map(|(_, file)| file.path());
    if let (Some(operators), Some(monitors)) = (files.next(), files.next())
        && let Err(error) = admin::check_distinct(operators, monitors)
    {
        let message = format!("the token file {} cannot be used: {error}", monitors.display());
        found.fatal("admin.metrics_token_file", message);
    }
}

/// Whether the data directory exists and is writable, or can be created.
fn data_dir(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let (mut at, mut exists) = (path.as_path(), true);
    loop {
        match std::fs::metadata(at) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(io::Error::other(format!("{} is not a directory", at.display())));
            }
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                exists = false;
                if at.is_symlink() {
                    return Err(io::Error::other(format!(
                        "{} is a broken symbolic link",
                        at.display()
                    )));
                }
                at = at.parent().unwrap_or(Path::new("/"));
            }
            Err(error) => return Err(error),
        }
    }
    let failed = |error: rustix::io::Errno| {
        let error = io::Error::from(error);
        let message = if exists {
            format!("it is not writable: {error}")
        } else {
            let at = at.display();
            format!("it cannot be created, because {at} is not writable: {error}")
        };
        io::Error::new(error.kind(), message)
    };
    accessat(CWD, at, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(failed)
}

fn listeners(found: &mut Found<'_>, config: &Config, scope: &Scope) {
    let public = Some(config.server.listen).filter(|_| !scope.listens);
    let all = [
        ("server.listen", public),
        ("admin.listen", config.admin.listen),
        ("admin.metrics_listen", config.admin.metrics_listen),
    ];
    for (setting, address) in all {
        let Some(address) = address else { continue };
        // The socket is bound, and closed again without listening.
        let Err(error) = listen::bound(address) else {
            continue;
        };
        let mut running = scope.running.iter();
        match running.find(|gateway| gateway.listens.contains(&address)) {
            Some(Status { pid, .. }) if error.kind() == io::ErrorKind::AddrInUse => {
                let message = format!(
                    "{address} is in use by the gateway that serves this configuration now (process {pid})"
                );
                found.add(Severity::Note, setting, message);
            }
            _ => found.fatal(setting, listen::cannot_listen(address, setting, &error)),
        }
    }
}

async fn plugins(found: &mut Found<'_>, config: &Config) {
    let compile = match build::compile_options(config) {
        Ok(compile) => compile,
        Err(error) => return found.fatal("plugins", format!("plugins cannot be compiled: {error}")),
    };
    let options = CheckOptions {
        plugin_dir: config.plugin_dir.clone(),
        cache_dir: build::cache_dir(config),
        compile,
    };
    let set = &config.reloadable.plugins;
    let problems = match gateway_host::check(options, set.clone()).await {
        Ok(problems) => problems,
        // Reported already.
        Err(HostError::CacheDir { .. }) if found.findings.iter().any(|f| f.what.key == "data_dir") => return,
        Err(error) => return found.fatal("plugins", format!("the plugins cannot be loaded: {error}")),
    };
    for problem in problems {
        let name = &problem.plugin;
        let services: Vec<String> = set
            .services
            .iter()
            .filter(|(_, plugin)| *plugin == name)
            .map(|(service, _)| format!("service.{service}.plugin"))
            .collect();
        // The setting that uses the plugin. Nobody misses a plugin that is only configured.
        let (severity, setting) = match services.first() {
            Some(service) => (Severity::Error, service.clone()),
            None if set.extensions.contains(name) => (Severity::Error, "extensions".to_owned()),
            None => (Severity::Warning, format!("plugin.{name}")),
        };
        let stands_in = if problem.stands_in {
            "; its last good version would serve instead"
        } else {
            ""
        };
        let message = format!(
            "the plugin {name:?} would not serve: {}{stands_in}",
            problem.problem
        );
        found.add(severity, &setting, message);
    }
}
