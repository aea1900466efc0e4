//! What the gateway keeps on disk for its plugins, in a private directory: compiled code, so that a start
//! takes milliseconds and not the compiler's seconds; and the entries of `history`.
//!
//! Loading compiled code is running it, so every entry is authenticated (HMAC-SHA-256 under a key that
//! only the gateway can read), its name included: an entry that was altered, or put in another's place,
//! is no entry. One made by another wasmtime, configuration or gateway has another name.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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

use crate::compile::Code;
use crate::error::HostError;
use crate::sealed::Memory;

/// Bytes of an HMAC-SHA-256 tag.
const TAG: usize = 32;
/// Most bytes of compiled code that are kept; the entries not used for longest go first.
const MAX_COMPILED: u64 = 1 << 30;
/// Largest entry that is read back.
const MAX_ENTRY: u64 = 512 << 20;

/// What the names of files begin with that are being written.
const NEW: &str = ".new-";
/// Nobody writes for so long.
const LEFT_OVER: Duration = Duration::from_secs(3600);
/// The name of the file with the key.
const KEY: &str = "key";
/// What the names of entries end with: compiled code, and what [`history`](crate::history) keeps.
const COMPILED: &str = ".cwasm";
pub(crate) const RECORD: &str = ".generations";
pub(crate) const COMPONENT: &str = ".component";
/// Bytes of an entry that are read at once.
const CHUNK: usize = 256 << 10;

/// Whether an entry is there, and what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Ours,
    Nothing,
    Damaged,
}

/// An entry is there, and is not what the gateway wrote, or cannot be read.
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
    /// Nothing is written, not even the time at which an entry was used.
    is_read_only: bool,
    key: hmac::Key,
    environment: u64,
    /// Digests of the components that serve or are kept: their code is not removed to make room, as the next start
    /// would have to wait for the compiler.
    needed: Mutex<BTreeSet<Arc<str>>>,
}

impl Cache {
    /// Opens the directory, making it (0700) and its key (0600) where they are missing.
    ///
    /// # Errors
    /// When it cannot be made or read, or somebody else can write to it or to what is in it.
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

    /// Opens the directory for reading. Nothing is written anywhere; where there is no directory, it is an empty one.
    ///
    /// # Errors
    /// When [`Cache::open`] would fail for what is there.
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

    /// Whether [`Cache::open`] would take what is there.
    ///
    /// # Errors
    /// Why not.
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

    /// Keeps the compiled code of the component with this digest. A failure is logged: the cache saves
    /// time, nothing depends on it.
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

    /// The payload of an entry; `None` where it is missing, or not what we wrote under this name.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.read_sound(name)
            .inspect_err(|Damaged| warn_of(name))
            .ok()
            .flatten()
    }

    /// The payload of an entry; `None` where it is missing.
    ///
    /// # Errors
    /// When it is there, and is not what we wrote under this name.
    pub(crate) fn read_sound(&self, name: &str) -> Result<Option<Vec<u8>>, Damaged> {
        let mut payload = Vec::new();
        match self.copy(name, &mut payload) {
            Ok(Found::Ours) => Ok(Some(payload)),
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::Damaged) | Err(_) => Err(Damaged),
        }
    }

    /// Where an entry is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether there is an entry of this name that is what we wrote under it.
    pub(crate) fn holds(&self, name: &str) -> bool {
        matches!(self.copy(name, &mut io::sink()), Ok(Found::Ours))
    }

    /// Whether there is an entry of this name, whatever is in it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    /// Copies an entry's payload, and says whether what was copied is what we wrote under this name: only then
    /// is it of any use.
    ///
    /// # Errors
    /// When it cannot be read to its end or written.
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
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let unchanged = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        let _ = futimens(
            &file,
            &Timestamps {
                last_access: unchanged,
                last_modification: now,
            },
        );
        Ok(Found::Ours)
    }

    /// What is authenticated: an entry's name and its payload, which comes next.
    fn begin_tag(&self, name: &str) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        // defence: cache-entries-carry-their-name (a test fails without it: docs/defences.md)
        context.update(name.as_bytes());
        context.update(&[0]);
        context
    }

    /// Writes an entry: beside it, then renamed over it, so that no reader finds half of one.
    ///
    /// # Errors
    /// What the operating system says. Then the entry is as it was.
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

    /// Removes an entry, where there is one.
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

    /// Says which components' code is needed, in place of those that were before.
    pub(crate) fn need(&self, digests: BTreeSet<Arc<str>>) {
        *self.needed.lock() = digests;
    }

    /// Removes compiled code that is not needed, the longest unused first, until `max` bytes are left.
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
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut entries: Vec<_> = entries
            .flatten()
            .filter(|entry| {
                entry
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "cwasm")
            })
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((
                    metadata.mtime(),
                    metadata.mtime_nsec(),
                    metadata.len(),
                    entry.path(),
                ))
            })
            .collect();
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, _, size, _)| size).sum();
        for (_, _, size, path) in entries {
            if total <= max {
                break;
            }
            if needed.contains(&path) {
                continue;
            }
            if fs::remove_file(path).is_ok() {
                total -= size;
            }
        }
    }
}

