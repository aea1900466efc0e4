//! Which plugins serve: an immutable snapshot behind an atomic pointer. A request takes one and keeps
//! it, so no answer mixes generations; a swap makes a new one and never waits for readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::PluginSet;
use crate::error::AdmissionError;
use crate::generation::{Generation, Roles};
use crate::history::Record;
use crate::metrics::{Swap, count_swap, show_state};
use crate::queue::{Lane, Need, Queues};
use crate::trust::{self, Trust};
use gateway_sandbox::PluginConfig;
use gateway_sandbox::memory::Memory;

/// Slots that are reserved for the permission requests of each plugin that a service asks.
const RESERVED_FOR_REQUESTS: u32 = 1;
/// Slots that are reserved for the hooks of each extension.
const RESERVED_FOR_SIGN_INS: u32 = 2;

/// One configured plugin.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) roles: Roles,
    /// What serves; `None` where the file is missing or never was good.
    pub(crate) generation: Option<Arc<Generation>>,
    /// Why the file that is there does not serve.
    pub(crate) problem: Option<Arc<str>>,
    /// Whether that is because the directory cannot be read, which is said once and not for each plugin.
    pub(crate) is_away: bool,
    /// Whether that may be over without a change of the file: then it is looked at again.
    pub(crate) may_pass: bool,
    /// Whether its file has not been looked at since the gateway started, or was configured anew.
    pub(crate) being_admitted: bool,
    /// Whether its file has never been looked at: then its last good generation may serve in place of a broken file.
    pub(crate) starting: bool,
    /// What is kept of it from before.
    pub(crate) record: Arc<Record>,
    /// The way in for permission requests.
    pub(crate) requests: Arc<Lane>,
    /// The way in for sign-ins, which do not wait for permission requests.
    pub(crate) hooks: Arc<Lane>,
    /// Who looks at its file.
    pub(crate) turn: Arc<Turn>,
}

impl Plugin {
    /// Why nothing serves.
    pub(crate) fn why_not(&self) -> &str {
        match self.problem.as_deref() {
            Some(problem) => problem,
            None if self.being_admitted => "its file is being admitted",
            None => "it is not there",
        }
    }
}

/// A plugin's file is looked at by one after the other: a slow look at what the file was must not come into force after a
/// quick one at what it is.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Held while somebody looks.
    pub(crate) lock: tokio::sync::Mutex<()>,
    /// How many looks have been asked for.
    pub(crate) asked: watch::Sender<u64>,
    /// How many of them are answered.
    pub(crate) answered: AtomicU64,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            lock: tokio::sync::Mutex::default(),
            asked: watch::Sender::new(0),
            answered: AtomicU64::new(0),
        }
    }
}

impl Turn {
    /// Asks for a look. One that goes on at a file that has changed begins again. Returns the number of the request.
    pub(crate) fn ask(&self) -> u64 {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        number
    }
}

/// How a plugin stands when a configuration comes into force, before its file is looked at.
pub(crate) struct Adopted {
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) roles: Roles,
    /// What may serve under it.
    pub(crate) generation: Option<Arc<Generation>>,
    /// Why what served may not.
    pub(crate) problem: Option<AdmissionError>,
    /// What is kept of it, where that is not known yet.
    pub(crate) record: Option<Record>,
    pub(crate) starting: bool,
}

/// Every plugin, and who asks it.
pub(crate) struct Snapshot {
    pub(crate) set: Arc<PluginSet>,
    pub(crate) plugins: BTreeMap<Arc<str>, Arc<Plugin>>,
}

/// What looking at a plugin's file gave.
pub(crate) enum Loaded {
    /// The serving generation's own component and configuration.
    Unchanged,
    /// Something new, good to serve. The problem where it is not what the file holds.
    New(Box<Generation>, Option<AdmissionError>),
}

/// The same, on record.
pub(crate) struct Settled {
    pub(crate) result: Result<Loaded, AdmissionError>,
    /// What is kept of the plugin now.
    pub(crate) record: Arc<Record>,
}

