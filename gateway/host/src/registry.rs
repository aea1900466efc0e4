//! Which plugins serve: an immutable snapshot behind an atomic pointer. A request takes one and keeps it, so no answer
//! mixes generations. A swap publishes a new snapshot and never waits for readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::PluginSet;
use crate::candidate::{Admitted, Candidate};
use crate::error::AdmissionError;
use crate::generation::{Generation, Roles};
use crate::history::Record;
use crate::metrics::{Swap, count_swap, show_state};
use crate::queue::{Lane, Need, Queues};
use crate::trust::{self, Trust};
use gateway_sandbox::memory::Memory;
use gateway_sandbox::{CallError, PluginConfig};

/// Slots that are reserved for the permission requests of each permission provider.
const RESERVED_FOR_REQUESTS: u32 = 1;
/// Slots that are reserved for the hooks of each extension.
const RESERVED_FOR_SIGN_INS: u32 = 2;

/// One configured plugin.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) roles: Roles,
    /// `None` if the file is missing, or no version of it was ever accepted.
    pub(crate) generation: Option<Arc<Generation>>,
    /// Why the current file does not serve.
    pub(crate) problem: Option<Arc<str>>,
    /// The directory cannot be read. The watcher logs that once, not for each plugin.
    pub(crate) is_away: bool,
    /// The problem may pass without a change of the file, which is therefore examined again.
    pub(crate) may_pass: bool,
    /// Its file has not been examined since the gateway started, or since the plugin was reconfigured.
    pub(crate) being_admitted: bool,
    /// Its file has never been examined: the last good generation may serve in place of a broken file.
    pub(crate) starting: bool,
    pub(crate) record: Arc<Record>,
    pub(crate) requests: Arc<Lane>,
    /// Separate, so that sign-ins do not wait for permission requests.
    pub(crate) hooks: Arc<Lane>,
    pub(crate) turn: Arc<Turn>,
}

/// Orders the examinations of a plugin's file: a slow one of an old file must not come into force after a quick one of
/// the new file.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Held during an examination.
    pub(crate) lock: tokio::sync::Mutex<()>,
    /// The number of examinations that were requested.
    pub(crate) asked: watch::Sender<u64>,
    /// The number of requests that are answered.
    pub(crate) answered: AtomicU64,
}

impl Turn {
    /// Requests an examination; one in progress starts again if the file has changed. Returns the number of the
    /// request.
    pub(crate) fn ask(&self) -> u64 {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        number
    }
}

#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) set: Arc<PluginSet>,
    pub(crate) plugins: BTreeMap<Arc<str>, Arc<Plugin>>,
}

impl Snapshot {
    /// A plugin and its serving generation.
    ///
    /// # Errors
    /// [`CallError::NotLoaded`] with the reason why nothing serves.
    pub(crate) fn serving(&self, name: &str) -> Result<(&Arc<Plugin>, Arc<Generation>), CallError> {
        let plugin = self.plugins.get(name);
        if let Some(plugin) = plugin
            && let Some(generation) = &plugin.generation
        {
            return Ok((plugin, Arc::clone(generation)));
        }
        let problem = plugin.map_or("it is not there", |plugin| match plugin.problem.as_deref() {
            Some(problem) => problem,
            None if plugin.being_admitted => "its file is being admitted",
            None => "it is not there",
        });
        Err(CallError::NotLoaded {
            plugin: name.to_owned(),
            problem: problem.to_owned(),
        })
    }

    /// The serving generations.
    pub(crate) fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.plugins
            .values()
            .filter_map(|plugin| plugin.generation.as_ref())
    }

    /// All configured plugins, with what each is needed for.
    pub(crate) fn roles(set: &PluginSet) -> BTreeMap<Arc<str>, Roles> {
        let mut roles: BTreeMap<Arc<str>, Roles> = BTreeMap::new();
        for name in set.plugins.keys() {
            roles.entry(name.as_str().into()).or_default();
        }
        for (service, provider) in &set.services {
            roles
                .entry(provider.as_str().into())
                .or_default()
                .services
                .push(service.clone());
        }
        for name in &set.extensions {
            roles.entry(name.as_str().into()).or_default().extension = true;
        }
        roles
    }
}

/// The current snapshot, and the one way to change it.
pub(crate) struct Registry {
    current: ArcSwap<Snapshot>,
    queues: Arc<Queues>,
    memory: Arc<Memory>,
    /// Held while a new snapshot is built.
    changing: Mutex<()>,
    /// The number of snapshots so far.
    changes: watch::Sender<u64>,
}

