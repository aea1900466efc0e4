//! The host put together: threads for guests, the registry, the watch, and what callers do with them.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use gateway_model::{Event, SystemRandom, User, UserId, UserLimits, Verdict};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{RwLock, watch};

use crate::admission::{Admission, Candidate};
use crate::cache::Cache;
use crate::check::usable_dir;
use crate::directory::{PluginDirectory, Presence};
use crate::engine::Engines;
use crate::error::{AdmissionError, CallError, HostError, RollbackError};
use crate::guest::Sources;
use crate::registry::{Plugin, Registry, Settled, Snapshot};
use crate::serve::Lanes;
use crate::trust::Trust;
use crate::watcher::Watcher;
use crate::{
    HostOptions, Permissions, PluginSet, PluginStatus, lifecycle, metrics, permission_provider, status,
};

/// Most threads that read files and compile.
const MAX_BLOCKING: usize = 8;

/// The plugins, loaded and watched. Cheap to clone: all clones are one host, which ends with the last.
#[derive(Clone)]
pub struct PluginHost(Arc<Inner>);

/// What all clones share.
pub(crate) struct Inner {
    registry: Arc<Registry>,
    lanes: Arc<Lanes>,
    admission: Admission,
    directory: Arc<PluginDirectory>,
    sources: Sources,
    /// A file's change is put in force under the read half, a configuration's under the write half.
    reloading: RwLock<()>,
    /// Held while a file's change or a rollback is put on record and in force: the two never differ.
    settling: tokio::sync::Mutex<()>,
    shut_down: AtomicBool,
    runtime: Mutex<Option<Runtime>>,
}

