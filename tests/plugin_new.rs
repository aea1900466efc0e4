//! `gateway plugin new` with the tools themselves: what it writes can be built, passes its own test, and answers
//! in the gateway's sandbox with no grant but the one that its README gives it.
//!
//! The tools are those that `guest-examples/build` installs. What is run here are the commands that the
//! project's README names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests a panic is the report"
)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn rust() {
    // For both projects, so that what they depend on is compiled once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-new");
    let target = target.display().to_string();
    // The name of a keyword, and one that no package can have.
    for project in projects("rust", "match", "2nd.Domain_check") {
        let lock = project.read("Cargo.lock");
        project.build(&[("CARGO_TARGET_DIR", target.clone())]);
        // Cargo rewrites a lock file that is not right.
        assert_eq!(project.read("Cargo.lock"), lock);
        project.ask();
    }
}

#[test]
fn javascript() {
    for project in projects("js", "import", "componentize-qjs") {
        // What is pinned does not change.
        project.build(&[("npm_config_prefer_offline", "true".into())]);
        project.ask();
    }
}

#[test]
fn python() {
    let tool = format!("COMPONENTIZE_PY={}", tool("venv/bin/componentize-py"));
    for project in projects("python", "class", "a.b-2") {
        project.build(&[("MAKEFLAGS", tool.clone())]);
        project.ask();
    }
}

#[test]
fn c() {
    let tools = format!(
        "ZIG={} WIT_BINDGEN={} WASM_TOOLS={}",
        tool("venv/bin/python-zig"),
        tool("bin/wit-bindgen"),
        tool("bin/wasm-tools")
    );
    for project in projects("c", "int", "Test_1.x") {
        project.build(&[("MAKEFLAGS", tools.clone())]);
        project.ask();
    }
}

#[test]
fn what_is_there_stays_as_it_is() {
    let place = TempDir::new().unwrap();
    std::fs::write(place.path().join("README.md"), "mine").unwrap();
    let path = place.path().to_str().unwrap();
    let ended = gateway(&[
        "plugin", "new", "--lang", "c", "--kind", "provider", "--path", path, "x",
    ]);
    assert_eq!(ended.0, Some(1));
    assert!(
        ended.1.contains("is not empty, and nothing was written"),
        "{}",
        ended.1
    );
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 1);

    let ended = gateway(&[
        "plugin", "new", "--lang", "c", "--kind", "provider", "--path", path, "../x",
    ]);
    assert_eq!(ended.0, Some(2));
}

/// A tool that `guest-examples/build` installs.
fn tool(path: &str) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples");
    let tools = match std::env::var_os("GUEST_TOOLS") {
        // Where it is relative, it is so to the directory of the script.
        Some(tools) => examples.join(tools),
        None => examples.join("out/tools"),
    };
    let tool = tools.join(path);
    assert!(
        tool.exists(),
        "{} is missing: run guest-examples/build, which installs it, or say in GUEST_TOOLS where it did",
        tool.display()
    );
    std::path::absolute(tool).unwrap().display().to_string()
}

/// Runs the binary under test; gives its exit code and what it wrote.
fn gateway(arguments: &[&str]) -> (Option<i32>, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .args(arguments)
        .output()
        .unwrap();
    let written = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(written).unwrap())
}

/// A project that the binary has written.
struct Project {
    place: TempDir,
    kind: &'static str,
    name: &'static str,
}

/// A project of each kind, with these names.
fn projects(lang: &str, provider: &'static str, extension: &'static str) -> [Project; 2] {
    [("provider", provider), ("extension", extension)].map(|(kind, name)| {
        let place = TempDir::new().unwrap();
        let path = place.path().to_str().unwrap();
        let (code, said) = gateway(&[
            "plugin", "new", "--lang", lang, "--kind", kind, "--path", path, name,
        ]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("cd {path} && ")), "{said}");
        Project { place, kind, name }
    })
}

impl Project {
    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.place.path().join(path)).unwrap()
    }

    /// Runs the commands by which the README tests and builds.
    fn build(&self, environment: &[(&str, String)]) {
        let readme = self.read("README.md");
        let (_, after) = readme.split_once("```console\n").expect("commands");
        let (commands, _) = after.split_once("```").expect("their end");
        for command in commands.lines() {
            let command = command.strip_prefix("$ ").expect("a command");
            self.run(
                Command::new("bash")
                    .args(["-c", command])
                    .envs(environment.iter().cloned()),
            );
        }
    }

    /// Asks the component as the README does, and then with settings that say otherwise.
    fn ask(&self) {
        let readme = self.read("README.md");
        let call = readme
            .lines()
            .find_map(|line| line.strip_prefix("$ gateway plugin call "))
            .expect("a call");
        let answer = |arguments: &str| -> Value {
            let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
            command
                .args(["plugin", "call", "--cache", "compiled"])
                // A loaded machine is no reason to fail.
                .args(["--deadline", "30s"])
                .args(arguments.split_whitespace());
            serde_json::from_str(&self.run(&mut command)).unwrap()
        };
        assert!(call.starts_with(&format!("{}.wasm ", self.name)), "{call}");
        if self.kind == "provider" {
            assert_eq!(answer(call), json!({ "edit": true }));
            let others = call.replace("editors=17", "editors=1,7");
            assert_eq!(answer(&others), json!({ "edit": false }));
            let nobody = call.replace("--setting editors=17", "");
            assert_eq!(answer(&nobody), json!({ "edit": false }));
            return;
        }
        for hook in ["on-new-user", "on-user-login"] {
            let call = call.replace("on-new-user", hook);
            let accepted = json!({ "accepted": { "email-domain": "example.org" } });
            assert_eq!(answer(&call), accepted, "{hook}");
            let elsewhere = call.replace("domain=example.org", "domain=example.com");
            assert!(answer(&elsewhere)["rejected"].is_string(), "{hook}");
            let nobody = call.replace("--setting domain=example.org", "");
            assert_eq!(
                answer(&nobody),
                json!({ "unavailable": "the setting `domain` is missing" }),
                "{hook}"
            );
        }
    }

    /// Runs a command in the project; gives what it wrote to its standard output.
    fn run(&self, command: &mut Command) -> String {
        let ended = command
            .current_dir(self.place.path())
            // The project's own toolchain and flags, not those of these tests.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(
            ended.status.success(),
            "{command:?}: {}\n{stdout}\n{}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr)
        );
        stdout
    }
}
