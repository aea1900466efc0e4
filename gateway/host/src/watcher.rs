//! Watches the plugin directory. The operating system reports which files change; polling all files finds the changes
//! that it does not report (network file systems, a directory that was replaced).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::directory::{Place, PluginDirectory, Presence, Reason};
use crate::host::inner::Inner;

/// How often all files are polled: a release that a link was switched to serves within two seconds.
const POLL: Duration = Duration::from_secs(1);
/// Polls before an unchanged file is read again whose problem may have passed. The number doubles with each retry.
const FIRST_RETRY: u32 = 5;
/// The most polls between two retries.
const LAST_RETRY: u32 = 640;
/// How long the directory must be quiet before changed files are read: a writer's next write comes sooner.
const QUIET: Duration = Duration::from_millis(40);
/// How many times in a row the watcher waits for that.
const MAX_QUIET: u32 = 10;

/// Plugins whose changed files have not been examined.
#[derive(Debug, Default)]
struct Changes {
    names: Mutex<BTreeSet<String>>,
    /// Events were lost: any file may have changed.
    all: Mutex<bool>,
    /// Something else in the directory has changed, to which links in it may lead.
    links: Mutex<bool>,
    wake: Notify,
}

/// The watch on a directory.
pub(crate) struct Watcher {
    directory: Arc<PluginDirectory>,
    changes: Arc<Changes>,
    watch: Option<RecommendedWatcher>,
    /// The directory that is watched, or was when that was tried.
    watched: Option<Place>,
    /// Why the directory cannot be read. Logged when that begins and when it ends.
    away: Option<Reason>,
    /// Each plugin's file and its signature, as they were last seen.
    seen: BTreeMap<Arc<str>, [Presence; 2]>,
}

impl Watcher {
    /// Starts to watch. Changes are kept until [`Watcher::run`] takes them.
    pub(crate) fn new(directory: Arc<PluginDirectory>) -> Self {
        let mut watcher = Self {
            directory,
            changes: Arc::default(),
            watch: None,
            watched: None,
            away: None,
            seen: BTreeMap::new(),
        };
        watcher.look_at_directory();
        watcher
    }

    /// Examines changed files until the host is gone or shut down.
    pub(crate) async fn run(mut self, host: Weak<Inner>) {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut loads = Loads::default();
        let mut retries = Retries::default();
        loop {
            let changes = Arc::clone(&self.changes);
            tokio::select! {
                () = changes.wake.notified() => {
                    self.wait_for_quiet().await;
                    if std::mem::take(&mut *self.changes.links.lock()) {
                        let Some(host) = host.upgrade() else { return };
                        self.poll(&host);
                    }
                }
                _ = poll.tick() => {
                    let Some(host) = host.upgrade() else { return };
                    let again = retries.poll(host.troubled_plugins());
                    self.changes.names.lock().extend(again);
                    self.poll(&host);
                    if !self.has_changes() {
                        continue;
                    }
                    drop(host);
                    self.wait_for_quiet().await;
                }
                Some(again) = loads.next() => {
                    if let Some(name) = again {
                        self.changes.names.lock().insert(name.to_string());
                        self.changes.wake.notify_one();
                    }
                    continue;
                }
            }
            let Some(host) = host.upgrade() else { return };
            if host.ended.is_cancelled() {
                return;
            }
            let changed = self.take_changes(&host);
            host.withdraw_missing(&changed).await;
            for name in changed {
                // An examination of the old file starts again.
                host.ask(&name);
                let host = Arc::clone(&host);
                let plugin = Arc::clone(&name);
                loads.begin(name, async move {
                    host.reload(&plugin).await;
                });
            }
        }
    }

    /// Waits until nothing has changed for a moment.
    async fn wait_for_quiet(&self) {
        for _ in 0..MAX_QUIET {
            if timeout(QUIET, self.changes.wake.notified()).await.is_err() {
                break;
            }
        }
    }

    fn has_changes(&self) -> bool {
        *self.changes.all.lock() || !self.changes.names.lock().is_empty()
    }

    /// The configured plugins whose files have changed.
    fn take_changes(&mut self, host: &Inner) -> Vec<Arc<str>> {
        let names = std::mem::take(&mut *self.changes.names.lock());
        let all = std::mem::take(&mut *self.changes.all.lock());
        let configured = host.plugin_names();
        let changed: Vec<_> = configured
            .into_iter()
            .filter(|name| all || names.contains(&**name))
            .collect();
        let seen = self.directory.look_at_all(changed.iter().map(|name| &**name));
        for (name, seen) in changed.iter().zip(seen) {
            self.seen.insert(Arc::clone(name), seen);
        }
        changed
    }

    /// Finds the files that have changed since they were last seen.
    fn poll(&mut self, host: &Inner) {
        if !self.look_at_directory() {
            return;
        }
        let names = host.plugin_names();
        self.seen.retain(|name, _| names.contains(name));
        let now = self.directory.look_at_all(names.iter().map(|name| &**name));
        for (name, now) in names.iter().zip(now) {
            // The directory has just gone: the next poll logs that once.
            let is_away = now
                .iter()
                .any(|presence| matches!(presence, Presence::Unknown(reason) if reason.is_about_directory()));
            if !is_away && self.seen.get(name) != Some(&now) {
                self.changes.names.lock().insert(name.to_string());
            }
        }
    }

