//! A gateway as an operator runs it, and any server in its own process.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;

use crate::http::EXTERNAL;
use crate::people::SECRET;

/// The gateway that is measured.
pub(crate) const GATEWAY: &str = env!("CARGO_BIN_EXE_gateway");

/// Keys, plugins and a configuration, from which a gateway starts, again and again if need be.
pub(crate) struct Site {
    directory: TempDir,
    key: SecretString,
    database: PathBuf,
    /// The address of its admin listener.
    pub(crate) admin: SocketAddr,
}

impl Site {
    /// On that database, or on one that is made where there is none. It signs with a private key, PEM.
    pub(crate) fn new(database: &Path, key: &SecretString) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        std::fs::create_dir(directory.path().join("plugins"))?;
        let site = Self {
            directory,
            key: key.clone(),
            database: database.to_owned(),
            admin: free_address()?,
        };
        site.configure("")?;
        Ok(site)
    }

    /// Writes what its configuration file says.
    pub(crate) fn configure(&self, toml: &str) -> Result<()> {
        Ok(std::fs::write(self.path("gateway.toml"), toml)?)
    }

    /// A file or directory of that name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Places a plugin, in one step.
    pub(crate) fn place(&self, name: &str, component: &[u8]) -> Result<()> {
        let written = self.path("being-written");
        std::fs::write(&written, component)?;
        std::fs::rename(written, self.path("plugins").join(format!("{name}.wasm")))?;
        Ok(())
    }

    /// Starts the gateway as shipped: request log and metrics on. The log goes to a file.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(&self) -> Result<Server> {
        let directory = self.directory.path();
        let mut command = Command::new(GATEWAY);
        command
            .args(["serve", "--config"])
            .arg(self.path("gateway.toml"))
            .env("PRIVATE_KEY", self.key.expose_secret())
            .env("GATEWAY_SESSION_SECRET", SECRET)
            .env("EXTERNAL_ADDRESS", EXTERNAL)
            .env("GATEWAY_LISTEN", "127.0.0.1:0")
            .env("GATEWAY_ADMIN_LISTEN", self.admin.to_string())
            .env("GATEWAY_DATA_DIR", self.path("data"))
            .env("GATEWAY_PLUGIN_DIR", self.path("plugins"))
            .env("DATABASE_URL", format!("sqlite:///{}", self.database.display()))
            .current_dir(directory)
            .stderr(std::fs::File::create(self.path("log"))?);
        Server::start(command)
    }
}

/// A server in its own process, which ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// Bytes of a process.
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// Most that was resident.
    pub(crate) peak: u64,
    /// Of compiled code and instances' first pages, resident or not.
    pub(crate) code: u64,
}

impl Server {
    /// Starts one that prints its address, as `http://…`, when it is ready.
    ///
    /// # Errors
    /// When it ends before.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("a server without stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok());
        match address {
            Some(address) => Ok(Self { child, address }),
            None => {
                let _ = child.kill();
                bail!("a server did not start: {line:?}")
            }
        }
    }

    /// A server that already listens on this address.
    pub(crate) const fn at(child: Child, address: SocketAddr) -> Self {
        Self { child, address }
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let process = PathBuf::from("/proc").join(self.child.id().to_string());
        let status = std::fs::read_to_string(process.join("status"))?;
        let kilobytes = |name: &str| -> Result<u64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let value = value.with_context(|| format!("no {name} in {}", process.display()))?;
            Ok(value.trim().trim_end_matches(" kB").parse()?)
        };
        let mut code = 0;
        for file in std::fs::read_dir(process.join("fd"))? {
            let file = file?.path();
            // It may be closed by now.
            if std::fs::read_link(&file).is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:")) {
                code += std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
            }
        }
        Ok(Memory {
            resident: kilobytes("VmRSS:")? * 1024,
            peak: kilobytes("VmHWM:")? * 1024,
            code,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server can pass this signal on to its own processes. If it has already ended, the measurement has noticed.
        if let Ok(Some(process)) = i32::try_from(self.child.id()).map(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        for _ in 0..50 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on loopback that is free now; nobody else is about to take one.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
