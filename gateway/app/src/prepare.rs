//! Whether a configuration can be served, found out without changing anything on disk. `gateway serve` goes through this
//! before it opens anything, and `gateway config check` does so and nothing else: the two cannot differ.
//!
//! | step | what is looked at |
//! |---|---|
//! | [`Step::Parts`] | keys, the session secret and providers, by the functions that `serve` is about to call |
//! | [`Step::Data`] | the data directory, the database, the files of tokens |
//! | [`Step::Listeners`] | whether the addresses can be listened on |
//! | [`Step::Pages`] | every page of the database: for `config check`, since `serve` starts with what can be read |
//! | [`Step::Plugins`] | every plugin's file, as the gateway admits it: for `config check`, since `serve` is about to do so |
//! | always | the clock, the plugin directory, and what the configuration itself gives cause to warn of |

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use gateway_host::{CheckOptions, HostError};
use gateway_model::SystemClock;
use gateway_store::{DatabaseUrl, Depth};
use gateway_token::SigningKeys;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::admin::{self, TokenFile};
use crate::app::Address;
use crate::config::sources::Origin;
use crate::config::{Config, ConfigError, ConfigErrors, Loaded, Report};
use crate::control::Status;
use crate::time::LAST;
use crate::{build, listen};

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It works and is probably not meant.
    Warning,
    /// The gateway serves, but something that is configured does not work.
    Error,
    /// The gateway does not start.
    Fatal,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where, which setting, and what is wrong.
    pub what: ConfigError,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

/// A step that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Keys, the session secret and providers, put to use.
    Parts,
    /// The data directory, the database, the files of tokens.
    Data,
    /// The addresses that are listened on.
    Listeners,
    /// Every page of the database, which has to be among the data.
    Pages,
    /// The plugins' files.
    Plugins,
}

/// What is looked at, and what is known.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The steps.
    pub steps: BTreeSet<Step>,
    /// Whether the public listener is there already.
    pub listens: bool,
    /// Whether the development sign-in is on.
    pub dev: bool,
    /// The gateways that serve this configuration now.
    pub running: Vec<Status>,
}

/// The machine's clock is so wrong that nobody could sign in: every session and every certificate has expired by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the machine's clock is wrong: it shows a time before 1970 or after 9999 (`date` prints it). Set it, then start the \
     gateway again"
)]
pub struct ImpossibleClock;

/// Whether the clock shows a time that can be.
///
/// # Errors
/// [`ImpossibleClock`].
pub fn check_clock() -> Result<(), ImpossibleClock> {
    let is_possible = SystemClock::since_epoch().is_some_and(|since| since.as_secs() <= LAST);
    is_possible.then_some(()).ok_or(ImpossibleClock)
}

/// The mistakes of a configuration, as findings.
#[must_use]
pub fn of_mistakes(errors: &ConfigErrors) -> Vec<Finding> {
    let fatal = |what: &ConfigError| Finding {
        severity: Severity::Fatal,
        what: what.clone(),
    };
    errors.0.iter().map(fatal).collect()
}

/// Everything there is to say of a configuration without mistakes, its warnings included.
pub async fn look(loaded: &Loaded, scope: &Scope) -> Vec<Finding> {
    let config = &loaded.config;
    let mut found = Found {
        report: &loaded.report,
        findings: Vec::new(),
    };
    for (severity, of) in [
        (Severity::Warning, &loaded.warned),
        (Severity::Note, &loaded.notes),
    ] {
        let findings = of.iter().map(|what| Finding {
            severity,
            what: what.clone(),
        });
        found.findings.extend(findings);
    }
    if let Err(error) = check_clock() {
        found.fatal("", error.to_string());
    }
    if scope.steps.contains(&Step::Parts) {
        keys(&mut found, config);
        providers(&mut found, config);
    }
    if config.providers.is_empty() && !scope.dev {
        let message = "there is no provider, so nobody can sign in: configure one, as in [providers.google]";
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
        plugin_cache(&mut found, config);
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

/// What has been found so far.
struct Found<'a> {
    report: &'a Report,
    findings: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, severity: Severity, setting: &str, message: impl Into<String>) {
        let origin = self.report.origin(setting).cloned();
        self.add_at(severity, origin, setting, message);
    }

    fn add_at(
        &mut self,
        severity: Severity,
        origin: Option<Origin>,
        setting: &str,
        message: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            what: ConfigError {
                origin,
                key: setting.to_owned(),
                message: message.into(),
            },
        });
    }

    /// Whether something was found about a setting.
    fn names(&self, setting: &str) -> bool {
        self.findings.iter().any(|finding| finding.what.key == setting)
    }

    fn fatal(&mut self, setting: &str, message: impl Into<String>) {
        self.add(Severity::Fatal, setting, message);
    }
}

