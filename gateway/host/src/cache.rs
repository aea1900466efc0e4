//! A private directory for compiled code, so that a start takes milliseconds and not the compiler's seconds, and for
//! the entries of `history`.
//!
//! Loading compiled code means running it, so every entry is authenticated together with its name (HMAC-SHA-256 under a
//! key that only the gateway can read). An entry that was altered or renamed is ignored. Another version of wasmtime,
//! another configuration or another gateway uses other names.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use gateway_model::Random;
use parking_lot::Mutex;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use wasmtime::Engine;
use wasmtime::component::Component;

mod dir;

use self::dir::{existing_key, explain, look, open_plainly, read_or_make_key, remove_leftovers, unusable};
use crate::code::Code;
use crate::error::HostError;
use crate::sealed::Memory;

/// Bytes of an HMAC-SHA-256 tag.
const TAG: usize = 32;
/// The most bytes of compiled code that are kept. The least recently used entries are removed first.
const MAX_COMPILED: u64 = 1 << 30;
/// Largest entry that is read back.
const MAX_ENTRY: u64 = 512 << 20;

/// The prefix of files that are being written.
const NEW: &str = ".new-";
/// After this time, such a file is a leftover: no write takes as long.
const LEFT_OVER: Duration = Duration::from_secs(3600);
/// The name of the file with the key.
const KEY: &str = "key";
/// The suffixes of entries: compiled code, and those of [`history`](crate::history).
const COMPILED: &str = ".cwasm";
pub(crate) const RECORD: &str = ".generations";
pub(crate) const COMPONENT: &str = ".component";
/// Bytes of an entry that are read at a time.
const CHUNK: usize = 256 << 10;

/// The result of reading an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Ours,
    Nothing,
    Damaged,
}

/// An entry cannot be read, or is not what the gateway wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Whether an entry must outlast a power failure from the moment it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    No,
}

/// The directory and its key.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// Nothing is written, not even the time when an entry was used.
    is_read_only: bool,
    key: hmac::Key,
    environment: u64,
    /// Digests of the components that serve or are kept. Their code is not removed to make room: the next start would
    /// have to wait for the compiler.
    needed: Mutex<BTreeSet<Arc<str>>>,
}

