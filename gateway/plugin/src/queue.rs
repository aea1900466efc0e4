//! Which call runs next: the host's slots, a share of them for each plugin, and the calls that wait.
//!
//! Every plugin has two *lanes*, one for permission requests and one for sign-ins (its hooks), and each lane has
//!
//! - places for calls in flight, running or waiting. One call more is refused at once, and no other lane notices;
//! - slots that are reserved for it: however busy the others are, they leave these alone;
//! - more slots while they are free, up to [`MOST_OF_ONE`]: a lane may hold as many slots beyond its reserved ones as it
//!   leaves free for the others. One busy lane has plenty, many have equal parts, and a newcomer always finds some.
//!
//! The last rule also divides a lane among the services that ask one plugin: a slow service leaves as many of the lane's
//! slots and places as it holds. A slot that becomes free goes to the lane, and there to the service, that holds the fewest.
//!
//! A call that waits for too long has no time left to run: the gateway would be busy with calls that fail, and would stay
//! so after the rush. So a call waits for half of its deadline at most. That is for a rush; where the queue has not been
//! empty for as long, waiting only makes every call late, and a call waits for a tenth of its deadline. (Controlled delay,
//! as in RFC 8289, with a time limit for those who wait in place of a choice of whom to drop.)
//!
//! Calls that run at once share the processors, so where each computes for long, all of them may run out of time. So a call
//! that does takes a slot of its lane with it, and as many calls as there are slots that end in time bring one back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use crate::engine::{MAX_INSTANCES, MAX_INSTANCES_OF_ONE as MOST_OF_ONE};

/// The slots there are, unless many plugins have reserved ones.
const USUAL_SLOTS: u32 = 64;
/// Slots that are never reserved.
const COMMON_SLOTS: u32 = 32;
/// A lane whose calls all run out of time keeps this many slots: one call that never ends must not keep the next waiting.
const FEWEST: u32 = 4;
/// Places for calls in flight, over all lanes.
const PLACES: usize = 4096;
/// Most of them that one lane has: a queue that grows only makes everybody wait.
const MOST_PLACES: usize = 1024;
/// The fewest that one has, however many lanes there are.
const FEWEST_PLACES: usize = 32;

/// All lanes.
pub(crate) struct Queues {
    state: Mutex<State>,
    /// Woken when the last call has ended.
    idle: Notify,
}

/// One plugin's way in, for one kind of call. Dropping it gives its reserved slots back.
pub(crate) struct Lane {
    queues: Arc<Queues>,
    id: u64,
}

/// What a lane is needed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Slots that it should have whatever the others do.
    pub(crate) reserved: u32,
    /// How many services share it.
    pub(crate) services: usize,
}

/// A slot for one call. Dropping it gives the slot to the next.
pub(crate) struct Slot {
    lane: Arc<Lane>,
    service: Arc<str>,
    in_time: Option<bool>,
}

struct State {
    slots: u32,
    /// Slots that run, or are reserved and do not: the rest is free for everybody.
    committed: u32,
    running: u32,
    lanes: BTreeMap<u64, LaneState>,
    /// Lanes with calls that wait.
    busy: BTreeSet<u64>,
    next: u64,
    closed: bool,
}

struct LaneState {
    reserved: u32,
    places: usize,
    /// Whether several services share it.
    shared: bool,
    running: u32,
    waiting: usize,
    /// Slots that it may hold at the moment.
    most: u32,
    /// The same, by the memory that its calls take.
    room: u32,
    /// Calls that ended in time since `most` changed.
    in_time: u32,
    services: HashMap<Arc<str>, Service>,
}

/// One service's calls in a lane.
#[derive(Default)]
struct Service {
    running: u32,
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
    since: Option<Instant>,
}

/// A call that asks for a slot.
enum Entered {
    Runs(Arc<str>),
    Waits {
        service: Arc<str>,
        number: u64,
        turn: oneshot::Receiver<()>,
        patience: Duration,
    },
}

impl Queues {
    /// No lane yet.
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

    /// A lane that has nothing reserved until [`Queues::divide`] is told of it.
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

    /// Divides slots and places among the lanes that are needed, the most important first. Lanes that are not named keep
    /// none reserved.
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

    /// Takes no more calls, and waits for those in flight.
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
            (state.leave(id, service, number), state.is_idle())
        };
        if !left {
            // Its turn came as it went.
            self.release(id, service, None);
        } else if idle {
            self.idle.notify_waiters();
        }
    }
}

/// Tells those whose turn it is. One who has gone meanwhile gives the slot back as they go.
fn call(turns: Vec<oneshot::Sender<()>>) {
    for turn in turns {
        let _ = turn.send(());
    }
}

impl Lane {
    /// Waits for a slot, for a call of `service` with this `deadline`; at most `room` calls of the lane may run at once, for
    /// the memory that they take. `None` where the lane is full, or waiting takes too long.
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

/// A call that waits. It leaves the queue also where its caller goes away.
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

impl LaneState {
    /// Slots that it may hold, by itself.
    fn limit(&self) -> u32 {
        self.most.min(self.room)
    }

    /// Whether another call of the service may run, as far as the lane is concerned.
    fn lets_in(&self, service: &Service) -> bool {
        let left = self.limit().saturating_sub(self.running);
        left > 0 && (!self.shared || service.running < left)
    }

    fn has_place(&self, service: &Service) -> bool {
        let left = self.places.saturating_sub(self.running as usize + self.waiting);
        // defence: services-leave-places-to-others (a test fails without it: docs/defences.md)
        left > 0 && (!self.shared || service.running as usize + service.waiting.len() < left)
    }

