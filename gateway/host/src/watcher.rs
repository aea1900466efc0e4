//! Watching the plugin directory: the operating system says which files change, and a slow look at all
//! of them catches what it does not say (network file systems, a directory that was replaced).

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

/// How often all files are looked at: a release that a link was switched to serves within two seconds.
const POLL: Duration = Duration::from_secs(1);
/// So many polls after it a file is read again whose problem may be over though it has not changed; then after twice as
/// many, and so on.
const FIRST_RETRY: u32 = 5;
/// The most polls between two tries.
const LAST_RETRY: u32 = 640;
/// How long the directory must be quiet before changed files are read: a writer's next write follows
/// within this.
const QUIET: Duration = Duration::from_millis(40);
/// How many times that is waited for at most.
const MAX_QUIET: u32 = 10;

/// Whose files are watched.
pub(crate) trait Watched: Send + Sync + 'static {
    /// The names of all configured plugins.
    fn plugin_names(&self) -> BTreeSet<Arc<str>>;

    /// The names of plugins whose problem may be over though their files are the same.
    fn troubled_plugins(&self) -> BTreeSet<Arc<str>>;

    /// Whether no file is looked at any more.
    fn is_shut_down(&self) -> bool;

    /// Asks that whoever looks at a plugin's file looks whether it has changed meanwhile.
    fn ask(&self, name: &Arc<str>);

    /// Looks at one plugin's file and puts in force what it gives. Returns false if the host was shut down first.
    fn reload(&self, name: &Arc<str>) -> impl Future<Output = bool> + Send;

    /// Withdraws the plugins whose files are gone, at once: not after whatever else is being compiled. That goes on record,
    /// too: whatever takes the place of a file after that, what it was does not come back, not even after a restart.
    fn withdraw_missing(&self, names: &[Arc<str>]) -> impl Future<Output = ()> + Send;
}

/// Names of plugins whose files have changed and have not been looked at.
#[derive(Debug, Default)]
struct Changes {
    names: Mutex<BTreeSet<String>>,
    /// Events were lost: any may have changed.
    all: Mutex<bool>,
    /// Something else in the directory has changed, which links in it may lead to.
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
    /// Why the directory cannot be read, since it cannot. Said when that begins and when it ends, not in between.
    away: Option<Reason>,
    /// Each plugin's file and its signature, as they were last seen.
    seen: BTreeMap<Arc<str>, [Presence; 2]>,
}

impl Watcher {
    /// Starts to watch. Changes are kept until [`Watcher::run`] looks at them.
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

    /// Looks after the host's plugins until the host is gone or shut down.
    pub(crate) async fn run(mut self, host: Weak<impl Watched>) {
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
                        self.poll(&*host);
                    }
                }
                _ = poll.tick() => {
                    let Some(host) = host.upgrade() else { return };
                    let again = retries.poll(host.troubled_plugins());
                    self.changes.names.lock().extend(again);
                    self.poll(&*host);
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
            if host.is_shut_down() {
                return;
            }
            let changed = self.take_changes(&*host);
            host.withdraw_missing(&changed).await;
            for name in changed {
                // A look that goes on at what the file was begins again.
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
    fn take_changes(&mut self, host: &impl Watched) -> Vec<Arc<str>> {
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

    /// Compares every file with how it was when it was last looked at.
    fn poll(&mut self, host: &impl Watched) {
        if !self.look_at_directory() {
            return;
        }
        let names = host.plugin_names();
        self.seen.retain(|name, _| names.contains(name));
        let now = self.directory.look_at_all(names.iter().map(|name| &**name));
        for (name, now) in names.iter().zip(now) {
            // The directory has gone in this moment: the next poll says so once.
            let is_away = now
                .iter()
                .any(|presence| matches!(presence, Presence::Unknown(reason) if reason.is_about_directory()));
            if !is_away && self.seen.get(name) != Some(&now) {
                self.changes.names.lock().insert(name.to_string());
            }
        }
    }

    /// Looks whether the directory can be read, and watches it where it is another one than before. Says in the log
    /// when it cannot be read any more, and when it can again. Gives whether it can.
    fn look_at_directory(&mut self) -> bool {
        let path = self.directory.path().display();
        let place = match self.directory.check() {
            Ok(place) => place,
            Err(reason) => {
                if self.away.is_none() {
                    tracing::warn!(
                        directory = %path,
                        "cannot read the plugin directory, the plugins serve on as they are: {reason}"
                    );
                    // So that the status of each plugin says so.
                    *self.changes.all.lock() = true;
                }
                self.away = Some(reason);
                // What comes back may be another one that looks the same.
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

    /// Asks the operating system to tell of changes in what the directory is now. `says_why` is whether the log is to
    /// hear why that fails.
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
                "cannot watch the plugin directory for changes: looking every {POLL:?} instead"
            ),
            Err(_) => {}
        }
    }
}

/// When files are read again whose problem may be over: by plugin, the polls until then, and from one try to the next.
#[derive(Default)]
struct Retries(BTreeMap<Arc<str>, (u32, u32)>);

impl Retries {
    /// One more poll. Returns the plugins that have their turn of those in trouble.
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

/// The files that are being looked at, each plugin's once at a time.
#[derive(Default)]
struct Loads {
    tasks: JoinSet<()>,
    /// By task, which plugin's; and whether its file has changed since.
    plugins: HashMap<task::Id, (Arc<str>, bool)>,
}

impl Loads {
    /// Begins to look at a plugin's file; where that is being done, notes that it has to be done again.
    fn begin(&mut self, plugin: Arc<str>, load: impl Future<Output = ()> + Send + 'static) {
        if let Some((_, again)) = self.plugins.values_mut().find(|(name, _)| *name == plugin) {
            *again = true;
        } else {
            let id = self.tasks.spawn(load).id();
            self.plugins.insert(id, (plugin, false));
        }
    }

    /// Waits for the next file that has been looked at, if there is any: gives the plugin where that has to be done
    /// again. One that ended in a panic was looked at like any other: the next change is another try.
    async fn next(&mut self) -> Option<Option<Arc<str>>> {
        let done = self.tasks.join_next_with_id().await?;
        let id = done.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let (plugin, again) = self.plugins.remove(&id)?;
        if let Err(error) = done {
            tracing::error!(%plugin, %error, "the plugin's file could not be looked at");
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
    // Reading a file is an event too: following it would mean reading the file for ever.
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
        // Its signature may be what makes a file one that serves.
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
    fn a_problem_that_may_pass_is_looked_at_less_and_less_often() {
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
    async fn a_plugin_whose_look_panicked_is_looked_at_again() {
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
