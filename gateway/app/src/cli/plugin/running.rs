//! `gateway plugin list`, `reload`, `rollback`: the plugins of the running gateway, through its admin listener.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use crate::cli::Shared;
use crate::cli::output::{self, printable};
use crate::{config, small_file};

/// In bytes.
const MAX_ANSWER: usize = 16 << 20;
/// In bytes.
const MAX_TOKEN: u64 = 4096;
/// How long a gateway may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// A little longer than the longest time in which the gateway answers.
const PATIENCE: Duration = Duration::from_secs(620);

#[derive(Debug, thiserror::Error)]
#[error(
    "no gateway answers at {address}: {reason}; is it running, and is that its admin listener (--admin)?"
)]
pub(in crate::cli) struct Unreachable {
    address: SocketAddr,
    reason: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Target {
    /// The address of the gateway's admin listener [default: admin.listen of the configuration]
    #[arg(long, value_name = "ADDRESS", value_parser = config::read_address)]
    admin: Option<SocketAddr>,
    /// The file with the admin token [default: admin.token_file of the configuration]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Reload {
    /// The plugin [default: all plugins]
    #[arg(value_parser = config::read_name)]
    name: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rollback {
    /// The plugin
    #[arg(value_parser = config::read_name)]
    name: String,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn list(shared: &Shared, target: &Target) -> anyhow::Result<()> {
    let plugins = Client::new(shared, target)?.list().await?;
    io::stdout().write_all(&printed(&plugins, target.json)?)?;
    Ok(())
}

pub(super) async fn reload(shared: &Shared, reload: Reload) -> anyhow::Result<()> {
    let client = Client::new(shared, &reload.target)?;
    let names = match reload.name {
        Some(name) => vec![name],
        None => {
            let plugins = client.list().await?;
            let names = plugins.iter().filter_map(|plugin| plugin.get("name")?.as_str());
            names.map(str::to_owned).collect()
        }
    };
    let (mut plugins, mut refused) = (Vec::new(), Vec::new());
    for name in names {
        match client.act(&name, "reload").await? {
            Ok(plugin) => plugins.push(plugin),
            Err(Refusal { reason, status }) => {
                plugins.extend(status);
                refused.push(format!("{}: {}", printable(&name), printable(&reason)));
            }
        }
    }
    if !plugins.is_empty() || reload.target.json {
        output::report(&printed(&plugins, reload.target.json)?);
    }
    if refused.is_empty() {
        return Ok(());
    }
    bail!("some plugins' files do not serve:\n{}", refused.join("\n"))
}

pub(super) async fn rollback(shared: &Shared, rollback: Rollback) -> anyhow::Result<()> {
    let client = Client::new(shared, &rollback.target)?;
    match client.act(&rollback.name, "rollback").await? {
        Ok(plugin) => {
            output::report(&printed(&[plugin], rollback.target.json)?);
            Ok(())
        }
        Err(refusal) => bail!("{}", printable(&refusal.reason)),
    }
}

fn printed(plugins: &[Value], json: bool) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    if json {
        output::json(&mut out, &plugins)?;
    } else {
        let rows: Vec<[String; 6]> = plugins.iter().map(row).collect();
        let head = ["NAME", "GENERATION", "DIGEST", "KEPT", "STATE", "PROBLEM"];
        output::table(&mut out, head, &rows)?;
    }
    Ok(out)
}

fn row(plugin: &Value) -> [String; 6] {
    let text = |pointer: &str| {
        let text = plugin.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let number = plugin.pointer("/generation/0").and_then(Value::as_u64);
    let kept = plugin.get("kept").and_then(Value::as_array);
    let kept: Vec<String> = kept
        .into_iter()
        .flatten()
        .filter_map(|kept| Some(kept.get("number")?.as_u64()?.to_string()))
        .collect();
    let rolled_back = plugin.get("rolled_back").and_then(Value::as_bool) == Some(true);
    let is_being_admitted = plugin.get("being_admitted").and_then(Value::as_bool) == Some(true);
    let state = match number {
        None if is_being_admitted => "being admitted",
        None => "does not serve",
        Some(_) if rolled_back => "rolled back",
        Some(_) => "serves",
    };
    [
        text("/name"),
        number.map_or_else(|| "-".to_owned(), |number| number.to_string()),
        text("/generation/1").chars().take(12).collect(),
        kept.join(","),
        state.to_owned(),
        text("/problem"),
    ]
}

/// Why the gateway refused an action, and the plugin's status if the answer has it.
struct Refusal {
    reason: String,
    status: Option<Value>,
}

struct Client {
    address: SocketAddr,
    token: String,
}

impl Client {
    fn new(shared: &Shared, target: &Target) -> anyhow::Result<Self> {
        let (address, token_file) = match (target.admin, target.token_file.clone()) {
            (Some(address), Some(file)) => (address, file),
            (address, file) => {
                let admin = shared.load(config::load_admin)?;
                let Some(address) = address.or(admin.listen) else {
                    bail!("the configuration turns the admin listener off: set admin.listen, or add --admin")
                };
                (address, file.unwrap_or(admin.token_file))
            }
        };
        let (token, _) = small_file::read_text(&token_file, MAX_TOKEN).with_context(|| {
            let file = token_file.display();
            format!("cannot read the admin token in {file}: add --token-file")
        })?;
        // A listener on all addresses is reached at the loopback address.
        let address = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
            _ => address,
        };
        Ok(Self {
            address,
            token: token.trim().to_owned(),
        })
    }

    async fn list(&self) -> anyhow::Result<Vec<Value>> {
        let (status, mut answer) = self.ask(Method::GET, "/plugins").await?;
        if status != StatusCode::OK {
            bail!("the gateway answers {status}: {}", printable(&reason(&answer)));
        }
        match answer.get_mut("plugins").map(Value::take) {
            Some(Value::Array(plugins)) => Ok(plugins),
            _ => bail!("the server at {} is not a gateway", self.address),
        }
    }

    /// Returns the plugin's status after the action.
    async fn act(&self, plugin: &str, action: &str) -> anyhow::Result<Result<Value, Refusal>> {
        let path = format!("/plugins/{plugin}/{action}");
        let (status, mut answer) = self.ask(Method::POST, &path).await?;
        if status == StatusCode::OK {
            return Ok(Ok(answer));
        }
        let said = reason(&answer);
        Ok(Err(Refusal {
            reason: match status {
                StatusCode::CONFLICT | StatusCode::NOT_FOUND => said,
                _ => format!("the gateway answers {status}: {said}"),
            },
            status: answer.get_mut("plugin").map(Value::take),
        }))
    }

    async fn ask(&self, method: Method, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        let unreachable = |reason: String| Unreachable {
            address: self.address,
            reason,
        };
        let socket = timeout(CONNECT, tokio::net::TcpStream::connect(self.address))
            .await
            .map_err(|_| unreachable(format!("no connection within {CONNECT:?}")))?
            .map_err(|error| unreachable(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .body(Empty::<Bytes>::new())
            .context("the admin token cannot be sent")?;
        let exchange = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            Ok::<_, Unreachable>((status, body))
        };
        let (status, body) = timeout(PATIENCE, exchange)
            .await
            .map_err(|_| unreachable(format!("no answer within {PATIENCE:?}")))??;
        Ok((
            status,
            serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        ))
    }
}

fn reason(answer: &Value) -> String {
    let said = answer.get("error").and_then(Value::as_str);
    said.unwrap_or("the answer has no reason").to_owned()
}
