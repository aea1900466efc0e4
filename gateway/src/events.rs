//! Delivering events that nobody waits for: those that a crash left pending, once, at start, and
//! sign-outs, until their hooks have answered.

use std::sync::Arc;
use std::time::Duration;

use gateway_model::{Event, EventKind, User, Verdict};
use tokio::sync::Notify;
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
    let mut retry = FIRST_RETRY;
    loop {
        if deliver_logouts(app).await {
            retry = FIRST_RETRY;
            app.courier.0.notified().await;
        } else {
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LAST_RETRY);
        }
    }
}

/// Delivers every pending sign-out; `false` where one of them is still pending afterwards.
async fn deliver_logouts(app: &App) -> bool {
    let pending = match app.store.pending_events().await {
        Ok(pending) => pending,
        Err(error) => {
            tracing::error!(%error, "pending events cannot be read");
            return false;
        }
    };
    let mut all = true;
    for (event, user) in pending
        .into_iter()
        .filter(|(event, _)| event.kind == EventKind::Logout)
    {
        all &= redeliver(app, &event, user).await;
    }
    all
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
