//! Which call runs next: the host's slots, each plugin's share of them, and the waiting calls.
//!
//! Every plugin has two *lanes*, one for permission requests and one for sign-ins (its hooks), and each lane has
//!
//! - places for calls in flight, running or waiting. Further calls are rejected, and no other lane is affected;
//! - slots that are reserved for it: however busy the others are, they leave these alone;
//! - more slots while they are free, up to [`MOST_OF_ONE`]: a lane may hold as many slots beyond its reserved ones as
//!   it leaves free for the others. One busy lane has plenty, many have equal parts, and a new one always finds some.
//!
//! The last rule also divides a lane among the services that ask one plugin: a slow service leaves as many of the
//! lane's slots and places as it holds. A slot that becomes free goes to the lane, and there to the service, that holds
//! the fewest.
//!
//! A call that waits too long has no time left to run. The gateway would be busy with calls that fail, even after the
//! rush. So a call waits for at most half of its deadline. If the queue has not been empty for that long, this is not a
//! rush: waiting only makes every call late, and a call waits for a tenth of its deadline. (This is controlled delay,
//! RFC 8289, with a time limit for waiting calls instead of a choice of which to drop.)
//!
//! Calls that run at the same time share the processors, so if each computes for long, all of them may run out of time.
//! A call that runs out of time therefore takes one slot from its lane; the lane regains it after as many calls in time
//! as it has slots.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

mod state;

use self::state::{Entered, LaneState, State};
use gateway_sandbox::engine::{MAX_INSTANCES, MAX_INSTANCES_OF_ONE as MOST_OF_ONE};

/// The number of slots, unless many plugins have reserved ones.
const USUAL_SLOTS: u32 = 64;
/// Slots that are never reserved.
const COMMON_SLOTS: u32 = 32;
/// A lane whose calls all run out of time keeps this many slots: one call that never ends must not keep the next
/// waiting.
const FEWEST: u32 = 4;
/// Places for calls in flight, over all lanes.
const PLACES: usize = 4096;
/// The most places of one lane: a longer queue only makes every call wait.
const MOST_PLACES: usize = 1024;
/// The fewest places of one lane, for any number of lanes.
const FEWEST_PLACES: usize = 32;

pub(crate) struct Queues {
    state: Mutex<State>,
    /// Woken when the last call has ended.
    idle: Notify,
}

/// One plugin's queue for one kind of call. Dropping it releases its reserved slots.
pub(crate) struct Lane {
    queues: Arc<Queues>,
    id: u64,
}

/// The demand on a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Slots that the lane has whatever the others do.
    pub(crate) reserved: u32,
    /// The number of services that share it.
    pub(crate) services: usize,
}

/// A slot for one call. Dropping it passes the slot on.
pub(crate) struct Slot {
    lane: Arc<Lane>,
    service: Arc<str>,
    in_time: Option<bool>,
}

