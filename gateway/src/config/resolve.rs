//! The layers put together: each setting from the strongest source that has it, read, checked, reported.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use gateway_plugin::PluginConfig;
use secrecy::SecretString;
use url::Url;

use super::error::{self, ConfigError, ConfigErrors, nearest};
use super::file::{self, File, List, Setting};
use super::parse::{self, Source};
use super::report::{Entry, Report, Shown};
use super::sources::{Origin, Sources};
use super::value::Value;
use super::{AdminConfig, Config, Loaded, SignInConfig, StorageConfig};
use crate::small_file;

mod keys;
mod pages;
mod plugins;
mod providers;
mod server;
mod sign_out;

/// Largest configuration file, in bytes: a hundred thousand services and their plugins.
const MAX_FILE: u64 = 16 << 20;

/// See [`super::load`].
pub(super) fn everything(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources)?;
    let storage = server::storage(&mut layers, file.data_dir, file.database, file.users);
    let data_dir = storage.data_dir;
    let plugin_dir = layers.value(
        "plugin_dir",
        "GATEWAY_PLUGIN_DIR",
        file.plugin_dir,
        PathBuf::from("plugins"),
    );
    let trusted_proxies = file.server.trusted_proxies.clone();
    let server = server::server(&mut layers, file.server);
    let rate_limits = server::rate_limits(&mut layers, trusted_proxies, file.rate_limits, &server.external);
    let admin = server::admin(&mut layers, file.admin, &data_dir);
    server::check_listeners(&mut layers, server.listen, &admin);
    let log = server::log(&mut layers, file.log);
    let keys = keys::keys(&mut layers, file.keys, &data_dir);
    let tokens = server::tokens(&mut layers, file.tokens);
    let upstream_limits = server::upstream(&mut layers, file.upstream);
    let providers = providers::providers(&mut layers, file.providers);
    providers::warn_of_untrusted_addresses(&mut layers, &providers, storage.user_ids);
    let (origins, default_next) =
        server::origins(&mut layers, file.origins, file.default_next, &server.external);
    let branding = pages::branding(&mut layers, file.pages);
    let jsonp = layers.value("jsonp", "GATEWAY_JSONP", file.jsonp, false);
    let user_lookup = layers.value("user_lookup", "GATEWAY_USER_LOOKUP", file.user_lookup, false);
    let compile = plugins::files::compile(&mut layers, &file.plugins);
    let total_memory = plugins::total_memory(&mut layers, &file.plugins, server.guest_threads);
    let trusted_keys = plugins::files::trusted_keys(&mut layers, file.plugins.trusted_keys);
    let allow_v1_signatures = layers.value(
        "plugins.allow_v1_signatures",
        "GATEWAY_ALLOW_V1_SIGNATURES",
        file.plugins.allow_v1_signatures,
        false,
    );
    let (mut plugins, services) = plugins::plugins(
        &mut layers,
        file.service,
        file.extensions,
        file.plugin,
        trusted_keys,
    );
    plugins.total_memory = Some(total_memory);
    plugins.allow_v1_signatures = allow_v1_signatures;
    plugins::warn_of_long_deadlines(&mut layers, &plugins, server.limits.request_timeout);
    layers.finish(Config {
        listen: server.listen,
        external: server.external,
        admin,
        database: storage.database,
        user_ids: storage.user_ids,
        event_retention: storage.event_retention,
        user_limits: storage.user_limits,
        data_dir,
        plugin_dir,
        compile,
        guest_threads: server.guest_threads,
        providers,
        upstream_limits,
        signing_keys: keys.signing,
        public_keys: keys.public,
        session_secrets: keys.session_secrets,
        session_lifetime: tokens.session_lifetime,
        token_lifetime: tokens.permission_lifetime,
        token_reuse: tokens.permission_reuse,
        server_limits: server.limits,
        log,
        reloadable: super::Reloadable {
            plugins,
            services,
            origins,
            default_next,
            jsonp,
            user_lookup,
            rate_limits,
            branding,
        },
    })
}

