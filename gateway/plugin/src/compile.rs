//! Compiling components, a few at a time, each in a process of its own: a compiler may take gigabytes and
//! minutes, or crash, over what somebody wrote to hurt it, and a thread cannot be stopped. The process has
//! limits, is killed when its time is over, and gets nothing but the component: no environment, no files.
//!
//! | module | what it holds |
//! |---|---|
//! | `child` | what the process does |
//! | `bench` | the limits of a process that tries a component |

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval_at, timeout};
use wasmtime::component::Component;

pub use self::bench::BenchProcess;
pub use self::child::{ChildLimits, compile_in_child};
use crate::admission::blocking;
use crate::cache::{self, Cache};
use crate::engine::Engines;
use crate::error::AdmissionError;
use crate::file::{MAX_FILE, PluginFile};
use crate::text::printable;

mod bench;
mod child;

/// How many components compile at once.
const MAX_COMPILERS: usize = 2;
/// When the log says that compiling goes on, and how often it says so again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of compiled code that are taken from a process.
const MAX_CODE: u64 = 512 << 20;
/// Most bytes that are read of what a compiler complains.
const MAX_COMPLAINT: u64 = 16 << 10;

/// How components are compiled, and what that may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// The program that compiles and its arguments, `--memory BYTES --seconds N` follow: it does what
    /// [`compile_in_child`] does. `None` compiles in this process, without limits: for tests, and for a
    /// developer's own components.
    pub command: Option<Vec<OsString>>,
    /// Bytes of a component.
    pub size: u64,
    /// Wall clock.
    pub time: Duration,
    /// Bytes of address space.
    pub memory: u64,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            command: None,
            size: MAX_FILE,
            time: Duration::from_secs(120),
            memory: 2 << 30,
        }
    }
}

/// Compiled code of our own making: made here, or sent by a process that we started, through its own pipe.
pub(crate) struct Code(Vec<u8>);

impl Code {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn of(component: &Component) -> Self {
        Self(component.serialize().unwrap())
    }
}

/// Compiles, and keeps what it compiled in the cache.
pub(crate) struct Compiler {
    engines: Arc<Engines>,
    cache: Arc<Cache>,
    guests: Handle,
    options: CompileOptions,
    compilers: Arc<Semaphore>,
}

impl Compiler {
    /// Takes from `cache` what is there already.
    pub(crate) fn new(
        engines: Arc<Engines>,
        cache: Arc<Cache>,
        guests: Handle,
        options: CompileOptions,
    ) -> Self {
        Self {
            engines,
            cache,
            guests,
            options,
            compilers: Arc::new(Semaphore::new(MAX_COMPILERS)),
        }
    }

    /// Bytes that a component may have.
    pub(crate) const fn max_size(&self) -> u64 {
        self.options.size
    }

    /// The compiled component, from the cache or the compiler. `plugin` is for the log. Dropping the future
    /// ends a compiler that is a process.
    ///
    /// # Errors
    /// When it is none, or compiling it takes more than it may.
    pub(crate) async fn compile(
        &self,
        plugin: &str,
        file: Arc<PluginFile>,
    ) -> Result<Component, AdmissionError> {
        check_kind(&file.bytes)?;
        // Before the queue: what is compiled already waits for no compiler.
        if let Some(component) = self.cached(&file).await? {
            return Ok(component);
        }
        let _permit = self.compilers.acquire().await;
        if let Some(component) = self.cached(&file).await? {
            return Ok(component);
        }
        let started = Instant::now();
        let mut tell = interval_at(started + PATIENCE, PATIENCE);
        let compile = async {
            match self.options.command.as_deref() {
                Some([program, arguments @ ..]) => self.compile_apart(program, arguments, &file).await,
                Some([]) | None => self.compile_here(&file).await,
            }
        };
        tokio::pin!(compile);
        let code = loop {
            tokio::select! {
                code = &mut compile => break code?,
                _ = tell.tick() => tracing::info!(
                    plugin, digest = file.digest,
                    "compiling the plugin, {} s so far", started.elapsed().as_secs()
                ),
            }
        };
        let (engines, cache) = (Arc::clone(&self.engines), Arc::clone(&self.cache));
        let file = Arc::clone(&file);
        let keep = move || {
            let component = cache::accept(&engines.of(&file.bytes), &code);
            if component.is_ok() {
                cache.store(&file.digest, &code);
            }
            component
        };
        blocking(&self.guests, keep)
            .await?
            .map_err(|error| AdmissionError::CompileFailed(printable(&format!("{error:#}"), 1000)))
    }

