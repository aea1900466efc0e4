//! The command line: the commands and the exit codes.
//!
//! | module | command |
//! |---|---|
//! | `serve` | `gateway serve` |
//! | `dev` | `gateway dev` |
//! | `check` | `gateway config check\|schema` |
//! | `provider` | `gateway provider check` |
//! | `reload` | `gateway reload` |
//! | `user` | `gateway user list\|show\|disable\|enable\|link\|unlink\|merge\|delete\|export` |
//! | `session` | `gateway session list\|end` |
//! | `backup`, `restore` | `gateway backup`, `gateway restore` |
//! | `keys` | `gateway keys generate` |
//! | `plugin` | `gateway plugin …` |
//! | `manual` | `gateway completions`, `gateway man` |
//! | `compile_plugin` | `gateway compile-plugin`, which the gateway itself runs |
//! | `storage` | opens the database beside a running gateway |
//! | `output` | tables, JSON, and text that is safe to show on a terminal |
//!
//! All commands work while the gateway is running. Results go to stdout, everything else to stderr. The exit code is 0
//! on success, 2 for a usage error, 3 if the command needs a running gateway and none answers, 4 if `config check`
//! finds that the gateway would start but not serve everything that is configured, and 1 for any other failure.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{ConfigErrors, Sources};
use crate::control::NoAnswer;

mod backup;
mod check;
mod compile_plugin;
#[cfg(feature = "dev")]
mod dev;
mod keys;
mod manual;
mod output;
mod plugin;
mod provider;
mod reload;
mod restore;
mod serve;
mod session;
mod storage;
mod user;

pub(crate) use compile_plugin::compiler;

/// How long writing the reason for a failure may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The exit code if no gateway answers.
const UNREACHABLE: u8 = 3;

/// An auth gateway whose policy is WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "gateway", bin_name = "gateway", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// The flags of all commands.
#[derive(Debug, Args)]
struct Shared {
    /// The configuration, a TOML file [default: GATEWAY_CONFIG, otherwise gateway.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The database, instead of the configured one: sqlite:///relative or sqlite:////absolute
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
}

impl Shared {
    fn sources(&self) -> Sources {
        let mut sources = Sources::of_process(self.config.as_deref());
        if let Some(url) = &self.database {
            sources.set_flag("database.url", "--database", url);
        }
        sources
    }

    fn load<T>(&self, load: impl FnOnce(&Sources) -> Result<T, ConfigErrors>) -> anyhow::Result<T> {
        load(&self.sources()).map_err(|errors| mistakes(&errors))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve requests
    Serve,
    /// Run a gateway for development on this machine, with generated keys, test users and example plugins
    #[cfg(feature = "dev")]
    Dev(dev::Dev),
    /// Check the configuration, or print its schema
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check upstream providers
    #[command(subcommand)]
    Provider(provider::Command),
    /// Make the running gateway read its configuration again, and wait until the new one is in force
    ///
    /// If the configuration has mistakes, the command prints them and exits with 1, and the current configuration stays
    /// in force.
    Reload(reload::Reload),
    /// List, show, disable, enable, link, merge, delete and export users
    #[command(subcommand)]
    User(user::Command),
    /// List and end sessions
    #[command(subcommand)]
    Session(session::Command),
    /// Back up the database to a file, also while the gateway is running
    Backup(backup::Backup),
    /// Replace the database with a backup; the old files are kept
    Restore(restore::Restore),
    /// Generate keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Write and test plugins, and manage those of the running gateway
    #[command(subcommand)]
    Plugin(Box<plugin::Command>),
    /// Print a shell's completion script for this command
    #[command(hide = true)]
    Completions(manual::Completions),
    /// Print the manual page, or write a page for each command into a directory
    #[command(hide = true)]
    Man(manual::Manual),
    /// Compile the component on standard input; the gateway itself runs this
    #[command(hide = true)]
    CompilePlugin(compile_plugin::CompilePlugin),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether `gateway serve` would start and serve everything, and print the settings and what is wrong
    ///
    /// The check changes nothing on disk and does not disturb a running gateway. It exits with 0 if everything would be
    /// served, with 1 if the gateway would not start, and with 4 if it would start but something that is configured
    /// would not work.
    Check(check::Check),
    /// Print a JSON Schema of the configuration file, with which editors complete and check it
    ///
    /// Editors that understand Taplo's directives use it for a file that begins with `#:schema ./gateway.schema.json`.
    Schema,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Without a runtime, whose threads would use up the memory that this process is limited to.
    if let Command::CompilePlugin(compile) = &cli.command {
        return compile_plugin::run(compile);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder
        .enable_all()
        .on_thread_start(crate::server::prepare)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start threads")),
    };
    let ended = runtime.block_on(run(cli));
    // Waiting for the tasks that are left could take forever.
    runtime.shutdown_background();
    ended.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let shared = &cli.shared;
    match cli.command {
        Command::Serve => serve::run(shared).await,
        #[cfg(feature = "dev")]
        Command::Dev(dev) => dev::run(shared, dev).await,
        Command::Config(ConfigCommand::Check(check)) => check::run(shared, &check).await,
        Command::Config(ConfigCommand::Schema) => check::schema(),
        Command::Reload(reload) => reload::run(shared, &reload).await,
        Command::Provider(command) => provider::run(shared, command).await,
        Command::User(command) => user::run(shared, command).await,
        Command::Session(command) => session::run(shared, command).await,
        Command::Backup(command) => backup::run(shared, command).await,
        Command::Restore(command) => restore::run(shared, command).await,
        Command::Keys(command) => keys::run(shared, &command),
        Command::Completions(arguments) => manual::completions(Cli::command(), &arguments),
        Command::Man(arguments) => manual::man(Cli::command(), &arguments),
        Command::CompilePlugin(_) => Ok(()),
        Command::Plugin(command) => plugin::run(shared, *command).await,
    }
}

/// Ends the process with an exit code, after the reason has been printed.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
struct Exit(u8);

fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(Exit(code)) = error.downcast_ref() {
        return (*code).into();
    }
    // The reader of our output has read enough, like `head`.
    if error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    {
        return ExitCode::SUCCESS;
    }
    let (text, (written, end)) = (format!("gateway: {error:#}"), mpsc::channel::<()>());
    // On its own thread, because stderr can be a pipe that nobody reads. If it is closed, there is nowhere to report
    // to.
    thread::spawn(move || {
        let _ = writeln!(io::stderr(), "{text}");
        drop(written);
    });
    let _ = end.recv_timeout(PATIENCE);
    let is_silent = matches!(
        error.downcast_ref(),
        Some(NoAnswer::Silent { .. } | NoAnswer::Failed { .. })
    );
    if is_silent || error.is::<plugin::running::Unreachable>() || error.is::<reload::NotRunning>() {
        return UNREACHABLE.into();
    }
    ExitCode::FAILURE
}

/// All mistakes of a configuration, one per line.
fn mistakes(errors: &ConfigErrors) -> anyhow::Error {
    anyhow::anyhow!("the configuration cannot be used:\n{errors}")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
