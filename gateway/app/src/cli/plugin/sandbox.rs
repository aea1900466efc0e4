//! Which component, and what it may do: `[plugin.NAME]` of the configuration, flags that say otherwise on the command
//! line, and the component put on the bench under them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use gateway_devkit::{Report, Workbench, WorkbenchOptions, plugin_name};
use gateway_host::CompileOptions;
use gateway_model::User;
use gateway_sandbox::{Grant, HostName, HttpOrigin, Limits, Network, PluginConfig, Secret};

use super::people;
use crate::cli::output::printable;
use crate::cli::{Shared, compiler, mistakes};
use crate::config::{self, flags};
use crate::small_file::{self, Stream};

/// How long one waits before one is told what for.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long another command may take to print a secret, and a person to type it.
const PIPE: Duration = Duration::from_secs(30);
const TYPING: Duration = Duration::from_secs(600);
/// Most bytes of a secret on standard input.
const MAX_SECRET: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// The component
    pub(super) file: PathBuf,
    /// The plugin's name [default: the file's]
    #[arg(long, value_name = "NAME", value_parser = flags::name)]
    name: Option<String>,
    /// What the plugin may import besides what the configuration grants, such as users or http
    #[arg(long = "grant", value_name = "GRANT", value_delimiter = ',', value_parser = flags::grant)]
    grants: Vec<Grant>,
    /// One of its settings, for the grant config; a configured one of that name does not count then
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// One of its secrets, for the grant secrets: a file that holds it, a pipe, or - for standard input; a configured one
    /// of that name does not count then
    #[arg(long = "secret-file", value_name = "NAME=PATH", value_parser = pair)]
    secret_files: Vec<(String, String)>,
    /// The same, written out: everybody on this machine can see it while the command runs, so use --secret-file
    #[arg(long = "secret", value_name = "NAME=VALUE", value_parser = pair, hide = true)]
    secrets: Vec<(String, String)>,
    /// Everybody there is, for the grant users: a JSON list of users
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Where it may send requests besides what the configuration allows, for the grant http
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = flags::origin)]
    allow: Vec<HttpOrigin>,
    /// A host among them that may be on this machine or its own networks
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = flags::host)]
    allow_private: Vec<HostName>,
    #[command(flatten)]
    limits: LimitFlags,
    /// Where compiled code is kept for the next time [default: ~/.cache/auth-gateway/compiled]
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Compile it anew
    #[arg(long)]
    no_cache: bool,
}

/// What a call may use; what is not given here is as configured, and else as below.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitFlags {
    /// Units of fuel [default: 100_000_000]
    #[arg(long, value_name = "COUNT", value_parser = flags::count)]
    fuel: Option<u64>,
    /// Wall clock [default: 500ms]
    #[arg(long, value_name = "DURATION", value_parser = flags::duration)]
    deadline: Option<Duration>,
    /// All memories and tables together [default: 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = flags::bytes)]
    memory: Option<usize>,
    /// Bytes of an answer [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = flags::bytes)]
    result_bytes: Option<usize>,
    /// Permissions or attributes in an answer [default: 1000]
    #[arg(long, value_name = "COUNT", value_parser = flags::items)]
    result_items: Option<usize>,
    /// Bytes that a call may log [default: 16KiB]
    #[arg(long, value_name = "SIZE", value_parser = flags::bytes)]
    log_bytes: Option<usize>,
    /// Bytes of all that it keeps, for the grant key-value [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = flags::bytes)]
    store_bytes: Option<usize>,
    /// Bytes of one value that it keeps [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = flags::bytes)]
    value_bytes: Option<usize>,
}

impl LimitFlags {
    fn over(&self, base: &Limits) -> Limits {
        Limits {
            fuel: self.fuel.unwrap_or(base.fuel),
            deadline: self.deadline.unwrap_or(base.deadline),
            memory: self.memory.unwrap_or(base.memory),
            result_bytes: self.result_bytes.unwrap_or(base.result_bytes),
            result_items: self.result_items.unwrap_or(base.result_items),
            log_bytes: self.log_bytes.unwrap_or(base.log_bytes),
            // There is no log to fill here, and an author wants to read everything.
            log_bytes_per_minute: usize::MAX,
            store_bytes: self.store_bytes.unwrap_or(base.store_bytes),
            value_bytes: self.value_bytes.unwrap_or(base.value_bytes),
        }
    }
}

