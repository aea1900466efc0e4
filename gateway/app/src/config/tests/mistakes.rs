//! Mistakes and warnings: their places and texts.

use std::os::unix::ffi::OsStringExt as _;

use super::{Setup, key};
use crate::config::sources::Environment;

#[test]
fn every_mistake_of_the_file_has_its_line_and_the_fix() {
    let toml = r#"extentions = []
jsonp = "yes"
origins = ["https://app.example.org",
           "https://app.example.org/path",
           "*"]
default_next = "https://evil.example"
colour = 1

[server]
lisen = "127.0.0.1:1"
external_address = "http://"
drain = "30"
max_body = [1]

[admin]
listen = 8081

[database]
url = "postgresql://gateway:canary@db/users"

[log]
filter = "gateway=loud"

[providers.dev]
[providers."a/b"]
[providers.work]
issuer = "http://login.example.org"
web = "https://github.com"
client_secret_file = "/nonexistent/secret"
client_secret = "canary"

[service.wiki]
provider = "../roles"

[plugin.x]
grnats = ["users"]
grants = ["network"]
on_failure = "ignore"
settings = { list = [1, 2] }
limits = { fuel = 0, deadline = "soon" }
[plugin.x.secrets]
written = "canary"
nested = { file.name = "canary" }
both = { file = "a", env = "B" }
neither = {}
unread = { file = "/nonexistent/secret" }
unset = { env = "TOKEN_OF_X" }
[rate_limits]
sign_in = "5"
"#;
    let setup = Setup::with_key(toml, &[]);
    let mistakes = setup.mistakes();
    let grants = gateway_sandbox::Grant::names();
    insta::assert_snapshot!(mistakes.join("\n").replace(&grants, "NAMES"), @r#"
    gateway.toml:1: extentions: unknown key; did you mean `extensions`?
    gateway.toml:2: jsonp: must be true or false
    gateway.toml:4: origins: must be an origin, scheme://host[:port], as in https://app.example.org
    gateway.toml:5: origins: must be an origin, scheme://host[:port], as in https://app.example.org
    gateway.toml:6: default_next: must be on one of the origins, or on the gateway's own
    gateway.toml:7: colour: unknown key; expected one of plugin_dir, data_dir, extensions, origins, default_next, jsonp, user_lookup, server, admin, database, users, keys, tokens, upstream, rate_limits, log, pages, providers, service, plugin, plugins
    gateway.toml:10: server.lisen: unknown key; did you mean `listen`?
    gateway.toml:11: server.external_address: must be the host at which browsers reach the gateway, without a path, as in auth.example.org or http://127.0.0.1:8080
    gateway.toml:12: server.drain: must be a duration in ms, s, m, h or d, as in 500ms, 15m or 14d
    gateway.toml:13: server.max_body: must be a text, number or boolean
    gateway.toml:16: admin.listen: must be an IP address and a port, as in 127.0.0.1:8080 or [::1]:8080, or off
    gateway.toml:19: database.url: must be a URL that starts with sqlite:// (other databases are not supported)
    gateway.toml:22: log.filter: must be a filter, as in info or warn,gateway=debug
    gateway.toml:24: providers.dev: is the name of the development sign-in: choose another
    gateway.toml:25: providers: "a/b" must be a name of up to 64 letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`
    gateway.toml:26: providers.work.client_id: is missing: set it, or GATEWAY_PROVIDER_WORK_CLIENT_ID, to the id that the provider gave you
    gateway.toml:27: providers.work.issuer: must be an https URL without query and fragment, as in https://login.example.org
    gateway.toml:28: providers.work.web: has no effect for a provider of kind oidc, only for github
    gateway.toml:29: providers.work.client_secret_file: providers.work.client_secret is set too: keep one of them
    gateway.toml:33: service.wiki: "../roles" must be a name of up to 64 letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`
    gateway.toml:36: plugin.x.grnats: unknown key; did you mean `grants`?
    gateway.toml:37: plugin.x.grants: must be one of the grants NAMES
    gateway.toml:38: plugin.x.on_failure: must be refuse or pass
    gateway.toml:39: plugin.x.settings.list: must be a text, number, boolean or table
    gateway.toml:40: plugin.x.limits.fuel: must be a whole number above 0
    gateway.toml:40: plugin.x.limits.deadline: must be a duration in ms, s, m, h or d, as in 500ms, 15m or 14d
    gateway.toml:42: plugin.x.secrets.written: must be where the secret is, { file = "/path" } or { env = "VARIABLE" }, not the secret itself
    gateway.toml:43: plugin.x.secrets.nested.file: must be a text, number or boolean
    gateway.toml:43: plugin.x.secrets.nested: must say where the secret is, { file = "/path" } or { env = "VARIABLE" }
    gateway.toml:44: plugin.x.secrets.both: has a file and a variable: keep one of them
    gateway.toml:45: plugin.x.secrets.neither: must say where the secret is, { file = "/path" } or { env = "VARIABLE" }
    gateway.toml:46: plugin.x.secrets.unread.file: cannot read /nonexistent/secret: No such file or directory (os error 2)
    gateway.toml:47: plugin.x.secrets.unset.env: the variable TOKEN_OF_X is not set
    gateway.toml:49: rate_limits.sign_in: must be a number per second, minute or hour, as in 5/s, 300/m or 1000/h, or off
    "#);
    assert!(!mistakes.concat().contains("canary"));
}

#[test]
fn every_mistake_of_the_environment_names_its_variable() {
    let variables = [
        ("EXTERNAL_ADDRESS", "https://auth.example.org/auth"),
        ("DATABASE_URL", "mysql://canary@db"),
        ("ALLOWED_SERVICES", "a:b;a:c;x/y"),
        ("INSTALLED_EXTENSIONS", "e;e;../f"),
        ("ALLOWED_ORIGINS", "app.example.org"),
        ("GOOGLE_KEY", "id"),
        ("GITHUB_SECRET", "canary"),
        ("GATEWAY_PROVIDERS", "work"),
        ("GATEWAY_PROVIDER_WORK_CLIENT_ID", "id"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8;0.0.0.0/0;proxy.internal"),
        ("GATEWAY_LISTEN", "8080"),
        ("GATEWAY_SESSION_SECRET", "canary"),
        ("GATEWAY_PLUGIN_B_FUEL", "lots"),
        ("PRIVATE_KEY", "canary"),
    ];
    let setup = Setup::new("", &variables);
    let mistakes = setup.mistakes();
    insta::assert_snapshot!(mistakes.join("\n"), @r#"
    providers.google.client_secret: is missing: set it, or client_secret_file, or GOOGLE_SECRET, to the secret that the provider gave you
    providers.github.client_id: is missing: set it, or GITHUB_KEY, to the id that the provider gave you
    providers.work.issuer: is missing: set it, or GATEWAY_PROVIDER_WORK_ISSUER, to the issuer's exact identifier, an https URL
    providers.work.client_secret: is missing: set it, or client_secret_file, or GATEWAY_PROVIDER_WORK_CLIENT_SECRET, to the secret that the provider gave you
    DATABASE_URL: database.url: must be a URL that starts with sqlite:// (other databases are not supported)
    GATEWAY_LISTEN: server.listen: must be an IP address and a port, as in 127.0.0.1:8080 or [::1]:8080
    EXTERNAL_ADDRESS: server.external_address: must be the host at which browsers reach the gateway, without a path, as in auth.example.org or http://127.0.0.1:8080
    GATEWAY_TRUSTED_PROXIES: server.trusted_proxies: must be a smaller network: if you trust the whole internet, anybody can claim any address
    GATEWAY_TRUSTED_PROXIES: server.trusted_proxies: must be an address or a network, as in 127.0.0.1, 10.0.0.0/8 or fd00::/8
    PRIVATE_KEY: keys.signing: PRIVATE_KEY cannot be used: not PEM: it should begin with a line like -----BEGIN PRIVATE KEY-----, and end with one
    GATEWAY_SESSION_SECRET: keys.session_secret: must be at least 32 bytes, as from `openssl rand -hex 32`
    ALLOWED_ORIGINS: origins: must be an origin, scheme://host[:port], as in https://app.example.org
    ALLOWED_SERVICES: service: "a" is listed twice
    ALLOWED_SERVICES: service.x/y: "x/y" must be a name of up to 64 letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`
    INSTALLED_EXTENSIONS: extensions: "e" is listed twice
    INSTALLED_EXTENSIONS: extensions: "../f" must be a name of up to 64 letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`
    "#);
    assert!(!mistakes.concat().contains("canary"));
}

#[test]
fn missing_settings_are_reported_with_the_fix() {
    let setup = Setup::new("[server]\nlisten = \"0.0.0.0:80\"\n[providers.work]\n", &[]);
    insta::assert_snapshot!(setup.mistakes().join("\n"), @r#"
    server.external_address: is missing: set it, or EXTERNAL_ADDRESS, to the address at which browsers reach the gateway
    keys.signing: there is no signing key: create one with `gateway keys generate --out data/keys`, or set PRIVATE_KEY to a PEM text
    gateway.toml:3: providers.work.client_id: is missing: set it, or GATEWAY_PROVIDER_WORK_CLIENT_ID, to the id that the provider gave you
    gateway.toml:3: providers.work.issuer: is missing: set it, or GATEWAY_PROVIDER_WORK_ISSUER, to the issuer's exact identifier, an https URL
    gateway.toml:3: providers.work.client_secret: is missing: set it, or client_secret_file, or GATEWAY_PROVIDER_WORK_CLIENT_SECRET, to the secret that the provider gave you
    "#);
}

#[test]
fn a_reused_token_has_half_of_its_lifetime_left() {
    let reuse = |text: &str| {
        let toml = format!("[tokens]\npermission_lifetime = \"10m\"\npermission_reuse = \"{text}\"\n");
        Setup::with_key(&toml, &[])
    };
    insta::assert_snapshot!(reuse("301s").mistakes().join("\n"), @"gateway.toml:3: tokens.permission_reuse: must be at most half of tokens.permission_lifetime, so that a reused token is valid for that long");
    for (text, seconds) in [("5m", 300), ("off", 0)] {
        assert_eq!(
            reuse(text).load().config.tokens.permission_reuse.as_secs(),
            seconds,
            "{text}"
        );
    }
    let mistakes = reuse("0").mistakes().join("\n");
    assert!(
        mistakes.ends_with("as in 500ms, 15m or 14d, or off"),
        "{mistakes}"
    );
}

#[test]
fn an_unreadable_file_is_one_mistake() {
    let setup = Setup::with_key("[server]\nlisten = \n[keys]\nsession_secret = canary\n", &[]);
    let mistakes = setup.mistakes();
    assert!(
        mistakes
            .iter()
            .all(|mistake| mistake.starts_with("gateway.toml:")),
        "{mistakes:?}"
    );
    assert!(
        mistakes[0].starts_with("gateway.toml:2: this is not TOML"),
        "{mistakes:?}"
    );
    assert!(!mistakes.concat().contains("canary"), "{mistakes:?}");

    let mut missing = Setup::with_key("", &[]);
    missing.sources.file = Some("/nonexistent/gateway.toml".into());
    let mistakes = missing.mistakes();
    assert!(
        mistakes.len() == 1 && mistakes[0].contains("/nonexistent/gateway.toml"),
        "{mistakes:?}"
    );
}

#[test]
fn a_variable_that_is_not_utf8_is_rejected() {
    let mut setup = Setup::with_key("", &[]);
    let mut variables: Vec<(&str, std::ffi::OsString)> = vec![("PRIVATE_KEY", key().into())];
    variables.push(("EXTERNAL_ADDRESS", std::ffi::OsString::from_vec(vec![b'a', 0xff])));
    setup.sources.environment = variables.into_iter().collect::<Environment>();
    assert_eq!(
        setup.mistakes(),
        ["EXTERNAL_ADDRESS: server.external_address: is not UTF-8"]
    );
}

#[test]
fn probably_unintended_settings_are_warned_of() {
    let toml = r#"
origins = ["http://app.example.org"]
[server]
external_address = "http://auth.example.org"
[admin]
listen = "0.0.0.0:81"
[database]
url = "sqlite://"
[service.a]
[plugin.a]
settings = { x = "y" }
limits = { deadline = "1h" }
[plugin.unused]
"#;
    let variables = [
        ("GATEWAY_LISTN", "x"),
        ("GATEWAY_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("GATEWAY_SERVICE_HOST", "x"),
    ];
    let warnings = Setup::with_key(toml, &variables).load().warnings.join("\n");
    for part in [
        "app.example.org",
        "server.external_address",
        "admin.listen",
        "temporary",
        "grant \"config\"",
        "plugin.a.limits.deadline",
        "plugin.unused",
        "GATEWAY_LISTEN",
    ] {
        assert!(warnings.contains(part), "{part} in:\n{warnings}");
    }
    assert_eq!(warnings.lines().count(), 8, "{warnings}");
}

#[test]
fn p14_invalid_hosts_in_no_proxy_are_reported() {
    let lines = |list: &str| format!("[upstream]\nproxy = \"proxy.example:3128\"\nno_proxy = {list:?}\n");
    let good = "example.org, .example.org, *.example.org, 10.0.0.0/8, [::1], fd00::/8, localhost, *";
    let loaded = Setup::with_key(&lines(good), &[]).load();
    assert!(
        loaded
            .warnings
            .iter()
            .all(|warning| !warning.contains("no_proxy"))
    );
    let mistakes = Setup::with_key(&lines("ok.example, host:443, 10.0.0.0/99, http://x"), &[]).mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].contains(
            "upstream.no_proxy: \"host:443\", \"10.0.0.0/99\", \"http://x\" cannot be used: a host is a name"
        ),
        "{mistakes:?}"
    );
    // Other programs accept more in the variable.
    let variables = [
        ("HTTPS_PROXY", "http://proxy.example:3128"),
        ("NO_PROXY", "a;b,ok.example"),
    ];
    let warnings = Setup::with_key("", &variables).load().warnings.join("\n");
    assert!(warnings.contains("\"a;b\" is ignored"), "{warnings}");
}

#[test]
fn o9_every_duration_and_size_has_an_upper_bound() {
    let cases = [
        (
            "GATEWAY_SESSION_LIFETIME",
            "tokens.session_lifetime",
            "99999999999d",
            "a duration of at most 3650d",
        ),
        (
            "GATEWAY_SESSION_LIFETIME",
            "tokens.session_lifetime",
            "213503982334d",
            "a duration of at most 3650d",
        ),
        (
            "GATEWAY_PERMISSION_LIFETIME",
            "tokens.permission_lifetime",
            "31d",
            "at most 30d",
        ),
        (
            "GATEWAY_EVENT_RETENTION",
            "database.event_retention",
            "3651d",
            "a duration of at most 3650d",
        ),
        (
            "GATEWAY_HEADER_TIMEOUT",
            "server.header_timeout",
            "25h",
            "at most 1d",
        ),
        (
            "GATEWAY_REQUEST_TIMEOUT",
            "server.request_timeout",
            "3650d",
            "at most 1d",
        ),
        ("GATEWAY_DRAIN", "server.drain", "2d", "at most 1d"),
        ("GATEWAY_UPSTREAM_TIMEOUT", "upstream.timeout", "2d", "at most 1d"),
        (
            "GATEWAY_PLUGIN_COMPILE_TIME",
            "plugins.compile_time",
            "2d",
            "at most 1d",
        ),
        ("GATEWAY_MAX_BODY", "server.max_body", "2GiB", "at most 1GiB"),
        (
            "GATEWAY_UPSTREAM_MAX_BODY",
            "upstream.max_body",
            "2GiB",
            "at most 1GiB",
        ),
        (
            "GATEWAY_PLUGIN_MAX_SIZE",
            "plugins.max_size",
            "9999GiB",
            "a size of at most 1TiB",
        ),
        (
            "GATEWAY_CONNECTIONS",
            "server.connections",
            "1000001",
            "at most 1000000",
        ),
        (
            "GATEWAY_GUEST_THREADS",
            "server.guest_threads",
            "18446744073709551615",
            "at most 1024",
        ),
    ];
    for (variable, key, text, most) in cases {
        let mistakes = Setup::with_key("", &[(variable, text)]).mistakes();
        assert_eq!(mistakes, [format!("{variable}: {key}: must be {most}")]);
    }
    // The bounds themselves are allowed.
    Setup::with_key(
        "[plugin.x]\nlimits = { deadline = \"1d\" }\n",
        &[
            ("GATEWAY_SESSION_LIFETIME", "3650d"),
            ("GATEWAY_PERMISSION_LIFETIME", "30d"),
            ("GATEWAY_REQUEST_TIMEOUT", "1d"),
            ("GATEWAY_MAX_BODY", "1GiB"),
        ],
    )
    .load();
}

#[test]
fn absurdly_small_values_are_rejected() {
    for (variable, key, text, least) in [
        (
            "GATEWAY_PLUGIN_COMPILE_MEMORY",
            "plugins.compile_memory",
            "1",
            "64MiB",
        ),
        (
            "GATEWAY_PLUGINS_TOTAL_MEMORY",
            "plugins.total_memory",
            "1",
            "64MiB",
        ),
        ("GATEWAY_PLUGIN_MAX_SIZE", "plugins.max_size", "1", "1KiB"),
        ("GATEWAY_PLUGIN_COMPILE_TIME", "plugins.compile_time", "1ms", "1s"),
        ("GATEWAY_SESSION_LIFETIME", "tokens.session_lifetime", "1ms", "1s"),
    ] {
        let mistakes = Setup::with_key("", &[(variable, text)]).mistakes();
        assert_eq!(mistakes, [format!("{variable}: {key}: must be at least {least}")]);
        Setup::with_key("", &[(variable, least)]).load();
    }
}

#[test]
fn o5_two_listeners_with_one_address_are_rejected() {
    let mistakes = |toml: &str| Setup::with_key(toml, &[]).mistakes().join("\n");
    insta::assert_snapshot!(
        mistakes("[admin]\nlisten = \"127.0.0.1:8080\"\n"),
        @"gateway.toml:2: admin.listen: 127.0.0.1:8080 is already used by server.listen (127.0.0.1:8080): choose another port for one of them"
    );
    insta::assert_snapshot!(
        mistakes("[server]\nlisten = \"[::]:8081\"\nexternal_address = \"https://auth.example.org\"\n"),
        @"gateway.toml:2: admin.listen: 127.0.0.1:8081 is already used by server.listen ([::]:8081): choose another port for one of them"
    );
    insta::assert_snapshot!(
        mistakes("[admin]\nlisten = \"0.0.0.0:9\"\nmetrics_listen = \"127.0.0.1:9\"\n"),
        @"gateway.toml:3: admin.metrics_listen: 127.0.0.1:9 is already used by admin.listen (0.0.0.0:9): choose another port for one of them"
    );
    for toml in [
        "[admin]\nlisten = \"127.0.0.2:8080\"\n",
        "[admin]\nlisten = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\n",
        "[admin]\nlisten = \"off\"\nmetrics_listen = \"127.0.0.1:8081\"\n",
    ] {
        Setup::with_key(toml, &[]).load();
    }
}

#[test]
fn only_regular_files_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    crate::small_file::tests::pipe(&pipe);
    let toml = format!(
        "[plugins]\ntrusted_keys = [{pipe:?}]\n[keys]\npublic = [{pipe:?}]\nsigning = [{pipe:?}]\n\
         session_secret_file = {pipe:?}\n[providers.google]\nclient_id = \"x\"\nclient_secret_file = {pipe:?}\n\
         [service.x]\n[plugin.x.secrets]\nzero = {{ file = \"/dev/zero\" }}\ndir = {{ file = \"/\" }}\n"
    );
    let mistakes = Setup::with_key(&toml, &[]).mistakes();
    for (line, key, what) in [
        (2, "plugins.trusted_keys", "a pipe"),
        (4, "keys.public", "a pipe"),
        (5, "keys.signing", "a pipe"),
        (6, "keys.session_secret_file", "a pipe"),
        (9, "providers.google.client_secret_file", "a pipe"),
        (12, "plugin.x.secrets.zero.file", "a device"),
        (13, "plugin.x.secrets.dir.file", "a directory"),
    ] {
        let is_said = |mistake: &String| {
            mistake.starts_with(&format!("gateway.toml:{line}: {key}: cannot read"))
                && mistake.ends_with(&format!("it is {what}, not a regular file"))
        };
        assert!(mistakes.iter().any(is_said), "{key} in {mistakes:#?}");
    }
    let mut piped = Setup::with_key("", &[]);
    piped.sources.file = Some(pipe);
    assert!(
        piped
            .mistakes()
            .concat()
            .ends_with("it is a pipe, not a regular file")
    );
}

#[test]
fn o6_missing_credentials_are_not_a_mistake_before_the_service_starts() {
    let toml = "[keys]\nsigning = [\"/run/credentials/no-such-unit.service\"]\n[providers.google]\nclient_id = \"x\"\n\
                client_secret_file = \"/run/credentials/no-such-unit.service/secret_google\"\n";
    let mut setup = Setup::new(toml, &[]);
    assert_eq!(setup.mistakes().len(), 2);
    setup.sources.before_start = true;
    let loaded = setup.load();
    assert!(loaded.config.signing_keys.is_empty());
    let notes: Vec<_> = loaded.notes.iter().map(|note| note.key.as_str()).collect();
    assert_eq!(notes, ["keys.signing", "providers.google.client_secret_file"]);
}
