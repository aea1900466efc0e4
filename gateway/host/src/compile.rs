//! Compiles components, a few at a time, each in its own process: a malicious component can make a compiler take
//! gigabytes and minutes, or crash, and a thread cannot be stopped. The process has limits, is killed when its time is
//! up, and gets only the component: no environment, no files.
//!
//! A quick file does not wait for slow ones: compilers run at the levels of [`Places`], and start with a part of the
//! memory limit. All of them together may use twice the limit, or 2 GiB if that is more.
//!
//! | level | processes | memory of each | priority | for how long |
//! |---|---|---|---|---|
//! | 0 | 2 | a quarter | higher | 3 seconds, then it moves on |
//! | 1 | 1 | a half | lower | 20 seconds, then it moves on |
//! | 2 | 1 | all | lower | [`CompileOptions::time`] |
//!
//! A process that moves on keeps running with more memory, if there is a place for it. A process that fails for want of
//! memory starts again at the next level.
//!
//! | module | what it holds |
//! |---|---|
//! | `child` | what the process does |
//! | `bench` | the limits of the author's process that tries a component |

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, prlimit, setpriority_pgrp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::Component;

pub use self::bench::BenchProcess;
pub use self::child::{ChildLimits, compile_in_child};
use crate::blocking::blocking;
use crate::cache::{self, Cache};
use crate::code::Code;
use crate::error::AdmissionError;
use crate::file::{MAX_FILE, PluginFile};
use crate::places::{Ended, Places};
use gateway_sandbox::engine::Engines;
use gateway_sandbox::text::printable;

mod bench;
mod child;

/// How many components compile at the same time at the first level, and for how long, which is enough for nearly all.
const QUICK: (usize, Duration) = (2, Duration::from_secs(3));
/// The further levels. An interpreter with its library is compiled at the second one.
const SLOW: [(usize, Duration); 2] = [(1, Duration::from_secs(20)), (1, Duration::MAX)];
/// With less address space a compiler does not even start.
const LEAST_MEMORY: u64 = 256 << 20;
/// How many components are remembered as impossible to compile.
const MAX_REFUSED: usize = 256;
/// How often the log reports a compilation in progress.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of compiled code that are read from a process.
const MAX_CODE: u64 = 512 << 20;
/// The most bytes that are read of a process's standard error.
const MAX_COMPLAINT: u64 = 16 << 10;

/// How components are compiled, and the limits of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// The program that compiles, which calls [`compile_in_child`], and its first arguments; the limits follow. `None`
    /// compiles in this process, without limits: for tests, and for a developer's own components.
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

/// One compilation, shared by all that wait for it. It ends if the last of them is dropped.
pub(crate) type Job = Shared<BoxFuture<'static, Result<Component, AdmissionError>>>;
type WeakJob = WeakShared<BoxFuture<'static, Result<Component, AdmissionError>>>;

/// Compiles components, and stores their code in the cache.
pub(crate) struct Compiler {
    engines: Arc<Engines>,
    cache: Arc<Cache>,
    guests: Handle,
    options: CompileOptions,
    places: Places,
    /// By digest.
    jobs: Mutex<HashMap<String, WeakJob>>,
    /// Components that cannot be compiled, by digest: the same bytes are not tried again under the same limits.
    refused: Mutex<VecDeque<(String, AdmissionError)>>,
}

impl Compiler {
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
            places: Places::new(QUICK, &SLOW),
            jobs: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(crate) const fn max_size(&self) -> u64 {
        self.options.size
    }

    /// Starts to load a component from the cache or to compile it, or joins a compilation in progress. `plugin` is for
    /// the log.
    pub(crate) fn begin(self: &Arc<Self>, plugin: &str, file: Arc<PluginFile>) -> Job {
        let mut jobs = self.jobs.lock();
        if let Some(job) = jobs.get(&file.digest).and_then(WeakShared::upgrade) {
            return job;
        }
        jobs.retain(|_, job| job.upgrade().is_some());
        let (digest, plugin, compiler) = (file.digest.clone(), plugin.to_owned(), Arc::clone(self));
        let task = self
            .guests
            .spawn(async move { compiler.compile(&plugin, file).await });
        let task = AbortOnDropHandle::new(task);
        let job = async move {
            task.await
                .unwrap_or_else(|error| Err(AdmissionError::CompileFailed(error.to_string())))
        };
        let job = job.boxed().shared();
        if let Some(weak) = job.downgrade() {
            jobs.insert(digest, weak);
        }
        job
    }

