//! The flags of `gateway plugin check`, `call` and `bench` for the component and its grants. They override
//! `[plugin.NAME]` of the configuration.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use gateway_devkit::{Report, Workbench, WorkbenchOptions, plugin_name};
use gateway_host::CompileOptions;
use gateway_model::User;
use gateway_sandbox::{Grant, HostName, HttpOrigin, Limits, Network, PluginConfig, Secret};

use super::people;
use crate::cli::output::printable;
use crate::cli::{Shared, compiler};
use crate::config::{self, flags};
use crate::small_file::{self, Stream};

/// How long opening a component may take without a message.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long another command may take to print a secret.
const PIPE: Duration = Duration::from_secs(30);
/// How long a person may take to type a secret.
const TYPING: Duration = Duration::from_secs(600);
/// In bytes.
const MAX_SECRET: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// The component
    pub(super) file: PathBuf,
    /// The plugin's name [default: the file's]
    #[arg(long, value_name = "NAME", value_parser = flags::name)]
    name: Option<String>,
    /// An additional grant, such as users or http
    #[arg(long = "grant", value_name = "GRANT", value_delimiter = ',', value_parser = flags::grant)]
    grants: Vec<Grant>,
    /// A setting, for the grant config; overrides the configured one with this name
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// A secret, for the grant secrets: a file that contains it, a pipe, or - for standard input; overrides the
    /// configured one with this name
    #[arg(long = "secret-file", value_name = "NAME=PATH", value_parser = pair)]
    secret_files: Vec<(String, String)>,
    /// A secret as text: all users of this machine can see it while the command runs, so use --secret-file
    #[arg(long = "secret", value_name = "NAME=VALUE", value_parser = pair, hide = true)]
    secrets: Vec<(String, String)>,
    /// All users, for the grant users: a JSON list
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// An additional origin to which it may send requests, for the grant http
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = flags::origin)]
    allow: Vec<HttpOrigin>,
    /// A host of these origins that may be on this machine or its own networks
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = flags::host)]
    allow_private: Vec<HostName>,
    #[command(flatten)]
    limits: LimitFlags,
    /// The cache of compiled code [default: ~/.cache/auth-gateway/compiled]
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    cache: Option<PathBuf>,
    /// Compile the component even if its code is cached
    #[arg(long)]
    no_cache: bool,
}

/// The limits of a call, which override the configured ones.
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
    /// Bytes of all stored values, for the grant key-value [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = flags::bytes)]
    store_bytes: Option<usize>,
    /// Bytes of one stored value [default: 256KiB]
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
            // The author wants to read everything, and there is no log to protect.
            log_bytes_per_minute: usize::MAX,
            store_bytes: self.store_bytes.unwrap_or(base.store_bytes),
            value_bytes: self.value_bytes.unwrap_or(base.value_bytes),
        }
    }
}

impl Sandbox {
    pub(super) fn users(&self) -> anyhow::Result<Vec<User>> {
        self.users
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), people::users)
    }

    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| plugin_name(&self.file))
    }

    /// Returns the plugin's configuration, overridden by the flags. Without the flags' secrets, which can be read only
    /// once.
    pub(super) fn config(&self, shared: &Shared) -> anyhow::Result<PluginConfig> {
        let given = |name: &str| {
            let flags = self.secrets.iter().chain(&self.secret_files);
            flags.map(|(given, _)| given.as_str()).any(|given| {
                let rest = name.strip_prefix(given);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let is_of_use = |key: &str| key.strip_prefix("secrets.").is_none_or(|name| !given(name));
        let mut config = shared.load(|sources| config::load_plugin(sources, &self.name(), is_of_use))?;
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

    fn secrets(&self) -> anyhow::Result<BTreeMap<String, Secret>> {
        if !self.secrets.is_empty() {
            writeln!(
                io::stderr(),
                "--secret shows the secret to all users of this machine: write it to a file, and use --secret-file \
                 NAME=PATH"
            )?;
        }
        let mut secrets: BTreeMap<_, _> = self
            .secrets
            .iter()
            .map(|(name, secret)| (name.clone(), Secret::from(secret.clone())))
            .collect();
        if self.secret_files.iter().filter(|(_, path)| path == "-").count() > 1 {
            bail!("only one secret can be on standard input: use files for the others");
        }
        for (name, path) in &self.secret_files {
            let text = secret(path).with_context(|| format!("cannot read the secret {name} from {path}"))?;
            // As in the configuration, the end of the line is not part of the secret.
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            secrets.insert(name.clone(), Secret::from(text.to_owned()));
        }
        Ok(secrets)
    }

    /// Opens the component with a configuration from [`Sandbox::config`]. Prints a message if this takes a while.
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

    /// Returns `None` if the home directory is not writable.
    fn cache_dir(&self) -> Option<PathBuf> {
        if self.no_cache {
            return None;
        }
        self.cache.clone().or_else(|| {
            let dir = std::env::home_dir()?.join(".cache/auth-gateway/compiled");
            fs::create_dir_all(&dir).is_ok().then_some(dir)
        })
    }

    /// Fails if the component cannot be called. Prints a note if only a gateway would not serve it.
    pub(super) fn callable(&self, bench: &Workbench) -> anyhow::Result<()> {
        let report = bench.report();
        match &report.problem {
            Some(problem) if bench.is_callable() => {
                writeln!(
                    io::stderr(),
                    "note: a gateway would not serve this component: {}\nnote: it is called anyway",
                    printable(problem)
                )?;
                Ok(())
            }
            _ => self.admissible(report),
        }
    }

    /// Fails if a gateway would not serve the component. The error has the gateway's reason, and the flags that are
    /// missing.
    pub(super) fn admissible(&self, report: &Report) -> anyhow::Result<()> {
        let Some(problem) = &report.problem else {
            return Ok(());
        };
        let file = printable(&self.file.display().to_string());
        let mut text = format!("{file} would not be served: {problem}");
        if !report.grants_missing.is_empty() {
            text += "\nto grant it here, add";
            for grant in &report.grants_missing {
                text += &format!(" --grant {grant}");
            }
        }
        bail!(text)
    }
}

/// Reads a secret from a file, standard input or another pipe, as in `<(command)`.
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

/// Parses `NAME=VALUE`. The value may contain `=`.
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
