//! The state that all clones of a host share, and the path of a plugin's file: examine it, record the result, publish
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_sandbox::HostServices;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Admissions, Looks};
use crate::PluginSet;
use crate::admission::Admission;
use crate::candidate::{Admitted, Candidate};
use crate::compile::Job;
use crate::directory::{PluginDirectory, Presence};
use crate::dispatcher::Dispatcher;
use crate::error::{AdmissionError, RollbackError};
use crate::file;
use crate::registry::{Plugin, Registry, Snapshot, Turn};
use crate::threads::GuestThreads;
use crate::trust::Trust;

/// How long a start waits for a file before the last good generation serves in its place.
const MEANWHILE: Duration = Duration::from_millis(300);
/// How many times a rollback starts again if the plugin is replaced meanwhile.
const MAX_AGAIN: usize = 8;

pub(crate) struct Inner {
    /// The first field, so that the threads end before the rest is dropped.
    pub(super) _threads: GuestThreads,
    pub(super) registry: Arc<Registry>,
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) admission: Admission,
    pub(super) directory: Arc<PluginDirectory>,
    pub(super) services: HostServices,
    /// Held while a configuration, a new file or a rollback is recorded and published: the record never differs from
    /// what serves, and the result of one configuration does not come into force under another. Nothing compiles or
    /// calls a plugin while it is held.
    pub(super) settling: tokio::sync::Mutex<()>,
    /// The host has been shut down: files are no longer examined.
    pub(crate) ended: CancellationToken,
}

impl Inner {
    /// Puts a configuration in force for the serving generations. Returns the names of its plugins.
    pub(super) async fn adopt(&self, set: PluginSet, starting: bool) -> Vec<Arc<str>> {
        let _settling = self.settling.lock().await;
        let before = self.registry.snapshot();
        let set = Arc::new(set);
        let roles = Snapshot::roles(&set);
        let new = roles
            .keys()
            .filter(|name| !before.plugins.contains_key(*name))
            .cloned();
        let remembered = self.admission.remember(new.collect()).await;
        let mut records = remembered.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the plugins' records");
            BTreeMap::new()
        });
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
                let record = match records.remove(&name) {
                    Some(record) => Arc::new(record),
                    None => old.map(|plugin| Arc::clone(&plugin.record)).unwrap_or_default(),
                };
                let carried = candidate
                    .serving
                    .as_ref()
                    .map_or(Ok(None), |serving| self.admission.carry(&candidate, serving));
                let admitted = match carried {
                    Ok(Some(generation)) => Admitted::serves(generation, record),
                    Ok(None) => Admitted::unchanged(record),
                    Err(problem) => Admitted::rejected(problem, record),
                };
                (candidate, admitted)
            })
            .collect();
        let names = adopted
            .iter()
            .map(|(candidate, _)| Arc::clone(&candidate.name))
            .collect();
        self.registry.adopt(set, adopted);
        self.prepare();
        names
    }

    /// Examines these plugins' files, all at the same time.
    pub(super) fn look_at(self: &Arc<Self>, names: Vec<Arc<str>>) -> Admissions {
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
                    Err(error) => tracing::error!(%error, "a plugin's file could not be examined"),
                }
            }
            done.send_replace(ended);
        };
        self.dispatcher.guests.spawn(looks);
        Admissions(admissions)
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
            // The compilation continues when the loop starts again.
            let admitted = tokio::select! {
                admitted = self.admission.examine(&candidate) => admitted,
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
            match self.admission.record(name, admitted).await {
                Some(admitted) => {
                    self.registry.publish(name, admitted, true);
                    self.prepare();
                }
                None => self.registry.examined(name),
            }
            turn.answered.store(answered, Ordering::Release);
            return;
        }
    }

    /// Lets the last good generation serve while a new file is compiled at the start. Returns once it does, if ever.
    async fn serve_meanwhile(&self, candidate: &Candidate) {
        if candidate.starting && candidate.serving.is_none() {
            // A file whose code is cached is admitted sooner than that.
            sleep(MEANWHILE).await;
            if let Some(admitted) = self.admission.interim(candidate).await {
                let _settling = self.settling.lock().await;
                if self.is_current(candidate) {
                    self.registry.publish(&candidate.name, admitted, false);
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

    /// Returns when the examined file or configuration is out of date.
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

    /// Whether the candidate is still configured like this, and the same generation serves.
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

    pub(super) async fn roll_back(&self, name: &str) -> Result<(), RollbackError> {
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
                let admitted = self.admission.roll_back(name, prepared).await?;
                self.registry.publish(name, admitted, false);
                self.prepare();
                return Ok(());
            }
        }
        Err(RollbackError::Failed {
            plugin: name.to_owned(),
            reason: "it was replaced repeatedly in the meantime".to_owned(),
        })
    }

    /// Prepares instances of the serving generations.
    fn prepare(&self) {
        self.dispatcher.prepare(&self.registry.snapshot(), &self.services);
    }

    /// Restarts an examination in progress if the plugin's file has changed since it began.
    pub(crate) fn ask(&self, name: &Arc<str>) {
        if let Some(plugin) = self.registry.snapshot().plugins.get(name) {
            plugin.turn.ask();
        }
    }

    /// Examines a plugin's file and puts the result in force. Returns false if the host was shut down first.
    pub(crate) async fn reload(&self, name: &Arc<str>) -> bool {
        let turn = match self.registry.snapshot().plugins.get(name) {
            Some(plugin) => Arc::clone(&plugin.turn),
            None => return true,
        };
        let number = turn.ask();
        let look = async {
            // defence: files-are-examined-in-turn (a test fails without it: docs/defences.md)
            let _turn = turn.lock.lock().await;
            // The previous examination may have answered this request.
            if turn.answered.load(Ordering::Acquire) < number {
                self.look(name, &turn).await;
            }
        };
        self.ended.run_until_cancelled(look).await.is_some()
    }

    /// Withdraws the plugins whose files are gone, without waiting for any compilation, and records it: the old
    /// generation does not come back, not even after a restart with a broken file in its place.
    pub(crate) async fn withdraw_missing(&self, names: &[Arc<str>]) {
        let _settling = self.settling.lock().await;
        let snapshot = self.registry.snapshot();
        let mut withdrawn = Vec::new();
        for name in names {
            if let Ok(path) = file::path(self.directory.path(), name)
                && let Some(plugin) = snapshot.plugins.get(name)
                && self.directory.look(name) == Presence::Absent
            {
                let missing = AdmissionError::Missing { path };
                let admitted = Admitted::rejected(missing, Arc::clone(&plugin.record));
                self.registry.publish(name, admitted, false);
                withdrawn.push(Arc::clone(name));
            }
        }
        if !withdrawn.is_empty() {
            self.admission.withdraw(withdrawn).await;
        }
    }

    /// The plugins whose problem may pass although their files have not changed.
    pub(crate) fn troubled_plugins(&self) -> BTreeSet<Arc<str>> {
        let snapshot = self.registry.snapshot();
        let troubled = snapshot.plugins.values().filter(|plugin| plugin.may_pass);
        troubled.map(|plugin| Arc::clone(&plugin.name)).collect()
    }

    pub(crate) fn plugin_names(&self) -> BTreeSet<Arc<str>> {
        self.registry.snapshot().plugins.keys().cloned().collect()
    }
}

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
