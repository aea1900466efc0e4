//! The plugin directory: which files are there, and whether that can be said at all.
//!
//! A plugin is withdrawn when its file is taken away. A file that cannot be seen was not taken away: a network file
//! system that is stale, a permission that is missing and a directory that is gone all look like that, and would stop
//! every plugin at once. So a file is absent only where the directory was opened and listed, and the operating system
//! says that this directory has no such entry. One more thing looks like a directory without files: the mount point
//! of a file system that is no longer mounted. That is another directory than before, and empty, so nothing is said
//! about plugins by it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::error::AdmissionError;
use crate::file::{self, Stamp};

/// Which directory it is: device and inode.
pub(crate) type Identity = (u64, u64);

/// What can be said of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is there, in this state. It need not be a regular file.
    Here(Stamp),
    /// It was taken away.
    Absent,
    /// That cannot be said.
    Unknown(Reason),
}

/// Why it cannot be said whether a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The directory cannot be opened or listed.
    Directory(Errno),
    /// The directory is another one than before, and has no plugin in it.
    Replaced,
    /// The directory can be read, the file cannot be looked at.
    File(Errno),
}

impl Reason {
    /// Whether it is the same for all plugins.
    pub(crate) const fn is_about_directory(self) -> bool {
        matches!(self, Self::Directory(_) | Self::Replaced)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(error) | Self::File(error) => io::Error::from(*error).fmt(f),
            Self::Replaced => f.write_str(
                "it is another directory than before, and has no plugin in it: is a file system not mounted?",
            ),
        }
    }
}

/// The directory in which plugins' files are.
#[derive(Debug)]
pub(crate) struct PluginDirectory {
    path: PathBuf,
    /// The directory that a plugin was last seen in.
    home: Mutex<Option<Identity>>,
}

impl PluginDirectory {
    /// The directory at this path, which need not exist.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            home: Mutex::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What can be said of a plugin's file. A name that no file can have is absent.
    pub(crate) fn look(&self, plugin: &str) -> Presence {
        match file::path(Path::new(""), plugin) {
            Ok(name) => self.look_at(&name),
            Err(_) => Presence::Absent,
        }
    }

    /// The same of a plugin's signature.
    pub(crate) fn look_at_signature(&self, plugin: &str) -> Presence {
        match file::path(Path::new(""), plugin) {
            Ok(name) => self.look_at(&file::signature_path(&name)),
            Err(_) => Presence::Absent,
        }
    }

