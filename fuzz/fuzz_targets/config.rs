//! Configurations: each is accepted, or rejected with a place and a message for every mistake; and no secret in it is
//! ever shown.
//!
//! The input is the TOML file and, after a line `---`, environment variables, one `NAME=value` a line.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use gateway::config::{self, Sources};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use toml::{Table, Value};

/// Inputs contain this in place of a secret.
const CANARY: &str = "canary";
/// Keys and variables that hold secrets.
const SECRET_KEYS: [&str; 3] = ["client_secret", "session_secret", "session_secrets"];
const SECRET_VARIABLES: [&str; 7] = [
    "GOOGLE_SECRET",
    "GITHUB_SECRET",
    "PRIVATE_KEY",
    "GATEWAY_SESSION_SECRET",
    "GATEWAY_SESSION_SECRETS",
    "GATEWAY_PROVIDER_X_CLIENT_SECRET",
    "TOKEN_OF_X",
];

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    // Relative paths in inputs resolve to this empty directory.
    std::env::set_current_dir(directory.path()).expect("a directory");
    directory
});

fuzz_target!(|input: &str| {
    let (toml, variables) = input.split_once("\n---\n").unwrap_or((input, ""));
    let file = DIRECTORY.path().join("gateway.toml");
    fs::write(&file, toml).expect("written");
    let mut variables: Vec<(&str, &str)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    if !variables.iter().any(|(name, _)| *name == "PRIVATE_KEY") {
        variables.push(("PRIVATE_KEY", KEY));
    }
    let once = input.matches(CANARY).count() == 1;
    let (secret, setting) = (once && is_secret(toml, &variables), once && is_setting(toml));
    let sources = Sources {
        file: Some(file.clone()),
        environment: variables.into_iter().collect(),
        ..Sources::default()
    };

    let told = |text: &str| {
        assert!(
            !((secret || setting) && text.contains(CANARY)),
            "a secret is shown: {text}"
        );
    };
    match config::load(&sources) {
        Ok(loaded) => {
            told(&format!(
                "{}{:?}{:?}",
                loaded.report, loaded.report, loaded.warnings
            ));
            let debug = format!("{:?}", loaded.config);
            assert!(!(secret && debug.contains(CANARY)), "a secret is shown: {debug}");
        }
        Err(errors) => {
            assert!(!errors.0.is_empty(), "neither a configuration nor a mistake");
            for mistake in &errors.0 {
                assert!(!mistake.message.is_empty(), "{mistake:?}");
            }
            told(&format!("{errors}{errors:?}{}", errors.sentences().join("; ")));
        }
    }
    for part in [
        config::load_storage(&sources).err(),
        config::load_admin(&sources).err(),
    ] {
        told(&part.map(|errors| errors.to_string()).unwrap_or_default());
    }
    let left: Vec<PathBuf> = fs::read_dir(DIRECTORY.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(left, [file], "reading writes nothing");
});

/// Whether the canary is the value of a secret.
fn is_secret(toml: &str, variables: &[(&str, &str)]) -> bool {
    let in_variable =
        |(name, value): &(&str, &str)| SECRET_VARIABLES.contains(name) && value.contains(CANARY);
    let in_file = match toml.parse::<Table>() {
        Ok(table) => below(&table, &|key, value| SECRET_KEYS.contains(&key) && holds(value)),
        // Not even if the rest is not TOML.
        Err(_) => toml.lines().any(|line| {
            let begins = |key: &str| {
                let rest = line.trim_start().strip_prefix(key);
                rest.is_some_and(|rest| rest.trim_start().starts_with('='))
            };
            SECRET_KEYS.into_iter().any(begins) && line.contains(CANARY)
        }),
    };
    in_file || variables.iter().any(in_variable)
}

/// Whether the canary is the value of a plugin's setting, which may be secret.
fn is_setting(toml: &str) -> bool {
    let in_settings = |key: &str, value: &Value| key == "settings" && holds(value);
    toml.parse::<Table>()
        .is_ok_and(|table| below(&table, &in_settings))
}

/// Whether any entry satisfies the condition, at any depth.
fn below(table: &Table, is_so: &dyn Fn(&str, &Value) -> bool) -> bool {
    table
        .iter()
        .any(|(key, value)| is_so(key, value) || value.as_table().is_some_and(|inner| below(inner, is_so)))
}

/// Whether the canary is in a value, as opposed to a name.
fn holds(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(CANARY),
        Value::Array(list) => list.iter().any(holds),
        Value::Table(inner) => inner.values().any(holds),
        _ => false,
    }
}

/// The key of RFC 8032 section 7.1, test 1.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\\n\
    MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\\n\
    -----END PRIVATE KEY-----\\n";
