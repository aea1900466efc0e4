//! The process that compiles one component: the component on stdin, its code on stdout.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getppid, setpriority_process, setrlimit};

use gateway_sandbox::engine;

/// The exit code where the component is none: stdout says why.
pub(super) const INVALID: i32 = 65;
/// The exit code where the memory was not enough.
pub(super) const NO_MEMORY: i32 = 71;

/// How much less urgent than the gateway it is at a level, on `nice`'s scale.
pub(super) const fn nice(level: usize) -> i32 {
    if level == 0 { 5 } else { 10 }
}

/// How often it looks whether the gateway is still there.
const LOOK: Duration = Duration::from_secs(1);

/// What the process lets itself have.
#[derive(Clone, Copy, Debug)]
pub struct ChildLimits {
    /// Bytes of address space.
    pub memory: u64,
    /// Bytes of address space that the gateway may let it have later.
    pub most_memory: u64,
    /// How much less urgent than the gateway it is, on `nice`'s scale.
    pub nice: i32,
    /// Wall clock; of processor time it is let have as much on every processor. The gateway keeps the
    /// clock: this is for when there is no gateway any more.
    pub time: Duration,
}

/// Compiles the component on stdin and writes its code to stdout: the whole of a process that the host
/// starts by [`CompileOptions::command`](crate::CompileOptions::command). Gives the exit code that the
/// host understands.
#[must_use]
pub fn compile_in_child(limits: ChildLimits) -> ExitCode {
    match run(limits) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(reason)) => {
            // The gateway reads this; where it is gone nobody does.
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

/// `Err` where the machine is in the way, `Ok(Err)` with the reason where the component is none.
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
    let set = |resource, current, maximum| {
        let limit = Rlimit {
            current: Some(current),
            maximum: Some(maximum),
        };
        setrlimit(resource, limit)
    };
    let limit = |resource, value| set(resource, value, value);
    let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    set(Resource::As, limits.memory, limits.most_memory)?;
    limit(
        Resource::Cpu,
        limits.time.as_secs().max(1).saturating_mul(processors),
    )?;
    limit(Resource::Core, 0)?;
    // It only compiles: the one file it might make would be a mistake.
    limit(Resource::Fsize, 0)?;
    // Where that is not allowed it competes with the gateway, no more.
    let _ = setpriority_process(None, limits.nice);
    Ok(())
}

/// A gateway that was killed kills nobody: whoever is left over notices.
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