    /// Checks whether the directory can be read, logs a change of that, and watches the directory if it has been
    /// replaced. Returns whether it can be read.
    fn look_at_directory(&mut self) -> bool {
        let path = self.directory.path().display();
        let place = match self.directory.check() {
            Ok(place) => place,
            Err(reason) => {
                if self.away.is_none() {
                    tracing::warn!(
                        directory = %path,
                        "cannot read the plugin directory, the plugins keep serving as they are: {reason}"
                    );
                    // The status of each plugin must say so.
                    *self.changes.all.lock() = true;
                }
                self.away = Some(reason);
                // The directory that comes back may be a different one that looks the same.
                self.watched = None;
                return false;
            }
        };
        if self.away.take().is_some() {
            tracing::info!(directory = %path, "the plugin directory can be read again");
            *self.changes.all.lock() = true;
        }
        let is_another = self.watched.as_ref() != Some(&place);
        if is_another && self.watched.is_some() {
            *self.changes.all.lock() = true;
        }
        if is_another || self.watch.is_none() {
            self.watched = Some(place);
            self.watch(is_another);
        }
        true
    }

    /// Asks the operating system to report changes in the current directory. `says_why`: log a failure.
    fn watch(&mut self, says_why: bool) {
        self.watch = None;
        let changes = Arc::clone(&self.changes);
        let watched =
            notify::recommended_watcher(move |event| note(&changes, event)).and_then(|mut watch| {
                watch.watch(self.directory.path(), RecursiveMode::NonRecursive)?;
                Ok(watch)
            });
        match watched {
            Ok(watch) => self.watch = Some(watch),
            Err(error) if says_why => tracing::warn!(
                directory = %self.directory.path().display(), %error,
                "cannot watch the plugin directory for changes: polling every {POLL:?} instead"
            ),
            Err(_) => {}
        }
    }
}

/// By plugin with a problem that may pass: the polls until its file is read again, and the polls between two retries.
#[derive(Default)]
struct Retries(BTreeMap<Arc<str>, (u32, u32)>);

impl Retries {
    /// Counts a poll. Returns the troubled plugins whose files must be read again.
    fn poll(&mut self, troubled: BTreeSet<Arc<str>>) -> Vec<String> {
        self.0.retain(|name, _| troubled.contains(name));
        let mut again = Vec::new();
        for name in troubled {
            let (left, interval) = self
                .0
                .entry(Arc::clone(&name))
                .or_insert((FIRST_RETRY, FIRST_RETRY));
            *left = left.saturating_sub(1);
            if *left == 0 {
                *interval = interval.saturating_mul(2).min(LAST_RETRY);
                *left = *interval;
                again.push(name.to_string());
            }
        }
        again
    }
}

/// Examinations in progress, at most one for each plugin.
#[derive(Default)]
struct Loads {
    tasks: JoinSet<()>,
    /// By task: the plugin, and whether its file has changed since.
    plugins: HashMap<task::Id, (Arc<str>, bool)>,
}

impl Loads {
    /// Starts an examination, or marks the one in progress to be repeated.
    fn begin(&mut self, plugin: Arc<str>, load: impl Future<Output = ()> + Send + 'static) {
        if let Some((_, again)) = self.plugins.values_mut().find(|(name, _)| *name == plugin) {
            *again = true;
        } else {
            let id = self.tasks.spawn(load).id();
            self.plugins.insert(id, (plugin, false));
        }
    }

    /// Waits for the next examination to end, if there is one. Returns the plugin if it must be repeated. After a
    /// panic, the next change is another try.
    async fn next(&mut self) -> Option<Option<Arc<str>>> {
        let done = self.tasks.join_next_with_id().await?;
        let id = done.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let (plugin, again) = self.plugins.remove(&id)?;
        if let Err(error) = done {
            tracing::error!(%plugin, %error, "the plugin's file could not be examined");
        }
        Some(again.then_some(plugin))
    }
}

/// Notes what an event is about.
fn note(changes: &Changes, event: notify::Result<notify::Event>) {
    let Ok(event) = event else {
        *changes.all.lock() = true;
        changes.wake.notify_one();
        return;
    };
    // Reading a file is an event too, and must not cause another read.
    if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
        return;
    }
    if event.need_rescan() || event.paths.is_empty() {
        *changes.all.lock() = true;
    }
    for path in &event.paths {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        // A new signature may make the file acceptable.
        match name.strip_suffix(".sig").unwrap_or(name).strip_suffix(".wasm") {
            Some(name) => {
                changes.names.lock().insert(name.to_owned());
            }
            None => *changes.links.lock() = true,
        }
    }
    changes.wake.notify_one();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Loads, Retries};

    #[test]
    fn a_problem_that_may_pass_is_retried_less_and_less_often() {
        let mut retries = Retries::default();
        let mut tries = |polls: usize, name: &str| {
            let tried = (0..polls).map(|_| retries.poll([Arc::from(name)].into()).len());
            tried.sum::<usize>()
        };
        assert_eq!(tries(4, "p"), 0);
        assert_eq!(tries(1, "p"), 1);
        assert_eq!(tries(9, "p"), 0);
        assert_eq!(tries(1, "p"), 1);
        assert_eq!(tries(10_000, "p"), 19);
        assert_eq!(tries(5, "q"), 1);
        assert_eq!(tries(5, "p"), 1, "it was well in between");
    }

    #[tokio::test]
    async fn a_plugin_whose_examination_panicked_is_examined_again() {
        let mut loads = Loads::default();
        let plugin: Arc<str> = "p".into();
        loads.begin(Arc::clone(&plugin), async { panic!("on purpose") });
        loads.begin(Arc::clone(&plugin), async {});
        assert_eq!(
            loads.next().await,
            Some(Some(Arc::clone(&plugin))),
            "it has changed since"
        );
        let (tell, told) = tokio::sync::oneshot::channel();
        loads.begin(plugin, async { tell.send(()).unwrap() });
        assert_eq!(loads.next().await, Some(None));
        told.await.expect("it was looked at");
        assert_eq!(loads.next().await, None);
    }
}
