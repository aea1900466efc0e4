//! The gateway's command: reads the command line, runs it, says in its exit code how it went.

use std::process::ExitCode;

/// Requests and plugin calls make many short-lived objects, on all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for pages of 2 MiB, of which a process that reads large files now and then, and is idle
    // otherwise, keeps dozens that are nearly empty.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    gateway::cli::main()
}
