//! The host put together: threads for guests, the registry, the watch, and what callers do with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{fmt, path};

use gateway_model::{Event, SystemRandom, User, UserId, UserLimits, Verdict};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Candidate};
use crate::cache::Cache;
use crate::check::usable_dir;
use crate::compile::Job;
use crate::directory::{PluginDirectory, Presence};
use crate::engine::Engines;
use crate::error::{AdmissionError, CallError, HostError, RollbackError};
use crate::guest::Sources;
use crate::registry::{Adopted, Plugin, Registry, Settled, Snapshot, Turn};
use crate::serve::Lanes;
use crate::trust::Trust;
use crate::watcher::Watcher;
use crate::{HostOptions, Permissions, PluginSet, PluginStatus, lifecycle, permission_provider, status};

/// Most threads that read files and compile.
const MAX_BLOCKING: usize = 8;
/// How long a start waits for a file before the last good generation serves in its place.
const MEANWHILE: Duration = Duration::from_millis(300);
/// How often going back begins anew where the plugin was replaced meanwhile.
const MAX_AGAIN: usize = 8;

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
    /// Held while a configuration, a file's change or a rollback is put on record and in force: the two never differ, and
    /// what was found out under one configuration does not come into force under another. Nothing that compiles or calls
    /// a plugin happens meanwhile.
    settling: tokio::sync::Mutex<()>,
    /// The host has been shut down: no file is looked at any more.
    ended: CancellationToken,
    runtime: Mutex<Option<Runtime>>,
}

/// The looks at all plugins' files that a configuration asks for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admissions(watch::Receiver<Looks>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    GoOn,
    Done,
    GivenUp,
}

impl Admissions {
    /// Returns when each plugin serves or has a problem, or when the host is shut down. Returns false if it was shut down
    /// first.
    pub async fn done(&self) -> bool {
        let mut looks = self.0.clone();
        let looks = looks.wait_for(|looks| *looks != Looks::GoOn).await;
        // They have been given up, too, where nobody is left to say so.
        looks.is_ok_and(|looks| *looks == Looks::Done)
    }
}

impl PluginHost {
    /// [`PluginHost::open`], and returns when everything that is there and good serves.
    ///
    /// # Errors
    /// As for [`PluginHost::open`].
    pub async fn start(options: HostOptions, set: PluginSet) -> Result<Self, HostError> {
        let (host, admissions) = Self::open(options, set).await?;
        admissions.done().await;
        Ok(host)
    }

