//! Files that are rejected before they serve, and the messages for the operator.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use gateway_host::{HostError, HostOptions, PluginHost, PluginSet};
use gateway_sandbox::{Grant, Network, ScratchValues};
use serde_json::json;
use test_guests::{
    BEHAVE, BOTH_VERSIONS, CORE_MODULE, EMPTY_INTERFACE, HTTP_IMPORT, IMPORTS_CONFIG, IMPORTS_HTTP,
    IMPORTS_KEY_VALUE, IMPORTS_LOGGING, IMPORTS_SECRETS, IMPORTS_USERS, LOGIN_ONLY, MANY_INSTANCES,
    NO_EXPORTS, PLAIN, SHARED_MEMORY, UNKNOWN_IMPORT, V1, WRONG_EXPORT_VERSION, WRONG_TYPE, WRONG_VERSION,
};

use crate::support::{Fixture, log, set};

/// The problem that is reported for a file of the provider `plugin`.
async fn refusal(bytes: &[u8]) -> String {
    let fixture = Fixture::new(&[("plugin", bytes)], set(&[("s", "plugin")], &[])).await;
    let status = fixture.status("plugin");
    assert_eq!(status.generation, None, "it serves");
    let problem = status.problem.expect("a problem");
    assert!(
        log().contains(&serde_json::to_string(&problem).unwrap()[1..20]),
        "{problem} is not in the log"
    );
    problem
}

#[tokio::test]
async fn files_that_are_no_plugin_say_why() {
    for (bytes, says) in [
        (&b"hello"[..], "does not begin as WebAssembly"),
        (b"\0asm\x0d\0\x01\0rubbish", "not a valid component"),
        (b"\x7fELF\x02\x01\x01", "precompiled"),
        (b"", "is empty"),
        (CORE_MODULE, "not a component"),
        (NO_EXPORTS, "exports none of"),
        (WRONG_TYPE, "types that differ from the interface"),
        (EMPTY_INTERFACE, "types that differ from the interface"),
        (
            WRONG_VERSION,
            "imports auth-gateway:plugin/types@0.1.0, but this gateway supports version 1.0.0 of auth-gateway:plugin: \
             rebuild the component against that version (the gateway's WIT files are in `wit/`)",
        ),
        (
            WRONG_EXPORT_VERSION,
            "exports auth-gateway:plugin/permission-provider@0.1.0, but this gateway supports version 1.0.0 of \
             auth-gateway:plugin: rebuild",
        ),
        (
            BOTH_VERSIONS,
            "exports auth-gateway:plugin/permission-provider@1.0.0 and auth-gateway:plugin/permission-provider@1.1.0: \
             export the interface once",
        ),
        (SHARED_MEMORY, "not a valid component"),
        (MANY_INSTANCES, "901 core module instances"),
        (
            UNKNOWN_IMPORT,
            "imports evil:corp/backdoor@1.0.0, which the gateway does not provide",
        ),
        (HTTP_IMPORT, "its imports do not fit"),
        (
            LOGIN_ONLY,
            "does not export auth-gateway:plugin/permission-provider, and is asked for: s",
        ),
    ] {
        let problem = refusal(bytes).await;
        assert!(problem.contains(says), "{problem:?} does not say {says:?}");
    }
}

#[tokio::test]
async fn a_component_may_have_so_many_memories_tables_and_instances() {
    for (item, most, says) in [
        ("(memory 1)", 16, "memories"),
        ("(table 1 funcref)", 16, "tables"),
        ("(global i32 (i32.const 0))", 64, "core module instances"),
    ] {
        let component = |count: usize| {
            let instances = "(core instance (instantiate $module))".repeat(count);
            wat::parse_str(format!("(component (core module $module {item}) {instances})")).unwrap()
        };
        // This many are allowed: the next check rejects the file.
        let problem = refusal(&component(most)).await;
        assert!(problem.contains("exports none of"), "{problem}");
        let problem = refusal(&component(most + 1)).await;
        assert!(problem.contains(says), "{problem}");
    }
}

#[tokio::test]
async fn what_is_not_granted_names_the_line_that_would_grant_it() {
    for (bytes, import, grant) in [
        (IMPORTS_USERS, "auth-gateway:plugin/users@1.0.0", "users"),
        (IMPORTS_CONFIG, "auth-gateway:plugin/config@1.0.0", "config"),
        (IMPORTS_LOGGING, "auth-gateway:plugin/logging@1.0.0", "logging"),
        (IMPORTS_SECRETS, "auth-gateway:plugin/secrets@1.0.0", "secrets"),
        (
            IMPORTS_KEY_VALUE,
            "auth-gateway:plugin/key-value@1.0.0",
            "key-value",
        ),
        (IMPORTS_HTTP, "wasi:http/types@0.2.12", "http"),
    ] {
        let mut set = set(&[("s", "plugin")], &[]);
        set.plugins.get_mut("plugin").unwrap().grants = BTreeSet::new();
        let fixture = Fixture::new(&[("plugin", bytes)], set.clone()).await;
        let expected = format!(
            "it imports {import}, which the plugin \"plugin\" has not been granted: to grant \
             it, write `grants = [\"{grant}\"]` under `[plugin.plugin]` in the configuration"
        );
        assert_eq!(fixture.problem("plugin"), expected);

        // Every grant but the one does not help; doing as told does.
        let grant = Grant::ALL.iter().find(|known| known.as_str() == grant).unwrap();
        let others = Grant::ALL.iter().copied().filter(|other| other != grant);
        set.plugins.get_mut("plugin").unwrap().grants = others.collect();
        fixture.host.reconfigure(set.clone()).await;
        let problem = fixture.problem("plugin");
        assert!(
            problem.starts_with(&format!("it imports {import}, which")),
            "{problem}"
        );
        set.plugins.get_mut("plugin").unwrap().grants = [*grant].into();
        fixture.host.reconfigure(set).await;
        assert_eq!(fixture.status("plugin").problem, None);
        fixture.ask("s").await.unwrap();
    }
}

