//! From a configuration to a gateway that serves, and from a signal to its end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use std::{fmt, io};

use anyhow::{Context as _, Result};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminState, TokenFile, Tokens};
use crate::app::App;
use crate::build::build;
use crate::config::reload::Reload;
use crate::config::{Config, ServerLimits};
use crate::control::{Asked, Control, Status};
use crate::listen::{bind, room_for_sockets};
use crate::signals::Signals;
use crate::{events, metrics, prepare, router, server, watch};

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
