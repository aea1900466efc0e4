//! The record of each plugin: its last good generations, for a start with a broken file and for rollbacks, and whether
//! it was rolled back. Records are authenticated entries of the private cache directory:
//!
//! - `<plugin>.generations`: the plugin's [`Record`], JSON
//! - `<digest>.component`: a component in its portable form, once for all generations with this digest
//!
//! A record is written before it comes into force. A process that is killed in between starts with the new state or
//! with the old one, and both are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use gateway_model::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::cache::{COMPONENT, Cache, Damaged, Durable, RECORD};
use crate::directory::Place;
use crate::error::AdmissionError;
use crate::file::PluginFile;
use crate::trust::{self, Seniority};

/// How many generations of a plugin are kept, the serving one included.
const KEPT: usize = 3;

/// A good generation: a component and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptGeneration {
    /// Grows by one with each accepted file, and never restarts.
    pub number: u64,
    /// Hex SHA-256 of the component.
    pub digest: Arc<str>,
    /// When its file was accepted.
    pub admitted: Timestamp,
    /// The text of the `.sig` file that came with it; `None` if there was no such file.
    #[serde(default)]
    pub signature: Option<Arc<str>>,
}

/// An operator went back to an earlier generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolledBack {
    /// The number of the generation that serves.
    pub(crate) to: u64,
    /// The digest that the plugin's file had; `None` if it could not be read.
    pub(crate) file: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The number of the newest generation.
    pub(crate) last: u64,
    /// Oldest first.
    pub(crate) generations: Vec<KeptGeneration>,
    /// Holds while the file's digest is the one in it.
    pub(crate) rolled_back: Option<RolledBack>,
    /// The file was removed: no kept generation may serve before there is a good file again.
    pub(crate) withdrawn: bool,
    /// The highest signed version that was accepted. It never falls, whatever serves.
    #[serde(default)]
    pub(crate) senior: Option<Seniority>,
    /// The directory in which its file was last seen: only there can it be removed.
    #[serde(default)]
    pub(crate) home: Option<Place>,
    /// The record on disk cannot be read: the other fields are those of a new plugin.
    #[serde(skip)]
    pub(crate) is_damaged: bool,
    /// How many times it was rolled back or withdrawn, to notice one during an examination.
    #[serde(skip)]
    decisions: u64,
}

impl Record {
    /// The generation that serves if the file cannot: the one rolled back to, or the newest.
    pub(crate) fn in_force(&self) -> Option<&KeptGeneration> {
        if self.withdrawn {
            return None;
        }
        match &self.rolled_back {
            Some(rolled_back) => self.find(rolled_back.to),
            None => self.generations.last(),
        }
    }

    pub(crate) fn find(&self, number: u64) -> Option<&KeptGeneration> {
        self.generations.iter().find(|kept| kept.number == number)
    }

    /// The generation before the one with this number.
    pub(crate) fn before(&self, number: u64) -> Option<&KeptGeneration> {
        self.generations.iter().rev().find(|kept| kept.number < number)
    }

    /// The rollback that holds while the file has this digest (`None`: the file cannot be read).
    pub(crate) fn holds(&self, file: Option<&str>) -> Option<&RolledBack> {
        self.rolled_back
            .as_ref()
            .filter(|rolled_back| !self.withdrawn && rolled_back.file.as_deref() == file)
    }

    /// Whether the plugin was rolled back or withdrawn since `seen` was read.
    pub(crate) fn was_decided_since(&self, seen: &Self) -> bool {
        self.decisions != seen.decisions
    }

    /// Checks that a file with this signature is not older than what was accepted before. The generation in force is
    /// never too old: a rollback is the operator's decision.
    pub(crate) fn check_age(
        &self,
        plugin: &str,
        digest: &str,
        signature: Option<&Arc<str>>,
    ) -> Result<(), AdmissionError> {
        let serves = self.in_force().is_some_and(|kept| *kept.digest == *digest);
        match &self.senior {
            Some(senior) if !serves => senior.check(plugin, digest, trust::version(signature)),
            _ => Ok(()),
        }
    }

