//! Reading a small file that an operator names: the configuration, a key, a secret, a token.
//!
//! A path may lead to something that never ends or never begins: a named pipe without a writer, `/dev/zero`, a socket, a
//! directory. Whoever reads such a file waits for good, and with it the reload, the start or the command. So only regular
//! files of a bounded size are read, and nothing is opened that could make the caller wait.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is something else.
    #[error("it is {0}, not a regular file")]
    NotAFile(&'static str),
    /// It is larger than what is looked for can be.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// It is not text.
    #[error("it is not UTF-8 text")]
    NotText,
    /// Nothing more came, and it did not end.
    #[error("it did not end within {} s", .0.as_secs())]
    Endless(Duration),
    /// The operating system says no.
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

/// Reads a regular file of `max` bytes at most. Also returns what the operating system says of the file that was read.
///
/// # Errors
/// See [`ReadError`].
pub fn read(path: &Path, max: u64) -> Result<(Vec<u8>, Metadata), ReadError> {
    // Looked at before it is opened: a writer that waits at a pipe must not take this for its reader.
    regular(&std::fs::metadata(path)?)?;
    // And opened so that a pipe that has taken its place meanwhile makes nobody wait.
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

/// The same, for text.
///
/// # Errors
/// See [`ReadError`].
pub fn read_text(path: &Path, max: u64) -> Result<(String, Metadata), ReadError> {
    let (bytes, metadata) = read(path, max)?;
    let text = String::from_utf8(bytes).map_err(|_| ReadError::NotText)?;
    Ok((text, metadata))
}

/// Where a command line may have a text come from that is no regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard input.
    Stdin,
    /// A pipe, as in `<(command)`.
    Pipe(PathBuf),
}

/// Whether a path leads to a pipe.
#[must_use]
pub fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Reads text of `max` bytes at most from a pipe or standard input, which must end within `patience`. For commands, which
/// end when this has failed: the thread that reads stays.
///
/// # Errors
/// See [`ReadError`].
pub fn read_stream(from: Stream, max: u64, patience: Duration) -> Result<String, ReadError> {
    let (done, ends) = sync_channel(1);
    thread::spawn(move || {
        let bytes = match from {
            Stream::Stdin => take(io::stdin().lock(), max),
            Stream::Pipe(path) => File::open(path)
                .map_err(ReadError::from)
                .and_then(|file| take(file, max)),
        };
        // Nobody waits for it any more where this fails.
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
