//! From a configuration to a gateway that serves, and from a signal to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fmt, io};

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use gateway_model::{SystemClock, SystemRandom};
use gateway_plugin::{CompileOptions, HostOptions, Network, PluginHost};
use gateway_store::{Store, StoreOptions};
use gateway_token::{SessionKey, SigningKeys};
use gateway_upstream::Provider;
use secrecy::ExposeSecret as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, AdminState};
use crate::app::{Address, App};
use crate::config::reload::Reload;
use crate::config::{AdminConfig, Config};
use crate::events::{self, Courier};
use crate::handlers::callback_url;
use crate::issued::Issued;
use crate::metrics::{self, HttpMetrics};
use crate::plugin_data::PluginData;
use crate::rate_limit::RateLimits;
use crate::{router, server};

/// Connections that wait to be accepted, where the system lets so many (`net.core.somaxconn`): with tokio's own 128, more
/// that come at once are not answered, and try again a second later.
const BACKLOG: u32 = 4096;

/// Files that are not connections of the public listener: the database, the admin listener, requests of plugins.
const OTHER_FILES: usize = 256;

/// What differs between `gateway serve` and `gateway dev`.
pub struct Mode {
    /// Reads the configuration again, on SIGHUP.
    pub reload: Reload,
    /// Whether the development sign-in is offered.
    pub dev: bool,
    /// A socket that listens already, in place of [`Config::listen`].
    pub listener: Option<std::net::TcpListener>,
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mode")
            .field("dev", &self.dev)
            .finish_non_exhaustive()
    }
}

/// Serves until SIGTERM or SIGINT, then lets what is in flight end. A second signal ends it at once.
/// SIGHUP reads the configuration again. Prints one line with the address when ready.
///
/// # Errors
/// Whatever keeps it from serving, with what to do about it.
pub async fn serve(config: Config, mode: Mode) -> Result<()> {
    let mut server_limits = config.server_limits.clone();
    server_limits.connections = room_for_sockets(server_limits.connections, config.providers.len());
    // Before anything takes long, so that no signal ends the process in the middle of it.
    let mut signals = Signals::new()?;
    let shutdown = CancellationToken::new();
    let public = match mode.listener {
        Some(listener) => TcpListener::from_std(listener)?,
        None => bind(config.listen, "set server.listen (GATEWAY_LISTEN)")?,
    };
    let metrics = metrics::install()?;
    let (app, left_over) = build(&config, mode.dev).await?;
    let ready = Arc::new(AtomicBool::new(false));
    let state = AdminState {
        metrics,
        plugins: app.plugins.clone(),
        store: app.store.clone(),
        ready: Arc::clone(&ready),
    };
    serve_admin(&config.admin, &app, state, &shutdown)?;
    app.background
        .spawn(events::deliver(Arc::clone(&app), left_over, shutdown.clone()));
    app.background
        .spawn(events::prune(Arc::clone(&app), shutdown.clone()));

    let address = public.local_addr()?;
    let serving = {
        let app = Arc::clone(&app);
        let limits = Arc::clone(&app);
        let client = move |peer| limits.rate_limits.load().client(peer);
        let handler = move |request, peer| router::handle(Arc::clone(&app), request, peer);
        let shutdown = shutdown.clone();
        tokio::spawn(async move { server::run(public, &server_limits, client, handler, shutdown).await })
    };
    ready.store(true, Ordering::Release);
    tracing::info!(%address, external = app.address.text, "ready");
    announce(address)?;

    signals.until_told_to_end(&app, &mode.reload).await;
    tracing::info!("shutting down: finishing what is in flight");
    ready.store(false, Ordering::Release);
    shutdown.cancel();
    tokio::select! {
        ended = drain(&app, serving) => ended?,
        () = signals.told_to_end() => tracing::warn!("a second signal: ending at once"),
    }
    tracing::info!("ended");
    Ok(())
}

/// Raises the soft limit on open files, which is 1024 in many places for programs that use `select`, to the
/// hard one: a connection is a file. Returns how many of the `wanted` connections fit beside the files that the gateway
/// needs for itself, sign-ins through its `providers` included: if callers could take all files, the database and the
/// admin listener would have none.
fn room_for_sockets(wanted: usize, providers: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let mut most = limit.maximum;
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit on open files cannot be raised");
            most = limit.current;
        }
    }
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let reserved = OTHER_FILES + providers.saturating_mul(gateway_upstream::MAX_WAITING);
    // Where there are few files at all, half of what is left is for callers.
    let room = most
        .saturating_sub(reserved)
        .max(most.saturating_sub(OTHER_FILES) / 2)
        .max(1);
    if room < wanted {
        tracing::warn!(
            most,
            connections = room,
            "there may be fewer connections than server.connections says, for the limit on open files (ulimit -n)"
        );
    }
    room.min(wanted)
}