impl Sandbox {
    /// Everybody in the file that `--users` names; nobody without it.
    pub(super) fn users(&self) -> anyhow::Result<Vec<User>> {
        self.users
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), people::users)
    }

    /// The name that the plugin has in the configuration.
    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| plugin_name(&self.file))
    }

    /// What the plugin may do: as configured, and as the flags say where they say otherwise. Without the secrets of the
    /// flags, which can be read only once.
    ///
    /// # Errors
    /// Mistakes in what the configuration says of the plugin.
    pub(super) fn config(&self, shared: &Shared) -> anyhow::Result<PluginConfig> {
        let given = |name: &str| {
            let flags = self.secrets.iter().chain(&self.secret_files);
            flags.map(|(given, _)| given.as_str()).any(|given| {
                let rest = name.strip_prefix(given);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let is_of_use = |key: &str| key.strip_prefix("secrets.").is_none_or(|name| !given(name));
        let mut config = config::load_plugin(&shared.sources(), &self.name(), is_of_use)
            .map_err(|errors| mistakes(&errors))?;
        config.grants.extend(self.grants.iter().copied());
        config.limits = self.limits.over(&config.limits);
        config.settings.extend(self.settings.iter().cloned());
        config.http.allow.extend(self.allow.iter().cloned());
        config
            .http
            .allow_private
            .extend(self.allow_private.iter().cloned());
        Ok(config)
    }

    /// The secrets that flags give.
    ///
    /// # Errors
    /// When a file cannot be read.
    fn secrets(&self) -> anyhow::Result<BTreeMap<String, Secret>> {
        if !self.secrets.is_empty() {
            writeln!(
                io::stderr(),
                "--secret shows the secret to everybody on this machine: write it to a file, and name that with \
                 --secret-file NAME=PATH"
            )?;
        }
        let mut secrets: BTreeMap<_, _> = self
            .secrets
            .iter()
            .map(|(name, secret)| (name.clone(), Secret::from(secret.clone())))
            .collect();
        if self.secret_files.iter().filter(|(_, path)| path == "-").count() > 1 {
            return Err(anyhow!(
                "only one secret can be on standard input: name files for the others"
            ));
        }
        for (name, path) in &self.secret_files {
            let text = secret(path).with_context(|| format!("cannot read the secret {name} from {path}"))?;
            // As in the configuration: the end of the line is not part of it.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            secrets.insert(name.clone(), Secret::from(text.to_owned()));
        }
        Ok(secrets)
    }

    /// Puts the component on the bench under what [`Sandbox::config`] gave; says so where that takes a while.
    pub(super) async fn open(
        &self,
        mut config: PluginConfig,
        users: Vec<User>,
        call_untried: bool,
    ) -> anyhow::Result<Workbench> {
        config.secrets.extend(self.secrets()?);
        let options = WorkbenchOptions {
            name: Some(self.name()),
            call_untried,
            users,
            network: Some(Arc::new(Network::system())),
            cache_dir: self.cache_dir(),
            compile: CompileOptions {
                command: Some(compiler()?),
                ..CompileOptions::default()
            },
            without_pool: false,
        };
        let open = Workbench::open(&self.file, config, options);
        tokio::pin!(open);
        let opened = tokio::select! {
            opened = &mut open => opened,
            () = tokio::time::sleep(PATIENCE) => {
                if io::stderr().is_terminal() {
                    writeln!(io::stderr(), "compiling {} …", printable(&self.file.display().to_string()))?;
                }
                open.await
            }
        };
        Ok(opened?)
    }

    /// Where compiled code is kept. A home that cannot be written to is no reason not to try a component.
    fn cache_dir(&self) -> Option<PathBuf> {
        if self.no_cache {
            return None;
        }
        self.cache.clone().or_else(|| {
            let dir = std::env::home_dir()?.join(".cache/auth-gateway/compiled");
            fs::create_dir_all(&dir).is_ok().then_some(dir)
        })
    }

    /// Fails where the component cannot be called, and says so where it can be called but a gateway would not serve it.
    pub(super) fn callable(&self, bench: &Workbench) -> anyhow::Result<()> {
        let report = bench.report();
        match &report.problem {
            Some(problem) if bench.is_callable() => {
                writeln!(
                    io::stderr(),
                    "note: a gateway would not serve this component: {}\nnote: your call is made all the same",
                    printable(problem)
                )?;
                Ok(())
            }
            _ => self.admissible(report),
        }
    }

    /// Fails where a gateway would not serve the component: its words, and which flags are missing here.
    pub(super) fn admissible(&self, report: &Report) -> anyhow::Result<()> {
        let Some(problem) = &report.problem else {
            return Ok(());
        };
        let file = printable(&self.file.display().to_string());
        let mut text = format!("{file} would not be served: {problem}");
        if !report.grants_missing.is_empty() {
            let flags: Vec<String> = report
                .grants_missing
                .iter()
                .map(|grant| format!("--grant {grant}"))
                .collect();
            text += &format!("\nto grant it here, add {}", flags.join(" "));
        }
        Err(anyhow!(text))
    }
}

/// The secret in a file, or on standard input or another pipe, as in `<(command)`: there are commands that print one.
fn secret(path: &str) -> io::Result<String> {
    let stream = if path == "-" {
        Stream::Stdin
    } else if small_file::is_pipe(Path::new(path)) {
        Stream::Pipe(path.into())
    } else {
        return crate::keys::read_secret(Path::new(path)).map(|(text, _)| text);
    };
    let patience = if stream == Stream::Stdin && io::stdin().is_terminal() {
        TYPING
    } else {
        PIPE
    };
    Ok(small_file::read_stream(stream, MAX_SECRET, patience)?)
}

/// `name=value`; a value may have `=` in it.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::pair;

    #[test]
    fn pairs_have_a_name_and_any_value() {
        let is = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(pair("a=b"), is("a", "b"));
        assert_eq!(pair("a="), is("a", ""));
        assert_eq!(pair("a=b=c"), is("a", "b=c"));
        assert!(pair("a").is_err() && pair("=b").is_err() && pair("").is_err());
    }
}
