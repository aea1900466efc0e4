//! From a configuration to a gateway that serves, and from a signal to its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, io};

use anyhow::{Context as _, Result, anyhow};
use arc_swap::ArcSwap;
use gateway_model::{SystemClock, SystemRandom};
use gateway_plugin::{Admissions, CompileOptions, HostOptions, Network, PluginHost};
use gateway_store::{Store, StoreOptions};
use gateway_token::{SessionKey, SigningKeys};
use gateway_upstream::{Icon, Provider, ProviderConfig};
use secrecy::ExposeSecret as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::admin::{self, AdminState, TokenFile, Tokens};
use crate::app::{Address, App};
use crate::config::reload::{Reload, Reread};
use crate::config::{Config, ServerLimits};
use crate::control::{Asked, Control, Reloaded, Status};
use crate::events::{self, Courier};
use crate::handlers::callback_url;
use crate::issued::Issued;
use crate::metrics::{self, HttpMetrics};
use crate::pages::Offer;
use crate::pages::branding::{Logo, MAX_LOGO};
use crate::plugin_data::PluginData;
use crate::rate_limit::RateLimits;
use crate::request_id::RequestIds;
use crate::{prepare, router, server, small_file, watch};

/// Connections that wait to be accepted, where the system lets so many (`net.core.somaxconn`): with tokio's own 128, more
/// that come at once are not answered, and try again a second later.
const BACKLOG: u32 = 4096;

/// Files that are not connections of the public listener: the database, the admin listener, requests of plugins.
const OTHER_FILES: usize = 256;