    /// The service whose turn it is, and the number of the call that has waited for longest there.
    fn next(&self) -> Option<(u32, u64, &Arc<str>)> {
        let waiting = self.services.iter().filter_map(|(name, service)| {
            let (number, _) = service.waiting.first_key_value()?;
            self.lets_in(service).then_some((service.running, *number, name))
        });
        waiting.min()
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn commit(&mut self) {
        self.committed = self
            .lanes
            .values()
            .map(|lane| lane.running.max(lane.reserved))
            .sum();
    }

    fn is_idle(&self) -> bool {
        self.closed && self.running == 0 && self.busy.is_empty()
    }

    /// Whether there is a slot for another call of the lane: a reserved one, or one beyond those where as many are free.
    fn has_slot(&self, lane: &LaneState) -> bool {
        let free = self.slots.saturating_sub(self.committed);
        lane.running < lane.reserved || (free > 0 && lane.running - lane.reserved < free)
    }

    fn enter(
        &mut self,
        id: u64,
        service: &str,
        deadline: Duration,
        room: u32,
        now: impl FnOnce() -> Instant,
    ) -> Option<Entered> {
        if self.closed {
            return None;
        }
        let number = self.number();
        let lane = self.lanes.get_mut(&id)?;
        lane.room = room.max(1);
        let service = if lane.shared { service } else { "" };
        let service = match lane.services.get_key_value(service) {
            Some((service, _)) => Arc::clone(service),
            None => Arc::from(service),
        };
        let of = lane.services.entry(Arc::clone(&service)).or_default();
        let idle = of.waiting.is_empty();
        let lane = self.lanes.get(&id)?;
        let of = lane.services.get(&service)?;
        if !lane.has_place(of) {
            return None;
        }
        if idle && lane.lets_in(of) && self.has_slot(lane) {
            self.run(id, &service);
            return Some(Entered::Runs(service));
        }
        let (turn, receiver) = oneshot::channel();
        let lane = self.lanes.get_mut(&id)?;
        let of = lane.services.get_mut(&service)?;
        lane.waiting += 1;
        let patience = of.wait(number, turn, now(), deadline);
        self.busy.insert(id);
        Some(Entered::Waits {
            service,
            number,
            turn: receiver,
            patience,
        })
    }

    /// Another call of the service runs.
    fn run(&mut self, id: u64, service: &str) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if let Some(of) = lane.services.get_mut(service) {
            of.running += 1;
        }
        if lane.running >= lane.reserved {
            self.committed += 1;
        }
        lane.running += 1;
        self.running += 1;
    }

    /// Takes a call that waits out of the queue; `None` where it does not wait any more.
    fn remove(&mut self, id: u64, service: &str, number: u64) -> Option<oneshot::Sender<()>> {
        let lane = self.lanes.get_mut(&id)?;
        let of = lane.services.get_mut(service)?;
        let turn = of.waiting.remove(&number)?;
        if of.waiting.is_empty() {
            of.since = None;
        }
        lane.waiting -= 1;
        if lane.waiting == 0 {
            self.busy.remove(&id);
        }
        Some(turn)
    }

    fn leave(&mut self, id: u64, service: &str, number: u64) -> bool {
        self.remove(id, service, number).is_some()
    }

    fn release(&mut self, id: u64, service: &str, in_time: Option<bool>) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if let Some(of) = lane.services.get_mut(service) {
            of.running = of.running.saturating_sub(1);
        }
        lane.running = lane.running.saturating_sub(1);
        if lane.running >= lane.reserved {
            self.committed = self.committed.saturating_sub(1);
        }
        self.running = self.running.saturating_sub(1);
        match in_time {
            Some(true) => {
                lane.in_time = lane.in_time.saturating_add(1);
                if lane.most < MOST_OF_ONE && lane.in_time >= lane.most {
                    (lane.most, lane.in_time) = (lane.most + 1, 0);
                }
            }
            Some(false) => {
                lane.in_time = 0;
                lane.most = lane.most.saturating_sub(1).max(FEWEST);
            }
            None => {}
        }
    }

    /// Gives free slots to those who wait for them.
    fn turns(&mut self) -> Vec<oneshot::Sender<()>> {
        let mut turns = Vec::new();
        while let Some((id, service, number)) = self.turn() {
            self.run(id, &service);
            turns.extend(self.remove(id, &service, number));
        }
        turns
    }

    /// Whose turn it is: of the lanes that may have another slot, the one that holds the fewest.
    fn turn(&self) -> Option<(u64, Arc<str>, u64)> {
        let waiting = self.busy.iter().filter_map(|id| {
            let lane = self.lanes.get(id)?;
            let (_, number, service) = self.has_slot(lane).then(|| lane.next())??;
            Some((lane.running, number, *id, service))
        });
        let (_, number, id, service) = waiting.min()?;
        Some((id, Arc::clone(service), number))
    }
}

impl Service {
    /// One more call waits. Returns how long it may.
    fn wait(&mut self, number: u64, turn: oneshot::Sender<()>, now: Instant, deadline: Duration) -> Duration {
        self.waiting.insert(number, turn);
        let since = *self.since.get_or_insert(now);
        let rush = deadline / 2;
        if now.duration_since(since) < rush {
            rush
        } else {
            deadline / 10
        }
    }
}

#[cfg(test)]
mod tests;
