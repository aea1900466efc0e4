//! Requests and responses that are cut off: too large, too slow, too many, or not HTTP.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::server::{Server, gone};
use super::{Plugin, config};

const HEAD: &str = "HTTP/1.1 200 OK\r\n";

/// A plugin that may reach the server, for so long.
async fn plugin(name: &'static str, server: &Server, timeout: u64) -> Plugin {
    let mut config = config(&[&server.origin()], &[]);
    config.timeout = Duration::from_millis(timeout);
    config.max_body = 10_000;
    Plugin::new(name, config).await
}

#[tokio::test]
async fn a_slow_head_is_not_waited_for() {
    let server = Server::silent().await;
    let plugin = plugin("http-slow-head", &server, 1000).await;
    let error = plugin.error(&format!("GET {}/", server.origin())).await;
    assert_eq!(error, "response: ConnectionReadTimeout");
    server.wait_for_open(0).await;
    assert_eq!(
        plugin.logged()[0]["message"],
        "the plugin's HTTP request failed: timeout: no response"
    );
    assert_eq!(plugin.counted("timeout"), 1);
}

#[tokio::test]
async fn a_guest_may_be_less_patient_but_not_more() {
    let silent = Server::silent().await;
    let stops = Server::saying(format!("{HEAD}Content-Length: 5\r\n\r\nhel")).await;
    let mut config = config(&[&silent.origin(), &stops.origin()], &[]);
    // Longer than the call may take: only the guest's own limit ends the request.
    config.timeout = Duration::from_secs(600);
    let patient = Plugin::new("http-patient", config.clone()).await;
    let error = patient
        .error(&format!("GET {}/ first-byte:100", silent.origin()))
        .await;
    assert_eq!(error, "response: ConnectionReadTimeout");
    let error = patient
        .error(&format!("GET {}/ between-bytes:100", stops.origin()))
        .await;
    assert_eq!(error, "body: ConnectionReadTimeout");

    config.timeout = Duration::from_secs(1);
    let impatient = Plugin::new("http-impatient", config).await;
    let command = format!(
        "GET {}/ first-byte:600000 between-bytes:600000 connect:600000",
        silent.origin()
    );
    assert_eq!(impatient.error(&command).await, "response: ConnectionReadTimeout");
    let command = format!("GET {}/ first-byte:600000 between-bytes:600000", stops.origin());
    assert_eq!(impatient.error(&command).await, "body: HttpResponseTimeout");
}