/// See [`super::load_storage`].
pub(super) fn storage(sources: &Sources) -> Result<StorageConfig, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources)?;
    let storage = server::storage(&mut layers, file.data_dir, file.database, file.users);
    layers.mistakes.retain(|mistake| {
        mistake.key == "data_dir" || mistake.key.starts_with("database") || mistake.key.starts_with("users")
    });
    if layers.mistakes.is_empty() {
        Ok(storage)
    } else {
        Err(layers.errors())
    }
}

/// See [`super::load_sign_in`].
pub(super) fn sign_in(sources: &Sources) -> Result<SignInConfig, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources)?;
    let server = server::server(&mut layers, file.server);
    let upstream_limits = server::upstream(&mut layers, file.upstream);
    let providers = providers::providers(&mut layers, file.providers);
    layers.mistakes.retain(|mistake| {
        let key = mistake.key.as_str();
        key == "server.external_address" || key.starts_with("providers") || key.starts_with("upstream")
    });
    if layers.mistakes.is_empty() {
        Ok(SignInConfig {
            external: server.external,
            providers,
            upstream_limits,
        })
    } else {
        Err(layers.errors())
    }
}

/// See [`super::load_admin`].
pub(super) fn admin(sources: &Sources) -> Result<AdminConfig, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources)?;
    let storage = server::storage(&mut layers, file.data_dir, file.database, file.users);
    let admin = server::admin(&mut layers, file.admin, &storage.data_dir);
    layers
        .mistakes
        .retain(|mistake| mistake.key == "data_dir" || mistake.key.starts_with("admin"));
    if layers.mistakes.is_empty() {
        Ok(admin)
    } else {
        Err(layers.errors())
    }
}

/// See [`super::load_plugin`].
pub(super) fn plugin(
    sources: &Sources,
    name: &str,
    is_of_use: impl Fn(&str) -> bool,
) -> Result<PluginConfig, ConfigErrors> {
    let (mut layers, file) = Layers::read(sources)?;
    let config = plugins::one(&mut layers, file.plugin, name);
    let section = format!("plugin.{name}.");
    layers
        .mistakes
        .retain(|mistake| match mistake.key.strip_prefix(&section) {
            Some(key) => is_of_use(key),
            None => mistake.key == "plugin",
        });
    if layers.mistakes.is_empty() {
        Ok(config)
    } else {
        Err(layers.errors())
    }
}

/// See [`super::installation`].
pub(super) fn installation(sources: &Sources) -> Result<Option<&'static str>, ConfigErrors> {
    let (_, file) = Layers::read(sources)?;
    let (server, keys) = (&file.server, &file.keys);
    let is_of_one_gateway = [
        ("data_dir", file.data_dir.is_some()),
        ("database.url", file.database.url.is_some()),
        ("server.external_address", server.external_address.is_some()),
        ("keys.signing", keys.signing.is_some()),
        (
            "keys.session_secret",
            keys.session_secret.is_some() || keys.session_secret_file.is_some(),
        ),
        (
            "keys.session_secrets",
            keys.session_secrets.is_some() || keys.session_secrets_file.is_some(),
        ),
    ];
    Ok(is_of_one_gateway
        .into_iter()
        .find_map(|(key, is_set)| is_set.then_some(key)))
}

/// The sources, and what has been found in them so far.
struct Layers<'a> {
    sources: &'a Sources,
    source: Source,
    report: Report,
    mistakes: Vec<ConfigError>,
    warnings: Vec<ConfigError>,
    notes: Vec<ConfigError>,
    /// The variables that have been asked for.
    variables: BTreeSet<String>,
    /// By key, what holds where no other source says: the presets of providers.
    fallbacks: BTreeMap<String, (String, Origin)>,
}

