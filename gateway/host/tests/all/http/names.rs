//! Names whose servers never answer: whoever asks for them keeps nobody else from an answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_model::UserId;
use gateway_sandbox::{HttpConfig, Network};
use test_guests::{IMPORTS_HTTP, V1};

use super::server::Server;
use super::{Names, config};
use crate::support::{Fixture, set};

#[tokio::test]
async fn a3_callers_of_a_dead_name_leave_the_other_plugins_http_unharmed() {
    let server = Server::hello().await;
    let good = format!("http://good.test:{}", server.port());
    let mut set = set(&[("dead", "http-dead"), ("good", "http-good")], &[]);
    let http = |origin: &str, private: &[&str], timeout| HttpConfig {
        timeout: Duration::from_secs(timeout),
        ..config(&[origin], private)
    };
    let dead = set.plugins.get_mut("http-dead").unwrap();
    dead.http = http("http://never.test", &[], 600);
    dead.limits.deadline = Duration::from_secs(600);
    set.plugins.get_mut("http-good").unwrap().http = http(&good, &["good.test"], 15);
    let names = Names::new(&[("good.test", &[&["127.0.0.1"]])]);
    let network = Network::new(Arc::clone(&names) as Arc<_>, Vec::new());
    let files = [("http-dead", IMPORTS_HTTP), ("http-good", IMPORTS_HTTP)];
    let fixture = Fixture::with_network(&files, set, network).await;
    for callers in [4, 40] {
        let user = UserId::from("GET http://never.test/");
        let dead = join_all((0..callers).map(|_| fixture.host.get_permissions("dead", &user)));
        let command = format!("GET {good}/");
        let good = async {
            let mut served = 0;
            for _ in 0..40 {
                let answer = fixture.ask_for("good", &command).await.unwrap();
                served += usize::from(answer["status"] == 200);
            }
            served
        };
        tokio::select! {
            biased;
            answered = dead => panic!("{answered:?}"),
            served = good => assert_eq!(served, 40, "beside {callers} callers"),
        }
    }
    assert!(names.asked() <= 80 + 4, "{} look-ups", names.asked());
}

#[tokio::test]
async fn a5_twenty_slow_plugins_leave_another_its_answers() {
    let names: Vec<String> = (0..20).map(|number| format!("http-slow-{number}")).collect();
    let mut services: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    services.push(("good", "v1"));
    let mut set = set(&services, &[]);
    for name in &names {
        let plugin = set.plugins.get_mut(name).unwrap();
        plugin.limits.deadline = Duration::from_secs(600);
        plugin.http = HttpConfig {
            timeout: Duration::from_secs(600),
            ..config(&["http://never.test"], &[])
        };
    }
    let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), IMPORTS_HTTP)).collect();
    files.push(("v1", V1));
    let fixture = Fixture::with_network(&files, set, Network::new(Names::new(&[]), Vec::new())).await;
    let user = UserId::from("GET http://never.test/");
    let slow = names.iter().flat_map(|name| {
        let (host, user) = (&fixture.host, &user);
        (0..60).map(move |_| host.get_permissions(name, user))
    });
    let slow = join_all(slow);
    tokio::select! {
        biased;
        ended = slow => panic!("{} have ended: {:?}", ended.len(), ended.first()),
        () = async {
            for answer in 0..100 {
                let answered = fixture.ask("good").await;
                assert!(answered.is_ok(), "{answer}: {answered:?}");
            }
        } => {}
    }
}
