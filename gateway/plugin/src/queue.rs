//! Calls that wait for one of their plugin's slots, and those that are better told at once to come again.
//!
//! Who waits for too long has no time left for the call itself: then the gateway is busy with nothing but calls that fail,
//! and goes on so after the rush is over. So a call waits for half of its deadline at most. That is for a rush; where the
//! queue has not been empty for as long, more comes than can be done, waiting only makes everybody late, and a call waits
//! for a tenth of its deadline. (Controlled delay, as in RFC 8289, with a time limit for those who wait in place of a
//! choice of whom to drop.)
//!
//! Calls that run at once share the processors, so where each computes for long, all of them may run out of time. So one that
//! does takes a slot with it, and as many as there are slots that end in time bring one back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// As few slots are left to a plugin whose calls all run out of time: one call that never ends must not keep the next from
/// its turn.
const FEWEST: u32 = 4;

/// The slots of one plugin, and who waits for them.
pub(crate) struct Queue {
    slots: Arc<Semaphore>,
    most: u32,
    now: Mutex<Now>,
    waiting: Mutex<Waiting>,
}

/// How many slots there are at the moment.
struct Now {
    slots: u32,
    /// Calls that ended in time since the last change.
    in_time: u32,
}

/// A place in the plugin, and one in the host. Dropping it gives both back.
pub(crate) struct Slots {
    queue: Arc<Queue>,
    own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Slots {
    /// The call has ended, in time or by its deadline.
    pub(crate) fn ended(self, in_time: bool) {
        let mut now = self.queue.now.lock();
        if in_time {
            now.in_time = now.in_time.saturating_add(1);
            if now.slots < self.queue.most && now.in_time >= now.slots {
                (now.slots, now.in_time) = (now.slots + 1, 0);
                self.queue.slots.add_permits(1);
            }
        } else {
            now.in_time = 0;
            if now.slots > FEWEST {
                now.slots -= 1;
                self.own.forget();
            }
        }
    }
}

impl Queue {
    /// Lets in `most` calls at once.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(most as usize)),
            most,
            now: Mutex::new(Now {
                slots: most,
                in_time: 0,
            }),
            waiting: Mutex::default(),
        }
    }

    /// Waits for a slot of the plugin, then for one of `all` of the host: who waits for a busy plugin takes none from
    /// the others. `None` where that takes too long for a call with this `deadline`.
    pub(crate) async fn pass(self: &Arc<Self>, all: &Arc<Semaphore>, deadline: Duration) -> Option<Slots> {
        let patience = self.waiting.lock().enter(Instant::now(), deadline);
        let _waiting = Leave(&self.waiting);
        let slots = async {
            Some(Slots {
                queue: Arc::clone(self),
                own: Arc::clone(&self.slots).acquire_owned().await.ok()?,
                _all: Arc::clone(all).acquire_owned().await.ok()?,
            })
        };
        timeout(patience, slots).await.ok().flatten()
    }
}

/// How many wait, and since when there has been somebody.
#[derive(Default)]
struct Waiting {
    calls: usize,
    since: Option<Instant>,
}

impl Waiting {
    /// One more. Gives how long it may wait.
    fn enter(&mut self, now: Instant, deadline: Duration) -> Duration {
        self.calls += 1;
        let since = *self.since.get_or_insert(now);
        let rush = deadline / 2;
        if now.duration_since(since) < rush {
            rush
        } else {
            deadline / 10
        }
    }

    /// One less.
    fn leave(&mut self) {
        self.calls = self.calls.saturating_sub(1);
        if self.calls == 0 {
            self.since = None;
        }
    }
}

/// Leaves the queue, also where the caller goes away.
struct Leave<'a>(&'a Mutex<Waiting>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.lock().leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Semaphore;
    use tokio::time::Instant;

    use super::{Queue, Waiting};

    const DEADLINE: Duration = Duration::from_millis(500);

    #[test]
    fn a_rush_is_waited_out_and_a_queue_that_stands_is_not() {
        let (mut waiting, begin) = (Waiting::default(), Instant::now());
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let may_wait = |milliseconds| Duration::from_millis(milliseconds);
        assert_eq!(waiting.enter(at(0), DEADLINE), may_wait(250));
        assert_eq!(waiting.enter(at(249), DEADLINE), may_wait(250));
        assert_eq!(waiting.enter(at(250), DEADLINE), may_wait(50));
        waiting.leave();
        waiting.leave();
        assert_eq!(waiting.enter(at(9000), DEADLINE), may_wait(50));
        waiting.leave();
        waiting.leave();
        // It has been empty.
        assert_eq!(waiting.enter(at(9001), DEADLINE), may_wait(250));
    }

    #[tokio::test]
    async fn who_waits_in_vain_leaves_the_queue() {
        let (queue, all) = (Arc::new(Queue::new(1)), Arc::new(Semaphore::new(2)));
        let first = queue.pass(&all, DEADLINE).await;
        assert!(first.is_some());
        assert!(queue.pass(&all, Duration::from_millis(1)).await.is_none());
        // As do those who go away.
        let gone = tokio::time::timeout(Duration::from_millis(1), queue.pass(&all, DEADLINE));
        assert!(gone.await.is_err());
        assert_eq!(queue.waiting.lock().calls, 0);
        drop(first);
        assert!(queue.pass(&all, DEADLINE).await.is_some());
        assert_eq!(all.available_permits(), 2);
    }

    #[tokio::test]
    async fn calls_that_run_out_of_time_leave_fewer_slots_and_those_that_do_not_bring_them_back() {
        let (queue, all) = (Arc::new(Queue::new(16)), Arc::new(Semaphore::new(64)));
        let call = async |in_time| {
            let slots = queue.pass(&all, DEADLINE).await.unwrap();
            slots.ended(in_time);
            queue.slots.available_permits()
        };
        assert_eq!(call(true).await, 16);
        assert_eq!([call(false).await, call(false).await], [15, 14]);
        for _ in 0..30 {
            call(false).await;
        }
        assert_eq!(queue.slots.available_permits(), 4);
        let mut back = Vec::new();
        for _ in 0..200 {
            back.push(call(true).await);
        }
        assert_eq!(back[..10], [4, 4, 4, 5, 5, 5, 5, 5, 6, 6]);
        assert_eq!(back.last(), Some(&16));
        assert_eq!(all.available_permits(), 64);
    }
}
