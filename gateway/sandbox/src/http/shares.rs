//! Shares of a limited number of things: each plugin may always have a few, and more as long as it leaves as many free.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// A limited number of things that plugins share.
#[derive(Debug)]
pub(super) struct Shares {
    /// The number beyond those that each plugin may always have.
    most: usize,
    /// How many each plugin may have regardless of the others.
    always: usize,
    /// The most that one plugin may have.
    most_of_one: usize,
    held: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of: HashMap<Arc<str>, usize>,
}

/// One of the things. Dropping it returns it.
#[derive(Debug)]
pub(super) struct Held {
    shares: Arc<Shares>,
    plugin: Arc<str>,
}

impl Shares {
    pub(super) fn new(most: usize, always: usize, most_of_one: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            always,
            most_of_one,
            held: Mutex::default(),
        })
    }

    /// Takes one for the plugin, unless it has as many as it may.
    pub(super) fn take(self: &Arc<Self>, plugin: &Arc<str>) -> Option<Held> {
        let mut held = self.held.lock();
        let of = held.of.get(plugin).copied().unwrap_or_default();
        let free = self.most.saturating_sub(held.all);
        if of >= self.always && of >= self.most_of_one.min(free) {
            return None;
        }
        held.all += 1;
        held.of.insert(Arc::clone(plugin), of + 1);
        Some(Held {
            shares: Arc::clone(self),
            plugin: Arc::clone(plugin),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        held.all = held.all.saturating_sub(1);
        if let Some(of) = held.of.get_mut(&self.plugin) {
            *of = of.saturating_sub(1);
            if *of == 0 {
                held.of.remove(&self.plugin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Held, Shares};

    fn all(shares: &Arc<Shares>, plugin: &str) -> Vec<Held> {
        let plugin = plugin.into();
        std::iter::from_fn(|| shares.take(&plugin)).collect()
    }

    #[test]
    fn a3_a_plugin_leaves_as_many_as_it_has() {
        let shares = Shares::new(64, 2, 100);
        let first = all(&shares, "first");
        let second = all(&shares, "second");
        assert_eq!((first.len(), second.len()), (32, 16));
        let others: Vec<_> = (0..50).map(|number| all(&shares, &number.to_string())).collect();
        assert!(others.iter().all(|held| held.len() >= 2));
        assert!(shares.held.lock().all <= 64 + 50 * 2);
        drop((first, second, others));
        assert_eq!(shares.held.lock().all, 0);
        assert!(
            shares.held.lock().of.is_empty(),
            "plugins without any are forgotten"
        );
    }

    #[test]
    fn a_plugin_alone_is_limited_too() {
        let shares = Shares::new(64, 1, 8);
        assert_eq!(all(&shares, "only").len(), 8);
    }
}
