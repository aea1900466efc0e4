//! Signals, and reading the configuration again while the gateway serves.

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

/// How long a command that asked for a reload waits for the plugins' files unless it says more: nearly all are looked at by
/// then, and it can say which do not serve.
const LOOKS: Duration = Duration::from_secs(1);

/// The signals that the gateway listens to.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on, signals do not end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at SIGTERM or SIGINT.
    pub(crate) async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Reads the configuration again at each SIGHUP, and whenever a command asks for it. That goes on beside waiting for
    /// the end, as it may take long.
    pub(crate) async fn until_told_to_end(
        &mut self,
        app: &Arc<App>,
        reload: Reload,
        mut asked: mpsc::Receiver<Asked>,
    ) {
        let hung_up = Arc::new(Notify::new());
        let reloads = {
            let (app, hung_up) = (Arc::clone(app), Arc::clone(&hung_up));
            async move {
                loop {
                    let asked = tokio::select! {
                        () = hung_up.notified() => None,
                        Some(asked) = asked.recv() => Some(asked),
                    };
                    take_up(&app, &reload, asked).await;
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

/// Puts a changed configuration in force, or keeps the old one where there is a mistake. The files of plugins are looked at
/// after that; whoever asked is answered when they have been, or soon.
async fn take_up(app: &Arc<App>, reload: &Reload, asked: Option<Asked>) {
    let reload = Arc::clone(reload);
    // It reads files.
    let read = tokio::task::spawn_blocking(move || reload()).await;
    let mut answer = Reloaded {
        pid: std::process::id(),
        ..Reloaded::default()
    };
    match read.unwrap_or_else(|error| Err(vec![error.to_string()])) {
        Ok(Reread { reloadable, warnings }) => {
            answer.warnings = warnings;
            let admissions = app.plugins.adopt(reloadable.plugins.clone()).await;
            // Only where they are others: who has been told to wait is not let off by a change of something else.
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
                // Not where the gateway ends first.
                if admissions.done().await {
                    tracing::info!("every plugin was looked at under the new configuration");
                }
            });
        }
        Err(errors) => {
            let error = errors.join("; ");
            answer.errors = errors;
            tracing::error!(%error, "the configuration has mistakes; what was in force stays in force");
            if let Some(asked) = asked {
                // Whoever asked may have gone.
                let _ = asked.answer.send(answer);
            }
        }
    }
}

/// Tells a command how the plugins stand.
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
    // Whoever asked may have gone.
    let _ = asked.answer.send(answer);
}
