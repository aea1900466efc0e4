//! The limits of a process that tries a component on its author's machine.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

/// Bytes that the instance pools map for tables and stacks. They count as data, but use memory only once they
/// are touched.
const POOLS: u64 = 12 << 30;

/// The limits of a process that runs a component and compiles nothing itself.
#[derive(Clone, Copy, Debug)]
pub struct BenchProcess {
    /// Bytes of memory, in addition to what the pools map.
    pub memory: u64,
    /// Wall-clock time, which its parent enforces. The process limits its processor time to this on every processor.
    pub time: Duration,
}

impl BenchProcess {
    /// Sets the limits for this process.
    ///
    /// # Errors
    /// If the operating system rejects one.
    pub fn restrain(&self) -> io::Result<()> {
        let limit = |resource, value| {
            let limit = Rlimit {
                current: Some(value),
                maximum: Some(value),
            };
            setrlimit(resource, limit)
        };
        let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
        limit(Resource::Data, self.memory.saturating_add(POOLS))?;
        limit(
            Resource::Cpu,
            self.time.as_secs().max(1).saturating_mul(processors),
        )?;
        limit(Resource::Core, 0)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    }
}
