//! A socket in the data directory by which commands on the same machine reach a running gateway.
//!
//! Only the gateway's own user and root can use it: the directory is 0700, and the gateway checks the peer's user ID.
//! Several gateways may share a data directory; each has a socket of its own. A command sends one line and gets one line of
//! JSON, after any number of empty lines, which say that the gateway is alive:
//!
//! | line | answer |
//! |---|---|
//! | `status` | [`Status`]: where this gateway listens |
//! | `reload` | [`Reloaded`]: whether the configuration was read again and is in force, once that is known |
//! | `reload wait` | the same, once every plugin's file was looked at |

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

/// What the names of sockets begin and end with.
const PREFIX: &str = "gateway-";
const SUFFIX: &str = ".sock";
/// Longest question.
const MAX_QUESTION: u64 = 64;
/// Longest answer: the mistakes of a large configuration.
const MAX_ANSWER: u64 = 16 << 20;
/// How long a command may take to ask, and a gateway to say where it listens.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a gateway that has no answer yet says that it is alive.
const ALIVE: Duration = Duration::from_secs(5);
/// How long a command waits for a word of a gateway that reloads. A gateway of an earlier version
/// says nothing for 30 seconds.
const SILENCE: Duration = Duration::from_secs(40);

/// Where a gateway listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// The addresses of all its listeners.
    pub listens: Vec<SocketAddr>,
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The gateway's process.
    pub pid: u32,
    /// What is wrong, as the log has it. Where there is anything, what was in force stays in force.
    pub errors: Vec<String>,
    /// What works and is probably not meant, and what needs a restart.
    pub warnings: Vec<String>,
    /// The plugins whose files do not serve under the configuration that is in force now, and why.
    pub plugins: Vec<String>,
    /// The plugins whose files have not been looked at yet under that configuration, as they are being compiled or tried.
    #[serde(default)]
    pub being_admitted: Vec<String>,
}

/// A command that waits for the answer.
#[derive(Debug)]
pub struct Asked {
    /// Whether it waits until the plugins' files were looked at.
    pub waits_for_plugins: bool,
    /// Where the answer goes. The command may have gone.
    pub answer: oneshot::Sender<Reloaded>,
}

/// The socket; its file is removed with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// How often it says that it is alive.
    alive: Duration,
}

impl Control {
    /// Creates a socket, and removes the sockets of gateways that were killed.
    ///
    /// # Errors
    /// When the directory cannot have sockets.
    pub async fn bind(data_dir: &Path) -> io::Result<Self> {
        remove_left_over(data_dir).await;
        let mut bytes = [0; 8];
        SystemRandom.fill(&mut bytes).map_err(io::Error::other)?;
        let name = format!("{PREFIX}{}{SUFFIX}", hex::encode(bytes));
        // It gets its name when it can be asked: before that it would look left over.
        let draft = data_dir.join(format!(".new-{}", hex::encode(bytes)));
        let listener = UnixListener::bind(ShortPath::of(&draft)?.path())?;
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

    /// Answers until `shutdown`. Reloads are the business of whoever has the other end of `reloads`.
    pub async fn run(self, status: Status, reloads: mpsc::Sender<Asked>, shutdown: CancellationToken) {
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
    let ends = || io::Error::other("the gateway ends");
    let (answer, answered) = oneshot::channel();
    let asked = Asked {
        waits_for_plugins,
        answer,
    };
    reloads.send(asked).await.map_err(|_| ends())?;
    answered.await.map_err(|_| ends())
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The sockets cannot be seen.
    #[error(
        "cannot look for the gateway's socket in {}: {error}: run this command as the user that the gateway runs as, or as root",
        directory.display()
    )]
    Closed {
        /// The data directory.
        directory: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// There is a socket, and this user may not use it.
    #[error(
        "the gateway's socket {} cannot be opened: {error}: run this command as the user that the gateway runs as, or as root",
        path.display()
    )]
    Denied {
        /// The socket.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Whoever has the socket says nothing.
    #[error(
        "the gateway at {} said nothing for {} s, and whether it will reload is not known: is the process stopped or stuck?",
        path.display(),
        after.as_secs()
    )]
    Silent {
        /// The socket.
        path: PathBuf,
        /// For how long nothing was said.
        after: Duration,
    },
    /// The exchange failed.
    #[error("the gateway at {} did not answer: {error}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Where the gateways listen that serve with this data directory.
pub async fn running(data_dir: &Path) -> Vec<Status> {
    let sockets = sockets(data_dir).unwrap_or_default();
    let asked = sockets.iter().map(|path| ask(path, "status", PATIENCE));
    join_all(asked).await.into_iter().flatten().flatten().collect()
}

/// Has every gateway that serves with this data directory read its configuration again, and waits until they have, or until
/// they have looked at every plugin's file, too. Returns their answers, and why there are none of others.
///
/// # Errors
/// When the directory cannot be looked at.
pub async fn reload(
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

/// Asks the gateway that has a socket, which may say nothing for `silence` at most; `None` where it does not run any more.
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
        Err(error) if is_left_over(&error) => return None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let path = path.to_owned();
            return Some(Err(NoAnswer::Denied { path, error }));
        }
        Err(error) => return Some(Err(failed(error))),
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
                let error = "it closed the connection: it may have ended, or be of another version, or not run as this user";
                return Err(failed(io::Error::other(error)));
            }
            if !line.trim().is_empty() {
                return serde_json::from_str(&line).map_err(|error| failed(io::Error::other(error)));
            }
        }
    };
    Some(asked.await)
}

/// Connects to a socket. Where too many wait for whoever has it, that fails and nobody waits.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(ShortPath::of(path)?.path()).await
}

fn is_left_over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

/// The sockets of a data directory; none where there is no directory.
///
/// # Errors
/// When it cannot be read.
fn sockets(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut sockets = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            sockets.push(entry.path());
        }
    }
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

/// Longest path of a socket (unix(7)), its end included.
const MAX_PATH: usize = 108;

/// The path of a socket, by way of its directory's file descriptor where it is too long.
struct ShortPath {
    path: PathBuf,
    /// Open while the path is in use.
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

    fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests;
