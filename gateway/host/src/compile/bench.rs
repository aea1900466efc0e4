//! The limits of a process that tries a component on its author's machine.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

/// Bytes that the instance pool maps ahead for tables and stacks, in each of its engines. They count as data, and are
/// memory only once they are used.
const POOLS: u64 = 12 << 30;

/// What a process may have that compiles nothing itself, and runs a component.
#[derive(Clone, Copy, Debug)]
pub struct BenchProcess {
    /// Bytes of memory, beside what the pool maps.
    pub memory: u64,
    /// Wall clock, which its parent keeps; of processor time it may have as much on every processor.
    pub time: Duration,
}

impl BenchProcess {
    /// Limits this process.
    ///
    /// # Errors
    /// What the operating system says.
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
