//! Starts a gateway from its configuration, and shuts it down at a signal.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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

/// Serves until SIGTERM or SIGINT, then finishes the requests in progress. A second signal ends the gateway
/// immediately. SIGHUP calls `reload`.
///
/// The gateway listens before the plugins are admitted, and each plugin serves as soon as it is admitted. When all of
/// them serve or were refused, the gateway prints its address. `dev` turns the development sign-in on. A `listener`
/// replaces the configured address.
pub(crate) async fn serve(
    config: Config,
    reload: Reload,
    dev: bool,
    listener: Option<std::net::TcpListener>,
) -> Result<()> {
    let mut server_limits = ServerLimits::from(&config.server);
    server_limits.connections = room_for_sockets(server_limits.connections, config.providers.len());
    // First, so that no signal ends the process in the middle of the rest.
    let mut signals = Signals::new()?;
    let shutdown = CancellationToken::new();
    let public = match listener {
        Some(listener) => TcpListener::from_std(listener)?,
        None => bind(config.server.listen, "server.listen")?,
    };
    let metrics = metrics::install()?;
    let (app, left_over, admissions) = build(&config, dev).await?;
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
            let deliver = async {
                // The event of a hook that is not admitted yet would fail and wait for the next start.
                admissions.done().await;
                events::deliver(&app, left_over).await;
            };
            shutdown.run_until_cancelled(deliver).await;
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
        let ended = signals.handle(&app, reload, asked);
        tokio::pin!(ended);
        let has_ended = tokio::select! {
            () = &mut ended => true,
            true = admissions.done() => false,
        };
        if !has_ended {
            tracing::info!(%address, external = app.address.text, "ready");
            announce(address)?;
            ended.await;
        }
    }
    tracing::info!("shutting down: finishing the requests in progress");
    ready.store(false, Ordering::Release);
    shutdown.cancel();
    tokio::select! {
        drained = drain(&app, serving) => drained?,
        () = signals.end() => tracing::warn!("a second signal: ending immediately"),
    }
    tracing::info!("ended");
    Ok(())
}

/// Starts the listeners for operators and Prometheus. Returns their addresses.
fn serve_admin(
    config: &Config,
    app: &App,
    state: &AdminState,
    shutdown: &CancellationToken,
) -> Result<Vec<SocketAddr>> {
    let (mut operators, mut monitors) = (None, None);
    for (_, file) in prepare::tokens(config) {
        let token = admin::token(file, app.random.as_ref())
            .with_context(|| format!("the token file {} cannot be used", file.path().display()))?;
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

/// Starts to answer commands on this machine. The gateway also serves from a data directory that cannot have sockets.
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
            "cannot create the control socket: `gateway reload` cannot reach this gateway; send it SIGHUP instead"
        ),
    }
}

/// Prints the address for the process that started the gateway. This is the only line on stdout.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "http://{address}")?;
    out.flush()
}

/// Waits for requests and background work to end, then closes plugins and database.
async fn drain(app: &App, serving: tokio::task::JoinHandle<()>) -> Result<()> {
    serving.await.context("the server ended unexpectedly")?;
    app.background.close();
    app.background.wait().await;
    app.plugins.shutdown().await;
    app.store
        .close()
        .await
        .context("the database was not closed cleanly; nothing is lost")
}
