//! The limits of a process that tries a component on its author's machine.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Signal, set_parent_process_death_signal};

use super::child::{limit, limit_processor};

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
        let data = self.memory.saturating_add(POOLS);
        limit(Resource::Data, data, data)?;
        limit_processor(self.time)?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    }
}
