//! The gateway's command: reads the command line, runs it, says in its exit code how it went.

use std::process::ExitCode;

/// Requests and plugin calls make many short-lived objects, on all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway::cli::main()
}