fn keys(found: &mut Found<'_>, config: &Config) {
    // They are credentials of a service that does not run: there is a note.
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
        let message = format!(
            "the data directory {} cannot be used: {error}: set data_dir or GATEWAY_DATA_DIR to one that the gateway can \
             write",
            directory.display()
        );
        found.fatal("data_dir", message);
        return;
    }
    let (database, made) = (config.database.url.clone(), directory.clone());
    let checked = tokio::task::spawn_blocking(move || gateway_store::check(&database, &made, depth)).await;
    match checked {
        Ok(Ok(checked)) => {
            if let Some(damage) = checked.damage {
                found.add(Severity::Error, "database.url", damage);
            }
            for warning in checked.warnings {
                found.add(Severity::Warning, "database.url", warning);
            }
            for note in checked.notes {
                found.add(Severity::Note, "database.url", note);
            }
        }
        Ok(Err(error)) => found.fatal("database.url", format!("the database cannot be used: {error}")),
        Err(error) => found.fatal(
            "database.url",
            format!("the database cannot be looked at: {error}"),
        ),
    }
    for (setting, token) in tokens(config) {
        if let DatabaseUrl::File(database) = &config.database.url
            && gateway_store::is_own_file(database, token.path())
        {
            let message = format!(
                "the token's file {} cannot be used: it is one of the database's own files: name another one",
                token.path().display()
            );
            found.fatal(setting, message);
        } else if let Err(error) = admin::check_token(token, directory) {
            let message = format!(
                "the token's file {} cannot be used: {error}",
                token.path().display()
            );
            found.fatal(setting, message);
        }
    }
}

/// The files of tokens that a start reads or writes.
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

/// Whether each token is good for its own purpose only.
fn distinct_tokens(found: &mut Found<'_>, config: &Config) {
    let mut files = tokens(config).map(|(_, file)| file.path());
    if let (Some(operators), Some(monitors)) = (files.next(), files.next())
        && let Err(error) = admin::check_distinct(operators, monitors)
    {
        let message = format!("the token's file {} cannot be used: {error}", monitors.display());
        found.fatal("admin.metrics_token_file", message);
    }
}

/// Whether the plugins' directory for what is kept can be made, or is the gateway's own.
fn plugin_cache(found: &mut Found<'_>, config: &Config) {
    if let Err(error) = gateway_host::usable_cache_dir(&build::cache_dir(config)) {
        found.fatal("data_dir", format!("the plugins cannot be loaded: {error}"));
    }
}

/// Whether the data directory can be made, or is there and can be written.
fn data_dir(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let (mut at, mut is_there) = (path.as_path(), true);
    loop {
        match std::fs::metadata(at) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(io::Error::other(format!("{} is not a directory", at.display())));
            }
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                is_there = false;
                // A link that leads nowhere cannot be made a directory.
                if at.is_symlink() {
                    return Err(io::Error::other(format!(
                        "{} is a link that leads nowhere",
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
        let does = if is_there {
            "written"
        } else {
            "made: nothing can be added to"
        };
        let at = if is_there {
            String::new()
        } else {
            format!(" {}", at.display())
        };
        io::Error::new(error.kind(), format!("it cannot be {does}{at}: {error}"))
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
        // Bound, and closed without having listened.
        let Err(error) = listen::bound(address) else {
            continue;
        };
        match holder(address, &error, &scope.running) {
            Some(gateway) => {
                let message = format!(
                    "{address} is taken by the gateway that serves this configuration now (process {})",
                    gateway.pid
                );
                found.add(Severity::Note, setting, message);
            }
            None => found.fatal(setting, listen::cannot_listen(address, setting, &error)),
        }
    }
}

/// The gateway of this configuration that has the address.
fn holder<'a>(address: SocketAddr, error: &io::Error, running: &'a [Status]) -> Option<&'a Status> {
    if error.kind() != io::ErrorKind::AddrInUse {
        return None;
    }
    running.iter().find(|gateway| gateway.listens.contains(&address))
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
        // Said already, with the data directory.
        Err(HostError::CacheDir { .. }) if found.names("data_dir") => return,
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
        // Where it is used; else where it is configured, which nobody misses.
        let (severity, setting) = match services.first() {
            Some(service) => (Severity::Error, service.clone()),
            None if set.extensions.contains(name) => (Severity::Error, "extensions".to_owned()),
            None => (Severity::Warning, format!("plugin.{name}")),
        };
        let stands_in = if problem.stands_in {
            "; the last one that was good would serve in its place"
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