#[tokio::test]
async fn a_provider_is_no_extension() {
    let fixture = Fixture::new(&[("plugin", V1)], set(&[], &["plugin"])).await;
    assert!(fixture.problem("plugin").contains("configured as an extension"));
}

#[tokio::test]
async fn links_and_pipes_and_names_that_lead_elsewhere_are_refused() {
    let fixture = Fixture::new(
        &[("real", V1)],
        set(
            &[("l", "link"), ("p", "pipe"), ("d", "dir"), ("e", "../real")],
            &[],
        ),
    )
    .await;
    let outside = fixture.dir.path().join("real.wasm");
    std::fs::write(&outside, V1).unwrap();
    symlink("../real.wasm", fixture.path("link")).unwrap();
    std::fs::create_dir(fixture.path("dir")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(fixture.path("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    for (name, says) in [
        ("link", "symbolic link that leaves its directory"),
        ("pipe", "not a regular file"),
        ("dir", "not a regular file"),
    ] {
        fixture
            .wait(name, |status| {
                status
                    .problem
                    .as_ref()
                    .is_some_and(|problem| problem.contains(says))
            })
            .await;
    }
    assert!(fixture.problem("../real").contains("cannot be a file's name"));
}

#[tokio::test]
async fn a_component_cut_anywhere_is_refused_and_the_old_one_serves() {
    let set = set(&[("s", "plain")], &[]);
    let fixture = Fixture::new(&[("plain", V1)], set.clone()).await;
    let mut accepted = 0;
    let step = if cfg!(feature = "test-all") { 1 } else { 4 };
    for cut in (0..PLAIN.len()).step_by(step) {
        std::fs::write(fixture.path("plain"), &PLAIN[..cut]).unwrap();
        fixture.host.reconfigure(set.clone()).await;
        if fixture.status("plain").problem.is_some() {
            assert_eq!(fixture.ask("s").await.unwrap()["version"], 1, "cut at {cut}");
        } else {
            // Only the names of functions are missing, which come last.
            accepted += 1;
            assert_eq!(fixture.ask("s").await.unwrap(), json!({}), "cut at {cut}");
            std::fs::write(fixture.path("plain"), V1).unwrap();
            fixture.host.reconfigure(set.clone()).await;
        }
    }
    assert!(accepted <= 2, "{accepted} cuts made no difference");
    std::fs::write(fixture.path("plain"), PLAIN).unwrap();
    fixture.host.reconfigure(set).await;
    assert_eq!(fixture.ask("s").await.unwrap(), json!({}));
}

#[tokio::test]
async fn a_large_component_cut_here_and_there_is_refused() {
    let fixture = Fixture::new(&[("b", V1)], set(&[("s", "b")], &[])).await;
    for cut in (1..BEHAVE.len() * 9 / 10).step_by(BEHAVE.len() / 40) {
        std::fs::write(fixture.path("b"), &BEHAVE[..cut]).unwrap();
        fixture.host.reconfigure(set(&[("s", "b")], &[])).await;
        assert_eq!(
            fixture.status("b").generation.map(|(number, _)| number),
            Some(1),
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn a_host_without_its_directory_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let options = HostOptions {
        plugin_dir: dir.path().join("missing"),
        cache_dir: dir.path().join("cache"),
        guest_threads: 1,
        users: std::sync::Arc::new(Nobody),
        values: std::sync::Arc::new(ScratchValues::default()),
        network: std::sync::Arc::new(Network::system()),
        compile: gateway_host::CompileOptions::default(),
    };
    let error = PluginHost::start(options.clone(), PluginSet::default())
        .await
        .unwrap_err();
    assert!(matches!(error, HostError::PluginDirUnreadable { .. }), "{error}");
    assert!(error.to_string().contains("missing"));

    std::fs::create_dir(dir.path().join("missing")).unwrap();
    std::fs::write(dir.path().join("cache"), "a file").unwrap();
    let error = PluginHost::start(options, PluginSet::default())
        .await
        .unwrap_err();
    assert!(matches!(error, HostError::CacheDir { .. }), "{error}");
}

#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl gateway_sandbox::UserLookup for Nobody {
    async fn lookup_user(&self, _: &gateway_model::UserId) -> Result<Option<gateway_model::User>, String> {
        Ok(None)
    }
}