    fn look_at(&self, name: &Path) -> Presence {
        let opened = self.open();
        let looked = opened
            .as_ref()
            .map(|directory| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW));
        match looked {
            Ok(Ok(found)) => {
                if let Ok(directory) = &opened {
                    self.remember(directory.as_fd());
                }
                Presence::Here(Stamp::of_stat(&found))
            }
            Ok(Err(Errno::NOENT)) => match opened.and_then(|directory| self.examine(directory)) {
                Ok(None) => Presence::Absent,
                Ok(Some(reason)) => Presence::Unknown(reason),
                Err(error) => Presence::Unknown(Reason::Directory(error)),
            },
            // A directory that may be listed and not searched fails so for each of its files.
            Ok(Err(error @ Errno::ACCESS)) => Presence::Unknown(Reason::Directory(error)),
            Ok(Err(error)) => Presence::Unknown(Reason::File(error)),
            Err(error) => Presence::Unknown(Reason::Directory(*error)),
        }
    }

    /// Whether the directory is there, and which one it is.
    ///
    /// # Errors
    /// Why nothing can be said about any plugin.
    pub(crate) fn check(&self) -> Result<Identity, Reason> {
        let directory = self.open().map_err(Reason::Directory)?;
        let identity = identity(directory.as_fd()).map_err(Reason::Directory)?;
        // What asks for the permission to search it.
        if let Err(error) = statat(&directory, ".", AtFlags::empty()) {
            return Err(Reason::Directory(error));
        }
        match self.examine(directory) {
            Ok(None) => Ok(identity),
            Ok(Some(reason)) => Err(reason),
            Err(error) => Err(Reason::Directory(error)),
        }
    }

    fn open(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(CWD, &self.path, flags, Mode::empty())
    }

    /// Lists the directory, as far as it takes: to its first entry where it is the known one, to the first plugin in
    /// it where it is not. Gives why an entry that it lacks need not have been taken away.
    fn examine(&self, directory: OwnedFd) -> Result<Option<Reason>, Errno> {
        let identity = identity(directory.as_fd())?;
        let mut home = self.home.lock();
        let is_known = home.is_none_or(|home| home == identity);
        for entry in Dir::new(directory)? {
            let entry = entry?;
            if is_known {
                return Ok(None);
            }
            if entry.file_name().to_bytes().ends_with(b".wasm") {
                *home = Some(identity);
                return Ok(None);
            }
        }
        Ok((!is_known).then_some(Reason::Replaced))
    }

    fn remember(&self, directory: BorrowedFd<'_>) {
        if let Ok(identity) = identity(directory) {
            *self.home.lock() = Some(identity);
        }
    }

    /// What a look at a plugin's file says of one that could not be read because it is missing.
    pub(crate) fn missing(&self, plugin: &str, path: &Path) -> AdmissionError {
        let path = path.to_owned();
        match self.look(plugin) {
            Presence::Absent => AdmissionError::Missing { path },
            // It came, or came back, in this moment.
            Presence::Here(_) => AdmissionError::Changing { path },
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

fn identity(directory: BorrowedFd<'_>) -> Result<Identity, Errno> {
    let Stat { st_dev, st_ino, .. } = fstat(directory)?;
    Ok((st_dev, st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::io::Errno;

    use super::{PluginDirectory, Presence, Reason};

    fn unknown(directory: &PluginDirectory) -> Reason {
        match directory.look("p") {
            Presence::Unknown(reason) => reason,
            said => panic!("{said:?}"),
        }
    }

    #[test]
    fn u3_only_a_directory_that_can_be_read_says_that_a_file_was_taken_away() {
        let root = tempfile::tempdir().unwrap();
        let (at, aside) = (root.path().join("plugins"), root.path().join("aside"));
        fs::create_dir(&at).unwrap();
        let directory = PluginDirectory::new(at.clone());
        assert_eq!(directory.look("p"), Presence::Absent, "before anything was seen");
        fs::write(at.join("p.wasm"), b"p").unwrap();
        assert!(matches!(directory.look("p"), Presence::Here(_)));
        assert!(directory.check().is_ok());

        fs::rename(&at, &aside).unwrap();
        assert_eq!(unknown(&directory), Reason::Directory(Errno::NOENT));
        assert_eq!(directory.check(), Err(Reason::Directory(Errno::NOENT)));
        fs::write(&at, b"a file").unwrap();
        assert_eq!(unknown(&directory), Reason::Directory(Errno::NOTDIR));
        fs::remove_file(&at).unwrap();
        symlink(&at, &at).unwrap();
        assert_eq!(unknown(&directory), Reason::Directory(Errno::LOOP));
        fs::remove_file(&at).unwrap();

        fs::rename(&aside, &at).unwrap();
        assert!(matches!(directory.look("p"), Presence::Here(_)));
        fs::remove_file(at.join("p.wasm")).unwrap();
        assert_eq!(directory.look("p"), Presence::Absent, "in the directory itself");
        assert!(directory.check().is_ok(), "an operator may take all of them away");
    }

    #[test]
    fn u3_another_directory_without_plugins_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (at, aside) = (root.path().join("plugins"), root.path().join("aside"));
        fs::create_dir(&at).unwrap();
        fs::write(at.join("p.wasm"), b"p").unwrap();
        let directory = PluginDirectory::new(at.clone());
        assert!(matches!(directory.look("p"), Presence::Here(_)));
        fs::rename(&at, &aside).unwrap();
        fs::create_dir(&at).unwrap();
        assert_eq!(unknown(&directory), Reason::Replaced);
        fs::write(at.join("lost+found"), b"").unwrap();
        assert_eq!(unknown(&directory), Reason::Replaced);
        assert_eq!(directory.check(), Err(Reason::Replaced));
        // One that has plugins is what the operator put there, and says which ones there are.
        fs::write(at.join("q.wasm"), b"q").unwrap();
        assert_eq!(directory.look("p"), Presence::Absent);
        assert!(directory.check().is_ok());
    }
}
