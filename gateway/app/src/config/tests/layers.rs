//! The layers: precedence, the old environment alone, the whole file, presets, a reload.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use gateway_sandbox::{Grant, HttpConfig, Limits, OnFailure, PluginConfig};
use gateway_store::{DatabaseUrl, UserIds};
use gateway_upstream::ProviderKind;
use secrecy::ExposeSecret as _;

use super::{Setup, key};
use crate::config::{Sources, load, load_storage};
use crate::rate_limit::Rate;

#[test]
fn a_key_is_enough_on_loopback() {
    let loaded = Setup::with_key("", &[]).load();
    let config = loaded.config;
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.external.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(config.database.url, DatabaseUrl::File("data/gateway.db".into()));
    assert_eq!(config.admin.token_file, PathBuf::from("data/admin-token"));
    assert_eq!(
        config.tokens.session_lifetime,
        Duration::from_secs(14 * 24 * 60 * 60)
    );
    assert_eq!(config.tokens.permission_lifetime, Duration::from_secs(15 * 60));
    assert_eq!(config.tokens.permission_reuse, Duration::from_secs(15 * 30));
    assert!(config.providers.is_empty() && config.reloadable.services.is_empty());
    assert_eq!(config.reloadable.default_next.as_str(), "http://127.0.0.1:8080/");
    assert!(!config.reloadable.jsonp && !config.reloadable.user_lookup);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn the_old_environment_alone_is_enough() {
    let variables = [
        ("PRIVATE_KEY", key()),
        ("GOOGLE_KEY", "google-id"),
        ("GOOGLE_SECRET", "google-secret"),
        ("GITHUB_KEY", "github-id"),
        ("GITHUB_SECRET", "github-secret"),
        ("DATABASE_URL", "sqlite:////var/lib/users.db"),
        ("EXTERNAL_ADDRESS", "auth.example.org"),
        ("ALLOWED_SERVICES", "world:roles; example ;"),
        ("INSTALLED_EXTENSIONS", "first;second"),
        ("ALLOWED_ORIGINS", "https://app.example.org;http://127.0.0.1:3000"),
    ];
    let sources = Sources {
        environment: variables.into_iter().collect(),
        ..Sources::default()
    };
    let loaded = load(&sources).unwrap();
    let config = loaded.config;
    assert_eq!(config.external.as_str(), "https://auth.example.org/");
    assert_eq!(config.database.url, DatabaseUrl::File("/var/lib/users.db".into()));
    let [google, github] = &config.providers[..] else {
        panic!("{:?}", config.providers)
    };
    assert_eq!(
        (google.name.as_str(), google.client_id.as_str()),
        ("google", "google-id")
    );
    assert_eq!(
        google.client_auth.as_secret().unwrap().expose_secret(),
        "google-secret"
    );
    assert!(google.trusted_email && github.trusted_email);
    assert!(!google.allow_private_addresses && !github.allow_private_addresses);
    assert_eq!(
        google.kind,
        ProviderKind::Oidc {
            issuer: "https://accounts.google.com".to_owned()
        }
    );
    let hub = ProviderKind::GitHub {
        web: "https://github.com".parse().unwrap(),
        api: "https://api.github.com".parse().unwrap(),
    };
    assert_eq!(github.kind, hub);
    let services: Vec<_> = config
        .reloadable
        .plugins
        .services
        .iter()
        .map(|(name, plugin)| (name.as_str(), plugin.as_str()))
        .collect();
    assert_eq!(services, [("example", "example"), ("world", "roles")]);
    assert_eq!(config.reloadable.plugins.extensions, ["first", "second"]);
    let plugins: Vec<_> = config
        .reloadable
        .plugins
        .plugins
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(plugins, ["example", "first", "roles", "second"]);
    let origins: Vec<_> = config
        .reloadable
        .origins
        .iter()
        .map(url::Origin::ascii_serialization)
        .collect();
    assert_eq!(origins, ["https://app.example.org", "http://127.0.0.1:3000"]);
    assert_eq!(config.signing_keys.len(), 1);
    assert!(
        config.session_secrets[0].expose_secret().len() >= 32,
        "derived from the key"
    );
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(
        warning.starts_with("server.trusted_proxies is not set"),
        "{warning}"
    );
}

#[test]
fn flags_win_over_variables_over_the_file_over_presets() {
    let mut setup = Setup::with_key("data_dir = \"file\"\n", &[("GATEWAY_DATA_DIR", "variable")]);
    let data_dir = |setup: &Setup| (setup.load().config.data_dir, setup.reported("data_dir"));
    setup.sources.preset("data_dir", "preset");
    setup.sources.set_flag("data_dir", "--data", "flag");
    assert_eq!(data_dir(&setup), ("flag".into(), "data_dir flag --data".into()));
    setup.sources.flags.clear();
    assert_eq!(
        data_dir(&setup),
        ("variable".into(), "data_dir variable GATEWAY_DATA_DIR".into())
    );
    // An empty variable counts as not set.
    setup.sources.environment = [("GATEWAY_DATA_DIR", ""), ("PRIVATE_KEY", key())]
        .into_iter()
        .collect();
    assert_eq!(
        data_dir(&setup),
        ("file".into(), "data_dir file gateway.toml:1".into())
    );
    fs::write(setup.sources.file.as_ref().unwrap(), "").unwrap();
    assert_eq!(
        data_dir(&setup),
        ("preset".into(), "data_dir preset gateway dev".into())
    );
    setup.sources.presets.settings.clear();
    assert_eq!(data_dir(&setup), ("data".into(), "data_dir data default".into()));
}

#[test]
fn every_setting_of_the_file_is_read() {
    let toml = r#"
plugin_dir = "components"
extensions = ["domains"]
origins = ["https://app.example.org"]
default_next = "https://app.example.org/start?x=1"
jsonp = true
user_lookup = true

[server]
trusted_proxies = ["127.0.0.1", "10.1.2.3/16"]
listen = "0.0.0.0:80"
external_address = "https://auth.example.org"
connections = 100
max_body = "1MiB"

[admin]
listen = "off"

[database]
url = "sqlite:///users.db"
user_ids = "email-md5"

[users]
sessions = 5
attributes = 2_000
attribute_bytes = "1MiB"
identities = 3

[keys]
session_secret = "0123456789abcdef0123456789abcdef"

[tokens]
session_lifetime = "1d"

[log]
format = "text"
filter = "warn,gateway=debug"

[providers.work]
issuer = "https://login.example.org/realm"
client_id = 17
client_secret = "secret"
trusted_email = true
allow_private_addresses = true
scopes = ["openid", "groups"]

[providers.enterprise]
kind = "github"
web = "https://git.example.org"
client_id = "id"
client_secret = "secret"

[service.wiki]
provider = "roles"
audience = "https://wiki.example.org"
[service.domains]

[plugin.roles]
grants = ["config", "users"]
on_failure = "pass"
[plugin.roles.settings]
default = "reader"
quota = 5
strict = true
role.reader = "read"
[plugin.roles.settings.role.a]
b = "c"
[plugin.roles.limits]
fuel = 4_000_000_000
deadline = "2s"
memory = "128MiB"
result_bytes = 1024
store_bytes = "1MiB"
value_bytes = 512

[rate_limits]
sign_in = "1000/h"
update = "off"
"#;
    let loaded = Setup::with_key(toml, &[]).load();
    let config = loaded.config;
    assert_eq!(config.plugin_dir, PathBuf::from("components"));
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.database.user_ids, UserIds::EmailMd5);
    let limits = config.user_limits;
    assert_eq!((limits.sessions, limits.identities), (5, 3));
    assert_eq!((limits.attributes, limits.attribute_bytes), (2000, 1 << 20));
    assert_eq!(
        (config.server.connections, config.server.max_body),
        (100, 1 << 20)
    );
    assert_eq!(
        config.session_secrets[0].expose_secret(),
        "0123456789abcdef0123456789abcdef"
    );
    assert_eq!(config.tokens.session_lifetime, Duration::from_secs(86_400));
    assert!(!config.log.json);
    let [work, enterprise] = &config.providers[..] else {
        panic!("{:?}", config.providers)
    };
    assert_eq!(
        (
            work.name.as_str(),
            work.client_id.as_str(),
            work.trusted_email,
            work.allow_private_addresses,
            &work.scopes[..]
        ),
        (
            "work",
            "17",
            true,
            true,
            &["openid".to_owned(), "groups".to_owned()][..]
        )
    );
    let git = ProviderKind::GitHub {
        web: "https://git.example.org".parse().unwrap(),
        api: "https://git.example.org/api/v3".parse().unwrap(),
    };
    assert_eq!(
        (&enterprise.kind, enterprise.trusted_email),
        (&git, false),
        "only GitHub itself is trusted"
    );
    let reloadable = config.reloadable;
    assert!(reloadable.jsonp && reloadable.user_lookup);
    assert_eq!(
        reloadable.default_next.as_str(),
        "https://app.example.org/start?x=1"
    );
    assert_eq!(
        reloadable.services["wiki"].audience.as_deref(),
        Some("https://wiki.example.org")
    );
    assert_eq!(
        reloadable.services["domains"].plugin, "domains",
        "by its own name"
    );
    let limits = &reloadable.rate_limits;
    let proxies: Vec<_> = limits.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["127.0.0.1/32", "10.1.0.0/16"]);
    let hourly = Rate {
        count: 1000.try_into().unwrap(),
        period: Duration::from_secs(3600),
    };
    assert_eq!((limits.sign_in, limits.update), (Some(hourly), None));
    let roles = PluginConfig {
        grants: [Grant::Config, Grant::Users].into(),
        limits: Limits {
            fuel: 4_000_000_000,
            deadline: Duration::from_secs(2),
            memory: 128 << 20,
            result_bytes: 1024,
            store_bytes: 1 << 20,
            value_bytes: 512,
            ..Limits::default()
        },
        settings: [
            ("default", "reader"),
            ("quota", "5"),
            ("strict", "true"),
            ("role.reader", "read"),
            ("role.a.b", "c"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        secrets: [].into(),
        http: HttpConfig::default(),
        prepared: 2,
        sha256: None,
        on_failure: OnFailure::Pass,
    };
    assert_eq!(reloadable.plugins.plugins["roles"], roles);
    assert_eq!(reloadable.plugins.plugins["domains"], PluginConfig::default());
    // S2: `work` is trusted for addresses, `enterprise` is not.
    let [warning] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(
        warning.starts_with("providers.enterprise ") && warning.contains("random ids"),
        "{warning}"
    );
}

#[test]
fn allowed_services_replaces_the_list_but_keeps_the_sections() {
    let toml = "[service.a]\nprovider = \"x\"\naudience = \"y\"\n[service.b]\n";
    let config = Setup::with_key(toml, &[("ALLOWED_SERVICES", "a:z")])
        .load()
        .config;
    let services = config.reloadable.services;
    assert_eq!(services.len(), 1);
    assert_eq!(
        (services["a"].plugin.as_str(), services["a"].audience.as_deref()),
        ("z", Some("y"))
    );
}

/// Earlier releases had `provider`.
#[test]
fn a_service_names_its_plugin_by_either_key() {
    for key in ["plugin", "provider"] {
        let setup = Setup::with_key(&format!("[service.wiki]\n{key} = \"roles\"\n"), &[]);
        let services = setup.load().config.reloadable.services;
        assert_eq!(services["wiki"].plugin, "roles");
        assert_eq!(
            setup.reported("service.wiki.plugin"),
            "service.wiki.plugin roles gateway.toml:2"
        );
    }
    let both = Setup::with_key("[service.wiki]\nprovider = \"a\"\nplugin = \"b\"\n", &[]);
    assert_eq!(
        both.mistakes(),
        [
            "gateway.toml:3: service.wiki.plugin: provider is an earlier name of plugin, and both are set: keep one of them"
        ]
    );
}

#[test]
fn presets_are_defaults() {
    let mut setup = Setup::with_key("[service.example]\nprovider = \"mine\"\n[plugin.roles]\n", &[]);
    let presets = &mut setup.sources.presets;
    presets.services = [("example", "example"), ("roles", "roles")]
        .map(|(a, b)| (a.into(), b.into()))
        .into();
    presets.extensions = vec!["domains".to_owned()];
    let with_users = PluginConfig {
        grants: [Grant::Users].into(),
        ..PluginConfig::default()
    };
    presets.plugins = [
        ("roles".to_owned(), with_users.clone()),
        ("domains".to_owned(), with_users.clone()),
    ]
    .into();
    let plugins = setup.load().config.reloadable.plugins;
    assert_eq!(plugins.services["example"], "mine");
    assert_eq!(plugins.services["roles"], "roles");
    assert_eq!(
        plugins.plugins["roles"],
        PluginConfig::default(),
        "who writes a table has written all of it"
    );
    assert_eq!(plugins.plugins["domains"], with_users);
    assert_eq!(plugins.extensions, ["domains"]);

    fs::write(setup.sources.file.as_ref().unwrap(), "extensions = []").unwrap();
    assert!(setup.load().config.reloadable.plugins.extensions.is_empty());
}

#[test]
fn commands_need_only_the_storage_settings() {
    let setup = Setup::new(
        "nonsense = 1\n[database]\nurl = \"sqlite:///users.db\"\n[providers.x]\n",
        &[],
    );
    assert_eq!(
        load_storage(&setup.sources).unwrap().database.url,
        DatabaseUrl::File("users.db".into())
    );
    let setup = Setup::new("[database]\nurl = \"users.db\"\nuser_idz = \"random\"\n", &[]);
    assert_eq!(load_storage(&setup.sources).unwrap_err().0.len(), 2);
}

#[test]
fn a_reload_keeps_the_external_address() {
    let setup = Setup::with_key("[server]\nexternal_address = \"https://one.example\"\n", &[]);
    let in_force = setup.load();
    let reload = crate::config::reload::reload(setup.sources.clone(), &in_force);
    let write = |toml: &str| fs::write(setup.sources.file.as_ref().unwrap(), toml).unwrap();
    write("jsonp = true\n[server]\nexternal_address = \"https://two.example\"\n");
    let reloaded = reload().unwrap();
    assert!(reloaded.reloadable.jsonp);
    assert_eq!(reloaded.reloadable.default_next.as_str(), "https://one.example/");
    assert!(
        reloaded.warnings.concat().contains("server.external_address"),
        "{:?}",
        reloaded.warnings
    );
    write("jsnop = true\nuser_lookup = 7\n");
    let errors = reload().unwrap_err();
    assert!(
        errors[0].contains(":1: jsnop") && errors[1].contains(":2: user_lookup"),
        "{errors:?}"
    );
}

#[test]
fn b11_under_dev_every_loopback_origin_counts_while_none_are_configured() {
    let page = url::Url::parse("http://localhost:5173").unwrap().origin();
    for (toml, is_dev, counts) in [
        ("", true, true),
        ("origins = []", true, true),
        ("origins = [\"https://app.example.org\"]", true, false),
        ("", false, false),
    ] {
        let mut setup = Setup::with_key(toml, &[]);
        setup.sources.presets.loopback_origins = is_dev;
        let origins = setup.load().config.reloadable.origins;
        assert_eq!(origins.contains(&page), counts, "{toml:?} {is_dev}");
    }
}
