//! A socket in the data directory by which commands on the same machine reach a running gateway.
//!
//! Only the gateway's own user and root can use it: the directory is 0700, and the gateway checks the peer's user ID.
//! Several gateways may share a data directory; each has a socket of its own. A command sends one line and gets one line of
//! JSON:
//!
//! | line | answer |
//! |---|---|
//! | `status` | [`Status`]: where this gateway listens |
//! | `reload` | [`Reloaded`]: whether the configuration was read again and is in force, once that is known |

use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway_model::{Random, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
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
}

/// A command waits for the answer.
pub type Asked = oneshot::Sender<Reloaded>;

/// The socket; its file is removed with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Creates a socket, and removes the sockets of gateways that were killed.
    ///
    /// # Errors
    /// When the directory cannot have sockets.
    pub fn bind(data_dir: &Path) -> io::Result<Self> {
        remove_left_over(data_dir);
        let mut bytes = [0; 8];
        SystemRandom.fill(&mut bytes).map_err(io::Error::other)?;
        let name = format!("{PREFIX}{}{SUFFIX}", hex::encode(bytes));
        // It gets its name when it can be asked: before that it would look left over.
        let draft = data_dir.join(format!(".new-{}", hex::encode(bytes)));
        let listener = with_short_path(&draft, |path| UnixListener::bind(path))?;
        let path = data_dir.join(name);
        if let Err(error) = std::fs::rename(&draft, &path) {
            let _ = std::fs::remove_file(&draft);
            return Err(error);
        }
        Ok(Self { listener, path })
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
                    let (status, reloads) = (status.clone(), reloads.clone());
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, &status, &reloads).await {
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

async fn answer(stream: UnixStream, status: &Status, reloads: &mpsc::Sender<Asked>) -> io::Result<()> {
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
        "reload" => {
            let (asked, answer) = oneshot::channel();
            let gone = |_| io::Error::other("the gateway ends");
            reloads
                .send(asked)
                .await
                .map_err(|_| io::Error::other("the gateway ends"))?;
            serde_json::to_vec(&answer.await.map_err(gone)?)?
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    text.push(b'\n');
    timeout(PATIENCE, to.write_all(&text)).await?
}

/// Why a gateway gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("the gateway at {} did not answer: {error}", path.display())]
pub struct NoAnswer {
    path: PathBuf,
    error: io::Error,
}

/// Where the gateways listen that serve with this data directory.
pub async fn running(data_dir: &Path) -> Vec<Status> {
    let mut running = Vec::new();
    for path in sockets(data_dir) {
        if let Ok(Some(Ok(status))) = timeout(PATIENCE, ask(&path, "status")).await {
            running.push(status);
        }
    }
    running
}

/// Has every gateway that serves with this data directory read its configuration again, and waits until they have.
///
/// # Errors
/// When one of them did not answer.
pub async fn reload(data_dir: &Path) -> Result<Vec<Reloaded>, NoAnswer> {
    let mut reloaded = Vec::new();
    for path in sockets(data_dir) {
        match ask(&path, "reload").await {
            None => {}
            Some(Ok(answer)) => reloaded.push(answer),
            Some(Err(error)) => return Err(NoAnswer { path, error }),
        }
    }
    Ok(reloaded)
}

/// Asks the gateway that has a socket; `None` where it does not run any more.
async fn ask<T: DeserializeOwned>(path: &Path, question: &str) -> Option<io::Result<T>> {
    let stream = match with_short_path(path, |path| std::os::unix::net::UnixStream::connect(path)) {
        Ok(stream) => stream,
        Err(error) if is_left_over(&error) => return None,
        Err(error) => return Some(Err(error)),
    };
    let asked = async {
        stream.set_nonblocking(true)?;
        let (from, mut to) = UnixStream::from_std(stream)?.into_split();
        to.write_all(format!("{question}\n").as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(from.take(MAX_ANSWER)).read_line(&mut line).await?;
        if line.is_empty() {
            return Err(io::Error::other("it closed the connection"));
        }
        serde_json::from_str(&line).map_err(io::Error::other)
    };
    Some(asked.await)
}

fn is_left_over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

/// The sockets of a data directory.
fn sockets(data_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data_dir).into_iter().flatten().flatten();
    let mut sockets: Vec<_> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(PREFIX) && name.ends_with(SUFFIX)
        })
        .map(|entry| entry.path())
        .collect();
    sockets.sort();
    sockets
}

fn remove_left_over(data_dir: &Path) {
    for path in sockets(data_dir) {
        let connected = with_short_path(&path, |path| std::os::unix::net::UnixStream::connect(path));
        if connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Longest path of a socket (unix(7)), its end included.
const MAX_PATH: usize = 108;

/// Does something with the path of a socket, by way of its directory's file descriptor where it is too long.
fn with_short_path<T>(path: &Path, work: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().as_bytes().len() < MAX_PATH {
        return work(path);
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = std::fs::File::open(parent)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&directory);
    let name = path.file_name().unwrap_or_default();
    work(&Path::new(&format!("/proc/self/fd/{descriptor}")).join(name))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::{Control, Reloaded, Status, reload, running, sockets};

    /// A gateway that answers `answer`.
    fn serve(data_dir: &Path, pid: u32, shutdown: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let control = Control::bind(data_dir).unwrap();
        let (reloads, mut asked) = mpsc::channel::<super::Asked>(1);
        tokio::spawn(async move {
            while let Some(asked) = asked.recv().await {
                let errors = vec![format!("mistake of {pid}")];
                let answer = Reloaded {
                    pid,
                    errors,
                    ..Reloaded::default()
                };
                let _ = asked.send(answer);
            }
        });
        let status = Status {
            pid,
            listens: vec![([127, 0, 0, 1], 80).into()],
        };
        tokio::spawn(control.run(status, reloads, shutdown.clone()))
    }

    #[tokio::test]
    async fn o8_every_gateway_of_a_data_directory_answers_and_those_that_are_gone_do_not() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than the path of a socket can be.
        let data_dir = dir.path().join("x".repeat(120));
        std::fs::create_dir(&data_dir).unwrap();
        assert_eq!(running(&data_dir).await, []);
        assert_eq!(reload(&data_dir).await.unwrap(), []);

        let shutdown = CancellationToken::new();
        let gateways = [serve(&data_dir, 1, &shutdown), serve(&data_dir, 2, &shutdown)];
        let mut pids: Vec<_> = running(&data_dir).await.iter().map(|status| status.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [1, 2]);
        let mut answers = reload(&data_dir).await.unwrap();
        answers.sort_by_key(|answer| answer.pid);
        assert_eq!(answers[1].errors, ["mistake of 2"]);

        shutdown.cancel();
        for gateway in gateways {
            gateway.await.unwrap();
        }
        assert!(sockets(&data_dir).is_empty(), "they are removed");

        // Of one that was killed there is one left, until the next one starts.
        let killed = Control::bind(&data_dir).unwrap();
        let path = killed.path.clone();
        let left_over = data_dir.join("kept");
        std::fs::hard_link(&path, &left_over).unwrap();
        drop(killed);
        std::fs::rename(left_over, &path).unwrap();
        assert_eq!(sockets(&data_dir).len(), 1);
        assert_eq!(running(&data_dir).await, []);
        assert_eq!(reload(&data_dir).await.unwrap(), []);
        let next = Control::bind(&data_dir).unwrap();
        assert_eq!(sockets(&data_dir), std::slice::from_ref(&next.path));
    }
}
