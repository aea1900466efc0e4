//! The cache's directory and its key, both of which must belong to the gateway.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use gateway_model::Random;

use super::{COMPILED, COMPONENT, KEY, LEFT_OVER, NEW, RECORD};
use crate::error::HostError;

/// Removes the unfinished files of a gateway that was killed. Recent ones may belong to another gateway that is
/// writing.
pub(super) fn remove_leftovers(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_new = entry.file_name().to_string_lossy().starts_with(NEW);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_OVER));
        if is_new && is_old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

pub(super) fn unusable(path: &Path, error: io::Error) -> HostError {
    HostError::CacheDir {
        path: path.to_owned(),
        error,
    }
}

/// Why the directory cannot be created.
pub(super) fn explain(dir: &Path, error: io::Error) -> io::Error {
    match fs::metadata(dir) {
        Err(_) if dir.is_symlink() => io::Error::other("it is a link that leads nowhere: delete it"),
        Ok(found) if !found.is_dir() => io::Error::other("it is not a directory: delete it"),
        _ => error,
    }
}

/// Checks the directory before anything in it is used: it and its entries must belong to the gateway's user, and nobody
/// else may be able to write to it. `None` if it does not exist.
pub(super) fn look(dir: &Path) -> Result<Option<fs::Metadata>, HostError> {
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
    // A directory that is used for something else must not be changed, above all not its mode.
    let has_key = dir.join(KEY).symlink_metadata().is_ok();
    for entry in fs::read_dir(dir).map_err(|error| unusable(dir, error))? {
        let path = entry.map_err(|error| unusable(dir, error))?.path();
        // Another gateway has just removed it.
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

/// Whether a file looks like one of the cache's, which may remain after its key was deleted.
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

pub(super) fn existing_key(dir: &Path) -> Result<Option<[u8; 32]>, HostError> {
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

pub(super) fn read_or_make_key(path: &Path, random: &dyn Random) -> io::Result<[u8; 32]> {
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
        // Another gateway was faster: use its key.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => read_key(path),
        Err(error) => Err(error.error),
    }
}

/// Opens a file for reading. It must not be a link.
pub(super) fn open_plainly(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    #[expect(clippy::cast_possible_wrap, reason = "the flags are a C int")]
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}
