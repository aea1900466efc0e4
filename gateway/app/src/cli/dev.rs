//! `gateway dev`: a gateway for development, on this machine only, with generated keys, test users and example plugins.

use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use gateway_model::SystemClock;
use gateway_sandbox::{Grant, PluginConfig};
use gateway_token::Algorithm;
use guest_examples::{EMAIL_DOMAINS, EXAMPLE, Example, ROLES};

use super::serve::start;
use super::{Shared, mistakes};
use crate::config::sources::{DEFAULT_FILE, FILE_VARIABLE};
use crate::config::{self, Sources};
use crate::{keys, prepare};

#[derive(Debug, Args)]
pub(super) struct Dev {
    /// Address and port, loopback only; port 0 selects a free port [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = config::read_address)]
    listen: Option<SocketAddr>,
    /// The directory of keys, users and plugins, created if it does not exist
    #[arg(long, value_name = "DIR", default_value = ".gateway-dev")]
    data: PathBuf,
    /// The directory of plugins; an empty one is filled with the examples [default: plugins in the data directory]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

pub(super) async fn run(shared: &Shared, dev: Dev) -> anyhow::Result<()> {
    if let Some(address) = dev.listen {
        refuse_others(address)?;
    }
    // Before a key is generated, whose name contains the time.
    prepare::check_clock()?;
    let mut sources = shared.sources();
    ignore_an_installation(shared, &mut sources)?;
    layers(&mut sources, &dev)?;
    keys::private_dir(&dev.data)
        .with_context(|| format!("cannot create the data directory {}", dev.data.display()))?;
    generate_key(&sources, &dev.data)?;

    let first = config::load(&sources).map_err(|errors| mistakes(&errors))?.config;
    refuse_others(first.server.listen)?;
    seed(&first.plugin_dir).with_context(|| {
        format!(
            "cannot copy the example plugins to {}",
            first.plugin_dir.display()
        )
    })?;
    let has_own = !first.reloadable.plugins.plugins.is_empty();
    examples(&mut sources, &first.plugin_dir, has_own, dev.plugins.is_some());

    let listener = TcpListener::bind(first.server.listen).with_context(|| {
        format!(
            "cannot listen on {}: choose another port with --listen 127.0.0.1:PORT, or 0 for any",
            first.server.listen
        )
    })?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    sources.set_flag("server.listen", "--listen", bound.to_string());
    sources.preset("server.external_address", format!("http://{bound}"));
    let loaded = config::load(&sources).map_err(|errors| mistakes(&errors))?;
    start(sources, loaded, true, Some(listener)).await
}

/// Anybody can sign in as anybody in development mode. So it must not use a real gateway's users and keys only because
/// it was started in that gateway's directory: it reads such a `gateway.toml` only if a flag or a variable names the
/// file.
fn ignore_an_installation(shared: &Shared, sources: &mut Sources) -> anyhow::Result<()> {
    let variable = std::env::var_os(FILE_VARIABLE).is_some_and(|file| !file.is_empty());
    if shared.config.is_some() || variable {
        return Ok(());
    }
    if let Some(key) = config::installation(sources).map_err(|errors| mistakes(&errors))? {
        writeln!(
            io::stderr(),
            "note: {file} is not read, because it sets `{key}` and so belongs to a real gateway; to use it anyway, add \
             --config {file}",
            file = DEFAULT_FILE
        )?;
        sources.file = None;
    }
    Ok(())
}

fn refuse_others(address: SocketAddr) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        bail!(
            "{address} is not a loopback address: `gateway dev` lets anyone who can reach it sign in as anyone; use \
             127.0.0.1, or `gateway serve`"
        );
    }
    Ok(())
}

/// Adds the flags and the presets of development mode to the file and the environment.
fn layers(sources: &mut Sources, dev: &Dev) -> anyhow::Result<()> {
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.with_context(|| format!("{} is not UTF-8", path.display()))
    };
    sources.set_flag("data_dir", "--data", text(&dev.data)?);
    if let Some(directory) = &dev.plugins {
        sources.set_flag("plugin_dir", "--plugins", text(directory)?);
    }
    if let Some(address) = dev.listen {
        sources.set_flag("server.listen", "--listen", address.to_string());
    }
    sources.preset("plugin_dir", text(&dev.data.join("plugins"))?);
    sources.preset("admin.listen", "127.0.0.1:0");
    // The development server of an application uses any port.
    sources.presets.loopback_origins = true;
    // Until a port is bound.
    sources.preset("server.external_address", "http://127.0.0.1");
    if io::IsTerminal::is_terminal(&io::stderr()) {
        sources.preset("log.format", "text");
    }
    Ok(())
}

/// Generates a key at the first run, unless others are configured.
fn generate_key(sources: &Sources, data: &Path) -> anyhow::Result<()> {
    let is_set = |variable| sources.environment.get(variable).is_some();
    if is_set("PRIVATE_KEY") || is_set("GATEWAY_SIGNING_KEYS") {
        return Ok(());
    }
    match keys::generate(&data.join("keys"), Algorithm::RS256, &SystemClock, false) {
        Ok(_) | Err(keys::KeyFileError::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Fills a missing or empty directory with the example plugins.
fn seed(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    if fs::read_dir(directory)?.next().is_some() {
        return Ok(());
    }
    for example in guest_examples::ALL {
        fs::write(directory.join(format!("{}.wasm", example.name)), example.wasm)?;
    }
    Ok(())
}

/// Configures the examples that exist, with settings to try. If no plugin is configured (`has_own` is false), `example`
/// is always a service, so that the author of a provider can start by copying a file with this name into the directory.
fn examples(sources: &mut Sources, plugin_dir: &Path, has_own: bool, own_directory: bool) {
    let exists = |example: &Example| plugin_dir.join(format!("{}.wasm", example.name)).exists();
    let presets = &mut sources.presets;
    let roles = [
        ("role.reader", "read"),
        ("role.editor", "edit, quota=100"),
        ("role.admin", r#"delete, areas=["users", "billing"]"#),
        ("default", "reader"),
        ("email.alice@example.org", "admin, editor"),
        ("email.trinity@example.org", "editor"),
        ("list-roles-as", "roles"),
    ];
    let domains = [("domains", "example.org, example.com")];
    for (example, settings, is_service) in [
        (EXAMPLE, &[][..], !has_own || exists(&EXAMPLE)),
        (ROLES, &roles[..], exists(&ROLES)),
        (EMAIL_DOMAINS, &domains[..], false),
    ] {
        let name = example.name.to_owned();
        let needs = |grant: &&Grant| example.grants.contains(&grant.as_str());
        let settings = settings.iter().copied();
        let config = PluginConfig {
            grants: Grant::ALL.iter().filter(needs).copied().collect(),
            settings: settings
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            ..PluginConfig::default()
        };
        if is_service {
            presets.services.insert(name.clone(), name.clone());
        }
        presets.plugins.insert(name, config);
    }
    if exists(&EMAIL_DOMAINS) && !own_directory {
        presets.extensions.push(EMAIL_DOMAINS.name.to_owned());
    }
}