impl Registry {
    /// Nothing is configured yet. All plugins share these queues and this memory.
    pub(crate) fn new(queues: Arc<Queues>, memory: Arc<Memory>) -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::default()),
            queues,
            memory,
            changing: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The number of snapshots so far, to wait on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn store(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.divide(&snapshot);
        let old = self.current.swap(Arc::clone(&snapshot));
        for generation in snapshot.generations() {
            generation.pool.open();
        }
        // A call that still has an old generation creates its own instance.
        for generation in old.generations() {
            if !snapshot
                .generations()
                .any(|serving| Arc::ptr_eq(serving, generation))
            {
                generation.pool.close();
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Divides slots and memory among the plugins.
    fn divide(&self, snapshot: &Snapshot) {
        let plugins = || snapshot.plugins.values();
        // Sign-ins come first: if there are more plugins than slots to reserve, they get them.
        let hooks = plugins().filter(|plugin| plugin.roles.extension).map(|plugin| {
            let need = Need {
                reserved: RESERVED_FOR_SIGN_INS,
                services: 1,
            };
            (&*plugin.hooks, need)
        });
        let requests = plugins()
            .filter(|plugin| !plugin.roles.services.is_empty())
            .map(|plugin| {
                let need = Need {
                    reserved: RESERVED_FOR_REQUESTS,
                    services: plugin.roles.services.len(),
                };
                (&*plugin.requests, need)
            });
        self.queues.divide(hooks.chain(requests));
        let memory = plugins().map(|plugin| (&plugin.name, plugin.config.limits.memory));
        self.memory.divide(snapshot.set.total_memory(), memory);
    }

    /// Whether a generation still serves the service.
    pub(crate) fn serves(&self, service: &str, generation: &Arc<Generation>) -> bool {
        let snapshot = self.current.load();
        let plugin = snapshot.set.services.get(service);
        plugin
            .and_then(|name| snapshot.plugins.get(name.as_str())?.generation.as_ref())
            .is_some_and(|serving| Arc::ptr_eq(serving, generation))
    }

    /// Puts a configuration in force, in one switch: services, extensions, and the serving generations of its plugins.
    /// A plugin that was admitted with a problem does not serve. The files have yet to be examined.
    pub(crate) fn adopt(&self, set: Arc<PluginSet>, adopted: Vec<(Candidate, Admitted)>) {
        let _changing = self.changing.lock();
        let old = self.snapshot();
        let adopted = adopted.into_iter().map(|(candidate, admitted)| {
            let before = old.plugins.get(&candidate.name);
            let name = Arc::clone(&candidate.name);
            (name, Arc::new(self.adopted(candidate, admitted, before)))
        });
        let plugins: BTreeMap<_, _> = adopted.collect();
        for name in old.plugins.keys().filter(|name| !plugins.contains_key(*name)) {
            show_state(name, 0, false);
        }
        self.store(Snapshot { set, plugins });
    }

    fn adopted(&self, candidate: Candidate, admitted: Admitted, before: Option<&Arc<Plugin>>) -> Plugin {
        let Candidate {
            name,
            config,
            roles,
            serving,
            starting,
            ..
        } = candidate;
        let (generation, problem) = match admitted.problem {
            Some(problem) => {
                tracing::warn!(
                    plugin = &*name,
                    "the plugin is withdrawn under the new configuration: {problem}"
                );
                count_swap(&name, Swap::Withdrawn);
                (None, Some(problem.to_string().into()))
            }
            None => (
                admitted.generation.or(serving),
                before.and_then(|plugin| plugin.problem.clone()),
            ),
        };
        show_state(&name, number(generation.as_ref()), problem.is_some());
        let lane = |of: fn(&Plugin) -> &Arc<Lane>| {
            before.map_or_else(|| self.queues.lane(), |plugin| Arc::clone(of(plugin)))
        };
        Plugin {
            config,
            roles,
            generation,
            problem,
            is_away: before.is_some_and(|plugin| plugin.is_away),
            may_pass: before.is_some_and(|plugin| plugin.may_pass),
            being_admitted: true,
            starting: starting || before.is_some_and(|plugin| plugin.starting),
            record: admitted.record,
            requests: lane(|plugin| &plugin.requests),
            hooks: lane(|plugin| &plugin.hooks),
            turn: before.map_or_else(Arc::default, |plugin| Arc::clone(&plugin.turn)),
            name,
        }
    }

    /// Puts the result of an admission in force. `is_done` is whether the plugin's file has now been examined.
    pub(crate) fn publish(&self, name: &Arc<str>, admitted: Admitted, is_done: bool) {
        self.change(name, |set, before| {
            let may_pass = admitted.problem.as_ref().is_some_and(AdmissionError::may_pass);
            let is_away = admitted.problem.as_ref().is_some_and(AdmissionError::is_away);
            let record = Arc::clone(&admitted.record);
            let (generation, problem) = succeed(&Trust::of(set), before, admitted, is_away);
            Plugin {
                generation,
                problem,
                is_away,
                may_pass,
                being_admitted: before.being_admitted && !is_done,
                starting: before.starting && !is_done,
                record,
                ..Plugin::clone(before)
            }
        });
    }

    /// Notes that a plugin's file was examined, and that nothing has changed.
    pub(crate) fn examined(&self, name: &Arc<str>) {
        self.change(name, |_, before| Plugin {
            being_admitted: false,
            starting: false,
            ..Plugin::clone(before)
        });
    }

    fn change(&self, name: &Arc<str>, change: impl FnOnce(&PluginSet, &Arc<Plugin>) -> Plugin) {
        let _changing = self.changing.lock();
        let old = self.snapshot();
        let Some(before) = old.plugins.get(name) else {
            return;
        };
        let plugin = change(&old.set, before);
        let mut plugins = old.plugins.clone();
        plugins.insert(Arc::clone(name), Arc::new(plugin));
        self.store(Snapshot {
            set: Arc::clone(&old.set),
            plugins,
        });
    }
}

/// Returns what serves after an admission, and what is wrong with the plugin's file; logs and counts it.
fn succeed(
    trust: &Trust,
    before: &Plugin,
    admitted: Admitted,
    is_away: bool,
) -> (Option<Arc<Generation>>, Option<Arc<str>>) {
    let (name, config) = (&before.name, &before.config);
    // A generation with a revoked grant, or one that is no longer trusted, stops serving immediately, even if nothing
    // can serve in its place.
    let serving = before.generation.clone().filter(|serving| {
        serving.program.config.grants.is_subset(&config.grants)
            && serving.program.config.http.is_within(&config.http)
            && trust::check(trust, name, config, &serving.digest, serving.signature.as_ref()).is_ok()
    });
    let is_rolled_back = admitted.record.rolled_back.is_some();
    let problem: Option<Arc<str>> = admitted
        .problem
        .as_ref()
        .map(|problem| problem.to_string().into());
    let generation = match (admitted.generation, &admitted.problem, &problem) {
        (Some(generation), _, problem) => {
            let (digest, number) = (&*generation.digest, generation.number);
            if let Some(problem) = problem {
                tracing::warn!(
                    plugin = &**name,
                    generation = number,
                    digest,
                    "the plugin's file is rejected, an earlier generation serves in its place: {problem}"
                );
                count_swap(name, Swap::Refused);
            } else {
                let what = if is_rolled_back {
                    "an earlier generation of the plugin serves: it was rolled back"
                } else {
                    "the plugin serves"
                };
                tracing::info!(plugin = &**name, generation = number, digest, "{what}");
                count_swap(name, Swap::Ok);
            }
            Some(generation)
        }
        (None, Some(error), Some(text)) => {
            let is_missing = error.is_missing();
            // The generation's trial has failed, whatever is wrong with the file.
            let serving = serving.filter(|serving| !serving.is_untried);
            let is_withdrawn = is_missing && serving.is_some();
            // The watcher has logged that the directory cannot be read.
            let is_logged = is_away && serving.is_some();
            if !is_logged && (before.problem.as_ref() != Some(text) || is_withdrawn) {
                match &serving {
                    Some(_) if is_missing => {
                        tracing::warn!(plugin = &**name, "the plugin is withdrawn: {text}");
                    }
                    None => tracing::warn!(plugin = &**name, "the plugin does not serve: {text}"),
                    Some(old) => tracing::warn!(
                        plugin = &**name,
                        generation = old.number,
                        digest = &*old.digest,
                        "the plugin's file is rejected, the old one keeps serving: {text}"
                    ),
                }
                count_swap(
                    name,
                    if is_withdrawn {
                        Swap::Withdrawn
                    } else {
                        Swap::Refused
                    },
                );
            }
            serving.filter(|_| !is_missing)
        }
        (None, ..) => {
            if before.problem.is_some() && !before.is_away && !is_rolled_back {
                tracing::info!(plugin = &**name, "the plugin's file is the serving one again");
            }
            serving
        }
    };
    show_state(name, number(generation.as_ref()), problem.is_some());
    (generation, problem)
}

/// The number of the serving generation, 0 if none serves.
fn number(generation: Option<&Arc<Generation>>) -> u64 {
    generation.map_or(0, |generation| generation.number)
}