impl Queues {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                slots: USUAL_SLOTS,
                committed: 0,
                running: 0,
                lanes: BTreeMap::new(),
                busy: BTreeSet::new(),
                next: 0,
                closed: false,
            }),
            idle: Notify::new(),
        }
    }

    /// Adds a lane, which has nothing reserved before the next [`Queues::divide`].
    pub(crate) fn lane(self: &Arc<Self>) -> Arc<Lane> {
        let mut state = self.state.lock();
        let id = state.number();
        state.lanes.insert(
            id,
            LaneState {
                reserved: 0,
                places: MOST_PLACES,
                shared: false,
                running: 0,
                waiting: 0,
                most: MOST_OF_ONE,
                room: MOST_OF_ONE,
                in_time: 0,
                services: HashMap::new(),
            },
        );
        Arc::new(Lane {
            queues: Arc::clone(self),
            id,
        })
    }

    /// Divides slots and places among the needed lanes, the most important first. Other lanes lose their reserved
    /// slots.
    pub(crate) fn divide<'a>(&self, lanes: impl IntoIterator<Item = (&'a Lane, Need)>) {
        let turns = {
            let mut state = self.state.lock();
            for lane in state.lanes.values_mut() {
                lane.reserved = 0;
                lane.services
                    .retain(|_, service| service.running > 0 || !service.waiting.is_empty());
            }
            let mut left = MAX_INSTANCES - COMMON_SLOTS;
            let mut needed = Vec::new();
            for (lane, need) in lanes {
                if let Some(state) = state.lanes.get_mut(&lane.id) {
                    state.reserved = need.reserved.min(left);
                    state.shared = need.services > 1;
                    left -= state.reserved;
                    needed.push(lane.id);
                }
            }
            let places = (PLACES / needed.len().max(1)).clamp(FEWEST_PLACES, MOST_PLACES);
            for id in needed {
                if let Some(lane) = state.lanes.get_mut(&id) {
                    lane.places = places;
                }
            }
            let reserved = MAX_INSTANCES - COMMON_SLOTS - left;
            state.slots = (reserved + COMMON_SLOTS).max(USUAL_SLOTS);
            state.commit();
            state.turns()
        };
        call(turns);
    }

    /// Rejects further calls, and waits for those in flight.
    pub(crate) async fn drain(&self) {
        loop {
            let idle = self.idle.notified();
            {
                let mut state = self.state.lock();
                state.closed = true;
                if state.running == 0 && state.busy.is_empty() {
                    return;
                }
            }
            idle.await;
        }
    }

    fn release(&self, id: u64, service: &str, in_time: Option<bool>) {
        let (turns, idle) = {
            let mut state = self.state.lock();
            state.release(id, service, in_time);
            (state.turns(), state.is_idle())
        };
        call(turns);
        if idle {
            self.idle.notify_waiters();
        }
    }

    fn leave(&self, id: u64, service: &str, number: u64) {
        let (left, idle) = {
            let mut state = self.state.lock();
            (state.remove(id, service, number).is_some(), state.is_idle())
        };
        if !left {
            // It has just got a slot, which must be released.
            self.release(id, service, None);
        } else if idle {
            self.idle.notify_waiters();
        }
    }
}

/// Wakes the calls whose turn it is. A call that was cancelled in the meantime releases its slot.
fn call(turns: Vec<oneshot::Sender<()>>) {
    for turn in turns {
        let _ = turn.send(());
    }
}

impl Lane {
    /// Waits for a slot, for a call of `service` with this `deadline`. The plugin's memory allows at most `room` calls
    /// of the lane at the same time. Returns `None` if the lane is full, or the wait is too long.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        service: &str,
        deadline: Duration,
        room: u32,
    ) -> Option<Slot> {
        let entered = self
            .queues
            .state
            .lock()
            .enter(self.id, service, deadline, room, Instant::now)?;
        match entered {
            Entered::Runs(service) => Some(self.slot(service)),
            Entered::Waits {
                service,
                number,
                turn,
                patience,
            } => {
                let mut waiter = Waiter {
                    lane: self,
                    service: &service,
                    number,
                    waits: true,
                };
                timeout(patience, turn).await.ok()?.ok()?;
                waiter.waits = false;
                drop(waiter);
                Some(self.slot(service))
            }
        }
    }

    fn slot(self: &Arc<Self>, service: Arc<str>) -> Slot {
        Slot {
            lane: Arc::clone(self),
            service,
            in_time: None,
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let turns = {
            let mut state = self.queues.state.lock();
            state.lanes.remove(&self.id);
            state.busy.remove(&self.id);
            state.commit();
            state.turns()
        };
        call(turns);
    }
}

impl Slot {
    /// The call has ended, in time or by its deadline.
    pub(crate) fn ended(mut self, in_time: bool) {
        self.in_time = Some(in_time);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.lane
            .queues
            .release(self.lane.id, &self.service, self.in_time);
    }
}

/// A waiting call. Dropping it leaves the queue, also if the caller goes away.
struct Waiter<'a> {
    lane: &'a Lane,
    service: &'a str,
    number: u64,
    waits: bool,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.lane.queues.leave(self.lane.id, self.service, self.number);
        }
    }
}

#[cfg(test)]
mod tests;
