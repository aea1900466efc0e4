//! Places for work that may take long, such that slow work does not hold up the rest.
//!
//! So many pieces of work run at once. One that takes longer than `patience` is slow, and the slow ones may hold all
//! places but one: where they do, the next one that turns out to be slow stops as soon as somebody waits for its place,
//! and begins again when another slow one has ended. So whoever waits does so for `patience` at most, for each of those
//! who came before.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

/// How often slow work looks whether somebody waits for its place.
const LOOK: Duration = Duration::from_millis(500);

/// The places.
#[derive(Debug)]
pub(crate) struct Places {
    all: Semaphore,
    /// Those that slow work may hold.
    slow: Semaphore,
    /// How many wait for a place.
    waiting: AtomicUsize,
    patience: Duration,
}

impl Places {
    /// `count` places, two at least; work is slow beyond `patience`.
    pub(crate) fn new(count: usize, patience: Duration) -> Self {
        Self {
            all: Semaphore::new(count),
            slow: Semaphore::new(count.saturating_sub(1).max(1)),
            waiting: AtomicUsize::new(0),
            patience,
        }
    }

    /// A place, for work that cannot be stopped. `None` never.
    pub(crate) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        let _waiting = Waiting::new(&self.waiting);
        self.all.acquire().await.ok()
    }

    /// Does the work in a place. It may be stopped, by being dropped, and begin again.
    pub(crate) async fn run<T, W: Future<Output = T>>(&self, mut work: impl FnMut() -> W) -> T {
        if let Some(done) = self.try_run(&mut work).await {
            return done;
        }
        let _slow = self.slow.acquire().await;
        let _place = self.take().await;
        work().await
    }

    /// `None` where the work was slow, and somebody waited for its place.
    async fn try_run<T, W: Future<Output = T>>(&self, work: &mut impl FnMut() -> W) -> Option<T> {
        let _place = self.take().await;
        let running = work();
        tokio::pin!(running);
        if let Ok(done) = timeout(self.patience, &mut running).await {
            return Some(done);
        }
        loop {
            if let Ok(_slow) = self.slow.try_acquire() {
                return Some(running.await);
            }
            if self.waiting.load(Ordering::Relaxed) > 0 {
                return None;
            }
            tokio::select! {
                done = &mut running => return Some(done),
                () = sleep(LOOK) => {}
            }
        }
    }
}

/// Counts somebody who waits, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::Places;

    /// Work that ends when it is let, and how often it began.
    fn slow(
        places: &Arc<Places>,
        begun: &Arc<AtomicUsize>,
        gate: &Arc<Semaphore>,
    ) -> tokio::task::JoinHandle<()> {
        let (places, begun, gate) = (Arc::clone(places), Arc::clone(begun), Arc::clone(gate));
        tokio::spawn(async move {
            places
                .run(|| {
                    begun.fetch_add(1, Ordering::Relaxed);
                    let gate = Arc::clone(&gate);
                    async move {
                        gate.acquire().await.unwrap().forget();
                    }
                })
                .await;
        })
    }

    #[tokio::test]
    async fn slow_work_never_holds_every_place() {
        let places = Arc::new(Places::new(2, Duration::from_millis(10)));
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let works: Vec<_> = (0..4).map(|_| slow(&places, &begun, &gate)).collect();
        // All four turn out to be slow; quick work gets through all the same, again and again.
        for _ in 0..20 {
            places.run(|| async {}).await;
        }
        assert_eq!(gate.available_permits(), 0);
        gate.add_permits(4);
        for work in works {
            work.await.unwrap();
        }
        assert!(begun.load(Ordering::Relaxed) <= 7, "each is stopped once at most");
    }

    #[tokio::test]
    async fn slow_work_goes_on_while_nobody_waits() {
        let places = Arc::new(Places::new(2, Duration::from_millis(1)));
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let works = [slow(&places, &begun, &gate), slow(&places, &begun, &gate)];
        while places.slow.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        for work in works {
            work.await.unwrap();
        }
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }
}