    /// Dropping the future kills the compiler's process.
    async fn compile(&self, plugin: &str, file: Arc<PluginFile>) -> Result<Component, AdmissionError> {
        check_kind(&file.bytes)?;
        if let Some(refused) = self.refused(&file.digest) {
            return Err(refused);
        }
        // Before the queue: cached code needs no compiler.
        if let Some(component) = self.cached(&file).await? {
            return Ok(component);
        }
        let size = file.bytes.len() as u64;
        let compiled = match self.options.command.as_deref() {
            Some([program, arguments @ ..]) => {
                // defence: compiler-is-a-process-of-its-own (a test fails without it: docs/defences.md)
                let apart = |level| self.compile_apart(program, arguments, &file, level);
                let compile = |level| self.reported(plugin, &file, apart(level));
                self.places.run(size, compile).await
            }
            Some([]) | None => {
                let _place = self.places.take(size).await;
                self.reported(plugin, &file, self.compile_here(&file)).await
            }
        };
        let digest = file.digest.clone();
        let compiled = match compiled {
            Ok(code) => self.accept(file, code).await,
            Err(error) => Err(error),
        };
        compiled.inspect_err(|error| self.refuse(&digest, error))
    }

    /// Loads compiled code, and stores it in the cache.
    async fn accept(&self, file: Arc<PluginFile>, code: Code) -> Result<Component, AdmissionError> {
        let (engines, cache) = (Arc::clone(&self.engines), Arc::clone(&self.cache));
        let keep = move || {
            let component = cache::accept(&engines.of(&file.bytes), &code);
            if component.is_ok() {
                cache.store(&file.digest, &code);
            }
            component
        };
        blocking(&self.guests, keep).await?.map_err(|error| {
            let reason = printable(&format!("{error:#}"), 1000);
            if error.chain().any(|cause| cause.is::<std::io::Error>()) {
                AdmissionError::CompileFailed(reason)
            } else {
                AdmissionError::DoesNotFit(reason)
            }
        })
    }

    /// Logs that a compilation is in progress.
    async fn reported<T>(&self, plugin: &str, file: &PluginFile, compile: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let mut tell = interval_at(started + PATIENCE, PATIENCE);
        tokio::pin!(compile);
        loop {
            tokio::select! {
                compiled = &mut compile => return compiled,
                _ = tell.tick() => tracing::info!(
                    plugin, digest = file.digest,
                    "compiling the plugin, {} s so far", started.elapsed().as_secs()
                ),
            }
        }
    }

    fn refused(&self, digest: &str) -> Option<AdmissionError> {
        let refused = self.refused.lock();
        let found = refused.iter().find(|(known, _)| known == digest);
        found.map(|(_, error)| error.clone())
    }

    fn refuse(&self, digest: &str, error: &AdmissionError) {
        if error.is_about_bytes() {
            let mut refused = self.refused.lock();
            refused.truncate(MAX_REFUSED - 1);
            refused.push_front((digest.to_owned(), error.clone()));
        }
    }

    /// Loads the component's code from the cache.
    pub(crate) async fn cached(&self, file: &Arc<PluginFile>) -> Result<Option<Component>, AdmissionError> {
        let (engines, cache) = (Arc::clone(&self.engines), Arc::clone(&self.cache));
        let file = Arc::clone(file);
        let load = move || cache.load(&engines.of(&file.bytes), &file.digest);
        blocking(&self.guests, load).await
    }

    async fn compile_here(&self, file: &Arc<PluginFile>) -> Result<Code, AdmissionError> {
        let (engines, file) = (Arc::clone(&self.engines), Arc::clone(file));
        let compile = move || engines.usual().precompile_component(&file.bytes);
        match blocking(&self.guests, compile).await? {
            Ok(code) => Ok(Code::new(code)),
            Err(error) => Err(invalid(&format!("{error:#}"))),
        }
    }

    async fn compile_apart(
        &self,
        program: &OsString,
        arguments: &[OsString],
        file: &PluginFile,
        level: watch::Receiver<usize>,
    ) -> Ended<Result<Code, AdmissionError>> {
        loop {
            let is_short = self.memory(*level.borrow()) < self.options.memory;
            let ran = self.run_compiler(program, arguments, file, level.clone()).await;
            match ran.transpose() {
                // It could not get the memory of its new level, and starts again there.
                None => {}
                Some(Ok(Ok(code))) => return Ended::Done(Ok(code)),
                // How a lack of memory shows depends on the allocator and the operating system.
                Some(Ok(Err(error))) if is_short && !error.is_final() => return Ended::Short(Err(error)),
                Some(Ok(Err(error)) | Err(error)) => return Ended::Done(Err(error)),
            }
        }
    }