impl Snapshot {
    /// What serves.
    pub(crate) fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.plugins
            .values()
            .filter_map(|plugin| plugin.generation.as_ref())
    }

    /// The names of all configured plugins, with what each is needed for.
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
    /// Held while a snapshot is made.
    changing: Mutex<()>,
    /// How many snapshots there have been.
    changes: watch::Sender<u64>,
}

impl Registry {
    /// Nothing is configured. Plugins share these queues and this memory.
    pub(crate) fn new(queues: Arc<Queues>, memory: Arc<Memory>) -> Self {
        let empty = Snapshot {
            set: Arc::default(),
            plugins: BTreeMap::new(),
        };
        Self {
            current: ArcSwap::from_pointee(empty),
            queues,
            memory,
            changing: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// What serves now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A number that grows with each new snapshot, to wait on.
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
        // Those of what no longer serves: a call that has it in hand makes its own.
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

    /// Gives each plugin its share of what the host has.
    fn divide(&self, snapshot: &Snapshot) {
        let plugins = || snapshot.plugins.values();
        // Sign-ins first: where there are more plugins than slots to reserve, theirs are.
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

    /// Puts a configuration in force, in one switch: services, extensions, and what already serves of its plugins. Their
    /// files have yet to be looked at.
    pub(crate) fn adopt(&self, set: Arc<PluginSet>, adopted: Vec<(Arc<str>, Adopted)>) {
        let _changing = self.changing.lock();
        let old = self.snapshot();
        let mut plugins = BTreeMap::new();
        for (name, adopted) in adopted {
            let plugin = self.adopted(&name, adopted, old.plugins.get(&name));
            plugins.insert(name, Arc::new(plugin));
        }
        for name in old.plugins.keys().filter(|name| !plugins.contains_key(*name)) {
            show_state(name, 0, false);
        }
        self.store(Snapshot { set, plugins });
    }

    fn adopted(&self, name: &Arc<str>, adopted: Adopted, before: Option<&Arc<Plugin>>) -> Plugin {
        let Adopted {
            config,
            roles,
            generation,
            problem,
            record,
            starting,
        } = adopted;
        if let Some(problem) = &problem {
            tracing::warn!(
                plugin = &**name,
                "the plugin is withdrawn under the new configuration: {problem}"
            );
            count_swap(name, Swap::Withdrawn);
        }
        let known = || before.and_then(|plugin| plugin.problem.clone());
        let problem = match problem {
            Some(problem) => Some(problem.to_string().into()),
            None => known(),
        };
        show_state(
            name,
            generation.as_ref().map_or(0, |generation| generation.number),
            problem.is_some(),
        );
        let record = record.map(Arc::new);
        let lane = |of: fn(&Plugin) -> &Arc<Lane>| {
            before.map_or_else(|| self.queues.lane(), |plugin| Arc::clone(of(plugin)))
        };
        Plugin {
            name: Arc::clone(name),
            config,
            roles,
            generation,
            problem,
            is_away: before.is_some_and(|plugin| plugin.is_away),
            may_pass: before.is_some_and(|plugin| plugin.may_pass),
            being_admitted: true,
            starting: starting || before.is_some_and(|plugin| plugin.starting),
            record: record
                .or_else(|| before.map(|plugin| Arc::clone(&plugin.record)))
                .unwrap_or_default(),
            requests: lane(|plugin| &plugin.requests),
            hooks: lane(|plugin| &plugin.hooks),
            turn: before.map_or_else(Arc::default, |plugin| Arc::clone(&plugin.turn)),
        }
    }

    /// Puts what one plugin's file gave in force. `is_done` is whether that answers what the plugin was admitted for.
    pub(crate) fn publish(&self, name: &Arc<str>, settled: Settled, is_done: bool) {
        self.change(name, |set, before| {
            let Settled { result, record } = settled;
            let (config, trust) = (Arc::clone(&before.config), Trust::of(set));
            let may_pass = match &result {
                Ok(Loaded::New(_, Some(problem))) | Err(problem) => problem.may_pass(),
                Ok(_) => false,
            };
            let (generation, problem, is_away) = succeed(name, &config, &trust, before, result, &record);
            Plugin {
                name: Arc::clone(name),
                config,
                roles: before.roles.clone(),
                generation,
                problem,
                is_away,
                may_pass,
                being_admitted: before.being_admitted && !is_done,
                starting: before.starting && !is_done,
                record,
                requests: Arc::clone(&before.requests),
                hooks: Arc::clone(&before.hooks),
                turn: Arc::clone(&before.turn),
            }
        });
    }

    /// Notes that a plugin's file was looked at, and that nothing came of it.
    pub(crate) fn looked(&self, name: &Arc<str>) {
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

/// What serves of a plugin after its file was looked at, what is wrong with the file, and whether that is because the
/// directory cannot be read; says so in the log and in metrics.
fn succeed(
    name: &Arc<str>,
    config: &PluginConfig,
    trust: &Trust,
    before: &Plugin,
    result: Result<Loaded, AdmissionError>,
    record: &Record,
) -> (Option<Arc<Generation>>, Option<Arc<str>>, bool) {
    // A grant that was taken away is gone at once, and so is trust: what was built with it does not serve
    // on, even where nothing else can serve in its place.
    let serving = before.generation.clone().filter(|serving| {
        serving.program.config.grants.is_subset(&config.grants)
            && serving.program.config.http.is_within(&config.http)
            && trust::check(trust, name, config, &serving.digest, serving.signature.as_ref()).is_ok()
    });
    let (known, was_away) = (before.problem.clone(), before.is_away);
    let is_away = match &result {
        Ok(Loaded::New(_, Some(problem))) | Err(problem) => problem.is_away(),
        Ok(_) => false,
    };
    let (generation, problem) = match result {
        Ok(Loaded::Unchanged) => {
            if known.is_some() && !was_away && record.rolled_back.is_none() {
                tracing::info!(plugin = &**name, "the plugin's file is the one that serves again");
            }
            (serving, None)
        }
        Ok(Loaded::New(generation, problem)) => {
            let (digest, number) = (&*generation.digest, generation.number);
            if let Some(problem) = &problem {
                tracing::warn!(
                    plugin = &**name,
                    generation = number,
                    digest,
                    "the plugin's file is not served, an earlier one serves in its place: {problem}"
                );
                count_swap(name, Swap::Refused);
            } else {
                let what = if record.rolled_back.is_some() {
                    "an earlier generation of the plugin serves: it was rolled back"
                } else {
                    "the plugin serves"
                };
                tracing::info!(plugin = &**name, generation = number, digest, "{what}");
                count_swap(name, Swap::Ok);
            }
            (
                Some(Arc::from(generation)),
                problem.map(|problem| problem.to_string().into()),
            )
        }
        Err(error) => {
            let text: Arc<str> = error.to_string().into();
            let missing = error.is_missing();
            // Its trial has failed by now, whatever is wrong with the file.
            let serving = serving.filter(|serving| !serving.is_untried);
            let is_told = is_away && serving.is_some();
            if !is_told && (known.as_ref() != Some(&text) || (missing && serving.is_some())) {
                match (&serving, missing) {
                    (Some(_), true) => tracing::warn!(plugin = &**name, "the plugin is withdrawn: {text}"),
                    (None, _) => tracing::warn!(plugin = &**name, "the plugin does not serve: {text}"),
                    (Some(old), false) => tracing::warn!(
                        plugin = &**name,
                        generation = old.number,
                        digest = &*old.digest,
                        "the plugin's file is refused, the old one serves on: {text}"
                    ),
                }
                count_swap(
                    name,
                    if missing && serving.is_some() {
                        Swap::Withdrawn
                    } else {
                        Swap::Refused
                    },
                );
            }
            (serving.filter(|_| !missing), Some(text))
        }
    };
    show_state(
        name,
        generation.as_ref().map_or(0, |generation| generation.number),
        problem.is_some(),
    );
    (generation, problem, is_away)
}
