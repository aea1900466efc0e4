//! Schedules work that may take long, so that slow work does not delay quick work.
//!
//! There are several levels, each with its own places. All work starts at the first level. Work that takes longer than
//! the level's slice moves to the next level, and keeps running if that level has a free place. Otherwise it keeps its
//! place until other work waits for it, is then stopped, and starts again when the next level has a place. So a place
//! is free again after one slice, however long the work takes. Work of the last level runs to its end.
//!
//! The places of a level go in turn to the smallest waiting work and to the one that has waited longest: small work
//! does not wait for all the large work that came before it, and no work waits forever.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

/// How often work that has used up its slice checks whether it can move on or must stop.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Places {
    first: Level,
    further: Vec<Level>,
}

/// How a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended<T> {
    /// With its result.
    Done(T),
    /// It needs more than its level allows. At the last level, this is the result.
    Short(T),
}

#[derive(Debug)]
struct Level {
    queue: Arc<Queue>,
    slice: Duration,
}

/// One place. Dropping it passes it to the next waiting work.
#[derive(Debug)]
pub(crate) struct Place(Arc<Queue>);

#[derive(Debug)]
struct Queue(Mutex<State>);

#[derive(Debug)]
struct State {
    free: usize,
    next: u64,
    /// In order of arrival, with the size of the work.
    waiting: BTreeMap<u64, (u64, oneshot::Sender<Place>)>,
    /// Whether the next free place is for the smallest.
    is_smallest_next: bool,
}

impl Places {
    /// Takes the number of places and the slice of each level; the last level ignores its slice.
    pub(crate) fn new(first: (usize, Duration), further: &[(usize, Duration)]) -> Self {
        let level = |(places, slice): (usize, Duration)| Level {
            queue: Arc::new(Queue(Mutex::new(State {
                free: places.max(1),
                next: 0,
                waiting: BTreeMap::new(),
                is_smallest_next: true,
            }))),
            slice,
        };
        Self {
            first: level(first),
            further: further.iter().copied().map(level).collect(),
        }
    }

    /// A place of the first level, for work that cannot be stopped.
    pub(crate) async fn take(&self, size: u64) -> Place {
        self.first.queue.take(size).await
    }

    /// Does the work, which receives its level, also when it moves on. The work may be dropped and started again.
    pub(crate) async fn run<T, W: Future<Output = Ended<T>>>(
        &self,
        size: u64,
        mut work: impl FnMut(watch::Receiver<usize>) -> W,
    ) -> T {
        let (mut level, mut further) = (&self.first, self.further.iter().enumerate());
        let mut number = 0;
        loop {
            let mut place = level.queue.take(size).await;
            let (tell, told) = watch::channel(number);
            let mut running = Box::pin(work(told));
            let ended = loop {
                let Some((index, next)) = further.clone().next() else {
                    break Some(running.as_mut().await);
                };
                let moved = match level.turn(running.as_mut(), next).await {
                    Turn::Ended(ended) => break Some(ended),
                    Turn::Stop => break None,
                    Turn::Move(moved) => moved,
                };
                place = moved;
                (level, number) = (next, index + 1);
                further.next();
                tell.send_replace(number);
            };
            // Its memory is free before the next one begins.
            drop(running);
            drop(place);
            match (ended, further.next()) {
                (Some(Ended::Done(result)), _) | (Some(Ended::Short(result)), None) => return result,
                (_, Some((index, next))) => (level, number) = (next, index + 1),
                // Unreachable: work of the last level is never stopped.
                (None, None) => {}
            }
        }
    }
}

/// The end of a slice.
enum Turn<T> {
    Ended(T),
    /// It has a place at the next level.
    Move(Place),
    /// Other work waits for its place.
    Stop,
}

impl Level {
    async fn turn<T>(&self, mut running: impl Future<Output = T> + Unpin, next: &Self) -> Turn<T> {
        if let Ok(ended) = timeout(self.slice, &mut running).await {
            return Turn::Ended(ended);
        }
        loop {
            if let Some(place) = next.queue.try_take() {
                return Turn::Move(place);
            }
            if self.queue.is_awaited() {
                return Turn::Stop;
            }
            tokio::select! {
                ended = &mut running => return Turn::Ended(ended),
                () = sleep(LOOK) => {}
            }
        }
    }
}

