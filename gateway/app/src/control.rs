//! A socket in the data directory through which commands on the same machine reach a running gateway.
//!
//! Only the gateway's user and root can use it: the directory's mode is 0700, and the gateway checks the peer's user
//! ID. Several gateways may share a data directory; each has its own socket. A command sends one line and receives one
//! line of JSON. Before that, it may receive empty lines, with which the gateway shows that it is alive.
//!
//! | line | answer |
//! |---|---|
//! | `status` | [`Status`]: where this gateway listens |
//! | `reload` | [`Reloaded`]: whether the new configuration is in force |
//! | `reload wait` | the same, after every plugin's file was checked |

use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use gateway_model::{Random, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

const PREFIX: &str = "gateway-";
const SUFFIX: &str = ".sock";
const MAX_QUESTION: u64 = 64;
/// Enough for the mistakes of a large configuration.
const MAX_ANSWER: u64 = 16 << 20;
/// How long a command may take to ask, and a gateway to answer `status`.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a gateway that is still reloading shows that it is alive.
const ALIVE: Duration = Duration::from_secs(5);
/// How long a command waits for a line from a gateway that reloads. Gateways of earlier versions can be silent for 30
/// seconds.
const SILENCE: Duration = Duration::from_secs(40);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    /// The addresses of all listeners.
    pub(crate) listens: Vec<SocketAddr>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    pub(crate) pid: u32,
    /// The mistakes, as in the log. If there are any, the previous configuration stays in force.
    pub(crate) errors: Vec<String>,
    /// Settings that are probably not intended, and settings that need a restart.
    pub(crate) warnings: Vec<String>,
    /// The plugins whose files do not serve under the current configuration, and why.
    pub(crate) plugins: Vec<String>,
    /// The plugins whose files are still being compiled or tried under the current configuration.
    #[serde(default)]
    pub(crate) being_admitted: Vec<String>,
}

/// A command that waits for the result of a reload.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Whether it waits until the plugins' files were checked.
    pub(crate) waits_for_plugins: bool,
    /// Fails if the command has ended.
    pub(crate) answer: oneshot::Sender<Reloaded>,
}

/// The gateway's socket. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// [`ALIVE`], except in tests.
    alive: Duration,
}

impl Control {
    /// Creates a socket, and removes the sockets of gateways that were killed.
    pub(crate) async fn bind(data_dir: &Path) -> io::Result<Self> {
        remove_left_over(data_dir).await;
        let mut bytes = [0; 8];
        SystemRandom.fill(&mut bytes).map_err(io::Error::other)?;
        let name = format!("{PREFIX}{}{SUFFIX}", hex::encode(bytes));
        // The socket gets its name when it listens. Before that, it would look like that of a killed gateway.
        let draft = data_dir.join(format!(".new-{}", hex::encode(bytes)));
        let listener = UnixListener::bind(&ShortPath::of(&draft)?.path)?;
        let path = data_dir.join(name);
        if let Err(error) = std::fs::rename(&draft, &path) {
            let _ = std::fs::remove_file(&draft);
            return Err(error);
        }
        Ok(Self {
            listener,
            path,
            alive: ALIVE,
        })
    }

    /// Answers commands until `shutdown`. Passes requests for a reload to `reloads`.
    pub(crate) async fn run(self, status: Status, reloads: mpsc::Sender<Asked>, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (status, reloads, alive) = (status.clone(), reloads.clone(), self.alive);
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, &status, &reloads, alive).await {
                            tracing::debug!(%error, "a command was not answered");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket does not work");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(
    stream: UnixStream,
    status: &Status,
    reloads: &mpsc::Sender<Asked>,
    alive: Duration,
) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    if user != 0 && user != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (from, mut to) = stream.into_split();
    let mut line = String::new();
    let mut from = BufReader::new(from.take(MAX_QUESTION));
    timeout(PATIENCE, from.read_line(&mut line)).await??;
    let mut text = match line.trim_end() {
        "status" => serde_json::to_vec(status)?,
        question @ ("reload" | "reload wait") => {
            let waits_for_plugins = question != "reload";
            let reloaded = reload_here(reloads, waits_for_plugins);
            tokio::pin!(reloaded);
            let mut alive = interval_at(Instant::now() + alive, alive);
            let reloaded = loop {
                tokio::select! {
                    reloaded = &mut reloaded => break reloaded?,
                    _ = alive.tick() => timeout(PATIENCE, to.write_all(b"\n")).await??,
                }
            };
            serde_json::to_vec(&reloaded)?
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    text.push(b'\n');
    timeout(PATIENCE, to.write_all(&text)).await?
}

async fn reload_here(reloads: &mpsc::Sender<Asked>, waits_for_plugins: bool) -> io::Result<Reloaded> {
    let ends = || io::Error::other("the gateway is shutting down");
    let (answer, answered) = oneshot::channel();
    let asked = Asked {
        waits_for_plugins,
        answer,
    };
    reloads.send(asked).await.map_err(|_| ends())?;
    answered.await.map_err(|_| ends())
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error(
        "cannot look for the gateway's socket in {}: {error}: run this command as the user that the gateway runs as, or as root",
        directory.display()
    )]
    Closed { directory: PathBuf, error: io::Error },
    #[error(
        "the gateway's socket {} cannot be opened: {error}: run this command as the user that the gateway runs as, or as root",
        path.display()
    )]
    Denied { path: PathBuf, error: io::Error },
    #[error(
        "the gateway at {} did not respond for {} s, and may or may not reload: is the process stopped or stuck?",
        path.display(),
        after.as_secs()
    )]
    Silent { path: PathBuf, after: Duration },
    #[error("the gateway at {} did not answer: {error}", path.display())]
    Failed { path: PathBuf, error: io::Error },
}