impl PluginHost {
    /// Reads, admits and compiles what is in the directory, then watches it. Returns when everything
    /// that is there and good serves. A plugin that cannot be loaded is a problem for the log and
    /// [`PluginHost::status`], not an error.
    ///
    /// # Errors
    /// When the directories cannot be used, or the engine does not run on this machine.
    pub async fn start(options: HostOptions, set: PluginSet) -> Result<Self, HostError> {
        let HostOptions {
            plugin_dir,
            cache_dir,
            guest_threads,
            users,
            values,
            network,
            compile,
        } = options;
        metrics::describe();
        // The directory itself may be a link; what is in it may not.
        let plugin_dir = usable_dir(&plugin_dir)?;
        let engines = Arc::new(Engines::start()?);
        let cache = Cache::open(&cache_dir, engines.usual(), &SystemRandom)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(guest_threads.max(1))
            .max_blocking_threads(MAX_BLOCKING)
            .thread_name("guest")
            .enable_all()
            .build()
            .map_err(HostError::Thread)?;
        let lanes = Arc::new(Lanes::new(runtime.handle().clone()));
        let directory = Arc::new(PluginDirectory::new(plugin_dir));
        let inner = Arc::new(Inner {
            registry: Arc::new(Registry::new(
                Arc::clone(lanes.queues()),
                Arc::clone(lanes.memory()),
            )),
            admission: Admission::new(
                engines,
                cache,
                Arc::clone(&directory),
                Arc::clone(&lanes),
                compile,
            ),
            directory: Arc::clone(&directory),
            lanes,
            sources: Sources {
                users,
                values,
                network: Some(network),
                transcript: None,
            },
            reloading: RwLock::new(()),
            settling: tokio::sync::Mutex::default(),
            shut_down: AtomicBool::new(false),
            runtime: Mutex::new(Some(runtime)),
        });
        // Before the files are read, so that no change is missed in between.
        let watcher = Watcher::new(directory);
        inner.apply(set, true).await;
        inner.lanes.guests().spawn(watcher.run(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Takes a new configuration and looks at every file again (SIGHUP). Returns when it is in force:
    /// services, extensions and plugins in one switch. A plugin that is not good under it serves on as
    /// it did, and has a problem.
    pub async fn reconfigure(&self, set: PluginSet) {
        self.0.apply(set, false).await;
    }

    /// Lets the generation before the one that serves serve again, at once, if it is good under the
    /// configuration as it is now. It holds, restarts and new configurations included, until the plugin's
    /// file has another digest than it has now. Doing so again goes back one further. Gives how the plugin
    /// stands then.
    ///
    /// # Errors
    /// Why not. What served serves on.
    pub async fn rollback(&self, plugin: &str) -> Result<PluginStatus, RollbackError> {
        let (inner, name) = (Arc::clone(&self.0), plugin.to_owned());
        // Goes on even when the caller gives up waiting: what is on record must be in force.
        let task = self
            .0
            .lanes
            .guests()
            .spawn(async move { inner.roll_back(&name).await });
        task.await.unwrap_or_else(|error| {
            Err(RollbackError::Failed {
                plugin: plugin.to_owned(),
                reason: error.to_string(),
            })
        })?;
        self.plugin_status(plugin)
            .ok_or_else(|| RollbackError::NotConfigured {
                plugin: plugin.to_owned(),
            })
    }

    /// Looks at a plugin's file again, as when it changes, and gives how the plugin stands once that is in
    /// force; `None` where it is not configured. A plugin that was rolled back stays so while its file is
    /// the same.
    pub async fn reload(&self, plugin: &str) -> Option<PluginStatus> {
        let inner = Arc::clone(&self.0);
        let name: Arc<str> = plugin.into();
        let task = self.0.lanes.guests().spawn(async move {
            inner.withdraw_if_missing(&name);
            inner.reload(&name).await;
        });
        if let Err(error) = task.await {
            tracing::error!(plugin, %error, "the plugin's file could not be looked at");
        }
        self.plugin_status(plugin)
    }

    /// How one plugin stands; `None` where it is not configured.
    #[must_use]
    pub fn plugin_status(&self, plugin: &str) -> Option<PluginStatus> {
        let snapshot = self.0.registry.snapshot();
        snapshot
            .plugins
            .get(plugin)
            .map(|plugin| status::of_one(&snapshot, plugin))
    }

    /// Whether a service is configured.
    #[must_use]
    pub fn has_service(&self, service: &str) -> bool {
        self.0.registry.snapshot().set.services.contains_key(service)
    }

    /// The configured services, sorted.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        self.0.registry.snapshot().set.services.keys().cloned().collect()
    }

    /// Asks the service's provider what the user may do, on a guest thread. Dropping the future cancels
    /// the call.
    ///
    /// # Errors
    /// Every way to get no answer. Nothing may be signed then.
    pub async fn get_permissions(&self, service: &str, user: &UserId) -> Result<Permissions, CallError> {
        self.get_permissions_then(service, user, |permissions| permissions)
            .await
    }

    /// The same, and makes something of the answer: signs it, say. That is done on the guest thread as well,
    /// since it computes, and since a hand-over between threads costs about as much as a call. Where the provider was
    /// replaced while it was asked, nothing is made of its answer, and the one in its place is asked.
    ///
    /// # Errors
    /// As for [`PluginHost::get_permissions`]; `then` has not been called.
    pub async fn get_permissions_then<T: Send + 'static>(
        &self,
        service: &str,
        user: &UserId,
        then: impl FnOnce(Permissions) -> T + Clone + Send + 'static,
    ) -> Result<T, CallError> {
        let Inner {
            lanes,
            registry,
            sources,
            ..
        } = &*self.0;
        permission_provider::get_permissions(lanes, registry, sources, service, user, then).await
    }

    /// [`Self::run_hooks_within`] the bounds that hold for a user unless an operator sets others.
    pub async fn run_hooks(&self, event: &Event, user: &User) -> Verdict {
        self.run_hooks_within(event, user, &UserLimits::default()).await
    }

    /// Runs the event's hook of every extension, in order, until one does not accept; for a sign-out, of
    /// all of them. `user` is who the event is about, as they are now, and `limits` what they may take up: a hook whose
    /// attributes would exceed them has failed. In the verdict a hook is called
    /// `<plugin>/<function>`, for example `email-domains/on-new-user`.
    pub async fn run_hooks_within(&self, event: &Event, user: &User, limits: &UserLimits) -> Verdict {
        let snapshot = self.0.registry.snapshot();
        lifecycle::run_hooks(&self.0.lanes, &snapshot, &self.0.sources, event, user, limits).await
    }

    /// How every configured plugin stands, sorted by name.
    #[must_use]
    pub fn status(&self) -> Vec<PluginStatus> {
        status::of(&self.0.registry.snapshot())
    }

    /// A number that grows whenever a plugin or the configuration was looked at and put in force, to wait
    /// on instead of asking [`PluginHost::status`] again and again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.registry.changes()
    }

    /// Takes no new calls, waits for those in flight (each ends by its deadline), and ends the watch.
    pub async fn shutdown(&self) {
        self.0.shut_down.store(true, Ordering::Release);
        self.0.lanes.drain().await;
    }
}

