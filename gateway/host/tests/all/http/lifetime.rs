//! Connections end with the call that made them.

use std::time::Duration;

use gateway_host::PluginSet;
use gateway_model::UserId;
use gateway_sandbox::{CallError, Network};
use tokio::io::AsyncWriteExt as _;

use super::server::Server;
use super::{Names, Plugin, config, set_of};

/// A call of two seconds, and requests that would wait ten minutes.
fn set_with(name: &str, server: &Server) -> PluginSet {
    let mut config = config(&[&server.origin()], &[]);
    config.timeout = Duration::from_secs(600);
    let mut set = set_of(name, config);
    let limits = &mut set.plugins.get_mut(name).unwrap().limits;
    (limits.deadline, limits.fuel) = (Duration::from_secs(2), u64::MAX);
    set
}

async fn plugin(name: &'static str, server: &Server) -> Plugin {
    Plugin::with(
        name,
        set_with(name, server),
        Network::new(Names::new(&[]), Vec::new()),
    )
    .await
}

#[tokio::test]
async fn a_call_that_waits_ends_at_its_deadline_and_its_connection_with_it() {
    let server = Server::silent().await;
    let plugin = plugin("http-deadline", &server).await;
    let error = plugin
        .fixture
        .ask_for("s", &format!("GET {}/", server.origin()))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::DeadlineExceeded { .. }), "{error}");
    assert_eq!(server.connections().await, 1);
    server.wait_for_open(0).await;
    assert_eq!(plugin.counted("cancelled"), 1);
}

#[tokio::test]
async fn a_guest_that_loops_with_a_response_in_hand_keeps_no_connection() {
    let server = Server::saying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").await;
    let plugin = plugin("http-spin", &server).await;
    let error = plugin
        .fixture
        .ask_for("s", &format!("GET {}/ spin", server.origin()))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::DeadlineExceeded { .. }), "{error}");
    assert_eq!(server.connections().await, 1);
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_ends_with_the_call() {
    let server = Server::silent().await;
    let mut set = set_with("http-forget", &server);
    set.plugins.get_mut("http-forget").unwrap().limits.deadline = Duration::from_secs(600);
    let network = Network::new(Names::new(&[]), Vec::new());
    let plugin = Plugin::with("http-forget", set, network).await;
    // The body is written to the connection, so there is one.
    let answer = plugin
        .tell(&format!("POST {}/ body:200000 forget", server.origin()))
        .await;
    assert_eq!(answer["served"], 0);
    assert_eq!(server.connections().await, 1);
    // Long before the call's time or the request's is over.
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn a_caller_who_goes_takes_the_connection_along() {
    let server = Server::silent().await;
    let mut set = set_with("http-dropped", &server);
    set.plugins.get_mut("http-dropped").unwrap().limits.deadline = Duration::from_secs(600);
    let network = Network::new(Names::new(&[]), Vec::new());
    let plugin = Plugin::with("http-dropped", set, network).await;
    let user = UserId::from(format!("GET {}/", server.origin()));
    let call = plugin.fixture.host.get_permissions("s", &user);
    tokio::select! {
        _ = call => panic!("the server is silent"),
        () = server.wait_for_open(1) => {}
    }
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn a_connection_that_is_not_read_from_ends_too() {
    // The response is there, and the server reads nothing more of the request: what it says beside tells
    // it when the other end is gone.
    let server = Server::new(|mut stream, _| async move {
        let mut bytes = &b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..];
        while stream.write_all(bytes).await.is_ok() {
            bytes = b"x";
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut set = set_with("http-unread", &server);
    set.plugins.get_mut("http-unread").unwrap().http.max_body = 64 << 20;
    let network = Network::new(Names::new(&[]), Vec::new());
    let plugin = Plugin::with("http-unread", set, network).await;
    let command = format!("POST {}/ body:60000000", server.origin());
    let error = plugin.fixture.ask_for("s", &command).await.unwrap_err();
    assert!(matches!(error, CallError::DeadlineExceeded { .. }), "{error}");
    server.wait_for_open(0).await;
}
