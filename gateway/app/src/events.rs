//! Delivers events that no request waits for: once at startup the ones that a crash left pending, and sign-outs until
//! their hooks have answered.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::{Event, User, Verdict};
use gateway_store::Pruned;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::sign_in;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(600);
/// How often expired sessions and other old records are deleted.
const PRUNE: Duration = Duration::from_secs(3600);

/// Delivers the events that a crash left pending, then sign-outs as they arrive, until `shutdown`.
///
/// `left_over` is the position of the last event before the first request was accepted. Later ones belong to sign-ins
/// in progress.
pub(crate) async fn deliver(app: Arc<App>, left_over: i64, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(run(&app, left_over)).await;
}

async fn run(app: &App, left_over: i64) {
    deliver_left_over(app, left_over).await;
    let last = app.store.last_event().await.unwrap_or_else(|error| {
        tracing::error!(%error, "pending events cannot be read");
        0
    });
    let mut backlog = Backlog::new(FIRST_RETRY, last);
    loop {
        deliver_sign_outs(app, &mut backlog).await;
        backlog.wait(&app.logout_notifier).await;
    }
}

/// Delivers the pending sign-ins of an earlier run, up to the position `last`. Only one event is in memory at a time,
/// because each can have large claims and there can be thousands.
async fn deliver_left_over(app: &App, last: i64) {
    let (mut place, mut events) = (0, 0_u64);
    loop {
        let (event, user) = match app.store.next_pending_sign_in(place, last).await {
            Ok(Some((found, event, user))) => {
                place = found;
                (event, user)
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "pending events cannot be read");
                break;
            }
        };
        if events == 0 {
            tracing::info!("delivering events that an earlier run left pending");
        }
        events += 1;
        redeliver(app, &event, user).await;
    }
    if events > 0 {
        tracing::info!(events, "delivered the events that an earlier run left pending");
    }
}

/// Delivers sign-outs that are new, then, if a retry is due, some of those that failed.
async fn deliver_sign_outs(app: &App, backlog: &mut Backlog) {
    while let Some(Page { last, failed, whole }) = deliver_page(app, backlog.tried).await {
        backlog.tried = last;
        backlog.failed |= failed > 0;
        if !whole {
            break;
        }
    }
    while let Some(place) = backlog.again {
        let page = deliver_page(app, place).await;
        backlog.tried_again(page);
    }
}

/// The result of delivering one page of sign-outs.
#[derive(Clone, Copy)]
struct Page {
    /// The position of the last of them.
    last: i64,
    /// How many are still pending.
    failed: usize,
    /// Whether the page was full, so that more may follow.
    whole: bool,
}

/// Delivers the page of pending sign-outs after a position, or returns `None` if there are none. A page that cannot be
/// read counts as one failure, so it is retried.
async fn deliver_page(app: &App, after: i64) -> Option<Page> {
    let pending = match app.store.pending_sign_outs(after).await {
        Ok(pending) => pending,
        Err(error) => {
            tracing::error!(%error, "pending events cannot be read");
            return Some(Page {
                last: after,
                failed: 1,
                whole: false,
            });
        }
    };
    let (last, _, _) = pending.last()?;
    let mut page = Page {
        last: *last,
        failed: 0,
        whole: pending.len() == gateway_store::PAGE as usize,
    };
    for (_, event, user) in pending {
        page.failed += usize::from(!redeliver(app, &event, user).await);
    }
    Some(page)
}

/// The schedule of retries. Sign-outs whose hooks failed stay in the database. They are retried after a growing pause,
/// one page at a time as long as they keep failing, so a large backlog costs little more than a small one. New sign-outs do not
/// wait for them.
struct Backlog {
    /// The position of the last sign-out that was tried once.
    tried: i64,
    /// Whether some may have failed.
    failed: bool,
    /// During a retry, the position after which it continues.
    again: Option<i64>,
    /// The position after which the next retry begins.
    next: i64,
    /// Whether some have failed since the retries last began at the first event.
    still: bool,
    pause: Duration,
    turn: Option<Instant>,
}

impl Backlog {
    /// An earlier run has tried everything up to the position `last`.
    fn new(pause: Duration, last: i64) -> Self {
        Self {
            tried: last,
            failed: false,
            again: Some(0),
            next: 0,
            still: false,
            pause,
            turn: None,
        }
    }

