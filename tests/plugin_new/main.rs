//! `gateway plugin new` with the real tools: each project builds, passes its own test, and answers in the gateway's
//! sandbox with only the grant that its README adds.
//!
//! `guest-examples/build` installs the tools. The tests run the commands of the project's README.

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
fn projects_in_rust() {
    // Both projects share it, so that their dependencies are compiled once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-new");
    let target = target.display().to_string();
    // A keyword as the name, and a name that no package can have.
    for project in projects("rust", "match", "2nd.Domain_check") {
        let lock = project.read("Cargo.lock");
        project.build(&[("CARGO_TARGET_DIR", target.clone())]);
        // Cargo rewrites a lock file that does not match.
        assert_eq!(project.read("Cargo.lock"), lock);
        project.ask();
    }
}

#[test]
fn projects_in_javascript() {
    for project in projects("js", "import", "componentize-qjs") {
        // Pinned versions do not change.
        project.build(&[("npm_config_prefer_offline", "true".into())]);
        project.ask();
    }
}

#[test]
fn projects_in_python() {
    let tool = format!("COMPONENTIZE_PY={}", tool("venv/bin/componentize-py"));
    for project in projects("python", "class", "a.b-2") {
        project.build(&[("MAKEFLAGS", tool.clone())]);
        project.ask();
    }
}

#[test]
fn projects_in_c() {
    for project in projects("c", "int", "Test_1.x") {
        project.build(&c_tools());
        project.ask();
    }
}

/// The tools for a project in C: a compiler, the gateway, and the standard utilities. No Rust, whose tools would take
/// minutes to build.
fn c_tools() -> [(&'static str, String); 2] {
    let tools = format!(
        "ZIG={} GATEWAY={}",
        tool("venv/bin/python-zig"),
        support::binary().display()
    );
    [
        ("MAKEFLAGS", tools),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
    ]
}

#[test]
fn u12_a_project_in_c_needs_only_a_compiler_and_the_gateway() {
    let [project, _] = projects("c", "provider", "extension");
    for path in ["Makefile", "README.md"] {
        let text = project.read(path);
        assert!(
            !text.contains("cargo") && !text.contains("rustup"),
            "{path}: {text}"
        );
    }
    project.build(&c_tools());
    project.ask();

    // The build follows changes to the world: another import, and a name that does not exist.
    let world = project.read("wit/world.wit");
    let wider = world.replace(
        "config@1.0.0;",
        "config@1.0.0;\n    import auth-gateway:plugin/logging@1.0.0;",
    );
    project.write("wit/world.wit", &wider);
    project.make(&c_tools()).unwrap();
    assert!(
        project
            .read("out/plugin.h")
            .contains("auth_gateway_plugin_logging_log(")
    );
    project.write("wit/world.wit", &world.replace("config@1.0.0", "confg@1.0.0"));
    let said = project.make(&c_tools()).unwrap_err();
    assert!(said.contains("confg") && said.contains("wit/world.wit"), "{said}");
    project.write("wit/world.wit", &world);

    // Things that C programs do and plugins cannot.
    let rule = project.read("src/rule.c");
    let prints = rule.replace("size_t at = 0;", "size_t at = 0; printf(\"%zu\", at);");
    project.write("src/rule.c", &format!("#include <stdio.h>\n{prints}"));
    let said = project.make(&c_tools()).unwrap_err();
    assert!(said.contains("such as `printf`"), "{said}");
}

#[test]
fn u6_a_failed_assertion_in_c_denies_and_names_the_function() {
    let [project, _] = projects("c", "provider", "extension");
    let rule = project.read("src/rule.c");
    let asserts = rule.replace("size_t at = 0;", "assert(user_id.length != 3); size_t at = 0;");
    assert_ne!(asserts, rule);
    project.write("src/rule.c", &format!("#include <assert.h>\n{asserts}"));
    project.build(&c_tools());
    let ask = |user: &str| {
        project.call(&format!(
            "provider.wasm get-permissions --user {user} --service wiki --setting editors=*"
        ))
    };
    let (code, said) = ask("17");
    assert!(code == Some(0) && said.contains("\"edit\": true"), "{said}");
    let (code, said) = ask("173");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\n  in may_edit\n  called by "), "{said}");
    // Names are small; debug information would be a hundred times as large.
    let size = std::fs::metadata(project.place.path().join("provider.wasm"))
        .unwrap()
        .len();
    assert!(size < 32 << 10, "{size}");
}

#[test]
fn u6_an_exception_in_javascript_names_the_function() {
    let [project, _] = projects("js", "provider", "extension");
    let rule = project.read("src/rule.js");
    let inner =
        "    const listed = [editors].map(function splitEditors(list) { return list.nothing.at(0); });\n";
    let (head, tail) = rule.split_once("    const listed").unwrap();
    project.write(
        "src/rule.js",
        &format!("{head}{inner}{}", tail.split_once('\n').unwrap().1),
    );
    let offline = ("npm_config_prefer_offline", "true".to_owned());
    project.run(
        Command::new("bash")
            .args(["-c", "npm ci && npm run build"])
            .envs([offline]),
    );
    let (code, said) = project.call("provider.wasm get-permissions --user 17 --service wiki");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("\n  in splitEditors\n  called by mayEdit\n  called by getPermissions"),
        "{said}"
    );
}