/// Returns the status of each gateway that uses this data directory.
pub(crate) async fn running(data_dir: &Path) -> Vec<Status> {
    let sockets = sockets(data_dir).unwrap_or_default();
    let asked = sockets.iter().map(|path| ask(path, "status", PATIENCE));
    join_all(asked).await.into_iter().flatten().flatten().collect()
}

/// Makes every gateway that uses this data directory reload its configuration. Waits until they have, or also until
/// they have checked every plugin's file. Returns the answers, and the reasons for those that are missing.
pub(crate) async fn reload(
    data_dir: &Path,
    waits_for_plugins: bool,
) -> Result<(Vec<Reloaded>, Vec<NoAnswer>), NoAnswer> {
    let sockets = sockets(data_dir).map_err(|error| NoAnswer::Closed {
        directory: data_dir.to_owned(),
        error,
    })?;
    let question = if waits_for_plugins {
        "reload wait"
    } else {
        "reload"
    };
    let (mut answers, mut silent) = (Vec::new(), Vec::new());
    for asked in join_all(sockets.iter().map(|path| ask(path, question, SILENCE))).await {
        match asked {
            None => {}
            Some(Ok(answer)) => answers.push(answer),
            Some(Err(error)) => silent.push(error),
        }
    }
    Ok((answers, silent))
}

/// Asks the gateway behind a socket, which may be silent for `silence` at a time. Returns `None` if it is not running.
async fn ask<T: DeserializeOwned>(
    path: &Path,
    question: &str,
    silence: Duration,
) -> Option<Result<T, NoAnswer>> {
    let failed = |error| NoAnswer::Failed {
        path: path.to_owned(),
        error,
    };
    let stream = match connect(path).await {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => None,
                io::ErrorKind::PermissionDenied => Some(Err(NoAnswer::Denied {
                    path: path.to_owned(),
                    error,
                })),
                _ => Some(Err(failed(error))),
            };
        }
    };
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from.take(MAX_ANSWER));
    let asked = async {
        let silent = |_| NoAnswer::Silent {
            path: path.to_owned(),
            after: silence,
        };
        let question = format!("{question}\n");
        timeout(silence, to.write_all(question.as_bytes()))
            .await
            .map_err(silent)?
            .map_err(failed)?;
        loop {
            let mut line = String::new();
            let read = timeout(silence, from.read_line(&mut line)).await;
            read.map_err(silent)?.map_err(failed)?;
            if line.is_empty() {
                let error = "it closed the connection: it may have ended, have another version, or run as another user";
                return Err(failed(io::Error::other(error)));
            }
            if !line.trim().is_empty() {
                return serde_json::from_str(&line).map_err(|error| failed(io::Error::other(error)));
            }
        }
    };
    Some(asked.await)
}

/// Connects without waiting: fails if the socket's backlog is full.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&ShortPath::of(path)?.path).await
}

/// Lists the sockets in a data directory. A missing directory has none.
fn sockets(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut sockets = paths?;
    sockets.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PREFIX) && name.ends_with(SUFFIX)
    });
    sockets.sort();
    Ok(sockets)
}

async fn remove_left_over(data_dir: &Path) {
    for path in sockets(data_dir).unwrap_or_default() {
        let connected = connect(&path).await;
        if connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Longest path of a socket (unix(7)), including the terminating zero.
const MAX_PATH: usize = 108;

/// The path of a socket, through its directory's file descriptor if it is too long.
struct ShortPath {
    path: PathBuf,
    /// Must stay open while the path is in use.
    _directory: Option<std::fs::File>,
}

impl ShortPath {
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() < MAX_PATH {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let directory = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&directory);
        let name = path.file_name().unwrap_or_default();
        Ok(Self {
            path: Path::new(&format!("/proc/self/fd/{descriptor}")).join(name),
            _directory: Some(directory),
        })
    }
}

#[cfg(test)]
mod tests;