    /// Records the result of retrying one page.
    fn tried_again(&mut self, page: Option<Page>) {
        let Some(Page { last, failed, whole }) = page else {
            // The end was reached. If some still fail, the next retry begins at the first one.
            self.failed = std::mem::take(&mut self.still);
            (self.again, self.next) = (None, 0);
            return;
        };
        self.still |= failed > 0;
        self.next = last;
        if failed > 0 && whole {
            // The hook still fails. The rest waits for the next retry.
            self.again = None;
        } else {
            self.again = Some(last);
            if !whole {
                self.tried_again(None);
            }
        }
    }

    /// Returns when there is a new sign-out or a retry is due.
    async fn wait(&mut self, notifier: &Notify) {
        let new = notifier.notified();
        if !self.failed {
            (self.pause, self.turn) = (FIRST_RETRY, None);
            new.await;
            return;
        }
        let turn = *self.turn.get_or_insert_with(|| Instant::now() + self.pause);
        tokio::select! {
            () = new => {}
            () = sleep_until(turn) => {
                self.again = Some(self.next);
                self.turn = None;
                self.pause = (self.pause * 2).min(LAST_RETRY);
            }
        }
    }
}

/// Delivers an event. Returns `false` if it is still pending.
async fn redeliver(app: &App, event: &Event, listed: User) -> bool {
    // An earlier event may have changed the user.
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

/// Deletes old records every hour, until `shutdown`.
pub(crate) async fn prune(app: Arc<App>, shutdown: CancellationToken) {
    let mut hours = tokio::time::interval(PRUNE);
    let mut last = tokio::time::Instant::now();
    while shutdown.run_until_cancelled(hours.tick()).await.is_some() {
        // Measured by the monotonic clock, because the wall clock may be wrong.
        let passed = last.elapsed();
        last += passed;
        match app.store.prune(passed).await {
            Ok(Pruned { sign_outs, new_users }) => {
                if sign_outs > 0 {
                    tracing::warn!(
                        given_up = sign_outs,
                        "gave up sign-outs whose hooks failed for as long as events are kept"
                    );
                }
                if new_users > 0 {
                    tracing::warn!(
                        deleted = new_users,
                        "deleted new users whom no hook accepted or rejected for as long as events are kept"
                    );
                }
            }
            Err(error) => tracing::error!(%error, "expired records cannot be deleted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::{Backlog, FIRST_RETRY, LAST_RETRY, Notify, Page};

    fn failed(pause: Duration) -> Backlog {
        let mut backlog = Backlog::new(pause, 0);
        backlog.again = None;
        backlog.failed = true;
        backlog
    }

    const fn page(last: i64, failed: usize, whole: bool) -> Option<Page> {
        Some(Page { last, failed, whole })
    }

    #[tokio::test]
    async fn new_sign_outs_do_not_wait_for_failed_ones() {
        let notifier = Notify::new();
        let mut backlog = failed(LAST_RETRY);
        assert_eq!(backlog.wait(&notifier).now_or_never(), None);
        let turn = backlog.turn;
        notifier.notify_one();
        assert_eq!(backlog.wait(&notifier).now_or_never(), Some(()));
        // The failed ones are not retried because of it, nor is their retry postponed.
        assert_eq!(backlog.again, None);
        assert_eq!((backlog.turn, backlog.pause), (turn, LAST_RETRY));
    }

    #[tokio::test]
    async fn failed_sign_outs_are_retried_after_growing_pauses() {
        let notifier = Notify::new();
        let pause = Duration::from_millis(1);
        let mut backlog = failed(pause);
        backlog.wait(&notifier).await;
        assert_eq!(backlog.again, Some(0));
        assert_eq!((backlog.turn, backlog.pause), (None, pause * 2));
        // Once all succeed, the pause of the next failure starts from the beginning.
        backlog.tried_again(page(9, 0, false));
        assert!(!backlog.failed && backlog.again.is_none());
        assert_eq!(backlog.wait(&notifier).now_or_never(), None);
        assert_eq!(backlog.pause, FIRST_RETRY);
    }

    #[tokio::test]
    async fn a_retry_stops_at_a_failing_page_and_the_next_continues_behind_it() {
        let notifier = Notify::new();
        let mut backlog = failed(Duration::from_millis(1));
        backlog.wait(&notifier).await;
        backlog.tried_again(page(64, 0, true));
        assert_eq!(backlog.again, Some(64));
        backlog.tried_again(page(128, 3, true));
        assert_eq!(backlog.again, None);
        backlog.wait(&notifier).await;
        assert_eq!(backlog.again, Some(128));
        // None fails on the last page, but some did before it.
        backlog.tried_again(page(130, 0, false));
        assert!(backlog.failed && backlog.again.is_none());
        backlog.wait(&notifier).await;
        assert_eq!(backlog.again, Some(0));
        backlog.tried_again(None);
        assert!(!backlog.failed);
    }
}
