//! `gateway dev`: a gateway to try things out with, on this machine only: generated keys, invented people,
//! example plugins.

use std::collections::BTreeMap;
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
use crate::config::sources::DEFAULT_FILE;
use crate::config::{self, Sources};
use crate::{keys, prepare};

#[derive(Debug, Args)]
pub(super) struct Dev {
    /// Address and port; loopback only; port 0 is any that is free [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = config::read_address)]
    listen: Option<SocketAddr>,
    /// Where keys, users and plugins are kept, made where it is missing
    #[arg(long, value_name = "DIR", default_value = ".gateway-dev")]
    data: PathBuf,
    /// The directory of plugins; an empty one gets the examples [default: plugins in the data directory]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

pub(super) async fn run(shared: &Shared, dev: Dev) -> anyhow::Result<()> {
    if let Some(address) = dev.listen {
        refuse_others(address)?;
    }
    // Before a key is made, whose name is the time.
    prepare::check_clock()?;
    let mut sources = shared.sources();
    pass_over_an_installation(shared, &mut sources)?;
    layers(&mut sources, &dev)?;
    keys::private_dir(&dev.data)
        .with_context(|| format!("cannot make the data directory {}", dev.data.display()))?;
    generate_key(&sources, &dev.data)?;

    let first = config::load(&sources).map_err(|errors| mistakes(&errors))?.config;
    refuse_others(first.server.listen)?;
    seed(&first.plugin_dir).with_context(|| {
        format!(
            "cannot put the example plugins into {}",
            first.plugin_dir.display()
        )
    })?;
    let has_own = !first.reloadable.plugins.plugins.is_empty();
    examples(&mut sources, &first.plugin_dir, has_own, dev.plugins.is_some());

    let listener = TcpListener::bind(first.server.listen).with_context(|| {
        format!(
            "cannot listen on {}: choose another port by --listen 127.0.0.1:PORT, or 0",
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

/// The development mode signs in anybody as anybody, so it must not come near a real gateway's users and keys because it
/// happens to be started in its directory: a `gateway.toml` that has them counts only if it is named.
fn pass_over_an_installation(shared: &Shared, sources: &mut Sources) -> anyhow::Result<()> {
    if shared.names_a_file() {
        return Ok(());
    }
    if let Some(key) = config::installation(sources).map_err(|errors| mistakes(&errors))? {
        writeln!(
            io::stderr(),
            "note: {file} is not read, because it sets `{key}` and so belongs to a gateway that people use; to use it \
             all the same, say --config {file}",
            file = DEFAULT_FILE
        )?;
        sources.file = None;
    }
    Ok(())
}

fn refuse_others(address: SocketAddr) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        bail!(
            "{address} is not a loopback address: under `gateway dev` anybody who reaches it is anybody they like; use \
             127.0.0.1, or `gateway serve`"
        );
    }
    Ok(())
}

/// What flags and the development mode add to file and environment.
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
    // A page that is being worked on comes from a server of its own, on whatever port that likes.
    sources.presets.loopback_origins = true;
    // Until a port is bound.
    sources.preset("server.external_address", "http://127.0.0.1");
    if io::IsTerminal::is_terminal(&io::stderr()) {
        sources.preset("log.format", "text");
    }
    Ok(())
}

/// Makes a key at the first run, unless others are configured.
fn generate_key(sources: &Sources, data: &Path) -> anyhow::Result<()> {
    let given = ["PRIVATE_KEY", "GATEWAY_SIGNING_KEYS"];
    if given
        .iter()
        .any(|variable| sources.environment.get(variable).is_some())
    {
        return Ok(());
    }
    match keys::generate(&data.join("keys"), Algorithm::RS256, &SystemClock, false) {
        Ok(_) | Err(keys::KeyFileError::Exists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Puts the example plugins into a directory that is missing or empty. One that has anything in it is the
/// author's own.
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

/// Configures the examples that are there, with settings to play with. Where no plugin is configured (`has_own`
/// is false), `example` is a service all the same: whoever writes a provider may start by putting a file of this
/// name into the directory.
fn examples(sources: &mut Sources, plugin_dir: &Path, has_own: bool, own_directory: bool) {
    let is_there = |example: &Example| plugin_dir.join(format!("{}.wasm", example.name)).exists();
    let presets = &mut sources.presets;
    if !has_own || is_there(&EXAMPLE) {
        presets
            .services
            .insert(EXAMPLE.name.to_owned(), EXAMPLE.name.to_owned());
    }
    presets
        .plugins
        .insert(EXAMPLE.name.to_owned(), configured(&EXAMPLE, &[]));
    let roles = [
        ("role.reader", "read"),
        ("role.editor", "edit, quota=100"),
        ("role.admin", r#"delete, areas=["users", "billing"]"#),
        ("default", "reader"),
        ("email.alice@example.org", "admin, editor"),
        ("email.trinity@example.org", "editor"),
        ("list-roles-as", "roles"),
    ];
    presets
        .plugins
        .insert(ROLES.name.to_owned(), configured(&ROLES, &roles));
    if is_there(&ROLES) {
        presets
            .services
            .insert(ROLES.name.to_owned(), ROLES.name.to_owned());
    }
    let domains = [("domains", "example.org, example.com")];
    presets.plugins.insert(
        EMAIL_DOMAINS.name.to_owned(),
        configured(&EMAIL_DOMAINS, &domains),
    );
    if is_there(&EMAIL_DOMAINS) && !own_directory {
        presets.extensions.push(EMAIL_DOMAINS.name.to_owned());
    }
}

/// An example's configuration: the grants it needs, and settings.
fn configured(example: &Example, settings: &[(&str, &str)]) -> PluginConfig {
    let needs = |grant: &&Grant| example.grants.contains(&grant.as_str());
    let settings: BTreeMap<String, String> = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    PluginConfig {
        grants: Grant::ALL.iter().filter(needs).copied().collect(),
        settings,
        ..PluginConfig::default()
    }
}
