//! Reads a plugin's file once: a regular file, not a pipe, not too large, and not while somebody writes to it.
//! `directory` opens it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::MmapMut;
use rustix::fs::Stat;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::AdmissionError;

/// Bytes of the largest component. An interpreter for Python with its library is about 40 MiB.
pub(crate) const MAX_FILE: u64 = 128 << 20;

/// Bytes of the largest signature file.
pub(crate) const MAX_SIGNATURE: u64 = 1024;

/// A component's file.
#[derive(Clone, Debug)]
pub struct PluginFile {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its SHA-256, in hex.
    pub digest: String,
    /// Its part of the memory that all files may take together.
    pub(crate) _memory: Option<Arc<OwnedSemaphorePermit>>,
}

impl PluginFile {
    pub(crate) fn of(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            digest: hex::encode(Sha256::digest(&bytes)),
            bytes,
            _memory: None,
        }
    }
}

/// The state of a file, to notice a change without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    pub(crate) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(crate) fn of_stat(stat: &Stat) -> Self {
        #[expect(clippy::cast_sign_loss, reason = "no file has fewer bytes than none")]
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
            modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            changed: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }
}

/// The path of a plugin's file. Rejects names that could leave the directory.
pub(crate) fn path(directory: &Path, name: &str) -> Result<PathBuf, AdmissionError> {
    let plain = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain {
        Ok(directory.join(format!("{name}.wasm")))
    } else {
        Err(AdmissionError::Name {
            name: gateway_sandbox::text::printable(name, 128),
        })
    }
}

/// The path of the signature beside a plugin's file.
pub(crate) fn signature_path(path: &Path) -> PathBuf {
    path.with_added_extension("sig")
}

/// Reads a file of at most `max` bytes. `path` is for messages.
pub(crate) fn read_open(file: &File, path: &Path, max: u64) -> Result<PluginFile, AdmissionError> {
    let owned = || path.to_owned();
    let unreadable = |error: io::Error| AdmissionError::Unreadable {
        path: path.to_owned(),
        error: error.to_string(),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(AdmissionError::NotAFile { path: owned() });
    }
    if metadata.len() == 0 {
        return Err(AdmissionError::Empty { path: owned() });
    }
    if metadata.len() > max {
        return Err(AdmissionError::TooLarge {
            path: owned(),
            limit: max,
        });
    }
    // Mapped memory, because the allocator keeps what is freed: an idle gateway would hold as much as its largest
    // plugins.
    let length = usize::try_from(metadata.len()).map_err(|error| unreadable(io::Error::other(error)))?;
    let mut bytes = MmapMut::map_anon(length).map_err(unreadable)?;
    let mut reader = file;
    let read = reader.read_exact(&mut bytes);
    let after = file.metadata().map_err(unreadable)?;
    if Stamp::of(&after) != Stamp::of(&metadata) {
        return Err(AdmissionError::Changing { path: owned() });
    }
    read.map_err(unreadable)?;
    // defence: file-is-read-once (a test fails without it: docs/defences.md)
    Ok(PluginFile::of(Bytes::from_owner(bytes)))
}

#[cfg(test)]
mod tests;
