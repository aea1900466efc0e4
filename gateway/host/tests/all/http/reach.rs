//! Addresses that must not be reached: a canary listens, and sees no connection.

use gateway_sandbox::{HttpConfig, Network};
use serde_json::json;

use super::server::Server;
use super::{Names, Plugin, config, set_of};

#[tokio::test]
async fn nothing_is_allowed_unless_it_is_said() {
    let canary = Server::hello().await;
    let plugin = Plugin::new("http-nothing", HttpConfig::default()).await;
    assert_eq!(
        plugin.error(&format!("GET {}/", canary.origin())).await,
        "response: HttpRequestDenied"
    );
    assert_eq!(canary.connections().await, 0);
}

#[tokio::test]
async fn an_origin_is_allowed_and_no_other_is() {
    let (server, canary) = (Server::hello().await, Server::hello().await);
    let (open, port) = (server.port(), canary.port());
    let names = Names::new(&[
        ("policy.test", &[&["127.0.0.1"]]),
        ("other.test", &[&["127.0.0.1"]]),
    ]);
    // On the canary's port too, so that its port alone does not protect it.
    let allow = [
        server.origin(),
        format!("https://127.0.0.1:{open}"),
        format!("http://policy.test:{open}"),
        format!("http://127.0.0.2:{port}"),
        format!("https://policy.test:{port}"),
    ];
    let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
    let names_before = std::sync::Arc::clone(&names);
    let plugin = Plugin::with_names("http-origins", config(&allow, &["policy.test"]), names).await;

    let (denied, invalid) = ("response: HttpRequestDenied", "response: HttpRequestUriInvalid");
    let cases = [
        // Another port, another scheme, another name or form for the same address.
        (format!("http://127.0.0.1:{port}"), denied),
        (format!("https://127.0.0.1:{port}"), denied),
        (format!("http://policy.test:{port}"), denied),
        (format!("http://other.test:{open}"), denied),
        (format!("http://other.test:{port}"), denied),
        (format!("http://localhost:{port}"), denied),
        (format!("http://127.1:{port}"), denied),
        (format!("http://0x7f000001:{port}"), denied),
        (format!("http://2130706433:{port}"), denied),
        (format!("http://[::ffff:127.0.0.1]:{port}"), denied),
        (format!("http://[::1]:{port}"), denied),
        (format!("http://127.0.0.1.:{port}"), denied),
        (format!("http://policy.test.:{port}"), denied),
        (format!("http://0.0.0.0:{port}"), invalid),
        (format!("http://127.0.0.1:{open}@127.0.0.1:{port}"), invalid),
        (format!("http://user@127.0.0.1:{port}"), invalid),
        (format!("ftp://127.0.0.1:{open}"), invalid),
        (format!("unix://127.0.0.1:{open}"), invalid),
    ];
    for (origin, code) in &cases {
        let error = plugin
            .error(&format!("GET {origin}/secret-path?secret-query"))
            .await;
        assert_eq!(error, *code, "{origin}");
    }
    assert_eq!((canary.connections().await, server.connections().await), (0, 0));
    assert_eq!(
        names_before.asked(),
        0,
        "names that are not allowed are not looked up"
    );

    // A line for each, that says which and why, and keeps the rest to itself.
    let logged = plugin.logged();
    assert_eq!(logged.len(), cases.len());
    assert_eq!(
        logged[0],
        json!({
            "plugin": "http-origins",
            "function": "get-permissions",
            "method": "GET",
            "origin": canary.origin(),
            "message": "the plugin's HTTP request was denied: the origin is not in the plugin's `http.allow`",
        })
    );
    let all = format!("{logged:?}");
    assert!(
        !all.contains("secret-path") && !all.contains("secret-query") && !all.contains("user"),
        "{all}"
    );
    assert_eq!(plugin.counted("denied"), 1 + cases.len() as u64, "and the trial");

    for origin in [
        server.origin(),
        format!("http://policy.test:{open}"),
        format!("http://127.1:{open}"),
    ] {
        assert_eq!(
            plugin.tell(&format!("GET {origin}/")).await["status"],
            200,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn a_private_address_needs_to_be_named_or_allowed_for_the_name() {
    let canary = Server::hello().await;
    let origin = format!("http://policy.test:{}", canary.port());
    let names = || Names::new(&[("policy.test", &[&["127.0.0.1"]])]);

    let plugin = Plugin::with_names("http-private", config(&[&origin], &[]), names()).await;
    let error = plugin.error(&format!("GET {origin}/")).await;
    assert_eq!(error, "response: DestinationIpProhibited");
    assert_eq!(canary.connections().await, 0);
    let logged = plugin.logged();
    assert_eq!(logged[0]["origin"], origin);
    assert_eq!(
        logged[0]["message"],
        "the plugin's HTTP request was denied: the name resolves to 127.0.0.1, which is loopback: \
         `http.allow_private` would allow it"
    );

    let config = config(&[&origin], &["policy.test"]);
    let plugin = Plugin::with_names("http-private-allowed", config, names()).await;
    assert_eq!(plugin.tell(&format!("GET {origin}/")).await["status"], 200);
    let host = format!("\r\nhost: policy.test:{}\r\n", canary.port());
    assert!(canary.heads()[0].contains(&host), "{:?}", canary.heads());
}

#[tokio::test]
async fn names_may_not_resolve_to_special_addresses() {
    const PRIVATE: [&str; 12] = [
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::10.0.0.5",
        "2002:a00:5::1",
        "::127.0.0.1",
    ];
    const PROHIBITED: [&str; 12] = [
        "0.0.0.0",
        "169.254.169.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
    ];
    // 0.0.0.0 and :: are this machine, for connections.
    let canary = Server::hello().await;
    // Each alone, and after one that is public. `allow_private` does not permit addresses
    // that are never allowed.
    let mut names: Vec<(String, Vec<&str>)> = Vec::new();
    for (kind, addresses) in [
        ("private", &PRIVATE),
        ("prohibited", &PROHIBITED),
        ("allowed", &PROHIBITED),
    ] {
        for (number, address) in addresses.iter().enumerate() {
            names.push((format!("{kind}-{number}.test"), vec![address]));
            names.push((format!("{kind}-{number}-mixed.test"), vec!["3000::1", address]));
        }
    }
    let answers: Vec<[&[&str]; 1]> = names.iter().map(|(_, answer)| [&answer[..]]).collect();
    let known: Vec<(&str, &[&[&str]])> = names
        .iter()
        .zip(&answers)
        .map(|((name, _), answers)| (name.as_str(), &answers[..]))
        .collect();
    let origins: Vec<String> = names
        .iter()
        .map(|(name, _)| format!("http://{name}:{}", canary.port()))
        .collect();
    let allow: Vec<&str> = origins.iter().map(String::as_str).collect();
    let allowed = names
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.starts_with("allowed"));
    let allowed: Vec<&str> = allowed.collect();
    let plugin = Plugin::with_names("http-special", config(&allow, &allowed), Names::new(&known)).await;
    for (origin, (_, answer)) in origins.iter().zip(&names) {
        let error = plugin.error(&format!("GET {origin}/")).await;
        assert_eq!(error, "response: DestinationIpProhibited", "{origin}: {answer:?}");
    }
    assert_eq!(canary.connections().await, 0);
}

#[tokio::test]
async fn a_name_is_resolved_once_and_what_was_checked_is_connected_to() {
    let canary = Server::hello().await;
    let origin = format!("http://rebinding.test:{}", canary.port());
    // Public when it is checked, this machine ever after. Nobody has the public one.
    let names = Names::new(&[("rebinding.test", &[&["3000::1"], &["127.0.0.1"]])]);
    let mut config = config(&[&origin], &[]);
    config.timeout = std::time::Duration::from_secs(3);
    let plugin = Plugin::with_names("http-rebinding", config, std::sync::Arc::clone(&names)).await;
    let error = plugin.error(&format!("GET {origin}/")).await;
    assert!(
        [
            "DestinationIpUnroutable",
            "ConnectionTimeout",
            "DestinationUnavailable"
        ]
        .iter()
        .any(|code| error.ends_with(code)),
        "{error}"
    );
    assert_eq!((canary.connections().await, names.asked()), (0, 1));
    // The next request looks the name up again, and checks it again.
    let error = plugin.error(&format!("GET {origin}/")).await;
    assert_eq!(error, "response: DestinationIpProhibited");
    assert_eq!((canary.connections().await, names.asked()), (0, 2));
}

#[tokio::test]
async fn names_that_nobody_knows_are_errors() {
    let mut config = config(
        &["http://unknown.test", "http://empty.test", "http://never.test"],
        &[],
    );
    config.timeout = std::time::Duration::from_secs(2);
    let names = Names::new(&[("empty.test", &[&[]])]);
    let plugin = Plugin::with_names("http-names", config, names).await;
    for (name, code) in [
        ("unknown.test", "DnsError"),
        ("empty.test", "DnsError"),
        ("never.test", "DnsTimeout"),
    ] {
        let error = plugin.error(&format!("GET http://{name}/")).await;
        assert!(error.starts_with(&format!("response: {code}")), "{name}: {error}");
    }
    assert_eq!((plugin.counted("failed"), plugin.counted("timeout")), (2, 1));
}

#[tokio::test]
async fn a_trial_call_has_no_network() {
    let names = Names::new(&[("trial.test", &[&["127.0.0.1"]])]);
    let config = config(&["http://trial.test"], &["trial.test"]);
    // The guest sends a request in its trial.
    let plugin = Plugin::with_names("http-trial", config, std::sync::Arc::clone(&names)).await;
    assert_eq!(names.asked(), 0);
    assert_eq!(plugin.counted("denied"), 1);
    let says = "the plugin's HTTP request was denied: a trial call has no network";
    let trial = crate::support::log();
    assert!(
        trial
            .lines()
            .any(|line| line.contains("http-trial") && line.contains(says)),
        "{trial}"
    );
    plugin.tell("GET http://trial.test/").await;
    assert_eq!(names.asked(), 1);
}

#[tokio::test]
async fn a_new_configuration_holds_at_once_and_what_is_taken_away_is_gone() {
    let (first, second) = (Server::hello().await, Server::hello().await);
    let of_first = config(&[&first.origin()], &[]);
    let plugin = Plugin::new("http-reload", of_first.clone()).await;
    let host = &plugin.fixture.host;
    // The guest sends a request in its trial, which is denied.
    let trials = || plugin.counted("denied");
    assert_eq!(
        plugin.tell(&format!("GET {}/", first.origin())).await["status"],
        200
    );
    assert_eq!(trials(), 1);
    host.reconfigure(set_of("http-reload", of_first.clone())).await;
    assert_eq!(trials(), 1, "nothing has changed");

    host.reconfigure(set_of("http-reload", config(&[&second.origin()], &[])))
        .await;
    assert_eq!(trials(), 2);
    assert_eq!(
        plugin.error(&format!("GET {}/", first.origin())).await,
        "response: HttpRequestDenied"
    );
    assert_eq!(
        plugin.tell(&format!("GET {}/", second.origin())).await["status"],
        200
    );
    assert_eq!((first.connections().await, second.connections().await), (1, 1));

    // Where nothing can serve under the new configuration, what served under a wider one does not either.
    let mut set = set_of("http-reload", HttpConfig::default());
    set.plugins.get_mut("http-reload").unwrap().limits.memory = 1;
    host.reconfigure(set).await;
    assert_eq!(plugin.fixture.status("http-reload").generation, None);
    assert!(
        plugin
            .fixture
            .ask_for("s", &format!("GET {}/", second.origin()))
            .await
            .is_err()
    );
    assert_eq!(second.connections().await, 1);
}

#[tokio::test]
async fn the_systems_network_is_held_to_the_same() {
    let canary = Server::hello().await;
    let origin = format!("http://localhost:{}", canary.port());
    let plugin = Plugin::with(
        "http-system",
        set_of("http-system", config(&[&origin], &[])),
        Network::system(),
    );
    let plugin = plugin.await;
    let error = plugin.error(&format!("GET {origin}/")).await;
    assert_eq!(error, "response: DestinationIpProhibited");
    assert_eq!(canary.connections().await, 0);
    plugin
        .fixture
        .host
        .reconfigure(set_of("http-system", config(&[&origin], &["localhost"])))
        .await;
    assert_eq!(plugin.tell(&format!("GET {origin}/")).await["status"], 200);
}
