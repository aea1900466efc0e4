//! Which requests the admin listener accepts. Tests against the running gateway cover the responses.

use std::net::IpAddr;
use std::time::Duration;

use gateway_host::PluginStatus;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::{StatusCode, Uri};

use super::{ADMISSION, Guard, Refused, Tokens, waits_for_plugins};
use crate::response::Response;

const BEARER: &str = "Bearer 0123456789abcdef0123456789abcdef";

fn guard(own: &str) -> Guard {
    let own: IpAddr = own.parse().unwrap();
    let tokens = Tokens {
        operators: Some("0123456789abcdef0123456789abcdef".to_owned().into()),
        ..Tokens::default()
    };
    Guard::new(own, &tokens)
}

fn admit(own: &str, target: &str, headers: &[(HeaderName, &str)]) -> Result<(), Refused> {
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().unwrap()));
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name, value);
    }
    guard(own).admit(&target.parse::<Uri>().unwrap(), &map)
}

fn with_token(own: &str, host: &str) -> Result<(), Refused> {
    admit(own, "/health", &[(HOST, host), (AUTHORIZATION, BEARER)])
}

#[test]
fn requests_without_the_token_are_rejected() {
    let ask = |headers: &[&str]| {
        let mut all = vec![(HOST, "localhost")];
        all.extend(headers.iter().map(|value| (AUTHORIZATION, *value)));
        admit("127.0.0.1", "/metrics", &all)
    };
    assert_eq!(ask(&[BEARER]), Ok(()));
    assert_eq!(ask(&["bearer 0123456789abcdef0123456789abcdef"]), Ok(()));
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcdef0123456789abcdeF",
        "Bearer 0123456789abcdef0123456789abcde",
        "Basic 0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(ask(&[wrong]), Err(Refused::Token), "{wrong:?}");
    }
    assert_eq!(ask(&[]), Err(Refused::Token));
    assert_eq!(ask(&["Bearer x", BEARER]), Err(Refused::Token));
    assert_eq!(ask(&[BEARER, BEARER]), Err(Refused::Token));
}

#[test]
fn web_pages_are_refused_even_with_the_token() {
    for origin in ["https://e.example", "null", "http://127.0.0.1:9090", ""] {
        let headers = [(HOST, "127.0.0.1"), (AUTHORIZATION, BEARER), (ORIGIN, origin)];
        assert_eq!(
            admit("127.0.0.1", "/health", &headers),
            Err(Refused::WebPage),
            "{origin:?}"
        );
    }
}

#[test]
fn o7_embedded_requests_are_refused_and_navigations_are_not() {
    let site = HeaderName::from_static("sec-fetch-site");
    for (said, refused) in [
        ("cross-site", true),
        ("same-site", true),
        ("none", false),
        ("same-origin", false),
    ] {
        let headers = [(HOST, "127.0.0.1"), (AUTHORIZATION, BEARER), (site.clone(), said)];
        let answer = admit("127.0.0.1", "/metrics", &headers);
        assert_eq!(answer == Err(Refused::WebPage), refused, "{said:?}: {answer:?}");
    }
}

#[test]
fn other_host_names_are_refused() {
    for host in [
        "127.0.0.1",
        "127.0.0.1:9090",
        "localhost:9090",
        "LOCALHOST",
        "[::1]:9090",
        "127.9.9.9",
    ] {
        assert_eq!(with_token("127.0.0.1", host), Ok(()), "{host}");
    }
    for host in [
        "",
        "e.example",
        "e.example:9090",
        "127.0.0.1.e.example",
        "localhost.e.example",
        "localhost.",
        "192.0.2.1",
        "127.1",
        "[::1",
        "user@127.0.0.1@e.example",
    ] {
        assert_eq!(with_token("127.0.0.1", host), Err(Refused::Host), "{host}");
    }
    assert_eq!(with_token("192.0.2.1", "192.0.2.1:9090"), Ok(()));
    assert_eq!(with_token("192.0.2.1", "192.0.2.2:9090"), Err(Refused::Host));
    assert_eq!(with_token("0.0.0.0", "192.0.2.2:9090"), Ok(()));
    assert_eq!(with_token("0.0.0.0", "e.example"), Err(Refused::Host));
}

