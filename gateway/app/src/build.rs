//! Builds the [`App`] from the configuration.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use gateway_host::{Admissions, CompileOptions, HostOptions, PluginHost};
use gateway_model::{SystemClock, SystemRandom, UserLimits};
use gateway_sandbox::Network;
use gateway_store::{Store, StoreOptions};
use gateway_token::{SessionKey, SigningKeys};
use gateway_upstream::{Icon, Provider, ProviderConfig};
use secrecy::ExposeSecret as _;
use tokio_util::task::TaskTracker;

use crate::app::{Address, App};
use crate::config::{Config, Database};
use crate::handlers::callback_url;
use crate::metrics::HttpMetrics;
use crate::pages::branding::{Logo, MAX_LOGO};
use crate::pages::{Mark, Offer};
use crate::plugin_data::PluginData;
use crate::rate_limit::RateLimits;
use crate::request_id::RequestIds;
use crate::small_file;
use crate::token_cache::TokenCache;

/// Opens and starts everything that requests use. Also returns the position of the last event that an earlier run left,
/// and the admissions of the plugins, which continue.
pub async fn build(config: &Config, dev: bool) -> Result<(Arc<App>, i64, Admissions)> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let address = Address::new(&config.external);
    let keys = SigningKeys::from_pems(&config.signing_keys, &config.public_keys)
        .context("the signing keys cannot be used: see `gateway keys generate`")?;
    let session_key = session_key(config, &address.text, random.clone())?;
    let options = store_options(&config.database, config.user_limits);
    let store = Store::open(&config.database.url, options)
        .await
        .context("the database cannot be used")?;
    let left_over = store.last_event().await.context("the database cannot be read")?;
    let data = PluginData(store.clone());
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
    let providers: Result<_> = providers
        .map(|wanted| provider(config, wanted, clock.clone()))
        .collect();
    let offers = config.providers.iter().map(offer);
    let offers: Result<_> = offers.chain(dev.then(|| Ok(Offer::development()))).collect();
    let app = App {
        clock,
        request_ids: RequestIds::new(random.as_ref()).context("the system returned no random bytes")?,
        random,
        store,
        plugins,
        keys,
        token_cache: TokenCache::new(config.tokens.permission_reuse),
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
        logout_notifier: tokio::sync::Notify::new(),
        background: TaskTracker::new(),
        http_metrics: HttpMetrics::default(),
    };
    Ok((Arc::new(app), left_over, admissions))
}

pub(crate) fn store_options(database: &Database, limits: UserLimits) -> StoreOptions {
    StoreOptions {
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        user_ids: database.user_ids,
        event_retention: database.event_retention,
        limits,
    }
}

pub(crate) fn provider(
    config: &Config,
    provider: &ProviderConfig,
    clock: Arc<SystemClock>,
) -> Result<Provider> {
    let redirect = callback_url(&config.external, &provider.name)?;
    Provider::new(provider.clone(), redirect, &config.upstream_limits, clock)
        .with_context(|| format!("the provider \"{}\" cannot be used", provider.name))
}

/// Plugins are compiled by this program, in a separate process.
pub(crate) fn compile_options(config: &Config) -> io::Result<CompileOptions> {
    Ok(CompileOptions {
        command: Some(crate::cli::compiler()?),
        ..config.compile.clone()
    })
}

pub(crate) fn cache_dir(config: &Config) -> PathBuf {
    config.data_dir.join("cache")
}

/// Reads the provider's icon, if it is a file.
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
    let mark = Mark::Picture(Logo::new(picture).with_context(unusable)?);
    let offer = Offer::new(&provider.name, name, None);
    Ok(Offer { mark, ..offer })
}

/// The first session secret signs. Tokens under the others are still accepted.
pub(crate) fn session_key(config: &Config, issuer: &str, random: Arc<SystemRandom>) -> Result<SessionKey> {
    const UNUSABLE: &str = "a session secret cannot be used";
    let mut secrets = config.session_secrets.iter();
    let first = secrets.next().context("there is no session secret")?;
    let key = SessionKey::derive(first.expose_secret().as_bytes(), issuer, random).context(UNUSABLE)?;
    secrets.try_fold(key, |key, older| {
        key.and_older(older.expose_secret().as_bytes()).context(UNUSABLE)
    })
}