fn warn_of(entry: &str) {
    tracing::warn!(
        entry,
        "a cache entry is damaged, or was not written by this gateway: it is not used"
    );
}

/// Removes what a gateway that was killed was writing. Another one may be writing now.
fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_new = entry.file_name().to_string_lossy().starts_with(NEW);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_OVER));
        if is_new && is_old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a component of code that has just been compiled.
///
/// # Errors
/// When it is none, or another engine's.
pub(crate) fn accept(engine: &Engine, code: &Code) -> wasmtime::Result<Component> {
    let mut memory = Memory::new()?;
    memory.write_all(code.bytes())?;
    deserialize(engine, memory)
}

/// Makes a component of compiled code, which must be of our own making: either just come from the compiler
/// ([`Code`]), or the payload of an entry whose HMAC has been verified.
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

fn unusable(path: &Path, error: io::Error) -> HostError {
    HostError::CacheDir {
        path: path.to_owned(),
        error,
    }
}

/// Why there is no directory at a path that cannot be made one.
fn explain(dir: &Path, error: io::Error) -> io::Error {
    match fs::metadata(dir) {
        Err(_) if dir.is_symlink() => io::Error::other("it is a link that leads nowhere: delete it"),
        Ok(found) if !found.is_dir() => io::Error::other("it is not a directory: delete it"),
        _ => error,
    }
}

/// Looks at the directory before anything in it is used: it and all that is in it must be the gateway's own, and nobody
/// else may have been able to put something there. `None` where there is none.
fn look(dir: &Path) -> Result<Option<fs::Metadata>, HostError> {
    let found = match fs::metadata(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.is_symlink() => return Ok(None),
        Err(error) => return Err(unusable(dir, explain(dir, error))),
    };
    let fail = |error: &str| Err(unusable(dir, io::Error::other(error)));
    if !found.is_dir() {
        return fail("it is not a directory: delete it");
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return fail("it belongs to another user");
    }
    // A directory that is used for something else must stay as it is, its mode above all.
    let has_key = dir.join(KEY).symlink_metadata().is_ok();
    for entry in fs::read_dir(dir).map_err(|error| unusable(dir, error))? {
        let path = entry.map_err(|error| unusable(dir, error))?.path();
        // One that a gateway beside this one removes in this moment.
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !has_key && !is_entry(&path) {
            return fail(
                "it is not a plugin cache, as there are other files in it: name a directory that is empty or new",
            );
        }
        if found.uid() != user && found.uid() != 0 {
            let error = io::Error::other("it belongs to another user: delete it");
            return Err(unusable(&path, error));
        }
    }
    if found.mode() & 0o022 != 0 {
        return fail(
            "others can write to it, and may have changed what is in it: delete it, which also deletes the plugins' earlier \
             generations; or, if you trust what is in it, run `chmod 700` on it",
        );
    }
    Ok(Some(found))
}

/// Whether a file looks like one of the cache's own, as may be left where its key was deleted.
fn is_entry(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.starts_with(NEW)
        || [COMPILED, RECORD, COMPONENT]
            .iter()
            .any(|end| name.ends_with(end))
}