impl Queue {
    async fn take(self: &Arc<Self>, size: u64) -> Place {
        loop {
            let turn = {
                let mut state = self.0.lock();
                if state.free > 0 {
                    state.free -= 1;
                    return Place(Arc::clone(self));
                }
                let (turn, receiver) = oneshot::channel();
                let number = state.next;
                state.next += 1;
                state.waiting.insert(number, (size, turn));
                receiver
            };
            if let Ok(place) = turn.await {
                return place;
            }
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.0.lock();
        state.free = state.free.checked_sub(1)?;
        Some(Place(Arc::clone(self)))
    }

    fn is_awaited(&self) -> bool {
        self.0.lock().waiting.values().any(|(_, turn)| !turn.is_closed())
    }
}

impl State {
    /// Removes the work whose turn it is from the queue, and all that were cancelled.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        self.waiting.retain(|_, (_, turn)| !turn.is_closed());
        let number = if self.is_smallest_next {
            let smallest = self
                .waiting
                .iter()
                .min_by_key(|(number, (size, _))| (*size, **number));
            smallest.map(|(number, _)| *number)
        } else {
            self.waiting.keys().next().copied()
        }?;
        self.is_smallest_next = !self.is_smallest_next;
        self.waiting.remove(&number).map(|(_, turn)| turn)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let turn = {
            let mut state = self.0.0.lock();
            let turn = state.next();
            if turn.is_none() {
                state.free += 1;
            }
            turn
        };
        if let Some(turn) = turn {
            // Work that is cancelled just now drops the place.
            let _ = turn.send(Self(Arc::clone(&self.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    use super::{Ended, Places};

    const SLICE: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3600);

    /// Work that ends when it is let, and how often it began.
    fn slow(places: &Arc<Places>, begun: &Arc<AtomicUsize>, gate: &Arc<Semaphore>) -> JoinHandle<()> {
        let (places, begun, gate) = (Arc::clone(places), Arc::clone(begun), Arc::clone(gate));
        tokio::spawn(async move {
            let work = |_| {
                begun.fetch_add(1, Ordering::Relaxed);
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ended::Done(())
                }
            };
            places.run(9, work).await;
        })
    }

    #[tokio::test]
    async fn a5_quick_work_gets_through_however_much_slow_work_there_is() {
        let places = Arc::new(Places::new((1, SLICE), &[(1, SLICE), (1, SLICE)]));
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let works: Vec<_> = (0..9).map(|_| slow(&places, &begun, &gate)).collect();
        for _ in 0..20 {
            places.run(1, async |_| Ended::Done(())).await;
        }
        assert_eq!(gate.available_permits(), 0, "none of the slow ones has ended");
        gate.add_permits(9);
        for work in works {
            work.await.unwrap();
        }
        assert!(
            begun.load(Ordering::Relaxed) <= 27,
            "each is stopped twice at most"
        );
    }

    #[tokio::test]
    async fn slow_work_goes_on_while_nobody_waits() {
        let places = Arc::new(Places::new((2, SLICE), &[(1, SLICE)]));
        let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let works = [slow(&places, &begun, &gate), slow(&places, &begun, &gate)];
        while places.further[0].queue.0.lock().free > 0 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        for work in works {
            work.await.unwrap();
        }
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn the_smallest_and_the_oldest_have_their_turns() {
        let places = Arc::new(Places::new((1, LONG), &[]));
        let held = places.take(0).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut works = Vec::new();
        for size in [8, 7, 3, 2, 1] {
            let (waits, order) = (Arc::clone(&places), Arc::clone(&order));
            works.push(tokio::spawn(async move {
                let _place = waits.take(size).await;
                order.lock().push(size);
            }));
            while places.first.queue.0.lock().waiting.len() < works.len() {
                tokio::task::yield_now().await;
            }
        }
        // Cancelled work is skipped.
        works.remove(2).abort();
        drop(held);
        for work in works {
            work.await.unwrap();
        }
        assert_eq!(*order.lock(), [1, 8, 2, 7]);
        assert_eq!(places.first.queue.0.lock().free, 1);
    }

    #[tokio::test]
    async fn work_that_lacks_something_begins_again_at_the_next_level() {
        let places = Places::new((1, LONG), &[(1, LONG), (1, LONG)]);
        let last = places.run(0, async |level| Ended::Short(*level.borrow())).await;
        assert_eq!(last, 2);
        let second = async |level: tokio::sync::watch::Receiver<usize>| match *level.borrow() {
            0 => Ended::Short(0),
            level => Ended::Done(level),
        };
        assert_eq!(places.run(0, second).await, 1);
    }
}