impl<'a> Layers<'a> {
    /// Reads the file.
    fn read(sources: &'a Sources) -> Result<(Self, File), ConfigErrors> {
        let mut layers = Self {
            sources,
            source: Source::default(),
            report: Report::default(),
            mistakes: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            variables: BTreeSet::new(),
            fallbacks: BTreeMap::new(),
        };
        let Some(path) = &sources.file else {
            return Ok((layers, File::default()));
        };
        let text = match small_file::read_text(path, MAX_FILE) {
            Ok((text, _)) => text,
            Err(error) => {
                let message = format!("cannot read the configuration file {}: {error}", path.display());
                layers.mistake(None, "", message);
                return Err(layers.errors());
            }
        };
        layers.source = Source::new(path, &text);
        let (file, mistakes) = parse::parse(&layers.source, &text);
        layers.mistakes = mistakes;
        // Without a key it is the file as a whole that cannot be read: all else would follow from that.
        if layers.mistakes.iter().any(|mistake| mistake.key.is_empty()) {
            return Err(layers.errors());
        }
        Ok((layers, file))
    }

    fn finish(mut self, config: Config) -> Result<Loaded, ConfigErrors> {
        let sources = self.sources;
        for name in sources
            .environment
            .names()
            .filter(|name| name.starts_with("GATEWAY_"))
        {
            if name == super::sources::FILE_VARIABLE || self.variables.contains(name) {
                continue;
            }
            // Kubernetes sets GATEWAY_PORT and the like by itself where a service is called so: only what
            // looks like a slip is worth a word.
            let right = nearest(name, self.variables.iter().map(String::as_str)).map(str::to_owned);
            if let Some(right) = right {
                let warning = format!("the gateway has no variable {name}; do you mean {right}?");
                self.warn_at(Some(Origin::Variable(name.to_owned())), "", warning);
            }
        }
        if self.mistakes.is_empty() {
            Ok(Loaded {
                config,
                warnings: self
                    .warnings
                    .iter()
                    .map(|warning| warning.message.clone())
                    .collect(),
                warned: self.warnings,
                notes: self.notes,
                report: self.report,
            })
        } else {
            Err(self.errors())
        }
    }

    fn errors(mut self) -> ConfigErrors {
        error::sort(&mut self.mistakes);
        // A variable that is asked for twice is mistaken twice.
        self.mistakes.dedup();
        ConfigErrors(self.mistakes)
    }