/// How long a command that asked for a reload waits for the plugins' files unless it says more: nearly all are looked at by
/// then, and it can say which do not serve.
const LOOKS: Duration = Duration::from_secs(1);

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
/// SIGHUP reads the configuration again. Listens before the plugins are admitted, each of which serves as soon as it is;
/// prints one line with the address when all of them serve or are refused.
///
/// # Errors
/// Whatever keeps it from serving, with what to do about it.
pub async fn serve(config: Config, mode: Mode) -> Result<()> {
    let mut server_limits = ServerLimits::from(&config.server);
    server_limits.connections = room_for_sockets(server_limits.connections, config.providers.len());
    // Before anything takes long, so that no signal ends the process in the middle of it.
    let mut signals = Signals::new()?;
    let shutdown = CancellationToken::new();
    let public = match mode.listener {
        Some(listener) => TcpListener::from_std(listener)?,
        None => bind(config.server.listen, "server.listen")?,
    };
    let metrics = metrics::install()?;
    let (app, left_over, admissions) = build(&config, mode.dev).await?;
    let (reloads, asked) = mpsc::channel(1);
    let ready = Arc::new(AtomicBool::new(false));
    let state = AdminState {
        metrics,
        plugins: app.plugins.clone(),
        store: app.store.clone(),
        ready: Arc::clone(&ready),
        started: Instant::now(),
    };
    let mut listens = serve_admin(&config, &app, &state, &shutdown)?;
    let deliver = {
        let (app, admissions, shutdown) = (Arc::clone(&app), admissions.clone(), shutdown.clone());
        async move {
            // A hook that is not there yet would fail, and its event wait for the next start.
            shutdown.run_until_cancelled(admissions.done()).await;
            events::deliver(app, left_over, shutdown).await;
        }
    };
    app.background.spawn(deliver);
    app.background
        .spawn(events::prune(Arc::clone(&app), shutdown.clone()));
    app.background
        .spawn(watch::watch(Arc::clone(&app), shutdown.clone()));

    let address = public.local_addr()?;
    listens.push(address);
    serve_control(&config.data_dir, listens, reloads, &app, &shutdown).await;
    let serving = {
        let app = Arc::clone(&app);
        let limits = Arc::clone(&app);
        let client = move |peer| limits.rate_limits.load().client(peer);
        let handler = move |request, peer| router::handle(Arc::clone(&app), request, peer);
        let shutdown = shutdown.clone();
        tokio::spawn(async move { server::run(public, &server_limits, client, handler, shutdown).await })
    };
    ready.store(true, Ordering::Release);
    tracing::info!(%address, "listening");
    {
        let told_to_end = signals.until_told_to_end(&app, mode.reload, asked);
        tokio::pin!(told_to_end);
        let is_told = tokio::select! {
            () = &mut told_to_end => true,
            true = admissions.done() => false,
        };
        if !is_told {
            tracing::info!(%address, external = app.address.text, "ready");
            announce(address)?;
            told_to_end.await;
        }
    }
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

/// Opens and starts everything a request may need. Returns the place of the last event that an earlier run has left, too,
/// and the admissions of the plugins, which go on.
///
/// # Errors
/// Whatever keeps it from starting, with what to do about it.
pub async fn build(config: &Config, dev: bool) -> Result<(Arc<App>, i64, Admissions)> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let address = Address::new(&config.external);
    let keys = SigningKeys::from_pems(&config.signing_keys, &config.public_keys)
        .context("the signing keys cannot be used: see `gateway keys generate`")?;
    let session_key = session_key(config, &address.text, random.clone())?;
    let options = StoreOptions {
        clock: clock.clone(),
        random: random.clone(),
        user_ids: config.database.user_ids,
        event_retention: config.database.event_retention,
        limits: config.user_limits,
    };
    let store = Store::open(&config.database.url, options)
        .await
        .context("the database cannot be used")?;
    let left_over = store.last_event().await.context("the database cannot be read")?;
    let data = PluginData::new(store.clone());
    let host = HostOptions {
        plugin_dir: config.plugin_dir.clone(),
        cache_dir: cache_dir(config),
        guest_threads: config.server.guest_threads,
        users: Arc::new(data.clone()),
        values: Arc::new(data),
        network: Arc::new(Network::system()),
        compile: compile_options(config)?,
    };
    let (plugins, admissions) = PluginHost::open(host, config.reloadable.plugins.clone())
        .await
        .context("the plugins cannot be loaded")?;
    let providers = config.providers.iter();
    let providers: Result<Vec<Provider>> = providers
        .map(|wanted| provider(config, wanted, clock.clone()))
        .collect();
    let offers: Result<Vec<Offer>> = config.providers.iter().map(offer).collect();
    let offers = offers.map(|offers| offers.into_iter().chain(dev.then(Offer::development)).collect());
    let app = App {
        clock,
        request_ids: RequestIds::new(random.as_ref()).context("the system gives no randomness")?,
        random,
        store,
        plugins,
        keys,
        issued: Issued::new(config.tokens.permission_reuse),
        session_key,
        offers: offers?,
        providers: providers?,
        dev,
        address,
        session_lifetime: config.tokens.session_lifetime,
        user_limits: config.user_limits,
        token_lifetime: config.tokens.permission_lifetime,
        max_body: config.server.max_body,
        body_timeout: config.server.header_timeout,
        live: ArcSwap::from_pointee(config.reloadable.clone()),
        rate_limits: ArcSwap::from_pointee(RateLimits::new(&config.reloadable.rate_limits)),
        courier: Courier::default(),
        background: TaskTracker::new(),
        http_metrics: HttpMetrics::new(),
    };
    Ok((Arc::new(app), left_over, admissions))
}

/// A provider as it is configured.
///
/// # Errors
/// Why it cannot be one.
pub(crate) fn provider(
    config: &Config,
    provider: &ProviderConfig,
    clock: Arc<SystemClock>,
) -> Result<Provider> {
    let redirect = callback_url(&config.external, &provider.name)?;
    Provider::new(provider.clone(), redirect, &config.upstream_limits, clock)
        .with_context(|| format!("the provider \"{}\" cannot be used", provider.name))
}

/// How plugins are compiled: by this program, in a process of its own.
///
/// # Errors
/// When the program cannot be found.
pub(crate) fn compile_options(config: &Config) -> io::Result<CompileOptions> {
    Ok(CompileOptions {
        command: Some(crate::cli::compiler()?),
        ..config.compile.clone()
    })
}

