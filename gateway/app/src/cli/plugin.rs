//! `gateway plugin`: for those who write plugins, and for those who run them.
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
//! | `sandbox` | what `check`, `call` and `bench` say of a component and what it may do |
//! | `apart` | the process that these three run in |
//! | `question` | what a component is asked |
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
    /// Write a project for a new plugin, ready to be built and tested
    New(new::New),
    /// Say all there is to say of a component, and whether a gateway would serve it
    Check(check::Check),
    /// Call a function of a component, in the sandbox and under the limits of a gateway
    Call(call::Call),
    /// Measure what a call costs
    Bench(bench::Bench),
    /// Write C bindings for a world
    #[cfg(feature = "dev")]
    Bindings(componentize::Bindings),
    /// Make a component of the core module that a C compiler wrote
    #[cfg(feature = "dev")]
    Componentize(componentize::Componentize),
    /// Sign a component
    Sign(sign::Sign),
    /// List the plugins of the running gateway
    List(running::List),
    /// Have the running gateway look at a plugin's file again, or at all of them
    Reload(running::Reload),
    /// Have the generation before the serving one serve again, until the plugin's file changes
    Rollback(running::Rollback),
}

pub(super) async fn run(shared: &Shared, command: Command) -> anyhow::Result<()> {
    match command {
        Command::New(new) => new::run(&new),
        Command::Check(check) => apart::run(Duration::ZERO, check::run(shared, check)).await,
        Command::Call(call) => apart::run(call.longest(shared)?, call::run(shared, call)).await,
        Command::Bench(bench) => apart::run(bench.longest(shared)?, bench::run(shared, bench)).await,
        #[cfg(feature = "dev")]
        Command::Bindings(bindings) => componentize::bindings(&bindings),
        #[cfg(feature = "dev")]
        Command::Componentize(componentize) => componentize::componentize(&componentize),
        Command::Sign(sign) => sign::run(&sign),
        Command::List(list) => running::list(shared, list).await,
        Command::Reload(reload) => running::reload(shared, reload).await,
        Command::Rollback(rollback) => running::rollback(shared, rollback).await,
    }
}
