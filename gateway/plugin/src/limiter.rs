//! What one call may allocate, counted over all memories and tables of its instance.
//!
//! wasmtime's own `StoreLimits` holds each memory to the limit by itself, so a component with eight
//! memories would get eight times the bytes.

use wasmtime::ResourceLimiter;

use crate::engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};

/// Bytes that a table element is counted as: a pointer's worth, and as much again for what the host
/// keeps beside it.
const TABLE_ELEMENT_BYTES: usize = 16;

/// The budget of one store. Set before instantiation, so that initial memories count as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limiter {
    limit: usize,
    used: usize,
    last: usize,
    /// Bytes that were refused last, where any were.
    denied: Option<usize>,
}

impl Limiter {
    /// A budget of `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            used: 0,
            last: 0,
            denied: None,
        }
    }

    /// Bytes in use. Guests cannot give memory back, so this is the peak as well.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// How many bytes more the guest was refused, the last time: what it died of, if it died.
    pub(crate) const fn denied(&self) -> Option<usize> {
        self.denied
    }

    /// Takes `bytes` out of the budget, or refuses.
    const fn take(&mut self, bytes: usize) -> bool {
        match self.used.checked_add(bytes) {
            Some(used) if used <= self.limit => {
                self.used = used;
                self.last = bytes;
                true
            }
            _ => {
                self.denied = Some(bytes);
                false
            }
        }
    }

    /// Puts back what was taken last: the growth did not happen.
    const fn put_back(&mut self) {
        self.used = self.used.saturating_sub(self.last);
        self.last = 0;
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
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
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap(), "a second memory");
        assert!(
            !limiter.table_growing(0, 100, None).unwrap(),
            "a table of 1600 bytes"
        );
        assert_eq!(limiter.denied(), Some(1600));
        assert!(
            limiter.memory_growing(400, 500, None).unwrap(),
            "what is left can still be had"
        );
        assert_eq!(limiter.used(), 900);
    }

    #[test]
    fn growth_that_fails_costs_nothing() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 600, None).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        limiter.memory_grow_failed(wasmtime::Error::msg("twice")).unwrap();
        assert_eq!(limiter.used(), 0);
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut limiter = Limiter::new(usize::MAX);
        assert!(limiter.memory_growing(0, usize::MAX, None).unwrap());
        assert!(!limiter.memory_growing(0, 1, None).unwrap());
        assert!(!limiter.table_growing(0, usize::MAX, None).unwrap());
    }
}