impl Cache {
    /// Opens the directory, and creates it (0700) and its key (0600) if they are missing.
    ///
    /// # Errors
    /// If it cannot be created or read, or if somebody else can write to it or its entries.
    pub(crate) fn open(dir: &Path, engine: &Engine, random: &dyn Random) -> Result<Self, HostError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| unusable(dir, explain(dir, error)))?;
        if let Some(found) = look(dir)?
            && found.mode() & 0o077 != 0
        {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
                .map_err(|error| unusable(dir, error))?;
        }
        remove_leftovers(dir);
        let path = dir.join(KEY);
        let secret = read_or_make_key(&path, random).map_err(|error| unusable(&path, error))?;
        Ok(Self::with_key(dir, &secret, false, engine))
    }

    /// Opens the directory for reading only. A missing directory counts as an empty one.
    ///
    /// # Errors
    /// If [`Cache::open`] would fail.
    pub(crate) fn open_to_read(dir: &Path, engine: &Engine, random: &dyn Random) -> Result<Self, HostError> {
        let key = match look(dir)? {
            Some(_) => existing_key(dir)?,
            None => None,
        };
        let secret = match key {
            Some(secret) => secret,
            // Nothing in there can be the gateway's.
            None => {
                let mut secret = [0; 32];
                let made = random.fill(&mut secret).map_err(io::Error::other);
                made.map_err(|error| unusable(&dir.join(KEY), error))?;
                secret
            }
        };
        Ok(Self::with_key(dir, &secret, true, engine))
    }

    /// Checks whether [`Cache::open`] would succeed, and changes nothing.
    pub(crate) fn check(dir: &Path) -> Result<(), HostError> {
        if look(dir)?.is_some() {
            existing_key(dir)?;
        }
        Ok(())
    }

    fn with_key(dir: &Path, secret: &[u8; 32], is_read_only: bool, engine: &Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        Self {
            dir: dir.to_owned(),
            is_read_only,
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            environment: hasher.finish(),
            needed: Mutex::default(),
        }
    }

    /// The compiled code of the component with this digest, if it is here and ours.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = self.compiled_name(digest);
        let component = Memory::new()
            .map_err(wasmtime::Error::from)
            .and_then(|mut memory| match self.copy(&name, &mut memory)? {
                Found::Ours => deserialize(engine, memory).map(Some),
                Found::Nothing => Ok(None),
                Found::Damaged => {
                    warn_of(&name);
                    Ok(None)
                }
            });
        component.unwrap_or_else(|error| {
            tracing::warn!(
                entry = name,
                error = format!("{error:#}"),
                "cannot load compiled code"
            );
            None
        })
    }

    /// Stores the compiled code of the component with this digest. A failure is only logged: the cache just saves time.
    pub(crate) fn store(&self, digest: &str, code: &Code) {
        let name = self.compiled_name(digest);
        match self.write(&name, code.bytes(), Durable::No) {
            Ok(()) => self.shrink(MAX_COMPILED),
            Err(error) => tracing::warn!(entry = name, %error, "cannot keep compiled code"),
        }
    }

    fn compiled_name(&self, digest: &str) -> String {
        format!("{digest}-{:016x}{COMPILED}", self.environment)
    }

    /// The payload of an entry; `None` if it is missing or damaged.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.read_sound(name)
            .inspect_err(|Damaged| warn_of(name))
            .ok()
            .flatten()
    }

    /// The payload of an entry; `None` if it is missing, an error if it is damaged.
    pub(crate) fn read_sound(&self, name: &str) -> Result<Option<Vec<u8>>, Damaged> {
        let mut payload = Vec::new();
        match self.copy(name, &mut payload) {
            Ok(Found::Ours) => Ok(Some(payload)),
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::Damaged) | Err(_) => Err(Damaged),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether there is an undamaged entry of this name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        matches!(self.copy(name, &mut io::sink()), Ok(Found::Ours))
    }

    /// Whether there is an entry of this name, damaged or not.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    /// Copies an entry's payload and verifies it. The copy may be used only if the result is [`Found::Ours`].
    fn copy(&self, name: &str, into: &mut impl Write) -> io::Result<Found> {
        let file = match open_plainly(&self.dir.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let mut entry = (&file).take(MAX_ENTRY);
        let mut tag = Vec::with_capacity(TAG);
        entry.by_ref().take(TAG as u64).read_to_end(&mut tag)?;
        let mut authenticated = self.begin_tag(name);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = entry.read(&mut chunk)?;
            let Some(read @ [_, ..]) = chunk.get(..read) else {
                break;
            };
            authenticated.update(read);
            into.write_all(read)?;
        }
        if verify_slices_are_equal(authenticated.sign().as_ref(), &tag).is_err() {
            return Ok(Found::Damaged);
        }
        if self.is_read_only {
            return Ok(Found::Ours);
        }
        let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        let times = Timestamps {
            last_access: time(UTIME_OMIT),
            last_modification: time(UTIME_NOW),
        };
        let _ = futimens(&file, &times);
        Ok(Found::Ours)
    }

    /// Starts the HMAC over an entry's name and payload, with the name.
    fn begin_tag(&self, name: &str) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        // defence: cache-entries-carry-their-name (a test fails without it: docs/defences.md)
        context.update(name.as_bytes());
        context.update(&[0]);
        context
    }

    /// Writes a temporary file and renames it to the entry, so that no reader finds half of one.
    pub(crate) fn write(&self, name: &str, payload: &[u8], durable: Durable) -> io::Result<()> {
        if self.is_read_only {
            return Ok(());
        }
        let mut tag = self.begin_tag(name);
        tag.update(payload);
        let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(&self.dir)?;
        file.write_all(tag.sign().as_ref())?;
        file.write_all(payload)?;
        if durable == Durable::Yes {
            file.as_file().sync_all()?;
        }
        file.persist(self.dir.join(name)).map_err(|error| error.error)?;
        if durable == Durable::Yes {
            File::open(&self.dir)?.sync_all()?;
        }
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) {
        if self.is_read_only {
            return;
        }
        let _ = fs::remove_file(self.dir.join(name));
    }

    /// The names of the entries that end in `suffix`.
    pub(crate) fn names(&self, suffix: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(suffix))
            .collect()
    }

    /// Sets which components' code must not be removed.
    pub(crate) fn need(&self, digests: BTreeSet<Arc<str>>) {
        *self.needed.lock() = digests;
    }

    /// Removes the least recently used code that is not needed, until `max` bytes are left.
    fn shrink(&self, max: u64) {
        if self.is_read_only {
            return;
        }
        let needed: BTreeSet<PathBuf> = self
            .needed
            .lock()
            .iter()
            .map(|digest| self.dir.join(self.compiled_name(digest)))
            .collect();
        let mut entries: Vec<_> = self
            .names(COMPILED)
            .into_iter()
            .filter_map(|name| {
                let path = self.dir.join(name);
                let file = fs::symlink_metadata(&path).ok()?;
                Some((file.mtime(), file.mtime_nsec(), file.len(), path))
            })
            .collect();
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, _, size, _)| size).sum();
        for (_, _, size, path) in entries {
            if total <= max {
                break;
            }
            if !needed.contains(&path) && fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }
}

fn warn_of(entry: &str) {
    tracing::warn!(
        entry,
        "a cache entry is ignored: it is damaged, or was not written by this gateway"
    );
}

/// Loads code that has just been compiled.
pub(crate) fn accept(engine: &Engine, code: &Code) -> wasmtime::Result<Component> {
    let mut memory = Memory::new()?;
    memory.write_all(code.bytes())?;
    deserialize(engine, memory)
}

/// Loads compiled code, which must be the gateway's own: either straight from the compiler ([`Code`]), or the payload
/// of an entry whose HMAC has been verified.
fn deserialize(engine: &Engine, code: Memory) -> wasmtime::Result<Component> {
    #[expect(
        unsafe_code,
        reason = "the bytes are what this gateway's own compiler wrote: they came from it through a pipe that \
                  nobody else has, or their HMAC has been verified, as they were copied into memory, under a \
                  key that only the gateway can read; and wasmtime checks that version and configuration fit"
    )]
    // SAFETY: as above.
    unsafe {
        code.into_component(engine)
    }
}

#[cfg(test)]
mod tests;