    /// Begins to read, admit and compile what is in the directory, and to watch it. Each plugin serves as soon as it is
    /// admitted, and until then its calls fail; while a new file is compiled, the last good generation serves. A plugin
    /// that cannot be loaded is a problem for the log and [`PluginHost::status`], not an error.
    ///
    /// # Errors
    /// When the directories cannot be used, or the engine does not run on this machine.
    pub async fn open(options: HostOptions, set: PluginSet) -> Result<(Self, Admissions), HostError> {
        let HostOptions {
            plugin_dir,
            cache_dir,
            guest_threads,
            users,
            values,
            network,
            compile,
        } = options;
        usable_dir(&plugin_dir)?;
        // Not canonical: where a link leads on the way may change.
        let plugin_dir = path::absolute(&plugin_dir).map_err(|error| HostError::PluginDirUnreadable {
            path: plugin_dir,
            error,
        })?;
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
            settling: tokio::sync::Mutex::default(),
            ended: CancellationToken::new(),
            runtime: Mutex::new(Some(runtime)),
        });
        let names = inner.adopt(set, true).await;
        // Before the files are read, so that no change is missed in between; and after it is known where they were.
        let watcher = Watcher::new(directory);
        let admissions = inner.look_at(names);
        inner.lanes.guests().spawn(watcher.run(Arc::downgrade(&inner)));
        Ok((Self(inner), admissions))
    }

    /// Takes a new configuration (SIGHUP). Returns when it is in force: services and extensions in one switch, and what
    /// serves already of their plugins does so under their new settings, secrets and grants; what may not is withdrawn.
    /// Then every file is looked at again; so are limits, under which a plugin must pass its trial before they count.
    pub async fn adopt(&self, set: PluginSet) -> Admissions {
        let inner = Arc::clone(&self.0);
        // Goes on even when the caller gives up waiting: half of it must not be in force.
        let task = self.0.lanes.guests().spawn(async move {
            let names = inner.adopt(set, false).await;
            inner.look_at(names)
        });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the plugins' configuration could not be put in force");
            Admissions(watch::Sender::new(Looks::GivenUp).subscribe())
        })
    }

    /// [`PluginHost::adopt`], and returns when every file has been looked at.
    pub async fn reconfigure(&self, set: PluginSet) {
        self.adopt(set).await.done().await;
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
            inner.withdraw_missing(std::slice::from_ref(&name)).await;
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

    /// Whether an extension is configured: one that has hooks, which read the claims of those who sign in.
    #[must_use]
    pub fn has_extensions(&self) -> bool {
        !self.0.registry.snapshot().set.extensions.is_empty()
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

    /// Takes no new calls, waits for those in flight (each ends by its deadline), and ends the watch. Files that are
    /// being compiled or tried are given up.
    pub async fn shutdown(&self) {
        self.0.ended.cancel();
        self.0.lanes.drain().await;
    }
}

impl Inner {
    /// Puts a configuration in force for what serves already. Returns the names of its plugins.
    async fn adopt(&self, set: PluginSet, starting: bool) -> Vec<Arc<str>> {
        let _settling = self.settling.lock().await;
        let before = self.registry.snapshot();
        let set = Arc::new(set);
        let roles = Snapshot::roles(&set);
        let new = roles
            .keys()
            .filter(|name| !before.plugins.contains_key(*name))
            .cloned();
        let remembered = self.admission.remember(new.collect()).await;
        let remembered = remembered.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read what is kept of the plugins");
            Vec::new()
        });
        let mut records: BTreeMap<_, _> = remembered.into_iter().collect();
        let trust = Arc::new(Trust::of(&set));
        let adopted: Vec<_> = roles
            .into_iter()
            .map(|(name, roles)| {
                let old = before.plugins.get(&name);
                let candidate = Candidate {
                    config: Arc::new(set.plugins.get(&*name).cloned().unwrap_or_default()),
                    serving: old.and_then(|plugin| plugin.generation.clone()),
                    name: Arc::clone(&name),
                    roles,
                    trust: Arc::clone(&trust),
                    starting,
                    compiling: Arc::default(),
                };
                let carried = match &candidate.serving {
                    Some(serving) => self.admission.carry(&candidate, serving).map(|anew| match anew {
                        Some(generation) => Some(Arc::from(generation)),
                        None => Some(Arc::clone(serving)),
                    }),
                    None => Ok(None),
                };
                let (generation, problem) = match carried {
                    Ok(generation) => (generation, None),
                    Err(problem) => (None, Some(problem)),
                };
                let adopted = Adopted {
                    config: candidate.config,
                    roles: candidate.roles,
                    generation,
                    problem,
                    record: records.remove(&name),
                    starting,
                };
                (name, adopted)
            })
            .collect();
        let names = adopted.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.registry.adopt(set, adopted);
        self.prepare();
        names
    }

    /// Looks at these plugins' files, each for itself.
    fn look_at(self: &Arc<Self>, names: Vec<Arc<str>>) -> Admissions {
        let (done, admissions) = watch::channel(Looks::GoOn);
        let inner = Arc::clone(self);
        let looks = async move {
            let mut looks = JoinSet::new();
            for name in names {
                let inner = Arc::clone(&inner);
                looks.spawn(async move { inner.reload(&name).await });
            }
            let mut ended = Looks::Done;
            while let Some(looked) = looks.join_next().await {
                match looked {
                    Ok(true) => {}
                    Ok(false) => ended = Looks::GivenUp,
                    Err(error) => tracing::error!(%error, "a plugin's file could not be looked at"),
                }
            }
            done.send_replace(ended);
        };
        self.lanes.guests().spawn(looks);
        Admissions(admissions)
    }

    /// Asks that whoever looks at a plugin's file looks whether it has changed meanwhile.
    pub(crate) fn ask(&self, name: &Arc<str>) {
        if let Some(plugin) = self.registry.snapshot().plugins.get(name) {
            plugin.turn.ask();
        }
    }

    /// Looks at one plugin's file and puts in force what it gives. Returns false if the host was shut down first.
    pub(crate) async fn reload(&self, name: &Arc<str>) -> bool {
        let turn = match self.registry.snapshot().plugins.get(name) {
            Some(plugin) => Arc::clone(&plugin.turn),
            None => return true,
        };
        let number = turn.ask();
        let look = async {
            let _turn = turn.lock.lock().await;
            // Whoever had the turn before may have seen all there is to see.
            if turn.answered.load(Ordering::Acquire) < number {
                self.look(name, &turn).await;
            }
        };
        self.ended.run_until_cancelled(look).await.is_some()
    }

    async fn look(&self, name: &Arc<str>, turn: &Turn) {
        let compiling = Arc::default();
        loop {
            let mut asked = turn.asked.subscribe();
            let snapshot = self.registry.snapshot();
            let Some(plugin) = snapshot.plugins.get(name) else {
                return;
            };
            let seen = self.see(name);
            let candidate = candidate(&snapshot, plugin, &compiling);
            // What is being compiled is not given up by beginning again.
            let looked = tokio::select! {
                looked = self.admission.load(&candidate) => looked,
                () = self.overtaken(&candidate, seen, &mut asked) => continue,
                () = self.serve_meanwhile(&candidate) => continue,
            };
            let _settling = self.settling.lock().await;
            if !self.is_current(&candidate) {
                continue;
            }
            let answered = if self.see(name) == seen {
                *turn.asked.borrow()
            } else {
                *asked.borrow()
            };
            match self.admission.settle(name, looked).await {
                Some(settled) => {
                    self.registry.publish(name, settled, true);
                    self.prepare();
                }
                None => self.registry.looked(name),
            }
            turn.answered.store(answered, Ordering::Release);
            return;
        }
    }

    /// Lets the last good generation serve while a new file is compiled at the start. Returns once it does, if ever.
    async fn serve_meanwhile(&self, candidate: &Candidate) {
        if candidate.starting && candidate.serving.is_none() {
            // What is compiled already is admitted sooner than that.
            sleep(MEANWHILE).await;
            if let Some(settled) = self.admission.interim(candidate).await {
                let _settling = self.settling.lock().await;
                if self.is_current(candidate) {
                    self.registry.publish(&candidate.name, settled, false);
                    self.prepare();
                    return;
                }
            }
        }
        std::future::pending().await
    }

    /// A plugin's file and its signature as they are now.
    fn see(&self, name: &str) -> [Presence; 2] {
        self.directory
            .look_at_all([name])
            .next()
            .unwrap_or([Presence::Absent; 2])
    }

    /// Returns when what is being looked at is not what there is any more.
    async fn overtaken(&self, candidate: &Candidate, seen: [Presence; 2], asked: &mut watch::Receiver<u64>) {
        loop {
            if asked.changed().await.is_err() {
                return std::future::pending().await;
            }
            if !self.is_asked_for(candidate) || self.see(&candidate.name) != seen {
                return;
            }
        }
    }

    /// Whether a plugin is configured as the candidate is.
    fn is_asked_for(&self, candidate: &Candidate) -> bool {
        let snapshot = self.registry.snapshot();
        snapshot.plugins.get(&candidate.name).is_some_and(|plugin| {
            plugin.config == candidate.config
                && plugin.roles == candidate.roles
                && Trust::of(&snapshot.set) == *candidate.trust
        })
    }

    /// Whether the candidate still is what there is: nothing that was found out about it is out of date.
    fn is_current(&self, candidate: &Candidate) -> bool {
        let snapshot = self.registry.snapshot();
        let serving = snapshot
            .plugins
            .get(&candidate.name)
            .and_then(|plugin| plugin.generation.as_ref());
        let is_same = match (serving, &candidate.serving) {
            (Some(serving), Some(seen)) => Arc::ptr_eq(serving, seen),
            (None, None) => true,
            _ => false,
        };
        is_same && self.is_asked_for(candidate)
    }

    /// Lets the generation before serve again.
    async fn roll_back(&self, name: &str) -> Result<(), RollbackError> {
        for _ in 0..MAX_AGAIN {
            let snapshot = self.registry.snapshot();
            let Some((name, plugin)) = snapshot.plugins.get_key_value(name) else {
                return Err(RollbackError::NotConfigured {
                    plugin: name.to_owned(),
                });
            };
            let candidate = candidate(&snapshot, plugin, &Arc::default());
            let prepared = self.admission.prepare_rollback(&candidate).await?;
            let _settling = self.settling.lock().await;
            if self.is_current(&candidate) {
                let settled = self.admission.roll_back(name, prepared).await?;
                self.registry.publish(name, settled, false);
                self.prepare();
                return Ok(());
            }
        }
        Err(RollbackError::Failed {
            plugin: name.to_owned(),
            reason: "it was replaced again and again meanwhile".to_owned(),
        })
    }

    /// Makes instances ahead for what serves now.
    fn prepare(&self) {
        self.lanes.prepare(&self.registry.snapshot(), &self.sources);
    }

    /// Withdraws the plugins whose files are gone, at once: not after whatever else is being compiled. That goes on record,
    /// too: whatever takes the place of a file after that, what it was does not come back, not even after a restart.
    pub(crate) async fn withdraw_missing(&self, names: &[Arc<str>]) {
        let _settling = self.settling.lock().await;
        let snapshot = self.registry.snapshot();
        let mut withdrawn = Vec::new();
        for name in names {
            if let Ok(path) = self.admission.path(name)
                && let Some(plugin) = snapshot.plugins.get(name)
                && self.directory.look(name) == Presence::Absent
            {
                let settled = Settled {
                    result: Err(AdmissionError::Missing { path }),
                    record: Arc::clone(&plugin.record),
                };
                self.registry.publish(name, settled, false);
                withdrawn.push(Arc::clone(name));
            }
        }
        if !withdrawn.is_empty() {
            self.admission.withdraw(withdrawn).await;
        }
    }

    /// The names of plugins whose problem may be over though their files are the same.
    pub(crate) fn troubled_plugins(&self) -> BTreeSet<Arc<str>> {
        let snapshot = self.registry.snapshot();
        let troubled = snapshot.plugins.values().filter(|plugin| plugin.may_pass);
        troubled.map(|plugin| Arc::clone(&plugin.name)).collect()
    }

    /// The names of all configured plugins.
    pub(crate) fn plugin_names(&self) -> BTreeSet<Arc<str>> {
        self.registry.snapshot().plugins.keys().cloned().collect()
    }

    /// Whether the host has been shut down.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.ended.is_cancelled()
    }
}

/// A configured plugin, to look at its file.
fn candidate(snapshot: &Snapshot, plugin: &Plugin, compiling: &Arc<Mutex<Option<Job>>>) -> Candidate {
    Candidate {
        name: Arc::clone(&plugin.name),
        config: Arc::clone(&plugin.config),
        roles: plugin.roles.clone(),
        trust: Arc::new(Trust::of(&snapshot.set)),
        serving: plugin.generation.clone(),
        starting: plugin.starting,
        compiling: Arc::clone(compiling),
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

#[cfg(test)]
mod tests;
