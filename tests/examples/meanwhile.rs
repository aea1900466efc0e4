//! A user changes while a plugin is being called for them: no token describes the earlier state.

use std::sync::Arc;

use gateway_token::Algorithm;
use guest_examples::POLICY;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::id_of;
use support::setup::private_key;
use support::{Gateway, Setup};

/// A policy service that holds every answer back until the test releases it.
struct Held {
    origin: String,
    asked: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

impl Held {
    async fn start() -> Self {
        const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\
                              Connection: close\r\n\r\n{\"result\":{\"read\":true}}";
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let (asked, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (ask, answer) = (Arc::clone(&asked), Arc::clone(&answers));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (ask, answer) = (Arc::clone(&ask), Arc::clone(&answer));
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(reader.read_u8().await.expect("a question"));
                    }
                    ask.add_permits(1);
                    answer.acquire().await.expect("it is open").forget();
                    let _ = writer.write_all(ANSWER.as_bytes()).await;
                    // Reads the rest of the request, until it gets the answer.
                    let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
                });
            }
        });
        Self {
            origin,
            asked,
            answers,
        }
    }

    async fn is_asked(&self) {
        self.asked.acquire().await.expect("it is open").forget();
    }
}

/// A gateway whose only service asks there. Its deadlines are long, so that no call times out on a busy machine.
async fn start(service: &Held) -> Gateway {
    Setup::dev()
        .env("PRIVATE_KEY", &private_key(Algorithm::ES256))
        .env("GATEWAY_REQUEST_TIMEOUT", "300s")
        .plugin("policy", POLICY.wasm)
        .plugin_table(
            "policy",
            &format!("grants = {:?}\nlimits.deadline = \"300s\"", POLICY.grants),
        )
        .table(
            "plugin.policy.settings",
            &format!(
                "url = \"{}/\"\ntimeout = \"300s\"\ncache = \"0s\"",
                service.origin
            ),
        )
        .table(
            "plugin.policy.http",
            &format!("allow = [{:?}]\ntimeout = \"300s\"", service.origin),
        )
        .service("wiki", "policy")
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a15_a_user_disabled_during_a_plugin_call_gets_no_token() {
    let service = Held::start().await;
    let gateway = start(&service).await;
    for end in ["nothing", "logout", "session end", "user disable", "user delete"] {
        let token = gateway.sign_in(&format!("user-{}", end.replace(' ', "-"))).await;
        let user = id_of(&gateway, &token).await;
        let asking = {
            let (browser, token) = (gateway.browser(), token.clone());
            tokio::spawn(async move { browser.authorize(&token, "wiki").await })
        };
        service.is_asked().await;
        match end {
            "nothing" => {}
            "logout" => {
                let answer = gateway.browser().post_as(&token, "/auth/logout").await;
                assert_eq!(answer, json!({"success": true}));
            }
            "session end" => {
                gateway
                    .cli(&["session", "end", "--user", &user])
                    .await
                    .succeeded();
            }
            command => {
                let (noun, verb) = command.split_once(' ').expect("two words");
                let yes: &[&str] = if verb == "delete" { &["--yes"] } else { &[] };
                let command = [&[noun, verb, user.as_str()], yes].concat();
                gateway.cli(&command).await.succeeded();
            }
        }
        service.answers.add_permits(1);
        let (status, answer) = asking.await.expect("an answer");
        assert_eq!(status, 200, "{end}: {answer}");
        if end == "nothing" {
            assert!(answer["token"].is_string(), "{answer}");
        } else {
            assert_eq!(answer, json!({"permissions": {}}), "{end}");
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a15_a_cached_token_is_not_returned_to_a_disabled_user() {
    let service = Held::start().await;
    let gateway = start(&service).await;
    let token = gateway.sign_in("alice").await;
    let user = id_of(&gateway, &token).await;
    for disabled in [false, true] {
        let asking = {
            let (browser, token) = (gateway.browser(), token.clone());
            tokio::spawn(async move { browser.authorize(&token, "wiki").await })
        };
        service.is_asked().await;
        if disabled {
            gateway.cli(&["user", "disable", &user]).await.succeeded();
        }
        service.answers.add_permits(1);
        let (_, answer) = asking.await.expect("an answer");
        assert_eq!(answer["token"].is_string(), !disabled, "{answer}");
    }
    gateway.stop().await;
}
