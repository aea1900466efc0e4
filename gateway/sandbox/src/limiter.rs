//! Limits what one call allocates, counted over all memories and tables of its instance.
//!
//! wasmtime's `StoreLimits` applies the limit to each memory separately, so a component with eight memories would get
//! eight times the bytes.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use crate::memory::MemoryShare;

/// How many bytes a table element counts as: a pointer, and as much again for the host's own data.
const TABLE_ELEMENT_BYTES: usize = 16;

/// The budget of one store. It is set before instantiation, so that initial memories count too. The memory that it
/// takes also counts against the plugin's share, until the limiter is dropped.
#[derive(Debug)]
pub struct Limiter {
    limit: usize,
    /// The share of all instances of the plugin. `None` in a trial call.
    share: Option<Arc<MemoryShare>>,
    taken: Taken,
    last: usize,
}

/// How much of its budget a store has taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Bytes in use. Guests cannot return memory, so this is also the peak.
    pub used: usize,
    /// Size of the last refused request, in bytes.
    pub denied: Option<usize>,
    /// Whether it was refused because of the plugin's other instances, not because of the call's own limit.
    pub crowded: bool,
}

impl Limiter {
    /// A budget of `limit` bytes, within the plugin's `share`.
    pub fn new(limit: usize, share: Option<Arc<MemoryShare>>) -> Self {
        Self {
            limit,
            share,
            taken: Taken::default(),
            last: 0,
        }
    }

    /// The memory that the store has taken so far.
    pub const fn taken(&self) -> Taken {
        self.taken
    }

    /// Takes `bytes` from the budget and returns whether they were available.
    fn take(&mut self, bytes: usize) -> bool {
        let within = self
            .taken
            .used
            .checked_add(bytes)
            .filter(|used| *used <= self.limit);
        let crowded = within.is_some() && self.share.as_ref().is_some_and(|share| !share.take(bytes));
        match within {
            Some(used) if !crowded => {
                self.taken.used = used;
                self.last = bytes;
                true
            }
            _ => {
                (self.taken.denied, self.taken.crowded) = (Some(bytes), crowded);
                false
            }
        }
    }

    /// Returns the bytes that were taken last, because the growth failed.
    fn put_back(&mut self) {
        self.taken.used = self.taken.used.saturating_sub(self.last);
        if let Some(share) = &self.share {
            share.give_back(self.last);
        }
        self.last = 0;
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        if let Some(share) = &self.share {
            share.give_back(self.taken.used);
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // defence: memories-share-one-budget (a test fails without it: docs/defences.md)
        Ok(self.take(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.put_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.take(
            desired
                .saturating_sub(current)
                .saturating_mul(TABLE_ELEMENT_BYTES),
        ))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.put_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter;

    use super::Limiter;

    #[test]
    fn memories_and_tables_share_one_budget() {
        let mut limiter = Limiter::new(1000, None);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap(), "a second memory");
        assert!(
            !limiter.table_growing(0, 100, None).unwrap(),
            "a table of 1600 bytes"
        );
        assert_eq!(limiter.taken().denied, Some(1600));
        assert!(
            limiter.memory_growing(400, 500, None).unwrap(),
            "the rest is still available"
        );
        assert_eq!(limiter.taken().used, 900);
    }

    #[test]
    fn growth_that_fails_costs_nothing() {
        let mut limiter = Limiter::new(1000, None);
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        limiter.memory_grow_failed(wasmtime::Error::msg("twice")).unwrap();
        assert_eq!(limiter.taken().used, 0);
    }

    #[test]
    fn overflowing_sizes_are_rejected() {
        let mut limiter = Limiter::new(usize::MAX, None);
        assert!(limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!limiter.memory_growing(0, 1, None).unwrap());
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap());
    }
}