    /// Adds a good component as the one that serves. Returns its number, which is the old one if the component was in
    /// force. Generations that were rolled back from are dropped, so that the previous generation is always the one
    /// that served before.
    fn take(
        &mut self,
        digest: &str,
        signature: Option<Arc<str>>,
        version: Option<u64>,
        now: Timestamp,
    ) -> u64 {
        if let Some(version) = version
            && self.senior.as_ref().is_none_or(|senior| version > senior.version)
        {
            let digest = digest.into();
            self.senior = Some(Seniority { version, digest });
        }
        if let Some(rolled_back) = self.rolled_back.take() {
            self.generations.retain(|kept| kept.number <= rolled_back.to);
        }
        let withdrawn = std::mem::take(&mut self.withdrawn);
        if let Some(newest) = self.generations.last_mut()
            && *newest.digest == *digest
            && !withdrawn
        {
            newest.signature = signature;
            return newest.number;
        }
        self.last = self.last.saturating_add(1);
        self.generations.push(KeptGeneration {
            number: self.last,
            digest: digest.into(),
            admitted: now,
            signature,
        });
        let excess = self.generations.len().saturating_sub(KEPT);
        self.generations.drain(..excess);
        self.last
    }
}

/// The records of all plugins. All methods block on files, so they must not run on I/O threads.
#[derive(Debug)]
pub(crate) struct History {
    cache: Arc<Cache>,
    /// The records as they are on disk, or would be if they could be written. Held during a write, so that no component
    /// is swept that a record is about to name.
    records: Mutex<BTreeMap<Arc<str>, Record>>,
}

impl History {
    pub(crate) fn new(cache: Arc<Cache>) -> Self {
        Self {
            cache,
            records: Mutex::default(),
        }
    }

    pub(crate) fn record(&self, plugin: &Arc<str>) -> Record {
        self.read(&mut self.records.lock(), plugin).clone()
    }

    pub(crate) fn path(&self, plugin: &str) -> PathBuf {
        self.cache.path(&record_name(plugin))
    }

