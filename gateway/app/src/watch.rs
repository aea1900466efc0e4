//! Notices that the database file was moved, removed or replaced while the gateway is running. SQLite would continue
//! with the file that is open, and sign-ins would be lost at the next restart.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How often the file is checked. This is only for the log: the store itself refuses to write to a file that was moved.
const INTERVAL: Duration = Duration::from_secs(2);

pub(crate) async fn watch(app: Arc<App>, shutdown: CancellationToken) {
    let mut looks = tokio::time::interval(INTERVAL);
    let mut in_place = true;
    while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
        match app.store.check_file() {
            Err(error) if in_place => {
                tracing::error!(%error, "the database file was moved, removed or replaced");
                in_place = false;
            }
            Ok(()) if !in_place => {
                tracing::info!("the database is back: the gateway writes to it again");
                in_place = true;
            }
            _ => {}
        }
    }
}
