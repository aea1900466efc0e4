use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::state::Service;
use super::{Lane, MOST_OF_ONE, Need, Queues, Slot};

const DEADLINE: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(600);

/// Lanes that each have these slots reserved and these services.
fn lanes<const N: usize>(needs: [(u32, usize); N]) -> (Arc<Queues>, [Arc<Lane>; N]) {
    let queues = Arc::new(Queues::new());
    let lanes = needs.map(|_| queues.lane());
    let needs = needs.map(|(reserved, services)| Need { reserved, services });
    queues.divide(lanes.iter().map(|lane| &**lane).zip(needs));
    (queues, lanes)
}

/// A slot that is free now.
fn now(lane: &Arc<Lane>, service: &str) -> Option<Slot> {
    lane.enter(service, LONG, u32::MAX).now_or_never().flatten()
}

/// All slots that are free now.
fn all(lane: &Arc<Lane>, service: &str) -> Vec<Slot> {
    std::iter::from_fn(|| now(lane, service)).collect()
}

fn free(queues: &Queues) -> u32 {
    let state = queues.state.lock();
    state.slots - state.committed
}

#[test]
fn a_rush_is_waited_out_and_a_queue_that_stays_full_is_not() {
    let (mut service, begin) = (Service::default(), Instant::now());
    let mut number = 0;
    let mut wait = |service: &mut Service, milliseconds| {
        number += 1;
        let now = begin + Duration::from_millis(milliseconds);
        service
            .wait(number, oneshot::channel().0, now, DEADLINE)
            .as_millis()
    };
    assert_eq!(wait(&mut service, 0), 250);
    assert_eq!(wait(&mut service, 249), 250);
    assert_eq!(wait(&mut service, 250), 50);
    assert_eq!(wait(&mut service, 9000), 50);
    // It has been empty.
    service = Service::default();
    assert_eq!(wait(&mut service, 9001), 250);
}

#[tokio::test]
async fn a_call_that_waits_in_vain_leaves_the_queue() {
    let (queues, [lane]) = lanes([(1, 1)]);
    let mut held = all(&lane, "s");
    assert_eq!(held.len(), MOST_OF_ONE as usize);
    assert!(
        lane.enter("s", Duration::from_millis(2), u32::MAX)
            .await
            .is_none()
    );
    // As does one whose caller goes away.
    let gone = tokio::time::timeout(Duration::from_millis(1), lane.enter("s", LONG, u32::MAX));
    assert!(gone.await.is_err());
    assert!(queues.state.lock().busy.is_empty());
    held.pop();
    assert!(now(&lane, "s").is_some());
    drop(held);
    assert_eq!((free(&queues), queues.state.lock().running), (63, 0));
}

#[tokio::test]
async fn a_slot_that_becomes_free_goes_to_the_call_that_waits() {
    let (queues, [lane]) = lanes([(1, 1)]);
    let mut held = all(&lane, "s");
    let mut first = Box::pin(lane.enter("s", LONG, u32::MAX));
    let mut second = Box::pin(lane.enter("s", LONG, u32::MAX));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    held.pop();
    let slot = first.await.expect("it was its turn");
    assert!((&mut second).now_or_never().is_none());
    // A call that goes away just as its turn comes gives the slot on.
    drop(slot);
    drop(second);
    assert!(now(&lane, "s").is_some());
    drop(held);
    assert_eq!(queues.state.lock().running, 0);
}

#[tokio::test]
async fn calls_that_run_out_of_time_leave_fewer_slots_and_those_that_do_not_bring_them_back() {
    let (queues, [lane]) = lanes([(1, 1)]);
    let call = |in_time| {
        now(&lane, "s").unwrap().ended(in_time);
        queues.state.lock().lanes.values().next().unwrap().most
    };
    assert_eq!(call(true), 16);
    assert_eq!([call(false), call(false)], [15, 14]);
    for _ in 0..30 {
        call(false);
    }
    assert_eq!(all(&lane, "s").len(), 4);
    let back: Vec<_> = (0..200).map(|_| call(true)).collect();
    assert_eq!(back[..10], [4, 4, 4, 5, 5, 5, 5, 5, 6, 6]);
    assert_eq!(back.last(), Some(&16));
    assert_eq!(free(&queues), 63);
}

#[tokio::test]
async fn a5_a_full_lane_takes_no_place_from_another() {
    let (_queues, [slow, other, sign_ins]) = lanes([(1, 1), (1, 1), (2, 1)]);
    let held = all(&slow, "slow");
    let mut waiting = Vec::new();
    let refused = loop {
        let mut call = Box::pin(slow.enter("slow", LONG, u32::MAX));
        match call.as_mut().now_or_never() {
            None => waiting.push(call),
            Some(slot) => break slot,
        }
        assert!(waiting.len() < 1200, "1,200 callers would wait");
    };
    assert!(refused.is_none());
    assert_eq!(held.len() + waiting.len(), 1024);
    assert!(now(&other, "other").is_some() && now(&sign_ins, "").is_some());
}