    fn mistake(&mut self, origin: Option<Origin>, key: &str, message: impl Into<String>) {
        self.mistakes.push(ConfigError {
            origin,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    fn warn(&mut self, warning: String) {
        self.warn_at(None, "", warning);
    }

    fn warn_at(&mut self, origin: Option<Origin>, key: &str, message: String) {
        self.warnings.push(ConfigError {
            origin,
            key: key.to_owned(),
            message,
        });
    }

    /// Whether a path leads to systemd credentials that are not there because their service does not run. Notes it, where
    /// that is no mistake.
    fn waits_for_the_service(&mut self, key: &str, path: &Path, origin: &Origin) -> bool {
        if !self.sources.before_start {
            return false;
        }
        let Some(directory) = credentials_of(path).filter(|directory| !directory.exists()) else {
            return false;
        };
        let message = format!(
            "{} was not looked at: systemd makes {} when the service starts",
            path.display(),
            directory.display()
        );
        self.notes.push(ConfigError {
            origin: Some(origin.clone()),
            key: key.to_owned(),
            message,
        });
        true
    }

    fn show(&mut self, key: &str, value: String, origin: Origin) {
        self.report.0.push(Entry {
            key: key.to_owned(),
            value: Shown::Text(value),
            origin,
        });
    }

    fn hide(&mut self, key: &str, secret: SecretString, origin: Origin) {
        self.report.0.push(Entry {
            key: key.to_owned(),
            value: Shown::Hidden(secret),
            origin,
        });
    }

    /// Where the value of a setting came from that was read already; `None` where nobody has set it.
    fn origin(&self, key: &str) -> Option<Origin> {
        self.report.origin(key).cloned()
    }

    /// The value of a variable. One that is not UTF-8 is a mistake and counts as not set.
    fn variable(&mut self, name: &str, key: &str) -> Option<String> {
        self.variables.insert(name.to_owned());
        match self.sources.environment.get(name)? {
            Ok(text) => Some(text.to_owned()),
            Err(error) => {
                self.mistake(Some(Origin::Variable(name.to_owned())), key, error.to_string());
                None
            }
        }
    }

    /// What the strongest source says.
    fn text(&mut self, key: &str, variable: &str, in_file: Setting) -> Option<(String, Origin)> {
        let from_variable = self.variable(variable, key);
        if let Some((flag, text)) = self.sources.flags.get(key) {
            return Some((text.clone(), Origin::Flag(flag)));
        }
        if let Some(text) = from_variable {
            return Some((text, Origin::Variable(variable.to_owned())));
        }
        if let Some(value) = in_file {
            let origin = self.source.origin(&value.span());
            return Some((value.into_inner().0, origin));
        }
        if let Some(text) = self.sources.presets.settings.get(key) {
            return Some((text.clone(), Origin::Preset));
        }
        self.fallbacks.get(key).cloned()
    }

    /// A setting that need not be there, and where it is from.
    fn optional<T: Value>(&mut self, key: &str, variable: &str, in_file: Setting) -> Option<(T, Origin)> {
        let (text, origin) = self.text(key, variable, in_file)?;
        let value = self.parse::<T>(key, text.trim(), &origin)?;
        self.show(key, value.show(), origin.clone());
        Some((value, origin))
    }

    /// A setting with a default.
    fn value<T: Value>(&mut self, key: &str, variable: &str, in_file: Setting, default: T) -> T {
        self.value_or(key, variable, in_file, default, Origin::Default)
    }

    /// A setting with a default from somewhere.
    fn value_or<T: Value>(
        &mut self,
        key: &str,
        variable: &str,
        in_file: Setting,
        default: T,
        from: Origin,
    ) -> T {
        if let Some((value, _)) = self.optional(key, variable, in_file) {
            return value;
        }
        self.show(key, default.show(), from);
        default
    }

    fn parse<T: Value>(&mut self, key: &str, text: &str, origin: &Origin) -> Option<T> {
        let read = T::read(text).and_then(|value| match value.beyond(key) {
            Some(most) => Err(format!("{most} at most")),
            None => match value.short_of(key) {
                Some(least) => Err(format!("{least} at least")),
                None => Ok(value),
            },
        });
        match read {
            Ok(value) => Some(value),
            // What was found is not repeated: it may hold a password.
            Err(right) => {
                self.mistake(Some(origin.clone()), key, format!("must be {right}"));
                None
            }
        }
    }

    /// Several texts, each with where it is from; `None` where nobody says.
    fn list(&mut self, key: &str, variable: &str, in_file: List) -> Option<Vec<(String, Origin)>> {
        let split = |text: &str, origin: Origin| {
            let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
            Some(parts.map(|part| (part.to_owned(), origin.clone())).collect())
        };
        let from_variable = self.variable(variable, key);
        if let Some((flag, text)) = self.sources.flags.get(key) {
            return split(text, Origin::Flag(flag));
        }
        if let Some(text) = from_variable {
            return split(&text, Origin::Variable(variable.to_owned()));
        }
        if let Some(list) = in_file {
            let parts = list.into_inner().into_iter();
            return Some(
                parts
                    .map(|part| {
                        (
                            part.get_ref().0.trim().to_owned(),
                            self.source.origin(&part.span()),
                        )
                    })
                    .collect(),
            );
        }
        if let Some(text) = self.sources.presets.settings.get(key) {
            return split(text, Origin::Preset);
        }
        let (text, origin) = self.fallbacks.get(key)?;
        split(text, origin.clone())
    }

    /// Several values; those that cannot be read are mistakes.
    fn values<T: Value>(&mut self, key: &str, variable: &str, in_file: List) -> Option<Vec<(T, Origin)>> {
        let list = self.list(key, variable, in_file)?;
        let mut values = Vec::new();
        for (text, origin) in list {
            if let Some(value) = self.parse::<T>(key, &text, &origin) {
                values.push((value, origin));
            }
        }
        Some(values)
    }

    /// Reports a list.
    fn show_list(&mut self, key: &str, shown: &[String], origin: Origin) {
        self.show(key, format!("[{}]", shown.join(", ")), origin);
    }

    /// A secret, written out or in a file of its own.
    fn secret(
        &mut self,
        key: &str,
        variable: &str,
        in_file: Setting,
        path_in_file: Setting,
    ) -> Option<(SecretString, Origin)> {
        let (path_key, path_variable) = (format!("{key}_file"), format!("{variable}_FILE"));
        let written = self.text(key, variable, in_file);
        let path = self.text(&path_key, &path_variable, path_in_file);
        let written_is_stronger = |written: &Origin, path: &Origin| strength(written) > strength(path);
        let (secret, origin) = match (written, path) {
            (None, None) => return None,
            (Some((text, origin)), None) => (text, origin),
            (Some((text, origin)), Some((_, other))) if written_is_stronger(&origin, &other) => {
                (text, origin)
            }
            (Some((_, origin)), Some((_, other))) if strength(&origin) == strength(&other) => {
                self.mistake(
                    Some(other),
                    &path_key,
                    format!("{key} is given too: keep one of them"),
                );
                return None;
            }
            (_, Some((path, origin))) => (self.secret_file(&path_key, Path::new(&path), &origin)?, origin),
        };
        if secret.trim().is_empty() {
            self.mistake(Some(origin), key, "is empty");
            return None;
        }
        let secret = SecretString::from(secret.trim().to_owned());
        self.hide(key, secret.clone(), origin.clone());
        Some((secret, origin))
    }

    fn secret_file(&mut self, key: &str, path: &Path, origin: &Origin) -> Option<String> {
        match crate::keys::read_secret(path) {
            Ok((text, exposed)) => {
                if exposed {
                    self.warn_at(Some(origin.clone()), key, crate::keys::exposed(path));
                }
                Some(text)
            }
            Err(_) if self.waits_for_the_service(key, path, origin) => Some(STAND_IN.to_owned()),
            Err(error) => {
                self.mistake(
                    Some(origin.clone()),
                    key,
                    format!("cannot read {}: {error}", path.display()),
                );
                None
            }
        }
    }
}

/// Where systemd gives a service its credentials.
const CREDENTIALS: &str = "/run/credentials";

/// Stands in for a secret that is not there yet, so that the rest can be checked.
const STAND_IN: &str = "a credential of a service that does not run";

/// The directory of the service whose credential a path names.
fn credentials_of(path: &Path) -> Option<PathBuf> {
    let service = path.strip_prefix(CREDENTIALS).ok()?.components().next()?;
    Some(Path::new(CREDENTIALS).join(service))
}

/// Which source wins.
fn strength(origin: &Origin) -> u8 {
    match origin {
        Origin::Flag(_) => 4,
        Origin::Variable(_) => 3,
        Origin::File(..) => 2,
        Origin::Preset => 1,
        Origin::Default | Origin::ProviderPreset(_) => 0,
    }
}

/// A name as it stands in variables: upper case, `_` for anything but letters and digits.
fn in_variable(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}

/// The URL of a listener on loopback.
fn loopback_url(listen: SocketAddr) -> Option<Url> {
    (listen.ip().is_loopback() && listen.port() != 0)
        .then(|| Url::parse(&format!("http://{listen}/")).ok())?
}

/// What is left of a section that has a name: the name, its place, what is in it, in the file's order.
fn in_order<T>(layers: &mut Layers<'_>, section: &str, named: file::Named<T>) -> Vec<(String, Origin, T)> {
    let mut ordered: Vec<_> = named.into_iter().collect();
    ordered.sort_by_key(|(name, _)| name.span().start);
    let mut kept = Vec::new();
    for (name, inside) in ordered {
        let origin = layers.source.origin(&name.span());
        let name = name.into_inner();
        if super::value::is_name(&name) {
            kept.push((name, origin, inside));
        } else {
            layers.mistake(
                Some(origin),
                section,
                format!("{name:?} must be {}", super::value::NAME),
            );
        }
    }
    kept
}