    async fn cached(&self, file: &Arc<PluginFile>) -> Result<Option<Component>, AdmissionError> {
        let (engines, cache) = (Arc::clone(&self.engines), Arc::clone(&self.cache));
        let file = Arc::clone(file);
        let load = move || cache.load(&engines.of(&file.bytes), &file.digest);
        blocking(&self.guests, load).await
    }

    async fn compile_here(&self, file: &Arc<PluginFile>) -> Result<Code, AdmissionError> {
        let (engines, file) = (Arc::clone(&self.engines), Arc::clone(file));
        let compile = move || engines.usual().precompile_component(&file.bytes);
        match blocking(&self.guests, compile).await? {
            Ok(code) => Ok(Code(code)),
            Err(error) => Err(invalid(&format!("{error:#}"))),
        }
    }

    async fn compile_apart(
        &self,
        program: &OsString,
        arguments: &[OsString],
        file: &PluginFile,
    ) -> Result<Code, AdmissionError> {
        let CompileOptions { time, memory, .. } = self.options;
        let failed = |error: std::io::Error| AdmissionError::CompileFailed(error.to_string());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["--memory", &memory.to_string()])
            .args(["--seconds", &time.as_secs().max(1).to_string()])
            .env_clear()
            // Each arena reserves address space, which is what is limited.
            .env("MALLOC_ARENA_MAX", "2")
            .env("MIMALLOC_ARENA_RESERVE", "65536")
            .current_dir("/")
            // A signal from the terminal is the gateway's to handle.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A child that does not read to the end has a reason, and says it.
                let _ = stdin.write_all(&file.bytes).await;
            }
        };
        let work = async {
            tokio::join!(
                write,
                read(stdout, MAX_CODE),
                read(stderr, MAX_COMPLAINT),
                child.wait()
            )
        };
        // The child is killed where it is dropped.
        let ((), code, complaint, status) = timeout(time, work)
            .await
            .map_err(|_| AdmissionError::CompileTimeout(time))?;
        let (code, status) = (code.map_err(failed)?, status.map_err(failed)?);
        let complaint = complaint.unwrap_or_default();
        if status.success() {
            return Ok(Code(code));
        }
        Err(self.explain(status, &code, &complaint))
    }

    /// Why a process gave no code.
    fn explain(&self, status: ExitStatus, answer: &[u8], complaint: &[u8]) -> AdmissionError {
        use std::os::unix::process::ExitStatusExt as _;
        let complaint = String::from_utf8_lossy(complaint);
        if status.code() == Some(child::INVALID) {
            return invalid(&String::from_utf8_lossy(answer));
        }
        // What the allocator, and the operating system by way of wasmtime, say before the process ends.
        if status.code() == Some(child::NO_MEMORY) || complaint.contains("memory allocation of") {
            return AdmissionError::CompileMemory(self.options.memory);
        }
        let cpu = rustix::process::Signal::XCPU.as_raw();
        if status.signal() == Some(cpu) {
            return AdmissionError::CompileTimeout(self.options.time);
        }
        let said = printable(complaint.lines().next().unwrap_or_default(), 500);
        AdmissionError::CompileFailed(format!("the compiler ended with {status}: {said}"))
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(max).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

fn invalid(reason: &str) -> AdmissionError {
    AdmissionError::Invalid(printable(reason, 1000))
}

/// Whether the bytes begin as a component does.
fn check_kind(bytes: &[u8]) -> Result<(), AdmissionError> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(AdmissionError::Precompiled);
    }
    // The version and layer of a core module, in place of a component's.
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(AdmissionError::CoreModule);
    }
    // Text would do for a wasmtime that is built to read it; a plugin is one binary that a digest stands for.
    if !bytes.starts_with(b"\0asm") {
        return Err(AdmissionError::Invalid(
            "it does not begin as WebAssembly does".to_owned(),
        ));
    }
    Ok(())
}
