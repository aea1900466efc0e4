//! The state of slots, places and calls, and whose turn it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{FEWEST, MOST_OF_ONE};

pub(super) struct State {
    pub(super) slots: u32,
    /// Slots that are in use or reserved. The rest is free for every lane.
    pub(super) committed: u32,
    pub(super) running: u32,
    pub(super) lanes: BTreeMap<u64, LaneState>,
    /// Lanes with calls that wait.
    pub(super) busy: BTreeSet<u64>,
    pub(super) next: u64,
    pub(super) closed: bool,
}

pub(super) struct LaneState {
    pub(super) reserved: u32,
    pub(super) places: usize,
    /// Several services share it.
    pub(super) shared: bool,
    pub(super) running: u32,
    pub(super) waiting: usize,
    /// Slots that it may hold at the moment.
    pub(super) most: u32,
    /// Slots that it may hold by the memory that its calls take.
    pub(super) room: u32,
    /// Calls that ended in time since `most` changed.
    pub(super) in_time: u32,
    pub(super) services: HashMap<Arc<str>, Service>,
}

/// One service's calls in a lane.
#[derive(Default)]
pub(super) struct Service {
    pub(super) running: u32,
    pub(super) waiting: BTreeMap<u64, oneshot::Sender<()>>,
    pub(super) since: Option<Instant>,
}

/// A call that asks for a slot.
pub(super) enum Entered {
    Runs(Arc<str>),
    Waits {
        service: Arc<str>,
        number: u64,
        turn: oneshot::Receiver<()>,
        patience: Duration,
    },
}

impl LaneState {
    /// Slots that it may hold, whatever the other lanes do.
    pub(super) fn limit(&self) -> u32 {
        self.most.min(self.room)
    }

    /// Whether the lane allows another running call of the service.
    pub(super) fn lets_in(&self, service: &Service) -> bool {
        let left = self.limit().saturating_sub(self.running);
        left > 0 && (!self.shared || service.running < left)
    }

    pub(super) fn has_place(&self, service: &Service) -> bool {
        let left = self.places.saturating_sub(self.running as usize + self.waiting);
        // defence: services-leave-places-to-others (a test fails without it: docs/defences.md)
        left > 0 && (!self.shared || service.running as usize + service.waiting.len() < left)
    }

    /// The service whose turn it is, with its running calls and the number of its oldest waiting call.
    pub(super) fn next(&self) -> Option<(u32, u64, &Arc<str>)> {
        let waiting = self.services.iter().filter_map(|(name, service)| {
            let (number, _) = service.waiting.first_key_value()?;
            self.lets_in(service).then_some((service.running, *number, name))
        });
        waiting.min()
    }
}

impl State {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn commit(&mut self) {
        self.committed = self
            .lanes
            .values()
            .map(|lane| lane.running.max(lane.reserved))
            .sum();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.closed && self.running == 0 && self.busy.is_empty()
    }

    /// Whether there is a slot for another call of the lane: a reserved one, or a further one if as many are free.
    pub(super) fn has_slot(&self, lane: &LaneState) -> bool {
        let free = self.slots.saturating_sub(self.committed);
        lane.running < lane.reserved || (free > 0 && lane.running - lane.reserved < free)
    }

    pub(super) fn enter(
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

    /// Counts another running call of the service.
    pub(super) fn run(&mut self, id: u64, service: &str) {
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

    /// Removes a waiting call from the queue; `None` if it is no longer waiting.
    pub(super) fn remove(&mut self, id: u64, service: &str, number: u64) -> Option<oneshot::Sender<()>> {
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

    pub(super) fn release(&mut self, id: u64, service: &str, in_time: Option<bool>) {
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

    /// Assigns free slots to waiting calls.
    pub(super) fn turns(&mut self) -> Vec<oneshot::Sender<()>> {
        let mut turns = Vec::new();
        while let Some((id, service, number)) = self.turn() {
            self.run(id, &service);
            turns.extend(self.remove(id, &service, number));
        }
        turns
    }

    /// The next call: of the lanes that may have another slot, that of the lane with the fewest.
    pub(super) fn turn(&self) -> Option<(u64, Arc<str>, u64)> {
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
    /// Adds a waiting call. Returns how long it may wait.
    pub(super) fn wait(
        &mut self,
        number: u64,
        turn: oneshot::Sender<()>,
        now: Instant,
        deadline: Duration,
    ) -> Duration {
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
