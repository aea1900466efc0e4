//! The command line: what can be said, and how a command ends.
//!
//! | module | command |
//! |---|---|
//! | `serve` | `gateway serve` |
//! | `dev` | `gateway dev` |
//! | `check` | `gateway config check\|schema` |
//! | `provider` | `gateway provider check` |
//! | `reload` | `gateway reload` |
//! | `user` | `gateway user list\|show\|disable\|enable\|delete\|export` |
//! | `session` | `gateway session list\|end` |
//! | `backup`, `restore` | `gateway backup`, `gateway restore` |
//! | `keys` | `gateway keys generate` |
//! | `plugin` | `gateway plugin new\|check\|call\|bench\|bindings\|componentize` |
//! | `compile_plugin` | `gateway compile-plugin`, which the gateway starts by itself |
//! | `storage` | opens the database beside a running gateway |
//! | `output` | tables, JSON, and text that is safe to show on a terminal |
//!
//! All commands work while the gateway serves. Results go to stdout, everything else to stderr. The exit
//! code is 0 when the command did what it was told, 2 when it was not understood, 3 when it is for a running
//! gateway and none answers, 4 when `config check` finds that the gateway would start and something that is configured
//! would not work, and 1 otherwise.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

#[cfg(feature = "dev")]
use crate::config::sources::FILE_VARIABLE;
use crate::config::{ConfigErrors, Sources};
use crate::control::NoAnswer;

mod backup;
mod check;
mod compile_plugin;
#[cfg(feature = "dev")]
mod dev;
mod keys;
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

/// How long the reason for a failure may take to be read.
const PATIENCE: Duration = Duration::from_secs(2);
/// The exit code where no gateway answers.
const UNREACHABLE: u8 = 3;

/// The exit code where the gateway would serve, but not everything that is configured.
const DEGRADED: u8 = 4;

/// An auth gateway whose policy is WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "gateway", bin_name = "gateway", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    command: Command,
}

/// What all commands understand.
#[derive(Debug, Args)]
struct Shared {
    /// The configuration, a TOML file [default: GATEWAY_CONFIG, else gateway.toml where it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The database, in place of the configured one: sqlite:///relative or sqlite:////absolute
    #[arg(long, global = true, value_name = "URL")]
    database: Option<String>,
}

impl Shared {
    /// Where the command takes its settings from.
    fn sources(&self) -> Sources {
        let mut sources = Sources::of_process(self.config.as_deref());
        if let Some(url) = &self.database {
            sources.set_flag("database.url", "--database", url);
        }
        sources
    }

    /// Whether a flag or a variable names the configuration file.
    #[cfg(feature = "dev")]
    fn names_a_file(&self) -> bool {
        self.config.is_some() || std::env::var_os(FILE_VARIABLE).is_some_and(|file| !file.is_empty())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve, as configured
    Serve,
    /// Serve on this machine to try things out: generated keys, invented people, example plugins
    #[cfg(feature = "dev")]
    Dev(dev::Dev),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at upstream providers
    #[command(subcommand)]
    Provider(provider::Command),
    /// Have the running gateway read its configuration again, and wait until it has
    ///
    /// Exits with 1 and says what is wrong where the configuration has mistakes: then what was in force stays in force.
    Reload(reload::Reload),
    /// Look at users, shut them out, let them in again
    #[command(subcommand)]
    User(user::Command),
    /// Look at sessions and end them
    #[command(subcommand)]
    Session(session::Command),
    /// Write a backup of the database to a file, also while the gateway serves
    Backup(backup::Backup),
    /// Put a backup in the place of the database; the old files are kept
    Restore(restore::Restore),
    /// Make keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Write plugins and try them
    #[command(subcommand)]
    Plugin(Box<plugin::Command>),
    /// Compile the component on stdin: the gateway starts this by itself
    #[command(hide = true)]
    CompilePlugin(compile_plugin::CompilePlugin),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether `gateway serve` would start and serve everything, and print what is in force or what is wrong
    ///
    /// Nothing is changed on disk, and a gateway that runs is not disturbed. Exits with 0 if everything would be served, with
    /// 1 if the gateway would not start, and with 4 if it would start but something that is configured would not work.
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
    // No runtime: its threads are of no use there, and take of the memory that it may have.
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
    // Whatever still runs was told to end; waiting for it could take for ever.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
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
        Command::CompilePlugin(_) => Ok(()),
        Command::Plugin(command) => plugin::run(shared, *command).await,
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // The process that did the work has said why.
    if let Some(ended) = error.downcast_ref::<plugin::apart::Ended>() {
        return ended.code();
    }
    if error.is::<check::Degraded>() {
        return ExitCode::from(DEGRADED);
    }
    if error.is::<check::Fails>() {
        return ExitCode::FAILURE;
    }
    let (text, (written, end)) = (format!("gateway: {error:#}"), mpsc::channel::<()>());
    // Nobody is left to be told where stderr is closed; and where nobody reads it, nobody waits.
    thread::spawn(move || {
        let _ = writeln!(io::stderr(), "{text}");
        drop(written);
    });
    let _ = end.recv_timeout(PATIENCE);
    if error.is::<plugin::running::Unreachable>() || error.is::<reload::NotRunning>() || is_silent(error) {
        return ExitCode::from(UNREACHABLE);
    }
    ExitCode::FAILURE
}

/// Whether a gateway should have answered and did not.
fn is_silent(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<NoAnswer>();
    error.is_some_and(|error| matches!(error, NoAnswer::Silent { .. } | NoAnswer::Failed { .. }))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// All mistakes of a configuration, a line each.
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
