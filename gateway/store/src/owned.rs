//! Files that nobody else may put in place or change.
//!
//! A file or directory is safe if it belongs to this process's user or to root, if neither its group nor others may write
//! it, and if nobody else can put another in its place: no directory on the way to it may be written by everybody, unless
//! it is sticky (as `/tmp` is), where only the owner of an entry can replace it; and no symbolic link on the way may belong
//! to somebody else.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Most symbolic links that are followed, as in Linux.
const LINKS: usize = 40;

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;

/// A file or directory that somebody else controls. It was not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// It is somebody else's.
    #[error(
        "{} belongs to the user with the id {owner}, and this process runs as {me}: {}",
        path.display(),
        advice(path, *owner, *group, *me)
    )]
    Owner {
        /// Which one.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its group.
        group: u32,
        /// Who this process runs as.
        me: u32,
    },
    /// Others may write it.
    #[error("{who} may write {}: run `chmod {mode} {}`", path.display(), path.display())]
    Writable {
        /// Which one.
        path: PathBuf,
        /// Who may.
        who: &'static str,
        /// What takes the permission away.
        mode: &'static str,
    },
    /// Everybody may add files to it, as in `/tmp`.
    #[error("everybody may add files to {}: use a directory that belongs to the gateway alone", path.display())]
    Shared {
        /// Which directory.
        path: PathBuf,
    },
}

fn advice(path: &Path, owner: u32, group: u32, me: u32) -> String {
    let path = path.display();
    if me == 0 {
        format!(
            "run the gateway and its commands as that user, as in `setpriv --reuid={owner} --regid={group} \
             --clear-groups gateway …`, or give it to root with `chown -R root {path}`"
        )
    } else {
        format!("run the gateway as that user, or run `chown -R {me} {path}` as root")
    }
}

/// Whether a directory is safe to keep data in. One that is not there is.
///
/// # Errors
/// See [`Unsafe`].
pub fn directory(path: &Path) -> Result<(), Unsafe> {
    let Some(real) = way(path)? else { return Ok(()) };
    itself(&real)
}

/// Whether a file is safe to read secrets or data from. One that is not there is.
///
/// # Errors
/// See [`Unsafe`].
pub fn file(path: &Path) -> Result<(), Unsafe> {
    directory(path)
}

/// Whether a database and the directory that it and its log are in are safe.
///
/// # Errors
/// See [`Unsafe`].
pub(crate) fn database(path: &Path) -> Result<(), Unsafe> {
    let real = way(path)?.unwrap_or_else(|| path.to_owned());
    if let Some(parent) = real.parent() {
        directory(parent)?;
    }
    for beside in ["", "-wal", "-shm", "-journal", "-versions"] {
        let mut name = OsString::from(&real);
        name.push(beside);
        file(Path::new(&name))?;
    }
    Ok(())
}

/// Goes to a path from the root. Gives where it really is; `None`: it is not there, or cannot be looked at, which
/// whoever opens it will find out.
fn way(path: &Path) -> Result<Option<PathBuf>, Unsafe> {
    let Ok(path) = std::path::absolute(path) else {
        return Ok(None);
    };
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut rest: VecDeque<OsString> = parts(&path);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let Ok(directory) = fs::symlink_metadata(&at) else {
            return Ok(None);
        };
        let mode = directory.mode();
        let shared = mode & OTHERS_WRITE != 0;
        if shared && mode & STICKY == 0 {
            return Err(writable(&at, mode));
        }
        let next = at.join(&name);
        let Ok(entry) = fs::symlink_metadata(&next) else {
            return Ok(None);
        };
        if shared || entry.is_symlink() {
            owner(&next, &entry)?;
        }
        if !entry.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        let Some(target) = fs::read_link(&next).ok().filter(|_| links <= LINKS) else {
            return Ok(None);
        };
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for part in parts(&target).into_iter().rev() {
            rest.push_front(part);
        }
    }
    Ok(Some(at))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn itself(path: &Path) -> Result<(), Unsafe> {
    match fs::metadata(path) {
        Ok(entry) => {
            owner(path, &entry)?;
            // Of a device or a pipe it is not the file that matters: /dev/stdin, <(command).
            if entry.mode() & (OTHERS_WRITE | GROUP_WRITES) != 0 && (entry.is_file() || entry.is_dir()) {
                if entry.is_dir() && entry.mode() & OTHERS_WRITE != 0 && entry.mode() & STICKY != 0 {
                    return Err(Unsafe::Shared {
                        path: path.to_owned(),
                    });
                }
                return Err(writable(path, entry.mode()));
            }
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

fn owner(path: &Path, entry: &Metadata) -> Result<(), Unsafe> {
    let me = me();
    if [0, me].contains(&entry.uid()) {
        return Ok(());
    }
    Err(Unsafe::Owner {
        path: path.to_owned(),
        owner: entry.uid(),
        group: entry.gid(),
        me,
    })
}

fn writable(path: &Path, mode: u32) -> Unsafe {
    let (who, mode) = if mode & OTHERS_WRITE != 0 {
        ("everybody", "go-w")
    } else {
        ("the group", "g-w")
    };
    Unsafe::Writable {
        path: path.to_owned(),
        who,
        mode,
    }
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

impl From<Unsafe> for io::Error {
    fn from(error: Unsafe) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, error)
    }
}

#[cfg(test)]
mod tests;
