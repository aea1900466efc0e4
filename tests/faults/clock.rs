//! A clock that jumps forwards and backwards under the real binary. The library of faketime changes the time of day;
//! the monotonic clock continues as before.

use std::fs;
use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::ledger::claims;
use super::machine::skip;
use support::browser::{encode, token_in};
use support::fake_oidc::{FakeOidc, now};
use support::raw::exchange;
use support::{Gateway, Setup, cli};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The library's paths in various distributions.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// The gateway's clock.
struct Clock(PathBuf);

impl Clock {
    /// A clock for gateways started from here, correct at first. `None` if the library is not installed.
    fn new(setup: Setup) -> Option<(Self, Setup)> {
        let Some(library) = LIBRARIES.into_iter().find(|library| Path::new(library).exists()) else {
            skip("there is no libfaketime: install the package faketime");
            return None;
        };
        let clock = Self(setup.dir.path().join("clock"));
        clock.jump(0);
        let setup = setup
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", clock.0.to_str().expect("UTF-8"))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Some((clock, setup))
    }

    /// Sets it to `seconds` off.
    fn jump(&self, seconds: i64) {
        let written = self.0.with_extension("new");
        fs::write(&written, format!("{seconds:+}")).expect("a file");
        fs::rename(written, &self.0).expect("a file");
    }
}

fn setup() -> Setup {
    Setup::dev()
        .plugin("v1", test_guests::V1)
        .service("example", "v1")
        .env("EXTERNAL_ADDRESS", "http://127.0.0.1:9")
}

/// A permission token and its claims.
async fn permission(gateway: &Gateway, session: &str) -> Option<(String, Value)> {
    let (status, answer) = gateway.browser().authorize(session, "example").await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let token = answer["token"].as_str()?.to_owned();
    let claims = claims(&token);
    Some((token, claims))
}

fn number(claims: &Value, name: &str) -> i64 {
    claims[name]
        .as_i64()
        .unwrap_or_else(|| panic!("{name} in {claims}"))
}

