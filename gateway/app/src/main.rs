//! The `gateway` command.

use std::process::ExitCode;

/// Fast for the many short-lived objects of requests and plugin calls, on all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With pages of 2 MiB, a mostly idle process that sometimes reads large files keeps dozens of nearly empty ones.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    gateway::cli::main()
}
