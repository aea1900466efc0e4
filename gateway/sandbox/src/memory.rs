//! Limits the memory of all instances together, and of each plugin's.
//!
//! [`Limiter`](crate::limiter::Limiter) bounds one instance. A plugin has many at the same time, running or prepared,
//! and an interpreter takes tens of megabytes for each. So every plugin has a share that all its calls stay within.
//! Part of the share is guaranteed; what plugins take beyond that is limited over all of them. [`MemoryShare::room`]
//! derives the number of calls that run at the same time from what earlier calls took. Calls therefore wait for memory
//! in the queue, where waiting costs nothing, and only unexpected growth is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// One plugin may have this fraction of all memory: a quarter.
const PART: usize = 4;

/// The memory of all plugins.
#[derive(Debug, Default)]
pub struct Memory {
    common: Arc<Common>,
    shares: Mutex<BTreeMap<Arc<str>, Arc<MemoryShare>>>,
}

/// Bytes beyond the guaranteed parts. Unlimited until [`Memory::divide`] is called: a workbench has one plugin.
#[derive(Debug)]
struct Common {
    most: AtomicUsize,
    taken: AtomicUsize,
}

/// The memory of one plugin.
#[derive(Debug)]
pub struct MemoryShare {
    common: Arc<Common>,
    state: Mutex<State>,
    most: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    used: usize,
    /// Bytes that it may have regardless of the others.
    guaranteed: usize,
    /// The part of `used` beyond `guaranteed`.
    beyond: usize,
}

impl Memory {
    /// Divides `total` bytes among the plugins, each given with the memory limit of one call. Half is guaranteed, in
    /// equal parts. Plugins that are not in the list lose their guarantee.
    pub fn divide<'a>(&self, total: usize, plugins: impl IntoIterator<Item = (&'a Arc<str>, usize)>) {
        let plugins: BTreeMap<_, _> = plugins.into_iter().collect();
        let part = total / 2 / plugins.len().max(1);
        let mut guaranteed = 0;
        let mut shares = self.shares.lock();
        shares.retain(|name, share| plugins.contains_key(name) || Arc::strong_count(share) > 1);
        for (name, share) in shares.iter() {
            if !plugins.contains_key(name) {
                share.set(0, share.most.load(Ordering::Relaxed));
            }
        }
        for (name, call) in plugins {
            let own = part.min(call);
            guaranteed += own;
            let share = shares
                .entry(Arc::clone(name))
                .or_insert_with(|| Arc::new(MemoryShare::new(&self.common)));
            share.set(own, (total / PART).max(call));
        }
        // One call of any plugin must fit.
        let largest = shares
            .values()
            .map(|share| share.most.load(Ordering::Relaxed))
            .max();
        let common = total.saturating_sub(guaranteed).max(largest.unwrap_or_default());
        self.common.most.store(common, Ordering::Relaxed);
    }

    /// Returns the share of a plugin.
    pub fn share(&self, plugin: &Arc<str>) -> Arc<MemoryShare> {
        let mut shares = self.shares.lock();
        let share = shares
            .entry(Arc::clone(plugin))
            .or_insert_with(|| Arc::new(MemoryShare::new(&self.common)));
        Arc::clone(share)
    }
}

impl Default for Common {
    fn default() -> Self {
        Self {
            most: AtomicUsize::new(usize::MAX),
            taken: AtomicUsize::new(0),
        }
    }
}

impl Common {
    /// Takes or returns the difference.
    fn change(&self, before: usize, after: usize) -> bool {
        let Some(more) = after.checked_sub(before) else {
            self.taken.fetch_sub(before - after, Ordering::Relaxed);
            return true;
        };
        let most = self.most.load(Ordering::Relaxed);
        let add = |taken: usize| {
            taken
                .checked_add(more)
                .filter(|taken| more == 0 || *taken <= most)
        };
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }
}

impl MemoryShare {
    fn new(common: &Arc<Common>) -> Self {
        Self {
            common: Arc::clone(common),
            state: Mutex::default(),
            most: AtomicUsize::new(usize::MAX),
        }
    }

    fn set(&self, guaranteed: usize, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.state.lock().guaranteed = guaranteed;
    }

