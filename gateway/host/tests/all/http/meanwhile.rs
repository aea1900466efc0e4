//! Changes to a plugin during a call: an answer counts only if its generation still serves.

use std::sync::Arc;

use gateway_model::UserId;
use gateway_sandbox::{CallError, Network};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use super::server::Server;
use super::{Names, Plugin, config, set_of};

/// A server that answers as often as it is let, and the plugin that asks it.
async fn held(name: &'static str) -> (Server, Arc<Semaphore>, Plugin) {
    let answers = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&answers);
    let server = Server::new(move |mut stream, _| {
        let answers = Arc::clone(&held);
        async move {
            answers.acquire().await.unwrap().forget();
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                .await;
        }
    })
    .await;
    let mut set = set_of(name, config(&[&server.origin()], &[]));
    let plugin_config = set.plugins.get_mut(name).unwrap();
    plugin_config.limits.deadline = std::time::Duration::from_secs(300);
    plugin_config.http.timeout = plugin_config.limits.deadline;
    let network = Network::new(Names::new(&[]), Vec::new());
    let plugin = Plugin::with(name, set, network).await;
    (server, answers, plugin)
}

#[tokio::test]
async fn a15_a_provider_that_is_configured_anew_meanwhile_is_asked_again() {
    let (server, answers, plugin) = held("http-anew").await;
    let user = UserId::from(format!("GET {}/", server.origin()));
    let host = plugin.fixture.host.clone();
    let asked = tokio::spawn(async move { host.get_permissions("s", &user).await });
    server.wait_for_open(1).await;
    let mut http = config(&[&server.origin()], &[]);
    http.timeout = std::time::Duration::from_secs(200);
    plugin.fixture.host.reconfigure(set_of("http-anew", http)).await;
    answers.add_permits(2);
    assert_eq!(
        asked.await.unwrap().unwrap().permissions["status"].as_str(),
        "200"
    );
    assert_eq!(server.connections().await, 2);
}

#[tokio::test]
async fn a15_a_provider_that_is_withdrawn_meanwhile_allows_nothing() {
    let (server, answers, plugin) = held("http-withdrawn").await;
    let user = UserId::from(format!("GET {}/", server.origin()));
    let host = plugin.fixture.host.clone();
    let asked = tokio::spawn(async move { host.get_permissions("s", &user).await });
    server.wait_for_open(1).await;
    std::fs::remove_file(plugin.fixture.path("http-withdrawn")).unwrap();
    plugin
        .fixture
        .wait("http-withdrawn", |status| status.generation.is_none())
        .await;
    answers.add_permits(1);
    let error = asked.await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::NotLoaded { .. }), "{error}");
}