#[tokio::test]
async fn a5_twenty_slow_plugins_leave_slots_for_one_that_comes_later() {
    let mut needs = [(1, 1); 41];
    // Each with hooks as well.
    needs[..20].fill((2, 1));
    let (queues, lanes) = lanes(needs);
    let held: Vec<Vec<Slot>> = lanes[..40].iter().map(|lane| all(lane, "slow")).collect();
    assert!(held.iter().all(|slots| !slots.is_empty()));
    assert!(now(&lanes[40], "other").is_some());
    let state = queues.state.lock();
    assert!(state.running <= state.slots && state.slots <= super::MAX_INSTANCES);
}

#[tokio::test]
async fn a5_what_many_plugins_reserve_fits_the_pool() {
    let (queues, lanes) = lanes([(2, 1); 400]);
    let held: Vec<Vec<Slot>> = lanes.iter().map(|lane| all(lane, "slow")).collect();
    let running: usize = held.iter().map(Vec::len).sum();
    assert_eq!(running, super::MAX_INSTANCES as usize);
    // Those that come first have theirs reserved: sign-ins.
    assert!(held[..30].iter().all(|slots| slots.len() >= 2));
    let state = queues.state.lock();
    assert!(state.lanes.values().map(|lane| lane.places).sum::<usize>() <= 400 * super::FEWEST_PLACES);
}

#[tokio::test]
async fn a5_a_slow_service_leaves_slots_and_places_to_the_others_of_its_plugin() {
    let (_queues, [lane]) = lanes([(1, 3)]);
    let held = all(&lane, "slow");
    assert_eq!(held.len(), 8);
    let mut waiting = Vec::new();
    loop {
        let mut call = Box::pin(lane.enter("slow", LONG, u32::MAX));
        match call.as_mut().now_or_never() {
            None => waiting.push(call),
            Some(slot) => break assert!(slot.is_none()),
        }
    }
    assert_eq!(held.len() + waiting.len(), 512);
    let second = all(&lane, "slow-too");
    assert_eq!(second.len(), 4);
    assert!(now(&lane, "other").is_some());
}

#[tokio::test]
async fn a5_a_free_slot_goes_to_the_service_that_holds_the_fewest() {
    let (_queues, [lane]) = lanes([(1, 3)]);
    let mut slow = all(&lane, "slow");
    let _more = all(&lane, "slow-too");
    let _rest: Vec<Slot> = std::iter::from_fn(|| now(&lane, "third")).collect();
    let _last: Vec<Slot> = std::iter::from_fn(|| now(&lane, "fourth")).collect();
    let _full: Vec<Slot> = std::iter::from_fn(|| now(&lane, "fifth")).collect();
    let mut before = Box::pin(lane.enter("slow", LONG, u32::MAX));
    let mut other = Box::pin(lane.enter("other", LONG, u32::MAX));
    assert!((&mut before).now_or_never().is_none() && (&mut other).now_or_never().is_none());
    slow.pop();
    assert!((&mut other).now_or_never().flatten().is_some());
    assert!((&mut before).now_or_never().is_none());
}

#[tokio::test]
async fn a5_as_many_calls_run_as_there_is_memory_for() {
    let (_queues, [lane]) = lanes([(1, 1)]);
    let enter = |room| lane.enter("s", LONG, room).now_or_never().flatten();
    let held = [enter(3), enter(3), enter(3)];
    assert!(held.iter().all(Option::is_some));
    assert!(enter(3).is_none());
    drop(held);
    // One always may.
    assert!(enter(0).is_some());
}

#[tokio::test]
async fn drain_waits_for_the_last_call() {
    let (queues, [lane]) = lanes([(1, 1)]);
    let slot = now(&lane, "s").unwrap();
    let mut drained = Box::pin(queues.drain());
    assert!((&mut drained).now_or_never().is_none());
    assert!(now(&lane, "s").is_none());
    drop(slot);
    drained.await;
}

#[tokio::test]
async fn a_lane_that_is_gone_gives_its_reserved_slots_back() {
    let (queues, [first, second]) = lanes([(2, 1), (2, 1)]);
    assert_eq!(free(&queues), 60);
    drop(first);
    assert_eq!(free(&queues), 62);
    let slot = now(&second, "s").unwrap();
    // A call in flight keeps its lane.
    drop(second);
    assert_eq!(queues.state.lock().running, 1);
    drop(slot);
    assert_eq!((free(&queues), queues.state.lock().running), (64, 0));
}