/// Opens and starts everything a request may need; and gives the place of the last event that an earlier run has left.
///
/// # Errors
/// Whatever keeps it from starting, with what to do about it.
pub async fn build(config: &Config, dev: bool) -> Result<(Arc<App>, i64)> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let address = Address::new(&config.external);
    let keys = SigningKeys::from_pems(&config.signing_keys, &config.public_keys)
        .context("the signing keys cannot be used: see `gateway keys generate`")?;
    let session_key = session_key(config, &address.text, random.clone())?;
    let options = StoreOptions {
        clock: clock.clone(),
        random: random.clone(),
        user_ids: config.user_ids,
        event_retention: config.event_retention,
        limits: config.user_limits,
    };
    let store = Store::open(&config.database, options)
        .await
        .context("the database cannot be used")?;
    let left_over = store.last_event().await.context("the database cannot be read")?;
    let data = PluginData::new(store.clone());
    let host = HostOptions {
        plugin_dir: config.plugin_dir.clone(),
        cache_dir: config.data_dir.join("cache"),
        guest_threads: config.guest_threads,
        users: Arc::new(data.clone()),
        values: Arc::new(data),
        network: Arc::new(Network::system()),
        compile: CompileOptions {
            command: Some(crate::cli::compiler()?),
            ..config.compile.clone()
        },
    };
    let plugins = PluginHost::start(host, config.reloadable.plugins.clone())
        .await
        .context("the plugins cannot be loaded")?;
    let mut providers = Vec::new();
    for provider in &config.providers {
        let redirect = callback_url(&config.external, &provider.name)?;
        let built = Provider::new(provider.clone(), redirect, &config.upstream_limits, clock.clone());
        providers.push(built.with_context(|| format!("the provider \"{}\" cannot be used", provider.name))?);
    }
    let app = App {
        clock,
        random,
        store,
        plugins,
        keys,
        issued: Issued::new(config.token_reuse),
        session_key,
        providers,
        dev,
        address,
        session_lifetime: config.session_lifetime,
        user_limits: config.user_limits,
        token_lifetime: config.token_lifetime,
        max_body: config.server_limits.max_body,
        body_timeout: config.server_limits.header_timeout,
        live: ArcSwap::from_pointee(config.reloadable.clone()),
        rate_limits: ArcSwap::from_pointee(RateLimits::new(&config.reloadable.rate_limits)),
        courier: Courier::default(),
        background: TaskTracker::new(),
        http_metrics: HttpMetrics::new(),
    };
    Ok((Arc::new(app), left_over))
}

/// The first session secret signs; what was issued under the others is still accepted.
fn session_key(config: &Config, issuer: &str, random: Arc<SystemRandom>) -> Result<SessionKey> {
    const UNUSABLE: &str = "a session secret cannot be used";
    let mut secrets = config.session_secrets.iter();
    let first = secrets.next().context("there is no session secret")?;
    let key = SessionKey::derive(first.expose_secret().as_bytes(), issuer, random).context(UNUSABLE)?;
    secrets.try_fold(key, |key, older| {
        key.and_older(older.expose_secret().as_bytes()).context(UNUSABLE)
    })
}

fn serve_admin(
    config: &AdminConfig,
    app: &App,
    state: AdminState,
    shutdown: &CancellationToken,
) -> Result<()> {
    let Some(address) = config.listen else {
        return Ok(());
    };
    let token = admin::token(&config.token_file, app.random.as_ref()).with_context(|| {
        format!(
            "the admin token's file {} cannot be used",
            config.token_file.display()
        )
    })?;
    let listener = bind(address, "set admin.listen (GATEWAY_ADMIN_LISTEN)")?;
    let address = listener.local_addr()?;
    tracing::info!(%address, token_file = %config.token_file.display(), "admin listener");
    app.background
        .spawn(admin::run(listener, token, state, shutdown.clone()));
    Ok(())
}

fn bind(address: SocketAddr, what_to_do: &str) -> Result<TcpListener> {
    listen(address).with_context(|| format!("cannot listen on {address}: {what_to_do}"))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The port may be in use by connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The one line on stdout, for whoever started the process and waits.
#[expect(clippy::print_stdout, reason = "the line is the interface")]
fn announce(address: SocketAddr) -> io::Result<()> {
    use std::io::Write as _;
    println!("http://{address}");
    io::stdout().flush()
}

/// Waits for requests and background work to end, then closes what they used.
async fn drain(app: &App, serving: tokio::task::JoinHandle<()>) -> Result<()> {
    serving.await.context("the server ended by itself")?;
    app.background.close();
    app.background.wait().await;
    app.plugins.shutdown().await;
    app.store
        .close()
        .await
        .context("the database was not closed cleanly; nothing is lost")
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn until_told_to_end(&mut self, app: &App, reload: &Reload) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => take_up(app, reload).await,
            }
        }
    }
}

/// Puts a changed configuration in force, or keeps the old one where there is a mistake.
async fn take_up(app: &App, reload: &Reload) {
    let reload = Arc::clone(reload);
    // It reads files.
    let read = tokio::task::spawn_blocking(move || reload()).await;
    match read.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(reloadable) => {
            app.plugins.reconfigure(reloadable.plugins.clone()).await;
            // Only where they are others: who has been told to wait is not let off by a change of something else.
            if app.live.load().rate_limits != reloadable.rate_limits {
                app.rate_limits
                    .store(Arc::new(RateLimits::new(&reloadable.rate_limits)));
            }
            app.live.store(Arc::new(reloadable));
            tracing::info!("the configuration was read again and is in force");
        }
        Err(error) => {
            tracing::error!(%error, "the configuration has mistakes; what was in force stays in force")
        }
    }
}
