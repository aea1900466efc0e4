//! Signals, and reloading the configuration while the gateway serves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use gateway_host::PluginHost;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::app::App;
use crate::config::reload::{Reload, Reread};
use crate::control::{Asked, Reloaded};
use crate::rate_limit::RateLimits;

/// How long a command without `--wait` waits for the plugins. In this time most files are checked, so that the command
/// can report those that do not serve.
const LOOKS: Duration = Duration::from_secs(1);

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on, these signals do not end the process.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at SIGTERM or SIGINT.
    pub(crate) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Returns at SIGTERM or SIGINT. Until then, reloads the configuration at each SIGHUP and whenever a command asks
    /// for it. A reload can take long, and does not delay the return.
    pub(crate) async fn handle(&mut self, app: &Arc<App>, reload: Reload, mut asked: mpsc::Receiver<Asked>) {
        let hung_up = Arc::new(Notify::new());
        let reloads = {
            let (app, hung_up) = (Arc::clone(app), Arc::clone(&hung_up));
            async move {
                loop {
                    let asked = tokio::select! {
                        () = hung_up.notified() => None,
                        Some(asked) = asked.recv() => Some(asked),
                    };
                    apply(&app, &reload, asked).await;
                }
            }
        };
        let _reloads = AbortOnDropHandle::new(tokio::spawn(reloads));
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => hung_up.notify_one(),
            }
        }
    }
}

/// Applies a changed configuration, or keeps the current one if the new one has mistakes. Then the plugins' files are
/// checked. A command that asked gets its answer when they are, or after [`LOOKS`].
async fn apply(app: &Arc<App>, reload: &Reload, asked: Option<Asked>) {
    let reload = Arc::clone(reload);
    let read = tokio::task::spawn_blocking(move || reload()).await;
    let mut answer = Reloaded {
        pid: std::process::id(),
        ..Reloaded::default()
    };
    match read.unwrap_or_else(|error| Err(vec![error.to_string()])) {
        Ok(Reread { reloadable, warnings }) => {
            answer.warnings = warnings;
            let admissions = app.plugins.adopt(reloadable.plugins.clone()).await;
            // Unchanged limits keep their counts, so that a reload does not free a client that has to wait.
            if app.live.load().rate_limits != reloadable.rate_limits {
                app.rate_limits
                    .store(Arc::new(RateLimits::new(&reloadable.rate_limits)));
            }
            app.live.store(Arc::new(reloadable));
            tracing::info!("the configuration was read again and is in force");
            let plugins = app.plugins.clone();
            tokio::spawn(async move {
                let waits = asked.as_ref().is_some_and(|asked| asked.waits_for_plugins);
                let looks = if waits { Duration::MAX } else { LOOKS };
                let _ = timeout(looks, admissions.done()).await;
                reply(asked, answer, &plugins);
                if admissions.done().await {
                    tracing::info!("every plugin was checked under the new configuration");
                }
            });
        }
        Err(errors) => {
            let error = errors.join("; ");
            answer.errors = errors;
            tracing::error!(%error, "the configuration has mistakes; the current one stays in force");
            if let Some(asked) = asked {
                let _ = asked.answer.send(answer);
            }
        }
    }
}

/// Adds the plugins' state to the answer, and sends it to the command, which may have ended.
fn reply(asked: Option<Asked>, mut answer: Reloaded, plugins: &PluginHost) {
    let Some(asked) = asked else { return };
    for plugin in plugins.status() {
        if plugin.being_admitted {
            answer.being_admitted.push(plugin.name.clone());
        }
        if let Some(problem) = plugin.problem {
            answer.plugins.push(format!("{}: {problem}", plugin.name));
        }
    }
    let _ = asked.answer.send(answer);
}
