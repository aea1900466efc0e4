//! Reads small files that an operator names: the configuration, a key, a secret, a token.
//!
//! A path can lead to something that blocks or never ends: a named pipe without a writer, `/dev/zero`, a socket.
//! Reading it would block the start, the reload or the command forever. So only regular files of a bounded size are
//! read, and opening never blocks.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("it is {0}, not a regular file")]
    NotAFile(&'static str),
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("it did not end within {} s", .0.as_secs())]
    Endless(Duration),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            ReadError::NotText => Self::new(io::ErrorKind::InvalidData, error),
            ReadError::TooLarge(_) => Self::new(io::ErrorKind::FileTooLarge, error),
            ReadError::Endless(_) => Self::new(io::ErrorKind::TimedOut, error),
            ReadError::NotAFile(_) => Self::new(io::ErrorKind::InvalidInput, error),
        }
    }
}

/// Reads a regular file of at most `max` bytes. Also returns the metadata of the file that was read.
pub(crate) fn read(path: &Path, max: u64) -> Result<(Vec<u8>, Metadata), ReadError> {
    // Checked before opening, so that a writer that waits at a pipe does not take this for its reader.
    regular(&std::fs::metadata(path)?)?;
    // A pipe that has replaced the file meanwhile must not block.
    #[expect(clippy::cast_possible_wrap, reason = "the flags are a C int")]
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY).bits() as i32)
        .open(path)?;
    let metadata = file.metadata()?;
    regular(&metadata)?;
    if metadata.len() > max {
        return Err(ReadError::TooLarge(max));
    }
    Ok((take(file, max)?, metadata))
}

pub(crate) fn read_text(path: &Path, max: u64) -> Result<(String, Metadata), ReadError> {
    let (bytes, metadata) = read(path, max)?;
    let text = String::from_utf8(bytes).map_err(|_| ReadError::NotText)?;
    Ok((text, metadata))
}

/// A source on the command line that is not a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdin,
    /// A pipe, as in `<(command)`.
    Pipe(PathBuf),
}

pub(crate) fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Reads text of at most `max` bytes from a pipe or standard input, which must end within `patience`. For commands,
/// which exit if this fails: the reading thread goes on.
pub(crate) fn read_stream(from: Stream, max: u64, patience: Duration) -> Result<String, ReadError> {
    let (done, ends) = sync_channel(1);
    thread::spawn(move || {
        let bytes = match from {
            Stream::Stdin => take(io::stdin().lock(), max),
            Stream::Pipe(path) => File::open(path)
                .map_err(ReadError::from)
                .and_then(|file| take(file, max)),
        };
        // After a timeout, nobody receives it.
        let _ = done.send(bytes);
    });
    let bytes = ends.recv_timeout(patience).map_err(|error| match error {
        RecvTimeoutError::Timeout => ReadError::Endless(patience),
        RecvTimeoutError::Disconnected => {
            ReadError::Io(io::Error::other("the thread that reads it has ended"))
        }
    })??;
    String::from_utf8(bytes).map_err(|_| ReadError::NotText)
}

fn take(from: impl io::Read, max: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    from.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > max {
        return Err(ReadError::TooLarge(max));
    }
    Ok(bytes)
}

fn regular(metadata: &Metadata) -> Result<(), ReadError> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(ReadError::NotAFile(gateway_model::file::kind(
            metadata.file_type(),
        )))
    }
}

#[cfg(test)]
pub(crate) mod tests;