/// The key, where there is one.
fn existing_key(dir: &Path) -> Result<Option<[u8; 32]>, HostError> {
    let path = dir.join(KEY);
    match read_key(&path) {
        Ok(key) => Ok(Some(key)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(&path, error)),
    }
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let fail = |why: &str| {
        io::Error::other(format!(
            "{why}: delete it and a new one will be made, under which nothing in the directory counts"
        ))
    };
    let mut file = open_plainly(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => error,
        _ if path.is_symlink() => fail("it is a link"),
        _ => error,
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(fail("it is not a regular file"));
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user && found.uid() != 0 {
        return Err(fail("it belongs to another user"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(fail("others can read or write it"));
    }
    let mut key = [0; 32];
    if found.len() < key.len() as u64 {
        return Err(fail("it is not complete"));
    }
    file.read_exact(&mut key)?;
    Ok(key)
}

/// The key, made at first use.
fn read_or_make_key(path: &Path, random: &dyn Random) -> io::Result<[u8; 32]> {
    match read_key(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let mut key = [0; 32];
    random.fill(&mut key).map_err(io::Error::other)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(directory)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(key),
        // Another gateway was faster: its key is the key.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => read_key(path),
        Err(error) => Err(error.error),
    }
}

/// Opens a file for reading that must not be a link.
fn open_plainly(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    #[expect(clippy::cast_possible_wrap, reason = "the flags are a C int")]
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::Path;

    use gateway_model::SystemRandom;
    use wasmtime::component::Component;

    use super::{Cache, Durable};
    use crate::compile::Code;

    fn open(dir: &std::path::Path, engine: &wasmtime::Engine) -> Cache {
        Cache::open(dir, engine, &SystemRandom).unwrap()
    }

    fn compiled(engine: &wasmtime::Engine, text: &str) -> Code {
        let component = wat::parse_str(text).unwrap();
        Code::of(&Component::new(engine, component).unwrap())
    }

    #[test]
    fn what_was_compiled_is_found_again_and_nothing_else() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), &engine);
        assert!(cache.load(&engine, "aa").is_none());
        cache.store("aa", &compiled(&engine, "(component)"));

        let cache = open(dir.path(), &engine);
        assert!(cache.load(&engine, "aa").is_some(), "with the key read back");
        assert!(cache.load(&engine, "bb").is_none());

        let (from, to) = (cache.compiled_name("aa"), cache.compiled_name("bb"));
        fs::copy(dir.path().join(from), dir.path().join(to)).unwrap();
        assert!(cache.load(&engine, "bb").is_none(), "in another's place");
    }

    #[test]
    fn a_flipped_bit_anywhere_is_no_entry() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), &engine);
        cache.store("aa", &compiled(&engine, "(component (core module (func)))"));
        let path = dir.path().join(cache.compiled_name("aa"));
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(good.len() / 60) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(cache.load(&engine, "aa").is_none(), "byte {at}");
        }
        for cut in [0, 1, 31, 32, 33, good.len() - 1] {
            fs::write(&path, &good[..cut]).unwrap();
            assert!(cache.load(&engine, "aa").is_none(), "cut at {cut}");
        }
        fs::write(&path, good).unwrap();
        assert!(cache.load(&engine, "aa").is_some());
    }

    #[test]
    fn what_was_being_written_when_the_gateway_was_killed_is_removed() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [".new-old", ".new-now", "old.cwasm"] {
            fs::write(at(name), b"half").unwrap();
        }
        for name in [".new-old", "old.cwasm"] {
            let file = fs::File::options().write(true).open(at(name)).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
        open(dir.path(), &engine);
        let there = [".new-old", ".new-now", "old.cwasm"].map(|name| at(name).exists());
        assert_eq!(there, [false, true, true]);
    }

    /// Why the directory is not used: by a host, by a check, and by one that only reads.
    fn refused(dir: &Path, engine: &wasmtime::Engine) -> String {
        let open = Cache::open(dir, engine, &SystemRandom).unwrap_err().to_string();
        let read = Cache::open_to_read(dir, engine, &SystemRandom).unwrap_err();
        assert_eq!(read.to_string(), open);
        assert_eq!(Cache::check(dir).unwrap_err().to_string(), open);
        open
    }

    #[test]
    fn o5_what_others_may_have_made_is_refused_by_a_check_too() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let pipe = |path: &Path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        };
        symlink("nowhere", at("link")).unwrap();
        pipe(&at("pipe"));
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("shared")).unwrap();
        for (name, why) in [
            ("link", "leads nowhere"),
            ("pipe", "not a directory"),
            ("file", "not a directory"),
        ] {
            let error = refused(&at(name), &engine);
            assert!(error.contains(why), "{name}: {error}");
        }
        for mode in [0o777, 0o770, 0o702] {
            fs::set_permissions(at("shared"), fs::Permissions::from_mode(mode)).unwrap();
            let error = refused(&at("shared"), &engine);
            assert!(error.contains("others can write to it"), "{error}");
        }

        // Somebody's directory, such as `/tmp`, is not made private.
        fs::create_dir(at("used")).unwrap();
        fs::create_dir(at("used/other")).unwrap();
        for mode in [0o755, 0o1777, 0o700] {
            fs::set_permissions(at("used"), fs::Permissions::from_mode(mode)).unwrap();
            let error = refused(&at("used"), &engine);
            assert!(error.contains("it is not a plugin cache"), "{error}");
            assert_eq!(
                fs::metadata(at("used")).unwrap().permissions().mode() & 0o7777,
                mode
            );
        }

        let cache = at("cache");
        assert!(Cache::check(&cache).is_ok());
        Cache::open_to_read(&cache, &engine, &SystemRandom).unwrap();
        assert!(!cache.exists(), "neither makes it");
        open(&cache, &engine);
        assert!(Cache::check(&cache).is_ok());
        let key = cache.join("key");
        let good = fs::read(&key).unwrap();
        fs::write(&key, &good[1..]).unwrap();
        assert!(refused(&cache, &engine).contains("not complete"));
        fs::remove_file(&key).unwrap();
        symlink("nowhere", &key).unwrap();
        assert!(refused(&cache, &engine).contains("it is a link"));
        fs::remove_file(&key).unwrap();
        pipe(&key);
        assert!(refused(&cache, &engine).contains("not a regular file"));
        fs::remove_file(&key).unwrap();
        if rustix::process::geteuid().is_root() {
            for name in ["key", "entry.cwasm"] {
                fs::write(cache.join(name), &good).unwrap();
                fs::set_permissions(cache.join(name), fs::Permissions::from_mode(0o600)).unwrap();
                chown(cache.join(name), Some(65_534), None).unwrap();
                let error = refused(&cache, &engine);
                assert!(
                    error.contains(name) && error.contains("belongs to another user"),
                    "{error}"
                );
                fs::remove_file(cache.join(name)).unwrap();
            }
        }
        open(&cache, &engine);
    }

    #[test]
    fn o5_a_check_reads_what_is_kept_and_writes_nothing() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), &engine).store("aa", &compiled(&engine, "(component)"));
        let seen = || {
            let entries = fs::read_dir(dir.path()).unwrap().flatten();
            let mut seen: Vec<_> = entries
                .map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap()))
                .collect();
            seen.sort();
            seen
        };
        let before = seen();
        let cache = Cache::open_to_read(dir.path(), &engine, &SystemRandom).unwrap();
        assert!(cache.load(&engine, "aa").is_some());
        cache.store("bb", &compiled(&engine, "(component)"));
        cache.write("entry", b"bytes", Durable::Yes).unwrap();
        cache.remove(&cache.compiled_name("aa"));
        cache.shrink(0);
        assert_eq!(seen(), before);
    }

    #[test]
    fn it_is_private() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        open(dir.path(), &engine);
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.path().to_owned()), 0o700);
        assert_eq!(mode(dir.path().join("key")), 0o600);

        fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Cache::open(dir.path(), &engine, &SystemRandom).is_err());
    }

    #[test]
    fn anothers_directory_is_not_used() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        // Who is not root cannot give one away, but finds one that is root's.
        let theirs = if rustix::process::geteuid().is_root() {
            chown(dir.path(), Some(65_534), None).unwrap();
            dir.path()
        } else {
            Path::new("/")
        };
        let error = Cache::open(theirs, &engine, &SystemRandom).unwrap_err();
        assert!(
            error.to_string().contains("it belongs to another user"),
            "{error}"
        );
    }

    #[test]
    fn a_link_is_no_entry() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), &engine);
        cache.write("entry", b"bytes", Durable::No).unwrap();
        assert!(cache.read("entry").is_some());
        for name in ["entry", "key"] {
            let (at, elsewhere) = (dir.path().join(name), dir.path().join("elsewhere"));
            fs::rename(&at, &elsewhere).unwrap();
            symlink(&elsewhere, &at).unwrap();
            assert!(cache.read("entry").is_none() || name == "key");
            assert!(Cache::open(dir.path(), &engine, &SystemRandom).is_err() || name == "entry");
            fs::rename(&elsewhere, &at).unwrap();
        }
        assert!(cache.read("entry").is_some());
    }

    #[test]
    fn it_stays_within_its_size() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), &engine);
        let component = compiled(&engine, "(component)");
        for digest in ["aa", "bb", "cc"] {
            cache.store(digest, &component);
        }
        cache.write("plugin.other", b"bytes", Durable::No).unwrap();
        let size = fs::metadata(dir.path().join(cache.compiled_name("cc")))
            .unwrap()
            .len();
        cache.shrink(size);
        let left = ["aa", "bb", "cc"].map(|digest| cache.load(&engine, digest).is_some());
        assert_eq!(left, [false, false, true]);
        assert_eq!(cache.read("plugin.other").as_deref(), Some(&b"bytes"[..]));
    }

    #[test]
    fn a17_what_serves_is_not_removed_to_make_room() {
        let engine = crate::engine::Engines::start().unwrap().usual().clone();
        let dir = tempfile::tempdir().unwrap();
        let cache = open(dir.path(), &engine);
        let component = compiled(&engine, "(component)");
        for digest in ["aa", "bb", "cc"] {
            cache.store(digest, &component);
        }
        cache.need(["aa".into()].into());
        cache.shrink(0);
        let left = ["aa", "bb", "cc"].map(|digest| cache.load(&engine, digest).is_some());
        assert_eq!(left, [true, false, false]);
    }
}
