//! Allowed requests: the request as the server sees it, the response as the guest does.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::server::{Server, gone};
use super::{Names, Plugin, config};

#[tokio::test]
async fn a_request_is_served_and_counted() {
    let server = Server::hello().await;
    let plugin = Plugin::new("http-served", config(&[&server.origin()], &[])).await;
    let answer = plugin
        .tell(&format!(
            "GET {}/a%20path?query=1 header:X-Token=abc header:Accept=*/*",
            server.origin()
        ))
        .await;
    assert_eq!(
        answer,
        json!({"status": 200, "text": "hello", "bytes": 5, "headers": 1, "served": 1})
    );
    let head = format!(
        "GET /a%20path?query=1 HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nconnection: close\r\nx-token: abc\r\n\
         accept: */*\r\n\r\n",
        server.port()
    );
    assert_eq!(server.heads(), [head]);
    assert_eq!((plugin.counted("ok"), plugin.logged().len()), (1, 0));
    let metrics = crate::support::metrics().render();
    assert!(
        metrics.contains(r#"gateway_plugin_http_seconds_count{plugin="http-served"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_body_is_sent_and_a_query_has_a_path() {
    let server = Server::new(|mut stream, _| async move {
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            body.push(stream.read_u8().await.unwrap());
        }
        let count = body.iter().filter(|byte| **byte == b'b').count().to_string();
        let text = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}",
            count.len()
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        gone(&mut stream).await;
    })
    .await;
    let plugin = Plugin::new("http-body", config(&[&server.origin()], &[])).await;
    let answer = plugin
        .tell(&format!("POST {}?q body:100000", server.origin()))
        .await;
    // Chunks have lengths in hexadecimal digits, of which 4096 and what is left of it have no `b`.
    assert_eq!(answer["text"], "100000");
    assert!(
        server.heads()[0].starts_with("POST /?q HTTP/1.1\r\n"),
        "{:?}",
        server.heads()
    );
}

#[tokio::test]
async fn the_host_may_be_repeated_but_not_changed() {
    let server = Server::hello().await;
    let (origin, port) = (server.origin(), server.port());
    let plugin = Plugin::new("http-host", config(&[&origin], &[])).await;
    for (host, served) in [
        (format!("127.0.0.1:{port}"), true),
        (format!("127.1:{port}"), true),
        ("127.0.0.1".to_owned(), false),
        (format!("localhost:{port}"), false),
        ("internal.example".to_owned(), false),
        (format!("127.0.0.1:{port}/path"), false),
        (String::new(), false),
    ] {
        let before = server.connections().await;
        let answer = plugin.tell(&format!("GET {origin}/ header:Host={host}")).await;
        if served {
            assert_eq!(answer["status"], 200, "{host}: {answer}");
            let head = server.heads().pop().unwrap();
            assert_eq!(head.matches("host:").count(), 1, "{head}");
            assert!(head.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{head}");
        } else {
            assert_eq!(answer["error"], "response: HttpRequestDenied", "{host}");
            assert_eq!(server.connections().await, before, "{host}");
        }
    }
    let twice = format!("GET {origin}/ header:Host=127.0.0.1:{port} header:Host=evil.example");
    assert_eq!(plugin.error(&twice).await, "response: HttpRequestDenied");
    assert_eq!(server.connections().await, 2);
}

#[tokio::test]
async fn headers_of_the_connection_cannot_be_set_or_seen() {
    let server = Server::saying(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\nKeep-Alive: timeout=5\r\nX-Seen: 1\r\n\r\n",
    )
    .await;
    let plugin = Plugin::new("http-hop", config(&[&server.origin()], &[])).await;
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
    ] {
        let error = plugin
            .error(&format!("GET {}/ header:{name}=x", server.origin()))
            .await;
        assert_eq!(error, "header: HeaderError::Forbidden", "{name}");
    }
    assert_eq!(server.connections().await, 0);
    let answer = plugin.tell(&format!("GET {}/", server.origin())).await;
    assert_eq!(answer["headers"], 2, "Content-Length and X-Seen: {answer}");
}

#[tokio::test]
async fn redirects_are_the_guests_and_checked_anew() {
    let canary = Server::hello().await;
    let landing = Server::hello().await;
    let redirect = |to: String| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    let good = Server::saying(redirect(format!("{}/landing", landing.origin()))).await;
    let bad = Server::saying(redirect(format!("{}/secret-path", canary.origin()))).await;
    let inside = Server::saying(redirect("http://metadata.test/".to_owned())).await;
    let allow = [&good, &bad, &inside, &landing].map(Server::origin);
    let mut allow: Vec<&str> = allow.iter().map(String::as_str).collect();
    allow.push("http://metadata.test");
    let names = Names::new(&[("metadata.test", &[&["169.254.169.254"]])]);
    let plugin = Plugin::with_names("http-redirect", config(&allow, &[]), names).await;

    let answer = plugin.tell(&format!("GET {}/", good.origin())).await;
    assert_eq!(
        (&answer["status"], &answer["served"]),
        (&json!(302), &json!(1)),
        "not followed by the host"
    );
    let answer = plugin.tell(&format!("GET {}/ follow:3", good.origin())).await;
    assert_eq!((&answer["text"], &answer["served"]), (&json!("hello"), &json!(2)));

    for (server, code) in [(&bad, "HttpRequestDenied"), (&inside, "DestinationIpProhibited")] {
        let answer = plugin.tell(&format!("GET {}/ follow:3", server.origin())).await;
        assert_eq!(answer["error"], format!("response: {code}"));
        assert_eq!(answer["served"], 1);
    }
    assert_eq!(canary.connections().await, 0);
    let logged = plugin.logged();
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert_eq!(logged[0]["origin"], canary.origin());
    assert!(!format!("{logged:?}").contains("secret-path"));
}

#[tokio::test]
async fn every_request_has_a_connection_of_its_own() {
    let server = Server::hello().await;
    let plugin = Plugin::new("http-pool", config(&[&server.origin()], &[])).await;
    let answer = plugin.tell(&format!("GET {}/ times:3", server.origin())).await;
    assert_eq!(answer["served"], 3);
    plugin.tell(&format!("GET {}/", server.origin())).await;
    assert_eq!(server.connections().await, 4);
    server.wait_for_open(0).await;
}
