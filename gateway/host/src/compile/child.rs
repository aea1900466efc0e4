//! The process that compiles one component: the component on stdin, its code on stdout.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getppid, setpriority_process, setrlimit};

use gateway_sandbox::engine;

/// The exit code if the component is invalid; the reason is on stdout.
pub(super) const INVALID: i32 = 65;
/// The exit code if the memory was not enough.
pub(super) const NO_MEMORY: i32 = 71;

/// The niceness of a process at a level, relative to the gateway.
pub(super) const fn nice(level: usize) -> i32 {
    if level == 0 { 5 } else { 10 }
}

/// How often it checks whether the gateway is still running.
const LOOK: Duration = Duration::from_secs(1);

/// The limits that the process sets for itself.
#[derive(Clone, Copy, Debug)]
pub struct ChildLimits {
    /// Bytes of address space.
    pub memory: u64,
    /// The most bytes of address space that the gateway may allow later.
    pub most_memory: u64,
    /// Niceness relative to the gateway.
    pub nice: i32,
    /// Wall-clock time, which the gateway enforces. The process limits its processor time to this on every processor,
    /// in case the gateway is gone.
    pub time: Duration,
}

/// Compiles the component on stdin and writes its code to stdout: the whole of a process that the host starts with
/// [`CompileOptions::command`](crate::CompileOptions::command). Returns the exit code that the host expects.
#[must_use]
pub fn compile_in_child(limits: ChildLimits) -> ExitCode {
    match run(limits) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(reason)) => {
            // Fails only if the gateway is gone.
            let _ = io::stdout().write_all(reason.as_bytes());
            code(INVALID)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            code(match error.kind() {
                io::ErrorKind::OutOfMemory => NO_MEMORY,
                _ => 1,
            })
        }
    }
}

fn code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// `Err` is a fault of the machine, `Ok(Err)` the reason why the component is invalid.
fn run(limits: ChildLimits) -> io::Result<Result<(), String>> {
    restrain(limits)?;
    end_with_the_gateway()?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component)?;
    let engine = engine::compiler().map_err(io::Error::other)?;
    match engine.precompile_component(&component) {
        Ok(code) => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&code)?;
            stdout.flush()?;
            Ok(Ok(()))
        }
        Err(error) => {
            let no_memory = error.chain().any(|cause| {
                cause
                    .downcast_ref::<io::Error>()
                    .is_some_and(|error| error.kind() == io::ErrorKind::OutOfMemory)
            });
            if no_memory {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            Ok(Err(format!("{error:#}")))
        }
    }
}

fn restrain(limits: ChildLimits) -> io::Result<()> {
    limit(Resource::As, limits.memory, limits.most_memory)?;
    limit_processor(limits.time)?;
    // It has no reason to write a file.
    limit(Resource::Fsize, 0, 0)?;
    // If that is not allowed, it competes with the gateway.
    let _ = setpriority_process(None, limits.nice);
    Ok(())
}

pub(super) fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let (current, maximum) = (Some(current), Some(maximum));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// Limits the processor time of this process to `time` on every processor. It leaves no core dump.
pub(super) fn limit_processor(time: Duration) -> io::Result<()> {
    let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let seconds = time.as_secs().max(1).saturating_mul(processors);
    limit(Resource::Cpu, seconds, seconds)?;
    limit(Resource::Core, 0, 0)
}

/// Ends the process if the gateway was killed.
fn end_with_the_gateway() -> io::Result<()> {
    let gateway = getppid();
    thread::Builder::new()
        .name("gateway-watch".to_owned())
        .spawn(move || {
            while getppid() == gateway {
                thread::sleep(LOOK);
            }
            std::process::exit(1);
        })
        .map(drop)
}
