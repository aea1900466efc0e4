use std::fs;
use std::sync::Arc;
use std::time::Duration;

use test_guests::{V1, V2};
use tokio::time::timeout;

use super::PluginHost;
use crate::{CompileOptions, HostOptions, PluginSet, PluginStatus};
use gateway_sandbox::guest::HostServices;
use gateway_sandbox::guest::invented_user;
use gateway_sandbox::{Network, PluginConfig, ScratchValues};

async fn start(dir: &std::path::Path) -> PluginHost {
    let options = HostOptions {
        plugin_dir: dir.join("plugins"),
        cache_dir: dir.join("cache"),
        guest_threads: 1,
        users: HostServices::trial(invented_user()).users,
        values: Arc::new(ScratchValues::default()),
        network: Arc::new(Network::system()),
        compile: CompileOptions::default(),
    };
    let mut set = PluginSet::default();
    let mut config = PluginConfig::default();
    // Debug builds on busy machines.
    config.limits.deadline = Duration::from_secs(120);
    set.plugins.insert("p".to_owned(), config);
    PluginHost::start(options, set).await.unwrap()
}

/// Waits until the plugin's status satisfies `is`.
async fn until(host: &PluginHost, is: impl Fn(&PluginStatus) -> bool) -> PluginStatus {
    let mut changes = host.changes();
    let waited = async {
        loop {
            let status = host.plugin_status("p").unwrap();
            if is(&status) {
                return status;
            }
            changes.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(240), waited)
        .await
        .expect("this never happened")
}

#[tokio::test]
async fn a_withdrawn_plugin_does_not_come_back_with_a_broken_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plugins/p.wasm");
    fs::create_dir(dir.path().join("plugins")).unwrap();
    fs::write(&file, V1).unwrap();
    let host = start(dir.path()).await;
    assert!(host.plugin_status("p").unwrap().generation.is_some());

    // As the watch does when it sees the removal; and before it looks again there is a broken file.
    let broken = dir.path().join("broken");
    fs::write(&broken, "no component").unwrap();
    fs::remove_file(&file).unwrap();
    host.0.withdraw_missing(&["p".into()]).await;
    fs::rename(&broken, &file).unwrap();
    let is_refused = |status: &PluginStatus| {
        let problem = status.problem.as_deref().unwrap_or_default();
        problem.contains("does not begin as WebAssembly")
    };
    assert!(until(&host, is_refused).await.generation.is_none());
    host.shutdown().await;
    drop(host);

    let host = start(dir.path()).await;
    let status = host.plugin_status("p").unwrap();
    assert!(is_refused(&status) && status.generation.is_none(), "{status:?}");
    fs::write(&broken, V2).unwrap();
    fs::rename(&broken, &file).unwrap();
    until(&host, |status| status.generation.is_some()).await;
    host.shutdown().await;
}