    fn memory(&self, level: usize) -> u64 {
        let most = self.options.memory;
        let part = match level {
            0 => most / 4,
            1 => most / 2,
            _ => most,
        };
        part.max(LEAST_MEMORY).min(most)
    }

    /// Returns the compiler's result; the outer error is that it could not be run to its end. Returns `None` if it has
    /// moved to another level and could not get more memory.
    async fn run_compiler(
        &self,
        program: &OsString,
        arguments: &[OsString],
        file: &PluginFile,
        level: watch::Receiver<usize>,
    ) -> Result<Option<Result<Code, AdmissionError>>, AdmissionError> {
        let time = self.options.time;
        let failed = |error: std::io::Error| AdmissionError::CompileFailed(error.to_string());
        let first = *level.borrow();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["--memory", &self.memory(first).to_string()])
            .args(["--most-memory", &self.options.memory.to_string()])
            .args(["--nice", &child::nice(first).to_string()])
            .args(["--seconds", &time.as_secs().max(1).to_string()])
            .env_clear()
            // Each arena reserves address space, which is what is limited.
            .env("MALLOC_ARENA_MAX", "2")
            .env("MIMALLOC_ARENA_RESERVE", "65536")
            .current_dir("/")
            // Only the gateway handles signals from the terminal.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let process = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // A child that does not read to the end reports the reason.
                let _ = stdin.write_all(&file.bytes).await;
            }
        };
        let talk = async { tokio::join!(write, read(stdout, MAX_CODE), read(stderr, MAX_COMPLAINT)) };
        let work = async {
            // Its process id cannot be reused before it is waited for.
            let ((), code, complaint) = self.at_levels(process, level, talk).await?;
            Some((code, complaint, child.wait().await))
        };
        // Dropping the child kills it.
        let ended = timeout(time, work)
            .await
            .map_err(|_| AdmissionError::CompileTimeout(time))?;
        let Some((code, complaint, status)) = ended else {
            return Ok(None);
        };
        let (code, status) = (code.map_err(failed)?, status.map_err(failed)?);
        let complaint = complaint.unwrap_or_default();
        if status.success() {
            return Ok(Some(Ok(Code::new(code))));
        }
        Ok(Some(Err(self.explain(status, &code, &complaint))))
    }

    /// Raises a process's limits when it moves to the next level. Returns `None` if that is not possible.
    async fn at_levels<T>(
        &self,
        process: Option<Pid>,
        mut level: watch::Receiver<usize>,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                Ok(()) = level.changed() => {
                    let level = *level.borrow_and_update();
                    let limit = Rlimit {
                        current: Some(self.memory(level)),
                        maximum: Some(self.options.memory),
                    };
                    // `None` would be this process.
                    let process = process?;
                    prlimit(Some(process), Resource::As, limit).ok()?;
                    let _ = setpriority_pgrp(Some(process), child::nice(level));
                }
            }
        }
    }

    /// Why a process returned no code.
    fn explain(&self, status: ExitStatus, answer: &[u8], complaint: &[u8]) -> AdmissionError {
        use std::os::unix::process::ExitStatusExt as _;
        let complaint = String::from_utf8_lossy(complaint);
        if status.code() == Some(child::INVALID) {
            return invalid(&String::from_utf8_lossy(answer));
        }
        // The message of the allocator, or of the operating system by way of wasmtime.
        if status.code() == Some(child::NO_MEMORY) || complaint.contains("memory allocation of") {
            return AdmissionError::CompileMemory(self.options.memory);
        }
        let cpu = rustix::process::Signal::XCPU.as_raw();
        if status.signal() == Some(cpu) {
            return AdmissionError::CompileTimeout(self.options.time);
        }
        let said = printable(complaint.lines().next().unwrap_or_default(), 500);
        let ended = format!("the compiler ended with {status}: {said}");
        if status.signal() == Some(rustix::process::Signal::KILL.as_raw()) {
            return AdmissionError::CompileKilled(ended);
        }
        AdmissionError::CompileFailed(ended)
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

/// Checks that the bytes begin as a component does.
fn check_kind(bytes: &[u8]) -> Result<(), AdmissionError> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(AdmissionError::Precompiled);
    }
    // The version and layer of a core module, in place of a component's.
    if bytes.starts_with(b"\0asm\x01\0\0\0") {
        return Err(AdmissionError::CoreModule);
    }
    // A wasmtime that is built with `wat` would accept text as well; a plugin is a binary that a digest identifies.
    if !bytes.starts_with(b"\0asm") {
        return Err(AdmissionError::Invalid(
            "it does not begin as WebAssembly does".to_owned(),
        ));
    }
    Ok(())
}