#[tokio::test]
async fn a_body_that_trickles_is_over_when_its_time_is() {
    let server = Server::new(|mut stream, _| async move {
        let mut bytes = format!("{HEAD}\r\n").into_bytes();
        while stream.write_all(&bytes).await.is_ok() {
            bytes = b"x".to_vec();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let plugin = plugin("http-trickle", &server, 1000).await;
    let error = plugin
        .error(&format!("GET {}/ between-bytes:600000", server.origin()))
        .await;
    assert_eq!(error, "body: HttpResponseTimeout");
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn a_response_without_end_is_cut_off() {
    let server = Server::new(|mut stream, _| async move {
        let mut bytes = format!("{HEAD}\r\n").into_bytes();
        while stream.write_all(&bytes).await.is_ok() {
            bytes = vec![b'x'; 100_000];
        }
    })
    .await;
    let plugin = plugin("http-endless", &server, 15_000).await;
    let error = plugin.error(&format!("GET {}/", server.origin())).await;
    assert_eq!(error, "body: HttpResponseBodySize(Some(10000))");
    server.wait_for_open(0).await;
    assert_eq!(plugin.counted("too_large"), 1);
    // A guest that wants no more than that gets it.
    for read in [5000, 10_000] {
        let answer = plugin
            .tell(&format!("GET {}/ read:{read}", server.origin()))
            .await;
        assert_eq!(answer["bytes"], read, "{answer}");
        server.wait_for_open(0).await;
    }
}

#[tokio::test]
async fn a_response_may_be_as_long_as_it_may_be() {
    // Where the server says how long it is, nothing of it is waited for.
    for (length, told, refused) in [
        (10_000, true, None),
        (10_001, true, Some("response: HttpResponseBodySize(Some(10000))")),
        (10_000, false, None),
        (10_001, false, Some("body: HttpResponseBodySize(Some(10000))")),
    ] {
        let told = if told {
            format!("Content-Length: {length}\r\n")
        } else {
            String::new()
        };
        let body = "x".repeat(length);
        let server = Server::new(move |mut stream, _| {
            let text = format!("{HEAD}{told}\r\n{body}");
            async move {
                let _ = stream.write_all(text.as_bytes()).await;
            }
        })
        .await;
        let plugin = plugin("http-length", &server, 15_000).await;
        let answer = plugin.tell(&format!("GET {}/", server.origin())).await;
        match refused {
            None => assert_eq!(answer["bytes"], length, "{answer}"),
            Some(error) => assert_eq!(answer["error"], error),
        }
    }
    // A length without a body is an incomplete response.
    let server = Server::saying(format!("{HEAD}Content-Length: 10001\r\n\r\n")).await;
    let plugin = plugin("http-length-of-head", &server, 15_000).await;
    assert_eq!(
        plugin.tell(&format!("HEAD {}/", server.origin())).await["status"],
        200
    );
}

#[tokio::test]
async fn heads_are_capped() {
    let headers = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    for (head, fits) in [
        (headers(99), true),
        (headers(100), false),
        (format!("X: {}\r\n", "y".repeat(50 << 10)), true),
        (format!("X: {}\r\n", "y".repeat(70 << 10)), false),
        (format!("X: {}\r\n", "y".repeat(10 << 20)), false),
    ] {
        let server = Server::saying(format!("{HEAD}{head}Content-Length: 0\r\n\r\n")).await;
        let plugin = plugin("http-head", &server, 15_000).await;
        let answer = plugin.tell(&format!("GET {}/", server.origin())).await;
        if fits {
            assert_eq!(answer["status"], 200, "{answer}");
        } else {
            assert_eq!(
                answer["error"],
                "response: HttpResponseHeaderSectionSize(Some(65536))"
            );
        }
    }
}

#[tokio::test]
async fn what_is_no_response_is_an_error() {
    let reset = Server::new(|stream, _| async move {
        // Without lingering, closing is a reset.
        stream.set_zero_linger().unwrap();
    })
    .await;
    let plugin_of = plugin("http-reset", &reset, 15_000).await;
    let error = plugin_of.error(&format!("GET {}/", reset.origin())).await;
    assert_eq!(error, "response: ConnectionTerminated");
    assert_eq!(plugin_of.counted("failed"), 1);

    let ends_after = |text: &str| {
        let text = text.to_owned();
        Server::new(move |mut stream, _| {
            let text = text.clone();
            async move {
                let _ = stream.write_all(text.as_bytes()).await;
            }
        })
    };
    for (text, error) in [
        ("", "response: ConnectionTerminated"),
        ("HTTP/1.1 200 OK\r\nContent-", "response: ConnectionTerminated"),
        ("220 mail.example ESMTP\r\n\r\n", "response: HttpProtocolError"),
        ("HTTP/1.1 abc\r\n\r\n", "response: HttpProtocolError"),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "response: HttpProtocolError",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
            "body: HttpResponseIncomplete",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "body: HttpResponseIncomplete",
        ),
    ] {
        let server = ends_after(text).await;
        let plugin = plugin("http-no-response", &server, 15_000).await;
        assert_eq!(
            plugin.error(&format!("GET {}/", server.origin())).await,
            error,
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let plugin = Plugin::new("http-refused", config(&[&origin], &[])).await;
    assert_eq!(
        plugin.error(&format!("GET {origin}/")).await,
        "response: ConnectionRefused"
    );
}

#[tokio::test]
async fn a_call_may_make_so_many_requests() {
    let server = Server::hello().await;
    let mut config = config(&[&server.origin()], &[]);
    config.requests = 3;
    let plugin = Plugin::new("http-many", config).await;
    let answer = plugin.tell(&format!("GET {}/ times:3", server.origin())).await;
    assert_eq!(
        (&answer["served"], &answer["error"]),
        (&3.into(), &serde_json::Value::Null)
    );
    let answer = plugin.tell(&format!("GET {}/ times:4", server.origin())).await;
    assert_eq!(answer["served"], 3);
    assert_eq!(answer["error"], "response: HttpRequestDenied");
    assert_eq!(server.connections().await, 6);

    // Those that are refused count as well, and those beyond are logged once.
    let before = plugin.logged().len();
    plugin.tell("GET http://127.0.0.1:1/ times:50 anyway").await;
    assert_eq!(plugin.logged().len() - before, 4);
}

#[tokio::test]
async fn a_request_body_is_capped() {
    let server = Server::silent().await;
    let plugin = plugin("http-request-body", &server, 15_000).await;
    let error = plugin
        .error(&format!("POST {}/ body:10001", server.origin()))
        .await;
    assert_eq!(error, "response: HttpRequestBodySize(Some(10000))");
    assert_eq!(server.connections().await, 1);
    server.wait_for_open(0).await;
    // If a header states the length, the gateway does not connect.
    let command = format!("POST {}/ header:Content-Length=10001 body:10001", server.origin());
    assert_eq!(
        plugin.error(&command).await,
        "response: HttpRequestBodySize(Some(10000))"
    );
    assert_eq!(server.connections().await, 1);
    // Nor does a guest that does not finish get a response.
    let error = plugin
        .error(&format!("POST {}/ body:100 unfinished", server.origin()))
        .await;
    assert_eq!(error, "response: HttpProtocolError");
    server.wait_for_open(0).await;
}

#[tokio::test]
async fn a_request_head_is_capped() {
    let server = Server::hello().await;
    let plugin = plugin("http-request-head", &server, 15_000).await;
    let origin = server.origin();
    let long = "x".repeat(7 << 10);
    for (command, fits) in [
        (format!("GET {origin}/{long}"), Ok(())),
        (
            format!("GET {origin}/{long}{long}"),
            Err("response: HttpRequestUriTooLong"),
        ),
        (format!("GET {origin}/ header:X={long}"), Ok(())),
        (
            format!(
                "GET {origin}/ header:A={long} header:B={long} header:C={long} header:D={long} header:E={long}"
            ),
            Err("response: HttpRequestHeaderSectionSize(Some(35865))"),
        ),
        (
            format!("CONNECT {origin}/"),
            Err("response: HttpRequestMethodInvalid"),
        ),
        (
            format!("{}XX {origin}/", "X".repeat(31)),
            Err("response: HttpRequestMethodInvalid"),
        ),
        (format!("PROPFIND {origin}/"), Ok(())),
    ] {
        let before = server.connections().await;
        let answer = plugin.tell(&command).await;
        match fits {
            Ok(()) => assert_eq!(answer["status"], 200, "{answer}"),
            Err(error) => {
                assert_eq!(answer["error"], error);
                assert_eq!(server.connections().await, before);
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_read_holds_nobody() {
    // It answers immediately, and stops reading: the guest is stuck in its own body.
    let server = Server::new(|mut stream, _| async move {
        let _ = stream
            .write_all(format!("{HEAD}Content-Length: 0\r\n\r\n").as_bytes())
            .await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        gone(&mut stream).await;
    })
    .await;
    let mut config = config(&[&server.origin()], &[]);
    (config.timeout, config.max_body) = (Duration::from_secs(1), 64 << 20);
    let plugin = Plugin::new("http-stuck", config).await;
    let answer = plugin
        .tell(&format!("POST {}/ body:60000000", server.origin()))
        .await;
    assert!(answer["error"].is_string(), "{answer}");
}
