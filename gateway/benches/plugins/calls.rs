//! One call of the role provider in each language, as `gateway plugin bench` measures it.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::Guests;
use crate::setup::{GATEWAY, Setup};

/// Measures so many calls of each kind.
///
/// # Errors
/// When a call fails.
pub(crate) fn measure(setup: &Setup, guests: &Guests, calls: usize) -> Result<()> {
    println!("One call on one thread, in microseconds:");
    println!("| language | fresh: median | p99 | made ahead: median | p99 | fuel | memory |");
    println!("|---|---|---|---|---|---|---|");
    for (language, component) in [
        ("Rust", &guests.rust),
        ("C", &guests.c),
        ("JavaScript", &guests.javascript),
        ("Python", &guests.python),
    ] {
        setup.place("calls", language, component)?;
        let measured = bench(setup, language, calls)?;
        let [fresh, ahead] = ["fresh", "prepared"].map(|kind| &measured[kind]);
        println!(
            "| {language} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {:.1} MB |",
            fresh["p50_us"].as_f64().unwrap_or(f64::NAN),
            fresh["p99_us"].as_f64().unwrap_or(f64::NAN),
            ahead["p50_us"].as_f64().unwrap_or(f64::NAN),
            ahead["p99_us"].as_f64().unwrap_or(f64::NAN),
            fresh["fuel_max"],
            fresh["memory_max"].as_f64().unwrap_or(f64::NAN) / 1e6,
        );
    }
    Ok(())
}

fn bench(setup: &Setup, name: &str, calls: usize) -> Result<Value> {
    let users = setup.path("users.json");
    std::fs::write(&users, r#"[{"id": "ann", "name": "Ann"}]"#)?;
    let output = Command::new(GATEWAY)
        .args(["plugin", "bench"])
        .arg(setup.path("calls").join(format!("{name}.wasm")))
        .args(["get-permissions", "--service", "wiki", "--user", "ann"])
        .arg("--users")
        .arg(users)
        .args(["--grant", "config,users"])
        .args(["--setting", "role.reader=read", "--setting", "default=reader"])
        .arg("--json")
        .args(["--calls", &calls.to_string(), "--seconds", "60"])
        .arg("--cache")
        .arg(setup.path("bench-cache"))
        .output()?;
    ensure!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
