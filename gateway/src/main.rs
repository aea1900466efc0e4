//! The gateway's command: reads the command line, runs it, says in its exit code how it went.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::cli::main()
}