/// Where compiled plugins are kept.
pub(crate) fn cache_dir(config: &Config) -> PathBuf {
    config.data_dir.join("cache")
}

/// How a provider looks on pages.
///
/// # Errors
/// When its picture cannot be used.
pub(crate) fn offer(provider: &ProviderConfig) -> Result<Offer> {
    let name = provider.display_name.as_deref();
    let file = match &provider.icon {
        Some(Icon::File(file)) => file,
        Some(Icon::Mark(mark)) => return Ok(Offer::new(&provider.name, name, Some(mark))),
        None => return Ok(Offer::new(&provider.name, name, None)),
    };
    let unusable = || {
        format!(
            "the icon of the provider \"{}\" cannot be used: {}",
            provider.name,
            file.display()
        )
    };
    let most = u64::try_from(MAX_LOGO).unwrap_or(u64::MAX);
    let (picture, _) = small_file::read(file, most).with_context(unusable)?;
    let picture = Logo::new(picture).with_context(unusable)?;
    Ok(Offer::new(&provider.name, name, None).with_picture(picture))
}

/// The first session secret signs; what was issued under the others is still accepted.
pub(crate) fn session_key(config: &Config, issuer: &str, random: Arc<SystemRandom>) -> Result<SessionKey> {
    const UNUSABLE: &str = "a session secret cannot be used";
    let mut secrets = config.session_secrets.iter();
    let first = secrets.next().context("there is no session secret")?;
    let key = SessionKey::derive(first.expose_secret().as_bytes(), issuer, random).context(UNUSABLE)?;
    secrets.try_fold(key, |key, older| {
        key.and_older(older.expose_secret().as_bytes()).context(UNUSABLE)
    })
}

/// Begins to answer operators and Prometheus; returns where.
fn serve_admin(
    config: &Config,
    app: &App,
    state: &AdminState,
    shutdown: &CancellationToken,
) -> Result<Vec<SocketAddr>> {
    let (mut operators, mut monitors) = (None, None);
    for (_, file) in prepare::tokens(config) {
        let token = admin::token(file, app.random.as_ref())
            .with_context(|| format!("the token's file {} cannot be used", file.path().display()))?;
        match file {
            TokenFile::Operators(_) => operators = Some(token),
            TokenFile::Monitors(_) => monitors = Some(token),
        }
    }
    if let (Some(operators), Some(monitors)) = (&operators, &monitors)
        && operators.expose_secret() == monitors.expose_secret()
    {
        return Err(admin::SameToken).context("admin.metrics_token_file cannot be used");
    }
    let listeners = [
        ("admin.listen", config.admin.listen, false),
        ("admin.metrics_listen", config.admin.metrics_listen, true),
    ];
    let mut listens = Vec::new();
    for (setting, address, metrics_only) in listeners {
        let Some(address) = address else { continue };
        let listener = bind(address, setting)?;
        let address = listener.local_addr()?;
        listens.push(address);
        if metrics_only {
            tracing::info!(%address, "metrics listener");
        } else {
            tracing::info!(%address, token_file = %config.admin.token_file.display(), "admin listener");
        }
        let tokens = Tokens {
            operators: operators.clone().filter(|_| !metrics_only),
            monitors: monitors.clone(),
            open: metrics_only && monitors.is_none(),
        };
        app.background
            .spawn(admin::run(listener, tokens, state.clone(), shutdown.clone()));
    }
    Ok(listens)
}

/// Begins to answer commands on this machine. A data directory that cannot have sockets is no reason not to serve.
async fn serve_control(
    data_dir: &Path,
    listens: Vec<SocketAddr>,
    reloads: mpsc::Sender<Asked>,
    app: &App,
    shutdown: &CancellationToken,
) {
    match Control::bind(data_dir).await {
        Ok(control) => {
            let pid = std::process::id();
            let status = Status { pid, listens };
            app.background
                .spawn(control.run(status, reloads, shutdown.clone()));
        }
        Err(error) => tracing::warn!(
            %error,
            data_dir = %data_dir.display(),
            "there is no control socket: `gateway reload` cannot reach this gateway; send it SIGHUP instead"
        ),
    }
}

fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    listen(address).map_err(|error| anyhow!(cannot_listen(address, setting, &error)))
}

/// Why an address cannot be listened on, and what to do about it.
pub(crate) fn cannot_listen(address: SocketAddr, setting: &str, error: &io::Error) -> String {
    let variable = match setting {
        "admin.listen" => "GATEWAY_ADMIN_LISTEN",
        "admin.metrics_listen" => "GATEWAY_METRICS_LISTEN",
        _ => "GATEWAY_LISTEN",
    };
    format!("cannot listen on {address}: set {setting} ({variable}) to another address: {error}")
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bound(address)?.listen(BACKLOG)
}

/// A socket that has an address and does not listen there yet.
///
/// # Errors
/// When the address is taken, or cannot be had.
pub(crate) fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The port may be in use by connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
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

    /// Reads the configuration again at each SIGHUP, and whenever a command asks for it. That goes on beside waiting for
    /// the end, as it may take long.
    async fn until_told_to_end(&mut self, app: &Arc<App>, reload: Reload, mut asked: mpsc::Receiver<Asked>) {
        let hung_up = Arc::new(Notify::new());
        let reloads = {
            let (app, hung_up) = (Arc::clone(app), Arc::clone(&hung_up));
            async move {
                loop {
                    let asked = tokio::select! {
                        () = hung_up.notified() => None,
                        Some(asked) = asked.recv() => Some(asked),
                    };
                    take_up(&app, &reload, asked).await;
                }
            }
        };
        let _reloads = AbortOnDropHandle::new(tokio::spawn(reloads));
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => hung_up.notify_one(),
            }
        }
    }
}

/// Puts a changed configuration in force, or keeps the old one where there is a mistake. The files of plugins are looked at
/// after that; whoever asked is answered when they have been, or soon.
async fn take_up(app: &Arc<App>, reload: &Reload, asked: Option<Asked>) {
    let reload = Arc::clone(reload);
    // It reads files.
    let read = tokio::task::spawn_blocking(move || reload()).await;
    let mut answer = Reloaded {
        pid: std::process::id(),
        ..Reloaded::default()
    };
    match read.unwrap_or_else(|error| Err(vec![error.to_string()])) {
        Ok(Reread { reloadable, warnings }) => {
            answer.warnings = warnings;
            let admissions = app.plugins.adopt(reloadable.plugins.clone()).await;
            // Only where they are others: who has been told to wait is not let off by a change of something else.
            if app.live.load().rate_limits != reloadable.rate_limits {
                app.rate_limits
                    .store(Arc::new(RateLimits::new(&reloadable.rate_limits)));
            }
            app.live.store(Arc::new(reloadable));
            tracing::info!("the configuration was read again and is in force");
            let plugins = app.plugins.clone();
            tokio::spawn(async move {
                let waits = asked.as_ref().is_some_and(|asked| asked.waits_for_plugins);
                let looks = if waits { Duration::MAX } else { LOOKS };
                let _ = timeout(looks, admissions.done()).await;
                reply(asked, answer, &plugins);
                // Not where the gateway ends first.
                if admissions.done().await {
                    tracing::info!("every plugin was looked at under the new configuration");
                }
            });
        }
        Err(errors) => {
            let error = errors.join("; ");
            answer.errors = errors;
            tracing::error!(%error, "the configuration has mistakes; what was in force stays in force");
            if let Some(asked) = asked {
                // Whoever asked may have gone.
                let _ = asked.answer.send(answer);
            }
        }
    }
}

/// Tells a command how the plugins stand.
fn reply(asked: Option<Asked>, mut answer: Reloaded, plugins: &PluginHost) {
    let Some(asked) = asked else { return };
    for plugin in plugins.status() {
        if plugin.being_admitted {
            answer.being_admitted.push(plugin.name.clone());
        }
        if let Some(problem) = plugin.problem {
            answer.plugins.push(format!("{}: {problem}", plugin.name));
        }
    }
    // Whoever asked may have gone.
    let _ = asked.answer.send(answer);
}
