//! Watching the plugin directory: the operating system says which files change, and a slow look at all
//! of them catches what it does not say (network file systems, a directory that was replaced).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::file::Stamp;
use crate::host::Inner;

/// How often all files are looked at.
const POLL: Duration = Duration::from_secs(2);
/// How long the directory must be quiet before changed files are read: a writer's next write follows
/// within this.
const QUIET: Duration = Duration::from_millis(40);
/// How many times that is waited for at most.
const MAX_QUIET: u32 = 10;

/// Names of plugins whose files have changed and have not been looked at.
#[derive(Debug, Default)]
struct Changes {
    names: Mutex<BTreeSet<String>>,
    /// Events were lost: any may have changed.
    all: Mutex<bool>,
    wake: Notify,
}

/// The watch on a directory.
pub(crate) struct Watcher {
    directory: PathBuf,
    changes: Arc<Changes>,
    watch: Option<RecommendedWatcher>,
    directory_stamp: Option<(u64, u64)>,
    stamps: BTreeMap<Arc<str>, [Option<Stamp>; 2]>,
}

impl Watcher {
    /// Starts to watch. Changes are kept until [`Watcher::run`] looks at them.
    pub(crate) fn new(directory: &Path) -> Self {
        let mut watcher = Self {
            directory: directory.to_owned(),
            changes: Arc::default(),
            watch: None,
            directory_stamp: None,
            stamps: BTreeMap::new(),
        };
        watcher.watch_again();
        watcher
    }

    /// Looks after the host's plugins until the host is gone or shut down.
    pub(crate) async fn run(mut self, host: Weak<Inner>) {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut loading: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        let mut loads: JoinSet<Arc<str>> = JoinSet::new();
        loop {
            let changes = Arc::clone(&self.changes);
            tokio::select! {
                () = changes.wake.notified() => self.wait_for_quiet().await,
                _ = poll.tick() => {
                    let Some(host) = host.upgrade() else { return };
                    self.poll(&host);
                    if !self.has_changes() {
                        continue;
                    }
                    drop(host);
                    self.wait_for_quiet().await;
                }
                Some(done) = loads.join_next() => {
                    // A changed file that was being looked at already is looked at once more.
                    if let Ok(name) = done && loading.remove(&name) == Some(true) {
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
            for name in self.take_changes(&host) {
                host.withdraw_if_missing(&name);
                if let Some(again) = loading.get_mut(&name) {
                    *again = true;
                } else {
                    loading.insert(Arc::clone(&name), false);
                    let host = Arc::clone(&host);
                    loads.spawn(async move {
                        host.reload(&name).await;
                        name
                    });
                }
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
        for name in &changed {
            self.stamps.insert(Arc::clone(name), host.stamp(name));
        }
        changed
    }

    /// Compares every file with how it was when it was last looked at.
    fn poll(&mut self, host: &Inner) {
        if self.watch.is_none() || directory_stamp(&self.directory) != self.directory_stamp {
            self.watch_again();
            *self.changes.all.lock() = true;
        }
        let names = host.plugin_names();
        self.stamps.retain(|name, _| names.contains(name));
        for name in names {
            let now = host.stamp(&name);
            if self.stamps.get(&name) != Some(&now) {
                self.changes.names.lock().insert(name.to_string());
            }
        }
    }

    /// Asks the operating system to tell of changes in what the directory is now.
    fn watch_again(&mut self) {
        self.watch = None;
        self.directory_stamp = directory_stamp(&self.directory);
        let changes = Arc::clone(&self.changes);
        let watched =
            notify::recommended_watcher(move |event| note(&changes, event)).and_then(|mut watch| {
                watch.watch(&self.directory, RecursiveMode::NonRecursive)?;
                Ok(watch)
            });
        match watched {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => tracing::warn!(
                directory = %self.directory.display(), %error,
                "cannot be told of changes in the plugin directory: looking every {POLL:?} instead"
            ),
        }
    }
}

/// Which directory it is, should another one come in its place.
fn directory_stamp(directory: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(directory)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
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
    let names = event.paths.iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        // Its signature may be what makes a file one that serves.
        name.strip_suffix(".sig").unwrap_or(name).strip_suffix(".wasm")
    });
    changes.names.lock().extend(names.map(ToOwned::to_owned));
    changes.wake.notify_one();
}
