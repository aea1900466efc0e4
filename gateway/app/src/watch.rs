//! Notices that the database's file was moved, removed or replaced under the gateway. SQLite goes on with the file that
//! is open, so sign-ins would be acknowledged that nobody finds again after a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How often the file is looked at. The store refuses to write in between, too: this is for the log.
const INTERVAL: Duration = Duration::from_secs(2);

/// Watches until `shutdown`.
pub async fn watch(app: Arc<App>, shutdown: CancellationToken) {
    let mut looks = tokio::time::interval(INTERVAL);
    let mut in_place = true;
    while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
        match app.store.check_file() {
            Err(error) if in_place => {
                tracing::error!(%error, "the database is not where it was");
                in_place = false;
            }
            Ok(()) if !in_place => {
                tracing::info!("the database is where it was: the gateway writes to it again");
                in_place = true;
            }
            _ => {}
        }
    }
}
