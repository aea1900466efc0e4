//! `[plugin.NAME.http]`: values, mistakes, warnings.

use std::time::Duration;

use gateway_sandbox::HttpConfig;

use super::Setup;

/// A file in which the plugin `x` serves, is granted `http`, and has this section.
fn with(section: &str) -> Setup {
    let toml = format!("[service.x]\n[plugin.x]\ngrants = [\"http\"]\n{section}\n");
    Setup::with_key(&toml, &[])
}

fn config(setup: &Setup) -> HttpConfig {
    setup.load().config.reloadable.plugins.plugins["x"].http.clone()
}

#[test]
fn the_section_is_read() {
    let setup = with(
        r#"[plugin.x.http]
        allow = ["https://Policy.example.org:443", "http://127.0.0.1:9000", "http://policy.internal"]
        allow_private = ["policy.internal"]
        timeout = "300ms"
        max_body = "2KiB"
        requests = 3"#,
    );
    let read = HttpConfig {
        allow: [
            "https://policy.example.org",
            "http://127.0.0.1:9000",
            "http://policy.internal",
        ]
        .map(|text| text.parse().unwrap())
        .into(),
        allow_private: ["policy.internal".parse().unwrap()].into(),
        timeout: Duration::from_millis(300),
        max_body: 2048,
        requests: 3,
    };
    assert_eq!(config(&setup), read);
    assert_eq!(setup.load().warnings, Vec::<String>::new());
    assert_eq!(
        setup.reported("plugin.x.http.allow"),
        "plugin.x.http.allow [http://policy.internal, http://127.0.0.1:9000, https://policy.example.org] \
         gateway.toml:5"
    );
}

#[test]
fn variables_win_over_it() {
    let toml =
        "[service.x]\n[plugin.x]\ngrants = [\"http\"]\n[plugin.x.http]\nallow = [\"http://a.example\"]\n";
    let variables = [
        (
            "GATEWAY_PLUGIN_X_HTTP_ALLOW",
            "http://b.example; http://c.example",
        ),
        ("GATEWAY_PLUGIN_X_HTTP_ALLOW_PRIVATE", "b.example"),
        ("GATEWAY_PLUGIN_X_HTTP_TIMEOUT", "1s"),
        ("GATEWAY_PLUGIN_X_HTTP_MAX_BODY", "100"),
        ("GATEWAY_PLUGIN_X_HTTP_REQUESTS", "1"),
    ];
    let read = HttpConfig {
        allow: ["http://b.example", "http://c.example"]
            .map(|text| text.parse().unwrap())
            .into(),
        allow_private: ["b.example".parse().unwrap()].into(),
        timeout: Duration::from_secs(1),
        max_body: 100,
        requests: 1,
    };
    assert_eq!(config(&Setup::with_key(toml, &variables)), read);
}

#[test]
fn mistakes_name_the_fix() {
    let setup = with(
        r#"[plugin.x.http]
allow = [
    "policy.example.org",
    "https://*.example.org",
    "https://policy.example.org/path",
    "http://0.0.0.0",
]
allow_private = ["10.0.0.5"]
requests = 0
redirects = true"#,
    );
    let origin = "must be an origin, scheme://host[:port], as in https://policy.example.org";
    assert_eq!(
        setup.mistakes(),
        [
            format!("gateway.toml:6: plugin.x.http.allow: {origin}"),
            format!("gateway.toml:7: plugin.x.http.allow: {origin}"),
            format!("gateway.toml:8: plugin.x.http.allow: {origin}"),
            "gateway.toml:9: plugin.x.http.allow: must be another address: no server can have this one".to_owned(),
            "gateway.toml:11: plugin.x.http.allow_private: must be a host name, as in policy.internal; an address is \
             allowed if http.allow contains it"
                .to_owned(),
            "gateway.toml:12: plugin.x.http.requests: must be a whole number above 0".to_owned(),
            "gateway.toml:13: plugin.x.http.redirects: unknown key; expected one of allow, allow_private, timeout, max_body, requests".to_owned(),
        ]
    );
}

#[test]
fn grants_and_origins_without_effect_are_warned_of() {
    let nothing =
        "the plugin \"x\" has the grant \"http\", but no plugin.x.http.allow, so it can reach nothing";
    assert_eq!(with("").load().warnings, [nothing]);
    assert_eq!(with("[plugin.x.http]\nallow = []").load().warnings, [nothing]);
    assert_eq!(
        with("[plugin.x.http]\nallow = [\"http://a.example\"]\nallow_private = [\"b.example\"]")
            .load()
            .warnings,
        ["plugin.x.http.allow_private contains b.example, which is not a host in plugin.x.http.allow"]
    );
    let ungranted = "[service.x]\n[plugin.x.http]\nallow = [\"http://a.example\"]\n";
    assert_eq!(
        Setup::with_key(ungranted, &[]).load().warnings,
        ["the plugin \"x\" has a section \"http\", but not the grant \"http\", so it cannot send requests"]
    );
}
