//! The plugin directory: which files exist, and whether that can be known at all.
//!
//! A plugin is withdrawn when its file is removed. A file that cannot be seen was not removed: a stale network file
//! system, a missing permission and a missing directory all look the same, and would stop all plugins. So a
//! file counts as removed only if the gateway opened and listed the directory, the operating system says that there
//! is no such entry, and this is the directory in which the file was last seen. Another directory in the same place
//! (the mount point of an unmounted file system, a restored backup, a directory that was moved there) says nothing
//! about a file that was never in it. There is one exception: if the configured path leads through a symbolic link,
//! and the link was switched (`current -> releases/42`), then the directory behind it is the new release, and a file
//! that it lacks was removed. A new release without any plugin says nothing either.
//!
//! Links in the directory are followed as long as they stay within it, as those of a mounted ConfigMap do
//! (`p.wasm -> ..data/p.wasm`). The kernel checks that at each step (`openat2` with `RESOLVE_BENEATH`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, fstatvfs, openat, openat2, statat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::AdmissionError;
use crate::file::{self, PluginFile, Stamp};

/// How many times a link is resolved again if it changes meanwhile.
const RETRIES: usize = 16;

/// The identity of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Its path without links, as text.
    path: String,
    /// The file system's own number, which outlasts a restart.
    file_system: u64,
    inode: u64,
    /// The device, which need not be the same after a restart.
    #[serde(skip)]
    device: Option<u64>,
}

impl Place {
    fn of(path: &Path, directory: BorrowedFd<'_>) -> Result<Self, Errno> {
        let Stat { st_dev, st_ino, .. } = fstat(directory)?;
        Ok(Self {
            path: path.to_string_lossy().into_owned(),
            file_system: fstatvfs(directory)?.f_fsid,
            inode: st_ino,
            device: Some(st_dev),
        })
    }

    /// Whether it is the same directory, wherever it is now.
    fn is(&self, other: &Self) -> bool {
        let is_same_device = match (self.device, other.device) {
            (Some(device), Some(other)) => device == other,
            _ => true,
        };
        self.inode == other.inode && self.file_system == other.file_system && is_same_device
    }
}

/// Whether a file exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It exists, in this state. It need not be a regular file.
    Here(Stamp),
    /// It was removed.
    Absent,
    /// This cannot be known.
    Unknown(Reason),
}

/// Why it cannot be known whether a file exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// The directory cannot be opened or listed.
    #[error("{}", io::Error::from(*.0))]
    Directory(Errno),
    /// A different directory is in its place, and contains no plugins.
    #[error("it is another directory than before, and has no plugin in it: is a file system not mounted?")]
    Replaced,
    /// A different directory is in place of the one that last contained the file.
    #[error("this is not the directory in which the file was last seen")]
    Elsewhere,
    /// The directory can be read, but not the file's metadata.
    #[error("{}", io::Error::from(*.0))]
    File(Errno),
}

impl Reason {
    /// Whether it is the same for all plugins.
    pub(crate) const fn is_about_directory(self) -> bool {
        matches!(self, Self::Directory(_) | Self::Replaced)
    }
}

/// An open directory and its identity.
type Opened = (OwnedFd, Place);

#[derive(Debug)]
pub(crate) struct PluginDirectory {
    path: PathBuf,
    /// By plugin, the directory in which its file was last seen.
    homes: Mutex<BTreeMap<String, Place>>,
}

impl PluginDirectory {
    /// The directory need not exist.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            homes: Mutex::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets where a plugin's file was seen before this process started, unless this process has seen it.
    pub(crate) fn remind(&self, plugin: &str, home: Option<&Place>) {
        if let Some(home) = home {
            let mut homes = self.homes.lock();
            homes.entry(plugin.to_owned()).or_insert_with(|| home.clone());
        }
    }

    /// The directory in which a plugin's file was last seen.
    pub(crate) fn home(&self, plugin: &str) -> Option<Place> {
        self.homes.lock().get(plugin).cloned()
    }

    /// Whether a plugin's file exists. A name that a file cannot have is absent.
    pub(crate) fn look(&self, plugin: &str) -> Presence {
        self.look_in(&self.open(), plugin)[0]
    }