    /// Takes bytes, and returns whether the plugin may have them.
    pub fn take(&self, bytes: usize) -> bool {
        let mut state = self.state.lock();
        let Some(used) = state.used.checked_add(bytes) else {
            return false;
        };
        let beyond = used.saturating_sub(state.guaranteed);
        let taken = used <= self.most.load(Ordering::Relaxed)
            && self.common.change(state.beyond, beyond.max(state.beyond));
        if taken {
            (state.used, state.beyond) = (used, beyond.max(state.beyond));
        }
        taken
    }

    /// Returns bytes.
    pub fn give_back(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.used = state.used.saturating_sub(bytes);
        let beyond = state.used.saturating_sub(state.guaranteed).min(state.beyond);
        self.common.change(state.beyond, beyond);
        state.beyond = beyond;
    }

    /// How many instances of this size fit; at least one.
    pub fn room(&self, bytes: usize) -> usize {
        (self.most.load(Ordering::Relaxed) / bytes.max(1)).max(1)
    }

    /// The most bytes that the plugin may have.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    fn used(&self) -> usize {
        self.state.lock().used
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wasmtime::ResourceLimiter as _;

    use super::{Memory, MemoryShare};
    use crate::limiter::Limiter;

    fn shares<const N: usize>(total: usize, plugins: [(&str, usize); N]) -> [Arc<MemoryShare>; N] {
        divided(&Memory::default(), total, plugins)
    }

    fn divided<const N: usize>(
        memory: &Memory,
        total: usize,
        plugins: [(&str, usize); N],
    ) -> [Arc<MemoryShare>; N] {
        let plugins = plugins.map(|(name, call)| (Arc::from(name), call));
        memory.divide(total, plugins.iter().map(|(name, call)| (name, *call)));
        plugins.map(|(name, _)| memory.share(&name))
    }

    #[test]
    fn a5_all_instances_of_a_plugin_share_one_budget() {
        let [grows, other] = shares(1000, [("grows", 100), ("other", 100)]);
        let mut held = Vec::new();
        for _ in 0..16 {
            let mut limiter = Limiter::new(100, Some(Arc::clone(&grows)));
            let grown = limiter.memory_growing(0, 100, None).unwrap();
            assert_eq!(
                (grown, limiter.taken().crowded),
                (held.len() < 2, held.len() >= 2)
            );
            if grown {
                held.push(limiter);
            }
        }
        assert_eq!(grows.used(), 200, "a quarter of it, in whole instances");
        assert!(other.take(100));
        held.pop();
        assert_eq!(grows.used(), 100);
        assert!(grows.take(100));
    }

    #[test]
    fn a5_however_many_plugins_grow_the_sum_is_bounded_and_each_has_its_part() {
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let plugins: [(&str, usize); 20] = std::array::from_fn(|number| (names[number].as_str(), 100));
        let shares = shares(1000, plugins);
        let all: usize = shares[..19]
            .iter()
            .map(|share| std::iter::from_fn(|| share.take(5).then_some(5)).sum::<usize>())
            .sum();
        assert_eq!(all, 1000 - 25);
        assert!(shares[19].take(25), "what is guaranteed to the last");
        assert!(!shares[19].take(5));
    }

    #[test]
    fn returned_memory_is_available_again() {
        let memory = Memory::default();
        let [share] = divided(&memory, 1000, [("only", 100)]);
        let taken = || memory.common.taken.load(super::Ordering::Relaxed);
        for _ in 0..100 {
            assert!(share.take(200) && share.take(50) && !share.take(1));
            share.give_back(250);
        }
        assert_eq!((share.used(), taken()), (0, 0));
        // Also if the memory is divided again in between.
        assert!(share.take(200));
        divided(&memory, 4000, [("only", 500), ("another", 500)]);
        share.give_back(200);
        assert_eq!((share.used(), taken()), (0, 0));
        assert_eq!((share.room(300), share.room(0), share.room(5000)), (3, 1000, 1));
    }

    #[test]
    fn one_call_fits_even_if_its_limit_exceeds_the_total() {
        let [large, small] = shares(1000, [("large", 5000), ("small", 10)]);
        assert!(large.take(5000));
        assert!(small.take(10));
    }
}
