//! `gateway plugin`: commands for authors of plugins, and for operators.
//!
//! | module | command |
//! |---|---|
//! | `new` | `gateway plugin new` |
//! | `check` | `gateway plugin check` |
//! | `call` | `gateway plugin call` |
//! | `bench` | `gateway plugin bench` |
//! | `running` | `gateway plugin list`, `reload`, `rollback` |
//! | `sign` | `gateway plugin sign` |
//! | `componentize` | `gateway plugin bindings`, `gateway plugin componentize` |
//! | `sandbox` | the flags of `check`, `call` and `bench` for a component and its grants |
//! | `apart` | the process in which these three run |
//! | `question` | the flags of `call` and `bench` for the call |
//! | `people` | users and claims in files |

use std::time::Duration;

use clap::Subcommand;

use super::Shared;

pub(super) mod apart;
mod bench;
mod call;
mod check;
#[cfg(feature = "dev")]
mod componentize;
mod new;
mod people;
mod question;
pub(super) mod running;
mod sandbox;
mod sign;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a project for a new plugin, ready to be built and tested
    New(new::New),
    /// Describe a component, and say whether a gateway would serve it
    Check(check::Check),
    /// Call a function of a component, in the sandbox and under the limits of a gateway
    Call(call::Call),
    /// Measure the cost of a call
    Bench(bench::Bench),
    /// Generate C bindings for a world
    #[cfg(feature = "dev")]
    Bindings(componentize::Bindings),
    /// Convert the core module of a C compiler to a component
    #[cfg(feature = "dev")]
    Componentize(componentize::Componentize),
    /// Sign a component
    Sign(sign::Sign),
    /// List the plugins of the running gateway
    List(running::Target),
    /// Make the running gateway check a plugin's file again, or all of them
    Reload(running::Reload),
    /// Return to a plugin's previous generation, until its file changes
    Rollback(running::Rollback),
}

pub(super) async fn run(shared: &Shared, command: Command) -> anyhow::Result<()> {
    match command {
        Command::New(new) => new::run(&new),
        Command::Check(check) => apart::run(Duration::ZERO, check::run(shared, check)).await,
        Command::Call(call) => apart::run(call.longest(shared)?, call::run(shared, &call)).await,
        Command::Bench(bench) => apart::run(bench.longest(shared)?, bench::run(shared, &bench)).await,
        #[cfg(feature = "dev")]
        Command::Bindings(bindings) => componentize::bindings(&bindings),
        #[cfg(feature = "dev")]
        Command::Componentize(componentize) => componentize::componentize(&componentize),
        Command::Sign(sign) => sign::run(&sign),
        Command::List(target) => running::list(shared, &target).await,
        Command::Reload(reload) => running::reload(shared, reload).await,
        Command::Rollback(rollback) => running::rollback(shared, rollback).await,
    }
}
