//! Delivering events that nobody waits for: those that a crash left pending, once, at start, and
//! sign-outs, until their hooks have answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gateway_model::{Event, EventId, EventKind, User, Verdict};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::sign_in;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(600);
/// How often expired sessions and the like are dropped.
const PRUNE: Duration = Duration::from_secs(3600);

/// Wakes the delivery of sign-outs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Courier(Arc<Notify>);

impl Courier {
    /// There is a sign-out to tell of.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Delivers what a crash has left pending, then sign-outs as they come, until `shutdown`.
///
/// `left_over` is what was pending before the first request was taken: what comes later belongs to
/// sign-ins in flight.
pub async fn deliver(app: Arc<App>, left_over: Vec<(Event, User)>, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(run(&app, left_over)).await;
}

async fn run(app: &App, left_over: Vec<(Event, User)>) {
    if !left_over.is_empty() {
        tracing::info!(
            events = left_over.len(),
            "delivering events that an earlier run left pending"
        );
    }
    for (event, user) in left_over {
        redeliver(app, &event, user).await;
    }
    let mut backlog = Backlog::new(FIRST_RETRY);
    loop {
        deliver_logouts(app, &mut backlog).await;
        backlog.wait(&app.courier).await;
    }
}

/// Delivers the pending sign-outs that have not been put off, and puts off those that fail.
async fn deliver_logouts(app: &App, backlog: &mut Backlog) {
    let pending = match app.store.pending_events().await {
        Ok(pending) => pending,
        Err(error) => {
            tracing::error!(%error, "pending events cannot be read");
            backlog.unread = true;
            return;
        }
    };
    for (event, user) in pending {
        if event.kind == EventKind::Logout
            && !backlog.put_off.contains(&event.id)
            && !redeliver(app, &event, user).await
        {
            backlog.put_off.insert(event.id);
        }
    }
}

/// Sign-outs whose hooks have failed. They have their next turn together, later each time; those that
/// come meanwhile do not wait for it.
struct Backlog {
    put_off: HashSet<EventId>,
    /// Whether there may be some that could not be read.
    unread: bool,
    pause: Duration,
    turn: Option<Instant>,
}

impl Backlog {
    fn new(pause: Duration) -> Self {
        Self {
            put_off: HashSet::new(),
            unread: false,
            pause,
            turn: None,
        }
    }

    /// Returns when there is something to deliver: a new sign-out, or what was put off has its turn.
    async fn wait(&mut self, courier: &Courier) {
        let new = courier.0.notified();
        if self.put_off.is_empty() && !self.unread {
            (self.pause, self.turn) = (FIRST_RETRY, None);
            new.await;
            return;
        }
        let turn = *self.turn.get_or_insert_with(|| Instant::now() + self.pause);
        tokio::select! {
            () = new => {}
            () = sleep_until(turn) => {
                self.put_off.clear();
                self.turn = None;
                self.pause = (self.pause * 2).min(LAST_RETRY);
            }
        }
        self.unread = false;
    }
}

/// Delivers an event; `false` where it is still pending afterwards.
async fn redeliver(app: &App, event: &Event, listed: User) -> bool {
    // An event before this one may have changed the user.
    let user = match app.store.lookup_user(&listed.id).await {
        Ok(user) => user.unwrap_or(listed),
        Err(error) => {
            tracing::error!(%error, event = %event.id, "an event cannot be delivered");
            return false;
        }
    };
    let verdict = sign_in::ask(app, event, &user).await;
    if let Err(error) = app.store.settle_event(&event.id, &verdict).await {
        tracing::error!(%error, event = %event.id, "a verdict cannot be recorded");
        return false;
    }
    !matches!(verdict, Verdict::Failed { .. })
}

/// Drops what is no longer needed, every hour, until `shutdown`.
pub async fn prune(app: Arc<App>, shutdown: CancellationToken) {
    let mut hours = tokio::time::interval(PRUNE);
    while shutdown.run_until_cancelled(hours.tick()).await.is_some() {
        if let Err(error) = app.store.prune().await {
            tracing::error!(%error, "expired sessions cannot be dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::{Backlog, Courier, FIRST_RETRY, LAST_RETRY};

    fn failed(pause: Duration) -> Backlog {
        let mut backlog = Backlog::new(pause);
        backlog.put_off.insert("failed".into());
        backlog
    }

    #[tokio::test]
    async fn a_sign_out_does_not_wait_for_those_that_fail() {
        let courier = Courier::default();
        let mut backlog = failed(LAST_RETRY);
        assert_eq!(backlog.wait(&courier).now_or_never(), None);
        let turn = backlog.turn;
        courier.wake();
        assert_eq!(backlog.wait(&courier).now_or_never(), Some(()));
        // Those that failed are not asked again for that, nor is their turn moved.
        assert!(backlog.put_off.contains(&"failed".into()));
        assert_eq!((backlog.turn, backlog.pause), (turn, LAST_RETRY));
    }

    #[tokio::test]
    async fn those_that_fail_have_their_turn_later_each_time() {
        let courier = Courier::default();
        let pause = Duration::from_millis(1);
        let mut backlog = failed(pause);
        backlog.wait(&courier).await;
        assert!(backlog.put_off.is_empty());
        assert_eq!((backlog.turn, backlog.pause), (None, pause * 2));
        // Once none fails, the next that does begins anew.
        assert_eq!(backlog.wait(&courier).now_or_never(), None);
        assert_eq!(backlog.pause, FIRST_RETRY);
    }

    #[tokio::test]
    async fn what_could_not_be_read_is_tried_again_unasked() {
        let courier = Courier::default();
        let mut backlog = Backlog::new(Duration::from_millis(1));
        backlog.unread = true;
        backlog.wait(&courier).await;
        assert!(!backlog.unread);
    }
}