impl Inner {
    /// Puts a configuration in force. Goes on even when the caller gives up waiting: half of it must not
    /// be.
    fn apply(self: &Arc<Self>, set: PluginSet, starting: bool) -> impl Future<Output = ()> + use<> {
        let inner = Arc::clone(self);
        let task = self.lanes.guests().spawn(async move {
            let _exclusive = inner.reloading.write().await;
            let before = inner.registry.snapshot();
            let set = Arc::new(set);
            let trust = Arc::new(Trust::of(&set));
            let candidates = Snapshot::roles(&set).into_iter().map(|(name, roles)| Candidate {
                config: Arc::new(set.plugins.get(&*name).cloned().unwrap_or_default()),
                serving: before
                    .plugins
                    .get(&name)
                    .and_then(|plugin| plugin.generation.clone()),
                name,
                roles,
                trust: Arc::clone(&trust),
                starting,
            });
            let loads = candidates.map(|candidate| {
                let inner = Arc::clone(&inner);
                async move {
                    let loaded = inner.admission.load(&candidate).await;
                    (candidate.name, loaded)
                }
            });
            // So many files are in memory at once, however many plugins there are.
            let mut loads = futures_util::stream::iter(loads).buffered(MAX_BLOCKING);
            let mut results = Vec::new();
            while let Some((name, looked)) = loads.next().await {
                // Nothing is rolled back meanwhile: that takes the other half of the lock.
                if let Some(settled) = inner.admission.settle(&name, looked).await {
                    results.push((name, settled));
                }
            }
            drop(loads);
            inner.registry.replace(set, results);
            inner.prepare();
        });
        async move {
            if let Err(error) = task.await {
                tracing::error!(%error, "the plugins' configuration could not be put in force");
            }
        }
    }

    /// Looks at one plugin's file and puts in force what it gives.
    pub(crate) async fn reload(&self, name: &Arc<str>) {
        let _shared = self.reloading.read().await;
        let turn = match self.registry.snapshot().plugins.get(name) {
            Some(plugin) => Arc::clone(&plugin.turn),
            None => return,
        };
        let _turn = turn.lock().await;
        // As it is now, after whoever had the turn before.
        let snapshot = self.registry.snapshot();
        let Some(plugin) = snapshot.plugins.get(name) else {
            return;
        };
        let looked = self.admission.load(&candidate(&snapshot, plugin)).await;
        let _settling = self.settling.lock().await;
        if let Some(settled) = self.admission.settle(name, looked).await {
            self.registry.publish(name, settled);
            self.prepare();
        }
    }

    /// Lets the generation before serve again.
    async fn roll_back(&self, name: &str) -> Result<(), RollbackError> {
        let _shared = self.reloading.read().await;
        let _settling = self.settling.lock().await;
        let snapshot = self.registry.snapshot();
        let Some((name, plugin)) = snapshot.plugins.get_key_value(name) else {
            return Err(RollbackError::NotConfigured {
                plugin: name.to_owned(),
            });
        };
        let settled = self.admission.roll_back(&candidate(&snapshot, plugin)).await?;
        self.registry.publish(name, settled);
        self.prepare();
        Ok(())
    }

    /// Makes instances ahead for what serves now.
    fn prepare(&self) {
        self.lanes.prepare(&self.registry.snapshot(), &self.sources);
    }

    /// Withdraws a plugin whose file is gone, at once: not after whatever else is being compiled.
    pub(crate) fn withdraw_if_missing(&self, name: &Arc<str>) {
        if let Ok(path) = self.admission.path(name)
            && self.directory.look(name) == Presence::Absent
        {
            let snapshot = self.registry.snapshot();
            let Some(plugin) = snapshot.plugins.get(name) else {
                return;
            };
            let settled = Settled {
                result: Err(AdmissionError::Missing { path }),
                record: Arc::clone(&plugin.record),
            };
            self.registry.publish(name, settled);
        }
    }

    /// The names of all configured plugins.
    pub(crate) fn plugin_names(&self) -> BTreeSet<Arc<str>> {
        self.registry.snapshot().plugins.keys().cloned().collect()
    }

    /// Whether the host has been shut down.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut_down.load(Ordering::Acquire)
    }
}

/// A configured plugin, to look at its file.
fn candidate(snapshot: &Snapshot, plugin: &Plugin) -> Candidate {
    Candidate {
        name: Arc::clone(&plugin.name),
        config: Arc::clone(&plugin.config),
        roles: plugin.roles.clone(),
        trust: Arc::new(Trust::of(&snapshot.set)),
        serving: plugin.generation.clone(),
        starting: false,
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A runtime may not be waited for on an I/O thread, nor on one of its own.
        if let Some(runtime) = self.runtime.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for PluginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginHost")
            .field("plugins", &self.status())
            .finish()
    }
}