#[test]
fn u8_a_python_component_is_rebuilt_when_anything_in_src_changes() {
    let [project, _] = projects("python", "provider", "extension");
    let tool = [(
        "MAKEFLAGS",
        format!("COMPONENTIZE_PY={}", tool("venv/bin/componentize-py")),
    )];
    let component = || {
        project.make(&tool).unwrap();
        let place = project.place.path().join("provider.wasm");
        (
            std::fs::metadata(&place).unwrap().modified().unwrap(),
            std::fs::read(place).unwrap(),
        )
    };
    let has = |component: &[u8], text: &str| component.windows(text.len()).any(|at| at == text.as_bytes());
    let rule = project.read("src/rule.py");
    let reads = "import json\nimport pathlib\n\nfrom lists.words import WORD\n\n\
                 FILE = pathlib.Path(__file__).with_name(\"some data.json\")\n\
                 DATA = json.loads(FILE.read_text()) if FILE.exists() else WORD\n\n\n";
    project.write("src/rule.py", &format!("{reads}{rule}"));
    project.write("src/lists/__init__.py", "");
    project.write("src/lists/words.py", "WORD = \"canary-\" + \"a\" * 24\n");
    project.write("src/some data.json", "\"canary-before-0123456789\"");
    let (made, bytes) = component();
    assert!(has(&bytes, "canary-before-0123456789"));

    assert_eq!(component().0, made, "nothing has changed");
    project.run(Command::new("make").args(["test"]));
    assert_eq!(
        component().0,
        made,
        "the test leaves nothing behind that looks like a change"
    );

    project.write("src/some data.json", "\"canary-after-9876543210\"");
    let (again, bytes) = component();
    assert!(again > made && has(&bytes, "canary-after-9876543210"));
    project.write("src/lists/words.py", "WORD = \"canary-\" + \"b\" * 24\n");
    let (third, bytes) = component();
    assert!(third > again && has(&bytes, "canary-bbbbbbbbbbbbbbbbbbbbbbbb"));
    std::fs::remove_file(project.place.path().join("src/some data.json")).unwrap();
    let (_, bytes) = component();
    assert!(!has(&bytes, "canary-after-9876543210"), "a file that is gone");
}

#[test]
fn existing_files_are_not_overwritten() {
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
        // A relative path is relative to the directory of the script.
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

/// Runs the binary under test. Returns its exit code and output.
fn gateway(arguments: &[&str]) -> (Option<i32>, String) {
    let ended = Command::new(support::binary()).args(arguments).output().unwrap();
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
    fn write(&self, path: &str, text: &str) {
        let path = self.place.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Runs `make`. Returns its output if it fails.
    fn make(&self, environment: &[(&str, String)]) -> Result<(), String> {
        let ended = Command::new("make")
            .current_dir(self.place.path())
            .envs(environment.iter().cloned())
            .output()
            .unwrap();
        let written = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        if ended.status.success() {
            Ok(())
        } else {
            Err(written)
        }
    }

    /// Runs `gateway plugin call` in the project, whose `gateway.toml` has the grants.
    fn call(&self, arguments: &str) -> (Option<i32>, String) {
        let ended = Command::new(support::binary())
            .args(["plugin", "call", "--cache", "compiled", "--deadline", "30s"])
            .args(arguments.split_whitespace())
            .current_dir(self.place.path())
            .output()
            .unwrap();
        let written = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8(written).unwrap())
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.place.path().join(path)).unwrap()
    }

    /// Runs the README's commands for testing and building.
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

    /// Calls the component as the README does, and then with other settings.
    fn ask(&self) {
        let readme = self.read("README.md");
        let call = readme
            .lines()
            .find_map(|line| line.strip_prefix("$ gateway plugin call "))
            .expect("a call");
        let answer = |arguments: &str| -> Value {
            let mut command = Command::new(support::binary());
            command
                .args(["plugin", "call", "--cache", "compiled"])
                // The call must also succeed on a loaded machine.
                .args(["--deadline", "30s"])
                .args(arguments.split_whitespace());
            serde_json::from_str(&self.run(&mut command)).unwrap()
        };
        assert!(call.starts_with(&format!("{}.wasm ", self.name)), "{call}");
        // A configuration without the plugin.
        self.write("nothing.toml", "");
        let nothing = "--config nothing.toml --grant config";
        if self.kind == "provider" {
            for (flags, edit) in [
                ("", true),
                ("--setting editors=4,17", true),
                ("--setting editors=1,7", false),
                (nothing, false),
            ] {
                assert_eq!(
                    answer(&format!("{call} {flags}")),
                    json!({ "edit": edit }),
                    "{flags}"
                );
            }
            return;
        }
        for hook in ["on-new-user", "on-user-login"] {
            let call = call.replace("on-new-user", hook);
            let accepted = json!({ "accepted": { "email-domain": "example.org" } });
            assert_eq!(answer(&call), accepted, "{hook}");
            let elsewhere = answer(&format!("{call} --setting domain=example.com"));
            assert!(elsewhere["rejected"].is_string(), "{hook}: {elsewhere}");
            assert_eq!(
                answer(&format!("{call} {nothing}")),
                json!({ "unavailable": "the setting `domain` is missing" }),
                "{hook}"
            );
        }
    }

    /// Runs a command in the project. Returns its standard output.
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