    /// The same for each of these plugins' files and its signature.
    pub(crate) fn look_at_all<'a>(
        &self,
        plugins: impl IntoIterator<Item = &'a str>,
    ) -> impl Iterator<Item = [Presence; 2]> {
        let opened = self.open();
        plugins
            .into_iter()
            .map(move |plugin| self.look_in(&opened, plugin))
    }

    fn look_in(&self, opened: &Result<Opened, Errno>, plugin: &str) -> [Presence; 2] {
        let Ok(name) = file::path(Path::new(""), plugin) else {
            return [Presence::Absent; 2];
        };
        match opened {
            Ok(opened) => {
                [&name, &file::signature_path(&name)].map(|name| self.look_at(opened, plugin, name))
            }
            Err(error) => [Presence::Unknown(Reason::Directory(*error)); 2],
        }
    }

    fn look_at(&self, (directory, place): &Opened, plugin: &str, name: &Path) -> Presence {
        match stat(directory.as_fd(), name) {
            Ok(found) => {
                if name.extension().is_some_and(|extension| extension == "wasm") {
                    self.homes.lock().insert(plugin.to_owned(), place.clone());
                }
                Presence::Here(Stamp::of_stat(&found))
            }
            Err(Errno::NOENT) => match self.absence(plugin, directory.as_fd(), place) {
                Ok(None) => Presence::Absent,
                Ok(Some(reason)) => Presence::Unknown(reason),
                Err(error) => Presence::Unknown(Reason::Directory(error)),
            },
            // A directory that may be listed but not searched returns this for each of its files.
            Err(error @ Errno::ACCESS) => Presence::Unknown(Reason::Directory(error)),
            Err(error) => Presence::Unknown(Reason::File(error)),
        }
    }

    /// Checks that the directory can be read, and returns which one it is.
    pub(crate) fn check(&self) -> Result<Place, Reason> {
        let (directory, place) = self.open().map_err(Reason::Directory)?;
        // This needs the permission to search the directory.
        statat(&directory, ".", AtFlags::empty()).map_err(Reason::Directory)?;
        let is_known = {
            let homes = self.homes.lock();
            homes.is_empty() || homes.values().any(|home| home.is(&place))
        };
        match has_plugins(directory.as_fd(), is_known) {
            Ok(true) => Ok(place),
            Ok(false) if is_known => Ok(place),
            Ok(false) => Err(Reason::Replaced),
            Err(error) => Err(Reason::Directory(error)),
        }
    }

    /// Opens the directory to which the path leads now.
    fn open(&self) -> Result<Opened, Errno> {
        let path = fs::canonicalize(&self.path)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))?;
        let flags =
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let directory = openat(CWD, &path, flags, Mode::empty())?;
        let place = Place::of(&path, directory.as_fd())?;
        Ok((directory, place))
    }

    /// Why a missing file need not have been removed; `None` if it was.
    fn absence(
        &self,
        plugin: &str,
        directory: BorrowedFd<'_>,
        place: &Place,
    ) -> Result<Option<Reason>, Errno> {
        let (is_home, is_known, was_switched) = {
            let homes = self.homes.lock();
            let home = homes.get(plugin);
            (
                home.is_none_or(|home| home.is(place)),
                homes.is_empty() || homes.values().any(|home| home.is(place)),
                home.is_some_and(|home| home.path != place.path),
            )
        };
        // Always listed: a file system that cannot list its directory says nothing about its files.
        let has_plugins = has_plugins(directory, is_home && is_known)?;
        if is_home && is_known {
            return Ok(None);
        }
        Ok(match (has_plugins, is_home || was_switched) {
            (true, true) => None,
            (true, false) => Some(Reason::Elsewhere),
            (false, _) if is_known => Some(Reason::Elsewhere),
            (false, _) => Some(Reason::Replaced),
        })
    }

    /// Reads a plugin's file of at most `max` bytes.
    pub(crate) fn read(&self, plugin: &str, max: u64) -> Result<PluginFile, AdmissionError> {
        let name = file::path(Path::new(""), plugin)?;
        self.read_entry(&name, max).map_err(|error| match error {
            AdmissionError::Missing { path } => self.missing(plugin, &path),
            // In a directory that is a link to itself, every file is such a link.
            AdmissionError::Unreadable { path, .. } if self.check().is_err() => self.missing(plugin, &path),
            error => error,
        })
    }

    /// The text of a plugin's signature; `None` if there is no such file.
    pub(crate) fn read_signature(&self, plugin: &str) -> Result<Option<String>, AdmissionError> {
        let name = file::signature_path(&file::path(Path::new(""), plugin)?);
        match self.read_entry(&name, file::MAX_SIGNATURE) {
            Ok(file) => Ok(Some(String::from_utf8_lossy(&file.bytes).trim().to_owned())),
            Err(AdmissionError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_entry(&self, name: &Path, max: u64) -> Result<PluginFile, AdmissionError> {
        let path = self.path.join(name);
        match self.open() {
            Ok((directory, _)) => read_in(directory.as_fd(), name, &path, max),
            Err(Errno::NOENT) => Err(AdmissionError::Missing { path }),
            Err(error) => Err(AdmissionError::Unreadable {
                path,
                error: io::Error::from(error).to_string(),
            }),
        }
    }

    /// The reason why a plugin's file could not be read that was not found.
    fn missing(&self, plugin: &str, path: &Path) -> AdmissionError {
        let path = path.to_owned();
        match self.look(plugin) {
            Presence::Absent => AdmissionError::Missing { path },
            // It has just been created.
            Presence::Here(_) => AdmissionError::Changing { path },
            Presence::Unknown(Reason::Elsewhere) => AdmissionError::Elsewhere { path },
            Presence::Unknown(reason) if reason.is_about_directory() => AdmissionError::Away {
                directory: self.path.clone(),
                error: reason.to_string(),
            },
            Presence::Unknown(reason) => AdmissionError::Unreadable {
                path,
                error: reason.to_string(),
            },
        }
    }
}

/// Lists a directory up to its first plugin, or its first entry. Returns whether there is one.
fn has_plugins(directory: BorrowedFd<'_>, any_entry: bool) -> Result<bool, Errno> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if any_entry || entry.file_name().to_bytes().ends_with(b".wasm") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The metadata of an entry, or of its target if it is a link that can be followed.
fn stat(directory: BorrowedFd<'_>, name: &Path) -> Result<Stat, Errno> {
    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
        return Ok(found);
    }
    match open_beneath(directory, name, OFlags::PATH) {
        Ok(target) => fstat(target),
        Err(_) => Ok(found),
    }
}

/// Opens an entry. Links are followed if they stay within the directory; if the kernel cannot check that, no link is
/// followed.
fn open_beneath(directory: BorrowedFd<'_>, name: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut opened = Err(Errno::AGAIN);
    for _ in 0..RETRIES {
        opened = openat2(directory, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
        if !matches!(opened, Err(Errno::AGAIN)) {
            break;
        }
    }
    match opened {
        Err(Errno::NOSYS) => openat(
            directory,
            name,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        ),
        opened => opened,
    }
}

/// Reads an entry of a directory, of at most `max` bytes. `path` is for messages.
pub(crate) fn read_in(
    directory: BorrowedFd<'_>,
    name: &Path,
    path: &Path,
    max: u64,
) -> Result<PluginFile, AdmissionError> {
    let path = || path.to_owned();
    // Without NONBLOCK, opening a pipe waits for a writer.
    let opened = open_beneath(directory, name, OFlags::RDONLY | OFlags::NONBLOCK);
    let file = opened.map_err(|error| match error {
        // The entry exists, but its target does not.
        Errno::NOENT if statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() => {
            AdmissionError::Dangling { path: path() }
        }
        Errno::NOENT => AdmissionError::Missing { path: path() },
        Errno::XDEV | Errno::LOOP => AdmissionError::Symlink { path: path() },
        error => AdmissionError::Unreadable {
            path: path(),
            error: io::Error::from(error).to_string(),
        },
    })?;
    file::read_open(&File::from(file), &path(), max)
}

/// Reads a file at a path as if its folder were the plugin directory.
pub(crate) fn read_at(path: &Path, max: u64) -> Result<PluginFile, AdmissionError> {
    let unreadable = |error: Errno| AdmissionError::Unreadable {
        path: path.to_owned(),
        error: io::Error::from(error).to_string(),
    };
    let Some(name) = path.file_name() else {
        return Err(AdmissionError::NotAFile {
            path: path.to_owned(),
        });
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, parent.unwrap_or(Path::new(".")), flags, Mode::empty()) {
        Ok(directory) => read_in(directory.as_fd(), Path::new(name), path, max),
        Err(Errno::NOENT) => Err(AdmissionError::Missing {
            path: path.to_owned(),
        }),
        Err(error) => Err(unreadable(error)),
    }
}

#[cfg(test)]
mod tests;