#[test]
fn duplicate_and_contradictory_hosts_are_refused() {
    let token = (AUTHORIZATION, BEARER);
    assert_eq!(
        admit("127.0.0.1", "/health", std::slice::from_ref(&token)),
        Err(Refused::Host)
    );
    let twice = [(HOST, "localhost"), (HOST, "localhost"), token.clone()];
    assert_eq!(admit("127.0.0.1", "/health", &twice), Err(Refused::Host));
    let once = [(HOST, "localhost"), token];
    assert_eq!(admit("127.0.0.1", "http://localhost/health", &once), Ok(()));
    assert_eq!(
        admit("127.0.0.1", "http://e.example/health", &once),
        Err(Refused::Host)
    );
}

#[test]
fn refusals_have_their_status() {
    for (refused, status) in [
        (Refused::WebPage, StatusCode::FORBIDDEN),
        (Refused::Host, StatusCode::MISDIRECTED_REQUEST),
        (Refused::Token, StatusCode::UNAUTHORIZED),
    ] {
        let answer = Response::from(refused);
        assert_eq!(answer.status(), status);
        assert_eq!(
            answer.headers().contains_key("www-authenticate"),
            refused == Refused::Token
        );
    }
}

#[test]
fn readiness_waits_30_seconds_for_plugins_without_a_generation() {
    let admitted = PluginStatus {
        name: "p".to_owned(),
        being_admitted: true,
        ..PluginStatus::default()
    };
    let serving = PluginStatus {
        generation: Some((1, "digest".to_owned())),
        ..admitted.clone()
    };
    let broken = PluginStatus {
        being_admitted: false,
        problem: Some("it is broken".to_owned()),
        ..admitted.clone()
    };
    let waits = |plugin: &PluginStatus, after| waits_for_plugins(std::slice::from_ref(plugin), after);
    assert!(waits(&admitted, Duration::ZERO));
    assert!(
        !waits(&serving, Duration::ZERO),
        "the last good one serves meanwhile"
    );
    assert!(
        !waits(&broken, Duration::ZERO),
        "a broken plugin does not delay readiness"
    );
    assert!(
        !waits(&admitted, ADMISSION),
        "nor does a plugin whose admission takes too long"
    );
}

#[test]
fn o7_the_metrics_token_can_only_read_metrics() {
    const MONITOR: &str = "Bearer fedcba9876543210fedcba9876543210";
    let guard = |with_token, open| {
        let monitors = "fedcba9876543210fedcba9876543210".to_owned();
        let tokens = Tokens {
            operators: Some("0123456789abcdef0123456789abcdef".to_owned().into()),
            monitors: Some(monitors.into()).filter(|_| with_token),
            open,
        };
        Guard::new([127, 0, 0, 1].into(), &tokens)
    };
    let ask = |guard: &Guard, path: &str, headers: &[(HeaderName, &str)]| {
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        guard.admit(&path.parse::<Uri>().unwrap(), &pairs.collect())
    };
    let both = guard(true, false);
    let with = |token| [(HOST, "localhost"), (AUTHORIZATION, token)];
    assert_eq!(ask(&both, "/metrics", &with(MONITOR)), Ok(()));
    assert_eq!(
        ask(
            &both,
            "/metrics",
            &[(HOST, "gateway.internal"), (AUTHORIZATION, MONITOR)]
        ),
        Ok(())
    );
    assert_eq!(ask(&both, "/metrics", &with(BEARER)), Ok(()));
    assert_eq!(ask(&both, "/plugins", &with(BEARER)), Ok(()));
    for path in [
        "/",
        "/health",
        "/ready",
        "/plugins",
        "/plugins/x/rollback",
        "/metrics/",
        "//metrics",
        "/Metrics",
    ] {
        assert_eq!(
            ask(&both, path, &with(MONITOR)),
            Err(Refused::MetricsOnly),
            "{path}"
        );
    }
    assert_eq!(
        ask(&both, "/metrics", &[(HOST, "localhost")]),
        Err(Refused::Token)
    );
    let page = [
        (HOST, "localhost"),
        (AUTHORIZATION, MONITOR),
        (ORIGIN, "https://e.example"),
    ];
    assert_eq!(ask(&both, "/metrics", &page), Err(Refused::WebPage));

    let open = guard(false, true);
    assert_eq!(ask(&open, "/metrics", &[(HOST, "127.0.0.1:9464")]), Ok(()));
    assert_eq!(
        ask(&open, "/plugins", &[(HOST, "127.0.0.1")]),
        Err(Refused::MetricsOnly)
    );
    assert_eq!(
        ask(&open, "/metrics", &[(HOST, "evil.example")]),
        Err(Refused::Host)
    );
}
