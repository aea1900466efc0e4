//! Checks that no other user can replace or change a file.
//!
//! A file or directory is safe if it belongs to this process's user or to root, if neither its group nor others may
//! write to it, and if no other user can replace it: no directory on the path to it may be writable by everybody,
//! unless it is sticky (as `/tmp` is), where only the owner of an entry can replace it; and no symbolic link on the
//! path may belong to another user.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use crate::wal;

/// The most symbolic links that are followed, as in Linux.
const LINKS: usize = 40;

const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;

/// A file or directory that another user controls. It was not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum Unsafe {
    /// It belongs to another user.
    #[error(
        "{} belongs to the user with the id {owner}, and this process runs as {me}: {}",
        path.display(),
        advice(path, *owner, *group, *me)
    )]
    Owner {
        path: PathBuf,
        owner: u32,
        group: u32,
        me: u32,
    },
    /// Others may write to it. `mode` is the argument for `chmod` that changes this.
    #[error("{who} may write {}: run `chmod {mode} {}`", path.display(), path.display())]
    Writable {
        path: PathBuf,
        who: &'static str,
        mode: &'static str,
    },
    /// Everybody may add files to it, as in `/tmp`.
    #[error("everybody may add files to {}: use a directory that belongs to the gateway alone", path.display())]
    Shared { path: PathBuf },
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

/// Checks that a directory is safe to keep data in. A missing one is.
///
/// # Errors
/// See [`Unsafe`].
pub fn directory(path: &Path) -> Result<(), Unsafe> {
    way(path)?.map_or(Ok(()), |real| itself(&real))
}

/// Checks that a file is safe to read secrets or data from. A missing one is.
///
/// # Errors
/// See [`Unsafe`].
pub fn file(path: &Path) -> Result<(), Unsafe> {
    directory(path)
}

/// Checks that a database, the files beside it, and their directory are safe.
pub(crate) fn database(path: &Path) -> Result<(), Unsafe> {
    let real = way(path)?.unwrap_or_else(|| path.to_owned());
    if let Some(parent) = real.parent() {
        directory(parent)?;
    }
    for suffix in ["", "-wal", "-shm", "-journal", "-versions"] {
        file(&wal::beside(&real, suffix))?;
    }
    Ok(())
}

/// Follows a path from the root and returns its real location, or `None` if it does not exist or cannot be examined:
/// opening it will report that.
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
    let Ok(entry) = fs::metadata(path) else {
        return Ok(());
    };
    owner(path, &entry)?;
    // The mode of a device or a pipe does not matter: /dev/stdin, <(command).
    if entry.mode() & (OTHERS_WRITE | GROUP_WRITES) == 0 || !(entry.is_file() || entry.is_dir()) {
        return Ok(());
    }
    if entry.is_dir() && entry.mode() & OTHERS_WRITE != 0 && entry.mode() & STICKY != 0 {
        return Err(Unsafe::Shared {
            path: path.to_owned(),
        });
    }
    Err(writable(path, entry.mode()))
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
