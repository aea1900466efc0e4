//! From settings to a configuration: each section is read, and checked against the others.

use gateway_sandbox::PluginConfig;

use super::error::ConfigErrors;
use super::field::Context;
use super::layers::{Layers, Place};
use super::settings::{Applications, SECTIONS};
use super::sources::{Origin, Sources};
use super::{AdminConfig, Config, Loaded, Reloadable, SignInConfig, StorageConfig};

mod keys;
mod pages;
mod plugins;
mod providers;
mod server;

/// Reads and resolves the configuration.
///
/// # Errors
/// All mistakes, not only the first.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources, SECTIONS)?;
    let config = Context::with_defaults(|cx| config(&mut layers, &Place::root(&file), cx));
    layers.finish(config)
}

fn config(layers: &mut Layers<'_>, file: &Place<'_>, cx: &Context<'_>) -> Config {
    let storage = server::storage(layers, file, cx);
    let cx = &Context {
        data_dir: &storage.data_dir,
        ..*cx
    };
    let (server, external) = server::server(layers, file, cx);
    let cx = &Context {
        guest_threads: server.guest_threads,
        ..*cx
    };
    let rate_limits = server::rate_limits(layers, file, &server, &external, cx);
    let admin = server::admin(layers, file, cx);
    server::check_listeners(layers, server.listen, &admin);
    let log = super::LogConfig::read(layers, &file.section("log"), cx);
    let keys = keys::keys(layers, file, cx);
    let tokens = server::tokens(layers, file, cx);
    let upstream_limits = server::upstream(layers, file, cx);
    let providers = providers::providers(layers, file, cx);
    providers::warn_of_untrusted_addresses(layers, &providers, storage.database.user_ids);
    let applications = Applications::read(layers, file, cx);
    let (origins, default_next) =
        server::origins(layers, applications.origins, applications.default_next, &external);
    let branding = pages::branding(layers, file, cx);
    let (plugins, services, compile) = plugins::plugins(layers, file, applications.extensions, cx);
    plugins::warn_of_long_deadlines(layers, &plugins, server.request_timeout);
    Config {
        server,
        external,
        admin,
        database: storage.database,
        user_limits: storage.user_limits,
        plugin_dir: storage.plugin_dir,
        data_dir: storage.data_dir,
        compile,
        providers,
        upstream_limits,
        signing_keys: keys.signing,
        public_keys: keys.public,
        session_secrets: keys.session_secrets,
        tokens,
        log,
        reloadable: Reloadable {
            plugins,
            services,
            origins,
            default_next,
            jsonp: applications.jsonp,
            user_lookup: applications.user_lookup,
            rate_limits,
            branding,
        },
    }
}

/// Reads where data is stored. Mistakes in other sections do not matter: an operator must be able to disable a user while the
/// rest is being repaired.
///
/// # Errors
/// All mistakes in that part.
pub fn load_storage(sources: &Sources) -> Result<StorageConfig, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources, SECTIONS)?;
    let storage = Context::with_defaults(|cx| server::storage(&mut layers, &Place::root(&file), cx));
    layers.part(storage, |key| {
        key == "data_dir" || key.starts_with("database") || key.starts_with("users")
    })
}

/// Reads the providers, so that a sign-in can be tried before the rest is configured.
///
/// # Errors
/// All mistakes in that part.
pub fn load_sign_in(sources: &Sources) -> Result<SignInConfig, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources, SECTIONS)?;
    let file = Place::root(&file);
    let sign_in = Context::with_defaults(|cx| SignInConfig {
        external: server::server(&mut layers, &file, cx).1,
        upstream_limits: server::upstream(&mut layers, &file, cx),
        providers: providers::providers(&mut layers, &file, cx),
    });
    layers.part(sign_in, |key| {
        key == "server.external_address" || key.starts_with("providers") || key.starts_with("upstream")
    })
}

/// Reads `[admin]`.
///
/// # Errors
/// All mistakes in that part.
pub fn load_admin(sources: &Sources) -> Result<AdminConfig, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources, SECTIONS)?;
    let file = Place::root(&file);
    let admin = Context::with_defaults(|cx| {
        let storage = server::storage(&mut layers, &file, cx);
        let cx = &Context {
            data_dir: &storage.data_dir,
            ..*cx
        };
        server::admin(&mut layers, &file, cx)
    });
    layers.part(admin, |key| key == "data_dir" || key.starts_with("admin"))
}

/// Reads the configuration of one plugin, whether or not a service or extension uses it. Mistakes in other sections do not
/// matter, nor do those in keys of the plugin that are not `is_of_use`, for example `secrets.token.file`.
///
/// # Errors
/// All mistakes in that part.
pub fn load_plugin(
    sources: &Sources,
    name: &str,
    is_of_use: impl Fn(&str) -> bool,
) -> Result<PluginConfig, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources, SECTIONS)?;
    let config = plugins::one(&mut layers, &Place::root(&file), name);
    let section = format!("plugin.{name}.");
    layers.part(config, |key| match key.strip_prefix(&section) {
        Some(key) => is_of_use(key),
        None => key == "plugin",
    })
}

/// A key in the file that only the configuration of a particular gateway has: where its users and keys are, or how it is
/// reached from outside. `None` for the file of a plugin's project.
///
/// # Errors
/// When the file cannot be read.
pub fn installation(sources: &Sources) -> Result<Option<String>, ConfigErrors> {
    let (_, file) = Layers::read(sources, SECTIONS)?;
    let file = Place::root(&file);
    let mut settings = SECTIONS.iter().flat_map(|section| {
        let place = match section.path {
            "" => file.clone(),
            path => file.section(path),
        };
        let settings = section.settings.iter().filter(|setting| setting.installation);
        settings
            .flat_map(|setting| setting.keys())
            .map(move |key| (place.clone(), key))
    });
    Ok(settings.find_map(|(place, key)| place.written(&key).map(|_| place.key(&key))))
}

fn first_origin<T>(values: &[(T, Origin)]) -> Option<Origin> {
    values.first().map(|(_, origin)| origin.clone())
}