    fn read<'a>(&self, records: &'a mut BTreeMap<Arc<str>, Record>, plugin: &Arc<str>) -> &'a mut Record {
        let record = records.entry(Arc::clone(plugin)).or_insert_with(|| {
            self.load(&record_name(plugin)).unwrap_or_else(|Damaged| {
                tracing::error!(
                    plugin = &**plugin,
                    path = %self.path(plugin).display(),
                    "the plugin's record is damaged: its earlier generations, whether it was rolled back or withdrawn, and \
                     the highest accepted version are lost; restore the file from a backup, or delete it to start without \
                     them"
                );
                Record {
                    is_damaged: true,
                    ..Record::default()
                }
            })
        });
        // The operator may have restored it.
        if record.is_damaged
            && let Ok(mended) = self.load(&record_name(plugin))
        {
            *record = mended;
        }
        record
    }

    /// Reads a record from disk; that of a new plugin if there is none.
    fn load(&self, entry: &str) -> Result<Record, Damaged> {
        let Some(payload) = self.cache.read_sound(entry)? else {
            return Ok(Record::default());
        };
        serde_json::from_slice(&payload).map_err(|error| {
            tracing::warn!(entry, %error, "cannot read a plugin's record");
            Damaged
        })
    }

    /// Adds a good file as the newest generation, and returns the new record. `version` is the one that a trusted key
    /// has signed. A failure to write is logged: the file serves anyway, until the gateway ends.
    pub(crate) fn take(
        &self,
        plugin: &Arc<str>,
        file: &PluginFile,
        signature: Option<Arc<str>>,
        version: Option<u64>,
        home: Option<Place>,
        now: Timestamp,
    ) -> Record {
        let component = component_name(&file.digest);
        // Reads the component, so that a damaged one is replaced from the plugin's file. Not under the lock, as this
        // takes time; a component that a record names is not swept.
        let was_kept = self.cache.holds(&component);
        let mut records = self.records.lock();
        let record = self.read(&mut records, plugin);
        let before = record.clone();
        record.take(&file.digest, signature, version, now);
        record.home = home.or_else(|| record.home.take());
        record.is_damaged = false;
        let record = record.clone();
        if record == before && was_kept {
            return record;
        }
        // It may have been swept since, but cannot be from now on.
        let is_kept = was_kept && self.cache.has(&component);
        let written = if is_kept {
            Ok(())
        } else {
            self.cache.write(&component, &file.bytes, Durable::Yes)
        };
        if let Err(error) = written.and_then(|()| self.write(plugin, &record)) {
            tracing::warn!(
                plugin = &**plugin, %error,
                "cannot keep the plugin's generation: neither a start with a broken file nor a rollback will find it"
            );
        }
        self.sweep(&records);
        record
    }

    /// Records that a plugin's file was removed. A failure to write is logged: at the next start, the file is still
    /// missing.
    pub(crate) fn withdraw(&self, plugin: &Arc<str>) -> Record {
        let mut records = self.records.lock();
        let record = self.read(&mut records, plugin);
        let before = record.clone();
        record.rolled_back = None;
        record.withdrawn = !record.generations.is_empty();
        record.decisions += 1;
        let is_changed = (record.withdrawn, &record.rolled_back) != (before.withdrawn, &before.rolled_back);
        // An empty record must not replace a damaged one: the accepted version would be lost.
        if !record.is_damaged
            && is_changed
            && let Err(error) = self.write(plugin, record)
        {
            tracing::warn!(plugin = &**plugin, %error, "cannot record that the plugin's file was removed");
        }
        record.clone()
    }

    /// Records a rollback, and returns the new record. If it cannot be written, nothing changes: it would not last.
    pub(crate) fn roll_back(&self, plugin: &Arc<str>, rolled_back: RolledBack) -> io::Result<Record> {
        let mut records = self.records.lock();
        let record = self.read(&mut records, plugin);
        let mut after = record.clone();
        after.rolled_back = Some(rolled_back);
        after.decisions += 1;
        self.write(plugin, &after)?;
        *record = after.clone();
        Ok(after)
    }

    /// The component of a kept generation; `None` if it is missing or damaged.
    pub(crate) fn component(&self, kept: &KeptGeneration) -> Option<PluginFile> {
        let file = PluginFile::of(self.cache.read(&component_name(&kept.digest))?);
        (*file.digest == *kept.digest).then_some(file)
    }

    /// The digests of all kept generations of the plugins whose records have been read.
    pub(crate) fn digests(&self) -> BTreeSet<Arc<str>> {
        digests(self.records.lock().values())
    }

    fn write(&self, plugin: &str, record: &Record) -> io::Result<()> {
        let payload = serde_json::to_vec(record).map_err(io::Error::other)?;
        self.cache.write(&record_name(plugin), &payload, Durable::Yes)
    }

    /// Removes components that no record names. The records of plugins that are not configured count too.
    fn sweep(&self, records: &BTreeMap<Arc<str>, Record>) {
        let mut named = digests(records.values());
        for entry in self.cache.names(RECORD) {
            let plugin = entry.strip_suffix(RECORD).unwrap_or(&entry);
            if !records.contains_key(plugin) {
                named.extend(digests(self.load(&entry).iter()));
            }
        }
        for entry in self.cache.names(COMPONENT) {
            if !named.contains(entry.strip_suffix(COMPONENT).unwrap_or(&entry)) {
                self.cache.remove(&entry);
            }
        }
    }
}

fn digests<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeSet<Arc<str>> {
    records
        .flat_map(|record| &record.generations)
        .map(|kept| Arc::clone(&kept.digest))
        .collect()
}

fn record_name(plugin: &str) -> String {
    format!("{plugin}{RECORD}")
}

fn component_name(digest: &str) -> String {
    format!("{digest}{COMPONENT}")
}

#[cfg(test)]
mod tests;