fn real() -> i64 {
    i64::try_from(now()).expect("a clock that is right")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_jump_forwards_sessions_expire_and_permission_tokens_are_signed_again() {
    let Some((clock, setup)) = Clock::new(setup()) else {
        return;
    };
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    let (first, _) = permission(&gateway, &alice).await.expect("a token");
    assert_eq!(
        permission(&gateway, &alice).await.expect("a token").0,
        first,
        "it is young"
    );

    for off in [8 * MINUTE, DAY, 13 * DAY] {
        clock.jump(off);
        let asked = real() + off;
        assert!(gateway.browser().is_signed_in(&alice).await, "{off} s on");
        let (_, claims) = permission(&gateway, &alice).await.expect("a token");
        // A token is reused for at most half its life.
        assert!(
            (asked - number(&claims, "iat")).abs() < 7 * MINUTE,
            "{off} s on: {claims}"
        );
        assert!(
            number(&claims, "exp") > asked + 7 * MINUTE,
            "{off} s on: {claims}"
        );
    }
    for off in [15 * DAY, YEAR, 200 * YEAR] {
        clock.jump(off);
        assert!(!gateway.browser().is_signed_in(&alice).await, "{off} s on");
        assert!(permission(&gateway, &alice).await.is_none(), "{off} s on");
        let again = gateway.sign_in("alice").await;
        assert!(gateway.browser().is_signed_in(&again).await, "{off} s on");
    }
    measured_all_along(&gateway).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_jump_backwards_ended_sessions_stay_ended_and_no_token_is_from_the_future() {
    let Some((clock, setup)) = Clock::new(setup()) else {
        return;
    };
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    let ended = gateway.sign_in("alice").await;
    gateway.browser().post_as(&ended, "/auth/logout").await;
    let disabled = gateway.sign_in("mallory").await;
    gateway.cli(&["user", "disable", "dev:mallory"]).await.succeeded();
    permission(&gateway, &alice).await.expect("a token");

    // The last one is a machine that has lost its clock: 1970.
    for off in [-MINUTE, -HOUR, -DAY, -40 * YEAR, MINUTE - real()] {
        clock.jump(off);
        for gone in [&ended, &disabled] {
            assert!(!gateway.browser().is_signed_in(gone).await, "{off} s");
        }
        assert!(gateway.browser().is_signed_in(&alice).await, "{off} s");
        let (_, claims) = permission(&gateway, &alice).await.expect("a token");
        let now = real() + off;
        // Verifiers may reject a token from the future, and it would live longer than allowed.
        assert!(number(&claims, "iat") <= now, "{off} s: {claims}");
        assert!(number(&claims, "exp") <= now + 15 * MINUTE, "{off} s: {claims}");
        let session = gateway.sign_in(&format!("person{}", -off)).await;
        assert!(gateway.browser().is_signed_in(&session).await, "{off} s");
    }
    clock.jump(0);
    for gone in [&ended, &disabled] {
        assert!(!gateway.browser().is_signed_in(gone).await);
    }
    measured_all_along(&gateway).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_expire_and_used_states_stay_used() {
    let Some((clock, setup)) = Clock::new(setup()) else {
        return;
    };
    let provider = FakeOidc::start(json!({"sub": "1", "name": "Alice"})).await;
    let setup = setup.oidc("corporate", &provider);
    let gateway = setup.start().await;
    let login = format!("/auth/login/corporate?next={}", encode("http://127.0.0.1:9/"));
    let (used, slow) = (gateway.browser(), gateway.browser());
    let callback = provider.go(&used, &login).await;
    let cookies = used.cookies();
    token_in(&used.get(callback.as_str()).await);
    let taking_long = provider.go(&slow, &login).await;
    let replay = async |gateway: &Gateway| {
        let browser = gateway.browser();
        browser.set_cookies(cookies.clone());
        let answer = browser
            .get(&format!("{}?{}", callback.path(), callback.query().unwrap()))
            .await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    };
    let asked = provider.token_calls();
    for off in [0, 11 * MINUTE, 0, -11 * MINUTE, -DAY, 0] {
        clock.jump(off);
        replay(&gateway).await;
    }
    clock.jump(11 * MINUTE);
    let answer = slow.get(taking_long.as_str()).await;
    assert_eq!(
        answer.status(),
        StatusCode::BAD_REQUEST,
        "a person who took too long"
    );
    gateway.stop().await;
    // The gateway drops expired rows when it starts, and then the clock is corrected.
    clock.jump(HOUR);
    let gateway = setup.start().await;
    replay(&gateway).await;
    clock.jump(0);
    replay(&gateway).await;
    assert_eq!(
        provider.token_calls(),
        asked,
        "the provider was asked about a state that was used"
    );
    gateway.stop().await;
}

/// The provider's clock may be slightly ahead of ours, as clocks differ, but not further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn id_tokens_from_the_future_count_within_a_minute() {
    let Some((clock, setup)) = Clock::new(setup()) else {
        return;
    };
    let provider = FakeOidc::start(json!({"sub": "1", "name": "Alice"})).await;
    let gateway = setup.oidc("corporate", &provider).start().await;
    let login = format!("/auth/login/corporate?next={}", encode("http://127.0.0.1:9/"));
    for (off, expected) in [
        (0, StatusCode::FOUND),
        (-MINUTE / 2, StatusCode::FOUND),
        (-2 * MINUTE, StatusCode::BAD_REQUEST),
        (-YEAR, StatusCode::BAD_REQUEST),
        // It was valid for five minutes.
        (4 * MINUTE, StatusCode::FOUND),
        (6 * MINUTE, StatusCode::BAD_REQUEST),
        (YEAR, StatusCode::BAD_REQUEST),
        (0, StatusCode::FOUND),
    ] {
        clock.jump(off);
        let answer = provider.sign_in(&gateway.browser(), &login).await;
        assert_eq!(answer.status(), expected, "{off} s off");
    }
    gateway.stop().await;
}

/// A session that was ended under a wrong clock stays ended, and no other session ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_sign_out_under_a_clock_that_is_ahead_survives_its_correction() {
    let Some((clock, setup)) = Clock::new(setup()) else {
        return;
    };
    let gateway = setup.start().await;
    for off in [15 * DAY, YEAR, 200 * YEAR, -real() - DAY] {
        let alice = gateway.sign_in("alice").await;
        let bob = gateway.sign_in("bob").await;
        clock.jump(off);
        gateway.browser().post_as(&alice, "/auth/logout").await;
        clock.jump(0);
        assert!(!gateway.browser().is_signed_in(&alice).await, "{off} s on");
        assert!(gateway.browser().is_signed_in(&bob).await, "{off} s on");
    }
    gateway.stop().await;
}

/// Libraries panic when they are asked for such a date.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_clock_before_1970_or_after_9999_causes_no_panic() {
    let Some((clock, setup)) = Clock::new(setup()) else {
        return;
    };
    let provider = FakeOidc::start(json!({"sub": "1", "name": "Alice"})).await;
    let setup = setup.oidc("corporate", &provider);
    let gateway = setup.start().await;
    let alice = gateway.sign_in("alice").await;
    for off in [-real() - DAY, -real() - 60 * YEAR] {
        clock.jump(off);
        // On every thread.
        for _ in 0..40 {
            let browser = gateway.browser();
            let answer = browser.get("/auth/check").await;
            assert_eq!(answer.status(), StatusCode::OK, "{off} s");
            assert_eq!(answer.headers().get("date"), None, "{off} s");
            assert!(!browser.is_signed_in(&alice).await, "{off} s");
        }
        assert_eq!(permission(&gateway, &alice).await, None, "{off} s");
        let refused = exchange(gateway.address, b"GET / HTTP/1.1\r\nno colon\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{off} s: {refused}");
        assert!(!refused.contains("\r\ndate: "), "{off} s: {refused}");
        let login = gateway.browser().get("/auth/login/corporate").await;
        assert!(login.status().is_server_error(), "{off} s: {}", login.status());
        gateway.browser().sign_in_dev("bob").await;
        assert!(gateway.admin().await.get("/health").await.status().is_success());
    }
    // Beyond the year 9999 the gateway does not even keep a connection.
    clock.jump(9000 * YEAR);
    let _ = exchange(
        gateway.address,
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    clock.jump(0);
    let answer = gateway.browser().get("/auth/check").await;
    assert!(answer.headers().contains_key("date"));
    assert!(gateway.browser().is_signed_in(&alice).await);
    gateway.stop().await;

    for off in [-real() - DAY, 9000 * YEAR] {
        clock.jump(off);
        setup.write();
        let said = cli::finish(setup.command()).await.failed();
        assert!(said.contains("the machine's clock is wrong"), "{off} s: {said}");
    }
}

/// Regardless of the clock, no request counts as having taken a long or a negative time.
async fn measured_all_along(gateway: &Gateway) {
    let admin = gateway.admin().await;
    let sum = admin.metric("gateway_http_request_seconds_sum", &[]).await;
    assert!((0.0..600.0).contains(&sum), "{sum} seconds were measured");
}
