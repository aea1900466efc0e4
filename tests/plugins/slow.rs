//! A plugin that takes minutes to compile delays nothing else.

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::json;

use super::assert_refused;
use support::{Gateway, Setup, eventually};

/// A number in LEB128.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 127).unwrap();
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 128 });
        if number == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], leb(content.len()).as_slice(), content].concat()
}

/// Two megabytes: one function of a million nested blocks, whose compilation takes longer than minutes.
fn bomb() -> Vec<u8> {
    let blocks = 1_000_000;
    let code = [
        &[0],
        b"\x02\x40".repeat(blocks).as_slice(),
        &b"\x0b".repeat(blocks + 1),
    ]
    .concat();
    let module = [
        b"\0asm\x01\0\0\0".as_slice(),
        &section(1, b"\x01\x60\0\0"),
        &section(3, b"\x01\0"),
        &section(10, &[&[1], leb(code.len()).as_slice(), &code].concat()),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".as_slice(), &section(1, &module)].concat()
}

fn setup() -> Setup {
    Setup::dev()
        .table("plugins", "compile_time = \"1h\"")
        .plugin("config", test_guests::IMPORTS_CONFIG)
        .plugin_table("config", "grants = [\"config\"]\nsettings = { colour = \"red\" }")
        .service("settings", "config")
        .service("slow", "slow")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_compiles_for_minutes_delays_nothing_else() {
    // First without it, so that the other plugin's code is cached, as after an ordinary restart.
    let setup = setup();
    setup.start().await.stop().await;
    let setup = setup.plugin("slow", &bomb());
    setup.write();
    let mut gateway = Gateway::start_at_once(setup.command(), &setup).await;

    // The gateway listens, and reports the plugins that are not ready.
    let admin = gateway.admin().await;
    assert_eq!(admin.get("/health").await.status(), StatusCode::OK);
    let ready = admin.get("/ready").await.text().await.unwrap();
    assert!(
        ready.contains("plugins_being_admitted") && ready.contains("slow"),
        "{ready}"
    );
    let token = gateway.sign_in("alice").await;
    let browser = gateway.browser();
    eventually("the other plugin serves", async || {
        let (status, answer) = browser.authorize(&token, "settings").await;
        (status == StatusCode::OK && answer["permissions"]["colour"] == "red").then_some(())
    })
    .await;
    assert_refused("not yet", browser.authorize(&token, "slow").await);
    let url = format!("/auth/authorize?service=slow&jwt={token}");
    let response = browser.get(&url).await;
    assert!(response.headers().contains_key("retry-after"), "{response:?}");

    // A new configuration takes effect immediately, including a revoked grant.
    let in_force = async |line: &str, nth: usize| {
        eventually(line, async || {
            let lines = gateway.log.lines();
            lines
                .iter()
                .filter(|entry| entry.contains(line))
                .nth(nth)
                .map(|_| ())
        })
        .await;
    };
    let read = "the configuration was read again";
    setup
        .clone()
        .without_plugin_table("config")
        .plugin_table(
            "config",
            "grants = [\"config\"]\nsettings = { colour = \"blue\" }",
        )
        .write();
    gateway.signal(Signal::HUP);
    in_force(read, 0).await;
    let answer = browser.authorize(&token, "settings").await.1;
    assert_eq!(answer["permissions"]["colour"], "blue", "{answer}");
    setup.clone().without_plugin_table("config").write();
    gateway.signal(Signal::HUP);
    in_force(read, 1).await;
    assert_refused("its grant is gone", browser.authorize(&token, "settings").await);

    let plugins = admin.plugins().await;
    let slow = &plugins["plugins"][1];
    assert_eq!(
        (&slow["being_admitted"], &slow["problem"]),
        (&json!(true), &json!(null)),
        "it compiles all the while: {plugins}"
    );

    // The shutdown does too, even with a pending reload.
    gateway.signal(Signal::HUP);
    gateway.signal(Signal::TERM);
    let status = gateway.wait().await;
    assert!(status.success(), "{status}");
    assert!(!gateway.log.text().contains("\"ready\""), "it never was");
}
